"""The learning rate along a run or a part of one."""

import math
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


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameter groups; a group's ``scale`` multiplies it."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("scale", 1.0)
