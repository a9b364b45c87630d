"""What a run logs: TensorBoard, and ``metrics.jsonl`` with one line per logged step.

``metrics.jsonl`` has no times, so an interrupted run's file equals an uninterrupted one's.
"""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from cogvideox.durable_files import replacing

logger = logging.getLogger(__name__)

TIMES = ("elapsed_s",)


class RunLog:
    """Appends to the log of a run that has done ``num_done`` steps; what it holds of later steps is dropped."""

    def __init__(self, run_dir: Path, num_done: int) -> None:
        self._path = run_dir / "metrics.jsonl"
        _drop_later_lines(self._path, num_done)
        self._metrics = self._path.open("ab", buffering=0)
        self._pending = b""
        self._has_failed = False
        self._board_folder = run_dir / "tensorboard"
        self._purge_step: int | None = num_done + 1
        self._board: SummaryWriter | None = None
        self._open_board()

    def add(self, step: int, values: dict[str, float]) -> None:
        """Write the values of a step. What cannot be written is a warning."""
        kept = {name: value if math.isfinite(value) else None for name, value in values.items() if name not in TIMES}
        self._pending += json.dumps({"step": step, **kept}).encode() + b"\n"
        self._write_pending()
        if self._board is None:
            return
        try:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()
        except OSError as error:
            self._drop_board(error)

    def sync(self) -> None:
        """Make all that was added durable, before a state that counts on it."""
        if self._board is None:
            self._open_board()
        self._write_pending()
        try:
            os.fsync(self._metrics.fileno())
        except OSError as error:
            self._warn(error)

    def close(self) -> None:
        """End the log."""
        self._metrics.close()
        if self._board is not None:
            try:
                self._board.close()
            except OSError as error:
                self._warn(error)

    def _write_pending(self) -> None:
        # A full disk may take a part of a line: the rest follows when there is space.
        try:
            while self._pending:
                self._pending = self._pending[self._metrics.write(self._pending) or 0 :]
            self._has_failed = False
        except OSError as error:
            self._warn(error)

    def _open_board(self) -> None:
        try:
            self._board = SummaryWriter(str(self._board_folder), purge_step=self._purge_step)
            self._purge_step = None
        except OSError as error:
            self._warn(error)

    def _drop_board(self, error: OSError) -> None:
        # Its thread has ended; the next `sync` opens a new file.
        self._board = None
        self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._has_failed:
            logger.warning("%s: the log could not be written (%s); training goes on", self._path.parent, error.strerror)
        self._has_failed = True


def _drop_later_lines(path: Path, num_done: int) -> None:
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith(b"\n") and _step(line) <= num_done]
    if kept != lines:
        with replacing(path) as file:
            file.writelines(kept)


def _step(line: bytes) -> float:
    """Return the step of a line, infinity for half a line of a killed process."""
    try:
        value: Any = json.loads(line)
        return value["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
