"""Files by their content: whole or not there, inside their folder, gone when nobody needs them and not before."""

import errno
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cogvideox.serving.files import DiskFloor, FileStore, FileTooLargeError, StorageFullError
from cogvideox.serving.janitor import Retention, discard_refused, sweep
from cogvideox.serving.job import FileRef, QueueLimits, StoreError
from cogvideox.serving.job_store import JobStore
from job_store_model import new_job

NO_FLOOR = DiskFloor(min_free_bytes=0, min_free_share=0)
AT_ONCE = Retention(grace_s=0, released_grace_s=0, records_s=1000)


@pytest.fixture
def files(quick_folder: Path) -> FileStore:
    return FileStore(quick_folder, floor=NO_FLOOR)


def count(files: FileStore) -> int:
    return sum(path.is_file() for path in (files.folder / "files").rglob("*"))


def age(files: FileStore, ref: FileRef, seconds: float) -> None:
    path = files.folder / "files" / ref.sha256[:2] / ref.sha256
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_a_file_is_kept_by_its_content(files: FileStore) -> None:
    blocks = [random.Random(1).randbytes(size) for size in (0, 1, 2**20, 2**20 + 7)]
    kept = files.keep(blocks, media_type="video/mp4", name="../../x\0")
    content = b"".join(blocks)
    assert kept.is_new and kept.file.sha256 == hashlib.sha256(content).hexdigest()
    assert kept.file.num_bytes == len(content) and kept.file.name == "../../x\0"
    assert files.read(kept.file) == content and files.is_whole(kept.file)
    again = files.keep_bytes(content)
    assert not again.is_new and count(files) == 1
    path = files.folder / "files" / kept.file.sha256[:2] / kept.file.sha256
    with path.open("r+b") as file:  # a bit of the disk turned over
        file.write(b"\xff")
    assert not files.is_whole(kept.file)
    path.unlink()
    assert not files.has(kept.file) and not files.is_whole(kept.file)


@pytest.mark.parametrize(
    "bad", ["", "..", "../" * 30, "A" * 64, "g" * 64, "0" * 63, "0" * 64 + "\n", "/etc/passwd", "0\0"]
)
def test_only_digests_name_files(files: FileStore, bad: str) -> None:
    with pytest.raises(FileNotFoundError):
        files.open(bad)
    with pytest.raises(ValueError, match="sha256"):
        FileRef(sha256=bad, num_bytes=0)
    with pytest.raises(ValueError, match="job_id"):
        files.work_folder(bad, 1)


def test_links_and_other_things_in_place_of_files_are_not_followed(files: FileStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    root = files.folder / "files"
    (root / "00").mkdir()
    (root / "00" / ("0" * 64)).symlink_to(secret)
    (root / "11").symlink_to(tmp_path)
    (tmp_path / ("1" * 64)).write_text("x")
    (root / "22").mkdir()
    (root / "22" / ("2" * 64)).mkdir()
    (root / "33").mkdir()
    os.mkfifo(root / "33" / ("3" * 64))
    for digit in "0123":
        assert not files.has(digit * 64)
    files.remove_unnamed(set, grace_s=-1)
    assert secret.exists() and (tmp_path / ("1" * 64)).exists()


def test_what_is_too_long_or_interrupted_leaves_nothing(files: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless():
        while True:
            yield bytes(1000)

    with pytest.raises(FileTooLargeError, match="at most 10000"):
        files.keep(endless(), max_bytes=10_000)

    def broken():
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        files.keep(broken())
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFullError, match="room"):
        files.keep_bytes(b"x")
    monkeypatch.setattr(os, "fsync", real)
    assert count(files) == 0
    assert files.has(files.keep_bytes(b"x").file)  # and it recovers


def test_a_floor_of_free_space_is_held(quick_folder: Path) -> None:
    disk = os.statvfs(quick_folder)
    size, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    FileStore(quick_folder, floor=NO_FLOOR).check_room(1000)
    for floor in (DiskFloor(min_free_bytes=free + 2**30, min_free_share=0), DiskFloor(min_free_share=0.9999)):
        with pytest.raises(StorageFullError, match="MiB too little"):
            FileStore(quick_folder, floor=floor).check_room()
    default = FileStore(quick_folder)
    assert default.free_bytes() == pytest.approx(free - max(2 * 2**30, 0.05 * size), abs=2**26)


def test_files_are_synced_before_they_have_their_names(files: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noted(*arguments, real=real, name=name):
            what = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else "name"
            calls.append("folder" if os.path.isdir(what) else "file" if name == "fsync" else what)
            return real(*arguments)

        monkeypatch.setattr(os, name, noted)
    files.keep_bytes(b"x")
    assert calls == ["file", "folder", "name", "folder"]  # the file, its new folder, its name in it


def test_a_refused_upload_goes_at_once_unless_somebody_else_wants_it(files: FileStore, quick_folder: Path) -> None:
    store = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3")
    refused = files.keep_bytes(b"refused")
    assert discard_refused(store, files, (refused,)) == 1 and not files.has(refused.file)
    first = files.keep_bytes(b"both")
    second = files.keep_bytes(b"both")  # another request, whose job is about to be stored
    assert discard_refused(store, files, (first, second)) == 0 and files.has(first.file)
    named = files.keep_bytes(b"named")
    store.submit(new_job(files={"image": named.file}))
    assert discard_refused(store, files, (named,)) == 0 and files.has(named.file)
    store.close()


def test_a_sweep_takes_what_nobody_needs(files: FileStore, quick_folder: Path) -> None:
    now_us = [1_800_000_000_000_000]
    store = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3", clock=lambda: now_us[0])
    image, results = files.keep_bytes(b"image").file, {}
    jobs = [store.submit(new_job(files={"image": image}, retention_s=100)).job for _ in range(3)]
    for number in range(3):
        claimed = store.claim("w")
        result = files.keep_bytes(b"result %d" % number).file
        store.complete(claimed.id, claimed.lease_token, files={"result": result})
        results[claimed.id] = result
    orphan = files.keep_bytes(b"orphan").file
    (files.folder / "files" / "abc.tmp").write_bytes(b"of a killed process")
    running = store.submit(new_job()).job
    store.claim("w")
    folder, stale = files.work_folder(running.id, 1), files.work_folder(jobs[0].id, 1)
    (stale / "frame").write_bytes(b"x")

    assert sweep(store, files).num_files == 0 and files.has(orphan) and stale.exists()  # the time of grace
    swept = sweep(store, files, AT_ONCE)
    assert (swept.num_files, swept.num_work_folders) == (2, 1) and not files.has(orphan)
    assert folder.exists() and not stale.exists()
    store.delete(jobs[0].id, owner="ann")
    assert sweep(store, files, AT_ONCE).num_files == 1
    assert not files.has(results[jobs[0].id]) and files.has(results[jobs[1].id])
    assert files.has(image)  # the other jobs have the same
    now_us[0] += 101 * 1_000_000
    swept = sweep(store, files, AT_ONCE)
    assert (swept.num_expired_jobs, swept.num_files) == (3, 3) and count(files) == 0
    left = store.get(jobs[1].id)
    assert left.is_expired and left.state == "completed" and left.params and not left.files
    now_us[0] += 1000 * 1_000_000
    assert sweep(store, files, AT_ONCE).num_records == 3 and store.get(jobs[1].id) is None
    store.close()


def test_a_sweep_never_takes_what_is_being_published(files: FileStore, quick_folder: Path) -> None:
    """The same few contents are kept, named, deleted and swept over and over, by many at once."""
    store = JobStore.open(
        f"sqlite:///{quick_folder}/jobs.sqlite3", limits=QueueLimits(max_queued=0, max_queued_per_owner=0)
    )
    end_s = time.monotonic() + 3
    grace = Retention(grace_s=0.5, released_grace_s=0.5)
    lost: list[str] = []
    num_swept = [0]

    def use(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < end_s:
            kept = files.keep_bytes(b"content %d" % chance.randrange(6))
            job = store.submit(new_job(owner=f"o{number}", files={"image": kept.file})).job
            time.sleep(chance.choice([0, 0.01, 0.8]))
            if not files.has(kept.file):
                lost.append(kept.file.sha256)
            store.delete(job.id)

    def clean() -> None:
        while time.monotonic() < end_s:
            num_swept[0] += sweep(store, files, grace).num_files

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    threads += [threading.Thread(target=clean) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == [] and num_swept[0] > 0
    store.close()


def test_a_process_killed_while_it_writes_leaves_no_half_file(files: FileStore) -> None:
    code = (
        "import sys\nfrom cogvideox.serving.files import *\n"
        "files = FileStore(sys.argv[1], floor=DiskFloor(min_free_bytes=0, min_free_share=0))\n"
        "print('go', flush=True)\nnumber = 0\n"
        "while True:\n    files.keep_bytes(str(number).encode() * 200_000)\n    number += 1\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for wait_s in (0.05, 0.2):
        command = [sys.executable, "-c", code, str(files.folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(wait_s)
        process.kill()
        process.wait()
    kept = [path for path in (files.folder / "files").glob("*/*") if path.is_file()]
    assert kept and all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in kept)


def test_the_same_file_kept_by_many_at_once_is_one_file(files: FileStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        kept = list(pool.map(lambda _: files.keep_bytes(b"same" * 1000), range(64)))
    assert count(files) == 1 and len({each.file for each in kept}) == 1


def test_what_cannot_be_removed_does_not_stop_the_rest(files: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = sorted(files.keep_bytes(b"%d" % number).file.sha256 for number in range(6))
    (files.folder / "files" / "abc.tmp").write_bytes(b"of a killed process")
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name in (kept[0], kept[3], "abc.tmp"):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    named: list[FileRef] = [FileRef(sha256=name, num_bytes=1) for name in kept[:2]]
    assert files.remove_released(named, set, grace_s=-1) == 1
    assert files.remove_unnamed(set, grace_s=-1) == 3
    assert [files.has(name) for name in kept] == [True, False, False, True, False, False]
    monkeypatch.setattr(Path, "unlink", real)
    assert files.remove_unnamed(set, grace_s=-1) == 3


@pytest.mark.parametrize("name", ["files", "work"])
def test_a_folder_of_files_that_is_a_link_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        FileStore(tmp_path / "data")
    linked = tmp_path / "linked"  # the whole may be one
    linked.symlink_to(tmp_path / "elsewhere")
    assert FileStore(linked).keep_bytes(b"x").is_new


def test_files_are_only_this_users(quick_folder: Path) -> None:
    before = os.umask(0)
    try:
        kept = FileStore(quick_folder / "new", floor=NO_FLOOR).keep_bytes(b"x")
    finally:
        os.umask(before)
    for path in (quick_folder / "new", quick_folder / "new" / "files", *(quick_folder / "new").rglob(kept.file.sha256)):
        assert path.stat().st_mode & 0o077 == 0, path
