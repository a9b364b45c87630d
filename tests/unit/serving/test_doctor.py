import json
from pathlib import Path

import pytest

from cogvideox.cli.main import main
from cogvideox.serving.api import listen


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
