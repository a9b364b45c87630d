"""All who use a store use one folder of files: a worker with another one would complete videos into nowhere."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cogvideox.serving import data_folder
from cogvideox.serving.data_folder import LABEL_NAME, join_folder, read_label
from cogvideox.serving.engine_protocol import EngineSettings
from cogvideox.serving.files import FileStore
from cogvideox.serving.job import FileRef, StoreError
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.schema import store_state
from cogvideox.serving.worker import JobWorker, WorkerSettings
from job_store_model import new_job

JOINS = """
import sys
from pathlib import Path
from cogvideox.serving.data_folder import join_folder
from cogvideox.serving.job import StoreError
from cogvideox.serving.job_store import JobStore
database = JobStore.open(sys.argv[1]).database
print("ready", flush=True)
sys.stdin.readline()
try:
    join_folder(database, Path(sys.argv[2]))
    print("joined")
except StoreError as error:
    print(error)
"""


@pytest.fixture
def store(store_url: str) -> Iterator[JobStore]:
    opened = JobStore.open(store_url)
    yield opened
    opened.close()


@pytest.fixture
def folders(quick_folder: Path) -> tuple[Path, Path]:
    pair = (quick_folder / "a", quick_folder / "b")
    for folder in pair:
        FileStore(folder)
    return pair


def refusal(store: JobStore, folder: Path) -> str:
    with pytest.raises(StoreError) as told:
        join_folder(store.database, folder)
    message = str(told.value)
    assert message.startswith("data directory: ") and "\n" not in message and ("; " in message)
    return message


def forget(store: JobStore, folder: Path) -> None:
    """Make them as a program without this left them."""
    (folder / LABEL_NAME).unlink()
    with store.database.writing() as transaction:
        transaction.connection.execute(store_state.delete().where(store_state.c.name == "data_folder"))


def test_a_second_folder_is_refused_however_it_comes(store: JobStore, store_url: str, folders: tuple) -> None:
    first, second = folders
    for _ in range(2):
        join_folder(store.database, first)
    assert "is not the one" in refusal(store, second) and not (second / LABEL_NAME).exists()
    join_folder(store.database, first)
    engine = EngineSettings(engine="fake", cache_folder=second / "cache")
    with pytest.raises(StoreError, match="--data-dir"):
        JobWorker(WorkerSettings(store=store_url, data_dir=second, engine=engine))
    (first / LABEL_NAME).rename(second / "kept")
    assert "bring that file back" in refusal(store, first)  # though no job names a file: another host may have one
    for damaged in (b"", b"{}", b'{"folder_id": 1, "store_id": "x", "is_around_store": false}', b"\xff"):
        (first / LABEL_NAME).write_bytes(damaged)
        assert "cannot be read" in refusal(store, first)


def test_a_folder_of_another_store_is_refused(store: JobStore, folders: tuple, quick_folder: Path) -> None:
    first, second = folders
    join_folder(store.database, first)
    other = JobStore.open(f"sqlite:///{quick_folder}/other.sqlite3")
    assert "belongs to another store" in refusal(other, first)
    join_folder(other.database, second)
    assert "is not the one" in refusal(store, second)
    other.close()
    beside = JobStore.open(f"sqlite:///{first}/jobs.sqlite3")  # a folder of another store, with a new one inside it
    assert "belongs to another store" in refusal(beside, first)
    beside.close()


def test_a_new_store_in_the_place_of_a_damaged_one_keeps_its_folder(quick_folder: Path) -> None:
    FileStore(quick_folder)
    names = []
    for _ in range(2):
        store = JobStore.open(f"sqlite:///{quick_folder}/jobs.sqlite3")
        join_folder(store.database, quick_folder)
        label = read_label(quick_folder)
        assert label is not None
        names.append((label.folder_id, label.store_id))
        store.close()
        for path in quick_folder.glob("jobs.sqlite3*"):
            path.unlink()
    assert names[0][0] == names[1][0] and names[0][1] != names[1][1]


def test_a_new_store_takes_no_files_that_it_does_not_know(quick_folder: Path) -> None:
    folder, away = quick_folder / "data", quick_folder / "away"
    away.mkdir()
    files = FileStore(folder)
    url = f"sqlite:///{folder}/jobs.sqlite3"

    def reopened() -> JobStore:
        opened = JobStore.open(url)
        join_folder(opened.database, folder)
        return opened

    store = reopened()
    kept = files.keep_bytes(b"a picture").file
    job = store.submit(new_job(files={"image": kept})).job
    store.close()
    os.utime(folder / "files" / kept.sha256[:2] / kept.sha256, (0, 0))
    (folder / "jobs.sqlite3").rename(away / "jobs.sqlite3")
    options = ["--engine", "fake", "--port", "0", "--workers", "0", "--data-dir", str(folder)]
    command = [sys.executable, "-m", "cogvideox", "serve", *options]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (3, "", 1)
    assert "jobs.sqlite3" in refused.stderr and f"{folder / 'files'} away" in refused.stderr
    assert not (folder / "jobs.sqlite3").exists() and files.has(kept)
    new = JobStore.open(url)  # however it came there
    assert "begin anew" in refusal(new, folder)
    label = (folder / LABEL_NAME).read_bytes()
    (folder / LABEL_NAME).unlink()
    assert "begin anew" in refusal(new, folder) and not (folder / LABEL_NAME).exists()
    (folder / LABEL_NAME).write_bytes(label)
    new.close()
    (away / "jobs.sqlite3").rename(folder / "jobs.sqlite3")
    store = reopened()
    assert store.get(job.id) == job and files.is_whole(kept)
    store.close()
    for name in ("jobs.sqlite3", "files"):
        (folder / name).rename(away / name)
    reopened().close()  # begun anew


def test_an_older_store_takes_the_folder_that_its_files_are_in(store: JobStore, folders: tuple) -> None:
    first, second = folders
    kept = FileStore(first).keep_bytes(b"a picture")
    gone = FileRef(sha256="0" * 64, num_bytes=1)
    store.submit(new_job(files={"image": kept.file, "video": gone}))
    assert "none of the files" in refusal(store, second)
    assert not (second / LABEL_NAME).exists()
    join_folder(store.database, first)
    forget(store, first)
    shutil.copytree(first, second, dirs_exist_ok=True)
    join_folder(store.database, second)  # either would do, and only one does
    assert "is not the one" in refusal(store, first)


def test_what_a_killed_process_leaves_is_gone_on_with(
    store: JobStore, folders: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = folders
    real = data_folder._write_label

    def write_and_die(folder: Path, label: data_folder.FolderLabel) -> None:
        real(folder, label)
        raise KeyboardInterrupt

    monkeypatch.setattr(data_folder, "_write_label", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        join_folder(store.database, first)
    monkeypatch.undo()
    left = read_label(first)
    join_folder(store.database, second)  # another one may have been faster at starting again
    assert left is not None and "is not the one" in refusal(store, first)
    forget(store, second)
    join_folder(store.database, first)
    assert read_label(first) == left and "is not the one" in refusal(store, second)


def test_of_processes_that_start_at_once_all_in_one_folder_join(store_url: str, folders: tuple) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    places = [folders[number % 2] for number in range(4)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    JobStore.open(store_url).close()
    started = [subprocess.Popen([sys.executable, "-c", JOINS, store_url, str(place)], **pipes) for place in places]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate()[0].strip() for process in started]
    joined = {place for place, answer in zip(places, told, strict=True) if answer == "joined"}
    assert len(joined) == 1 and told.count("joined") == 2, told
    assert all("is not the one" in answer for answer in told if answer != "joined")
