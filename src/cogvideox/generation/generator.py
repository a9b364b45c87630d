"""From a prompt to a video: loads a checkpoint, encodes the text, runs the loop, decodes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypedDict, Unpack, get_args

import numpy as np
import torch
from torch import Tensor

from cogvideox.checkpoints.directory import Checkpoint, load_checkpoint
from cogvideox.component_files import parse_dtype
from cogvideox.diffusion.guidance import GuidanceMode
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.samplers import SAMPLERS, NoiseSource, SamplerName
from cogvideox.generation.conditioning import Conditioning
from cogvideox.generation.denoise import DenoiseState, denoise
from cogvideox.media.geometry import check_size, num_latent_frames
from cogvideox.media.video import Video, to_frames

OnStep = Callable[[int, int], None]
"""Called after each step with the steps done and the steps in all."""


class SamplingOptions(TypedDict, total=False):
    """How to make a video; every field may be left out."""

    negative_prompt: str
    """What to steer away from; by default the encoded empty string, as published."""
    num_frames: int | None
    """8k or 8k + 1; the model's own length by default."""
    height_px: int | None
    """A multiple of 16; the model's own by default."""
    width_px: int | None
    """A multiple of 16; the model's own by default."""
    num_steps: int
    """Calls of the transformer; 50 by default."""
    guidance_scale: float
    """How strongly the prompt is followed; 6 by default, at most 1 switches guidance off."""
    guidance_mode: GuidanceMode
    """How the scale changes over the steps; "constant" by default."""
    sampler: SamplerName | None
    """By default the one that the checkpoint names."""
    on_step: OnStep | None


class VideoGenerator:
    """A loaded text-to-video model."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.transformer = checkpoint.transformer
        self.autoencoder = checkpoint.autoencoder
        self.text_encoder = checkpoint.text_encoder
        self.noise_schedule = NoiseSchedule(checkpoint.noise_schedule)
        self.default_sampler = checkpoint.default_sampler

    @classmethod
    def load(cls, model: str | Path = "tiny", *, device: str = "cpu", dtype: str | torch.dtype = "auto") -> Self:
        """Load a model.

        Args:
            model: a name of an embedded model or a checkpoint directory in the diffusers layout.
            device: a torch device.
            dtype: of weights and computation; "auto" is `fastest_dtype`.

        Raises:
            CheckpointError: the checkpoint is missing or damaged.
            ValueError: the device or dtype is unknown or not available.
        """
        resolved_device = _parse_device(device)
        resolved_dtype = fastest_dtype(resolved_device) if dtype == "auto" else parse_dtype(dtype)
        return cls(load_checkpoint(model, device=resolved_device, dtype=resolved_dtype))

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.transformer.proj_out.weight.device

    @property
    def native_size_px(self) -> tuple[int, int]:
        """Height and width that the model was trained for."""
        config, ratio = self.transformer.config, self.autoencoder.config.spatial_compression_ratio
        return config.sample_height * ratio, config.sample_width * ratio

    @property
    def native_num_frames(self) -> int:
        """Length that the model was trained for."""
        return self.transformer.config.sample_frames

    @property
    def native_fps(self) -> float:
        """Playback rate of the training videos: 8 for the 1.0 models, 16 for 1.5 (those with temporal patches)."""
        return 8.0 if self.transformer.config.patch_size_t is None else 16.0

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens of a prompt that the model reads, the end token included."""
        return self.transformer.config.max_text_seq_length

    def text_to_video(
        self, prompt: str, *, seed: int = 0, fps: float | None = None, **options: Unpack[SamplingOptions]
    ) -> Video:
        """Make one video of a prompt.

        Args:
            prompt: what to show; cut after `max_prompt_tokens` tokens.
            seed: of the noise; equal settings and seeds give equal videos on one machine.
            fps: playback rate only; the model's own by default.
            **options: see `SamplingOptions`.

        Raises:
            ValueError: an argument is out of range; the message names it and what to do.
        """
        return self.text_to_videos([prompt], [seed], fps=fps, **options)[0]

    def text_to_videos(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        fps: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> list[Video]:
        """Make one video per prompt and seed, in one batch. Arguments and errors as for `text_to_video`."""
        latents = self.text_to_latents(prompts, seeds, **options)
        chunks = [to_frames(chunk) for chunk in self._decode(latents)]
        return [Video(frames, fps or self.native_fps) for frames in np.concatenate(chunks, axis=1)]

    @torch.no_grad()
    def text_to_latents(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        negative_prompt: str = "",
        num_frames: int | None = None,
        height_px: int | None = None,
        width_px: int | None = None,
        num_steps: int = 50,
        guidance_scale: float = 6.0,
        guidance_mode: GuidanceMode = "constant",
        sampler: SamplerName | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Make the latents of one video per prompt and seed: (B, C, T, H, W) float32, scaled.

        Args:
            prompts: what to show.
            seeds: one per prompt.
            negative_prompt: this and all that follow: see `SamplingOptions`.
            num_frames: of each video.
            height_px: of each video.
            width_px: of each video.
            num_steps: calls of the transformer.
            guidance_scale: how strongly the prompts are followed.
            guidance_mode: how the scale changes over the steps.
            sampler: how a step is taken.
            on_step: called after every step.

        Raises:
            ValueError: an argument is out of range.
        """
        shape = self.latent_shape(num_frames=num_frames, height_px=height_px, width_px=width_px)
        _check_texts(prompts, seeds)
        chosen_sampler = self._choose_sampler(sampler)
        if guidance_mode not in get_args(GuidanceMode):
            expected = ", ".join(get_args(GuidanceMode))
            raise ValueError(f"guidance_mode: expected one of {expected}, got {guidance_mode!r}")
        if not 0 <= guidance_scale < float("inf"):
            raise ValueError(f"guidance_scale: expected a number of at least 0, got {guidance_scale}")
        plan = self.noise_schedule.plan(num_steps)
        conditioning = Conditioning(
            text=self.text_encoder.encode(prompts, self.max_prompt_tokens),
            negative_text=self._encode_negative(negative_prompt, len(prompts)) if guidance_scale > 1 else None,
            guidance_scale=guidance_scale,
            guidance_mode=guidance_mode,
        )
        num_padding_frames = self._num_padding_frames(shape[1])
        rng = NoiseSource.from_seeds(seeds, self.transformer.dtype)
        channels, time, height, width = shape
        noise = rng.draw((len(seeds), channels, num_padding_frames + time, height, width), self.device)
        start = state = DenoiseState(0, noise.float(), rng_state=rng.get_state())
        prediction_type = self.noise_schedule.config.prediction_type
        for state in denoise(
            self.transformer, start, plan, conditioning, sampler=chosen_sampler, prediction_type=prediction_type
        ):
            if on_step is not None:
                on_step(state.step_index, plan.num_steps)
        return state.latents[:, :, num_padding_frames:]

    def decode_frames(self, latents: Tensor) -> Iterator[np.ndarray]:
        """Decode the latents (1, C, T, H, W) of one video: yields (T, H, W, 3) uint8, chunk by chunk."""
        for chunk in self._decode(latents):
            yield to_frames(chunk)[0]

    def latent_shape(
        self, *, num_frames: int | None = None, height_px: int | None = None, width_px: int | None = None
    ) -> tuple[int, int, int, int]:
        """Return (C, T, H, W) of a video's latents. Raises ValueError if the model cannot make that size."""
        config = self.autoencoder.config
        native_height_px, native_width_px = self.native_size_px
        height_px = native_height_px if height_px is None else height_px
        width_px = native_width_px if width_px is None else width_px
        multiple_px = config.spatial_compression_ratio * self.transformer.config.patch_size
        check_size(height_px=height_px, width_px=width_px, multiple_px=multiple_px)
        num_frames = self.native_num_frames if num_frames is None else num_frames
        time = num_latent_frames(num_frames, config.temporal_compression_ratio)
        ratio = config.spatial_compression_ratio
        return config.latent_channels, time, height_px // ratio, width_px // ratio

    @torch.no_grad()
    def _decode(self, latents: Tensor) -> Iterator[Tensor]:
        unscaled = (latents / self.autoencoder.config.scaling_factor).to(self.autoencoder.dtype)
        yield from self.autoencoder.decode_stream(unscaled)

    def _choose_sampler(self, sampler: str | None) -> SamplerName:
        name = self.default_sampler if sampler is None else sampler
        for known in SAMPLERS:
            if name == known:
                return known
        origin = "of the checkpoint" if sampler is None else "given"
        raise ValueError(f"sampler: expected one of {', '.join(SAMPLERS)}, got {name!r} ({origin})")

    def _encode_negative(self, negative_prompt: str, num_videos: int) -> Tensor:
        encoded = self.text_encoder.encode([negative_prompt], self.max_prompt_tokens)
        return encoded.expand(num_videos, -1, -1)

    def _num_padding_frames(self, num_latent_frames: int) -> int:
        """Latent frames made in front of the video and dropped, so that temporal patches fit (version 1.5)."""
        return -num_latent_frames % (self.transformer.config.patch_size_t or 1)


def fastest_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the hardware multiplies it natively, else float32.

    On a CPU without AVX512-BF16 or AMX, bfloat16 is about ten times slower than float32.
    """
    if device.type == "cpu":
        has_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if has_bfloat16 else torch.float32
    return torch.bfloat16


def _parse_device(device: str) -> torch.device:
    try:
        parsed = torch.device(device)
        torch.empty(0, device=parsed)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: {device!r} is not available here ({str(error).splitlines()[0]})") from None
    return parsed


def _check_texts(prompts: Sequence[str], seeds: Sequence[int]) -> None:
    if isinstance(prompts, str) or len(prompts) != len(seeds) or not prompts:
        raise ValueError(f"prompts: expected a list with one seed each, got {prompts!r} and seeds {seeds!r}")
    for prompt in prompts:
        if not prompt.strip():
            raise ValueError("prompt: expected some text, got an empty string")
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed: expected 0 to 2**63 - 1, got {seed}")
