"""What a training run of the expert transformer is made of: one TOML file (``recipes/``) or a few changes to one."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from cogvideox.data.caption_mixture import CaptionMixture
from cogvideox.data.stage_world.source import StageWorldSettings
from cogvideox.presets import PresetName
from cogvideox.training.curriculum import Stage
from cogvideox.training.learning_rate import stage_at
from cogvideox.training.loop import LoopSettings


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The training set; exactly one of the two."""

    folder: str | None = None
    """Videos and pictures with text files beside them, or a folder with ``index.parquet``; ~ is the home folder."""
    stage_world: StageWorldSettings | None = None
    """Renders, as for the embedded model."""
    policy: str | None = None
    """TOML file with ``[[policy.rules]]`` that says which clips are taken at which step; without, ``policy.toml`` of
    the folder, if it has one (docs/curation.md)."""

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.stage_world is None):
            raise ValueError("data: expected either folder or stage_world, got both or neither")


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """How weights are updated."""

    name: Literal["adamw", "muon"] = "adamw"
    """"muon" is for the matrices of the blocks, which alone have the weight decay then; the rest takes AdamW. Not with
    LoRA."""
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 0 to below 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters beside frozen weights."""

    rank: int = 64
    alpha: float = 64.0
    """Strength: updates count ``alpha / rank`` times."""
    target_modules: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    """Ends of the names of the linear layers that get one."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not self.target_modules:
            raise ValueError("lora: expected a rank of at least 1, a positive alpha and target_modules")


@dataclass(frozen=True, kw_only=True)
class ImageToVideoSettings:
    """Training with a first image: a text-to-video model grows the channels for it (paper, appendix D)."""

    noise_log_mean: float = -3.0
    """Noise of deviation exp(N(mean, std^2)) is added to the image's pixels (-1 to 1) before it is encoded."""
    noise_log_std: float = 0.5
    dropout: float = 0.05
    """Share of samples without an image."""
    continuation_share: float = 0.0
    """Share of samples that see several first latent frames, any number of them: the model learns to go on."""

    def __post_init__(self) -> None:
        for name in ("dropout", "continuation_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """Clips kept apart, on which the loss is measured when samples are made."""

    num_clips: int = 0
    train_timesteps: tuple[int, ...] = (100, 300, 500, 700, 900)
    """Those of the paper's table 9."""

    def __post_init__(self) -> None:
        if self.num_clips < 0 or not all(0 <= timestep <= 999 for timestep in self.train_timesteps):
            raise ValueError("validation: expected num_clips of 0 or more and train_timesteps of 0 to 999")


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """Clips generated during training, to look at."""

    prompts: tuple[str, ...] = ()
    """By default captions of the training set, those of validation clips if there are any."""
    num_prompts: int = 4
    """How many captions are taken if there are no prompts."""
    num_steps: int = 25
    guidance_scale: float = 6.0
    height_px: int | None = None
    """As the width and the number of frames by default that of the stage, which takes long for a large model."""
    width_px: int | None = None
    num_frames: int | None = None

    def __post_init__(self) -> None:
        if self.num_prompts < 0 or not 1 <= self.num_steps <= 1000 or not self.guidance_scale >= 0:
            raise ValueError(
                "samples: expected num_prompts of 0 or more, num_steps of 1 to 1000, guidance_scale from 0"
            )


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe:
    """A transformer training run."""

    data: DataSettings
    stages: tuple[Stage, ...]
    start: str | None = None
    """Checkpoint directory or model name to go on from; None trains ``preset`` from scratch."""
    preset: PresetName = "tiny"
    autoencoder: str | None = None
    """Checkpoint directory whose ``vae/`` makes and decodes the latents; ``start`` by default."""
    text_encoder: str | None = None
    """Checkpoint directory with ``text_encoder/`` and ``tokenizer/``; ``start`` by default."""
    cache_dir: str | None = None
    """Where encoded clips are kept; by default a folder of the user's cache for this autoencoder."""
    is_encoded_ahead: bool = True
    """Encode all clips before the first step; otherwise each when it is needed first, which a run from scratch can do
    only with a ``scaling_factor``."""
    scaling_factor: float | None = None
    """Latents are multiplied by it; by default the start's, or from scratch what gives them a deviation of 1."""
    has_cached_text: bool = False
    """Keep the embeddings of captions too: needed once, a text encoder of gigabytes is not loaded again."""
    method: Literal["full", "lora"] = "full"
    lora: LoraSettings = field(default_factory=LoraSettings)
    image_to_video: ImageToVideoSettings | None = None
    """Given for a text-to-video start, the model is widened; image-to-video starts have the defaults without it."""
    caption_dropout: float = 0.1
    """Share of captions replaced by the empty text."""
    caption_mixture: CaptionMixture | None = None
    """How often short and dense captions, and those that came with clips, are taken; without, all wordings alike."""
    is_uniform_sampling: bool = True
    """Draw the timesteps of a step's samples, over all processes, one from each equal part of 0..999 (paper 3.3)."""
    uses_bfloat16: bool = False
    """Compute under bf16 autocast: faster where the CPU or GPU has bf16 matrix units, very slow elsewhere."""
    has_gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    samples: SampleSettings = field(default_factory=SampleSettings)
    num_balanced_ranks: int = 1
    """Processes that packs of equal work are made for (`cogvideox.training.frame_packing`). A run with another number
    of processes trains the same as long as it divides ``num_packs_per_step``."""
    run: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: expected at least one, for example [[stages]] with num_steps and learning_rate")
        if not 0 <= self.caption_dropout < 1:
            raise ValueError(f"caption_dropout: expected 0 to below 1, got {self.caption_dropout}")
        for name in ("autoencoder", "text_encoder"):
            if self.start is None and getattr(self, name) is None:
                raise ValueError(f"{name}: expected a checkpoint directory, because there is no start")
        if not self.is_encoded_ahead and self.start is None and self.scaling_factor is None:
            raise ValueError(
                "scaling_factor: expected a number, because is_encoded_ahead is false and there is no start"
            )
        if self.method == "lora" and self.start is None:
            raise ValueError('start: expected a checkpoint, because method is "lora"')
        if self.method == "lora" and self.optimizer.name == "muon":
            raise ValueError('optimizer.name: expected "adamw", because method is "lora"')
        for index, stage in enumerate(self.stages):
            if self.method == "lora" and stage.positions != "keep":
                raise ValueError(
                    f'stages[{index}].positions: expected "keep", because method is "lora" and an adapter holds no '
                    "configuration"
                )
            if stage.num_packs_per_step % self.num_balanced_ranks:
                raise ValueError(
                    f"stages[{index}].num_packs_per_step: expected a multiple of num_balanced_ranks "
                    f"({self.num_balanced_ranks}), got {stage.num_packs_per_step}"
                )

    @property
    def compute_dtype(self) -> torch.dtype:
        """Of matrix products, and of the frozen parts where nothing is lost by it."""
        return torch.bfloat16 if self.uses_bfloat16 else torch.float32

    @property
    def num_steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.num_steps for stage in self.stages)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step 0, 1, ... of the run."""
        index, place = stage_at(self.stages, step)
        return self.stages[index].learning_rate_at(place)


def recipe_path(path: str) -> Path:
    """Return a path of a recipe; ~ is the home folder."""
    return Path(path).expanduser()
