import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import small_run
from cogvideox import durable_files
from cogvideox.cli.output import BAD_INPUT, exit_code_of
from cogvideox.durable_files import (
    newer_folder,
    recover_folder,
    remove_temporary_files,
    replace_folder,
    replacing,
)
from cogvideox.settings import changed_keys
from small_run import newest_state

SCRIPT = [sys.executable, small_run.__file__]
PATHS = os.pathsep.join([str(Path(small_run.__file__).parent), str(Path(small_run.__file__).parents[1] / "src")])


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SCRIPT, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": PATHS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> list[tuple[str, str]]:
    texts = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, texts, strict=True):
        assert process.returncode == 0, errors
    return texts


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(tmp_path: Path) -> None:
    texts = finish(start("whole", tmp_path / "whole"), start("kills", tmp_path / "killed"))
    exit_code, num_amid_writing, num_half_checkpoints = json.loads(texts[1][0])
    assert exit_code == 0 and num_amid_writing > 0 and num_half_checkpoints == 0
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    torch.testing.assert_close(newest_state(killed)["state"], newest_state(whole)["state"], rtol=0, atol=0)
    for name in ("metrics.jsonl", "checkpoint/first", "checkpoint.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert len((killed / "metrics.jsonl").read_text().splitlines()) == small_run.NUM_BIG_STEPS
    assert not list(killed.rglob("*.tmp")) and not list(killed.glob("checkpoint.[no]*"))


def test_a_full_disk_is_a_warning_and_at_the_end_an_error(tmp_path: Path) -> None:
    ((printed, warnings),) = finish(start("full", tmp_path))
    passing, lasting = tmp_path / "passing", tmp_path / "lasting"
    assert f"{passing}/state/step_0000007.pt: not saved (File too large); training goes on" in warnings
    assert newest_state(passing)["step"] == 20
    assert printed.startswith(f"{lasting}: its last state could not be written (File too large); make room and run")
    assert not list(tmp_path.rglob("*.tmp"))
    saved_step = newest_state(lasting)["step"]
    assert saved_step in (4, 5)  # the last one may have been in writing
    resumed = small_run.run(lasting, 20, step=small_run.LineStep(width=256))
    assert resumed.seen[0] == saved_step and newest_state(lasting)["step"] == 20
    assert exit_code_of(OSError(printed)) == BAD_INPUT


def test_two_processes_write_once_and_resume_equally(tmp_path: Path) -> None:
    finish(start("group", tmp_path, "0"), start("group", tmp_path, "1"))
    assert not (tmp_path / "unused").exists()
    results = [torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True) for rank in (0, 1)]
    for result in results:
        assert result["seen"] == list(range(8, 20))
        for state in result["states"]:
            torch.testing.assert_close(state, results[0]["states"][0], rtol=0, atol=0)
    assert (tmp_path / "cut" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    (tmp_path / "other.tmp").touch()
    remove_temporary_files(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("has_old", [True, False])
@pytest.mark.parametrize("call", ["write", "sync", "rename 1", "rename 2", "remove", "none"])
def test_a_folder_is_whole_after_a_kill_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, has_old: bool
) -> None:
    folder = tmp_path / "checkpoint"
    num_renames = 0

    def killed_rename(path: Path, target: Path) -> Path:
        nonlocal num_renames
        num_renames += 1
        if call == f"rename {num_renames}":
            raise Killed
        os.rename(path, target)
        return target

    def killed_at(name: str):
        def action(*_: object, **__: object) -> None:
            if call == name:
                raise Killed

        return action

    def fill(name: str) -> None:
        newer_folder(folder).mkdir()
        (newer_folder(folder) / "name").write_text(name)

    if has_old:
        fill("old")
        replace_folder(folder)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed_rename)
        patched.setattr(durable_files, "_sync_tree", killed_at("sync"))
        if call == "remove":
            patched.setattr(shutil, "rmtree", killed_at("remove"))
        try:
            fill("new")
            killed_at("write")()
            replace_folder(folder)
        except Killed:
            pass
    recover_folder(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["checkpoint"])
    if has_old:
        assert (folder / "name").read_text() in ("old", "new")
    if call in ("remove", "none") or (call == "rename 2" and has_old):
        assert not has_old or (folder / "name").read_text() == "new"


def test_changed_keys_are_dotted_and_leave_run_lengths_out() -> None:
    old = {"run": {"num_steps": 1, "seed": 0}, "stages": [{"num_steps": 2, "rate": 1.0}], "gone": 1}
    new = {"run": {"num_steps": 5, "seed": 1}, "stages": [{"num_steps": 9, "rate": 2.0}], "added": {"x": 1}}
    assert changed_keys(old, new) == ["run.seed", "stages.0.rate", "gone", "added"]
    assert changed_keys(old["stages"], [*old["stages"], {"num_steps": 1}], "stages") == ["stages"]
    assert changed_keys(old, old) == []
