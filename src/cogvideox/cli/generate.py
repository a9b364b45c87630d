"""``cogvideox generate``: a prompt, or a file of prompts, perhaps with an image or a video, to mp4 files."""

import dataclasses
import json as json_module
import math
import re
import secrets
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

import cogvideox
from cogvideox.cli.output import BAD_INPUT, OK, PARTLY_FAILED, StepProgress, exit_code_of, print_json, report_error

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cogvideox.generation.generator import VideoGenerator
    from cogvideox.generation.model_limits import Task
    from cogvideox.media.video import Video

MAX_SEED = 2**31


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """All that decides the frames of a video, and its playback rate; written beside it."""

    prompt: str
    seed: int
    model: str = "tiny"
    lora: tuple[str, ...] = ()
    negative_prompt: str = ""
    image: str | None = None
    video: str | None = None
    strength: float | None = None
    fit: str = "crop"
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None
    num_steps: int = 50
    guidance_scale: float = 6.0
    guidance_mode: str = "constant"
    sampler: str | None = None
    dtype: str = "auto"
    device: str = "cpu"


def generate(
    prompt: str | None = None,
    *,
    model: str | None = None,
    lora: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    image: Path | None = None,
    video: Path | None = None,
    strength: float | None = None,
    fit: str | None = None,
    out: Path | None = None,
    seed: Annotated[list[int] | None, Parameter(negative="", consume_multiple=True)] = None,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_mode: str | None = None,
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    fps: float | None = None,
    sampler: str | None = None,
    negative_prompt: str | None = None,
    prompts_file: Path | None = None,
    like: Path | None = None,
    dtype: str | None = None,
    device: str | None = None,
    force: bool = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make a video of a prompt, with an image or a video to start from if given.

    Parameters
    ----------
    prompt
        What the video shows.
    model
        Embedded model or checkpoint directory in the diffusers layout (default: tiny).
    lora
        LoRA file or folder, one or several; FILE:WEIGHT weights one (default: 1).
    image
        Picture that the video begins with; for image-to-video models.
    video
        Video to make over: its first frames, as many as --num-frames.
    strength
        With --video: share of the steps taken, 0 (the video as it is) to 1 (nothing of it) (default: 0.8).
    fit
        crop or pad: what happens to an image or video of another aspect ratio (default: crop).
    out
        The mp4 file; with --prompts-file or several seeds a folder (default: outputs/<date>_<slug>_<seed>.mp4).
    seed
        Of the noise, one or several: a video for each; drawn and printed if not given.
    num_steps
        Calls of the transformer (default: 50).
    guidance_scale
        How strongly the prompt is followed; at most 1 switches guidance off (default: 6).
    guidance_mode
        constant, published, rising or falling (default: constant).
    num_frames
        8k or 8k + 1 (default: the model's own).
    height
        In pixels, a multiple of 16 (default: the model's own).
    width
        In pixels, a multiple of 16 (default: the model's own).
    fps
        Playback rate only (default: the model's own).
    sampler
        ddim, dpm-published, dpmpp-2m or dpmpp-2m-sde (default: the one that the checkpoint names).
    negative_prompt
        What to steer away from (default: the empty text).
    prompts_file
        Text file, one prompt per line; empty lines and lines starting with # are skipped.
    like
        Settings file (.json) of an earlier video; flags given here win.
    dtype
        auto, float32, bfloat16 or float16 (default: auto, the fastest that is native).
    device
        cpu, cuda, mps (default: cpu).
    force
        Replace an existing file.
    json
        End standard output with one JSON object.
    """
    given: dict[str, Any] = {
        "prompt": prompt,
        "model": model,
        "lora": lora,
        "image": None if image is None else str(image),
        "video": None if video is None else str(video),
        "strength": strength,
        "fit": fit,
        "negative_prompt": negative_prompt,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "fps": fps,
        "num_steps": num_steps,
        "guidance_scale": guidance_scale,
        "guidance_mode": guidance_mode,
        "sampler": sampler,
        "dtype": dtype,
        "device": device,
    }
    if prompts_file is not None and prompt is not None:
        raise ValueError("prompt and --prompts-file: give one of them, not both")
    prompts = [prompt] if prompts_file is None else _read_prompts(prompts_file)
    seeds = seed or [None]
    requests = [_resolve(given | {"prompt": text, "seed": number}, like) for text in prompts for number in seeds]
    if prompts_file is None and len(seeds) == 1:
        targets = [out if out is not None else _default_path(requests[0], Path("outputs"), None)]
    else:
        folder = out if out is not None else Path("outputs")
        if folder.suffix:
            raise ValueError(f"--out: expected a folder for several videos, got {str(folder)!r}")
        targets = [_default_path(request, folder, index) for index, request in enumerate(requests)]
    for target in targets:
        _check_target(target, is_replaced=force)
    return _generate_all(requests, targets, wants_json=json)


def _generate_all(requests: list[GenerateSettings], targets: list[Path], *, wants_json: bool) -> int:
    from cogvideox.generation.generator import VideoGenerator

    console = Console(stderr=True, highlight=False)
    for request in requests:
        _check_request(request)
    generator = VideoGenerator.load(requests[0].model, device=requests[0].device, dtype=requests[0].dtype)
    for path, weight in map(_split_lora, requests[0].lora):
        generator.load_lora(path, weight=weight)
    results: list[dict[str, Any]] = []
    for settings, target in zip(requests, targets, strict=True):
        try:
            results.append(_generate_one(generator, settings, target, console))
        except (ValueError, OSError) as error:
            if len(requests) == 1:
                raise
            code = exit_code_of(error)
            report_error(error, code, console, wants_json=False)
            results.append({"prompt": settings.prompt, "error": str(error)})
    num_failed = sum("error" in result for result in results)
    if wants_json:
        data = results[0] if len(requests) == 1 else {"videos": results}
        print_json({"ok": num_failed == 0, "data": data})
    if num_failed:
        return BAD_INPUT if num_failed == len(requests) else PARTLY_FAILED
    return OK


def _check_request(settings: GenerateSettings) -> None:
    """Raise what generation would raise, before any weight is read."""
    from cogvideox.checkpoints.directory import read_configs
    from cogvideox.checkpoints.lora import read_lora
    from cogvideox.component_files import parse_dtype
    from cogvideox.generation.generator import parse_device
    from cogvideox.generation.model_limits import ModelLimits, check_guidance, check_prompt, check_seed

    configs = read_configs(settings.model)
    limits = ModelLimits(
        transformer=configs.transformer,
        autoencoder=configs.autoencoder,
        noise_schedule=configs.noise_schedule,
        default_sampler=configs.default_sampler,
    )
    parse_device(settings.device)
    if settings.dtype != "auto":
        parse_dtype(settings.dtype)
    limits.check_task(_task(settings))
    _check_pictures(settings)
    limits.latent_shape(num_frames=settings.num_frames, height_px=settings.height, width_px=settings.width)
    limits.choose_sampler(settings.sampler)
    limits.check_steps(settings.num_steps)
    for path, weight in map(_split_lora, settings.lora):
        if not Path(path).exists():
            raise ValueError(f"--lora: no such file or folder: {path}")
        if not math.isfinite(weight):
            raise ValueError(f"--lora {path}: expected a finite weight, got {weight}")
        read_lora(path, configs.transformer)
    check_guidance(settings.guidance_mode, settings.guidance_scale)
    check_prompt(settings.prompt)
    check_seed(settings.seed)


def _split_lora(text: str) -> tuple[str, float]:
    """Return the path and weight of FILE or FILE:WEIGHT."""
    path, separator, weight = text.rpartition(":")
    try:
        return (path, float(weight)) if separator else (text, 1.0)
    except ValueError:  # a colon of the path
        return text, 1.0


def _task(settings: GenerateSettings) -> "Task":
    if settings.image is not None and settings.video is not None:
        raise ValueError("--image and --video: give one of them, not both")
    if settings.image is not None:
        return "image-to-video"
    return "text-to-video" if settings.video is None else "video-to-video"


def _check_pictures(settings: GenerateSettings) -> None:
    from cogvideox.generation.model_limits import check_strength
    from cogvideox.media.pictures import check_fit, read_picture
    from cogvideox.media.video import read_video

    check_fit(settings.fit)
    if settings.image is not None:
        read_picture(settings.image)
    if settings.video is not None:
        read_video(settings.video, max_frames=1)
    if settings.strength is not None:
        if settings.video is None:
            raise ValueError("--strength: only for making over a --video")
        check_strength(settings.strength)


def _generate_one(
    generator: "VideoGenerator", settings: GenerateSettings, target: Path, console: Console
) -> dict[str, Any]:
    from cogvideox.component_files import write_atomically
    from cogvideox.media.pictures import read_picture
    from cogvideox.media.video import read_video, write_video

    started_at_s = time.monotonic()
    source = None
    if settings.video is not None:
        source = read_video(settings.video, max_frames=settings.num_frames or generator.limits.native_num_frames)
    picture = None if settings.image is None else read_picture(settings.image)
    resolved = _with_model_defaults(settings, generator, source)
    for shown in (picture, None if source is None else source.frames[0]):
        if shown is not None and shown.shape[:2] != (resolved.height, resolved.width):
            sizes = f"{shown.shape[1]}x{shown.shape[0]} to {resolved.width}x{resolved.height} px ({resolved.fit})"
            console.print(f"note: {settings.image or settings.video} is fitted from {sizes}", soft_wrap=True)
    num_tokens = generator.text_encoder.count_tokens(settings.prompt)
    if num_tokens > generator.max_prompt_tokens:
        limit = generator.max_prompt_tokens
        lost = f"{num_tokens - limit} of its {num_tokens} tokens are lost"
        console.print(f"warning: the model reads {limit} tokens of the prompt, {lost}", markup=False, soft_wrap=True)
    with StepProgress("denoise") as progress:
        latents = _make_latents(generator, resolved, picture, source, progress)
    assert resolved.fps is not None
    num_frames = write_video(target, generator.decode_frames(latents), fps=resolved.fps)
    try:
        write_atomically(target.with_suffix(".json"), json_module.dumps(_settings_json(resolved), indent=2) + "\n")
    except BaseException:  # a video never stands without its settings
        target.unlink()
        raise
    seconds = time.monotonic() - started_at_s
    print(f"{target}  (seed {resolved.seed}, {num_frames} frames, {seconds:.1f} s)", flush=True)
    return {"path": str(target), "seconds": round(seconds, 2), "num_frames_written": num_frames} | _settings_json(
        resolved
    )


def _make_latents(
    generator: "VideoGenerator",
    settings: GenerateSettings,
    picture: "np.ndarray | None",
    source: "Video | None",
    progress: StepProgress,
) -> "Tensor":
    prompts, seeds = [settings.prompt], [settings.seed]
    options: dict[str, Any] = {
        "negative_prompt": settings.negative_prompt,
        "num_frames": settings.num_frames,
        "height_px": settings.height,
        "width_px": settings.width,
        "num_steps": settings.num_steps,
        "guidance_scale": settings.guidance_scale,
        "guidance_mode": settings.guidance_mode,
        "sampler": settings.sampler,
        "on_step": progress,
    }
    fit: Any = settings.fit
    if picture is not None:
        return generator.image_to_latents(prompts, [picture], seeds, fit=fit, **options)
    if source is not None:
        assert settings.strength is not None
        sources = [source.frames]
        return generator.video_to_latents(prompts, sources, seeds, strength=settings.strength, fit=fit, **options)
    return generator.text_to_latents(prompts, seeds, **options)


def _settings_json(settings: GenerateSettings) -> dict[str, Any]:
    return dataclasses.asdict(settings) | {"cogvideox_version": cogvideox.__version__}


def _with_model_defaults(
    settings: GenerateSettings, generator: "VideoGenerator", source: "Video | None"
) -> GenerateSettings:
    from cogvideox.generation.model_limits import DEFAULT_STRENGTH

    limits = generator.limits
    height, width = limits.native_size_px
    num_frames, fps, strength = limits.native_num_frames, limits.native_fps, settings.strength
    if source is not None:
        num_frames, fps = limits.num_frames_of_source(source.num_frames), source.fps
        strength = DEFAULT_STRENGTH if strength is None else strength
    return dataclasses.replace(
        settings,
        strength=strength,
        num_frames=settings.num_frames if settings.num_frames is not None else num_frames,
        height=settings.height if settings.height is not None else height,
        width=settings.width if settings.width is not None else width,
        fps=settings.fps if settings.fps is not None else fps,
        sampler=settings.sampler if settings.sampler is not None else limits.default_sampler,
        dtype=str(generator.dtype).removeprefix("torch."),
    )


def _resolve(given: dict[str, Any], like: Path | None) -> GenerateSettings:
    """Merge flags over the settings file; draw a seed if neither names one."""
    from cogvideox.settings import build_dataclass

    values = {} if like is None else _read_settings(like)
    values |= {key: value for key, value in given.items() if value is not None}
    if not str(values.get("prompt", "")).strip():
        raise ValueError("prompt: expected some text; give PROMPT or --prompts-file FILE")
    values.setdefault("seed", secrets.randbelow(MAX_SEED))
    settings = build_dataclass(GenerateSettings, values, where="settings" if like is None else str(like))
    if settings.fps is not None and not 0 < settings.fps <= 1000:
        raise ValueError(f"--fps: expected more than 0 and at most 1000, got {settings.fps}")
    return settings


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        values = json_module.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json_module.JSONDecodeError) as error:
        raise ValueError(f"--like {path}: not a settings file ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"--like {path}: expected a JSON object")
    values.pop("cogvideox_version", None)
    return {key: value for key, value in values.items() if value is not None}


def _read_prompts(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--prompts-file {path}: {error}") from None
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise ValueError(f"--prompts-file {path}: no prompts in it")
    return prompts


def _default_path(settings: GenerateSettings, folder: Path, index: int | None) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", settings.prompt.lower()).strip("-")[:48] or "video"
    prefix = datetime.now().strftime("%Y-%m-%d") if index is None else f"{index:03d}"
    return folder / f"{prefix}_{slug}_{settings.seed}.mp4"


def _check_target(target: Path, *, is_replaced: bool) -> None:
    """Raise ValueError before any work if the video could not be written in the end."""
    if target.suffix.lower() != ".mp4":
        raise ValueError(f"--out: expected a name ending in .mp4, got {str(target)!r}")
    if target.is_dir():
        raise ValueError(f"--out: {target} is a folder")
    for path in (target, target.with_suffix(".json")):
        if path.exists() and not is_replaced:
            raise ValueError(f"--out: {path} exists; give --force to replace it")
    ancestor = target.absolute().parent
    while not ancestor.exists():
        ancestor = ancestor.parent
    try:
        with tempfile.TemporaryFile(dir=ancestor):  # permissions alone do not tell
            pass
    except OSError as error:
        raise ValueError(f"--out: cannot write into {ancestor} ({error.strerror})") from None
