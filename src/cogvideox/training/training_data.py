"""All that a transformer run reads: its plan, the encoded clips and captions, and the autoencoder that encoded them."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from cogvideox.chat.caption_style import read_style
from cogvideox.data.clips import ClipShape, ClipSource
from cogvideox.data.latent_cache import LatentCache
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.parallel.world import World
from cogvideox.training.curriculum import stage_configs
from cogvideox.training.sample_loading import ImageEncoder, LoadedSample, SampleLoader
from cogvideox.training.step_plan import Sample, StepPlan
from cogvideox.training.text_embeddings import TextEmbeddings
from cogvideox.training.transformer_parts import load_autoencoder, open_policy, read_part_configs
from cogvideox.training.transformer_recipe import TransformerRecipe, recipe_path

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StepBatch:
    """One process's part of a step."""

    step: int
    stage: int
    packs: list[list[LoadedSample]]
    """Neighbours of one shape behind each other, so that they are computed together."""
    train_timesteps: Tensor
    """(N,) of all samples of the step, by their place in it."""


class TrainingData:
    """A recipe's training set, ready to train on."""

    def __init__(
        self,
        recipe: TransformerRecipe,
        source: ClipSource,
        world: World | None = None,
        *,
        on_encoded: Callable[[str, int, int], None] = lambda what, num_done, num_all: None,
    ) -> None:
        """Check the recipe against the training set, then encode what the cache lacks.

        Args:
            recipe: what to train and how.
            source: the training set.
            world: the processes, which share the work; this one alone if None.
            on_encoded: hears what is encoded ("clips", "captions"), how many of them are, and of how many.

        Raises:
            ValueError: the recipe does not fit the training set or the model.
            CheckpointError: a model that it names is missing or damaged.
        """
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
            policy=open_policy(recipe.data),
        )
        for index, number in enumerate(self.plan.num_left_out):
            if number:
                logger.warning("stages[%d]: %d clips are too small for it and left out", index, number)
        self._warn_of_captions()
        self.caption_style = read_style(recipe_path(recipe.data.folder)) if recipe.data.folder else None
        """Of the training set, for those who write prompts."""
        self.noise_schedule = NoiseSchedule(configs.noise_schedule)
        self.autoencoder = load_autoencoder(configs, self.world.device)
        self.cache = self._open_cache()
        wanted = self.plan.wanted() if recipe.is_encoded_ahead else self.plan.wanted_for_validation()
        self._encode(wanted, partial(on_encoded, "clips"))
        if recipe.is_encoded_ahead:
            self._check_encoded()
        self.scaling_factor = self._scaling_factor()
        self.autoencoder.config = dataclasses.replace(configs.autoencoder, scaling_factor=self.scaling_factor)
        self.texts = TextEmbeddings(
            configs.text_encoder_dir,
            configs.transformer.max_text_seq_length,
            self.world.device,
            dtype=recipe.compute_dtype,
            cache_dir=configs.cache_dir / "text" if recipe.has_cached_text else None,
        )
        if recipe.has_cached_text:
            self._encode_captions(partial(on_encoded, "captions"))
        image_to_video = configs.image_to_video
        self.loader = SampleLoader(
            source.table,
            self.cache,
            scaling_factor=self.scaling_factor,
            patch_size_t=configs.transformer.patch_size_t or 1,
            caption_dropout=recipe.caption_dropout,
            caption_mixture=recipe.caption_mixture,
            image_encoder=None if image_to_video is None else ImageEncoder(self.autoencoder, image_to_video),
        )

    def caption(self, row: int) -> str:
        """Return the caption of a clip that stands for it in samples and measurements."""
        table, mixture = self.source.table, self.recipe.caption_mixture
        return table.captions[row][0 if mixture is None else mixture.likeliest(table.kinds(row))]

    def _wordings(self, row: int) -> list[str]:
        """Return the captions of a clip that training may take."""
        table, mixture = self.source.table, self.recipe.caption_mixture
        if mixture is None:
            return list(table.captions[row])
        weights = mixture.weights(table.kinds(row))
        return [caption for caption, weight in zip(table.captions[row], weights, strict=True) if weight]

    def _warn_of_captions(self) -> None:
        table, mixture = self.source.table, self.recipe.caption_mixture
        if mixture is None:
            return
        num_missed = sum(mixture.misses(table.kinds(row)) for row in range(len(table)))
        if num_missed:
            logger.warning(
                "caption_mixture: %d of %d clips have no caption of a kind with a share; they keep what they have",
                num_missed,
                len(table),
            )

    def _open_cache(self) -> LatentCache:
        folder = self.configs.cache_dir
        if self.world.is_main:
            LatentCache.open(folder, self.autoencoder)
        self.world.wait()
        return LatentCache.open(folder, self.autoencoder, uses_bfloat16=self.recipe.uses_bfloat16)

    def _encode(self, wanted: Sequence[tuple[int, ClipShape]], on_encoded: Callable[[int, int], None]) -> None:
        """Encode what is missing of some clips, each process a part of it."""
        missing = self.cache.missing(self.source.table, wanted)[self.world.rank :: self.world.size]
        for rejected in self.cache.encode(self.source, missing, on_encoded) if missing else ():
            logger.warning("%s: left out: %s", rejected.clip_id, rejected.reason)
        self.world.wait()
        self.cache.refresh()

    def _check_encoded(self) -> None:
        table = self.source.table
        for index, clips in enumerate(self.plan.clips):
            keys = ((table.clip_ids[row], table.versions[row]) for row in clips.rows)
            shapes = (clips.shape(place) for place in range(len(clips)))
            if all(self.cache.is_rejected(*key, shape) for key, shape in zip(keys, shapes, strict=True)):
                raise ValueError(
                    f"stages[{index}]: none of its {len(clips)} clips could be encoded; the reasons are in "
                    f"{self.cache.folder / 'rejected.jsonl'}"
                )

    def _encode_captions(self, on_encoded: Callable[[int, int], None]) -> None:
        captions = [caption for row in range(len(self.source.table)) for caption in self._wordings(row)]
        captions = list(dict.fromkeys(["", *captions, *self.recipe.samples.prompts]))
        self.texts.fill(captions[self.world.rank :: self.world.size], on_encoded)
        self.world.wait()

    def _scaling_factor(self) -> float:
        """Return the recipe's; else the start's; else, from scratch, what gives latents a deviation of 1."""
        if self.recipe.scaling_factor is not None:
            return self.recipe.scaling_factor
        if self.configs.start is not None:
            return self.configs.autoencoder.scaling_factor
        _, std = self.cache.mean_and_std(self.source.table, self.plan.wanted())
        return round(1.0 / std, 6)

    def batch(self, step: int) -> StepBatch:
        """Return this process's part of a step; samples that cannot be read are missing in it."""
        planned = self.plan.step(step, rank=self.world.rank, world_size=self.world.size)
        if not self.recipe.is_encoded_ahead:
            clips = [(sample.row, sample.shape) for pack in planned.packs for sample in pack]
            missing = self.cache.missing(self.source.table, clips)
            if missing:
                self.cache.encode(self.source, missing)
        packs = [
            [loaded for sample in pack if (loaded := self._load(step, sample)) is not None] for pack in planned.packs
        ]
        for pack in packs:
            pack.sort(key=lambda loaded: loaded.latents.shape)
        generator = torch.Generator().manual_seed(int(self.plan.timestep_rng(step).integers(2**62)))
        if self.recipe.is_uniform_sampling:
            timesteps = self.noise_schedule.draw_train_timesteps(planned.num_samples, generator=generator)
        else:
            num_timesteps = self.noise_schedule.config.num_train_timesteps
            timesteps = torch.randint(num_timesteps, (planned.num_samples,), generator=generator)
        return StepBatch(step, planned.stage, packs, timesteps)

    def _load(self, step: int, sample: Sample) -> LoadedSample | None:
        return self.loader.load(sample, self.plan.sample_rng(step, sample.place))


def check_processes(recipe: TransformerRecipe, num_processes: int) -> None:
    """Raise ValueError unless the packs of every stage's steps can be dealt out to so many processes."""
    for index, stage in enumerate(recipe.stages):
        if stage.num_packs_per_step % num_processes:
            raise ValueError(
                f"stages[{index}].num_packs_per_step: expected a multiple of the {num_processes} processes, got "
                f"{stage.num_packs_per_step}"
            )
