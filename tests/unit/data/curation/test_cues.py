import math
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from cogvideox.data.curation.cues import COLUMNS, CuesOperator
from cogvideox.data.curation.operators import ClipView
from cogvideox.media.video import read_video
from real_videos import real_video

SIZE = (640, 360)
STEP = 3
"""Frames of 25 fps from one of the motion view to the next, about."""
WORDS = ("open", "file", "edit", "view", "select", "format", "tools", "window", "help", "search", "result", "motion")
REAL = ("vtest.avi", "carphone_pristine.mp4", "bikes.mp4", "bigbuckbunny.mp4", "Megamind.avi")


def clip_of(frames: np.ndarray, step: int = STEP) -> ClipView:
    """The views motion, detail and changes of frames (N, H, W, 3) RGB."""
    num_frames, height_px, width_px = frames.shape[:3]
    scale = math.sqrt(320 * 180 / (height_px * width_px))
    size = tuple(max(1, round(side_px * scale / 8)) * 8 for side_px in (width_px, height_px))
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.int16) for frame in frames]
    return ClipView(
        clip_id="clip",
        height_px=height_px,
        width_px=width_px,
        fps=25,
        num_frames=num_frames,
        start_s=0,
        end_s=num_frames / 25,
        motion=np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames[::step]]),
        motion_times_s=np.arange(0, num_frames, step) / 25,
        detail=frames[::12],
        native=np.zeros((0, 0, 0), np.uint8),
        detail_times_s=np.arange(0, num_frames, 12) / 25,
        changes=np.array([np.nan, *(np.abs(b - a).mean() for a, b in pairwise(lumas))], dtype=np.float32),
        thumbs=np.zeros((0, 0, 0, 3), np.uint8),
    )


def measure(frames: np.ndarray, step: int = STEP) -> dict[str, float]:
    scores = CuesOperator().measure(clip_of(frames, step))
    assert set(scores) == {column.name for column in COLUMNS}
    for column in COLUMNS:
        assert math.isnan(scores[column.name]) or column.low <= scores[column.name] <= column.high, column.name
    return scores


def real_frames(name: str, folder: Path, max_frames: int) -> np.ndarray:
    frames = read_video(real_video(name, folder), max_frames=max_frames).frames
    scale = min(1, SIZE[0] / frames.shape[2])
    size = (round(frames.shape[2] * scale), round(frames.shape[1] * scale))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def slides(folder: Path) -> list[np.ndarray]:
    names = ("vtest.avi", "bigbuckbunny.mp4", "bikes.mp4")
    return [cv2.resize(real_frames(name, folder, 1)[0], SIZE) for name in names]


def screen(num_frames: int, scroll_px: int, has_pointer: bool) -> np.ndarray:
    """A window with a side bar, a page of text and a pointer."""
    rng = np.random.default_rng(0)
    page = Image.new("RGB", (502, 2160), "white")
    draw = ImageDraw.Draw(page)
    for line in range(120):
        draw.text((10, 18 * line + 3), " ".join(rng.choice(WORDS, 9)), fill=(20, 20, 30))
    window = Image.new("RGB", SIZE, (240, 240, 242))
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, 640, 34), fill=(50, 80, 140))
    for row in range(14):
        draw.rectangle((6, 44 + 22 * row, 130, 60 + 22 * row), outline=(150, 150, 160))
        draw.text((10, 46 + 22 * row), WORDS[row % len(WORDS)], fill=(0, 0, 0))
    frames = np.repeat(np.asarray(window)[None], num_frames, axis=0)
    for index, frame in enumerate(frames):
        frame[36:, 138:] = np.asarray(page)[scroll_px * index :][:324]
        if has_pointer:
            left, top = int(300 + 150 * math.sin(index / 9)), int(150 + 80 * math.cos(index / 13))
            frame[top : top + 14, left : left + 9] = 0
    return frames


@pytest.mark.parametrize("name", REAL)
def test_filmed_clips_have_hardly_any_cue(name: str, tmp_path: Path) -> None:
    frames = real_frames(name, tmp_path, 60)
    scores = measure(frames, step=1 if name == "vtest.avi" else STEP)
    for column in ("identical_share", "scroll_share", "dissolve_share", "local_change_share", "letterbox_share"):
        assert scores[column] < 0.06, (column, scores[column])
    assert scores["frozen_share"] < 0.1 and scores["burst_share"] < 0.4
    assert scores["axis_edge_share"] < 0.3 and scores["num_colours"] > 25 and scores["overlay_share"] < 0.004


def test_a_slide_show_with_cuts(tmp_path: Path) -> None:
    scores = measure(np.concatenate([np.repeat(slide[None], 25, axis=0) for slide in slides(tmp_path)]))
    assert scores["identical_share"] == pytest.approx(72 / 74) and scores["burst_share"] == 1
    assert scores["dissolve_share"] == 0 and scores["scroll_share"] == 0


def test_a_slide_show_with_cross_fades_and_a_slow_zoom_without(tmp_path: Path) -> None:
    pictures = slides(tmp_path)
    frames = []
    for first, second in pairwise(pictures):
        frames += [first] * 20
        frames += [cv2.addWeighted(first, 1 - weight, second, weight, 0) for weight in np.linspace(0, 1, 25)]
    scores = measure(np.stack(frames))
    assert 0.4 < scores["dissolve_share"] < 0.65 and 0.3 < scores["frozen_share"] < 0.55  # 25 of 45, 20 of 45
    zooms = [
        np.array([[1 + 0.1 * part, 0, -40 * part], [0, 1 + 0.1 * part, -20 * part]]) for part in np.linspace(0, 1, 60)
    ]
    zoomed = measure(np.stack([cv2.warpAffine(pictures[1], zoom, SIZE) for zoom in zooms]))
    assert zoomed["dissolve_share"] < 0.1 and zoomed["frozen_share"] == 0 and zoomed["scroll_share"] < 0.1


def test_a_screen_that_scrolls_and_one_with_a_pointer() -> None:
    scrolling, pointing = measure(screen(60, 4, True)), measure(screen(60, 0, True))
    assert scrolling["scroll_share"] > 0.9 and scrolling["local_change_share"] == 0
    assert pointing["scroll_share"] == 0 and pointing["local_change_share"] > 0.9
    for scores in (scrolling, pointing):
        assert scores["flat_share"] > 0.4 and scores["num_colours"] < 15 and scores["axis_edge_share"] > 0.4
        assert scores["dissolve_share"] == 0
    still = measure(screen(30, 0, False))
    assert still["identical_share"] == 1 and math.isnan(still["burst_share"]) and still["local_change_share"] == 0


def test_overlays_and_bars_are_measured(tmp_path: Path) -> None:
    frames = np.stack([cv2.resize(frame, SIZE) for frame in real_frames("bikes.mp4", tmp_path, 60)])
    plain = measure(frames)
    marked = frames.copy()
    for frame in marked:
        cv2.putText(frame, "LOGO TV", (480, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)
        cv2.rectangle(frame, (20, 300), (300, 340), (255, 255, 255), 2)
    assert measure(marked)["overlay_share"] > 5 * plain["overlay_share"] + 0.001
    boxed = np.zeros((60, 480, 640, 3), np.uint8)
    boxed[:, 60:420] = frames
    assert measure(boxed)["letterbox_share"] == pytest.approx(0.25, abs=0.01)
    boxed[:] = 16
    boxed[:, :, 160:480] = frames[:, :, 160:480].repeat(2, axis=1)[:, :480]
    assert measure(boxed)["letterbox_share"] == pytest.approx(0.5, abs=0.01)
    # A bright thing on black is no picture between bars.
    globe = np.zeros((10, 360, 640, 3), np.uint8)
    for frame in globe:
        cv2.circle(frame, (320, 180), 120, (90, 120, 200), -1)
    assert measure(globe)["letterbox_share"] == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 640), (640, 3)])
def test_any_clip_gives_values_in_range(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for num_frames in (1, 2, 12):
        for frames in (np.zeros((num_frames, *size, 3)), rng.integers(0, 256, (num_frames, *size, 3))):
            scores = measure(frames.astype(np.uint8))
            assert num_frames > 1 or math.isnan(scores["scroll_share"])
