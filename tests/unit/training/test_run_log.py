import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cogvideox.training.run_log import RunLog


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_have_values_but_no_times(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    log.add(1, {"loss": 0.5, "elapsed_s": 3.0, "norm": float("inf")})
    assert lines(tmp_path) == [{"step": 1, "loss": 0.5, "norm": None}]
    log.close()


def test_what_had_no_room_follows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = RunLog(tmp_path, 0)
    log.add(1, {"loss": 1.0})
    file = log._metrics
    with open("/dev/full", "ab", buffering=0) as log._metrics:
        log.add(2, {"loss": 2.0})
        log.add(3, {"loss": 3.0})
    assert len(caplog.messages) == 1 and "No space left on device" in caplog.messages[0]
    log._metrics = file
    log.add(4, {"loss": 4.0})
    log.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_a_board_that_cannot_be_written_is_opened_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    board = tmp_path / "tensorboard"
    board.write_text("in the way of the folder")
    log = RunLog(tmp_path, 0)
    log.add(1, {"loss": 1.0})
    assert len(caplog.messages) == 1
    board.unlink()
    log.sync()
    log.add(2, {"loss": 2.0})
    log.close()
    events = EventAccumulator(str(board))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2]
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_later_and_half_lines_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nno json\n{"step": 2}\n{"step": 3}\n{"step": 2')
    RunLog(tmp_path, 2).close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
