"""Flags of ``serve`` and ``worker``: all of them arrive, wrong ones are told in one line, and no secret is shown."""

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cogvideox.cli import serving_flags
from cogvideox.cli.main import main
from cogvideox.serving import supervisor, worker_main
from cogvideox.serving.database import Database
from cogvideox.serving.job import StoreError
from cogvideox.serving.serving_log import JsonLines

GIB, MIB = 2**30, 2**20


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("COGVIDEOX_STORE", "COGVIDEOX_STORE_FILE", "COGVIDEOX_CHAT_KEY"):
        monkeypatch.delenv(name, raising=False)
    before = os.umask(0o022)
    logger = logging.getLogger("cogvideox")
    handlers, does_propagate, level = logger.handlers, logger.propagate, logger.level
    yield
    os.umask(before)
    logger.handlers, logger.propagate = handlers, does_propagate
    logger.setLevel(level)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[supervisor.ServiceSettings]:
    """What services were to be started with."""
    made: list[supervisor.ServiceSettings] = []

    def run(self: supervisor.Supervisor, on_ready: Any) -> None:
        made.append(self.settings)
        self._listener.close()
        on_ready()

    monkeypatch.setattr(supervisor.Supervisor, "run", run)
    return made


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(str(ended.value.code or 0))


def test_every_flag_arrives(
    served: list[supervisor.ServiceSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("COGVIDEOX_CHAT_KEY", "sekret")
    flags = "serve --port 0 --workers 3 --dtype float32 --grace 5 --keep-days 0.5 --max-queued 7 --max-queued-per-key 3"
    flags += " --max-running-per-key 2 --max-requests-per-minute 60 --min-free-gib 0.25 --device-memory-gib 12"
    flags += " --max-image-mb 20 --max-video-mb 100 --max-prompt 9000 --allow-fetch a.example b.example --lenient"
    flags += " --input-limit max_video_s=60 max_parts=5"
    flags += " --require-key --allowed-host v.example --log-prompts --chat-url http://localhost:1/v1 --chat-model m"
    assert run(*flags.split(), "--data-dir", str(tmp_path)) == 0
    service = served[0]
    api, worker = service.api, service.worker
    assert (service.num_workers, worker.grace_s, worker.engine.dtype) == (3, 5.0, "float32")
    assert api.retention_s == 43_200 and api.queue == worker.limits
    assert (api.queue.max_queued, api.queue.max_queued_per_owner, api.queue.max_running_per_owner) == (7, 3, 2)
    assert (api.max_requests_per_minute, api.floor.min_free_bytes, api.floor.min_free_share) == (60, GIB // 4, 0)
    assert api.device_memory_bytes == 12 * GIB
    inputs = api.inputs
    assert (inputs.max_image_bytes, inputs.max_video_bytes, inputs.max_prompt_length) == (20 * MIB, 100 * MIB, 9000)
    assert inputs.max_multipart_bytes > inputs.max_video_bytes and inputs.max_data_url_json_bytes > 26 * MIB
    assert (inputs.max_video_s, inputs.max_parts) == (60, 5)
    assert inputs.max_text_part_bytes >= 9000 * 4
    assert api.has_remote_fetch and api.fetch_domains == ("a.example", "b.example")
    assert api.compatibility == "lenient" and api.requires_key and api.allowed_hosts == ("v.example",)
    assert api.has_prompts_in_log and api.chat is not None and (api.chat.model, api.chat.api_key) == ("m", "sekret")
    assert "sekret" not in repr(service) + "".join(capsys.readouterr())
    assert run("serve", "--port", "0", "--data-dir", str(tmp_path), "--paused", "--allow-fetch") == 0
    api = served[1].api
    assert served[1].num_workers == 0 and "paused" in capsys.readouterr().out
    assert api.has_remote_fetch and api.fetch_domains == ()
    assert run("serve", "--port", "0", "--data-dir", str(tmp_path)) == 0
    api = served[2].api
    assert not (api.has_remote_fetch or api.requires_key or api.has_prompts_in_log) and api.chat is None
    assert (api.retention_s, served[2].num_workers, api.inputs.max_image_bytes) == (7 * 24 * 3600, 1, 10 * MIB)


def test_a_password_comes_by_the_environment_or_a_file(
    served: list[supervisor.ServiceSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    url = "postgresql://ann:sekret@db/jobs"
    common = ("serve", "--port", "0", "--data-dir", str(tmp_path))
    for wrong in (url, "postgresql://db/jobs?user=ann&password=sekret", "postgresql://db/jobs?sslpassword=sekret"):
        assert run(*common, "--store", wrong) == 2
        told = capsys.readouterr().err
        assert "COGVIDEOX_STORE" in told and "sekret" not in told and told.count("\n") == 1
    file = tmp_path / "url"
    file.write_text(url + "\n")
    assert run(*common, "--store-file", str(file)) == 0
    monkeypatch.setenv("COGVIDEOX_STORE_FILE", str(file))
    assert run(*common) == 0
    monkeypatch.setenv("COGVIDEOX_STORE", url.replace("db", "other"))
    assert run(*common) == 0
    assert run(*common, "--store", "postgresql://third/jobs") == 0
    hosts = [settings.api.store_url.rpartition("@")[2] for settings in served]
    assert hosts == ["db/jobs", "db/jobs", "other/jobs", "postgresql://third/jobs"]
    assert all(settings.worker.store == settings.api.store_url for settings in served)
    assert "sekret" not in repr(served[0].api)


@pytest.mark.parametrize(
    "url", ["postgresql://u:sek@ret@h/d", "postgresql://u@h:sekret/d", "postgresql://u:sekret@127.0.0.1:1/d?x=sekret"]
)
def test_what_is_told_of_a_store_has_no_password(url: str) -> None:
    with pytest.raises(StoreError) as told:
        Database(url)
    assert "sek" not in str(told.value) and "ret" not in str(told.value) and told.value.__cause__ is None


def test_the_log_shows_no_secrets() -> None:
    key = "cogvideox_" + "ab" * 40
    text = f"{key} Bearer abcdefghijkl postgresql://u:sekret@h/d?password=sekret 'https://h/x'"
    record = logging.LogRecord("a", logging.ERROR, "f", 1, text, None, None)
    record.job_id = "video_1"
    line = json.loads(JsonLines().format(record))
    assert "sekret" not in line["event"] and "ab" * 20 not in line["event"] and "abcdefghijkl" not in line["event"]
    assert "cogvideox_abababab" in line["event"] and "https://h/x" in line["event"] and line["job_id"] == "video_1"


def test_a_worker_is_told_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    started: list[Any] = []
    monkeypatch.setattr(worker_main, "run_worker", started.append)
    assert run("worker", "--store", "postgresql://db/jobs") == 2
    assert "--data-dir" in capsys.readouterr().err and not started
    assert (
        run("worker", "--store", "postgresql://db/jobs", "--data-dir", str(tmp_path), "--max-running-per-key", "2") == 0
    )
    assert started[0].data_dir == tmp_path and started[0].limits.max_running_per_owner == 2


@pytest.mark.parametrize(
    "verb",
    ["keys list", "keys revoke ab", "webhooks list", "webhooks test a", "webhooks enable a", "webhooks rm a", "worker"],
)
def test_who_only_looks_into_a_store_makes_none(verb: str, tmp_path: Path, capsys: Any) -> None:
    assert run(*verb.split(), "--data-dir", str(tmp_path / "typo")) == 3
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "there is none at" in told.err
    assert not (tmp_path / "typo").exists()
    (tmp_path / "jobs.sqlite3").touch()
    assert run(*verb.split(), "--data-dir", str(tmp_path)) == 3
    assert (tmp_path / "jobs.sqlite3").stat().st_size == 0 and len(list(tmp_path.iterdir())) == 1


def test_files_are_only_this_users(tmp_path: Path, served: list[supervisor.ServiceSettings]) -> None:
    folder = tmp_path / "data"
    Database(f"sqlite:///{folder}/jobs.sqlite3").close()  # whatever the umask
    assert folder.stat().st_mode & 0o077 == 0 and (folder / "jobs.sqlite3").stat().st_mode & 0o077 == 0
    assert run("serve", "--port", "0", "--data-dir", str(folder)) == 0
    assert os.umask(0o077) == 0o077


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        ("--port 99999", 2, "--port: expected 0 to 65535"),
        ("--host 203.0.113.7 --insecure-no-auth", 2, "--host"),
        ("--device gpu", 2, "--device: expected cpu"),
        ("--device cpu:1", 2, "--device: expected cpu"),
        ("--dtype float8", 2, "--dtype"),
        ("--model nonsense", 3, "'nonsense'"),
        ("--workers -1", 2, "--workers: expected at least 0"),
        ("--grace nan", 2, "--grace"),
        ("--keep-days 0", 2, "--keep-days: expected more than 0"),
        ("--max-queued -1", 2, "--max-queued"),
        ("--min-free-gib -1", 2, "--min-free-gib"),
        ("--device-memory-gib 0", 2, "--device-memory-gib"),
        ("--max-image-mb inf", 2, "--max-image-mb"),
        ("--input-limit max_vido_s=1", 2, "max_video_s"),
        ("--input-limit max_parts=many", 2, "max_parts"),
        ("--max-prompt 0", 2, "--max-prompt"),
        ("--allow-fetch https://x.example/", 2, "--allow-fetch: expected domains"),
        ("--chat-url http://localhost:1/v1", 2, "--chat-model"),
        ("--chat-url nonsense --chat-model m", 2, "--chat-url"),
        ("--require-key --insecure-no-auth", 2, "one of them"),
        ("--gpus-per-worker 1", 2, "--ray-address"),
        ("--store gibberish", 3, "postgresql://USER@HOST/NAME"),
        ("--store-file /no/such", 2, "--store-file"),
        ("extra", 2, "'extra'"),
        ("--prot 1", 2, "--port"),
    ],
)
def test_wrong_flags_are_told_in_one_line(flags: str, code: int, told: str, tmp_path: Path, capsys: Any) -> None:
    port = [] if "--port" in flags else ["--port", "0"]
    assert run("serve", *port, "--data-dir", str(tmp_path), *flags.split()) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and told in said.err and "Traceback" not in said.err


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_flags, "has_gpu_driver", lambda: False)
    with pytest.raises(ValueError, match="driver"):
        serving_flags.check_device("cuda:1")
    serving_flags.check_device("cuda:1", is_here=False)  # another machine's
    monkeypatch.setattr(serving_flags, "has_gpu_driver", lambda: True)
    monkeypatch.setattr(serving_flags, "is_torch_without_gpu", lambda: True)
    with pytest.raises(ValueError, match="CUDA"):
        serving_flags.check_device("cuda")
    monkeypatch.setattr(serving_flags, "is_torch_without_gpu", lambda: False)
    serving_flags.check_device("cuda")


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'sqlalchemy', 'fastapi', 'av', 'PIL'}"
    code = f"""import sys
from cogvideox.cli.main import main
try: main(['serve', '--help'])
except SystemExit: sys.exit(str({heavy} & sys.modules.keys() or ''))"""
    times_s = []
    for _ in range(3):
        begun = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        times_s.append(ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime)
        assert told.stderr.strip() == "" and "--max-queued-per-key" in told.stdout
    assert min(times_s) < 1  # of the processor, which does not depend on who else is busy; 0.4 s here
