import json
import time
from pathlib import Path

import pytest

from cogvideox.cli.main import main
from cogvideox.serving.api import listen
from cogvideox.serving.database import Database
from cogvideox.serving.files import FileStore
from cogvideox.serving.keys import KeyRing, kept_pepper
from postgres_server import PostgresServer


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, str]]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", *arguments])
    findings = json.loads(capsys.readouterr().out.splitlines()[-1])["data"]["findings"]
    assert all(finding["fix"] for finding in findings if finding["verdict"] == "fail")
    return int(str(ended.value.code or 0)), {finding["name"]: finding["verdict"] for finding in findings}


def test_a_sound_machine_and_one_that_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(capsys, "--data-dir", str(tmp_path / "new"), "--port", "0")
    assert code == 0 and "fail" not in found.values() and not (tmp_path / "new").exists()
    (tmp_path / "jobs.sqlite3").write_bytes(b"no database" * 100)
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        code, found = run(capsys, "--data-dir", str(tmp_path), "--port", str(port), "--model", "none/such")
    assert code == 3
    assert [name for name, verdict in found.items() if verdict == "fail"] == ["job store", "model", "port"]
    assert (tmp_path / "jobs.sqlite3").read_bytes() == b"no database" * 100


def test_doctor_tells_what_others_can_read_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    secret = tmp_path / "url"
    secret.write_text(f"sqlite:///{folder}/jobs.sqlite3")
    secret.chmod(0o644)
    common = ("--data-dir", str(folder), "--port", "0", "--store-file", str(secret))
    code, found = run(capsys, *common)
    assert code == 0 and found["permissions"] == "warn" and list(folder.iterdir()) == []
    folder.chmod(0o700)
    secret.chmod(0o600)
    wrong = ("--host", "0.0.0.0", "--device", "gpu", "--ray-address", "127.0.0.1:1")
    code, found = run(capsys, *common, *wrong)
    assert code == 3 and found["permissions"] == "ok"
    assert [name for name, verdict in found.items() if verdict == "fail"] == ["keys", "device", "ray"]
    (folder / "files").symlink_to(tmp_path)
    code, found = run(capsys, *common)
    assert code == 3 and found["data directory"] == "fail"


def test_doctor_tells_of_a_store_or_a_pepper_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--data-dir", str(tmp_path), "--port", "0")
    FileStore(tmp_path).keep_bytes(b"a video")
    code, found = run(capsys, *common)
    assert (code, found["job store"]) == (3, "fail") and not (tmp_path / "jobs.sqlite3").exists()
    database = Database(f"sqlite:///{tmp_path}/jobs.sqlite3")
    KeyRing(database, kept_pepper(tmp_path, database)).new("a")
    database.close()
    assert run(capsys, *common)[1]["keys"] == "ok"
    (tmp_path / "pepper").unlink()
    code, found = run(capsys, *common)
    assert (code, found["keys"]) == (3, "fail") and not (tmp_path / "pepper").exists()


def test_doctor_compares_clocks_and_shows_no_password(
    postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_database().replace("postgres@", "postgres:sekret@")
    monkeypatch.setenv("COGVIDEOX_STORE", url)
    code, found = run(capsys, "--data-dir", str(tmp_path), "--port", "0")
    assert code == 0 and found["job store"] == found["clock"] == "ok"
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    _, found = run(capsys, "--data-dir", str(tmp_path), "--port", "0")
    assert found["clock"] == "warn"
    monkeypatch.setenv("COGVIDEOX_STORE", "postgresql://postgres:sekret@127.0.0.1:1/x")
    with pytest.raises(SystemExit):
        main(["doctor", "--data-dir", str(tmp_path), "--port", "0"])
    told = capsys.readouterr()
    assert "fail  job store" in told.out and "sekret" not in told.out + told.err
