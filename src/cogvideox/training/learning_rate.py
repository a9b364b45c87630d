"""The learning rate along a run or a part of one, and the stages of a run."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from torch.optim import Optimizer

Schedule = Literal["hold", "cosine", "constant"]
"""What follows the warm up: hold, then linear to 0 along the last part; a cosine to 0 over all the rest; hold."""


def scheduled_rate(
    step: int, *, num_steps: int, peak: float, num_warmup_steps: int, schedule: Schedule, decay_share: float
) -> float:
    """Return the learning rate of step 0, 1, ... ``num_steps - 1``.

    Args:
        step: counted from 0.
        num_steps: of the whole schedule.
        peak: reached by a linear warm up.
        num_warmup_steps: 0 starts at the peak.
        schedule: what follows.
        decay_share: of ``num_steps``, the part along which "hold" goes to 0; the others do not read it.
    """
    rate = peak * min(1.0, (step + 1) / max(num_warmup_steps, 1))
    if schedule == "hold":
        num_decay_steps = decay_share * num_steps
        return rate * min(1.0, (num_steps - step) / num_decay_steps) if num_decay_steps else rate
    if schedule == "cosine":
        progress = (step - num_warmup_steps) / max(num_steps - num_warmup_steps, 1)
        return rate * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
    return rate


@dataclass(frozen=True, kw_only=True)
class ScheduledStage:
    """One part of a training run with a learning rate of its own; the stages of transformer and VAE say the rest."""

    num_steps: int
    learning_rate: float
    """The peak."""
    name: str = ""
    num_warmup_steps: int = 0
    schedule: Schedule = "constant"
    """Of the learning rate: "constant", "cosine" to 0, or "hold", then linear to 0 along the last ``decay_share``."""
    decay_share: float = 0.25

    def __post_init__(self) -> None:
        require_positive(self, "num_steps", "learning_rate")
        if self.num_warmup_steps < 0:
            raise ValueError(f"num_warmup_steps: expected 0 or more, got {self.num_warmup_steps}")
        if not 0 <= self.decay_share <= 1:
            raise ValueError(f"decay_share: expected 0 to 1, got {self.decay_share}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of the stage's step 0, 1, ..."""
        return scheduled_rate(
            step,
            num_steps=self.num_steps,
            peak=self.learning_rate,
            num_warmup_steps=self.num_warmup_steps,
            schedule=self.schedule,
            decay_share=self.decay_share,
        )


def stage_at(stages: Sequence[ScheduledStage], step: int) -> tuple[int, int]:
    """Return the stage that a step of the run belongs to, and its place in that stage; the end is the last stage's."""
    ends = list(accumulate(stage.num_steps for stage in stages))
    index = min(bisect_right(ends, step), len(stages) - 1)
    return index, step - (ends[index] - stages[index].num_steps)


def require_positive(settings: object, *fields: str) -> None:
    """Raise ValueError unless all these fields are positive and finite."""
    for field in fields:
        if not 0 < getattr(settings, field) < math.inf:
            raise ValueError(f"{field}: expected a positive number, got {getattr(settings, field)}")


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameter groups; a group's ``scale`` multiplies it."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("scale", 1.0)
