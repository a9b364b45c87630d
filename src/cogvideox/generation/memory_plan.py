"""How much memory and time a video takes, stage by stage, and how to place a model so that it fits; without torch.

Weights are counted exactly; activations by measured factors (docs/performance.md, "Memory").
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.errors import DoesNotFitError
from cogvideox.generation.model_limits import ModelLimits, num_taken_steps, window_starts
from cogvideox.media.geometry import longest_clip, num_frames_of_latents

GIB = 2**30
BYTES_OF_DTYPE = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
PROCESS_BYTES = int(0.45 * GIB)
"""Python and the libraries themselves."""
TRANSFORMER_ELEMENTS_PER_TOKEN = 16
"""Of the model's width each, at the peak of a block; measured 10 to 16 for one video and up to 23 for few tokens."""
MIN_TRANSFORMER_BYTES = 64 * 2**20
AUTOENCODER_COPIES = 7.5
"""Of a chunk of 9 frames in the first stage's channels, at the peak of decoding; measured 2.4 to 7.3."""
CHUNK_FRAMES = 9
TILE_SHARE = 0.5
"""Height and width of a published tile, of the native ones."""
SAFETY = 0.95
"""A plan fits if it takes no more than this share of what is available."""

StageName = Literal["encode the text", "encode the picture", "denoise", "decode"]


@dataclass(frozen=True, kw_only=True)
class TextEncoderShape:
    """What the size of a T5 encoder depends on; by default T5-XXL, as the published models have."""

    d_model: int = 4096
    d_ff: int = 10240
    d_kv: int = 64
    num_heads: int = 64
    num_layers: int = 24
    vocab_size: int = 32128
    is_gated: bool = True

    @property
    def block_weights(self) -> int:
        """Weights of the linear layers of all blocks."""
        attention = 4 * self.d_model * self.d_kv * self.num_heads
        return self.num_layers * (attention + (3 if self.is_gated else 2) * self.d_model * self.d_ff)

    @property
    def other_weights(self) -> int:
        """The rest: embedding, norms and relative positions."""
        return self.vocab_size * self.d_model + (2 * self.num_layers + 1) * self.d_model + 32 * self.num_heads


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How a model is laid into memory; the first two change no frame, the others slightly."""

    is_staged: bool = False
    """One network in memory at a time: the text encoder is gone before the transformer comes."""
    has_sequential_guidance: bool = False
    is_tiled: bool = False
    quantization: Literal["int8"] | None = None

    def flags(self) -> str:
        """Return it as flags of the command line."""
        parts = ["--staged"] * self.is_staged + ["--sequential-guidance"] * self.has_sequential_guidance
        parts += ["--tiling"] * self.is_tiled
        return " ".join([*parts, *([f"--quantization {self.quantization}"] if self.quantization else [])])


@dataclass(frozen=True, kw_only=True)
class PlannedVideo:
    """What is asked for, all of it resolved."""

    limits: ModelLimits
    text_encoder: TextEncoderShape
    dtype: str
    num_frames: int
    height_px: int
    width_px: int
    num_steps: int
    strength: float = 1.0
    """Share of the steps that is taken; less than 1 only for a video made over."""
    is_guided: bool = True
    has_picture: bool = False
    num_videos: int = 1
    """In one batch."""
    window_frames: int | None = None
    """Of each call of the transformer, if the clip is made of windows."""

    @property
    def num_taken_steps(self) -> int:
        """Steps that are really taken."""
        return num_taken_steps(self.num_steps, self.strength)

    @property
    def num_video_tokens(self) -> int:
        """Tokens of one video, without its text."""
        return self._num_tokens(self._padded_latent_frames())

    @property
    def num_call_tokens(self) -> int:
        """Tokens of one video that the transformer sees at a time."""
        frames = self._padded_latent_frames()
        window = self.limits.window_latent_frames(self.window_frames)
        return self._num_tokens(frames if window is None else min(window, frames))

    @property
    def num_windows(self) -> int:
        """Calls for one prediction."""
        window = self.limits.window_latent_frames(self.window_frames)
        return 1 if window is None else len(window_starts(self._padded_latent_frames(), window))

    def _padded_latent_frames(self) -> int:
        time = self.limits.latent_shape(num_frames=self.num_frames, height_px=self.height_px, width_px=self.width_px)[1]
        return time + self.limits.num_padding_frames(time)

    def _num_tokens(self, num_latent_frames: int) -> int:
        config, ratio = self.limits.transformer, self.limits.autoencoder.spatial_compression_ratio
        height, width = (size // ratio // config.patch_size for size in (self.height_px, self.width_px))
        return num_latent_frames // (config.patch_size_t or 1) * height * width


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of making a video."""

    name: StageName
    weight_bytes: int
    """Held meanwhile."""
    activation_bytes: int
    seconds: float | None = None
    """None without a calibration."""

    @property
    def peak_bytes(self) -> int:
        """Of the whole process."""
        return PROCESS_BYTES + self.weight_bytes + self.activation_bytes


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """A placement, and what it takes."""

    placement: Placement
    stages: tuple[Stage, ...]
    available_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Of the largest stage."""
        return max(stage.peak_bytes for stage in self.stages)

    @property
    def fits(self) -> bool:
        """Whether it is expected to run through."""
        return self.peak_bytes <= SAFETY * self.available_bytes

    @property
    def seconds(self) -> float | None:
        """Of all stages, without reading weights; None without a calibration."""
        times = [stage.seconds for stage in self.stages]
        return None if None in times else sum(time for time in times if time is not None)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Operations per second of one machine, device and dtype. Raises ValueError unless they are positive."""

    linear: float
    attention: float
    convolution: float

    def __post_init__(self) -> None:
        for name in ("linear", "attention", "convolution"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")


def transformer_weights(config: TransformerConfig) -> tuple[int, int]:
    """Return how many weights the linear layers of the blocks have, and how many there are beside them."""
    width, hidden, time = config.width, config.time_embed_dim, config.patch_size_t or 1
    bias = width if config.attention_bias else 0
    linear = 4 * width * width + 8 * width * width + 2 * hidden * 6 * width
    block_rest = 3 * bias + width + 5 * width + 2 * 6 * width + 2 * 2 * width + 2 * 2 * config.attention_head_dim
    patch = config.in_channels * config.patch_size**2 * time
    rest = width * patch + width + config.text_embed_dim * width + width
    rest += width * hidden + hidden + hidden * hidden + hidden
    rest += 2 * (hidden * hidden + hidden) if config.ofs_embed_dim else 0
    rest += 2 * width + hidden * 2 * width + 2 * width + 2 * width
    outputs = config.patch_size**2 * time * config.num_output_channels
    rest += width * outputs + outputs
    if config.use_learned_positional_embeddings:
        frames, height, width_tokens = config.native_grid_THW
        rest += (config.max_text_seq_length + frames * height * width_tokens) * width
    return config.num_layers * linear, config.num_layers * block_rest + rest


def autoencoder_weights(config: AutoencoderConfig) -> int:
    """Return the weights of encoder and decoder."""
    latent, channels = config.latent_channels, config.block_out_channels
    last = channels[-1]

    def spatial_norm(size: int) -> int:
        return 2 * size + 2 * (latent * size + size)

    def resnet(inputs: int, outputs: int, has_spatial_norms: bool = False) -> int:
        norms = spatial_norm(inputs) + spatial_norm(outputs) if has_spatial_norms else 2 * inputs + 2 * outputs
        shortcut = inputs * outputs + outputs if inputs != outputs else 0
        return norms + 27 * inputs * outputs + outputs + 27 * outputs * outputs + outputs + shortcut

    encoder = 27 * config.in_channels * channels[0] + channels[0]
    for inputs, outputs in zip((channels[0], *channels[:-1]), channels, strict=True):
        encoder += resnet(inputs, outputs) + (config.layers_per_block - 1) * resnet(outputs, outputs)
    encoder += sum(9 * size * size + size for size in channels[:-1]) + 2 * resnet(last, last)
    encoder += 2 * last + 27 * last * 2 * latent + 2 * latent
    decoder = 27 * latent * last + last + 2 * resnet(last, last, True)
    mirrored = channels[::-1]
    for inputs, outputs in zip((last, *mirrored[:-1]), mirrored, strict=True):
        decoder += resnet(inputs, outputs, True) + config.layers_per_block * resnet(outputs, outputs, True)
    decoder += sum(9 * size * size + size for size in mirrored[:-1])
    decoder += spatial_norm(channels[0]) + 27 * channels[0] * config.out_channels + config.out_channels
    return encoder + decoder


def plan_memory(
    video: PlannedVideo, placement: Placement, available_bytes: int, calibration: Calibration | None = None
) -> MemoryPlan:
    """Return what a video takes in one placement."""
    element = BYTES_OF_DTYPE[video.dtype]
    text, transformer, autoencoder = _weight_bytes(video, placement, element)
    everything = text + transformer + autoencoder

    def stage(name: StageName, own: int, activations: float, seconds: float | None) -> Stage:
        weights = own if placement.is_staged else everything
        return Stage(name=name, weight_bytes=weights, activation_bytes=int(activations), seconds=seconds)

    config = video.limits.transformer
    rows = video.num_videos * (1 if placement.has_sequential_guidance or not video.is_guided else 2)
    tokens = rows * (video.num_call_tokens + config.max_text_seq_length)
    denoising = max(TRANSFORMER_ELEMENTS_PER_TOKEN * tokens * config.width * element, MIN_TRANSFORMER_BYTES)
    reading = 12 * 2 * video.num_videos * config.max_text_seq_length * video.text_encoder.d_ff * element
    pictures = _autoencoder_bytes(video, placement, element)
    seconds = (None,) * 4 if calibration is None else _seconds(video, calibration)
    stages = [stage("encode the text", text, reading, seconds[0])]
    if video.has_picture:
        stages.append(stage("encode the picture", autoencoder, pictures, seconds[1]))
    stages.append(stage("denoise", transformer, denoising, seconds[2]))
    stages.append(stage("decode", autoencoder, pictures, seconds[3]))
    return MemoryPlan(placement=placement, stages=tuple(stages), available_bytes=available_bytes)


def choose_placement(
    video: PlannedVideo,
    available_bytes: int,
    *,
    is_staged: bool | None = None,
    has_sequential_guidance: bool | None = None,
    is_tiled: bool | None = None,
    quantization: Literal["int8", "none"] | None = None,
    can_quantize: bool = True,
    calibration: Calibration | None = None,
) -> MemoryPlan:
    """Return the first placement that fits: as few changes as possible, those to the frames last.

    Args:
        video: what to make.
        available_bytes: memory of the device.
        is_staged: fixed if not None, and so are the next three.
        has_sequential_guidance: see `Placement`.
        is_tiled: see `Placement`; True only if the model can (`ModelLimits.can_tile`).
        quantization: "none" rules it out.
        can_quantize: whether torchao is there.
        calibration: for times.

    Returns:
        A plan that fits, or the smallest one, which does not.
    """
    plans: list[MemoryPlan] = []
    can_tile = _tiles_are_smaller(video)
    precisions: list[Literal["int8"] | None] = ["int8"] if quantization == "int8" else [None]
    if quantization is None and can_quantize:
        precisions.append("int8")
    for precision, tiled, sequential, staged in product(
        precisions,
        [is_tiled] if is_tiled is not None else [False, True][: 1 + can_tile],
        _choices(has_sequential_guidance, video.is_guided),
        _choices(is_staged, True),
    ):
        placement = Placement(
            is_staged=staged, has_sequential_guidance=sequential, is_tiled=tiled, quantization=precision
        )
        plans.append(plan_memory(video, placement, available_bytes, calibration))
        if plans[-1].fits:
            return plans[-1]
    return min(plans, key=lambda plan: plan.peak_bytes)


def require_fit(plan: MemoryPlan, video: PlannedVideo) -> None:
    """Raise DoesNotFitError, with what would fit, unless a plan fits."""
    if plan.fits:
        return
    needed, usable = plan.peak_bytes / GIB, SAFETY * plan.available_bytes / GIB
    free = choose_placement(video, plan.available_bytes)
    placed = [f"{free.placement.flags()} as the only placement flags"] if free.fits else []
    alternatives = [*placed, *smaller_videos(video, plan), "a smaller --model", "a --device with more memory"][:2]
    raise DoesNotFitError(
        f"this video needs {needed:.2f} GiB, {usable:.2f} GiB are available; would fit: {' | '.join(alternatives)}"
    )


def smaller_videos(video: PlannedVideo, plan: MemoryPlan) -> Iterator[str]:
    """Yield flags of videos that fit in a plan's placement: fewer frames, smaller frames, both."""
    ratio = video.limits.autoencoder.temporal_compression_ratio
    multiple = video.limits.autoencoder.spatial_compression_ratio * video.limits.transformer.patch_size

    def fits(candidate: PlannedVideo) -> bool:
        return plan_memory(candidate, plan.placement, plan.available_bytes).fits

    frames = video.num_frames - 1
    while frames >= 1:
        frames = longest_clip(frames, ratio)
        if fits(replace(video, num_frames=frames)):
            yield f"--num-frames {frames}"
            break
        frames -= 1
    is_fixed = video.limits.transformer.use_learned_positional_embeddings
    for percent in range(90, 20, -10):
        height, width = (max(multiple, size * percent // 100 // multiple * multiple) for size in _size(video))
        if not is_fixed and fits(replace(video, height_px=height, width_px=width)):
            yield f"--height {height} --width {width}"
            break
        shortest = num_frames_of_latents(3, ratio)
        if not is_fixed and fits(replace(video, height_px=height, width_px=width, num_frames=shortest)):
            yield f"--height {height} --width {width} --num-frames {shortest}"
            break


def _size(video: PlannedVideo) -> tuple[int, int]:
    return video.height_px, video.width_px


def _choices(fixed: bool | None, is_possible: bool) -> list[bool]:
    if fixed is not None:
        return [fixed]
    return [False, True] if is_possible else [False]


def _weight_bytes(video: PlannedVideo, placement: Placement, element: int) -> tuple[int, int, int]:
    of_blocks = 1 if placement.quantization == "int8" else element
    text = of_blocks * video.text_encoder.block_weights + element * video.text_encoder.other_weights
    blocks, rest = transformer_weights(video.limits.transformer)
    transformer = of_blocks * blocks + element * rest
    return text, transformer, element * autoencoder_weights(video.limits.autoencoder)


def _tiles_are_smaller(video: PlannedVideo) -> bool:
    config = video.limits.autoencoder
    return video.limits.can_tile and (
        video.height_px > TILE_SHARE * config.sample_height or video.width_px > TILE_SHARE * config.sample_width
    )


def _autoencoder_bytes(video: PlannedVideo, placement: Placement, element: int) -> float:
    config = video.limits.autoencoder
    height, width = _size(video)
    frames = 3 * video.num_frames * height * width
    if placement.is_tiled:
        height = min(height, int(TILE_SHARE * config.sample_height))
        width = min(width, int(TILE_SHARE * config.sample_width))
    num_frames = max(CHUNK_FRAMES, video.num_frames) if config.norm_scope == "clip" else CHUNK_FRAMES
    chunk = num_frames * height * width * config.block_out_channels[0]
    # Results wait for the file; all tiles of a chunk wait for the last one.
    return video.num_videos * (AUTOENCODER_COPIES * chunk * element + frames)


def _seconds(video: PlannedVideo, calibration: Calibration) -> tuple[float, float, float, float]:
    config, text = video.limits.transformer, video.text_encoder
    tokens = video.num_call_tokens + config.max_text_seq_length
    calls = video.num_taken_steps * video.num_windows * video.num_videos * (2 if video.is_guided else 1)
    products = 2 * tokens * 12 * config.width**2 * config.num_layers
    scores = 4 * tokens**2 * config.width * config.num_layers
    denoising = calls * (products / calibration.linear + scores / calibration.attention)
    reading = 2 * 2 * config.max_text_seq_length * text.block_weights / calibration.linear
    decoding = video.num_videos * decoder_operations(video) / calibration.convolution
    return reading, 0.5 * decoding, denoising, decoding


def decoder_operations(video: PlannedVideo) -> float:
    """Return the multiplications and additions of decoding one video, by its convolutions."""
    config = video.limits.autoencoder
    channels = config.block_out_channels[::-1]
    per_pixel = 0.0
    space, time = 1.0, 1.0
    for level in range(len(channels) - 1, -1, -1):  # from the last stage, at full size, back to the latents
        inputs = channels[max(level - 1, 0)]
        convolutions = 27 * (inputs * channels[level] + (2 * config.layers_per_block + 1) * channels[level] ** 2)
        per_pixel += 2 * convolutions * space * time
        space /= 4
        # The last upsampling is of space only.
        time /= 2 if level < len(channels) - 1 else 1
    return per_pixel * video.num_frames * video.height_px * video.width_px
