"""What a model can make, known from its configuration alone: a request is checked before any weight is read."""

from dataclasses import dataclass
from typing import Literal, get_args

from cogvideox.configs import AutoencoderConfig, GuidanceMode, NoiseScheduleConfig, SamplerName, TransformerConfig
from cogvideox.media.geometry import check_size, longest_clip, num_frames_of_latents, num_latent_frames

Task = Literal["text-to-video", "image-to-video", "video-to-video"]

DEFAULT_STRENGTH = 0.8
"""Share of the steps that video-to-video takes."""

SIZE_1_5_PX = (768, 1360)
"""Height and width that the 1.5 models are published for."""

TILE_OVERLAPS = (1 / 6, 1 / 5)
"""Of published tiles, in height and width, as in `cogvideox.models.tiling`."""

WINDOW_OVERLAP = 0.5
"""Share of a window that the next one covers too."""


@dataclass(frozen=True, kw_only=True)
class ModelLimits:
    """The native size of a model, the sizes it takes, and what else a request may ask of it."""

    transformer: TransformerConfig
    autoencoder: AutoencoderConfig
    noise_schedule: NoiseScheduleConfig
    default_sampler: str
    """Named by the checkpoint."""

    @property
    def native_size_px(self) -> tuple[int, int]:
        """Height and width of the grid of positions in the configuration."""
        ratio = self.autoencoder.spatial_compression_ratio
        return self.transformer.sample_height * ratio, self.transformer.sample_width * ratio

    @property
    def default_size_px(self) -> tuple[int, int]:
        """Height and width of videos for which no size is asked: the native ones, but 768x1360 for the 1.5 models.

        Their configurations (those with temporal patches) give 300x300 latents, 2400x2400 px. That is how far their
        positions go, not what they were trained for; the official pipelines make 768x1360 px of them.
        """
        height_px, width_px = self.native_size_px
        is_only_a_bound = height_px >= SIZE_1_5_PX[0] and width_px >= SIZE_1_5_PX[1]
        return SIZE_1_5_PX if self.transformer.patch_size_t is not None and is_only_a_bound else self.native_size_px

    @property
    def native_num_frames(self) -> int:
        """Length that the model was trained for, as decoding gives it: another one than 4k + 1 comes back as 4k."""
        ratio = self.autoencoder.temporal_compression_ratio
        return num_frames_of_latents((self.transformer.sample_frames - 1) // ratio + 1, ratio)

    @property
    def native_fps(self) -> float:
        """Playback rate of the training videos: 8 for the 1.0 models, 16 for 1.5 (those with temporal patches)."""
        return 8.0 if self.transformer.patch_size_t is None else 16.0

    def latent_shape(
        self, *, num_frames: int | None = None, height_px: int | None = None, width_px: int | None = None
    ) -> tuple[int, int, int, int]:
        """Return (C, T, H, W) of a video's latents. Raises ValueError if the model cannot make that size."""
        native_height_px, native_width_px = self.native_size_px
        default_height_px, default_width_px = self.default_size_px
        height_px = default_height_px if height_px is None else height_px
        width_px = default_width_px if width_px is None else width_px
        ratio = self.autoencoder.spatial_compression_ratio
        check_size(height_px=height_px, width_px=width_px, multiple_px=ratio * self.transformer.patch_size)
        is_native = (height_px, width_px) == self.native_size_px
        if self.transformer.use_learned_positional_embeddings and not is_native:
            raise ValueError(
                f"height_px, width_px: this model's learned positions fit only {native_height_px}x{native_width_px}, "
                f"got {height_px}x{width_px}"
            )
        has_fixed_grid = self.transformer.patch_size_t is not None
        if has_fixed_grid and (height_px > native_height_px or width_px > native_width_px):
            raise ValueError(
                f"height_px, width_px: expected at most {native_height_px}x{native_width_px}, "
                f"got {height_px}x{width_px}"
            )
        num_frames = self.native_num_frames if num_frames is None else num_frames
        time = num_latent_frames(num_frames, self.autoencoder.temporal_compression_ratio)
        return self.autoencoder.latent_channels, time, height_px // ratio, width_px // ratio

    def num_padding_frames(self, num_latent_frames: int) -> int:
        """Latent frames made in front of a video and dropped, so that temporal patches fit (version 1.5)."""
        return -num_latent_frames % (self.transformer.patch_size_t or 1)

    def window_latent_frames(self, window_frames: int | None) -> int | None:
        """Return the latent frames of windows, as many as temporal patches need.

        Raises:
            ValueError: the length is not that of a clip, or the model begins with an image, which only the first
                window would see.
        """
        if window_frames is None:
            return None
        if self.takes_image:
            raise ValueError("window_frames: expected None, because only the first window would see the image")
        try:
            time = num_latent_frames(window_frames, self.autoencoder.temporal_compression_ratio)
        except ValueError as error:
            raise ValueError(str(error).replace("num_frames", "window_frames")) from None
        if time < 2:
            raise ValueError(f"window_frames: expected at least 8, got {window_frames}")
        return time + self.num_padding_frames(time)

    def choose_sampler(self, sampler: str | None) -> SamplerName:
        """Return a sampler by name, or the checkpoint's own. Raises ValueError for an unknown one."""
        name = self.default_sampler if sampler is None else sampler
        for known in get_args(SamplerName):
            if name == known:
                return known
        origin = "of the checkpoint" if sampler is None else "given"
        raise ValueError(f"sampler: expected one of {', '.join(get_args(SamplerName))}, got {name!r} ({origin})")

    def check_steps(self, num_steps: int) -> None:
        """Raise ValueError unless the model has so many timesteps."""
        num_timesteps = self.noise_schedule.num_train_timesteps
        if not 1 <= num_steps <= num_timesteps:
            raise ValueError(f"num_steps: expected 1 to {num_timesteps}, got {num_steps}")

    @property
    def takes_image(self) -> bool:
        """Whether the transformer sees an image beside the text: an image-to-video model."""
        return self.transformer.in_channels != self.autoencoder.latent_channels

    def check_task(self, task: Task) -> None:
        """Raise ValueError if the model is not made for a task."""
        if (task == "image-to-video") != self.takes_image:
            expected = "an image-to-video model" if task == "image-to-video" else "a text-to-video model"
            got = "an image-to-video model, give it an image" if self.takes_image else "a text-to-video model"
            raise ValueError(f"model: {task} needs {expected}, got {got}")

    def num_frames_of_source(self, num_source_frames: int) -> int:
        """Return how many of a source video's frames become a video: the most that the model can make of them.

        Raises:
            ValueError: the source is empty.
        """
        if num_source_frames < 1:
            raise ValueError("source: expected at least 1 frame, got 0")
        num_frames = min(num_source_frames, self.native_num_frames)
        return longest_clip(num_frames, self.autoencoder.temporal_compression_ratio)

    @property
    def can_tile(self) -> bool:
        """Whether the autoencoder can work in the published tiles."""
        return can_tile(self.autoencoder)

    def check_tiling(self) -> None:
        """Raise ValueError unless `can_tile`."""
        check_tiling(self.autoencoder)


def can_tile(config: AutoencoderConfig) -> bool:
    """Whether an autoencoder can work in the published tiles, of half its native height and width.

    A tile without its overlap must be a whole number of latents, which it is not for tiny models.
    """
    ratio = config.spatial_compression_ratio
    for size_px, overlap in zip((config.sample_height // 2, config.sample_width // 2), TILE_OVERLAPS, strict=True):
        stride = int(size_px // ratio * (1 - overlap))
        if stride < 1 or stride * ratio != size_px - int(size_px * overlap):
            return False
    return True


def check_tiling(config: AutoencoderConfig) -> None:
    """Raise ValueError unless `can_tile`."""
    if not can_tile(config):
        size = f"{config.sample_height}x{config.sample_width}"
        raise ValueError(f"is_tiled: this model's native frames ({size}) are too small for published tiles")


def check_guidance(mode: str, scale: float) -> None:
    """Raise ValueError for an unknown mode or a scale that is no number of at least 0."""
    if mode not in get_args(GuidanceMode):
        raise ValueError(f"guidance_mode: expected one of {', '.join(get_args(GuidanceMode))}, got {mode!r}")
    if not 0 <= scale < float("inf"):
        raise ValueError(f"guidance_scale: expected a number of at least 0, got {scale}")


def check_strength(strength: float) -> None:
    """Raise ValueError unless it is 0 to 1."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength: expected 0 (the source as it is) to 1 (nothing of it), got {strength}")


def num_taken_steps(num_steps: int, strength: float) -> int:
    """Return how many steps, the last ones, video-to-video takes."""
    return min(int(num_steps * strength), num_steps)


def check_source(num_source_frames: int, num_frames: int) -> None:
    """Raise ValueError if a source video is shorter than the video that is to be made of it."""
    if num_source_frames < num_frames:
        raise ValueError(f"source: expected at least num_frames ({num_frames}) frames, got {num_source_frames}")


def check_prompt(prompt: str) -> None:
    """Raise ValueError for an empty prompt, or one that is no text."""
    if not prompt.strip():
        raise ValueError("prompt: expected some text, got an empty string")
    _check_text("prompt", prompt)


def check_negative_prompt(negative_prompt: str) -> None:
    """Raise ValueError for what is no text; it may be empty."""
    _check_text("negative_prompt", negative_prompt)


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as Python makes of bytes that it cannot decode
        raise ValueError(f"{name}: expected text in UTF-8, got bytes that are none") from None


def check_seed(seed: int) -> None:
    """Raise ValueError for a seed that a generator does not take."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed: expected 0 to 2**63 - 1, got {seed}")


def window_starts(num_latent_frames: int, window_latent_frames: int) -> list[int]:
    """Return the first latent frame of each window; evenly spread, at most half a window apart."""
    rest = num_latent_frames - window_latent_frames
    if rest <= 0:
        return [0]
    stride = max(int(window_latent_frames * (1 - WINDOW_OVERLAP)), 1)
    num_steps = -(-rest // stride)
    return [round(index * rest / num_steps) for index in range(num_steps + 1)]
