"""``cogvideox reconstruct``: a video through the autoencoder and back, beside the original, with figures."""

import dataclasses
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

import cogvideox
from cogvideox.checkpoints.directory import find_checkpoint
from cogvideox.cli.output import OK, StepProgress, print_json
from cogvideox.cli.results import Saving, Target, check_target, default_name, write_frames
from cogvideox.component_files import component_folder, parse_dtype, read_config
from cogvideox.configs import AutoencoderConfig
from cogvideox.generation.model_limits import check_tiling

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cogvideox.evaluation.video_metrics import VideoMetrics
    from cogvideox.media.reading import VideoFacts
    from cogvideox.models.autoencoder import VideoAutoencoder

NUM_FRAMES_PER_PIECE = 8
"""Read at a time: as many as the autoencoder takes."""


@dataclass(frozen=True, kw_only=True)
class ReconstructSettings:
    """All that decides the frames that are written; kept beside them and in them."""

    video: str
    model: str
    num_frames: int | None
    height: int
    """Of the original and of the reconstruction; side by side, the video is twice as wide."""
    width: int
    fps: float
    device: str
    dtype: str
    tiled: bool
    side_by_side: bool
    lpips_backbone: str | None
    lpips_heads: str | None


def reconstruct(
    video: Path,
    *,
    model: str = "tiny",
    out: str | None = None,
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    fps: float | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    tiled: Annotated[bool, Parameter(name=("--tiled", "--tiling"), negative="")] = False,
    side_by_side: bool = True,
    lpips_backbone: Path | None = None,
    lpips_heads: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Encode and decode a video of any length, and say how much of it is left: PSNR, SSIM, flicker, LPIPS.

    Memory does not grow with the length. Figures are those of the frames before they are compressed into the file.

    Parameters
    ----------
    video
        Video file, animated or single picture, or folder of PNG or JPEG frames.
    model
        Embedded model, hub id, checkpoint directory in the diffusers layout, or its vae folder.
    out
        An .mp4, .webm or .gif file, or a folder of PNG frames (a name without a suffix, or with / at its end)
        (default: outputs/DATE_VIDEO_reconstructed.mp4; .webm if the size is odd, which mp4 cannot hold).
    num_frames
        The first so many (default: all).
    height
        In pixels: frames are resized first, and cropped if the aspect ratio is another (default: their own).
    width
        In pixels; given without the other, that one follows (default: their own).
    fps
        Playback rate only (default: the video's own).
    device
        cpu, cuda, mps.
    dtype
        auto, float32, bfloat16 or float16; auto is the fastest that is native.
    tiled
        Let the autoencoder work in the published tiles: less memory, slightly other pixels.
    side_by_side
        Write the original to the left of the reconstruction.
    lpips_backbone
        For LPIPS, with --lpips-heads: torchvision's VGG16 weights, .pth or .safetensors.
    lpips_heads
        For LPIPS: weights/v0.1/vgg.pth of the package lpips, .pth or .safetensors.
    force
        Replace an existing file.
    json
        End standard output with one JSON object.
    """
    from cogvideox.media.reading import probe_video

    _check_numbers(num_frames, height, width, fps)
    _check_lpips_files(lpips_backbone, lpips_heads)
    first = probe_video(video, max_frames=1)
    height_px, width_px = _size(first, height, width)
    settings = ReconstructSettings(
        video=str(video),
        model=model,
        num_frames=num_frames,
        height=height_px,
        width=width_px,
        fps=first.fps if fps is None else fps,
        device=device,
        dtype=dtype,
        tiled=tiled,
        side_by_side=side_by_side,
        lpips_backbone=None if lpips_backbone is None else str(lpips_backbone),
        lpips_heads=None if lpips_heads is None else str(lpips_heads),
    )
    saving = Saving(is_forced=force)
    target = _choose_target(settings, out, saving)
    autoencoder, metrics = _load(settings)
    facts = probe_video(video, max_frames=num_frames)  # by decoding all: headers do not always tell the truth
    if num_frames is not None and facts.num_frames < num_frames:
        raise ValueError(f"--num-frames: expected at most {facts.num_frames}, the frames of {video}, got {num_frames}")
    settings = replace(
        settings,
        num_frames=facts.num_frames,
        fps=facts.fps if fps is None else fps,
        dtype=str(autoencoder.dtype).removeprefix("torch."),
    )
    if (first.height_px, first.width_px) != (height_px, width_px):
        sizes = f"{first.width_px}x{first.height_px} to {width_px}x{height_px} px (crop)"
        Console(stderr=True, highlight=False).print(f"note: {video} is fitted from {sizes}", markup=False)
    return _reconstruct(autoencoder, metrics, settings, target, saving, wants_json=json)


def _check_numbers(num_frames: int | None, height: int | None, width: int | None, fps: float | None) -> None:
    from cogvideox.media.outputs import check_fps
    from cogvideox.media.pictures import MAX_PIXELS

    for flag, value in (("--num-frames", num_frames), ("--height", height), ("--width", width)):
        if value is not None and value < 1:
            raise ValueError(f"{flag}: expected at least 1, got {value}")
    if (height or 1) * (width or 1) > MAX_PIXELS:
        raise ValueError(f"--height, --width: expected at most {MAX_PIXELS:,} pixels a frame, got {height}x{width}")
    if fps is not None:
        check_fps(fps)


def _check_lpips_files(backbone: Path | None, heads: Path | None) -> None:
    if (backbone is None) != (heads is None):
        missing = "--lpips-heads" if heads is None else "--lpips-backbone"
        raise ValueError(f"LPIPS needs two files of weights: expected {missing} too; --help says what they are")
    for flag, file in (("--lpips-backbone", backbone), ("--lpips-heads", heads)):
        if file is not None and not file.is_file():
            raise ValueError(f"{flag}: no such file: {file}")


def _size(first: "VideoFacts", height: int | None, width: int | None) -> tuple[int, int]:
    """Return the height and width asked for; one of them alone decides the other, an even number."""
    if height is None and width is None:
        return first.height_px, first.width_px
    if height is None:
        height = max(2, 2 * round((width or 0) * first.height_px / first.width_px / 2))
    if width is None:
        width = max(2, 2 * round(height * first.width_px / first.height_px / 2))
    return height, width


def _choose_target(settings: ReconstructSettings, out: str | None, saving: Saving) -> Target:
    """Return where to write. Raises ValueError if that is not possible, or is the original."""
    source = Path(settings.video).resolve()
    width_px = settings.width * (2 if settings.side_by_side else 1)
    if out is None:
        suffix = ".webm" if settings.height % 2 or width_px % 2 else ".mp4"
        out = str(Path("outputs") / default_name(source.stem, "reconstructed", suffix=suffix))
    target = Target.named(out)
    if target.path.resolve() == source:
        raise ValueError(f"--out: {target.path} is the video to be reconstructed; give another name")
    check_target(target, saving, height_px=settings.height, width_px=width_px, fps=settings.fps)
    return target


def _load(settings: ReconstructSettings) -> "tuple[VideoAutoencoder, VideoMetrics]":
    """Load the networks, the small files first.

    Raises:
        CheckpointError: weights are missing or damaged.
        ValueError: the device or dtype is not available, or tiling or LPIPS is not possible.
    """
    directory = find_checkpoint(settings.model)
    config = read_config(component_folder(directory, "vae") / "config.json", AutoencoderConfig)
    if settings.tiled:
        check_tiling(config)
    from cogvideox.evaluation.video_metrics import VideoMetrics, check_lpips_size
    from cogvideox.machine import fastest_dtype, parse_device
    from cogvideox.models.autoencoder import VideoAutoencoder
    from cogvideox.models.lpips import Lpips

    device = parse_device(settings.device)
    dtype = fastest_dtype(device) if settings.dtype == "auto" else parse_dtype(settings.dtype)
    lpips = None
    if settings.lpips_backbone is not None and settings.lpips_heads is not None:
        check_lpips_size(settings.height, settings.width)
        lpips = Lpips.load(settings.lpips_backbone, settings.lpips_heads, device=device)
    return VideoAutoencoder.load(directory, device=device, dtype=dtype), VideoMetrics(lpips)


def _reconstruct(
    autoencoder: "VideoAutoencoder",
    metrics: "VideoMetrics",
    settings: ReconstructSettings,
    target: Target,
    saving: Saving,
    *,
    wants_json: bool,
) -> int:
    from cogvideox.evaluation.report import report_round_trip

    started_at_s = time.monotonic()
    written = dataclasses.asdict(settings) | {"cogvideox_version": cogvideox.__version__}
    num_frames = write_frames(_frames(autoencoder, metrics, settings), target, written, saving)
    report = report_round_trip(
        metrics.scores(),
        title=f"{Path(settings.video).name} by {settings.model}",
        height_px=settings.height,
        width_px=settings.width,
        seconds=time.monotonic() - started_at_s,
    )
    Console(highlight=False).print(report.to_rich())
    print(target.path, flush=True)
    if wants_json:
        data: dict[str, Any] = {"path": str(target.path), "num_frames_written": num_frames} | written
        print_json({"ok": True, "data": data | dict(report.values)})
    return OK


def _frames(
    autoencoder: "VideoAutoencoder", metrics: "VideoMetrics", settings: ReconstructSettings
) -> "Iterator[np.ndarray]":
    """Yield the frames to write, (T, H, W, 3) uint8, and let the metrics have a look at them."""
    import numpy as np

    from cogvideox.evaluation.reconstruction import reconstruct_stream
    from cogvideox.media.video import to_frames
    from cogvideox.models.tiling import Tiling

    assert settings.num_frames is not None
    tiling = Tiling.published(autoencoder.config) if settings.tiled else None
    num_done = 0
    with StepProgress("reconstruct frames") as progress:
        progress(0, settings.num_frames)
        for original, made in reconstruct_stream(autoencoder, _pieces(settings), settings.num_frames, tiling=tiling):
            metrics.update(original, made)
            shown = (original, made) if settings.side_by_side else (made,)
            yield np.concatenate([to_frames(video[0]) for video in shown], axis=2)
            num_done += original.shape[2]
            progress(num_done, settings.num_frames)


def _pieces(settings: ReconstructSettings) -> "Iterator[Tensor]":
    """Yield the original in pieces (1, 3, n, H, W) in [-1, 1]."""
    import numpy as np

    from cogvideox.media.pictures import fit_pictures
    from cogvideox.media.reading import stream_frames
    from cogvideox.media.video import to_tensor

    frames = stream_frames(settings.video, max_frames=settings.num_frames)
    while piece := list(itertools.islice(frames, NUM_FRAMES_PER_PIECE)):
        fitted = fit_pictures(np.stack(piece), height_px=settings.height, width_px=settings.width)
        yield to_tensor(fitted)[None]
