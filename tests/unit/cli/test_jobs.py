"""``cogvideox jobs``."""

import time
from typing import Any

import pytest

from cogvideox.cli import jobs


def test_nothing_of_a_list_is_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    video: dict[str, Any] = {"id": f"video_{1:032x}", "status": "in_progress", "progress": 100}
    video |= {"created_at": 1_800_000_000, "prompt": "a fox that walks to the right, slowly, in snow"}

    class Client:
        def videos(self, _: int) -> list[dict[str, Any]]:
            return [video]

    monkeypatch.setattr(jobs, "_client", lambda _: Client())
    assert jobs.list_jobs() == 0
    rows = capsys.readouterr().out.splitlines()
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(video["created_at"]))
    assert len(rows) == 2
    assert all(text in rows[1] for text in (video["id"], "in_progress", "100 %", made, video["prompt"]))
