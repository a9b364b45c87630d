"""The engine that makes videos: a model in memory, one job after the other, step by step."""

import dataclasses
import importlib.util
import json
import logging
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

import cogvideox
from cogvideox.checkpoints.directory import find_checkpoint
from cogvideox.checkpoints.opening import memory_bytes
from cogvideox.component_files import parse_dtype
from cogvideox.generation.denoise import DenoiseState
from cogvideox.generation.generator import SamplingOptions, VideoGenerator
from cogvideox.generation.memory_plan import Placement, PlannedVideo, choose_placement
from cogvideox.generation.model_limits import (
    ModelLimits,
    Task,
    check_guidance,
    check_negative_prompt,
    check_prompt,
    check_seed,
    check_source,
    check_strength,
)
from cogvideox.machine import fastest_dtype, parse_device
from cogvideox.media.geometry import num_frames_of_latents
from cogvideox.media.pictures import read_picture
from cogvideox.media.video import read_video
from cogvideox.media.writers import write_video
from cogvideox.models.patch_embedding import PatchEmbedding
from cogvideox.serving.engine_port import JobStopped, Port, UserError
from cogvideox.serving.engine_protocol import INVALID_PARAM, MEDIA_DECODE_FAILED, EngineJob, EngineSettings
from cogvideox.serving.model_catalog import describe_model
from cogvideox.serving.previews import LatentColours, PreviewPace, save_preview
from cogvideox.serving.resume import is_checkpoint_due, run_digest
from cogvideox.serving.thumbnails import FrameTap
from cogvideox.serving.video_params import VideoParams, VideoTaskName, params_of
from cogvideox.serving.weight_digests import digests_of

log = logging.getLogger(__name__)

ENGINE_ONLY = ("engine", "memory_bytes", "device_memory_bytes", "placement")
"""Facts of the engine that no video needs."""
DECODE_PROGRESS, MAX_PROGRESS = 95, 99


class TorchEngine:
    """A loaded model."""

    def __init__(self, settings: EngineSettings) -> None:
        """Read the model.

        Raises:
            CheckpointError: it is missing or damaged.
            ValueError: the device or dtype is not available here.
        """
        directory = find_checkpoint(settings.model)
        digests = digests_of(directory, settings.cache_folder)
        placement = _placement(settings)
        self._generator = VideoGenerator.load(
            settings.model,
            device=settings.device,
            dtype=settings.dtype,
            is_staged=placement.is_staged,
            is_tiled=placement.is_tiled,
            has_sequential_guidance=placement.has_sequential_guidance,
            quantization=placement.quantization,
            text_cache_dir=settings.cache_folder / "prompts",
        )
        self._colours = LatentColours.of(self._generator.autoencoder, digests["vae"], settings.cache_folder)
        generator = self._generator
        networks = () if placement.is_staged else (generator.transformer, generator.autoencoder)
        self._networks = [*networks, generator.text_encoder.model] if networks else None
        device = generator.device
        self._is_cuda = device.type == "cuda"
        # Another number of threads adds up in another order, and gives slightly other frames.
        cpu = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
        name = torch.cuda.get_device_name(device) if self._is_cuda else cpu
        memory: dict[str, Any] = {"memory_bytes": memory_bytes(device)}
        if self._is_cuda:
            free_bytes, total_bytes = torch.cuda.mem_get_info(device)
            memory["device_memory_bytes"] = {"free": free_bytes, "total": total_bytes}
        self.facts: Mapping[str, Any] = memory | {
            "engine": "torch",
            "device": str(device),
            "device_name": name,
            "dtype": str(self._generator.dtype).removeprefix("torch."),
            "placement": dataclasses.asdict(placement),
            "model_digest": digests["model"],
            "version": cogvideox.__version__,
            "torch": torch.__version__,
        }

    def run(self, job: EngineJob, port: Port) -> None:
        """Make a video, from where an earlier try left it, and hand it over. Raises JobStopped, UserError.

        Its frames are those of an undisturbed run with the same settings and seed.
        """
        params = params_of(job.params)
        _check(params, job.seed, self._generator.limits)
        run = _JobRun(self, job, params, port)
        with _signs_of_life(port, self._networks), _told_of_first(PatchEmbedding, run.begin_denoising):
            latents = run.make_latents()
            run.decode(latents)

    @property
    def generator(self) -> VideoGenerator:
        """The model."""
        return self._generator

    @property
    def colours(self) -> LatentColours:
        """For previews."""
        return self._colours

    def finish_step(self) -> None:
        """Wait until a step is really done: a device works on while we are told that it is."""
        if self._is_cuda:
            torch.cuda.synchronize(self._generator.device)


class _JobRun:
    """One try of one job."""

    def __init__(self, engine: TorchEngine, job: EngineJob, params: VideoParams, port: Port) -> None:
        self._begun_s = self._step_begun_s = time.monotonic()
        self._denoise_begun_s: float | None = None
        self._step_times_s: list[float] = []
        self.facts: dict[str, Any] = {"resumed_from_step": 0}
        self._engine, self._job, self._params, self._port = engine, job, params, port
        self._generator = engine.generator
        self._digest = run_digest(job, engine.facts)
        self._pace = PreviewPace()

    def begin_denoising(self) -> None:
        """Note that texts and inputs are encoded, and the first step begins."""
        self._denoise_begun_s = self._step_begun_s = time.monotonic()

    def make_latents(self) -> Tensor:
        """Return scaled latents (1, C, T, H, W)."""
        latents, ended_s = self._make_latents(), time.monotonic()
        begun_s = self._denoise_begun_s or ended_s  # the state may be of after the last step
        self.facts["seconds_text"] = round(begun_s - self._begun_s, 3)
        self.facts["seconds_denoise"] = round(ended_s - begun_s, 3)
        if self._step_times_s:
            self.facts["seconds_step"] = round(statistics.median(self._step_times_s), 4)
        return latents

    def _make_latents(self) -> Tensor:
        params, job, generator = self._params, self._job, self._generator
        start_state = None if job.checkpoint is None else read_state(job.folder / job.checkpoint, self._digest)
        if start_state is not None:
            self.facts["resumed_from_step"] = start_state.step_index
        options: SamplingOptions = {
            "negative_prompt": params.negative_prompt,
            "num_frames": params.num_frames,
            "height_px": params.height_px,
            "width_px": params.width_px,
            "num_steps": params.num_steps,
            "guidance_scale": params.guidance_scale,
            "guidance_mode": params.guidance_mode,
            "sampler": None if params.sampler is None else generator.limits.choose_sampler(params.sampler),
            "on_state": self._on_state,
            "start_state": start_state,
        }
        self._port.stage("text", progress=0)
        self._step_begun_s = time.monotonic()
        if params.task == "text":
            return generator.text_to_latents([params.prompt], [job.seed], **options)
        source = _input(job, params.task)
        try:
            picture = read_picture(source) if params.task == "image" else None
            video = None if picture is not None else read_video(source, max_frames=params.num_frames)
        except ValueError:
            raise UserError(MEDIA_DECODE_FAILED, f"{params.task}: it cannot be decoded") from None
        if picture is not None:
            return generator.image_to_latents([params.prompt], [picture], [job.seed], **options)
        assert video is not None and params.strength is not None
        try:
            num_latent_frames = generator.limits.latent_shape(num_frames=params.num_frames)[1]
            ratio = generator.limits.autoencoder.temporal_compression_ratio
            check_source(len(video.frames), num_frames_of_latents(num_latent_frames, ratio))
        except ValueError as error:
            raise UserError(INVALID_PARAM, str(error)) from None
        sources = [video.frames]
        return generator.video_to_latents([params.prompt], sources, [job.seed], strength=params.strength, **options)

    def _on_state(self, state: DenoiseState, num_steps: int) -> None:
        self._engine.finish_step()
        self._port.check()
        now_s = time.monotonic()
        self._step_times_s.append(now_s - self._step_begun_s)
        self._port.step(state.step_index, num_steps, self._step_times_s[-1])
        is_paused = self._port.is_pause_asked.is_set()
        if is_paused or is_checkpoint_due(state.step_index, num_steps):
            path = self._job.folder / f"state-{state.step_index}.safetensors"
            write_state(path, state, self._digest)
            media_type = "application/octet-stream"
            self._port.file("checkpoint", path, media_type, step=state.step_index)
        if is_paused:
            raise JobStopped
        if self._pace.is_due and state.step_index < num_steps:
            self._show(state)
        self._step_begun_s = time.monotonic()

    def _show(self, state: DenoiseState) -> None:
        begun_s = time.monotonic()
        latents = state.latents if state.previous_clean is None else state.previous_clean
        limits = self._generator.limits
        ratio = limits.autoencoder.temporal_compression_ratio
        num_frames = limits.latent_shape(num_frames=self._params.num_frames)[1]
        shown = latents[0, :, -num_frames:]  # without the padding in front
        path = self._job.folder / f"preview-{state.step_index}.webp"
        save_preview(self._engine.colours.frames(shown), path, fps=self._params.fps / ratio)
        self._port.file("preview", path, "image/webp")
        self._pace.made(time.monotonic() - begun_s)

    def decode(self, latents: Tensor) -> None:
        """Write the video and its pictures, and hand them over."""
        params, job, folder = self._params, self._job, self._job.folder
        begun_s = time.monotonic()
        self._port.stage("decode", progress=DECODE_PROGRESS)
        tap = FrameTap(params.num_frames, self._on_frames)
        result, thumbnail, sheet = (folder / name for name in ("result.mp4", "thumbnail.jpg", "sheet.jpg"))
        frames = tap.through(self._generator.decode_frames(latents))
        settings = json.dumps(_written_settings(job, params, self._engine.facts), ensure_ascii=False)
        write_video(result, frames, fps=params.fps, settings=settings)
        tap.save_thumbnail(thumbnail)
        tap.save_sheet(sheet)
        self.facts |= {name: value for name, value in self._engine.facts.items() if name not in ENGINE_ONLY}
        self.facts |= {"num_frames": tap.num_frames, "fps": params.fps, "width": params.width_px}
        self.facts |= {"height": params.height_px, "seconds_vae": round(tap.source_s, 3)}
        self.facts["seconds_encode"] = round(max(time.monotonic() - begun_s - tap.source_s, 0.0), 3)
        self.facts["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        files = {"result": (result, "video/mp4"), "thumbnail": (thumbnail, "image/jpeg")}
        self._port.done(files | {"spritesheet": (sheet, "image/jpeg")}, self.facts)

    def _on_frames(self, num_frames: int) -> None:
        self._port.check()
        if self._port.is_pause_asked.is_set():
            raise JobStopped  # the state after the last step is kept already
        share = min(num_frames / self._params.num_frames, 1.0)
        self._port.stage("decode", progress=DECODE_PROGRESS + int((MAX_PROGRESS - DECODE_PROGRESS) * share))


def _check(params: VideoParams, seed: int, limits: ModelLimits) -> None:
    """Raise UserError for settings that this model cannot do; any later ValueError is a fault of ours."""
    tasks: dict[VideoTaskName, Task] = {"text": "text-to-video", "image": "image-to-video", "video": "video-to-video"}
    try:
        limits.check_task(tasks[params.task])
        limits.latent_shape(num_frames=params.num_frames, height_px=params.height_px, width_px=params.width_px)
        limits.check_steps(params.num_steps)
        limits.choose_sampler(params.sampler)
        check_prompt(params.prompt)
        check_negative_prompt(params.negative_prompt)
        check_guidance(params.guidance_mode, params.guidance_scale)
        check_seed(seed)
        if params.strength is not None:
            check_strength(params.strength)
    except ValueError as error:
        raise UserError(INVALID_PARAM, str(error)) from None


def _placement(settings: EngineSettings) -> Placement:
    """Return how to lay the model into memory so that a video of its own size and length fits, if one does."""
    model, device = describe_model(settings.model), parse_device(settings.device)
    dtype = fastest_dtype(device) if settings.dtype == "auto" else parse_dtype(settings.dtype)
    height_px, width_px = model.limits.default_size_px
    video = PlannedVideo(
        limits=model.limits,
        text_encoder=model.text_encoder,
        dtype=str(dtype).removeprefix("torch."),
        num_frames=model.limits.native_num_frames,
        height_px=height_px,
        width_px=width_px,
        num_steps=1,
        has_picture=model.limits.takes_image,
    )
    free_bytes = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory_bytes(device)
    can_quantize = importlib.util.find_spec("torchao") is not None
    plan = choose_placement(video, free_bytes, can_quantize=can_quantize)
    if not plan.fits:
        log.warning("a video of the model's own size and length does not fit into memory, smaller ones may")
    return plan.placement


def write_state(path: Path, state: DenoiseState, digest: str) -> None:
    """Write a state. It is for the worker, which keeps it durably once it is told of it. Raises OSError."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.to_tensors().items()}
    path.write_bytes(save(tensors, metadata={"run": digest}))


def read_state(path: Path, digest: str) -> DenoiseState | None:
    """Return a state that `write_state` has written; None if it is of another run, or no state."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("run") != digest:
                return None
            return DenoiseState.from_tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, KeyError):
        return None


def _input(job: EngineJob, role: str) -> Path:
    if role not in job.inputs:
        raise UserError(MEDIA_DECODE_FAILED, f"{role}: it is not there any more")
    return job.folder / job.inputs[role]


def _written_settings(job: EngineJob, params: VideoParams, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``cogvideox generate --like`` reads again from the video."""
    values = dataclasses.asdict(params)
    same = ("prompt", "negative_prompt", "strength", "num_frames", "fps", "num_steps", "guidance_scale")
    settings = {name: values[name] for name in (*same, "guidance_mode", "sampler")}
    settings |= {"seed": job.seed, "model": job.model, "height": params.height_px, "width": params.width_px}
    settings |= {name: facts[name] for name in ("dtype",)}
    return settings | {"cogvideox_version": cogvideox.__version__}


@contextmanager
def _told_of_first(kind: type[nn.Module], call: Callable[[], None]) -> Iterator[None]:
    """Call back when the first network part of a kind begins its work."""

    def look(module: nn.Module, _: Any) -> None:
        if isinstance(module, kind):
            handle.remove()
            call()

    handle = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _signs_of_life(port: Port, networks: Sequence[nn.Module] | None) -> Iterator[None]:
    """Let every block of networks that is done tell so: a step of a large model may take minutes.

    Networks that are read when they are needed cannot be asked before: None lets every layer of any tell.
    """

    def told(*_: Any) -> None:
        port.alive()

    if networks is None:
        handles = [register_module_forward_hook(told)]
    else:
        lists = [part for network in networks for part in network.modules() if isinstance(part, nn.ModuleList)]
        handles = [block.register_forward_hook(told) for blocks in lists for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
