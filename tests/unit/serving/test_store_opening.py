"""What a job store refuses to open, and that it leaves it as it was."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cogvideox.serving import database, schema
from cogvideox.serving.database import Database, file_system_of, is_network_file_system
from cogvideox.serving.files import only_supervisor
from cogvideox.serving.job import StoreError
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.libraries import alembic, sqlalchemy
from job_store_model import new_job
from postgres_server import PostgresServer

sa = sqlalchemy()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/jobs.sqlite3"


def refusal(url: str) -> str:
    with pytest.raises(StoreError) as told:
        JobStore.open(url)
    message = str(told.value)
    assert ("\n" not in message and message.startswith("job store: ") and ";" in message) or "expected" in message
    return message


def test_a_damaged_file_is_refused_and_left_alone(quick_folder: Path) -> None:
    path = quick_folder / "jobs.sqlite3"
    JobStore.open(sqlite_url(quick_folder)).close()
    whole = path.read_bytes()
    page = (
        sqlite3.connect(path).execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs_by_owner'").fetchone()[0]
    )
    torn = bytearray(whole)
    torn[4096 * (page - 1) : 4096 * page] = b"\x07" * 4096
    for content in (b"not a database at all" * 100, whole[:100], whole[:5000], bytes(torn)):
        path.write_bytes(content)
        assert "damaged" in refusal(sqlite_url(quick_folder))
        assert path.read_bytes() == content
    path.write_bytes(whole)
    JobStore.open(sqlite_url(quick_folder)).close()
    path.write_bytes(b"")  # made, and killed before the first write
    JobStore.open(sqlite_url(quick_folder)).close()


def test_a_link_is_refused_and_nothing_is_made_where_it_leads(quick_folder: Path) -> None:
    (quick_folder / "jobs.sqlite3").symlink_to(quick_folder / "elsewhere")
    assert "is a link" in refusal(sqlite_url(quick_folder))
    assert os.listdir(quick_folder) == ["jobs.sqlite3"]


def test_a_newer_schema_is_refused_and_left_alone(store_url: str) -> None:
    store = JobStore.open(store_url)
    job = store.submit(new_job()).job
    with store.database.writing() as transaction:
        transaction.connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    assert "newer" in refusal(store_url)
    with store.database.writing() as transaction:
        transaction.connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{schema.HEAD}'"))
    store.close()
    again = JobStore.open(store_url)
    assert again.get(job.id) == job
    again.close()


def test_a_database_of_something_else_is_refused(quick_folder: Path, postgres: PostgresServer) -> None:
    path = quick_folder / "jobs.sqlite3"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE songs (name TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    assert "something else" in refusal(sqlite_url(quick_folder))
    assert path.read_bytes() == before and os.listdir(quick_folder) == ["jobs.sqlite3"]
    url = postgres.new_database()
    postgres.run_sql("CREATE TABLE jobs (name TEXT)", url.rsplit("/", 1)[1])
    assert "not ours" in refusal(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jobs",
        "mysql://u@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a?mode=memory",
        "http://x",
        "redis://h",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    assert "sqlite:///FILE" in refusal(url)


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    message = refusal("postgresql://ann:secret@127.0.0.1:9/jobs")
    assert "127.0.0.1:9" in message and "secret" not in message


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        code = (
            "import os, sys\nfrom cogvideox.serving.job_store import JobStore\nos.setuid(65534)\n"
            "try:\n    JobStore.open(sys.argv[1])\nexcept ValueError as error:\n    print(error)"
        )
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        for url in (f"sqlite:///{folder}/jobs.sqlite3", f"sqlite:///{folder}/new/jobs.sqlite3"):
            told = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, env=environment)
            assert "--data-dir" in told.stdout and told.stdout.count("\n") == 1, told.stderr


def test_network_file_systems_are_refused(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = quick_folder / "mounts"
    lines = [
        "1 0 0:1 / / rw - ext4 /dev/a rw",
        f"2 1 0:2 / {quick_folder} rw,noatime shared:1 - tmpfs none rw",
        f"3 1 0:3 / {quick_folder}/far\\040away rw - nfs4 host:/x rw",
        f"4 1 0:4 / {quick_folder}/hidden rw - cifs //host/x rw",
        f"5 1 0:5 / {quick_folder}/hidden rw - xfs /dev/b rw",
    ]
    mounts.write_text("\n".join(lines) + "\n")
    found = [file_system_of(quick_folder / name, mounts) for name in ("", "far away/deep", "hidden", "far")]
    assert found == ["tmpfs", "nfs4", "xfs", "tmpfs"] and file_system_of(Path("/etc"), mounts) == "ext4"
    assert all(map(is_network_file_system, ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse", "9p", "ceph")))
    assert not any(map(is_network_file_system, ("ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs", "fuseblk", "")))
    monkeypatch.setattr(database, "file_system_of", lambda _: "nfs4")
    message = refusal(sqlite_url(quick_folder))
    assert "network file system (nfs4)" in message and "postgresql" in message
    assert not (quick_folder / "jobs.sqlite3").exists()


def test_the_migrations_make_the_tables_of_the_schema(store_url: str) -> None:
    opened = Database(store_url)
    with opened.reading() as transaction:
        context = alembic().migration.MigrationContext.configure(transaction.connection)
        assert alembic().autogenerate.compare_metadata(context, schema.metadata) == []
        checks = {check["name"] for check in sa.inspect(transaction.connection).get_check_constraints("jobs")}
    assert checks == {each.name for each in schema.jobs.constraints if isinstance(each, sa.CheckConstraint)}
    script = alembic().script.ScriptDirectory(str(schema.MIGRATIONS))
    assert script.get_current_head() == schema.HEAD
    opened.close()


@pytest.mark.slow
def test_many_processes_may_open_a_new_store_at_once(store_url: str) -> None:
    code = (
        "import sys\nfrom cogvideox.serving.job_store import JobStore\nfrom job_store_model import new_job\n"
        "JobStore.open(sys.argv[1]).submit(new_job(owner=sys.argv[2]))\nsys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code, store_url, str(number)], env=environment) for number in range(6)
    ]
    assert [process.wait() for process in started] == [0] * 6
    store = JobStore.open(store_url)
    assert len(store.page().jobs) == 6
    store.close()


def test_only_one_supervisor_serves_a_folder(quick_folder: Path) -> None:
    with only_supervisor(quick_folder):
        with pytest.raises(StoreError, match=f"process {os.getpid()} already; stop"), only_supervisor(quick_folder):
            pass
        with pytest.raises(StoreError, match=f"process {os.getpid()}"), only_supervisor(quick_folder):  # still
            pass
    code = (
        "import sys, time\nfrom cogvideox.serving.files import only_supervisor\n"
        "with only_supervisor(sys.argv[1]):\n    print('in', flush=True)\n    time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code, str(quick_folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None and process.stdout.readline() == "in\n"
    with pytest.raises(StoreError, match=f"process {process.pid} already"), only_supervisor(quick_folder):
        pass
    process.kill()
    process.wait()
    with only_supervisor(quick_folder):
        pass


def test_leases_do_not_follow_the_wall_clock_of_sqlite(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, real = JobStore.open(sqlite_url(quick_folder)), time.time_ns
    job = store.submit(new_job()).job
    claimed = store.claim("w", lease_s=60)
    for hours in (1, -1):
        monkeypatch.setattr(time, "time_ns", lambda hours=hours: real() + hours * 3600 * 10**9)
        other = JobStore.open(sqlite_url(quick_folder))
        assert other.reap() == () and other.claim("thief") is None
        assert not other.heartbeat(job.id, claimed.lease_token).is_lost
        other.close()
    assert store.complete(job.id, claimed.lease_token, files={}) == "completed"
    done = store.get(job.id)
    assert done.created_us <= done.started_us <= done.finished_us <= done.expires_us
    store.close()


def test_a_boot_ends_all_leases_of_sqlite(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = quick_folder / "boot_id"
    boot.write_text("first\n")
    monkeypatch.setattr(database, "BOOT_ID", boot)
    store = JobStore.open(sqlite_url(quick_folder))
    job = store.submit(new_job()).job
    claimed = store.claim("w", lease_s=3600)
    assert JobStore.open(sqlite_url(quick_folder)).claim("other") is None
    store.close()
    boot.write_text("second\n")
    monkeypatch.setattr(time, "monotonic_ns", lambda real=time.monotonic_ns: real() // 1000)  # it begins anew
    store = JobStore.open(sqlite_url(quick_folder))
    again = store.claim("other")
    assert again is not None and (again.id, again.attempt) == (job.id, 2)
    assert store.heartbeat(job.id, claimed.lease_token).is_lost
    for number in range(5):  # a machine that dies is no fault of the job
        store.close()
        boot.write_text(f"{number}\n")
        store = JobStore.open(sqlite_url(quick_folder))
        again = store.claim("other")
        assert again is not None and (again.id, again.num_crashes) == (job.id, 0)
    assert store.tallies() == {"attempts:rebooted": 6}
    store.request_cancel(job.id)
    store.close()
    boot.write_text("last\n")
    store = JobStore.open(sqlite_url(quick_folder))
    assert [each.error_code for each in store.reap()] == ["canceled"]
    store.close()


def test_a_store_of_the_first_version_is_brought_up_to_date(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = alembic().command.upgrade
    monkeypatch.setattr(alembic().command, "upgrade", lambda config, _: real(config, "0001"))
    opened = Database(store_url)
    values = {column.name: 0 for column in schema.jobs.columns if isinstance(column.type, sa.BigInteger)}
    values |= {column.name: "x" for column in schema.jobs.columns if isinstance(column.type, sa.Text)}
    values |= {"id": f"video_{1:032x}", "state": "in_progress", "lease_until_us": 1, "max_attempts": 3, "attempt": 1}
    values |= {"params": "{}", "files": "{}", "facts": "{}", "warnings": "[]", "error_code": None, "finished_us": None}
    values |= {name: False for name in ("is_cancel_requested", "is_expired", "is_purged")}
    values |= {"deleted_us": None, "deadline_us": 2**62}
    del values["crash_step"]
    with opened.writing() as transaction:
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        transaction.connection.execute(sa.text(f"INSERT INTO jobs ({names}) VALUES ({marks})"), values)
    opened.close()
    monkeypatch.undo()
    store = JobStore.open(store_url)
    assert [each.outcome for each in store.reap()] == ["queued"]
    assert store.tallies() == {"attempts:lease_lost": 1, "lease_lost": 1}
    store.close()
