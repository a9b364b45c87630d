"""Videos with transitions at known frames, joined from pieces of real videos or of the stage world."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cogvideox.data.stage_world import draw_simple_art, render_scene, sample_scene
from cogvideox.media.video import read_video
from real_videos import real_video

Kind = Literal["cut", "dissolve", "fade", "flash"]
Frames = NDArray[np.uint8]

HEIGHT_PX, WIDTH_PX = 90, 160
REAL_SHOTS = {
    "vtest.avi": ((0, 70), (70, 140), (140, 210)),
    "cup.mp4.gz": ((0, 80), (120, 200)),
    "box.mp4.gz": ((0, 80), (80, 160), (160, 240)),
    "world.mp4": ((0, 80), (150, 230)),
    "bigbuckbunny.mp4": ((0, 60), (65, 130)),
    "carphone_pristine.mp4": ((0, 80),),
    "Megamind.avi": ((20, 90),),
}
"""First and end frame of pieces that have no transition inside."""


@dataclass(frozen=True, kw_only=True)
class Transition:
    kind: Kind
    first_frame: int
    end_frame: int
    """Frames from the first to before the end show both shots, are darkened or lit up; of a cut the two are the same,
    the first frame of the new shot."""


def join_shots(shots: Sequence[Frames], transitions: Sequence[tuple[Kind, int]]) -> tuple[Frames, list[Transition]]:
    """Join shots (T, H, W, 3) by transitions, each a kind and its number of frames.

    A flash lights up the shot that it is at the end of, and the same shot goes on: the next shot is taken to be more of
    it. A fade has half of its frames before black and half after it.
    """
    video, found = shots[0], []
    for shot, (kind, num_frames) in zip(shots[1:], transitions, strict=True):
        first = len(video) - (0 if kind == "cut" else num_frames // 2 if kind in ("fade", "flash") else num_frames)
        end = first + (0 if kind == "cut" else num_frames)
        if kind == "dissolve":
            share = ((np.arange(num_frames) + 1) / (num_frames + 1))[:, None, None, None]
            mixed = video[first:] * (1 - share) + shot[:num_frames] * share
            video = np.concatenate([video[:first], _round(mixed), shot[num_frames:]])
        else:
            video = np.concatenate([video, shot])
        if kind in ("fade", "flash"):
            middle = (num_frames - 1) / 2
            share = 1 - np.abs(np.arange(num_frames) - middle)[:, None, None, None] / (middle + 1)
            colour = 255 if kind == "flash" else 0
            video[first:end] = _round(video[first:end] * (1 - share) + colour * share)
        found.append(Transition(kind=kind, first_frame=first, end_frame=end))
    return video, found


def real_shots(folder: Path) -> list[Frames]:
    """Return pieces of real videos at 90x160 px; skips the test if they are not installed."""
    shots = []
    for name, pieces in REAL_SHOTS.items():
        frames = read_video(real_video(name, folder), max_frames=max(end for _, end in pieces)).frames
        for first, end in pieces:
            shots.append(_resized(frames[first:end], HEIGHT_PX, WIDTH_PX))
    return shots


def stage_shots(num_shots: int, num_frames: int = 70) -> list[Frames]:
    """Return renders of the stage world at 90x160 px and 25 fps."""
    art, rng = draw_simple_art(), np.random.default_rng(7)
    size = {"height_px": HEIGHT_PX, "width_px": WIDTH_PX, "num_frames": num_frames, "fps": 25}
    return [render_scene(sample_scene(rng, actors=art.actors), art, **size) for _ in range(num_shots)]


def to_thumbs(frames: Frames) -> Frames:
    """Return frames of any size as (T, 27, 48, 3)."""
    return _resized(frames, 27, 48)


def _resized(frames: Frames, height_px: int, width_px: int) -> Frames:
    return np.stack([cv2.resize(frame, (width_px, height_px), interpolation=cv2.INTER_AREA) for frame in frames])


def _round(values: NDArray[np.floating]) -> Frames:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
