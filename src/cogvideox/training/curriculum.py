"""Progressive training: stages of growing size and length, and what each takes from a training set.

Paper: CogVideoX (arXiv 2408.06072), sections 3.1 and 3.2, table 5. A stage never enlarges a clip and keeps its aspect
ratio: the short side is reduced to the stage's, then both sides are cropped to what the model's patches need.

Axes: N samples of an epoch, M clips of a stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.data.clips import ClipShape, ClipTable
from cogvideox.media.geometry import longest_clip
from cogvideox.training.frame_packing import PackSettings
from cogvideox.training.learning_rate import ScheduledStage, require_positive

Positions = Literal["keep", "extrapolate", "interpolate"]


@dataclass(frozen=True, kw_only=True)
class ScoreFilter:
    """Which clips a stage takes by one of their scores; those without it are left out."""

    score: str
    keep_best: float = 1.0
    """Share of the clips with the highest scores."""
    minimum: float | None = None
    """Lowest score taken, before shares are counted."""

    def __post_init__(self) -> None:
        if not 0 < self.keep_best <= 1:
            raise ValueError(f"keep_best: expected above 0 to 1, got {self.keep_best}")


@dataclass(frozen=True, kw_only=True)
class Stage(ScheduledStage):
    """One part of a training run; weights, optimizer and average are carried over to the next."""

    height_px: int
    """With the width the size of this stage: its short side is that of its larger clips."""
    width_px: int
    max_duration_s: float
    """Longer clips are cut from their start: 6 s at 8 fps are 49 frames."""
    pack_tokens: int
    """Tokens of a packed sequence, text included (`cogvideox.training.frame_packing`)."""
    num_packs_per_step: int = 1
    """Packed sequences of a step over all processes; a multiple of their number."""
    fps: float = 8.0
    """Clips of a higher rate are reduced to it."""
    min_short_side_px: int = 0
    """Smaller clips are left out."""
    image_share: float | None = None
    """Share of single frames among the samples: pictures of the training set, else first frames of its clips. None
    takes every picture and every clip once an epoch, 1 first frames only."""
    filters: tuple[ScoreFilter, ...] = ()
    positions: Positions = "keep"
    """What becomes of the positions of tokens when the size changes. "keep" leaves the model's configuration as it is.
    "extrapolate" keeps neighbours of the largest clips 1 apart, so positions reach further than before. "interpolate"
    squeezes the largest clips into the positions of the stage before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "height_px", "width_px", "max_duration_s", "pack_tokens", "num_packs_per_step", "fps")
        if self.image_share is not None and not 0 <= self.image_share <= 1:
            raise ValueError(f"image_share: expected 0 to 1, got {self.image_share}")
        if self.min_short_side_px < 0:
            raise ValueError(f"min_short_side_px: expected 0 or more, got {self.min_short_side_px}")

    @property
    def short_side_px(self) -> int:
        """The smaller of height and width."""
        return min(self.height_px, self.width_px)


def stage_configs(config: TransformerConfig, stages: Sequence[Stage], ratio: int) -> list[TransformerConfig]:
    """Return the model's configuration in each stage: its native size, and how far apart positions are.

    The trained checkpoint carries it, so what generates from it, here or elsewhere, places tokens as training did.

    Args:
        config: before the first stage.
        stages: of the run.
        ratio: pixels per latent row and column.

    Raises:
        ValueError: the model cannot do what a stage asks of its positions.
    """
    configs: list[TransformerConfig] = []
    for index, stage in enumerate(stages):
        try:
            config = _stage_config(config, stage, ratio)
        except ValueError as error:
            raise ValueError(f"stages[{index}]: {error}") from None
        configs.append(config)
    return configs


def _stage_config(config: TransformerConfig, stage: Stage, ratio: int) -> TransformerConfig:
    if stage.positions == "keep":
        return config
    if config.use_learned_positional_embeddings:
        raise ValueError('positions: expected "keep", because this model has learned its positions for one size')
    if config.patch_size_t is not None:
        if stage.positions == "interpolate":
            raise ValueError('positions: expected "keep" or "extrapolate": version 1.5 counts rows and columns from 0')
        return config
    old_HW, new_HW = (config.sample_height, config.sample_width), (stage.height_px // ratio, stage.width_px // ratio)
    num_frames = int(stage.max_duration_s * stage.fps) + 1
    grown = replace(config, sample_height=new_HW[0], sample_width=new_HW[1], sample_frames=num_frames)
    if stage.positions == "extrapolate":
        return grown
    if config.use_rotary_positional_embeddings:
        # Rotary positions of any size lie in the window of the native one.
        return replace(config, sample_frames=num_frames)
    return replace(grown, spatial_interpolation_scale=config.spatial_interpolation_scale * min(new_HW) / min(old_HW))


@dataclass(frozen=True)
class StageClips:
    """The clips of a stage and what each is made into, in columns."""

    rows: NDArray[np.int64]
    """(M,) of the table."""
    num_frames: NDArray[np.int64]
    """1 for pictures, and for clips too short for more."""
    height_px: NDArray[np.int64]
    width_px: NDArray[np.int64]
    fps: NDArray[np.float64]
    """0 where there is one frame."""

    def __len__(self) -> int:
        return len(self.rows)

    def shape(self, index: int) -> ClipShape:
        """Return what clip ``index`` of the stage is made into."""
        return ClipShape(
            num_frames=int(self.num_frames[index]),
            height_px=int(self.height_px[index]),
            width_px=int(self.width_px[index]),
            fps=float(self.fps[index]),
        )

    def select(self, kept: NDArray[np.bool_]) -> "StageClips":
        """Return the clips of a mask (M,)."""
        sizes = (self.height_px[kept], self.width_px[kept])
        return StageClips(self.rows[kept], self.num_frames[kept], *sizes, self.fps[kept])


def stage_clips(
    table: ClipTable, stage: Stage, transformer: TransformerConfig, autoencoder: AutoencoderConfig
) -> StageClips:
    """Choose the clips of a stage and their shapes.

    Raises:
        ValueError: a filter names a score that no clip has, or no clip is left.
    """
    is_kept = _passes_all(table, stage)
    ratio = autoencoder.spatial_compression_ratio
    multiple_px = ratio * transformer.patch_size
    short_px = np.minimum(table.height_px, table.width_px)
    if transformer.use_learned_positional_embeddings:
        height_px = np.full(len(table), transformer.sample_height * ratio)
        width_px = np.full(len(table), transformer.sample_width * ratio)
        is_kept &= (table.height_px >= height_px) & (table.width_px >= width_px)
    else:
        scale = np.minimum(1.0, stage.short_side_px / np.maximum(short_px, 1))
        # Rounded first: 480 * (256 / 480) may be a little below 256.
        height_px, width_px = (
            np.floor(np.round(side * scale, 6) / multiple_px).astype(np.int64) * multiple_px
            for side in (table.height_px, table.width_px)
        )
    is_kept &= (short_px >= stage.min_short_side_px) & (np.minimum(height_px, width_px) > 0)
    fps = np.minimum(table.fps, stage.fps).astype(np.float64)
    num_frames = _num_frames(table, fps, stage.max_duration_s, autoencoder.temporal_compression_ratio)
    if not is_kept.any():
        wanted = f"{len(table)} clips, short sides of {short_px.min()} to {short_px.max()} px" if len(table) else "none"
        raise ValueError(f"no clip is left for it: filters and min_short_side_px take none of {wanted}")
    rows = np.arange(len(table))
    clips = StageClips(rows, num_frames, height_px, width_px, np.where(num_frames > 1, fps, 0.0))
    return clips.select(is_kept)


def num_passing(table: ClipTable, stage: Stage) -> int:
    """Return how many clips pass a stage's filters, whatever their size."""
    return int(_passes_all(table, stage).sum())


def _passes_all(table: ClipTable, stage: Stage) -> NDArray[np.bool_]:
    is_kept = np.ones(len(table), dtype=bool)
    for score_filter in stage.filters:
        is_kept &= _passes(table, score_filter, is_kept)
    return is_kept


def _passes(table: ClipTable, score_filter: ScoreFilter, is_kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if score_filter.score not in table.scores:
        known = ", ".join(sorted(table.scores)) or "none"
        raise ValueError(f"filters: expected a score of the training set ({known}), got {score_filter.score!r}")
    scores = table.scores[score_filter.score]
    passes = ~np.isnan(scores)
    if score_filter.minimum is not None:
        passes &= scores >= score_filter.minimum
    candidates = np.flatnonzero(passes & is_kept)
    num_best = max(1, round(score_filter.keep_best * len(candidates)))
    best = candidates[np.argsort(-scores[candidates], kind="stable")[:num_best]]
    passes[:] = False
    passes[best] = True
    return passes


def _num_frames(table: ClipTable, fps: NDArray[np.float64], max_duration_s: float, ratio: int) -> NDArray[np.int64]:
    """Return the longest legal length of each clip, at a rate ``fps`` (M,)."""
    is_moving = (table.num_frames > 1) & (table.fps > 0)
    speed = np.divide(fps, table.fps, out=np.ones_like(fps), where=is_moving)
    available = np.floor((table.num_frames - 1) * speed + 1e-6).astype(np.int64) + 1
    longest = np.where(is_moving, np.minimum(available, np.floor(max_duration_s * fps + 1e-6) + 1), 1).astype(np.int64)
    legal = {length: longest_clip(int(length), ratio) for length in np.unique(longest)}
    return np.array([legal[length] for length in longest], dtype=np.int64)


def num_tokens(
    num_frames: NDArray[np.int64],
    height_px: NDArray[np.int64],
    width_px: NDArray[np.int64],
    transformer: TransformerConfig,
    autoencoder: AutoencoderConfig,
) -> NDArray[np.int64]:
    """Return the tokens of samples, text included (N,)."""
    multiple_px = autoencoder.spatial_compression_ratio * transformer.patch_size
    num_latent_frames = (num_frames - 1) // autoencoder.temporal_compression_ratio + 1
    num_patches = -(-num_latent_frames // (transformer.patch_size_t or 1))
    return transformer.max_text_seq_length + num_patches * (height_px // multiple_px) * (width_px // multiple_px)


@dataclass(frozen=True)
class EpochSamples:
    """What an epoch is made of: clips of the stage, whole or only their first frame."""

    clips: NDArray[np.int64]
    """(N,) places among the stage's clips."""
    is_first_frame: NDArray[np.bool_]
    """(N,) whether only the first frame of a longer clip is taken."""


def epoch_samples(clips: StageClips, image_share: float | None, rng: np.random.Generator) -> EpochSamples:
    """Return the samples of an epoch: every clip once, and single frames to make up their share."""
    is_picture = clips.num_frames == 1
    moving, pictures = np.flatnonzero(~is_picture), np.flatnonzero(is_picture)
    if image_share is None:
        chosen, moving = pictures, moving
    elif image_share == 1:
        chosen, moving = np.arange(len(clips)), moving[:0]
    else:
        wanted = round(image_share / (1 - image_share) * len(moving))
        chosen = rng.permutation(pictures)[:wanted]
        num_missing = wanted - len(chosen) if len(moving) else 0
        if num_missing:
            rounds = [rng.permutation(moving) for _ in range(-(-num_missing // len(moving)))]
            chosen = np.concatenate([chosen, np.concatenate(rounds)[:num_missing]])
    samples = np.concatenate([moving, chosen])
    is_single = np.arange(len(samples)) >= len(moving)
    return EpochSamples(samples, is_single & ~is_picture[samples])


def pack_settings(stage: Stage, transformer: TransformerConfig, num_balanced_ranks: int) -> PackSettings:
    """Return how a stage's samples are packed."""
    return PackSettings(
        pack_tokens=stage.pack_tokens,
        num_packs_per_step=stage.num_packs_per_step,
        num_balanced_ranks=num_balanced_ranks,
        attention_ratio=6.0 * transformer.width,
    )
