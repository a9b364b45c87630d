"""The adversary of a VAE run: a discriminator with an optimizer of its own, updated in the steps of the VAE.

Both sides share one pass over the reconstruction. The discriminator's gradients stay in its weights until the update;
the VAE's are returned by pixel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cogvideox.models.discriminator import Discriminator
from cogvideox.parallel.frame_split import sum_gradients
from cogvideox.parallel.sharding import load_optimizer
from cogvideox.parallel.world import World
from cogvideox.training.autoencoder_losses import hinge_sums, squared_gradient
from cogvideox.training.autoencoder_recipe import GanSettings
from cogvideox.training.update_guard import UpdateGuard

ADAM_BETAS = (0.5, 0.9)
"""Short memories, as usual for GANs: the opponent changes too."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the discriminator made of a step's clips; losses are means over all processes."""

    gan_generator: float
    gan_discriminator: float
    """With the penalty, if it was computed."""
    made_gradient: Tensor
    """Of ``gan_generator`` by this process's reconstruction (B, 3, T, H, W)."""
    gradient_norm: float
    """Of the discriminator's weights, before clipping."""


class Adversary:
    """The discriminator and all that its training remembers."""

    def __init__(self, settings: GanSettings, world: World, *, max_gradient_norm: float, uses_bfloat16: bool) -> None:
        """Start with random weights, the same on all processes."""
        self.settings, self.world = settings, world
        self.max_gradient_norm, self.uses_bfloat16 = max_gradient_norm, uses_bfloat16
        self.discriminator = Discriminator(settings.discriminator).to(world.device)
        self.optimizer = torch.optim.AdamW(
            self.discriminator.parameters(), lr=settings.learning_rate, betas=ADAM_BETAS, weight_decay=0.0
        )
        self.guard = UpdateGuard()

    def judge(
        self, discriminate: Callable[[Tensor], Tensor], real: Tensor, made: Tensor, *, has_penalty: bool
    ) -> Judgement:
        """Compute both sides, and leave the discriminator's clipped gradients in its weights.

        Args:
            discriminate: pixels to logits by the discriminator, with whatever else a part of a clip needs.
            real: (B, 3, T, H, W), this process's.
            made: their reconstruction.
            has_penalty: adds R1.
        """
        settings, world = self.settings, self.world
        self.optimizer.zero_grad(set_to_none=True)
        leaf = made.detach().requires_grad_()
        with torch.autocast(real.device.type, torch.bfloat16, enabled=self.uses_bfloat16):
            made_logits, real_logits = discriminate(leaf), discriminate(real)
        made_logits, real_logits = made_logits.float(), real_logits.float()
        num_logits, num_pixels = world.sum(torch.tensor([real_logits.numel(), real.numel()])).tolist()
        generator_loss = -made_logits.sum() / num_logits
        (made_gradient,) = torch.autograd.grad(generator_loss, leaf, retain_graph=True)
        loss = hinge_sums(real_logits, made_logits) / num_logits
        if has_penalty:
            scale = 0.5 * settings.gradient_penalty * settings.penalty_every / num_pixels
            loss = loss + scale * squared_gradient(discriminate, real)
        parameters = list(self.discriminator.parameters())
        torch.autograd.backward(loss, inputs=parameters)
        if world.size > 1:
            sum_gradients(parameters)
        norm = float(nn.utils.clip_grad_norm_(parameters, self.max_gradient_norm))
        generator, discriminator = world.sum(torch.stack([generator_loss.detach(), loss.detach()])).tolist()
        return Judgement(
            gan_generator=generator, gan_discriminator=discriminator, made_gradient=made_gradient, gradient_norm=norm
        )

    def update(self, judgement: Judgement) -> None:
        """Apply the gradients of `judge` unless the guard refuses.

        A hinge that nothing reaches has no gradient, so what is usual may be 0: below the clipping bound nothing is a
        spike.
        """
        norm, bound = judgement.gradient_norm, self.max_gradient_norm
        if norm < bound < math.inf:
            norm = bound
        if self.guard.allows(judgement.gan_discriminator, norm):
            self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimizer and guard."""
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "guard": self.guard.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.discriminator.load_state_dict(state["discriminator"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.guard.load_state_dict(state["guard"])
