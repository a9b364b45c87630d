"""``cogvideox generate``: a prompt, or a file of prompts, perhaps with an image or a video, to video files."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from cogvideox.checkpoints.directory import read_configs
from cogvideox.cli.output import CODE_NAMES, OK, PARTLY_FAILED, StepProgress, exit_code_of, print_json, report_error
from cogvideox.cli.plan import plan_settings, report_plan
from cogvideox.cli.remote import generate_there
from cogvideox.cli.request import (
    GenerateSettings,
    check_asked,
    check_files,
    check_media,
    complete,
    describe_model,
    limits_of,
    read_prompts,
    resolve,
    settings_json,
    split_lora,
)
from cogvideox.cli.results import Saving, Target, check_target, default_name, resume_decoding, write_result
from cogvideox.cli.wording import Wording
from cogvideox.generation.memory_plan import GIB, require_fit
from cogvideox.machine import cache_folder
from cogvideox.media.outputs import is_folder_name

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cogvideox.generation.generator import VideoGenerator
    from cogvideox.generation.prompt_enhancer import PreparedPrompt
    from cogvideox.media.reading import VideoFacts
    from cogvideox.media.video import Video

Flag = Annotated[bool, Parameter(negative="")]


def generate(
    prompt: str | None = None,
    *,
    model: str | None = None,
    lora: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    image: Path | None = None,
    last_image: Path | None = None,
    video: Path | None = None,
    strength: float | None = None,
    fit: str | None = None,
    out: str | None = None,
    seed: Annotated[list[int] | None, Parameter(negative="", consume_multiple=True)] = None,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_mode: str | None = None,
    num_frames: int | None = None,
    window_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    fps: float | None = None,
    sampler: str | None = None,
    negative_prompt: str | None = None,
    prompts_file: Path | None = None,
    like: Path | None = None,
    dtype: str | None = None,
    device: str | None = None,
    staged: bool | None = None,
    tiling: bool | None = None,
    sequential_guidance: bool | None = None,
    quantization: str | None = None,
    memory_gib: float | None = None,
    num_videos: int = 1,
    codec: Literal["h264", "h265", "vp9"] | None = None,
    enhance: Flag = False,
    enhance_endpoint: str | None = None,
    enhance_model: str | None = None,
    save_latents: Flag = False,
    resume: Path | None = None,
    dry_run: Flag = False,
    server: str | None = None,
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
    last_image
        Picture that the video ends with; only for models that were trained for it.
    video
        Video to make over: its first frames, as many as --num-frames.
    strength
        With --video: share of the steps taken, 0 (the video as it is) to 1 (nothing of it) (default: 0.8).
    fit
        crop or pad: what happens to an image or video of another aspect ratio (default: crop).
    out
        An .mp4, .webm or .gif file, or a folder of PNG frames (a name without a suffix, or with / at its end); for
        several videos a folder of mp4 files (default: outputs/DATE_PROMPT_SEED.mp4).
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
    window_frames
        Makes a clip longer than the model was trained for out of overlapping windows of so many frames, best the
        model's own number (default: in one piece).
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
        An earlier video, or its settings file (.json); flags given here win.
    dtype
        auto, float32, bfloat16 or float16 (default: auto, the fastest that is native).
    device
        cpu, cuda, mps (default: cpu).
    staged
        One network in memory at a time (default: if needed).
    tiling
        Let the autoencoder work in the published tiles: less memory, slightly other pixels (default: if needed).
    sequential_guidance
        Two calls of the transformer a step instead of one of twice the size (default: if needed).
    quantization
        int8 or none: half the memory for weights, slightly other pixels, needs torchao (default: int8 if needed).
    memory_gib
        How much memory to use (default: what is free).
    num_videos
        Videos of each prompt and seed, with the seeds that follow (default: 1).
    codec
        h264 or h265 in mp4, vp9 in webm (default: h264 or vp9).
    enhance
        Have a language model write the prompt out as a dense English caption (default: off).
    enhance_endpoint
        OpenAI-compatible URL of that model (default: OPENAI_BASE_URL), its key in OPENAI_API_KEY; without --enhance,
        only prompts in languages that the model does not read are sent, to be translated.
    enhance_model
        Name of the language model there; a folder is a local one.
    save_latents
        Keep the latents beside the video.
    resume
        Latents (.latents.safetensors) of a run whose decoding failed: decode them.
    dry_run
        Say what it would take in memory and time, and stop (as cogvideox plan does).
    server
        URL of a server (cogvideox serve) that makes the video instead of this machine; its key is taken from
        COGVIDEOX_API_KEY or OPENAI_API_KEY.
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
        "last_image": None if last_image is None else str(last_image),
        "video": None if video is None else str(video),
        "strength": strength,
        "fit": fit,
        "negative_prompt": negative_prompt,
        "num_frames": num_frames,
        "window_frames": window_frames,
        "height": height,
        "width": width,
        "fps": fps,
        "num_steps": num_steps,
        "guidance_scale": guidance_scale,
        "guidance_mode": guidance_mode,
        "sampler": sampler,
        "dtype": dtype,
        "device": device,
        "tiling": tiling,
        "sequential_guidance": sequential_guidance,
        "quantization": quantization,
    }
    saving = Saving(codec=codec, is_forced=force, keeps_latents=save_latents)
    if server is not None:
        local = {"--prompts-file": prompts_file, "--like": like, "--resume": resume, "--codec": codec}
        local |= {"--staged": staged, "--memory-gib": memory_gib, "--enhance-endpoint": enhance_endpoint}
        local |= {"--enhance-model": enhance_model, "--dry-run": dry_run or None, "--enhance": enhance or None}
        local |= {"--save-latents": save_latents or None}
        if num_videos != 1 or len(seed or []) > 1:
            raise ValueError("--server: makes one video at a time")
        given["seed"] = seed[0] if seed else None
        return generate_there(server, given, local, out, is_forced=force, wants_json=json)
    if resume is not None:
        others = {"seed": seed, "prompts_file": prompts_file, "like": like, "dry_run": dry_run or None}
        return resume_decoding(resume, out, saving, given | others, wants_json=json)
    if prompts_file is not None and prompt is not None:
        raise ValueError("prompt and --prompts-file: give one of them, not both")
    prompts = [prompt] if prompts_file is None else read_prompts(prompts_file)
    if num_videos < 1:
        raise ValueError(f"--num-videos: expected at least 1, got {num_videos}")
    requests = [
        replace(first, seed=first.seed + offset)
        for text in prompts
        for number in seed or [None]
        for first in [resolve(given | {"prompt": text, "seed": number}, like)]
        for offset in range(num_videos)
    ]
    targets = _targets(requests, out, is_single=prompts_file is None and len(requests) == 1)
    wording = Wording(wants_enhancement=enhance, endpoint=enhance_endpoint, model=enhance_model)
    first = requests[0]  # the others have other prompts and seeds, nothing else
    limits = describe_model(first.model)[0] if dry_run else limits_of(read_configs(first.model))
    for request in requests:
        check_asked(request, limits)
    source = check_media(first, limits)
    completed = complete(first, limits, dtype=first.dtype, source=source)
    for target in targets:
        check_target(
            target,
            saving,
            height_px=completed.height,
            width_px=completed.width,
            fps=completed.fps,
            has_latents=True,
        )
    if dry_run:
        planned, chosen = plan_settings(first, source=source, staged=staged, memory_gib=memory_gib, is_timed=True)
        return report_plan(first, planned, chosen, wants_json=json)
    placed, is_staged = _place(first, source, staged, memory_gib)
    return _generate_all(requests, targets, saving, wording, placed, is_staged=is_staged, wants_json=json)


def _targets(requests: list[GenerateSettings], out: str | None, *, is_single: bool) -> list[Target]:
    if is_single:
        return [Target.named(out if out is not None else str(_default_path(requests[0], Path("outputs"), None)))]
    folder = Path(out if out is not None else "outputs")
    if folder.suffix and not is_folder_name(str(out)):
        raise ValueError(f"--out: expected a folder for several videos, got {str(folder)!r}")
    return [Target.named(str(_default_path(request, folder, index))) for index, request in enumerate(requests)]


def _generate_all(
    requests: list[GenerateSettings],
    targets: list[Target],
    saving: Saving,
    wording: Wording,
    placed: GenerateSettings,
    *,
    is_staged: bool,
    wants_json: bool,
) -> int:
    console = Console(stderr=True, highlight=False)
    configs = read_configs(placed.model)
    requests = [
        replace(
            request,
            tiling=placed.tiling,
            sequential_guidance=placed.sequential_guidance,
            quantization=placed.quantization,
        )
        for request in requests
    ]
    check_files(placed, configs)
    prepared = wording.prepare(requests, configs, console)
    generator = _load(placed, is_staged)
    results: list[dict[str, Any]] = []
    failures: list[int] = []
    for settings, words, target in zip(requests, prepared, targets, strict=True):
        try:
            results.append(_generate_one(generator, settings, words, target, saving, console))
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if len(requests) == 1:
                raise
            code = exit_code_of(error)
            report_error(error, code, console, wants_json=False)
            results.append({"prompt": settings.prompt, "error": str(error), "code": CODE_NAMES[code]})
            failures.append(code)
    if wants_json:
        data = results[0] if len(requests) == 1 else {"videos": results}
        print_json({"ok": not failures, "data": data})
    if not failures:
        return OK
    have_one_reason = len(failures) == len(requests) and len(set(failures)) == 1
    return failures[0] if have_one_reason else PARTLY_FAILED


def _place(
    settings: GenerateSettings, source: "VideoFacts | None", staged: bool | None, memory_gib: float | None
) -> tuple[GenerateSettings, bool]:
    """Return the settings with their placement, and whether to stage. Raises DoesNotFitError if nothing fits."""
    video, chosen = plan_settings(settings, source=source, staged=staged, memory_gib=memory_gib)
    require_fit(chosen, video)
    placement = chosen.placement
    changes = [
        name
        for name, asked, is_used in (
            ("--tiling", settings.tiling, placement.is_tiled),
            ("--quantization int8", settings.quantization, placement.quantization),
        )
        if asked is None and is_used
    ]
    if changes:
        available = f"{chosen.available_bytes / GIB:.1f} GiB"
        note = f"note: to fit into {available}: {' '.join(changes)}, which changes pixels slightly"
        Console(stderr=True, highlight=False).print(note, soft_wrap=True)
    placed = replace(
        settings,
        tiling=placement.is_tiled,
        sequential_guidance=placement.has_sequential_guidance,
        quantization=placement.quantization or "none",
    )
    return placed, placement.is_staged


def _load(settings: GenerateSettings, is_staged: bool) -> "VideoGenerator":
    from cogvideox.generation.generator import VideoGenerator

    generator = VideoGenerator.load(
        settings.model,
        device=settings.device,
        dtype=settings.dtype,
        is_staged=is_staged,
        is_tiled=bool(settings.tiling),
        has_sequential_guidance=bool(settings.sequential_guidance),
        quantization="int8" if settings.quantization == "int8" else None,
        text_cache_dir=cache_folder() / "prompts" if is_staged else None,
    )
    for path, weight in map(split_lora, settings.lora):
        generator.load_lora(path, weight=weight)
    return generator


def _generate_one(
    generator: "VideoGenerator",
    settings: GenerateSettings,
    words: "PreparedPrompt",
    target: Target,
    saving: Saving,
    console: Console,
) -> dict[str, Any]:
    from cogvideox.media.pictures import read_picture
    from cogvideox.media.video import read_video

    started_at_s = time.monotonic()
    source = None
    if settings.video is not None:
        source = read_video(settings.video, max_frames=settings.num_frames or generator.limits.native_num_frames)
    picture = None if settings.image is None else read_picture(settings.image)
    dtype = str(generator.dtype).removeprefix("torch.")
    resolved = complete(replace(settings, prompt=words.text), generator.limits, dtype=dtype, source=source)
    last_picture = None if settings.last_image is None else read_picture(settings.last_image)
    for name, shown in (
        (settings.image, picture),
        (settings.last_image, last_picture),
        (settings.video, None if source is None else source.frames[0]),
    ):
        if shown is not None and shown.shape[:2] != (resolved.height, resolved.width):
            sizes = f"{shown.shape[1]}x{shown.shape[0]} to {resolved.width}x{resolved.height} px ({resolved.fit})"
            console.print(f"note: {name} is fitted from {sizes}", markup=False, soft_wrap=True)
    with StepProgress("denoise") as progress:
        latents = _make_latents(generator, resolved, picture, source, progress)
    is_changed = words.text != words.original
    written = settings_json(
        resolved,
        original_prompt=words.original if is_changed else None,
        prompt_source=words.source if is_changed else None,
    )
    num_frames = write_result(generator, latents, target, written, saving, console)
    seconds = time.monotonic() - started_at_s
    print(f"{target.path}  (seed {resolved.seed}, {num_frames} frames, {seconds:.1f} s)", flush=True)
    return {"path": str(target.path), "seconds": round(seconds, 2), "num_frames_written": num_frames} | written


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
        "window_frames": settings.window_frames,
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
        last = None if settings.last_image is None else [settings.last_image]
        return generator.image_to_latents(prompts, [picture], seeds, last_images=last, fit=fit, **options)
    if source is not None:
        assert settings.strength is not None
        sources = [source.frames]
        return generator.video_to_latents(prompts, sources, seeds, strength=settings.strength, fit=fit, **options)
    return generator.text_to_latents(prompts, seeds, **options)


def _default_path(settings: GenerateSettings, folder: Path, index: int | None) -> Path:
    prefix = None if index is None else f"{index:03d}"
    return folder / default_name(settings.prompt, str(settings.seed), prefix=prefix)
