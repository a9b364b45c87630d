"""The training loop: batch, step, log, sample, save, resume. Knows no model.

A run is a folder: ``recipe.json`` (resolved), ``state.pt`` (everything needed to go on), ``tensorboard/``,
``samples/`` (contact sheets) and ``checkpoint/`` (the averaged weights, in the published layout). Batch n of a run is
a function of the recipe's seed and n, so a resumed run sees what an uninterrupted one would have seen.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cogvideox.settings import resolved_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What every training run has in common."""

    num_steps: int
    """Optimizer steps of the whole run; raise it and resume to train longer."""
    batch_size: int
    seed: int = 0
    learning_rate: float = 1e-3
    """Peak; reached after `num_warmup_steps`, held, then lowered to 0 along the last `decay_share` of the run."""
    num_warmup_steps: int = 100
    decay_share: float = 0.25
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    average_decay: float = 0.999
    """Of the exponential moving average, whose weights are the ones saved."""
    log_every_steps: int = 20
    sample_every_steps: int = 500
    save_every_s: float = 300.0

    def __post_init__(self) -> None:
        for field in ("num_steps", "batch_size", "learning_rate", "log_every_steps", "sample_every_steps"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field}: expected a positive number, got {getattr(self, field)}")
        if not 0 <= self.decay_share <= 1:
            raise ValueError(f"decay_share: expected 0 to 1, got {self.decay_share}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step 0, 1, ... ``num_steps - 1``: warm up, hold, decay linearly."""
        warmup = min(1.0, (step + 1) / max(self.num_warmup_steps, 1))
        num_decay_steps = self.decay_share * self.num_steps
        decay = min(1.0, (self.num_steps - step) / num_decay_steps) if num_decay_steps else 1.0
        return self.learning_rate * warmup * decay


class TrainStep(Protocol):
    """What one step means for a model. Owns the model, its optimizers and its average."""

    def make_batch(self, step: int) -> Any:
        """Return the batch of this step, the same for the same step."""
        ...

    def __call__(self, batch: Any, learning_rate: float) -> dict[str, Tensor]:
        """Update the weights once; return scalars to log."""
        ...

    def write_samples(self, path: Path) -> dict[str, float]:
        """Write a contact sheet PNG of the present (averaged) model; return scalars to log."""
        ...

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights in the published layout."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs to go on as if never stopped."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


def train(
    step_function: TrainStep,
    settings: RunSettings,
    run_dir: Path,
    *,
    recipe: Any,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Run, or go on with, a training run until ``settings.num_steps``.

    Args:
        step_function: the model's step.
        settings: the run's settings.
        run_dir: the run's folder; a ``state.pt`` in it is resumed.
        recipe: the whole resolved recipe, written beside the results.
        on_step: called after each step with the number of steps done and, when they were logged, the scalars.

    Raises:
        ValueError: the run folder's state does not fit the recipe.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    done, elapsed_s = _resume(step_function, run_dir)
    (run_dir / "recipe.json").write_text(resolved_json(recipe), encoding="utf-8")
    writer = SummaryWriter(str(run_dir / "tensorboard"))
    started_at_s = last_save_at_s = time.monotonic()

    def total_s() -> float:
        return elapsed_s + time.monotonic() - started_at_s

    while done < settings.num_steps:
        learning_rate = settings.learning_rate_at(done)
        scalars = step_function(step_function.make_batch(done), learning_rate)
        done += 1
        values: dict[str, float] = {}
        if done % settings.log_every_steps == 0 or done == settings.num_steps:
            values = {name: float(value) for name, value in scalars.items()} | {"learning_rate": learning_rate}
            values["elapsed_s"] = total_s()
            _require_finite(values, done)
        if done % settings.sample_every_steps == 0 or done == settings.num_steps:
            values |= step_function.write_samples(run_dir / "samples" / f"step_{done:07d}.png")
        for name, value in values.items():
            writer.add_scalar(name, value, done)
        if on_step is not None:
            on_step(done, values)
        if time.monotonic() - last_save_at_s > settings.save_every_s or done == settings.num_steps:
            _save(step_function, run_dir, done, total_s())
            last_save_at_s = time.monotonic()
    writer.close()


def _require_finite(values: dict[str, float], step: int) -> None:
    for name, value in values.items():
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(
                f"{name} is {value} at step {step}: lower the learning rate and resume from the last saved state"
            )


def _save(step_function: TrainStep, run_dir: Path, step: int, elapsed_s: float) -> None:
    temporary = run_dir / "state.pt.tmp"
    torch.save({"step": step, "elapsed_s": elapsed_s, "state": step_function.state_dict()}, temporary)
    os.replace(temporary, run_dir / "state.pt")
    step_function.save_checkpoint(run_dir / "checkpoint")


def _resume(step_function: TrainStep, run_dir: Path) -> tuple[int, float]:
    path = run_dir / "state.pt"
    if not path.exists():
        return 0, 0.0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    try:
        step_function.load_state_dict(saved["state"])
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: does not fit this recipe ({error}); choose another --run-dir") from None
    logger.info("resumed %s at step %d", run_dir, saved["step"])
    return int(saved["step"]), float(saved["elapsed_s"])


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameter groups; a group's ``scale`` multiplies it."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("scale", 1.0)
