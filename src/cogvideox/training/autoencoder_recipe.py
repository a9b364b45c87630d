"""What a training run of the 3D causal VAE is made of: one TOML file (``recipes/``) or a few changes to one."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from cogvideox.configs import AutoencoderConfig
from cogvideox.media.geometry import check_size, num_latent_frames
from cogvideox.models.discriminator import DiscriminatorConfig
from cogvideox.presets import PRESETS, PresetName
from cogvideox.training.learning_rate import ScheduledStage, require_positive, stage_at
from cogvideox.training.loop import LoopSettings
from cogvideox.training.transformer_recipe import OptimizerSettings

Perceptual = Literal["pyramid", "lpips", "none"]


@dataclass(frozen=True, kw_only=True)
class AutoencoderDataSettings:
    """What is reconstructed: renders of the stage world, made anew for every step, and videos of a folder."""

    folder: str | None = None
    """Videos and pictures in any folders below, or a folder with ``index.parquet``; ~ is the home folder. Captions are
    not read. What cannot be read is named once and passed over."""
    folder_share: float = 1.0
    """Share of the clips that come from ``folder``; the others are renders."""
    render_height_px: int = 64
    render_width_px: int = 96
    min_render_duration_s: float = 2.0
    """Renders are so long, or as long as the clip cut from them."""
    num_crop_candidates: int = 1
    """Of so many random windows the one with the most foreground is taken: backgrounds are easy, actors are not."""
    num_images_per_source: int = 4
    """Single frames taken from one video or render in a batch of them, each with a crop of its own: rendering and
    decoding are not free beside such small passes."""
    num_held_out: int = 4
    """Clips that are never trained on, for the sample sheet: of the folder if there is one, else renders."""

    def __post_init__(self) -> None:
        require_positive(self, "render_height_px", "render_width_px", "num_crop_candidates", "num_images_per_source")
        require_positive(self, "min_render_duration_s", "num_held_out")
        if not 0 <= self.folder_share <= 1:
            raise ValueError(f"folder_share: expected 0 to 1, got {self.folder_share}")

    @property
    def share_of_folder(self) -> float:
        """`folder_share`, or 0 without a folder."""
        return 0.0 if self.folder is None else self.folder_share


@dataclass(frozen=True, kw_only=True)
class AutoencoderLossSettings:
    """What a reconstruction is judged by; all losses are means over their elements."""

    l1_weight: float = 1.0
    """Of the absolute error of pixels (paper section 2.1)."""
    squared_error_weight: float = 0.0
    """Of the squared error, beside the absolute one; it cares for the worst places."""
    perceptual: Perceptual = "none"
    """"lpips", as in the paper, needs two files of weights; "pyramid", the distance of Laplacian pyramids, needs none
    and is another measure (docs/autoencoder.md)."""
    perceptual_weight: float = 1.0
    num_perceptual_frames: int = 0
    """Frames of a clip that it is measured on, drawn at random; 0 takes all."""
    lpips_backbone: str | None = None
    """File of torchvision's VGG16, ``vgg16-397923af.pth`` or the same as safetensors."""
    lpips_heads: str | None = None
    """File of LPIPS version 0.1 for VGG16, ``vgg.pth``."""
    kl_weight: float = 1e-6
    """Of the divergence from the unit Gaussian, mean over latent elements."""

    def __post_init__(self) -> None:
        for name in ("l1_weight", "squared_error_weight", "perceptual_weight", "kl_weight", "num_perceptual_frames"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if not self.l1_weight + self.squared_error_weight > 0:
            raise ValueError("l1_weight, squared_error_weight: expected one of them to be positive, got 0 and 0")
        for name in ("lpips_backbone", "lpips_heads"):
            if self.perceptual == "lpips" and getattr(self, name) is None:
                raise ValueError(
                    f'{name}: expected a file, because perceptual is "lpips"; docs/autoencoder.md says where it comes '
                    'from; without it perceptual = "pyramid" does'
                )


@dataclass(frozen=True, kw_only=True)
class GanSettings:
    """The adversarial loss, by a discriminator that is trained along and not published."""

    start_step: int
    """The first step of the run, counted from 0, in which discriminator and autoencoder both train on it."""
    learning_rate: float = 1e-4
    """Of the discriminator, held."""
    weight: float = 0.5
    """Of the autoencoder's side."""
    is_weight_adaptive: bool = True
    """Multiply it by the ratio of the gradient norms of the reconstruction's and the GAN's loss at the decoder's last
    layer."""
    max_adaptive_weight: float = 1e4
    """No larger ratio is applied."""
    gradient_penalty: float = 0.0
    """Weight of R1: half the mean square of the gradient of all logits by the pixels of real clips. 0 computes none."""
    penalty_every: int = 16
    """It is computed at every n-th step, and counts n times there."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate", "max_adaptive_weight", "penalty_every")
        for name in ("start_step", "weight", "gradient_penalty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """Clips of a step, over all processes, and the frames of each; 1 frame is a picture."""

    num_clips: int
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class AutoencoderStage(ScheduledStage):
    """One part of a run; weights, optimizers and average are carried over to the next."""

    height_px: int
    """Of the windows cut from videos; a multiple of the spatial compression, as the width."""
    width_px: int
    batch_size: int
    """Clips of a step over all processes, as the other batch sizes."""
    num_frames: int
    """Of a clip. With temporal compression 4: 8k + 1 (9, 17, 25 ...) or 8k; in general a multiple of twice the
    compression, or 1 more: the model decodes any other length to another one. 1 trains on single frames only."""
    fps: tuple[int, ...] = (8,)
    """The rate of a clip is drawn from these; a video of a lower one keeps its own."""
    short_side_px: int = 0
    """Videos with a longer short side are reduced to it before a window is cut out; 0 cuts out of them as they are.
    None is enlarged more than the window needs."""
    image_batch_every: int = 0
    """Every n-th batch is of single frames; 0: none."""
    image_batch_size: int = 0
    long_batch_every: int = 0
    """Every n-th batch, if not of single frames, is of longer clips; 0: none. More than 9 frames show the model a chunk
    that continues another one."""
    long_batch_size: int = 0
    num_long_frames: int = 0
    num_context_parallel_ranks: int = 1
    """Processes that share every clip, each with a part of its frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "height_px", "width_px", "batch_size", "num_frames", "num_context_parallel_ranks")
        if not self.fps or min(self.fps) < 1:
            raise ValueError(f"fps: expected rates of at least 1, as in [8, 16], got {list(self.fps)}")
        for name in ("short_side_px", "image_batch_every", "long_batch_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if 0 < self.short_side_px < min(self.height_px, self.width_px):
            raise ValueError(
                f"short_side_px: expected 0 or at least {min(self.height_px, self.width_px)}, the smaller side of the "
                f"window, got {self.short_side_px}"
            )
        for every, sizes in (
            ("image_batch_every", ("image_batch_size",)),
            ("long_batch_every", ("long_batch_size", "num_long_frames")),
        ):
            for name in sizes:
                if (getattr(self, every) > 0) != (getattr(self, name) > 0):
                    got = f"{getattr(self, name)} with {every} = {getattr(self, every)}"
                    raise ValueError(f"{name}: expected a positive number with {every} and 0 without, got {got}")

        if self.image_batch_every and self.long_batch_every % self.image_batch_every == 0 < self.long_batch_every:
            raise ValueError(
                f"long_batch_every: expected no multiple of image_batch_every ({self.image_batch_every}), which goes "
                f"first, got {self.long_batch_every}"
            )

    def batch_at(self, place: int) -> BatchShape:
        """Return what step 0, 1, ... of the stage trains on."""
        if self.image_batch_every and place % self.image_batch_every == 0:
            return BatchShape(num_clips=self.image_batch_size, num_frames=1)
        if self.long_batch_every and place % self.long_batch_every == 0:
            return BatchShape(num_clips=self.long_batch_size, num_frames=self.num_long_frames)
        return BatchShape(num_clips=self.batch_size, num_frames=self.num_frames)

    @property
    def batch_shapes(self) -> dict[str, BatchShape]:
        """All kinds of batches that it has, by the field that says their size."""
        shapes = {"batch_size": BatchShape(num_clips=self.batch_size, num_frames=self.num_frames)}
        if self.image_batch_every:
            shapes["image_batch_size"] = BatchShape(num_clips=self.image_batch_size, num_frames=1)
        if self.long_batch_every:
            shapes["long_batch_size"] = BatchShape(num_clips=self.long_batch_size, num_frames=self.num_long_frames)
        return shapes


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """A VAE training run."""

    stages: tuple[AutoencoderStage, ...]
    preset: PresetName = "tiny"
    """Names the shape of the model (`cogvideox.presets`)."""
    model: dict = field(default_factory=dict)
    """Fields of `cogvideox.configs.AutoencoderConfig` that differ from those of ``preset`` or ``start``, for example
    latent_channels, temporal_compression_ratio, norm_scope, upsampling_order."""
    start: str | None = None
    """Checkpoint directory or model name whose VAE is trained on; None trains ``preset`` from scratch."""
    uses_bfloat16: bool = False
    """Compute under bf16 autocast: faster where the CPU or GPU has bf16 matrix units, very slow elsewhere."""
    data: AutoencoderDataSettings = field(default_factory=AutoencoderDataSettings)
    loss: AutoencoderLossSettings = field(default_factory=AutoencoderLossSettings)
    gan: GanSettings | None = None
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """Of the autoencoder; "muon" is for its convolutions, the rest takes AdamW, as does the discriminator."""
    run: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: expected at least one, for example [[stages]] with num_steps and num_frames")
        if self.gan is not None and self.gan.start_step >= self.num_steps:
            raise ValueError(
                f"gan.start_step: expected less than {self.num_steps}, the steps of all stages, got "
                f"{self.gan.start_step}; lower it, or leave [gan] out"
            )
        self._check_penalty()
        if self.start is None:
            self.check_stages(self.config_from(PRESETS[self.preset].autoencoder))

    def _check_penalty(self) -> None:
        """Raise ValueError if the gradient penalty would fall on some kinds of batches only."""
        if self.gan is None or self.gan.gradient_penalty == 0:
            return
        for index, stage in enumerate(self.stages):
            for name in ("image_batch_every", "long_batch_every"):
                every = getattr(stage, name)
                if every > 1 and math.gcd(every, self.gan.penalty_every) > 1:
                    raise ValueError(
                        f"gan.penalty_every: expected no common divisor with stages[{index}].{name} ({every}), or the "
                        f"penalty would fall on the same kind of batch always, got {self.gan.penalty_every}"
                    )

    def config_from(self, config: AutoencoderConfig) -> AutoencoderConfig:
        """Return a configuration with the recipe's differences. Raises ValueError for one that is not possible."""
        values: dict[str, Any] = {**config.to_json(), **self.model}
        num_blocks = len(values["block_out_channels"])
        if num_blocks != len(config.block_out_channels):
            for name in ("down_block_types", "up_block_types"):
                values[name] = [values[name][0]] * num_blocks
        try:
            return AutoencoderConfig.from_json(values)
        except ValueError as error:
            raise ValueError(f"model: {error}") from None

    def check_stages(self, config: AutoencoderConfig) -> None:
        """Raise ValueError unless every stage's clips fit the model and the renders."""
        for index, stage in enumerate(self.stages):
            try:
                multiple_px = config.spatial_compression_ratio
                check_size(height_px=stage.height_px, width_px=stage.width_px, multiple_px=multiple_px)
                for shape in stage.batch_shapes.values():
                    if shape.num_frames > 1:
                        num_latent_frames(shape.num_frames, config.temporal_compression_ratio)
                self._check_renders(stage)
            except ValueError as error:
                raise ValueError(f"stages[{index}]: {error}") from None

    def _check_renders(self, stage: AutoencoderStage) -> None:
        for side in ("height_px", "width_px"):
            rendered = getattr(self.data, f"render_{side}")
            if self.data.share_of_folder < 1 and getattr(stage, side) > rendered:
                raise ValueError(
                    f"{side}: expected at most data.render_{side} ({rendered}), because renders are cut from, got "
                    f"{getattr(stage, side)}"
                )

    @property
    def num_steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step 0, 1, ... of the run."""
        index, place = stage_at(self.stages, step)
        return self.stages[index].learning_rate_at(place)
