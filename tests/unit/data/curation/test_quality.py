import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cogvideox.data.curation.operators import DETAIL_LONG_SIDE_PX, NATIVE_SIDE_PX, ClipView
from cogvideox.data.curation.quality import COLUMNS, QualityOperator, blockiness, noise_deviation
from cogvideox.media.video import read_video
from real_videos import real_video

REAL = ("bigbuckbunny.mp4", "vtest.avi", "cup.mp4.gz", "bikes.mp4")


def clip_of(frames: np.ndarray) -> ClipView:
    """The views native, detail and thumbs of frames (N, H, W, 3) RGB, all of them sampled."""
    num_frames, height_px, width_px = frames.shape[:3]
    lumas = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    top, left = (max(0, side_px - NATIVE_SIDE_PX) // 2 // 8 * 8 for side_px in (height_px, width_px))
    scale = min(1, DETAIL_LONG_SIDE_PX / max(height_px, width_px))
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    return ClipView(
        clip_id="clip",
        height_px=height_px,
        width_px=width_px,
        fps=25,
        num_frames=num_frames,
        start_s=0,
        end_s=num_frames / 25,
        motion=np.zeros((0, 0, 0, 3), np.uint8),
        motion_times_s=np.zeros(0),
        detail=np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]),
        native=lumas[:, top : top + NATIVE_SIDE_PX, left : left + NATIVE_SIDE_PX],
        detail_times_s=np.arange(num_frames) / 25,
        changes=np.zeros(num_frames, np.float32),
        thumbs=np.stack([cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA) for frame in frames]),
    )


def measure(frames: np.ndarray) -> dict[str, float]:
    return QualityOperator().measure(clip_of(frames))


def blurred(frame: np.ndarray, deviation_px: float) -> np.ndarray:
    return cv2.GaussianBlur(frame, (0, 0), deviation_px) if deviation_px else frame


def as_jpeg(frame: np.ndarray, quality: float) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1], cv2.IMREAD_COLOR)


def noisy(frame: np.ndarray, deviation: float) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, deviation, frame.shape[:2])
    return np.clip(frame + grain[..., None], 0, 255).round().astype(np.uint8)


def with_gamma(frame: np.ndarray, gamma: float) -> np.ndarray:
    return (255 * (frame / 255) ** gamma).round().astype(np.uint8)


def enlarged(frame: np.ndarray, factor: float) -> np.ndarray:
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (int(width / factor), int(height / factor)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


DEGRADATIONS: list[tuple[Callable[[np.ndarray, float], np.ndarray], tuple[float, ...], dict[str, int]]] = [
    (blurred, (0, 1, 2, 4), {"sharpness": -1, "detail_sharpness": -1}),
    (enlarged, (1, 2, 4), {"sharpness": -1, "detail_sharpness": -1}),
    (as_jpeg, (90, 50, 20, 10), {"blockiness": 1}),
    (noisy, (0, 3, 8, 15), {"noise": 1}),
    (with_gamma, (0.4, 1, 2.2), {"luma": -1, "dark_share": 1}),
]


@pytest.mark.parametrize("name", REAL)
def test_each_degradation_moves_its_column_step_by_step(name: str, tmp_path: Path) -> None:
    frames = read_video(real_video(name, tmp_path), max_frames=4).frames[-2:]
    for degrade, strengths, directions in DEGRADATIONS:
        scores = [measure(np.stack([degrade(frame, strength) for frame in frames])) for strength in strengths]
        for column, direction in directions.items():
            values = np.array([score[column] for score in scores]) * direction
            assert (np.diff(values) >= 0).all() and values[-1] > values[0], (degrade.__name__, column, values)
    sharp, soft = (measure(np.stack([blurred(frame, sigma) for frame in frames])) for sigma in (0, 2))
    assert soft["sharpness"] < 0.04 < 0.1 < sharp["sharpness"]
    assert measure(np.stack([as_jpeg(frame, 10) for frame in frames]))["blockiness"] > 1


@pytest.mark.parametrize("deviation", [2.0, 5.0, 12.0])
def test_noise_is_measured_in_levels_and_texture_is_not_noise(deviation: float, tmp_path: Path) -> None:
    plain = np.full((256, 256), 120.0)
    grain = np.random.default_rng(0).normal(0, deviation, plain.shape)
    assert noise_deviation((plain + grain).round().astype(np.uint8)) == pytest.approx(deviation, rel=0.05)
    bunny = read_video(real_video("bigbuckbunny.mp4", tmp_path), max_frames=1).frames[0]
    luma = cv2.resize(cv2.cvtColor(bunny, cv2.COLOR_RGB2GRAY), (640, 360), interpolation=cv2.INTER_AREA)
    assert noise_deviation(luma) < 1
    coarse = np.clip(luma + np.random.default_rng(1).normal(0, deviation, luma.shape), 0, 255).round()
    assert noise_deviation(coarse.astype(np.uint8)) == pytest.approx(deviation, rel=0.2)


def test_noise_is_not_taken_for_sharpness(tmp_path: Path) -> None:
    frames = read_video(real_video("bikes.mp4", tmp_path), max_frames=2).frames
    soft = np.stack([blurred(frame, 2) for frame in frames])
    assert measure(np.stack([noisy(frame, 5) for frame in soft]))["sharpness"] < 0.1


def test_blocks_are_found_on_the_grid_only() -> None:
    ramp = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (64, 1))
    assert blockiness(ramp) == 0
    blocks = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8), 8, 0), 8, 1)
    assert blockiness(blocks) == 10
    assert blockiness(np.roll(blocks, 3, (0, 1))) == 0
    assert math.isnan(blockiness(blocks[:8, :8]))


def test_exposure_and_flicker_are_what_was_made() -> None:
    frames = np.full((40, 90, 160, 3), 100, np.uint8)
    frames[:, :9], frames[:, 9:27] = 0, 255
    scores = measure(frames)
    assert scores["dark_share"] == pytest.approx(0.1, abs=0.01) and scores["bright_share"] == pytest.approx(
        0.2, abs=0.01
    )
    assert scores["luma"] == pytest.approx(0.7 * 100 + 0.2 * 255, abs=1) and scores["flicker"] == 0
    lit = np.full((40, 90, 160, 3), 100, np.uint8)
    lit[::2] += 6
    lit[20:] += 90  # a cut
    assert measure(lit)["flicker"] == pytest.approx(6, rel=0.05)
    rising = np.arange(40, 120, 2, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 90, 160, 3), np.uint8)
    assert measure(rising)["flicker"] == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 640), (640, 3)])
def test_any_clip_gives_values_in_range(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for num_frames in (1, 5):
        for frames in (np.zeros((num_frames, *size, 3)), rng.integers(0, 256, (num_frames, *size, 3))):
            scores = measure(frames.astype(np.uint8))
            for column in COLUMNS:
                assert math.isnan(scores[column.name]) or column.low <= scores[column.name] <= column.high
