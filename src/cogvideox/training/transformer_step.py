"""One training step of the expert transformer: packs of noisy latents, their velocity, one update.

Paper: CogVideoX (arXiv 2408.06072), section 3. Every sample of a step counts the same, however long it is and whatever
pack and process it is in: the loss is the mean over a sample's latent elements, then over the samples of the step.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cogvideox.chat.caption_style import write_style
from cogvideox.diffusion.loss import velocity_losses
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import add_noise, velocity_from_clean_and_noise
from cogvideox.generation.model_limits import ModelLimits
from cogvideox.media.geometry import longest_clip
from cogvideox.models.transformer import ExpertTransformer, Segment, TransformerBlock
from cogvideox.parallel.sharding import (
    like,
    load_optimizer,
    release,
    set_gradient_sync,
    shard_model,
    to_whole,
    whole_tensor,
)
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.curriculum import StageClips
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.muon import make_optimizers
from cogvideox.training.sample_loading import LoadedSample
from cogvideox.training.step_plan import Sample
from cogvideox.training.training_data import StepBatch, TrainingData
from cogvideox.training.transformer_parts import (
    is_block_matrix,
    make_transformer,
    save_checkpoint,
)
from cogvideox.training.transformer_recipe import OptimizerSettings
from cogvideox.training.transformer_samples import SampleRequest, generate_samples, write_sheet
from cogvideox.training.update_guard import UpdateGuard


class TransformerStep:
    """Trains the transformer of a recipe on packs; see `cogvideox.training.loop.TrainStep`."""

    def __init__(self, data: TrainingData) -> None:
        """Load or make the model, and what updates it.

        Raises:
            ValueError: the recipe does not fit the model.
            CheckpointError: the start is damaged.
        """
        recipe, configs, world = data.recipe, data.configs, data.world
        torch.manual_seed(recipe.run.seed)
        self.data, self.recipe, self.configs, self.world = data, recipe, configs, world
        self.plan, self.texts, self.noise_schedule = data.plan, data.texts, data.noise_schedule
        self.model = make_transformer(recipe, configs, world)
        self.model.gradient_checkpointing = recipe.has_gradient_checkpointing
        if world.device.type == "cpu":
            self.model.attention_backend = "mixed"
        blocks = cast(list[TransformerBlock], list(self.model.transformer_blocks))
        # Modulations of all blocks are computed before the first: their layers stay with the whole model.
        groups = [[block.attn1, block.ff] for block in blocks]
        shard_model(self.model, groups, world, methods=("forward_packed",))
        self.optimizers = make_transformer_optimizers(self.model, recipe.optimizer, recipe.compute_dtype)
        self.average = WeightAverage(self.model, recipe.run.average_decay)
        self.guard = UpdateGuard()
        for index in range(len(recipe.stages)):
            self._sample_request(index)  # refuses what would end the run later
        self._stage = -1
        self._enter_stage(0)

    def _enter_stage(self, stage: int) -> None:
        if stage == self._stage:
            return
        self._stage = stage
        self.guard.forget()
        self.model.set_positions(self.plan.configs[stage])

    def make_batch(self, step: int) -> StepBatch:
        """Return this process's part of a step."""
        return self.data.batch(step)

    def __call__(self, batch: StepBatch, learning_rate: float) -> dict[str, Tensor]:
        """Update once, unless the guard refuses; logs losses of clips and of single frames."""
        self._enter_stage(batch.stage)
        self.model.train()
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, learning_rate)
            optimizer.zero_grad(set_to_none=True)
        num_samples = float(self.world.sum(torch.tensor(sum(map(len, batch.packs)))))
        totals = torch.zeros(4, dtype=torch.float64)
        for index, pack in enumerate(batch.packs):
            set_gradient_sync(self.model, index == len(batch.packs) - 1)
            losses = self._losses(pack, batch.train_timesteps)
            (losses.sum() / max(num_samples, 1.0)).backward()
            if pack:
                totals += _loss_totals(losses.detach(), pack)
        gradient_norm = clip_gradients(self.model, self.recipe.run.max_gradient_norm)
        clip_loss, num_clips, image_loss, num_images = self.world.sum(totals).tolist()
        loss = (clip_loss + image_loss) / max(num_samples, 1.0)
        if self.guard.allows(loss if num_samples else math.nan, gradient_norm):
            for optimizer in self.optimizers:
                optimizer.step()
            self.average.update(self.model)
        values = {
            "loss": loss,
            "gradient_norm": gradient_norm,
            "num_samples": num_samples,
            "num_skipped": float(self.guard.num_skipped),
            "stage": float(batch.stage),
        }
        if num_clips:
            values["loss_clip"] = clip_loss / num_clips
        if num_images:
            values["loss_image"] = image_loss / num_images
        return {name: torch.tensor(value) for name, value in values.items()}

    def _losses(self, pack: list[LoadedSample], train_timesteps: Tensor) -> Tensor:
        """Return the loss of each sample of a pack (S,)."""
        if not pack:
            return self._empty_losses()
        timesteps = train_timesteps[[loaded.sample.place for loaded in pack]]
        text = self.texts.get([loaded.caption for loaded in pack]).to(self.world.device)
        segments, targets = make_segments(pack, timesteps, text, self.noise_schedule, self.world.device)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.recipe.uses_bfloat16):
            velocities = self.model.forward_packed(segments)
        return velocity_losses(velocities, targets)

    def _empty_losses(self) -> Tensor:
        """Return nothing's loss, 0, through the whole model: the other processes wait for its exchanges."""
        config = self.model.config
        patch = (config.patch_size_t or 1, config.patch_size, config.patch_size)
        native_HW = (config.sample_height, config.sample_width)
        size = (patch[0], *native_HW) if config.use_learned_positional_embeddings else patch
        segment = Segment(
            torch.zeros(config.in_channels, *size, device=self.world.device),
            torch.zeros(config.max_text_seq_length, config.text_embed_dim, device=self.world.device),
            torch.tensor(0, device=self.world.device),
        )
        return 0.0 * self.model.forward_packed([segment])[0].sum()[None]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the loss of held-out clips at fixed timesteps and with fixed noise, by the averaged weights."""
        clips = self.plan.held_out_clips[self._stage]
        sums: dict[int, float] = {}
        number = 0
        for index in range(len(clips)):
            sample = Sample(place=index, row=int(clips.rows[index]), shape=clips.shape(index), is_first_frame=False)
            loaded = self.data.loader.load(sample, np.random.default_rng((self.recipe.run.seed, index)))
            if loaded is None:
                continue
            number += 1
            text = self.texts.get([self.data.caption(sample.row)]).to(self.world.device)
            for timestep in self.recipe.validation.train_timesteps:
                segments, targets = make_segments(
                    [loaded], torch.tensor([timestep]), text, self.noise_schedule, self.world.device
                )
                with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.recipe.uses_bfloat16):
                    velocities = self.model.forward_packed(segments)
                sums[timestep] = sums.get(timestep, 0.0) + float(velocity_losses(velocities, targets).sum())
        values = {f"validation_loss_t{timestep}": total / number for timestep, total in sums.items()}
        return values | ({"validation_loss": sum(values.values()) / len(values)} if values else {})

    def write_samples(self, path: Path) -> dict[str, float]:
        """Write clips generated by the averaged weights, and a sheet of them; return validation losses."""
        settings, request = self.recipe.samples, self._sample_request(self._stage)
        self.model.eval()
        with self.average.swapped(self.model):
            videos = generate_samples(
                self.model,
                self.data.autoencoder,
                self.texts,
                self.noise_schedule,
                request,
                settings,
                scaling_factor=self.data.scaling_factor,
                image_encoder=self.data.loader.image_encoder,
                uses_bfloat16=self.recipe.uses_bfloat16,
            )
            values = self.validate()
            release(self.model)
        if self.world.is_main and videos:
            write_sheet(path, videos, request.prompts, request.fps)
        return values

    def _sample_request(self, index: int) -> SampleRequest:
        """Return what is generated in a stage: its size and length, of the recipe's prompts or captions.

        Raises:
            ValueError: the model cannot make what the recipe asks for.
        """
        settings, stage, config = self.recipe.samples, self.recipe.stages[index], self.plan.configs[index]
        limits = ModelLimits(
            transformer=config,
            autoencoder=self.configs.autoencoder,
            noise_schedule=self.configs.noise_schedule,
            default_sampler="ddim",
        )
        multiple_px = self.configs.autoencoder.spatial_compression_ratio * config.patch_size
        sides_px = [side // multiple_px * multiple_px for side in (stage.height_px, stage.width_px)]
        if config.use_learned_positional_embeddings:
            sides_px = list(limits.native_size_px)
        ratio = self.configs.autoencoder.temporal_compression_ratio
        try:
            shape = limits.latent_shape(
                num_frames=settings.num_frames or longest_clip(int(stage.max_duration_s * stage.fps) + 1, ratio),
                height_px=settings.height_px or sides_px[0],
                width_px=settings.width_px or sides_px[1],
            )
        except ValueError as error:
            raise ValueError(f"samples, in stages[{index}]: {error}") from None
        num_padding_frames = limits.num_padding_frames(shape[1])
        channels, time, height, width = shape
        held_out = self.plan.held_out_clips[index]
        clips = held_out if len(held_out) else self.plan.clips[index]
        num_prompts = len(settings.prompts) or settings.num_prompts
        rows = [int(clips.rows[number % len(clips)]) for number in range(num_prompts)]
        return SampleRequest(
            prompts=settings.prompts or [self.data.caption(row) for row in rows],
            shape=(channels, num_padding_frames + time, height, width),
            num_padding_frames=num_padding_frames,
            fps=stage.fps,
            pictures=[self._first_frame(clips, number % len(clips)) for number in range(num_prompts)]
            if self.data.loader.image_encoder is not None
            else None,
        )

    def _first_frame(self, clips: StageClips, index: int) -> Callable[[], Tensor]:
        """Return what reads the first frame (3, 1, height, width) of a clip of a stage; grey if it is not there."""
        table, row, shape = self.data.source.table, int(clips.rows[index]), clips.shape(index)

        def read() -> Tensor:
            try:
                return self.data.cache.read(table.clip_ids[row], table.versions[row], shape).first_frame
            except ValueError:
                return torch.zeros(3, 1, shape.height_px, shape.width_px)

        return read

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights: a whole checkpoint, or the adapter alone."""
        with self.average.swapped(self.model):
            # An adapter alone is trained, and written.
            is_part = self.recipe.method == "lora"
            state = to_whole(self._trained() if is_part else self.model.state_dict(), self.world)
            if self.world.is_main:
                config = self.plan.configs[self._stage]
                save_checkpoint(directory, state, self.recipe, self.configs, config, self.data.autoencoder)
                if self.data.caption_style is not None:
                    write_style(directory, self.data.caption_style)

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, gathered from all processes; only the main one has it whole."""
        return {
            "model": to_whole(self._trained(), self.world),
            "optimizers": [to_whole(optimizer.state_dict(), self.world) for optimizer in self.optimizers],
            "average": to_whole(self.average.state_dict(), self.world),
            "guard": self.guard.state_dict(),
            "plan": self.plan.state_dict(),
            "scaling_factor": self.data.scaling_factor,
            "stage": self._stage,
        }

    def _trained(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.model.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, on any number of processes."""
        trained = self._trained()
        if trained.keys() != state["model"].keys():
            raise KeyError(f"{len(state['model'])} weights were trained, this recipe trains {len(trained)}")
        if state["scaling_factor"] != self.data.scaling_factor:
            was = state["scaling_factor"]
            raise KeyError(f"scaling_factor is {self.data.scaling_factor}, was {was}: --set scaling_factor={was}")
        for name, value in trained.items():
            value.copy_(like(state["model"][name], value))
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            load_optimizer(optimizer, saved)
        self.average.load_state_dict(state["average"])
        self._enter_stage(min(state["stage"], len(self.recipe.stages) - 1))
        self.guard.load_state_dict(state["guard"])
        self.plan.load_state_dict(state["plan"])


def make_transformer_optimizers(
    model: ExpertTransformer, settings: OptimizerSettings, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of a model's trained weights; their learning rate is set at every step."""
    if settings.name == "muon":
        weight_decay = settings.weight_decay
        betas = (settings.beta1, settings.beta2)
        return [
            *make_optimizers(
                model,
                is_block_matrix,
                learning_rate=0.0,
                weight_decay=weight_decay,
                dtype=dtype,
                betas=betas,
                eps=settings.eps,
            )
        ]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    betas = (settings.beta1, settings.beta2)
    return [
        torch.optim.AdamW(
            trained, lr=0.0, betas=betas, eps=settings.eps, weight_decay=settings.weight_decay, fused=True
        )
    ]


def make_segments(
    pack: list[LoadedSample], train_timesteps: Tensor, text: Tensor, schedule: NoiseSchedule, device: torch.device
) -> tuple[list[Segment], list[Tensor]]:
    """Return what the model sees of a pack, and the velocities it is to predict.

    Args:
        pack: S samples.
        train_timesteps: (S,) on the CPU.
        text: (S, L, D).
        schedule: how noisy each timestep is.
        device: of the results.
    """
    segments, targets = [], []
    for loaded, timestep, embedding in zip(pack, train_timesteps, text, strict=True):
        alpha_bar = schedule.alpha_bar_at(timestep[None])
        latents, noise = loaded.latents[None], loaded.noise[None]
        image_latents = loaded.image_latents
        segments.append(
            Segment(
                add_noise(latents, noise, alpha_bar)[0].to(device),
                embedding,
                timestep.to(device),
                None if image_latents is None else image_latents.to(device),
            )
        )
        targets.append(velocity_from_clean_and_noise(latents, noise, alpha_bar)[0].to(device))
    return segments, targets


def clip_gradients(model: nn.Module, max_norm: float) -> float:
    """Scale gradients down to a common norm of at most ``max_norm``; return the norm they had, over all processes."""
    norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], max_norm)
    return float(whole_tensor(norm))


def _loss_totals(losses: Tensor, pack: list[LoadedSample]) -> Tensor:
    """Return the sum and number of the losses of clips, then of single frames (4,)."""
    is_image = torch.tensor([loaded.sample.is_first_frame or loaded.sample.shape.num_frames == 1 for loaded in pack])
    values = losses.cpu().double()
    parts = [values[~is_image].sum(), (~is_image).sum(), values[is_image].sum(), is_image.sum()]
    return torch.stack([part.double() for part in parts])
