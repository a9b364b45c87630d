"""Configuration of every model part, torch-free.

Field names are those of the published ``config.json`` files; defaults are the class defaults of the public format
(diffusers 0.42), so an old file that lacks a field means what it meant when it was written.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_type_hints

from cogvideox.settings import convert_value

ActivationName = Literal["silu", "swish", "gelu", "relu", "mish"]
"""Activation functions of the format; all published models use "silu"."""
_OTHER_SCHEDULERS_FIELDS = [
    "algorithm_type",
    "dynamic_thresholding_ratio",
    "euler_at_final",
    "final_sigmas_type",
    "lower_order_final",
    "solver_order",
    "solver_type",
    "thresholding",
    "use_karras_sigmas",
    "variance_type",
]


def _require(condition: bool, field: str, expected: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{field}: expected {expected}, got {got!r}")


def _require_positive(config: object, fields: str) -> None:
    for field in fields.split():
        value = getattr(config, field)
        _require(0 < value < math.inf, field, "a positive number", value)


def _require_choice(config: object, field: str) -> None:
    expected = get_args(get_type_hints(type(config))[field])
    _require(getattr(config, field) in expected, field, " or ".join(map(repr, expected)), getattr(config, field))


SamplerName = Literal["ddim", "dpm-published", "dpmpp-2m", "dpmpp-2m-sde"]
"""How a step is taken; `cogvideox.diffusion.samplers` has them."""


NormScope = Literal["chunk", "clip", "frame"]
"""Over which frames a group norm of the VAE pools: a chunk's (published), the whole clip's, or each frame's alone."""


UpsamplingOrder = Literal["published", "paper"]
"""Which upsamplings of the VAE's decoder double time: the first ones (public code and weights) or the last (paper)."""


GuidanceMode = Literal["constant", "published", "rising", "falling"]
"""How the guidance scale changes over the steps; see `cogvideox.diffusion.guidance`."""


@dataclass(frozen=True, kw_only=True)
class ComponentConfig:
    """What the configurations of all checkpoint components share: reading from and writing to ``config.json``."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from the contents of a config file; keys starting with ``_`` are bookkeeping and skipped.

        Raises:
            ValueError: a key is unknown (the nearest known one is named) or a value is out of range.
        """
        hints = get_type_hints(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        known: dict[str, Any] = {}
        for key, value in values.items():
            if key.startswith("_"):
                continue
            if key not in names:
                nearest = difflib.get_close_matches(key, names, n=1)
                hint = f", did you mean {nearest[0]!r}?" if nearest else ""
                raise ValueError(f"{cls.__name__}: unknown field {key!r}{hint}")
            known[key] = convert_value(hints[key], value, key)
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values (tuples become lists)."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(ComponentConfig):
    """Shape of the expert transformer (paper section 2.2; variants in ``presets.py``)."""

    num_attention_heads: int = 30
    attention_head_dim: int = 64
    """Channels of one head; rotary positions split them 1/4 time, 3/8 rows, 3/8 columns."""
    in_channels: int = 16
    """Latent channels in; twice the output's when an image is concatenated (image-to-video)."""
    out_channels: int | None = 16
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    time_embed_dim: int = 512
    """Width of the timestep embedding that drives all modulation layers."""
    ofs_embed_dim: int | None = None
    """Width of the offset embedding of the 1.5 image-to-video model; None where there is none."""
    text_embed_dim: int = 4096
    num_layers: int = 30
    dropout: float = 0.0
    attention_bias: bool = True
    sample_width: int = 90
    """Native latent columns."""
    sample_height: int = 60
    """Native latent rows."""
    sample_frames: int = 49
    """Native video frames (pixels, not latents)."""
    patch_size: int = 2
    patch_size_t: int | None = None
    """Latent frames per token; None is the 1.0 patch embedding (a per-frame convolution)."""
    patch_bias: bool = True
    temporal_compression_ratio: int = 4
    max_text_seq_length: int = 226
    """Text tokens; shorter prompts are padded to it and the pads are attended to, as published."""
    activation_fn: Literal["gelu", "gelu-approximate"] = "gelu-approximate"
    timestep_activation_fn: ActivationName = "silu"
    norm_elementwise_affine: bool = True
    norm_eps: float = 1e-5
    spatial_interpolation_scale: float = 1.875
    temporal_interpolation_scale: float = 1.0
    use_rotary_positional_embeddings: bool = False
    use_learned_positional_embeddings: bool = False

    def __post_init__(self) -> None:
        counts = "num_attention_heads attention_head_dim num_layers in_channels patch_size max_text_seq_length"
        sizes = "time_embed_dim text_embed_dim sample_height sample_width sample_frames temporal_compression_ratio"
        scales = "norm_eps spatial_interpolation_scale temporal_interpolation_scale"
        _require_positive(self, f"{counts} {sizes} {scales}")
        _require(self.num_output_channels > 0, "out_channels", "a positive number", self.out_channels)
        if self.use_rotary_positional_embeddings:
            # 1/4 and 3/8 of it must be even numbers of rotary channels.
            _require(
                self.attention_head_dim % 16 == 0, "attention_head_dim", "a multiple of 16", self.attention_head_dim
            )
        else:
            _require(self.width % 16 == 0, "num_attention_heads x attention_head_dim", "a multiple of 16", self.width)
            only_rotary = "a null or false value, because use_rotary_positional_embeddings is false"
            _require(self.patch_size_t is None, "patch_size_t", only_rotary, self.patch_size_t)
            is_learned = self.use_learned_positional_embeddings
            _require(not is_learned, "use_learned_positional_embeddings", only_rotary, is_learned)
        if self.use_learned_positional_embeddings:
            _require(self.patch_size_t is None, "patch_size_t", "null beside learned positions", self.patch_size_t)
        _require(self.patch_size_t is None or self.patch_size_t > 0, "patch_size_t", "null or more", self.patch_size_t)
        _require_choice(self, "activation_fn")
        _require_choice(self, "timestep_activation_fn")
        _require(
            self.ofs_embed_dim in (None, self.time_embed_dim),
            "ofs_embed_dim",
            f"null or time_embed_dim ({self.time_embed_dim})",
            self.ofs_embed_dim,
        )

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def has_additive_positions(self) -> bool:
        """Whether a table is added to the tokens: sines and cosines (2B), or learned and beside rotary (5B-I2V)."""
        return not self.use_rotary_positional_embeddings or self.use_learned_positional_embeddings

    @property
    def native_grid_THW(self) -> tuple[int, int, int]:
        """Frames, rows and columns of the tokens of the native size."""
        num_latent_frames = (self.sample_frames - 1) // self.temporal_compression_ratio + 1
        grid_HW = (self.sample_height // self.patch_size, self.sample_width // self.patch_size)
        return -(-num_latent_frames // (self.patch_size_t or 1)), *grid_HW

    @property
    def num_output_channels(self) -> int:
        """Latent channels of the predicted velocity."""
        return self.out_channels if self.out_channels is not None else self.in_channels


_PUBLISHED_BLOCK, _OWN_BLOCK = "CogVideoX", "UnpublishedCogVideoX"


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(ComponentConfig):
    """Shape of the 3D causal VAE (paper section 2.1)."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("CogVideoXDownBlock3D",) * 4
    up_block_types: tuple[str, ...] = ("CogVideoXUpBlock3D",) * 4
    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    """Channels of the stages, from pixels to latents; the decoder mirrors them."""
    latent_channels: int = 16
    layers_per_block: int = 3
    """Residual blocks of an encoder stage; a decoder stage has one more."""
    act_fn: ActivationName = "silu"
    norm_eps: float = 1e-6
    norm_num_groups: int = 32
    temporal_compression_ratio: int = 4
    sample_height: int = 480
    """Native size in px; half of it is the published tile size."""
    sample_width: int = 720
    scaling_factor: float = 1.15258426
    """Latents are multiplied by it before diffusion."""
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None
    force_upcast: bool = True
    use_quant_conv: bool = False
    use_post_quant_conv: bool = False
    invert_scale_latents: bool = False
    """The published 1.5 models divide (not multiply) the conditioning image's latent by ``scaling_factor``."""
    norm_scope: NormScope = "chunk"
    """With "frame", chunks make no difference; with "clip", a clip is one chunk, in the memory that it takes."""
    upsampling_order: UpsamplingOrder = "published"

    def __post_init__(self) -> None:
        _require_choice(self, "norm_scope")
        _require_choice(self, "upsampling_order")
        _require_positive(self, "in_channels out_channels latent_channels layers_per_block norm_num_groups norm_eps")
        _require_positive(self, "sample_height sample_width scaling_factor")
        _require(len(self.block_out_channels) >= 2, "block_out_channels", "at least 2 stages", self.block_out_channels)
        for field in ("down_block_types", "up_block_types"):
            expected = len(self.block_out_channels)
            _require(len(getattr(self, field)) == expected, field, f"{expected} entries", getattr(self, field))
            name = f"CogVideoX{field.removesuffix('_block_types').title()}Block3D"
            _require(set(getattr(self, field)) == {name}, field, f"only {name}", getattr(self, field))
        for channels in self.block_out_channels:
            expected = f"multiples of norm_num_groups ({self.norm_num_groups})"
            is_multiple = channels > 0 and channels % self.norm_num_groups == 0
            _require(is_multiple, "block_out_channels", expected, self.block_out_channels)
        _require_choice(self, "act_fn")
        _require(
            self.temporal_compression_ratio in (1, 2, 4, 8),
            "temporal_compression_ratio",
            "1, 2, 4 or 8",
            self.temporal_compression_ratio,
        )
        # Dead in the public code too: its channel counts could never match the latents.
        _require(not self.use_quant_conv, "use_quant_conv", "false", self.use_quant_conv)
        _require(not self.use_post_quant_conv, "use_post_quant_conv", "false", self.use_post_quant_conv)

    @property
    def spatial_compression_ratio(self) -> int:
        """Pixels per latent row or column."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def is_published_function(self) -> bool:
        """Whether other readers of the format compute the same from the same weights."""
        return self.norm_scope == "chunk" and self.upsampling_order == "published"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from the contents of a config file; errors as in `ComponentConfig.from_json`."""
        read = dict(values)
        for key in ("down_block_types", "up_block_types"):
            if isinstance(read.get(key), list):
                read[key] = [str(name).replace(_OWN_BLOCK, _PUBLISHED_BLOCK) for name in read[key]]
        return super().from_json(read)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values: those of the format only, unless this is another function.

        Then the names of block types are changed too: other readers stop at them, rather than compute something else.
        """
        values = super().to_json()
        if self.is_published_function:
            return {key: value for key, value in values.items() if key not in ("norm_scope", "upsampling_order")}
        for key in ("down_block_types", "up_block_types"):
            values[key] = [name.replace(_PUBLISHED_BLOCK, _OWN_BLOCK) for name in values[key]]
        return values


@dataclass(frozen=True, kw_only=True)
class NoiseScheduleConfig(ComponentConfig):
    """The diffusion process: ``scheduler_config.json``. Defaults are the values of the published 5B files."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    """Noise added per training timestep; the published models all use "scaled_linear"."""
    trained_betas: tuple[float, ...] | None = None
    """Written-out values in place of `beta_schedule`."""
    clip_sample: bool = False
    """Read and ignored, as in the public samplers (likewise the two fields below)."""
    clip_sample_range: float = 1.0
    sample_max_value: float = 1.0
    set_alpha_to_one: bool = True
    steps_offset: int = 0
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "v_prediction"
    """What the model's output means: noise, clean sample or velocity (all published models)."""
    timestep_spacing: Literal["leading", "linspace", "trailing"] = "trailing"
    """Which timesteps a run visits; only "trailing" starts at pure noise."""
    rescale_betas_zero_snr: bool = True
    snr_shift_scale: float = 1.0
    """Divides the signal-to-noise ratio; 3.0 in the 2B model, 1.0 in the 5B models."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from a ``scheduler_config.json``; a field it lacks has the format's default, not the published value.

        Raises:
            ValueError: a key is unknown or a value is out of range.
        """
        format_defaults = {
            "clip_sample": True,
            "prediction_type": "epsilon",
            "timestep_spacing": "leading",
            "rescale_betas_zero_snr": False,
            "snr_shift_scale": 3.0,
        }
        # A file converted from another scheduler keeps that one's fields; the public code ignores them too.
        own = {key: value for key, value in values.items() if key not in _OTHER_SCHEDULERS_FIELDS}
        return super().from_json(format_defaults | own)

    def __post_init__(self) -> None:
        for field in ("beta_schedule", "prediction_type", "timestep_spacing"):
            _require_choice(self, field)
        _require(
            0 < self.beta_start <= self.beta_end < 1,
            "beta_start, beta_end",
            "0 < beta_start <= beta_end < 1",
            (self.beta_start, self.beta_end),
        )
        is_in_range = all(0 <= beta < 1 for beta in self.trained_betas or ())
        _require(is_in_range, "trained_betas", "numbers from 0 to below 1", self.trained_betas)
        if self.trained_betas is not None:
            expected = f"{self.num_train_timesteps} numbers (num_train_timesteps)"
            _require(len(self.trained_betas) == self.num_train_timesteps, "trained_betas", expected, self.trained_betas)
        _require(self.num_train_timesteps > 1, "num_train_timesteps", "more than 1", self.num_train_timesteps)
        _require(self.steps_offset >= 0, "steps_offset", "at least 0", self.steps_offset)
        _require_positive(self, "snr_shift_scale")
