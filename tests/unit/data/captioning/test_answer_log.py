import dataclasses
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cogvideox.data.captioning.answer_log import AnswerLog, Record, bucket_of

DIGEST = "ab" + "0" * 62


def record(number: int, text: str = "A dog runs.") -> Record:
    return Record(key="short-1", digest=DIGEST, part=str(number), inputs="i", text=text, dollars=0.001, model="m")


def write(log: AnswerLog, *records: Record) -> Path:
    writer = log.write_to(bucket_of(DIGEST))
    for one in records:
        writer.add(one)
    writer.close()
    return log.path(bucket_of(DIGEST))


def test_answers_come_back_and_the_last_one_counts(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    other = record(0, 'Two\ncats, "quoted", 猫 \ud800.')
    write(log, record(0), record(1), other)
    assert log.read("ab") == {record(1).place: record(1), other.place: other}
    assert [one.text for one in log.all_of("ab")] == [record(0).text, record(1).text, other.text]
    assert log.buckets() == ["ab"] and log.read("cd") == {}
    assert dataclasses.replace(record(0), inputs="other").place not in log.read("ab")


def test_every_cut_of_the_file_loses_only_the_line_it_falls_in(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    path = write(log, *(record(number) for number in range(3)))
    content = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == 10]
    for size in range(len(content)):
        path.write_bytes(content[:size])
        num_whole = sum(end - 1 <= size for end in ends)  # a line that lacks only its end is whole
        assert len(log.read("ab")) == num_whole, size
        if size % 17 == 0:  # what is torn is cut when writing goes on
            write(log, record(9))
            assert len(log.read("ab")) == num_whole + 1, size
            assert path.read_bytes().count(b"\n") == num_whole + 1


def test_damage_anywhere_hides_only_its_own_line(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    path = write(log, *(record(number) for number in range(5)))
    content = path.read_bytes()
    dice = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        place = dice.randrange(len(content))
        damaged[place] = dice.randrange(256)
        path.write_bytes(damaged)
        found = log.read("ab")
        # A line end that is lost joins two lines, and one that is new splits one.
        assert len(found) >= 3 and all(one in [record(number) for number in range(5)] for one in found.values())
    for line in (b"{}", b"[1]", b"null", b"\x00" * 50, b'{"sum": 1}', b'{"key": 1, "sum": 2}', b"[" * 5000):
        path.write_bytes(line + b"\n" + content)
        assert len(log.read("ab")) == 5, line


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    writer = log.write_to("ab")
    threads = [
        threading.Thread(target=lambda start=start: [writer.add(record(start + n, "x" * 500)) for n in range(20)])
        for start in range(0, 160, 20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert len(log.read("ab")) == 160


HOLD = """
import sys
from cogvideox.data.captioning.answer_log import AnswerLog, Record
writer = AnswerLog(sys.argv[1]).write_to("ab")
writer.add(Record(key="short-1", digest=sys.argv[2], part="0"))
print("held", flush=True)
sys.stdin.read()
writer.close()
"""
"""A process that keeps a bucket until its input ends."""


def test_one_process_at_a_time_writes_a_bucket(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path), DIGEST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(OSError, match="another process writes"):
            AnswerLog(tmp_path).write_to("ab", lambda: True)
        threading.Timer(0.3, process.stdin.close).start()
        write(AnswerLog(tmp_path), record(1))  # waits
    assert len(AnswerLog(tmp_path).read("ab")) == 2
