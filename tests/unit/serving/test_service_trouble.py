"""``cogvideox serve`` when processes hang, the database is away, and nobody reads what it says."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest

from cogvideox.serving.api import listen
from postgres_server import PostgresServer
from running_service import Served, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
PASSWORD = "Pa55-w0rd"


def code_of(served: Served, path: str) -> str:
    """Return the error of an answer, empty for none."""
    try:
        served.ask(path)
    except urllib.error.HTTPError as error:
        return f"{error.code} {json.loads(error.read())['error']['code']}"
    return ""


def test_what_hangs_is_replaced(quick_folder: Path) -> None:
    served = Served(quick_folder, "--hang", "3", log=quick_folder / "log")
    try:
        wait_for(lambda: served.ask("/readyz")["status"] == "ready")
        before = served.children()
        for pid in before.values():
            os.kill(pid, signal.SIGSTOP)
        assert served.ask("/livez")["status"] == "alive"  # sent to the one that hangs, answered by the next
        wait_for(lambda: not set(served.children().values()) & set(before.values()))
        wait_for(lambda: served.ask("/readyz")["status"] == "ready")
        told = (quick_folder / "log").read_text()
        assert told.count("shows no sign of life") == 2 and "Traceback" not in told
        # A stopped API does not outlive its supervisor: it would keep the port, and take requests of the next service.
        os.kill(served.children()["api"], signal.SIGSTOP)
        served.process.kill()
        served.process.wait()

        def is_free() -> bool:
            try:
                listen("127.0.0.1", served.port).close()
            except ValueError:
                return False
            return True

        wait_for(is_free)
    finally:
        served.end()


def test_a_database_that_goes_away_and_comes_back(postgres: PostgresServer, quick_folder: Path) -> None:
    url = postgres.new_database().replace("postgres@", f"postgres:{PASSWORD}@")
    log = quick_folder / "log"
    is_away = False
    served = Served(quick_folder, log=log, environment={"COGVIDEOX_STORE": url})
    try:
        wait_for(lambda: served.ask("/readyz")["status"] == "ready")
        job = served.ask("/v1/videos", {"prompt": "step:0.01 a fox"})
        postgres.stop()
        is_away = True
        assert code_of(served, "/v1/videos") == "503 not_ready"
        os.kill(served.children()["api"], signal.SIGKILL)  # one that starts now finds no database
        wait_for(lambda: code_of(served, "/v1/videos") == "503 not_ready")
        assert served.ask("/livez")["status"] == "alive"
        shown = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        postgres.start()
        is_away = False
        wait_for(lambda: served.ask("/readyz")["status"] == "ready")
        wait_for(lambda: served.ask(f"/v1/videos/{job['id']}")["status"] == "completed")
    finally:
        served.end()
        if is_away:
            postgres.start()
    told = log.read_text()
    assert "Traceback" not in told and PASSWORD not in told + shown


def test_a_store_that_is_moved_away_while_it_is_served(quick_folder: Path) -> None:
    data, log = quick_folder / "data", quick_folder / "log"
    served = Served(data, log=log)
    try:
        wait_for(lambda: served.ask("/readyz")["status"] == "ready")
        (data / "jobs.sqlite3").rename(quick_folder / "away")
        with pytest.raises(urllib.error.HTTPError) as refused:
            served.ask("/v1/videos", {"prompt": "a fox"})
        assert refused.value.code == 503 and b"not_ready" in refused.value.read()
        wait_for(lambda: code_of(served, "/readyz") == "503 not_ready")
        for pid in served.children().values():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: "api cannot start" in log.read_text() and "worker 1 cannot start" in log.read_text())
        assert not (data / "jobs.sqlite3").exists()  # no new store that would take jobs, and lose them
        (quick_folder / "away").rename(data / "jobs.sqlite3")
        wait_for(lambda: served.ask("/readyz")["status"] == "ready")
        job = served.ask("/v1/videos", {"prompt": "step:0.01 a fox"})
        wait_for(lambda: served.ask(f"/v1/videos/{job['id']}")["status"] == "completed")
    finally:
        served.end()
    assert "was moved or replaced" in log.read_text() and "Traceback" not in log.read_text()


def test_a_service_without_its_database_does_not_start(quick_folder: Path) -> None:
    command = [sys.executable, "-m", "cogvideox", "serve", "--port", "0", "--data-dir", str(quick_folder)]
    url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:1/jobs"
    given = os.environ | {"COGVIDEOX_STORE": url}
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=given)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.count("\n") == 1 and "Connection refused" in refused.stderr and PASSWORD not in refused.stderr
    again = [*command, "--store", url]
    refused = subprocess.run(again, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2 and "COGVIDEOX_STORE" in refused.stderr and PASSWORD not in refused.stderr


@pytest.mark.parametrize("verb", [["models", "list"], ["models", "list", "--json"], ["--help"]])
def test_output_that_nobody_reads_is_no_error(verb: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "cogvideox", *verb]
    told = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert told.stderr == "" and told.returncode == 1
