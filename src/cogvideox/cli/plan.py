"""``cogvideox plan``: what a video would take in memory and time, and how the model would be placed; without torch."""

import dataclasses
import importlib.util
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import OK, OUT_OF_MEMORY, print_json
from cogvideox.cli.request import GenerateSettings, check_asked, check_media, complete, describe_model, resolve
from cogvideox.errors import DoesNotFitError
from cogvideox.generation.calibration import calibrate, is_measurable, read_calibration
from cogvideox.generation.memory_plan import (
    BYTES_OF_DTYPE,
    GIB,
    Calibration,
    MemoryPlan,
    PlannedVideo,
    choose_placement,
    require_fit,
)
from cogvideox.machine import group_memory

if TYPE_CHECKING:
    from cogvideox.media.reading import VideoFacts


def plan(
    *,
    model: str | None = None,
    num_frames: int | None = None,
    window_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    image: bool = False,
    video: Path | None = None,
    strength: float | None = None,
    dtype: str | None = None,
    device: str | None = None,
    staged: bool | None = None,
    tiling: bool | None = None,
    sequential_guidance: bool | None = None,
    quantization: str | None = None,
    memory_gib: float | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say what a video would take in memory and time, and whether it fits; nothing is loaded.

    Models that are not on this machine can be planned by their published names.

    Parameters
    ----------
    model
        As for generate (default: tiny).
    num_frames
        As for generate.
    window_frames
        As for generate.
    height
        As for generate.
    width
        As for generate.
    num_steps
        As for generate (default: 50).
    guidance_scale
        As for generate (default: 6).
    image
        It starts from an image, or from a video that is not at hand.
    video
        As for generate; its length counts.
    strength
        As for generate (default: 0.8).
    dtype
        As for generate (default: auto).
    device
        As for generate (default: cpu).
    staged
        One network in memory at a time (default: if needed).
    tiling
        Decode in the published tiles (default: if needed).
    sequential_guidance
        Two calls of the transformer instead of one of twice the size (default: if needed).
    quantization
        int8 or none (default: int8 if needed).
    memory_gib
        Plan for so much memory (default: what is available here).
    json
        End standard output with one JSON object.
    """
    given: dict[str, Any] = {
        "prompt": "a prompt",
        "seed": 0,
        "model": model,
        "num_frames": num_frames,
        "window_frames": window_frames,
        "height": height,
        "width": width,
        "num_steps": num_steps,
        "guidance_scale": guidance_scale,
        "video": None if video is None else str(video),
        "strength": strength,
        "dtype": dtype,
        "device": device,
        "tiling": tiling,
        "sequential_guidance": sequential_guidance,
        "quantization": quantization,
    }
    settings = resolve(given, None)
    limits, _ = describe_model(settings.model)
    needs_image = limits.takes_image and video is None
    check_asked(dataclasses.replace(settings, image="given" if needs_image else None), limits)
    planned, chosen = plan_settings(
        settings,
        source=check_media(settings, limits),
        staged=staged,
        memory_gib=memory_gib,
        has_picture=image,
        is_timed=True,
    )
    return report_plan(settings, planned, chosen, wants_json=json)


def plan_settings(
    settings: GenerateSettings,
    *,
    source: "VideoFacts | None" = None,
    staged: bool | None = None,
    memory_gib: float | None = None,
    has_picture: bool = False,
    is_timed: bool = False,
) -> tuple[PlannedVideo, MemoryPlan]:
    """Return what settings ask for, and the best placement for it.

    Args:
        settings: checked by `check_asked` and `check_media`.
        source: the video to be made over, which decides the length if nothing else does.
        staged: as for `generate`.
        memory_gib: as for `generate`.
        has_picture: whether it starts from one that the settings do not name.
        is_timed: whether to say how long it takes; measures this machine, once.

    Raises:
        ValueError: the dtype or the memory is none.
    """
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", settings.device):
        raise ValueError(f"device: expected cpu, cuda, cuda:N or mps, got {settings.device!r}")
    can_quantize = importlib.util.find_spec("torchao") is not None
    if settings.quantization == "int8" and not can_quantize:
        raise ValueError("--quantization int8 needs torchao: pip install 'cogvideox[int8]'")
    limits, text_encoder = describe_model(settings.model)
    dtype = _guess_dtype(settings.device) if settings.dtype == "auto" else settings.dtype
    if dtype not in BYTES_OF_DTYPE:
        raise ValueError(f"dtype: expected one of {', '.join(BYTES_OF_DTYPE)}, got {dtype!r}")
    completed = complete(settings, limits, dtype=dtype, source=source)
    assert completed.num_frames is not None and completed.height is not None and completed.width is not None
    video = PlannedVideo(
        limits=limits,
        text_encoder=text_encoder,
        dtype=dtype,
        num_frames=completed.num_frames,
        height_px=completed.height,
        width_px=completed.width,
        num_steps=completed.num_steps,
        strength=1.0 if completed.strength is None else completed.strength,
        is_guided=completed.guidance_scale > 1,
        window_frames=completed.window_frames,
        has_picture=has_picture or limits.takes_image or completed.image is not None or completed.video is not None,
    )
    if memory_gib is not None and not 0 < memory_gib < float("inf"):
        raise ValueError(f"--memory-gib: expected more than 0, got {memory_gib}")
    available = available_bytes(settings.device) if memory_gib is None else int(memory_gib * GIB)
    chosen = choose_placement(
        video,
        available,
        is_staged=staged,
        has_sequential_guidance=settings.sequential_guidance,
        is_tiled=settings.tiling,
        quantization=cast(Literal["int8", "none"] | None, settings.quantization),
        can_quantize=can_quantize,
        calibration=_calibration(settings.device, dtype) if is_timed else None,
    )
    return video, chosen


def report_plan(settings: GenerateSettings, video: PlannedVideo, chosen: MemoryPlan, *, wants_json: bool) -> int:
    """Print a plan; return the exit code: 4 if it does not fit."""
    alternatives = ""
    try:
        require_fit(chosen, video)
    except DoesNotFitError as error:
        alternatives = str(error)
    config = video.limits.transformer
    console = Console(highlight=False, soft_wrap=True, markup=False)
    guidance = "with guidance" if video.is_guided else "without guidance"
    console.print(f"model      {settings.model}, {video.dtype} on {settings.device}")
    console.print(f"video      {video.num_frames} frames of {video.width_px}x{video.height_px} px")
    steps = f"{video.num_taken_steps} of " if video.num_taken_steps < video.num_steps else ""
    console.print(f"sampling   {steps}{video.num_steps} steps, {guidance}")
    console.print(f"tokens     {video.num_video_tokens:,} of the video, {config.max_text_seq_length} of the text")
    if video.num_windows > 1:
        console.print(f"windows    {video.num_windows}, of {video.num_call_tokens:,} tokens each")
    console.print(f"placement  {chosen.placement.flags() or 'all in memory, no changes'}")
    for stage in chosen.stages:
        time = "" if stage.seconds is None else f"  about {_duration(stage.seconds)}"
        weights, activations = stage.weight_bytes / GIB, stage.activation_bytes / GIB
        parts = f"weights {weights:.2f}, activations {activations:.2f}"
        console.print(f"  {stage.name:<18} peak {stage.peak_bytes / GIB:6.2f} GiB  ({parts}){time}")
    total = "unknown, this machine could not be measured" if chosen.seconds is None else _duration(chosen.seconds)
    console.print(f"time       {total}{'' if chosen.seconds is None else ', without reading weights'}")
    verdict = "fits" if chosen.fits else "DOES NOT FIT"
    available = chosen.available_bytes / GIB
    console.print(f"memory     {chosen.peak_bytes / GIB:.2f} GiB at the peak, {available:.2f} available: {verdict}")
    if alternatives:
        console.print(alternatives)
    if wants_json:
        error = {"code": "out_of_memory", "message": alternatives, "hint": "see the alternatives in the message"}
        print_json({"ok": chosen.fits, "data": plan_json(video, chosen)} | ({"error": error} if alternatives else {}))
    return OK if chosen.fits else OUT_OF_MEMORY


def plan_json(video: PlannedVideo, chosen: MemoryPlan) -> dict[str, Any]:
    """Return a plan as plain values."""
    return {
        "num_frames": video.num_frames,
        "height": video.height_px,
        "width": video.width_px,
        "num_steps": video.num_steps,
        "num_taken_steps": video.num_taken_steps,
        "dtype": video.dtype,
        "num_video_tokens": video.num_video_tokens,
        "num_text_tokens": video.limits.transformer.max_text_seq_length,
        "placement": dataclasses.asdict(chosen.placement),
        "flags": chosen.placement.flags(),
        "stages": [dataclasses.asdict(stage) | {"peak_bytes": stage.peak_bytes} for stage in chosen.stages],
        "peak_bytes": chosen.peak_bytes,
        "available_bytes": chosen.available_bytes,
        "fits": chosen.fits,
        "seconds": chosen.seconds,
    }


def available_bytes(device: str) -> int:
    """Return the free memory of a device; of a CPU, what the machine or the control group still gives."""
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ValueError(f"device: {device!r} is not available here; --memory-gib plans for another machine")
        return torch.cuda.mem_get_info(torch.device(device))[0]
    limits = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        limits.append(int(fields["MemAvailable"].split()[0]) * 1024)
    else:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    group = group_memory()
    if group is not None:
        limits.append(group.limit_bytes - group.used_bytes)
    return min(limits)


def _calibration(device: str, dtype: str) -> Calibration | None:
    known = read_calibration(device, dtype)
    if known is not None or not is_measurable(device, dtype):
        return known
    Console(stderr=True, highlight=False).print("measuring this machine, once, some seconds ...")
    return calibrate(device, dtype)


def _guess_dtype(device: str) -> str:
    """Return what "auto" is, without torch."""
    if device != "cpu" or platform.machine() in ("arm64", "aarch64"):
        return "float32" if device == "cpu" else "bfloat16"
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.is_file() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_tile" in flags else "float32"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
