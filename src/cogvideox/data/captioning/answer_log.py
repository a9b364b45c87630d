"""Every answer that was paid for, in files that only grow: the memory of a captioning.

An answer counts when its line is on the disk. So whenever a process ends, by whatever means, no more than the questions
that were on their way are asked again. A line that was cut short, or damaged later, is passed over; those after it are
read.
"""

import errno
import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_type_hints

from cogvideox.chat.turns import Answer
from cogvideox.durable_files import sync_folder

BUCKET_DIGITS = 2
"""Of the SHA-256 of a clip, by which answers are divided into files."""
WAIT_FOR_OTHERS_S = 60.0
"""For a process of a run that has just been killed to end."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One answer, or one fact about a clip that had to be found out by decoding it."""

    key: str
    """What was asked, by `cogvideox.data.curation.store.operator_key`: stage, model and settings."""
    digest: str
    """SHA-256 of the clip's file."""
    part: str = ""
    """Of a frame, its number."""
    try_index: int = 0
    inputs: str = ""
    """SHA-256 of the whole question, the numbers of its frames included."""
    text: str = ""
    is_cut: bool = False
    """Whether its tokens did not suffice, for the answer or for thinking about it."""
    max_tokens: int = 0
    """That it was allowed; 0 if that is not known."""
    error: str = ""
    """Why the model does not answer this question, if it says so."""
    num_input_tokens: int = 0
    num_output_tokens: int = 0
    is_estimated: bool = False
    """Whether the tokens were counted here, because the model does not say."""
    dollars: float = 0.0
    seconds: float = 0.0
    model: str = ""

    @property
    def place(self) -> tuple[str, str, str, int, str]:
        """Return what it is found by."""
        return self.key, self.digest, self.part, self.try_index, self.inputs

    @property
    def answer(self) -> Answer:
        """Return it as the model gave it."""
        return Answer(self.text, self.is_cut, self.num_input_tokens, self.num_output_tokens)


Records = dict[tuple[str, str, str, int, str], Record]
_TYPES: Mapping[str, tuple[type, ...]] = {
    name: (float, int) if hint is float else (hint,) for name, hint in get_type_hints(Record).items()
}


def bucket_of(digest: str) -> str:
    """Return the name of the file that holds the answers about a clip."""
    return digest[:BUCKET_DIGITS]


class AnswerLog:
    """A folder of files of answers, on this machine or on a disk that all machines of a cluster share."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, bucket: str) -> Path:
        """Return where the answers of a bucket are."""
        return self.folder / f"{bucket}.jsonl"

    def read(self, bucket: str) -> Records:
        """Return the sound answers of a bucket; of several to one question the last."""
        return {record.place: record for record in self.all_of(bucket)}

    def all_of(self, bucket: str) -> Iterator[Record]:
        """Yield all sound answers of a bucket, in the order in which they came."""
        try:
            content = self.path(bucket).read_bytes()
        except FileNotFoundError:
            return
        for line in content.split(b"\n"):
            if (record := _parsed(line)) is not None:
                yield record

    def buckets(self) -> list[str]:
        """Return the names of all buckets that there are."""
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def write_to(self, bucket: str, is_stopped: Callable[[], bool] = lambda: False) -> "BucketWriter":
        """Open a bucket to add answers. Raises OSError as `BucketWriter`."""
        return BucketWriter(self.path(bucket), is_stopped)


class BucketWriter:
    """Adds answers to a file, from any thread; one writer has the file to itself.

    Raises:
        OSError: the file cannot be written, or another process keeps it.
    """

    def __init__(self, path: Path, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            self._take(path, is_stopped)
            self._end_last_line()
            if is_new:
                sync_folder(path.parent)
        except BaseException:
            self._file.close()
            raise

    def add(self, record: Record) -> None:
        """Add an answer; when this returns it is on the disk."""
        line = _line(record)
        with self._lock:
            start = os.fstat(self._file.fileno()).st_size
            try:
                # One call, and unbuffered: all of it is written, or it fails.
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError as error:
                os.ftruncate(self._file.fileno(), start)
                raise OSError(error.errno, error.strerror, self._file.name) from None

    def close(self) -> None:
        """Let others have the file."""
        with self._lock:
            self._file.close()

    def _take(self, path: Path, is_stopped: Callable[[], bool]) -> None:
        give_up_at_s = time.monotonic() + WAIT_FOR_OTHERS_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > give_up_at_s or is_stopped():
                    raise OSError(f"{path}: another process writes to it; wait for it to end") from None
                time.sleep(0.1)

    def _end_last_line(self) -> None:
        """Complete a last line that lacks only its end, and cut one that lacks more."""
        self._file.seek(0)
        content = self._file.read()
        if not content or content.endswith(b"\n"):
            return
        start = content.rfind(b"\n") + 1
        if _parsed(content[start:]) is not None:
            self._file.write(b"\n")
        else:
            self._file.truncate(start)
        os.fsync(self._file.fileno())


def _line(record: Record) -> bytes:
    values = asdict(record)
    return json.dumps(values | {"sum": _sum(values)}).encode() + b"\n"


def _sum(values: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def _parsed(line: bytes) -> Record | None:
    """Return the answer of a line, None if it is damaged."""
    if not line.strip():
        return None
    try:
        values = json.loads(line)
        found = values.pop("sum")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    if not isinstance(values, dict) or found != _sum(values) or not set(values) <= set(_TYPES):
        return None
    if not all(isinstance(value, _TYPES[name]) for name, value in values.items()):
        return None
    try:
        return Record(**values)
    except TypeError:
        return None
