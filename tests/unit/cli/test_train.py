"""How a training run ends on the command line: stopped, without room, changed."""

import signal
from pathlib import Path

import pytest

from cogvideox.cli.main import main
from cogvideox.cli.output import BAD_INPUT, INTERRUPTED, OK
from cogvideox.training import judge_step
from small_run import LineStep, newest_state


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text("[run]\nnum_steps = 10\nbatch_size = 8\nsample_every_steps = 5\nsave_every_s = 0.0\n")
    return path


def exit_code(monkeypatch: pytest.MonkeyPatch, step: LineStep, *arguments: str | Path) -> int:
    monkeypatch.setattr(judge_step, "JudgeStep", lambda settings, device: step)
    with pytest.raises(SystemExit) as raised:
        main(["train", "judge", *map(str, arguments)])
    assert isinstance(raised.value.code, int)
    return raised.value.code


def test_a_stopped_run_is_saved_and_goes_on(tmp_path: Path, recipe: Path, monkeypatch, capsys) -> None:
    class Stopped(LineStep):
        def make_batch(self, step: int):
            if step == 6:
                signal.raise_signal(signal.SIGTERM)
            return super().make_batch(step)

    arguments = (recipe, "--run-dir", tmp_path / "run")
    assert exit_code(monkeypatch, Stopped(), *arguments) == INTERRUPTED
    assert newest_state(tmp_path / "run")["step"] == 7 and "error: interrupted" in capsys.readouterr().err
    step = LineStep()
    assert exit_code(monkeypatch, step, *arguments, "--set", "run.batch_size=9") == OK
    assert step.seen == [7, 8, 9]
    printed = capsys.readouterr().err
    assert "warning: " in printed and "the recipe has changed since this run began: run.batch_size" in printed
    assert "step 10/10" in printed and f"checkpoint: {tmp_path}/run/checkpoint" in printed


def test_what_cannot_be_written_is_a_warning_and_then_an_error(
    tmp_path: Path, recipe: Path, monkeypatch, capsys
) -> None:
    class Full(LineStep):
        def save_checkpoint(self, directory: Path) -> None:
            raise OSError(28, "No space left on device")

    assert exit_code(monkeypatch, Full(), recipe, "--run-dir", tmp_path / "run") == BAD_INPUT
    printed = capsys.readouterr().err
    message = f"{tmp_path}/run/checkpoint: not written (No space left on device); training goes on"
    assert printed.count(f"warning: {message}") == 2 and printed.count("error: ") == 1
    assert newest_state(tmp_path / "run")["step"] == 10
