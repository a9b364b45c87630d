"""The training loop: batch, step, log, sample, save, resume. Knows no model.

A run is a folder: ``recipe.json`` (resolved), ``state/`` (the newest states, each all that is needed to go on),
``metrics.jsonl`` and ``tensorboard/``, ``samples/`` (contact sheets) and ``checkpoint/`` (the averaged weights, in the
published layout). Batch n of a run is a function of the recipe's seed and n, and so are PyTorch's random numbers in it:
a resumed run sees what an uninterrupted one would have seen.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cogvideox.parallel.world import World
from cogvideox.training.learning_rate import require_positive, scheduled_rate
from cogvideox.training.run_folder import RunFolder
from cogvideox.training.stop_request import StopRequest

ALONE = World()
"""One process."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What every training run has in common."""

    seed: int = 0
    max_gradient_norm: float = 1.0
    average_decay: float = 0.999
    """Of the exponential moving average, whose weights are the ones published."""
    log_every_steps: int = 20
    sample_every_steps: int = 500
    """How often samples and checkpoint are written; they are at the end too."""
    save_every_s: float = 300.0
    """How often the state is saved; it is at the end and at an interruption too."""
    save_every_steps: int = 0
    """Saves also after every so many steps; 0 goes by time only."""
    num_kept_states: int = 2
    """A damaged state costs no run as long as there is one before it."""

    def __post_init__(self) -> None:
        require_positive(self, "log_every_steps", "sample_every_steps", "num_kept_states")
        if not self.max_gradient_norm > 0:  # infinite: never clipped
            raise ValueError(f"max_gradient_norm: expected a positive number, got {self.max_gradient_norm}")
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay: expected 0 to below 1, got {self.average_decay}")
        if self.save_every_steps < 0:
            raise ValueError(f"save_every_steps: expected 0 or more, got {self.save_every_steps}")


@dataclass(frozen=True, kw_only=True)
class RunSettings(LoopSettings):
    """A run of one learning rate schedule and one batch size."""

    num_steps: int
    """Optimizer steps of the whole run; raise it and resume to train longer."""
    batch_size: int
    learning_rate: float = 1e-3
    """Peak; reached after `num_warmup_steps`, held, then lowered to 0 along the last `decay_share` of the run."""
    num_warmup_steps: int = 100
    decay_share: float = 0.25
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "num_steps", "batch_size", "learning_rate")
        if not 0 <= self.decay_share <= 1:
            raise ValueError(f"decay_share: expected 0 to 1, got {self.decay_share}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step 0, 1, ... ``num_steps - 1``: warm up, hold, decay linearly."""
        return scheduled_rate(
            step,
            num_steps=self.num_steps,
            peak=self.learning_rate,
            num_warmup_steps=self.num_warmup_steps,
            schedule="hold",
            decay_share=self.decay_share,
        )


class TrainStep(Protocol):
    """What one step means for a model. Owns the model, its optimizers and its average.

    In a run of several processes all call every method, so each may speak with the others; only the main process writes
    files.
    """

    def make_batch(self, step: int) -> Any:
        """Return the batch of this step, the same for the same step."""
        ...

    def __call__(self, batch: Any, learning_rate: float) -> dict[str, Tensor]:
        """Update the weights once; return scalars to log.

        A value that is not finite ends the run, unless ``num_skipped`` is among them: then the step guards its updates
        itself (`cogvideox.training.update_guard`).
        """
        ...

    def write_samples(self, path: Path) -> dict[str, float]:
        """Write a contact sheet PNG of the present (averaged) model; return scalars to log."""
        ...

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights in the published layout."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs to go on as if never stopped: tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


def train(
    step_function: TrainStep,
    settings: LoopSettings,
    run_dir: Path,
    *,
    recipe: Any,
    num_steps: int | None = None,
    learning_rate_at: Callable[[int], float] | None = None,
    world: World = ALONE,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Run, or go on with, a training run until its last step.

    The state is written while training goes on. What cannot be written (a full disk) is a warning of the logger
    ``cogvideox`` and is tried again at the next occasion; only at the end of the run it is an error.

    Args:
        step_function: the model's step.
        settings: the run's settings.
        run_dir: the run's folder; the newest undamaged state in it is resumed.
        recipe: the whole resolved recipe, written beside the results.
        num_steps: of the whole run; by default that of `RunSettings`.
        learning_rate_at: the rate of step 0, 1, ...; by default that of `RunSettings`.
        world: the processes that train together.
        on_step: called by the main process after each step with the number of steps done and, when they were logged,
            the scalars.

    Raises:
        ValueError: another process trains in the folder, or no state in it is readable, or it does not fit the recipe.
        OSError: the last state or the last checkpoint could not be written.
        KeyboardInterrupt: Ctrl-C, SIGTERM or ``on_step`` asked to stop; the step was completed and the state saved.
    """
    if isinstance(settings, RunSettings):
        num_steps = settings.num_steps if num_steps is None else num_steps
        learning_rate_at = settings.learning_rate_at if learning_rate_at is None else learning_rate_at
    if num_steps is None or learning_rate_at is None:
        raise ValueError("num_steps, learning_rate_at: expected both, because the settings hold no schedule")
    folder = RunFolder(run_dir, world, num_kept_states=settings.num_kept_states)
    with StopRequest() as stop, folder:
        folder.warn_of_changes(recipe)
        done, elapsed_s = folder.resume(step_function.load_state_dict)
        folder.write_recipe(recipe)
        loop = _Loop(step_function, settings, folder, world, num_steps, elapsed_s)
        was_finished = done >= num_steps
        # Whichever process is told to stop, all do.
        is_stopped = _is_any(stop.is_made, world)
        while done < num_steps and not is_stopped:
            values = loop.step(done, learning_rate_at(done))
            done += 1
            if on_step is not None and world.is_main:
                try:
                    on_step(done, values)
                except KeyboardInterrupt:
                    stop.is_made = True
            is_stopped = _is_any(stop.is_made, world)
            loop.save_if_due(done, must=is_stopped)
        if is_stopped:
            raise KeyboardInterrupt
        if was_finished and not folder.has_checkpoint_of(done):
            folder.write_checkpoint(step_function.save_checkpoint, done)
        folder.require_written()


class _Loop:
    """The parts of a step that surround the model's."""

    def __init__(
        self,
        step_function: TrainStep,
        settings: LoopSettings,
        folder: RunFolder,
        world: World,
        num_steps: int,
        elapsed_s: float,
    ) -> None:
        self._step_function = step_function
        self._settings = settings
        self._folder = folder
        self._world = world
        self._num_steps = num_steps
        self._last_save_at_s = time.monotonic()
        self._started_at_s = self._last_save_at_s - elapsed_s

    def step(self, index: int, learning_rate: float) -> dict[str, float]:
        """Do step ``index``, log, sample; return what was logged."""
        settings, step_function, folder = self._settings, self._step_function, self._folder
        torch.manual_seed(_seed_of_step(settings.seed, index, self._world.rank))
        scalars = step_function(step_function.make_batch(index), learning_rate)
        done = index + 1
        values: dict[str, float] = {}
        if self._is_due(done, settings.log_every_steps):
            values = {name: float(value) for name, value in scalars.items()} | {"learning_rate": learning_rate}
            _require_finite(values, done, self._world)
            values["elapsed_s"] = time.monotonic() - self._started_at_s
        if self._is_due(done, settings.sample_every_steps):
            values |= folder.write_samples(step_function.write_samples, done)
            folder.write_checkpoint(step_function.save_checkpoint, done)
        folder.log(done, values)
        return values

    def _is_due(self, done: int, every_steps: int) -> bool:
        return done == self._num_steps or (every_steps > 0 and done % every_steps == 0)

    def save_if_due(self, done: int, *, must: bool) -> None:
        """Save the state after steps or seconds, at the last step and when it must be."""
        now_s = time.monotonic()
        is_due = must or self._is_due(done, self._settings.save_every_steps)
        if is_due or self._world.agree(now_s - self._last_save_at_s > self._settings.save_every_s):
            self._folder.save_state(self._step_function.state_dict, done, now_s - self._started_at_s)
            self._last_save_at_s = now_s


def _seed_of_step(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])


def _is_any(flag: bool, world: World) -> bool:
    return bool(world.sum(torch.tensor(float(flag))) > 0)


def _require_finite(values: dict[str, float], step: int, world: World) -> None:
    broken = [] if "num_skipped" in values else [name for name in values if not math.isfinite(values[name])]
    if _is_any(bool(broken), world):
        name = broken[0] if broken else "a value of another process"
        raise ValueError(
            f"{name} is {values.get(name, 'not finite')} at step {step}: lower the learning rate and resume from the "
            "last saved state"
        )
