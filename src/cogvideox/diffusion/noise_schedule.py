"""The diffusion process: how noisy each training timestep is, and which timesteps a sampler visits.

Paper: CogVideoX (arXiv 2408.06072), section 3.3 ("explicit uniform sampling") and zero terminal SNR after Lin et al.
(arXiv 2305.08891). The published schedule is computed in float64.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from cogvideox.configs import NoiseScheduleConfig


@dataclass(frozen=True)
class SamplingPlan:
    """The steps of one sampling run, in plain numbers; all tuples are indexed by ``step_index``."""

    train_timesteps: tuple[int, ...]
    """Timestep given to the model, falling; the published spacing starts at 999, pure noise."""
    alpha_bars: tuple[float, ...]
    """Share of signal power before the step."""
    alpha_bars_previous: tuple[float, ...]
    """Share of signal power after the step; 1 after the last, unless the schedule sets ``set_alpha_to_one`` false."""
    train_timesteps_previous: tuple[int, ...]
    """Timestep at which the step ends; negative where it ends at the clean sample."""

    @property
    def num_steps(self) -> int:
        """Calls of the model."""
        return len(self.train_timesteps)

    def last(self, num_steps: int) -> Self:
        """Return the plan of the last ``num_steps`` steps, which may be 0."""
        first = self.num_steps - num_steps
        return type(self)(
            self.train_timesteps[first:],
            self.alpha_bars[first:],
            self.alpha_bars_previous[first:],
            self.train_timesteps_previous[first:],
        )


class NoiseSchedule:
    """Share of signal power (alpha-bar) of every training timestep."""

    def __init__(self, config: NoiseScheduleConfig) -> None:
        self.config = config
        self.alpha_bar = _alpha_bar(config)
        """(num_train_timesteps,) on the CPU, falling; float64 for the published schedule."""

    def alpha_bar_at(self, train_timestep: Tensor) -> Tensor:
        """Return alpha-bar, float64 (B,), of timesteps (B,); both on the CPU, where timesteps are drawn."""
        return self.alpha_bar[train_timestep]

    def plan(self, num_steps: int) -> SamplingPlan:
        """Return the steps of a run, evenly spaced as the schedule says ("trailing": from pure noise down).

        Raises:
            ValueError: ``num_steps`` is not in 1..num_train_timesteps.
        """
        num_timesteps = self.config.num_train_timesteps
        if not 1 <= num_steps <= num_timesteps:
            raise ValueError(f"num_steps: expected 1 to {num_timesteps}, got {num_steps}")
        timesteps = self._timesteps(num_steps)
        # Parity: the step's end is always 1000 // n timesteps below its start; where n does not divide 1000 that is not
        # where the next step starts (tests/parity/test_ddim.py::test_plan_matches_for_every_number_of_steps).
        previous = [timestep - num_timesteps // num_steps for timestep in timesteps]
        values = self.alpha_bar.tolist()
        final = 1.0 if self.config.set_alpha_to_one else values[0]
        return SamplingPlan(
            train_timesteps=tuple(timesteps),
            alpha_bars=tuple(values[timestep] for timestep in timesteps),
            alpha_bars_previous=tuple(values[timestep] if timestep >= 0 else final for timestep in previous),
            train_timesteps_previous=tuple(previous),
        )

    def _timesteps(self, num_steps: int) -> list[int]:
        num_timesteps, spacing = self.config.num_train_timesteps, self.config.timestep_spacing
        if spacing == "leading":
            stride = num_timesteps // num_steps
            timesteps = [index * stride + self.config.steps_offset for index in reversed(range(num_steps))]
            if timesteps[0] >= num_timesteps:
                offset = self.config.steps_offset
                raise ValueError(
                    f"num_steps: {num_steps} steps with a steps_offset of {offset} begin beyond the last timestep, "
                    "take fewer"
                )
            return timesteps
        if spacing == "linspace":
            # Parity: numpy.linspace multiplies the step and sets the end; torch's rounds other ties
            # (tests/parity/test_ddim.py::test_other_spacings_match).
            if num_steps == 1:
                return [0]
            stride = (num_timesteps - 1) / (num_steps - 1)
            return [num_timesteps - 1] + [round(index * stride) for index in reversed(range(num_steps - 1))]
        # Parity: numpy.arange derives its stride from its first two elements, and the last bit of it decides ties
        # (tests/parity/test_ddim.py::test_plan_matches_for_every_number_of_steps).
        stride = num_timesteps - (num_timesteps - num_timesteps / num_steps)
        return [round(num_timesteps - index * stride) - 1 for index in range(num_steps)]

    def draw_train_timesteps(
        self, batch_size: int, *, rank: int = 0, world_size: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw training timesteps that cover the range evenly: "explicit uniform sampling".

        The paper gives each data-parallel rank its own slice of the range. Here the slice is cut further, into one
        interval per sample of the batch, so that a single device profits too. Each timestep is equally likely over all
        ranks and samples; within the batch the order is random.

        Args:
            batch_size: samples of this rank.
            rank: of this process, 0 to ``world_size - 1``.
            world_size: number of data-parallel ranks.
            generator: on the CPU; torch's global one if None.

        Returns:
            int64 (batch_size,) on the CPU.

        Raises:
            ValueError: ``batch_size`` or ``rank`` is out of range.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0 to world_size - 1 ({world_size - 1}), got {rank}")
        intervals = rank * batch_size + torch.randperm(batch_size, generator=generator)
        positions = intervals + torch.rand(batch_size, generator=generator, dtype=torch.float64)
        num_timesteps = self.config.num_train_timesteps
        # A draw just below the top end may round up to it.
        return (positions * (num_timesteps / (world_size * batch_size))).long().clamp(max=num_timesteps - 1)


def _alpha_bar(config: NoiseScheduleConfig) -> Tensor:
    alpha_bar = (1 - _betas(config)).cumprod(0)
    # Dividing the signal-to-noise ratio a / (1 - a) by s gives a / (s + (1 - s) a).
    shift = config.snr_shift_scale
    alpha_bar = alpha_bar / (shift + (1 - shift) * alpha_bar)
    if not config.rescale_betas_zero_snr:
        return alpha_bar
    # Shift and stretch the amplitude so that it ends at exactly 0 and starts where it did.
    amplitude = alpha_bar.sqrt()
    first, last = amplitude[0].item(), amplitude[-1].item()
    return ((amplitude - last) * (first / (first - last))) ** 2


def _betas(config: NoiseScheduleConfig) -> Tensor:
    """Return the share of signal power lost at each timestep, (num_train_timesteps,).

    Parity: only the published schedule is in float64; the others are float32, as in the public code
    (tests/parity/test_ddim.py::test_alpha_bar_matches).
    """
    num_timesteps = config.num_train_timesteps
    if config.trained_betas is not None:
        return torch.tensor(config.trained_betas, dtype=torch.float32)
    if config.beta_schedule == "linear":
        return torch.linspace(config.beta_start, config.beta_end, num_timesteps, dtype=torch.float32)
    if config.beta_schedule == "squaredcos_cap_v2":
        power = [
            math.cos((step / num_timesteps + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(num_timesteps + 1)
        ]
        return torch.tensor([min(1 - after / before, 0.999) for before, after in pairwise(power)], dtype=torch.float32)
    first_root, last_root = config.beta_start**0.5, config.beta_end**0.5
    return torch.linspace(first_root, last_root, num_timesteps, dtype=torch.float64) ** 2
