"""One training step of the expert transformer: packs of noisy latents, their velocity, one update.

Paper: CogVideoX (arXiv 2408.06072), section 3. Every sample of a step counts the same, however long it is and whatever
pack and process it is in: the loss is the mean over a sample's latent elements, then over the samples of the step.
"""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cogvideox.data.clips import ClipShape, ClipSource
from cogvideox.data.latent_cache import LatentCache
from cogvideox.diffusion.loss import velocity_losses
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import add_noise, velocity_from_clean_and_noise
from cogvideox.media.geometry import longest_clip, num_latent_frames
from cogvideox.media.video import to_tensor
from cogvideox.models.transformer import ExpertTransformer, Segment, TransformerBlock
from cogvideox.parallel.sharding import like, load_optimizer, release, set_gradient_sync, shard_model, to_whole
from cogvideox.parallel.world import World
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.curriculum import stage_configs
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.muon import make_optimizers
from cogvideox.training.sample_loading import ImageEncoder, LoadedSample, SampleLoader
from cogvideox.training.step_plan import Sample, StepPlan
from cogvideox.training.text_embeddings import TextEmbeddings
from cogvideox.training.transformer_parts import (
    is_block_matrix,
    load_autoencoder,
    make_transformer,
    read_part_configs,
    save_checkpoint,
)
from cogvideox.training.transformer_recipe import OptimizerSettings, TransformerRecipe
from cogvideox.training.transformer_samples import SampleRequest, generate_samples, write_sheet
from cogvideox.training.update_guard import UpdateGuard

logger = logging.getLogger(__name__)

MAX_MATMUL_TOKENS = 800
"""On a CPU, up to this many tokens of the longest segment writing scores out is faster than sdpa's kernel."""


@dataclass(frozen=True)
class StepBatch:
    """One process's part of a step."""

    step: int
    stage: int
    packs: list[list[LoadedSample]]
    train_timesteps: Tensor
    """(N,) of all samples of the step, by their place in it."""


class TransformerStep:
    """Trains the transformer of a recipe on packs; see `cogvideox.training.loop.TrainStep`."""

    def __init__(
        self,
        recipe: TransformerRecipe,
        source: ClipSource,
        world: World | None = None,
        *,
        on_encoded: Callable[[str, int, int], None] = lambda what, num_done, num_all: None,
    ) -> None:
        """Check the recipe against the training set, then load models and encode what the cache lacks.

        Args:
            recipe: what to train and how.
            source: the training set.
            world: the processes; this one alone if None.
            on_encoded: hears what is encoded ("clips", "captions"), how many of them are, and of how many.

        Raises:
            ValueError: the recipe does not fit the training set or the model.
        """
        torch.manual_seed(recipe.run.seed)
        self.recipe, self.source = recipe, source
        self.world = world if world is not None else World()
        check_processes(recipe, self.world.size)
        self.configs = configs = read_part_configs(recipe)
        self.plan = StepPlan(
            source.table,
            recipe.stages,
            stage_configs(configs.transformer, recipe.stages, configs.autoencoder.spatial_compression_ratio),
            configs.autoencoder,
            seed=recipe.run.seed,
            num_balanced_ranks=recipe.num_balanced_ranks,
            num_held_out=recipe.validation.num_clips,
        )
        self.noise_schedule = NoiseSchedule(configs.noise_schedule)
        self.autoencoder = load_autoencoder(configs, self.world.device)
        self.cache = self._fill_cache(partial(on_encoded, "clips"))
        self.scaling_factor = self._scaling_factor()
        self.autoencoder.config = dataclasses.replace(configs.autoencoder, scaling_factor=self.scaling_factor)
        self.texts = TextEmbeddings(
            configs.text_encoder_dir,
            configs.transformer.max_text_seq_length,
            self.world.device,
            configs.cache_dir / "text" if recipe.has_cached_text else None,
        )
        self._fill_texts(partial(on_encoded, "captions"))
        image_to_video = configs.image_to_video
        self.loader = SampleLoader(
            source.table,
            self.cache,
            scaling_factor=self.scaling_factor,
            patch_size_t=configs.transformer.patch_size_t or 1,
            caption_dropout=recipe.caption_dropout,
            image_encoder=None if image_to_video is None else ImageEncoder(self.autoencoder, image_to_video),
        )
        self.model = make_transformer(recipe, configs, self.world.device)
        self.model.gradient_checkpointing = recipe.has_gradient_checkpointing
        blocks = cast(list[TransformerBlock], list(self.model.transformer_blocks))
        # Modulations of all blocks are computed before the first: their layers stay with the whole model.
        groups = [[block.attn1, block.ff] for block in blocks]
        shard_model(self.model, groups, self.world, methods=("forward_packed",))
        self.optimizers = make_transformer_optimizers(self.model, recipe.optimizer, self._compute_dtype)
        self.average = WeightAverage(self.model, recipe.run.average_decay)
        self.guard = UpdateGuard()
        self._stage = -1
        self._enter_stage(0)

    @property
    def _compute_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.recipe.uses_bfloat16 else torch.float32

    def _fill_cache(self, on_encoded: Callable[[int, int], None]) -> LatentCache:
        """Encode what is missing, each process a part of it."""
        folder = self.configs.cache_dir
        if self.world.is_main:
            LatentCache.open(folder, self.autoencoder)
        self.world.wait()
        cache = LatentCache.open(folder, self.autoencoder, uses_bfloat16=self.recipe.uses_bfloat16)
        missing = cache.missing(self.source.table, self.plan.wanted())[self.world.rank :: self.world.size]
        if missing:
            for rejected in cache.encode(self.source, missing, on_encoded):
                logger.warning("%s: left out: %s", rejected.clip_id, rejected.reason)
        self.world.wait()
        cache.refresh()
        return cache

    def _fill_texts(self, on_encoded: Callable[[int, int], None]) -> None:
        if self.recipe.has_cached_text:
            captions = [caption for wordings in self.source.table.captions for caption in wordings]
            captions += self.recipe.samples.prompts
            self.texts.fill(captions[self.world.rank :: self.world.size], on_encoded)
            self.world.wait()

    def _scaling_factor(self) -> float:
        """Return the start's; from scratch, what gives latents a deviation of 1."""
        if self.configs.start is not None:
            return self.configs.autoencoder.scaling_factor
        _, std = self.cache.mean_and_std(self.source.table, self.plan.wanted())
        return round(1.0 / std, 6)

    def _enter_stage(self, stage: int) -> None:
        if stage == self._stage:
            return
        self._stage = stage
        config = self.plan.configs[stage]
        self.model.set_positions(config)
        if self.world.device.type == "cpu":
            is_short = self.plan.longest_sample(stage) <= MAX_MATMUL_TOKENS
            self.model.attention_backend = "matmul" if is_short else None

    def make_batch(self, step: int) -> StepBatch:
        """Return this process's part of a step; samples that cannot be read are missing in it."""
        planned = self.plan.step(step, rank=self.world.rank, world_size=self.world.size)
        packs = [
            [loaded for sample in pack if (loaded := self._load(step, sample)) is not None] for pack in planned.packs
        ]
        for pack in packs:
            pack.sort(key=lambda loaded: loaded.latents.shape)  # neighbours of one shape are computed together
        generator = torch.Generator().manual_seed(int(self.plan.timestep_rng(step).integers(2**62)))
        if self.recipe.is_uniform_sampling:
            timesteps = self.noise_schedule.draw_train_timesteps(planned.num_samples, generator=generator)
        else:
            timesteps = torch.randint(
                self.noise_schedule.config.num_train_timesteps, (planned.num_samples,), generator=generator
            )
        return StepBatch(step, planned.stage, packs, timesteps)

    def _load(self, step: int, sample: Sample) -> LoadedSample | None:
        return self.loader.load(sample, self.plan.sample_rng(step, sample.place))

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
        if num_samples and self.guard.allows(loss, gradient_norm):
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
            loaded = self.loader.load(sample, np.random.default_rng((self.recipe.run.seed, index)))
            if loaded is None:
                continue
            number += 1
            text = self.texts.get([self.source.table.captions[sample.row][0]]).to(self.world.device)
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
        settings, request = self.recipe.samples, self._sample_request()
        self.model.eval()
        with self.average.swapped(self.model):
            videos = generate_samples(
                self.model,
                self.autoencoder,
                self.texts,
                self.noise_schedule,
                request,
                settings,
                scaling_factor=self.scaling_factor,
            )
            values = self.validate()
            release(self.model)
        if self.world.is_main:
            write_sheet(path, videos, request.prompts, request.fps)
        return values

    def _sample_request(self) -> SampleRequest:
        """Return what is generated in the present stage: its size and length, of the recipe's prompts or captions."""
        stage, config, latents = self.recipe.stages[self._stage], self.model.config, self.configs.autoencoder
        ratio = latents.temporal_compression_ratio
        time = num_latent_frames(longest_clip(int(stage.max_duration_s * stage.fps) + 1, ratio), ratio)
        num_padding_frames = -time % (config.patch_size_t or 1)
        multiple_px = latents.spatial_compression_ratio * config.patch_size
        height_px, width_px = (side // multiple_px * multiple_px for side in (stage.height_px, stage.width_px))
        height, width = height_px // latents.spatial_compression_ratio, width_px // latents.spatial_compression_ratio
        held_out = self.plan.held_out_clips[self._stage]
        clips = held_out if len(held_out) else self.plan.clips[self._stage]
        num_prompts = len(self.recipe.samples.prompts) or self.recipe.samples.num_prompts
        rows = [int(clips.rows[index % len(clips)]) for index in range(num_prompts)]
        captions = self.source.table.captions
        image_latents = None
        if self.loader.image_encoder is not None:
            encoder = self.loader.image_encoder
            shape = ClipShape(num_frames=1, height_px=height_px, width_px=width_px, fps=0.0)
            pictures = [to_tensor(self.source.read(row, shape)) for row in rows]
            image_latents = [encoder.encode(picture, 0.0, torch.Generator().manual_seed(0)) for picture in pictures]
        return SampleRequest(
            prompts=self.recipe.samples.prompts or [captions[row][0] for row in rows],
            shape=(latents.latent_channels, num_padding_frames + time, height, width),
            num_padding_frames=num_padding_frames,
            fps=stage.fps,
            image_latents=image_latents,
        )

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights: a whole checkpoint, or the adapter alone."""
        with self.average.swapped(self.model):
            state = to_whole(self.model.state_dict())
            if self.world.is_main:
                config = self.plan.configs[self._stage]
                save_checkpoint(directory, state, self.recipe, self.configs, config, self.autoencoder)

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, gathered from all processes."""
        trained = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        return {
            "model": to_whole({name: value.detach() for name, value in trained.items()}),
            "optimizers": [to_whole(optimizer.state_dict()) for optimizer in self.optimizers],
            "average": to_whole(self.average.state_dict()),
            "guard": self.guard.state_dict(),
            "plan": self.plan.state_dict(),
            "scaling_factor": self.scaling_factor,
            "stage": self._stage,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, on any number of processes."""
        trained = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        if trained.keys() != state["model"].keys():
            raise KeyError(f"{len(state['model'])} weights were trained, this recipe trains {len(trained)}")
        if state["scaling_factor"] != self.scaling_factor:
            raise KeyError(f"scaling_factor was {state['scaling_factor']}, is {self.scaling_factor}")
        for name, value in trained.items():
            value.copy_(like(state["model"][name], value))
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            load_optimizer(optimizer, saved)
        self.average.load_state_dict(state["average"])
        self.guard.load_state_dict(state["guard"])
        self.plan.load_state_dict(state["plan"])
        self._enter_stage(min(state["stage"], len(self.recipe.stages) - 1))


def make_transformer_optimizers(
    model: ExpertTransformer, settings: OptimizerSettings, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of a model's trained weights; their learning rate is set at every step."""
    if settings.name == "muon":
        weight_decay = settings.weight_decay
        return [*make_optimizers(model, is_block_matrix, learning_rate=0.0, weight_decay=weight_decay, dtype=dtype)]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    betas = (settings.beta1, settings.beta2)
    return [
        torch.optim.AdamW(
            trained, lr=0.0, betas=betas, eps=settings.eps, weight_decay=settings.weight_decay, fused=True
        )
    ]


def check_processes(recipe: TransformerRecipe, num_processes: int) -> None:
    """Raise ValueError unless the packs of every stage's steps can be dealt out to so many processes."""
    for index, stage in enumerate(recipe.stages):
        if stage.num_packs_per_step % num_processes:
            raise ValueError(
                f"stages[{index}].num_packs_per_step: expected a multiple of the {num_processes} processes, got "
                f"{stage.num_packs_per_step}"
            )


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
    return float(to_whole(norm))


def _loss_totals(losses: Tensor, pack: list[LoadedSample]) -> Tensor:
    """Return the sum and number of the losses of clips, then of single frames (4,)."""
    is_image = torch.tensor([loaded.sample.is_first_frame or loaded.sample.shape.num_frames == 1 for loaded in pack])
    values = losses.cpu().double()
    parts = [values[~is_image].sum(), (~is_image).sum(), values[is_image].sum(), is_image.sum()]
    return torch.stack([part.double() for part in parts])
