"""One training step of the 3D causal VAE: reconstruct clips or pictures, judge them, one update of each side.

Paper: CogVideoX (arXiv 2408.06072), section 2.1. The losses of pixels are differentiated by the reconstruction first;
then one backward pass takes their weighted sum through the VAE (docs/autoencoder.md).
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cogvideox.checkpoints.directory import find_checkpoint
from cogvideox.data.stage_world import Art
from cogvideox.media.contact_sheet import save_contact_sheet
from cogvideox.media.video import to_frames
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.autoencoder_blocks import LatentNorm, ResidualBlock
from cogvideox.parallel.frame_split import split_evenly, sum_gradients
from cogvideox.parallel.sharding import load_optimizer
from cogvideox.parallel.world import World
from cogvideox.presets import PRESETS
from cogvideox.training.autoencoder_data import AutoencoderBatch, AutoencoderData, ReadAhead
from cogvideox.training.autoencoder_gan import Adversary, Judgement
from cogvideox.training.autoencoder_losses import (
    adaptive_weight,
    frame_means,
    gradient_norms,
    kl_of_frames,
    load_perceptual,
    perceptual_value_and_gradient,
    sample_with,
    value_and_gradient,
)
from cogvideox.training.autoencoder_recipe import AutoencoderRecipe
from cogvideox.training.autoencoder_share import ClipShare, Shares
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.learning_rate import set_learning_rate, stage_at
from cogvideox.training.loop import ALONE
from cogvideox.training.muon import make_optimizers
from cogvideox.training.transformer_recipe import recipe_path
from cogvideox.training.update_guard import UpdateGuard

NUM_SHEET_COLUMNS = 6
"""Frames shown of a clip kept apart."""


class AutoencoderStep:
    """Trains the VAE of a recipe; see `cogvideox.training.loop.TrainStep`. All processes have all weights."""

    def __init__(self, recipe: AutoencoderRecipe, world: World = ALONE, art: Art | None = None) -> None:
        """Load or make the model, and what updates it.

        Args:
            recipe: what to train and how.
            world: the processes, which share every batch.
            art: draws renders; the Fluent set unless given.

        Raises:
            ValueError: the recipe does not fit the model, the folder or the processes.
            CheckpointError: the start or a file of LPIPS is missing or damaged.
        """
        torch.manual_seed(recipe.run.seed)
        self.recipe, self.world = recipe, world
        check_processes(recipe, world.size)
        self.model = make_autoencoder(recipe).to(world.device)
        self.data = AutoencoderData(recipe, self.model.config, art)
        self._part_multiple = check_parts(recipe, self.model.config.temporal_compression_ratio)
        self._shares = Shares(world, {stage.num_context_parallel_ranks for stage in recipe.stages})
        self.perceptual = load_perceptual(recipe.loss, world.device)
        self.optimizers = _make_optimizers(self.model, recipe)
        self.average = WeightAverage(self.model, recipe.run.average_decay)
        self.guard = UpdateGuard()
        self.adversary: Adversary | None = None
        if recipe.gan is not None:
            self.adversary = Adversary(
                recipe.gan,
                world,
                max_gradient_norm=recipe.run.max_gradient_norm,
                uses_bfloat16=recipe.uses_bfloat16,
            )
        self._phase = (0, False)
        self._read_ahead = ReadAhead(self._make_batch, recipe.num_steps)

    def make_batch(self, step: int) -> AutoencoderBatch:
        """Return this process's share of the clips of a step."""
        return self._read_ahead.batch(step)

    def _make_batch(self, step: int) -> AutoencoderBatch:
        index, place = stage_at(self.recipe.stages, step)
        share = self._share_of(index, self.recipe.stages[index].batch_at(place).num_frames)
        return share.cut(self.data.batch(step, rank=share.rank, size=share.size), multiple=self._part_multiple)

    def _share_of(self, stage: int, num_frames: int) -> ClipShare:
        return self._shares.of(self.recipe.stages[stage].num_context_parallel_ranks, num_frames)

    def __call__(self, batch: AutoencoderBatch, learning_rate: float) -> dict[str, Tensor]:
        """Update both sides once, unless a guard refuses; logs losses as means over all processes."""
        self._enter_phase(batch)
        self.model.train()
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, learning_rate)
            optimizer.zero_grad(set_to_none=True)
        pixels, weights = batch.pixels.to(self.world.device), self.recipe.loss
        share = self._share_of(batch.stage, batch.num_frames)
        made, kl = self._reconstruct(share, pixels, batch.noise)
        values, gradient = self._compare(made, pixels, batch.has_perceptual)
        values["kl"] = float(self.world.sum(kl))
        loss = values.pop("loss") + weights.kl_weight * values["kl"]
        judgement = None
        if self._has_gan(batch.step):
            judgement, weight = self._judge(share, made, pixels, gradient, batch.step)
            gradient = gradient + weight * judgement.made_gradient
            loss += weight * judgement.gan_generator
            values |= {
                "gan_generator": judgement.gan_generator,
                "gan_discriminator": judgement.gan_discriminator,
                "adaptive_weight": weight,
            }
        torch.autograd.backward([made, weights.kl_weight * kl], [gradient, torch.ones_like(kl)])
        values["gradient_norm"] = self._update(loss, judgement)
        guards = [self.guard, *([] if self.adversary is None else [self.adversary.guard])]
        values["num_skipped"] = sum(guard.num_skipped for guard in guards)
        values["stage"] = batch.stage
        return {name: torch.tensor(float(value)) for name, value in values.items()}

    def _enter_phase(self, batch: AutoencoderBatch) -> None:
        """Learn anew what gradients are usual where the stage changes or the GAN begins."""
        phase = (batch.stage, self._has_gan(batch.step))
        if phase != self._phase:
            self._phase = phase
            self.guard.forget()
            if self.adversary is not None:
                self.adversary.guard.forget()

    def _has_gan(self, step: int) -> bool:
        return self.recipe.gan is not None and step >= self.recipe.gan.start_step

    def _reconstruct(self, share: ClipShare, pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction (B, 3, T, H, W), float32, and this process's part of the mean KL, a scalar."""
        with self._autocast():
            posterior = share.encode(self.model, pixels)
            made = share.decode(self.model, sample_with(posterior, noise.to(pixels.device)))
        kl = kl_of_frames(posterior)
        return made.float(), kl.sum() / self._count(kl)

    def _compare(self, made: Tensor, real: Tensor, is_seen: Tensor) -> tuple[dict[str, float], Tensor]:
        """Return the losses of a reconstruction, "loss" their weighted sum, and its gradient by the pixels made."""
        settings = self.recipe.loss
        num_frames = len(made) * made.shape[2]
        num_step_frames = self._count(made[:, 0, :, 0, 0])

        def reconstruction_loss(pixels: Tensor) -> Tensor:
            error = pixels - real
            weighted = settings.l1_weight * error.abs() + settings.squared_error_weight * error.square()
            return frame_means(weighted).sum() / num_step_frames

        value, gradient = value_and_gradient(made, reconstruction_loss)
        error = made.detach() - real
        sums = [value, error.abs().mean() * num_frames, error.square().mean() * num_frames]
        if self.perceptual is not None:
            num_seen = self._count(is_seen.nonzero()[:, 0])
            with self._autocast():
                distance, of_distance = perceptual_value_and_gradient(
                    self.perceptual, made, real, is_seen, settings.perceptual_weight / num_seen
                )
            gradient += of_distance
            sums.append(distance / num_seen)
        loss, absolute, squared, *perceptual = self.world.sum(torch.stack([value.float() for value in sums])).tolist()
        squared /= num_step_frames
        values = {"l1": absolute / num_step_frames, "psnr_db": _psnr_db(squared)}
        if perceptual:
            values["perceptual"] = perceptual[0]
            loss += settings.perceptual_weight * perceptual[0]
        return values | {"loss": loss}, gradient

    def _judge(
        self, share: ClipShare, made: Tensor, real: Tensor, gradient: Tensor, step: int
    ) -> tuple[Judgement, float]:
        """Return what the discriminator makes of a reconstruction, and the weight of its opinion."""
        adversary, settings = self.adversary, self.recipe.gan
        assert adversary is not None and settings is not None
        has_penalty = settings.gradient_penalty > 0 and (step - settings.start_step) % settings.penalty_every == 0
        discriminate = partial(share.discriminate, adversary.discriminator)
        judgement = adversary.judge(discriminate, real, made, has_penalty=has_penalty)
        if not settings.is_weight_adaptive:
            return judgement, settings.weight
        norms = gradient_norms(
            made,
            [gradient, judgement.made_gradient],
            self.model.decoder.conv_out.conv.weight,
            self.world.sum if self.world.size > 1 else None,
        )
        return judgement, settings.weight * adaptive_weight(*norms, maximum=settings.max_adaptive_weight)

    def _update(self, loss: float, judgement: Judgement | None) -> float:
        """Apply the gradients of both sides where the guards allow it; return the norm of the model's."""
        parameters = list(self.model.parameters())
        if self.world.size > 1:
            sum_gradients(parameters)
        norm = float(nn.utils.clip_grad_norm_(parameters, self.recipe.run.max_gradient_norm))
        if judgement is not None:
            assert self.adversary is not None
            self.adversary.update(judgement)
        if self.guard.allows(loss, norm):
            for optimizer in self.optimizers:
                optimizer.step()
            self.average.update(self.model)
        return norm

    def _count(self, values: Tensor) -> float:
        """Return the number of elements that all processes have."""
        return float(self.world.sum(torch.tensor(values.numel())))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.recipe.uses_bfloat16)

    def write_samples(self, path: Path) -> dict[str, float]:
        """Write clips kept apart and their reconstructions in alternating rows; return their PSNR in dB.

        And the deviation of their latents: a diffusion model multiplies latents by about its inverse.
        """
        return self._write_samples(path) if self.world.is_main else {}

    @torch.no_grad()
    def _write_samples(self, path: Path) -> dict[str, float]:
        self.model.eval()
        reals = self.data.held_out()
        rows, errors, squares = [], [], []
        with self.average.swapped(self.model):
            for real in reals:
                latents = self.model.encode(real[None].to(self.world.device)).mode()
                made = self.model.decode(latents)[0].float().clamp(-1, 1).cpu()
                errors.append((made - real).square().mean())
                squares.append(latents.float().square().mean())
                rows += [to_frames(real), to_frames(made)]
        save_contact_sheet(path, rows, num_columns=NUM_SHEET_COLUMNS)
        error = float(torch.stack(errors).mean())
        return {
            "held_out_psnr_db": _psnr_db(error),
            "held_out_latent_rms": float(torch.stack(squares).mean().sqrt()),
        }

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights as the ``vae`` component."""
        if self.world.is_main:
            with self.average.swapped(self.model):
                self.model.save(directory / "vae")

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes; it is the same on every process."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average.state_dict(),
            "guard": self.guard.state_dict(),
            "phase": list(self._phase),
        }
        return state | ({} if self.adversary is None else {"adversary": self.adversary.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; without the discriminator where state or recipe has none."""
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            load_optimizer(optimizer, saved)
        self.average.load_state_dict(state["average"])
        self.guard.load_state_dict(state["guard"])
        stage, has_gan = state["phase"]
        self._phase = (stage, has_gan)
        if self.adversary is not None and "adversary" in state:
            self.adversary.load_state_dict(state["adversary"])


def _psnr_db(squared_error: float) -> float:
    """Return the ratio of a mean squared error of a range of 2; NaN for one that is not finite."""
    return 10 * math.log10(4.0 / max(squared_error, 1e-12)) if math.isfinite(squared_error) else math.nan


def check_processes(recipe: AutoencoderRecipe, num_processes: int) -> None:
    """Raise ValueError unless the clips of every batch can be dealt out to so many processes."""
    for index, stage in enumerate(recipe.stages):
        num_ranks = stage.num_context_parallel_ranks
        if num_processes % num_ranks:
            raise ValueError(
                f"stages[{index}].num_context_parallel_ranks: expected a divisor of the {num_processes} processes "
                f"(torchrun --nproc-per-node), got {num_ranks}"
            )
        for field, shape in stage.batch_shapes.items():
            num_shares = num_processes if shape.num_frames == 1 else num_processes // num_ranks
            if shape.num_clips % num_shares:
                what = "processes" if num_shares == num_processes else "groups of processes"
                raise ValueError(
                    f"stages[{index}].{field}: expected a multiple of the {num_shares} {what}, got {shape.num_clips}"
                )


def check_parts(recipe: AutoencoderRecipe, temporal_compression_ratio: int) -> int:
    """Return of what the frames of a process's part of a clip are a multiple.

    Raises:
        ValueError: a clip has too few frames for the processes that share it.
    """
    num_3d_blocks = 0 if recipe.gan is None else recipe.gan.discriminator.num_3d_blocks
    multiple = max(temporal_compression_ratio, 2**num_3d_blocks)
    for index, stage in enumerate(recipe.stages):
        for shape in stage.batch_shapes.values():
            if stage.num_context_parallel_ranks > 1 and shape.num_frames > 1:
                try:
                    split_evenly(shape.num_frames, stage.num_context_parallel_ranks, multiple)
                except ValueError as error:
                    raise ValueError(f"stages[{index}].num_context_parallel_ranks: {error}") from None
    return multiple


def make_autoencoder(recipe: AutoencoderRecipe) -> VideoAutoencoder:
    """Return the model of a recipe in float32: the start's, or the preset's with new weights.

    Raises:
        ValueError: the recipe's differences give no model, or one that the start's weights do not fit.
        CheckpointError: the start is missing or damaged.
    """
    if recipe.start is None:
        model = VideoAutoencoder(recipe.config_from(PRESETS[recipe.preset].autoencoder))
        _initialise(model)
        return model
    path = recipe_path(recipe.start) if recipe.start.startswith("~") else recipe.start
    start = VideoAutoencoder.load(find_checkpoint(str(path)))
    model = VideoAutoencoder(recipe.config_from(start.config))
    try:
        model.load_state_dict(start.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"model: expected fields that leave the weights of {recipe.start} as they are: {reason}"
        ) from None
    return model


def _make_optimizers(model: VideoAutoencoder, recipe: AutoencoderRecipe) -> list[torch.optim.Optimizer]:
    """Return the model's optimizers; their learning rate is set at every step."""
    settings = recipe.optimizer
    betas = (settings.beta1, settings.beta2)
    if settings.name == "adamw":
        parameters = model.parameters()
        return [torch.optim.AdamW(parameters, 0.0, betas=betas, eps=settings.eps, weight_decay=settings.weight_decay)]
    compute_dtype = torch.bfloat16 if recipe.uses_bfloat16 else torch.float32
    return [
        *make_optimizers(
            model,
            _is_block_convolution,
            learning_rate=0.0,
            weight_decay=settings.weight_decay,
            dtype=compute_dtype,
            betas=betas,
            eps=settings.eps,
        )
    ]


def _is_block_convolution(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a 3x3 or 3x3x3 kernel between two hidden layers."""
    return "block" in name and parameter.ndim >= 4 and parameter.shape[-1] > 1


def _initialise(model: VideoAutoencoder) -> None:
    """Start residual blocks as the identity and latent-conditioned norms as plain norms.

    With PyTorch's defaults the decoder's scales are random functions of the latents, which scrambles the first steps.
    """
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv2.conv.weight)
        if isinstance(module, LatentNorm):
            for conv, bias in ((module.conv_y.conv, 1.0), (module.conv_b.conv, 0.0)):
                nn.init.normal_(conv.weight, std=0.02)
                assert conv.bias is not None
                nn.init.constant_(conv.bias, bias)
