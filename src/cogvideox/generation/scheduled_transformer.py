"""The transformer over one sampling schedule: what does not depend on the latents is computed once."""

import torch
from torch import Tensor

from cogvideox.diffusion.noise_schedule import SamplingPlan
from cogvideox.models.rotary import rotary_table
from cogvideox.models.sequence_layout import SequenceLayout
from cogvideox.models.transformer import ExpertTransformer


class ScheduledTransformer:
    """A `cogvideox.generation.denoise.Predict` with the modulation of all steps and the positions computed ahead."""

    def __init__(self, transformer: ExpertTransformer, plan: SamplingPlan) -> None:
        """Compute the modulation of every step of ``plan``; a model with an offset gets its default."""
        self._transformer = transformer
        self._row_of_timestep = {timestep: row for row, timestep in enumerate(plan.train_timesteps)}
        device = transformer.proj_out.weight.device
        self._modulation = transformer.modulation(torch.tensor(plan.train_timesteps, device=device))
        self._rotary: tuple[SequenceLayout, Tensor | None] | None = None

    def __call__(self, latents: Tensor, text: Tensor, train_timestep: Tensor) -> Tensor:
        """Predict as `ExpertTransformer.forward` does, for one timestep of the schedule, the same in all of (B,)."""
        tokens, layout = self._transformer.embed(latents, text)
        if self._rotary is None or self._rotary[0] != layout:
            self._rotary = (layout, rotary_table(self._transformer.config, layout, tokens.device))
        row = self._row_of_timestep[int(train_timestep[0])]
        modulation = self._modulation.select(slice(row, row + 1))
        tokens = self._transformer.run_blocks(tokens, layout, modulation, self._rotary[1])
        return self._transformer.head(tokens, layout, modulation)[0]
