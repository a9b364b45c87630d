"""What a user asks for: settings from flags and files, checked and completed before any weight is read; torch-free."""

import dataclasses
import json
import math
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cogvideox
from cogvideox.checkpoints.directory import SAMPLER_OF_SCHEDULER, CheckpointConfigs, read_configs
from cogvideox.component_files import read_json
from cogvideox.errors import CheckpointError
from cogvideox.generation.memory_plan import TextEncoderShape
from cogvideox.generation.model_limits import (
    DEFAULT_STRENGTH,
    ModelLimits,
    Task,
    check_guidance,
    check_negative_prompt,
    check_prompt,
    check_seed,
    check_source,
    check_strength,
)
from cogvideox.presets import PRESETS
from cogvideox.settings import build_dataclass

if TYPE_CHECKING:
    from cogvideox.media.reading import VideoFacts
    from cogvideox.media.video import Video

MAX_SEED = 2**31
NOT_SETTINGS = ("cogvideox_version", "original_prompt", "prompt_source")
"""Written with the settings, for the reader; not read again."""

REPLACED_BY = {"image": ("video", "strength"), "video": ("image", "last_image")}
"""What an earlier video started from, and a flag that names another start leaves out."""


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """All that decides the frames of a video, and its playback rate; written beside it and into it."""

    prompt: str
    seed: int
    model: str = "tiny"
    lora: tuple[str, ...] = ()
    negative_prompt: str = ""
    image: str | None = None
    last_image: str | None = None
    video: str | None = None
    strength: float | None = None
    fit: str = "crop"
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    window_frames: int | None = None
    fps: float | None = None
    num_steps: int = 50
    guidance_scale: float = 6.0
    guidance_mode: str = "constant"
    sampler: str | None = None
    dtype: str = "auto"
    device: str = "cpu"
    tiling: bool | None = None
    sequential_guidance: bool | None = None
    quantization: str | None = None


def resolve(given: dict[str, Any], like: Path | None) -> GenerateSettings:
    """Merge flags over a settings file; draw a seed if neither names one. Raises ValueError for a wrong one."""
    values = {} if like is None else read_settings_file(like)
    if values.get("sequential_guidance") is False:  # this machine may need it, and it changes no frame
        del values["sequential_guidance"]
    for name in REPLACED_BY.keys() & {key for key, value in given.items() if value is not None}:
        values = {key: value for key, value in values.items() if key not in REPLACED_BY[name]}
    values |= {key: value for key, value in given.items() if value is not None}
    if not str(values.get("prompt", "")).strip():
        raise ValueError("prompt: expected some text; give PROMPT or --prompts-file FILE")
    values.setdefault("seed", secrets.randbelow(MAX_SEED))
    return settings_from(values, "settings" if like is None else str(like))


def settings_from(values: dict[str, Any], where: str) -> GenerateSettings:
    """Return settings from plain values. Raises ValueError, which names ``where``."""
    settings = build_dataclass(GenerateSettings, values, where=where)
    if settings.fps is not None and not 0 < settings.fps <= 1000:
        raise ValueError(f"--fps: expected more than 0 and at most 1000, got {settings.fps}")
    return settings


def read_settings_file(path: Path) -> dict[str, Any]:
    """Read the settings of an earlier video, from the JSON file beside it or from the video itself."""
    try:
        text = path.read_text(encoding="utf-8") if path.suffix == ".json" else _embedded_settings(path)
        values = json.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"--like {path}: not a settings file ({error})") from None
    if not isinstance(values, dict) or "prompt" not in values:
        raise ValueError(f"--like {path}: expected settings that cogvideox wrote")
    return {key: value for key, value in values.items() if value is not None and key not in NOT_SETTINGS}


def _embedded_settings(path: Path) -> str:
    from cogvideox.media.file_settings import read_settings

    text = read_settings(path)
    if text is None:
        raise ValueError("no settings of cogvideox in it")
    return text


def settings_json(settings: GenerateSettings, **notes: Any) -> dict[str, Any]:
    """Return settings as written beside a video, and what else is to be known of it."""
    given = {key: value for key, value in notes.items() if value is not None}
    return dataclasses.asdict(settings) | given | {"cogvideox_version": cogvideox.__version__}


def limits_of(configs: CheckpointConfigs) -> ModelLimits:
    """Return what can be asked of a model."""
    return ModelLimits(
        transformer=configs.transformer,
        autoencoder=configs.autoencoder,
        noise_schedule=configs.noise_schedule,
        default_sampler=configs.default_sampler,
    )


def describe_model(model: str) -> tuple[ModelLimits, TextEncoderShape]:
    """Return what is known of a model without its weights; of a published one, also if it is not on this machine.

    Raises:
        CheckpointError: it is neither here nor a published one.
    """
    try:
        configs = read_configs(model)
    except CheckpointError:
        preset = PRESETS.get(model)  # pyright: ignore[reportArgumentType, reportCallIssue]
        if preset is None:
            raise
        limits = ModelLimits(
            transformer=preset.transformer,
            autoencoder=preset.autoencoder,
            noise_schedule=preset.noise_schedule,
            default_sampler=SAMPLER_OF_SCHEDULER[preset.scheduler_class],
        )
        return limits, TextEncoderShape()
    values = read_json(configs.directory / "text_encoder" / "config.json")
    names = ("d_model", "d_ff", "d_kv", "num_heads", "num_layers", "vocab_size")
    is_gated = "gated" in str(values.get("feed_forward_proj", ""))
    shape = TextEncoderShape(**{name: int(values[name]) for name in names if name in values}, is_gated=is_gated)
    return limits_of(configs), shape


def complete(
    settings: GenerateSettings, limits: ModelLimits, *, dtype: str, source: "Video | VideoFacts | None" = None
) -> GenerateSettings:
    """Fill in what the model decides where nothing was asked for."""
    height, width = limits.default_size_px
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
        dtype=dtype,
    )


def task_of(settings: GenerateSettings) -> Task:
    """Return the task. Raises ValueError if it is two at once."""
    if settings.image is not None and settings.video is not None:
        raise ValueError("--image and --video: give one of them, not both")
    if settings.image is not None:
        return "image-to-video"
    return "text-to-video" if settings.video is None else "video-to-video"


def check_asked(settings: GenerateSettings, limits: ModelLimits) -> None:
    """Raise ValueError for what a model cannot do, by its configuration alone."""
    limits.check_task(task_of(settings))
    limits.latent_shape(num_frames=settings.num_frames, height_px=settings.height, width_px=settings.width)
    limits.window_latent_frames(settings.window_frames)
    limits.choose_sampler(settings.sampler)
    limits.check_steps(settings.num_steps)
    check_guidance(settings.guidance_mode, settings.guidance_scale)
    check_prompt(settings.prompt)
    check_negative_prompt(settings.negative_prompt)
    check_seed(settings.seed)
    if settings.last_image is not None and settings.image is None:
        raise ValueError("--last-image: only beside an --image to begin with")
    if settings.strength is not None:
        if settings.video is None:
            raise ValueError("--strength: only for making over a --video")
        check_strength(settings.strength)
    if settings.tiling:
        limits.check_tiling()
    if settings.quantization not in (None, "none", "int8"):
        raise ValueError(f"--quantization: expected int8 or none, got {settings.quantization!r}")


def check_media(settings: GenerateSettings, limits: ModelLimits) -> "VideoFacts | None":
    """Return what of the source video is used, None without one, after a look at all files; without torch.

    Raises:
        ValueError: a picture, video or adapter is missing or not readable, the video is too short for the frames asked
            for, or the fit is unknown.
    """
    from cogvideox.media.pictures import check_fit, read_picture

    check_fit(settings.fit)
    for picture in (settings.image, settings.last_image):
        if picture is not None:
            read_picture(picture)
    for path, weight in map(split_lora, settings.lora):
        if not Path(path).exists():
            raise ValueError(f"--lora: no such file or folder: {path}")
        if not math.isfinite(weight):
            raise ValueError(f"--lora {path}: expected a finite weight, got {weight}")
    if settings.video is None:
        return None
    from cogvideox.media.reading import probe_video

    num_frames = limits.native_num_frames if settings.num_frames is None else settings.num_frames
    source = probe_video(settings.video, max_frames=num_frames)
    if settings.num_frames is not None:
        check_source(source.num_frames, settings.num_frames)
    return source


def check_files(settings: GenerateSettings, configs: CheckpointConfigs) -> None:
    """Raise ValueError for devices, dtypes and adapters that cannot be used; uses torch."""
    from cogvideox.checkpoints.lora import read_lora
    from cogvideox.component_files import parse_dtype
    from cogvideox.machine import parse_device

    parse_device(settings.device)
    if settings.dtype != "auto":
        parse_dtype(settings.dtype)
    for path, _ in map(split_lora, settings.lora):
        read_lora(path, configs.transformer)


def split_lora(text: str) -> tuple[str, float]:
    """Return the path and weight of FILE or FILE:WEIGHT."""
    path, separator, weight = text.rpartition(":")
    try:
        return (path, float(weight)) if separator else (text, 1.0)
    except ValueError:  # a colon of the path
        return text, 1.0


def read_prompts(path: Path) -> list[str]:
    """Read a file of prompts. Raises ValueError if there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--prompts-file {path}: {error}") from None
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise ValueError(f"--prompts-file {path}: no prompts in it")
    return prompts
