"""From a prompt, an image or a video to a video: loads a checkpoint, encodes the text, runs the loop, decodes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from cogvideox.checkpoints.lora import LowRankUpdate, attach_lora, fuse_lora, read_lora, weight_lora
from cogvideox.checkpoints.opening import Checkpoint, StagedCheckpoint, open_checkpoint
from cogvideox.component_files import parse_dtype
from cogvideox.configs import GuidanceMode, SamplerName
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.samplers import NoiseSource
from cogvideox.generation.conditioning import Conditioning
from cogvideox.generation.denoise import DenoiseState, denoise
from cogvideox.generation.model_limits import (
    DEFAULT_STRENGTH,
    ModelLimits,
    check_guidance,
    check_negative_prompt,
    check_prompt,
    check_seed,
)
from cogvideox.generation.scheduled_transformer import ScheduledTransformer
from cogvideox.generation.tasks import GenerationTask, ImageTask, Run, TextTask, VideoTask, read_source
from cogvideox.generation.text_cache import TextCache, identity_of
from cogvideox.generation.windows import WindowedPredict
from cogvideox.machine import fastest_dtype, parse_device
from cogvideox.media.geometry import num_frames_of_latents
from cogvideox.media.pictures import Fit, Picture, read_picture
from cogvideox.media.video import Video, to_frames
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.text_encoder import TextEncoder
from cogvideox.models.tiling import Tiling
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.quantization import Quantization, check_quantization

OnStep = Callable[[int, int], None]
"""Called after each step with the steps done and the steps in all."""

OnState = Callable[[DenoiseState, int], None]
"""Called after each step with its state and the steps in all; an error that it raises ends the run."""


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
    window_frames: int | None
    """For clips longer than the model was trained for: frames of the overlapping windows that it makes them of, 8k or
    8k + 1, best its own length; by default the clip is made in one piece."""
    sampler: SamplerName | None
    """By default the one that the checkpoint names."""
    on_step: OnStep | None
    on_state: OnState | None
    start_state: DenoiseState | None
    """A state of an earlier run with equal arguments, to go on from: the end is the same."""


class VideoGenerator:
    """A loaded text-to-video or image-to-video model."""

    def __init__(
        self,
        checkpoint: Checkpoint | StagedCheckpoint,
        *,
        is_tiled: bool = False,
        has_sequential_guidance: bool = False,
        text_cache_dir: Path | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self.is_tiled = is_tiled
        """Whether the autoencoder works in the published tiles."""
        self.has_sequential_guidance = has_sequential_guidance
        """Whether prompt and negative prompt go through the transformer one after the other."""
        configs = checkpoint.configs
        self.noise_schedule = NoiseSchedule(configs.noise_schedule)
        self.limits = ModelLimits(
            transformer=configs.transformer,
            autoencoder=configs.autoencoder,
            noise_schedule=configs.noise_schedule,
            default_sampler=configs.default_sampler,
        )
        """What can be asked of it."""
        if is_tiled:
            self.limits.check_tiling()
        self._loras: dict[str, dict[str, LowRankUpdate]] = {}
        folders = [configs.directory / name for name in ("text_encoder", "tokenizer")]
        details = [self.dtype, checkpoint.quantization, self.max_prompt_tokens, configs.weight_bytes]
        identity = " ".join(identity_of(folder, *details) for folder in folders)
        self._text_cache = TextCache(identity, text_cache_dir)

    @classmethod
    def load(
        cls,
        model: str | Path = "tiny",
        *,
        device: str = "cpu",
        dtype: str | torch.dtype = "auto",
        variant: str | None = None,
        is_staged: bool | None = None,
        is_tiled: bool = False,
        has_sequential_guidance: bool = False,
        quantization: Quantization | None = None,
        text_cache_dir: str | Path | None = None,
    ) -> Self:
        """Load a model.

        Args:
            model: a name of an embedded or pulled model, a hub id, or a checkpoint directory in the diffusers layout.
            device: a torch device.
            dtype: of weights and computation; "auto" is `fastest_dtype`.
            variant: which of several stored precisions to read, for example "fp16"; by default the plain files.
            is_staged: keep only one of text encoder, transformer and autoencoder in memory, and read each when it is
                needed; by default if all take more than half of the memory.
            is_tiled: let the autoencoder work in the published tiles, of half its native height and width: less memory,
                and slightly other pixels.
            has_sequential_guidance: call the transformer twice a step, for the prompt and against the negative one,
                with half the activations each.
            quantization: "int8" halves the memory of text encoder and transformer, by torchao; slightly other pixels.
            text_cache_dir: folder where embeddings of prompts are kept, so that later processes that ask for the same
                need no text encoder; by default they are kept in memory only.

        Raises:
            CheckpointError: the checkpoint is missing or damaged.
            ImportError: torchao is needed and not installed.
            ValueError: the device, dtype or quantization is unknown or not available.
        """
        resolved_device = parse_device(device)
        resolved_dtype = fastest_dtype(resolved_device) if dtype == "auto" else parse_dtype(dtype)
        checkpoint = open_checkpoint(
            model,
            device=resolved_device,
            dtype=resolved_dtype,
            variant=variant,
            is_staged=is_staged,
            quantization=check_quantization(quantization),
        )
        return cls(
            checkpoint,
            is_tiled=is_tiled,
            has_sequential_guidance=has_sequential_guidance,
            text_cache_dir=None if text_cache_dir is None else Path(text_cache_dir),
        )

    @property
    def transformer(self) -> ExpertTransformer:
        """The denoiser."""
        return self._checkpoint.transformer

    @property
    def autoencoder(self) -> VideoAutoencoder:
        """Between pixels and latents."""
        return self._checkpoint.autoencoder

    @property
    def text_encoder(self) -> TextEncoder:
        """From prompts to embeddings."""
        return self._checkpoint.text_encoder

    def with_transformer(self, transformer: ExpertTransformer) -> Self:
        """Return a generator that shares everything else. Raises ValueError if this one is staged."""
        if not isinstance(self._checkpoint, Checkpoint):
            raise ValueError("is_staged: expected a generator whose parts are all in memory")
        return type(self)(
            replace(self._checkpoint, transformer=transformer),
            is_tiled=self.is_tiled,
            has_sequential_guidance=self.has_sequential_guidance,
        )

    def load_lora(self, path: str | Path, *, weight: float = 1.0, name: str | None = None) -> None:
        """Add a LoRA adapter to the transformer; several add up.

        Args:
            path: a safetensors file or a folder with one; `cogvideox.checkpoints.lora.read_lora` knows the dialects.
            weight: how strongly it counts.
            name: keeps the adapter apart (by peft), so that `weight_lora` can change its weight later; without a name
                it becomes part of the transformer's weights, which costs neither time nor memory.

        Raises:
            CheckpointError: the file is missing, damaged or does not fit the transformer; nothing is changed.
            ImportError: a name is given and peft is not installed.
            ValueError: the weight is not finite, or the name is taken.
        """
        if not math.isfinite(weight):
            raise ValueError(f"weight: expected a finite number, got {weight}")
        if name in self._loras:
            raise ValueError(f"name: there is an adapter {name!r} already")
        updates = read_lora(path, self.limits.transformer)
        if name is None:
            self._checkpoint.adapt(lambda transformer: fuse_lora(transformer, updates, weight))
            return
        self._checkpoint.adapt(lambda transformer: attach_lora(transformer, updates, name, weight))
        self._loras[name] = updates

    def weight_lora(self, name: str, weight: float) -> None:
        """Change how strongly a named adapter counts; 0 switches it off. Raises ValueError for an unknown name."""
        if name not in self._loras:
            raise ValueError(
                f"name: expected one of {', '.join(self._loras) or 'none, as none was loaded'}, got {name!r}"
            )
        updates = self._loras[name]
        self._checkpoint.adapt(lambda transformer: weight_lora(transformer, updates, name, weight))

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self._checkpoint.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and computation."""
        return self._checkpoint.dtype

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens of a prompt that the model reads, the end token included."""
        return self.limits.transformer.max_text_seq_length

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

    def image_to_video(
        self,
        prompt: str,
        image: Picture,
        *,
        last_image: Picture | None = None,
        seed: int = 0,
        fps: float | None = None,
        fit: Fit = "crop",
        **options: Unpack[SamplingOptions],
    ) -> Video:
        """Make one video that begins with an image; for image-to-video models (paper section 4.2).

        Args:
            prompt: what happens in it.
            image: a Pillow image, an array (H, W, 3) uint8, or a file. It is fitted to the video's size.
            last_image: what the video ends with, for models that were trained with one; the published ones were not.
            seed: as for `text_to_video`.
            fps: as for `text_to_video`.
            fit: "crop" cuts the middle out of an image of another aspect ratio, "pad" adds black.
            **options: see `SamplingOptions`.

        Raises:
            ValueError: an argument is out of range, the image cannot be read, or the model takes no image.
        """
        last_images = None if last_image is None else [last_image]
        return self.image_to_videos([prompt], [image], [seed], last_images=last_images, fps=fps, fit=fit, **options)[0]

    def video_to_video(
        self,
        prompt: str,
        source: Video | np.ndarray | str | Path,
        *,
        strength: float = DEFAULT_STRENGTH,
        seed: int = 0,
        fps: float | None = None,
        fit: Fit = "crop",
        **options: Unpack[SamplingOptions],
    ) -> Video:
        """Make one video out of another (SDEdit, Meng et al., arXiv 2108.01073): noise is added, then taken away.

        Args:
            prompt: what to show.
            source: a `Video`, an array (T, H, W, 3) uint8, or a file; of its frames the first ``num_frames``, by
                default as many as the model makes. They are fitted to the video's size.
            strength: share of the steps that are taken: 0 gives the source through the autoencoder, 1 nothing of it.
            seed: as for `text_to_video`.
            fps: that of the source by default, of an array's the model's own.
            fit: as for `image_to_video`.
            **options: see `SamplingOptions`.

        Raises:
            ValueError: an argument is out of range, or the source cannot be read or is too short.
        """
        video = read_source(source, self.limits.native_fps)
        latents = self.video_to_latents([prompt], [video.frames], [seed], strength=strength, fit=fit, **options)
        return self._to_videos(latents, video.fps if fps is None else fps)[0]

    def text_to_videos(
        self,
        prompts: str | Sequence[str],
        seeds: Sequence[int],
        *,
        fps: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> list[Video]:
        """Make one video per prompt and seed, in one batch; of one prompt, as a string, one video per seed.

        Arguments and errors as for `text_to_video`.
        """
        return self._to_videos(self.text_to_latents(prompts, seeds, **options), fps)

    def image_to_videos(
        self,
        prompts: Sequence[str],
        images: Sequence[Picture],
        seeds: Sequence[int],
        *,
        last_images: Sequence[Picture] | None = None,
        fps: float | None = None,
        fit: Fit = "crop",
        **options: Unpack[SamplingOptions],
    ) -> list[Video]:
        """Make one video per prompt, image and seed, in one batch. Arguments and errors as for `image_to_video`."""
        latents = self.image_to_latents(prompts, images, seeds, last_images=last_images, fit=fit, **options)
        return self._to_videos(latents, fps)

    def text_to_latents(
        self, prompts: str | Sequence[str], seeds: Sequence[int], **options: Unpack[SamplingOptions]
    ) -> Tensor:
        """Make the latents of one video per prompt and seed: (B, C, T, H, W) float32, scaled; see `text_to_videos`.

        Arguments and errors as for `text_to_video`.
        """
        texts = [prompts] * len(seeds) if isinstance(prompts, str) else prompts
        return self._sample(texts, seeds, TextTask(), **options)

    def image_to_latents(
        self,
        prompts: Sequence[str],
        images: Sequence[Picture],
        seeds: Sequence[int],
        *,
        last_images: Sequence[Picture] | None = None,
        fit: Fit = "crop",
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """Make latents as `text_to_latents` does, with an image each. Arguments and errors as for `image_to_video`."""
        first, last = (tuple(read_picture(image) for image in pictures) for pictures in (images, last_images or ()))
        return self._sample(prompts, seeds, ImageTask(first, fit, last), **options)

    def video_to_latents(
        self,
        prompts: Sequence[str],
        sources: Sequence[np.ndarray],
        seeds: Sequence[int],
        *,
        strength: float = DEFAULT_STRENGTH,
        fit: Fit = "crop",
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """Make latents as `text_to_latents` does, out of one source (T, H, W, 3) uint8 each.

        Arguments and errors as for `video_to_video`.
        """
        if options.get("num_frames") is None and sources:
            options["num_frames"] = self.limits.num_frames_of_source(min(map(len, sources)))
        return self._sample(prompts, seeds, VideoTask(tuple(sources), strength, fit), **options)

    @torch.no_grad()
    def _sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        task: GenerationTask,
        *,
        negative_prompt: str = "",
        num_frames: int | None = None,
        height_px: int | None = None,
        width_px: int | None = None,
        num_steps: int = 50,
        guidance_scale: float = 6.0,
        guidance_mode: GuidanceMode = "constant",
        window_frames: int | None = None,
        sampler: SamplerName | None = None,
        on_step: OnStep | None = None,
        on_state: OnState | None = None,
        start_state: DenoiseState | None = None,
    ) -> Tensor:
        self.limits.check_task(task.name)
        shape = self.limits.latent_shape(num_frames=num_frames, height_px=height_px, width_px=width_px)
        _check_texts(prompts, seeds)
        check_negative_prompt(negative_prompt)
        task.check(len(prompts), num_frames_of_latents(shape[1], self.limits.autoencoder.temporal_compression_ratio))
        chosen_sampler = self.limits.choose_sampler(sampler)
        check_guidance(guidance_mode, guidance_scale)
        self.limits.check_steps(num_steps)
        window = self.limits.window_latent_frames(window_frames)
        rng = NoiseSource.from_seeds(seeds, self.dtype)
        num_padding_frames = self.limits.num_padding_frames(shape[1])
        # In this order, a staged checkpoint reads every part once before the loop.
        text = self._encode_texts(prompts)
        negative_text = self._encode_texts([negative_prompt] * len(prompts)) if guidance_scale > 1 else None
        # Parity: a source's or image's posterior is drawn before the noise (tests/parity/test_tasks.py).
        plan = self.noise_schedule.plan(num_steps)
        autoencoder = self.autoencoder
        start = task.start(Run(autoencoder, rng, shape, num_padding_frames, plan, self._tiling(autoencoder), window))
        del autoencoder  # a staged checkpoint lets go of it
        conditioning = Conditioning(
            text=text,
            negative_text=negative_text,
            guidance_scale=guidance_scale,
            guidance_mode=guidance_mode,
            image_latents=start.image_latents,
        )
        state = first = DenoiseState(0, start.latents, rng_state=rng.get_state())
        if start_state is not None:
            state = first = _checked_start(start_state, start.latents, start.plan.num_steps)
        prediction_type = self.noise_schedule.config.prediction_type
        predict = ScheduledTransformer(self.transformer, start.plan)
        for state in denoise(
            predict if window is None else WindowedPredict(predict, window),
            first,
            start.plan,
            conditioning,
            sampler=chosen_sampler,
            prediction_type=prediction_type,
            has_sequential_guidance=self.has_sequential_guidance,
        ):
            if on_step is not None:
                on_step(state.step_index, start.plan.num_steps)
            if on_state is not None:
                on_state(state, start.plan.num_steps)
        return state.latents[:, :, num_padding_frames:]

    def _to_videos(self, latents: Tensor, fps: float | None) -> list[Video]:
        chunks = [to_frames(chunk) for chunk in self._decode(latents)]
        fps = self.limits.native_fps if fps is None else fps
        return [Video(frames, fps) for frames in np.concatenate(chunks, axis=1)]

    def decode_frames(self, latents: Tensor) -> Iterator[np.ndarray]:
        """Decode the latents (1, C, T, H, W) of one video: yields (T, H, W, 3) uint8, chunk by chunk."""
        for chunk in self._decode(latents):
            yield to_frames(chunk)[0]

    @torch.no_grad()
    def _decode(self, latents: Tensor) -> Iterator[Tensor]:
        autoencoder = self.autoencoder
        unscaled = (latents / autoencoder.config.scaling_factor).to(autoencoder.dtype)
        yield from autoencoder.decode_stream(unscaled, tiling=self._tiling(autoencoder))

    def _tiling(self, autoencoder: VideoAutoencoder) -> Tiling | None:
        return Tiling.published(autoencoder.config) if self.is_tiled else None

    def _encode_texts(self, prompts: Sequence[str]) -> Tensor:
        """Return (B, L, D); each text is encoded alone, so that it does not depend on the others."""

        def encode(prompt: str) -> Tensor:
            return self.text_encoder.encode([prompt], self.max_prompt_tokens)

        return torch.cat([self._text_cache.get(prompt, encode) for prompt in prompts]).to(self.device)


def _checked_start(state: DenoiseState, latents: Tensor, num_steps: int) -> DenoiseState:
    """Return a state where the latents are. Raises ValueError if it is of another run."""
    if state.latents.shape != latents.shape or not 0 <= state.step_index <= num_steps:
        got = f"{tuple(state.latents.shape)} after {state.step_index} steps"
        raise ValueError(
            f"start_state: expected one of this run, {tuple(latents.shape)} and at most {num_steps} steps, got {got}"
        )
    moved = [None if tensor is None else tensor.to(latents.device) for tensor in (state.latents, state.previous_clean)]
    assert moved[0] is not None
    return replace(state, latents=moved[0], previous_clean=moved[1])


def _check_texts(prompts: Sequence[str], seeds: Sequence[int]) -> None:
    if isinstance(prompts, str) or len(prompts) != len(seeds) or not prompts:
        raise ValueError(f"prompts: expected a list with one seed each, got {prompts!r} and seeds {seeds!r}")
    for prompt, seed in zip(prompts, seeds, strict=True):
        check_prompt(prompt)
        check_seed(seed)
