"""The folder of a run. All processes of a run call its methods; the main one reads and writes."""

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from cogvideox.durable_files import (
    locked,
    newer_folder,
    read_json,
    recover_folder,
    remove_temporary_files,
    replace_folder,
    replace_text,
)
from cogvideox.parallel.world import World
from cogvideox.settings import changed_keys, resolved_json
from cogvideox.training.run_log import RunLog
from cogvideox.training.states import StateStore

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RunFolder:
    """Recipe, states, log, samples and checkpoint of a run; locked while it is open as a context.

    Raises:
        ValueError: on opening, another process has the folder.
    """

    def __init__(self, run_dir: Path, world: World, *, num_kept_states: int) -> None:
        self._run_dir = run_dir
        self._world = world
        self._states = StateStore(run_dir / "state", num_kept_states)
        self._checkpoint = run_dir / "checkpoint"
        self._checkpoint_error: OSError | None = None
        self._log: RunLog | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "RunFolder":
        with self._stack:
            self._on_main(self._open)
            self._stack = self._stack.pop_all()
        return self

    def _open(self) -> None:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(
            locked(self._run_dir, f"another process trains in {self._run_dir}: wait for it or choose another --run-dir")
        )
        for folder in (self._run_dir, self._states.folder):
            remove_temporary_files(folder)
        recover_folder(self._checkpoint)

    def __exit__(self, *_: object) -> None:
        with self._stack:
            try:
                self._states.wait()
            finally:
                if self._log is not None:
                    self._log.close()

    def _on_main(self, action: Callable[[], T]) -> T | None:
        """Return what the main process's action returns, None on the others; all raise when it raises."""
        result, error = None, None
        if self._world.is_main:
            try:
                result = action()
            except Exception as caught:
                error = caught
        if not self._world.agree(error is None):
            raise error or ValueError(f"{self._run_dir}: the main process could not go on and says why")
        return result

    def warn_of_changes(self, recipe: Any) -> None:
        """Say what has changed since the recipe that the folder was last used with."""
        path = self._run_dir / "recipe.json"
        if not self._world.is_main or not path.exists():
            return
        changes = changed_keys(read_json(path), json.loads(resolved_json(recipe)))
        if changes:
            names = ", ".join(key or "all" for key in changes)
            logger.warning("%s: the recipe has changed since this run began: %s", self._run_dir, names)

    def write_recipe(self, recipe: Any) -> None:
        """Write the resolved recipe."""
        path, text = self._run_dir / "recipe.json", resolved_json(recipe)

        def write() -> None:
            if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
                replace_text(path, text)

        self._on_main(write)

    def resume(self, load_state_dict: Callable[[dict[str, Any]], None]) -> tuple[int, float]:
        """Restore the newest state; return the steps done and their time, 0 when there is none.

        Raises:
            ValueError: no saved state is readable, or it belongs to another recipe.
        """
        saved = self._on_main(self._states.read_newest)
        step = int(self._world.from_main(torch.tensor(-1 if saved is None else saved["step"])))
        elapsed_s = 0.0
        if step >= 0:
            saved = self._states.read(step) if saved is None else saved
            try:
                load_state_dict(saved["state"])
            except (RuntimeError, KeyError, ValueError) as error:
                path = self._states.path(step)
                raise ValueError(f"{path}: does not fit this recipe ({error}); choose another --run-dir") from None
            elapsed_s = float(saved["elapsed_s"])
            if self._world.is_main:
                logger.info("resumed %s at step %d", self._run_dir, step)
        self._log = self._on_main(lambda: RunLog(self._run_dir, max(step, 0)))
        return max(step, 0), elapsed_s

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log the values of a step, if any."""
        if self._log is not None and values:
            self._log.add(step, values)

    def write_samples(self, write: Callable[[Path], dict[str, float]], step: int) -> dict[str, float]:
        """Write the samples of a step; return the values to log."""
        path = self._run_dir / "samples" / f"step_{step:07d}.png"
        try:
            return write(path)
        except (OSError, SafetensorError) as error:
            logger.warning("%s: not written (%s); training goes on", path, _reason(error))
            return {}

    def write_checkpoint(self, write: Callable[[Path], None], step: int) -> None:
        """Write the averaged weights in the published layout in the place of those before."""
        newer = newer_folder(self._checkpoint)
        try:
            if self._world.is_main:
                recover_folder(self._checkpoint)
            write(newer)
            if self._world.is_main:
                replace_folder(self._checkpoint)
                replace_text(self._run_dir / "checkpoint.json", f'{{"step": {step}}}\n')
            self._checkpoint_error = None
        except (OSError, SafetensorError) as error:
            logger.warning("%s: not written (%s); training goes on", self._checkpoint, _reason(error))
            self._checkpoint_error = OSError(_reason(error))
            if self._world.is_main:
                recover_folder(self._checkpoint)

    def has_checkpoint_of(self, step: int) -> bool:
        """Whether the checkpoint holds the weights after a step."""
        mark = read_json(self._run_dir / "checkpoint.json") if self._world.is_main else None
        return self._world.agree(self._checkpoint.exists() and mark == {"step": step})

    def save_state(self, make_state: Callable[[], dict[str, Any]], step: int, elapsed_s: float) -> None:
        """Copy the state of the run and write it while training goes on."""
        if self._world.is_main:
            self._states.wait()  # before another copy takes memory
        state = make_state()
        if self._world.is_main:
            assert self._log is not None
            self._log.sync()
            self._states.save(step, elapsed_s, state)

    def require_written(self) -> None:
        """Wait for the state that is being written.

        Raises:
            OSError: the last state or the last checkpoint could not be written.
        """
        self._on_main(self._require_written)

    def _require_written(self) -> None:
        state_error = self._states.wait()
        error = state_error or self._checkpoint_error
        if error is not None:
            name = "its last state" if state_error else "its checkpoint"
            raise OSError(
                f"{self._run_dir}: {name} could not be written ({_reason(error)}); make room and run the command "
                "again, it goes on from the last state that was"
            )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
