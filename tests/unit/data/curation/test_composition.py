import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

import negative_material
from cogvideox.data.curation.composition import COLUMNS, CompositionOperator
from cogvideox.data.curation.operators import ClipView
from cogvideox.data.negatives import editing, low_quality, static
from cogvideox.media.video import read_video
from real_videos import real_video

NUM_FRAMES, HEIGHT, WIDTH = 72, 270, 480
FPS = 24.0
Change = Callable[[np.ndarray], np.ndarray]


def clip_of(frames: np.ndarray, fps: float = FPS) -> ClipView:
    """All views of frames (N, H, W, 3) RGB but for the changes."""
    num_frames, height, width = frames.shape[:3]
    scale = math.sqrt(320 * 180 / (height * width))
    size = tuple(max(1, round(side * scale / 8)) * 8 for side in (width, height))
    motion = np.arange(0, num_frames, max(1, round(fps / 8)))
    detail = np.arange(0, num_frames, max(1, round(fps / 2)))
    top, left = (max(0, side - 384) // 16 * 8 for side in (height, width))
    lumas = [cv2.cvtColor(frames[i], cv2.COLOR_RGB2GRAY) for i in detail]
    return ClipView(
        clip_id="clip",
        height_px=height,
        width_px=width,
        fps=fps,
        num_frames=num_frames,
        start_s=0,
        end_s=num_frames / fps,
        motion=np.stack([cv2.resize(frames[i], size, interpolation=cv2.INTER_AREA) for i in motion]),
        motion_times_s=motion / fps,
        detail=frames[detail],
        native=np.stack([luma[top : top + 384, left : left + 384] for luma in lumas]),
        detail_times_s=detail / fps,
        changes=np.zeros(0, np.float32),
        thumbs=np.stack([cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA) for frame in frames]),
    )


def measure(frames: np.ndarray, fps: float = FPS) -> dict[str, float]:
    values = CompositionOperator().measure(clip_of(frames, fps))
    assert set(values) == {column.name for column in COLUMNS}
    for column in COLUMNS:
        value = values[column.name]
        assert type(value) is float and (math.isnan(value) or column.low <= value <= column.high), (column.name, value)
    return values


@cache
def scene(seed: int = 1) -> np.ndarray:
    """A pan over a picture, at a speed that varies a little, with a disk of another that crosses it."""
    ground = negative_material.textured(seed, HEIGHT + 40, WIDTH + 200)
    thing = negative_material.textured(seed + 50, HEIGHT, WIDTH)
    frames = []
    for index in range(NUM_FRAMES):
        x, y = round(2 * index + 6 * math.sin(index / 9)), round(20 + 15 * math.sin(index / 17))
        frame = ground[y : y + HEIGHT, x : x + WIDTH].copy()
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.circle(mask, (60 + 4 * index, HEIGHT // 2 + round(40 * math.sin(index / 13))), 50, 255, -1)
        frame[mask > 0] = thing[mask > 0]
        frames.append(cv2.GaussianBlur(frame, (0, 0), 0.7))
    made = np.stack(frames)
    made.flags.writeable = False
    return made


@cache
def good() -> dict[str, float]:
    return measure(scene())


def each(change: Change) -> Change:
    return lambda frames: np.stack([change(frame) for frame in frames])


def placed(order: np.ndarray) -> Change:
    return lambda frames: frames[order]


def gained(gains: np.ndarray) -> Change:
    """(N,) or (N, 3) factors."""
    factors = gains.reshape(NUM_FRAMES, 1, 1, -1)
    return lambda frames: np.clip(frames * factors, 0, 255).astype(np.uint8)


def split(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[:, :, :240], scene(2)[:, :, 240:]], axis=2)


def blurred_sides(frame: np.ndarray) -> np.ndarray:
    made = cv2.GaussianBlur(frame, (0, 0), 8)
    made[:, 120:360] = frame[:, 120:360]
    return made


def graphics(frame: np.ndarray) -> np.ndarray:
    return cv2.rectangle(frame.copy(), (20, 180), (300, 250), (230, 20, 40), -1)


def combed(frames: np.ndarray) -> np.ndarray:
    made = frames.copy()
    made[:-3, 1::2] = np.roll(frames[3:, 1::2], 4, axis=2)
    return made


def with_chroma(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def changed(frame: np.ndarray) -> np.ndarray:
        tones = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)
        tones[..., 1:] = change(tones[..., 1:].astype(np.float32)).clip(0, 255)
        return cv2.cvtColor(tones, cv2.COLOR_YCrCb2RGB)

    return each(changed)


def chroma_grain(chroma: np.ndarray) -> np.ndarray:
    return chroma + np.random.default_rng(0).normal(0, 12, chroma.shape)


def doubled(frame: np.ndarray) -> np.ndarray:
    return cv2.addWeighted(frame, 0.65, np.roll(frame, 13, axis=1), 0.35, 0)


def logo(frame: np.ndarray) -> np.ndarray:
    made = frame.copy()
    for row in range(3):
        cv2.putText(made, "MOTION TV", (330, 30 + 22 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
    return made


def vignetted(frame: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return (frame * np.exp(-(rows**2) - columns**2)[..., None]).astype(np.uint8)


def one_place(frames: np.ndarray) -> np.ndarray:
    made = np.repeat(frames[:1], NUM_FRAMES, axis=0)
    made[:, 100:160, 100:200] = frames[:, 100:160, 100:200]
    return made


def paler(frame: np.ndarray) -> np.ndarray:
    return (0.3 * frame + 90).astype(np.uint8)


TIMES = np.arange(NUM_FRAMES)
HUES = np.stack([1 + 0.4 * np.sin(TIMES / 6 + turn) for turn in (0, 2, 4)], axis=1)
SHUFFLED = np.concatenate([np.random.default_rng(0).permutation(12) + 12 * part for part in range(6)])
FLASHES = np.where(TIMES % 9 == 0, 1.8, 1.0)
BANDS = (np.round(np.arange(256) / 51) * 51).astype(np.uint8)

MORE: tuple[tuple[str, Change, float, float], ...] = (
    ("steady_line", split, 0.35, 0.9),
    ("line_break", split, 0.1, 0.5),
    ("mirror", each(lambda frame: np.concatenate([frame[:, :240], frame[:, 239::-1]], axis=1)), 0.35, 0.9),
    ("mirror", each(lambda frame: np.concatenate([frame[:135], frame[134::-1]])), 0.35, 0.9),
    ("side_blur", each(blurred_sides), 0.5, 0.9),
    ("colour_drift", gained(HUES), 6, 20),
    ("colour_cast", gained(np.tile([1.2, 0.7, 0.5], (NUM_FRAMES, 1))), 10, 30),
    ("saturation", gained(np.tile([1.4, 0.6, 0.3], (NUM_FRAMES, 1))), 72, 100),
    ("flat_colour_share", each(graphics), 0.0, 0.1),
    ("channel_shift", each(lambda frame: np.stack([np.roll(frame[..., 1], 4 * c, 1) for c in (1, 0, -1)], 2)), 0, 1),
    ("rhythm", placed(TIMES // 8 * 8), 0.4, 0.8),
    ("rhythm", gained(FLASHES), 0.4, 0.8),
    ("held_share", placed(TIMES // 8 * 8), 0.1, 0.8),
    ("held_run", placed(TIMES // 8 * 8), 2, 6),
    ("returns", placed(TIMES % 15), 0.05, 0.9),
    ("returns", placed(np.abs((TIMES + 18) % 36 - 18)), 0.05, 0.7),
    ("disorder", placed(SHUFFLED), 0.02, 0.3),
    ("disorder", placed(SHUFFLED // 3 * 3), 0.02, 0.1),
    ("jump_size", lambda frames: np.concatenate([frames[:36], scene(2)[36:]]), 1.5, 2.5),
    ("still_pixels", one_place, 0.4, 0.9),
    ("combing", combed, 0.8, 1.1),
    ("chroma_noise", with_chroma(chroma_grain), 2.5, 4),
    ("ghosting", each(doubled), 0.15, 0.3),
    ("level_gaps", each(lambda frame: BANDS[frame.mean(-1, keepdims=True).astype(int)].repeat(3, 2)), 0.1, 0.8),
    ("black_level", each(paler), 70, 90),
    ("pulse", gained(FLASHES), 3, 15),
    ("corner_steady", each(logo), 0.01, 0.03),
    ("upright_share", lambda frames: np.ascontiguousarray(frames.transpose(0, 2, 1, 3)), 0.4, 0.6),
)
"""Column, what gives it more, what good video has at most, and the changed at least."""
LESS: tuple[tuple[str, Change, float, float], ...] = (
    ("white_level", each(paler), 180, 165),
    ("saturation", each(lambda frame: frame.mean(-1, keepdims=True).astype(np.uint8).repeat(3, 2)), 20, 1),
    ("moving_box", one_place, 0.5, 0.1),
    ("chroma_sharpness", with_chroma(lambda chroma: cv2.GaussianBlur(chroma, (0, 0), 5)), 0.5, 0.2),
    ("vignette", each(vignetted), 0.8, 0.5),
)
"""The same, but less; what good video has at least, and the changed at most."""


@pytest.mark.parametrize(("name", "change", "low", "high"), MORE)
def test_what_has_it_has_more(name: str, change: Change, low: float, high: float) -> None:
    assert good()[name] <= low and measure(change(scene()))[name] >= high


@pytest.mark.parametrize(("name", "change", "high", "low"), LESS)
def test_what_lacks_it_has_less(name: str, change: Change, high: float, low: float) -> None:
    assert good()[name] >= high and measure(change(scene()))[name] <= low


def test_every_column_is_tested() -> None:
    assert {name for name, *_ in (*MORE, *LESS)} == {column.name for column in COLUMNS}


def test_a_shift_of_colours_has_its_size_and_noise_has_none() -> None:
    shifted = np.stack([scene()[..., 1], scene()[..., 1], np.roll(scene()[..., 1], 11, axis=2)], axis=-1)
    assert measure(shifted)["channel_shift"] == pytest.approx(100 * 11 / math.hypot(HEIGHT, WIDTH), abs=0.15)
    noise = np.random.default_rng(0).integers(0, 256, (6, HEIGHT, WIDTH, 3)).astype(np.uint8)
    assert measure(noise)["channel_shift"] == 0


def test_black_bars_are_no_lines_and_no_blur() -> None:
    boxed = np.zeros((NUM_FRAMES, 360, WIDTH, 3), np.uint8)
    boxed[:, 45:315] = scene()
    values = measure(boxed)
    for name, margin in {"steady_line": 0.15, "line_break": 0.1, "side_blur": 0.1, "mirror": 0.1}.items():
        assert abs(values[name] - good()[name]) < margin, name
    assert abs(values["black_level"] - good()["black_level"]) < 5


def test_still_black_and_single_frames() -> None:
    still = measure(np.repeat(scene()[:1], 30, axis=0))
    for name in ("line_break", "rhythm", "disorder", "pulse", "jump_size", "colour_drift", "held_run"):
        assert still[name] == pytest.approx(29 if name == "held_run" else 0, abs=1e-9), name
    assert still["held_share"] == still["still_pixels"] == 1 and still["moving_box"] == still["corner_steady"] == 0
    assert math.isnan(still["returns"])
    black = measure(np.zeros((30, HEIGHT, WIDTH, 3), np.uint8))
    assert [name for name, value in black.items() if not math.isnan(value)] == ["upright_share"]
    single = measure(scene()[:1])
    for name in ("steady_line", "still_pixels", "rhythm", "returns", "disorder", "held_share", "pulse", "colour_drift"):
        assert math.isnan(single[name]), name
    assert not math.isnan(single["mirror"] + single["combing"] + single["colour_cast"] + single["vignette"])


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 640), (640, 3), (9, 40)])
def test_any_clip_gives_values_in_range(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for num_frames in (1, 2, 3, 14):
        for frames in (np.full((num_frames, *size, 3), 255), rng.integers(0, 256, (num_frames, *size, 3))):
            first, second = (measure(frames.astype(np.uint8)) for _ in range(2))
            assert np.array_equal(list(first.values()), list(second.values()), equal_nan=True)


@pytest.mark.parametrize(("name", "fps"), [("vtest.avi", 10.0), ("bikes.mp4", 25.0), ("carphone_pristine.mp4", 29.97)])
def test_filmed_clips_lie_on_the_good_side(name: str, fps: float, tmp_path: Path) -> None:
    values = measure(read_video(real_video(name, tmp_path), max_frames=72).frames, fps)
    most = {"mirror": 0.4, "side_blur": 0.6, "line_break": 0.5, "flat_colour_share": 0.005, "channel_shift": 0.01}
    most |= {"returns": 0.1, "disorder": 0.02, "combing": 0.9, "chroma_noise": 1, "ghosting": 0.2, "level_gaps": 0.2}
    most |= {"rhythm": 0.6, "held_share": 0.4, "colour_drift": 6, "colour_cast": 25}
    for column, bound in most.items():
        assert values[column] <= bound, (column, values[column])


def test_families_of_bad_video_separate() -> None:
    material = negative_material.material()
    ways = {family.name: family for family in (*editing.FAMILIES, *low_quality.FAMILIES, *static.FAMILIES)}
    before = measure(material.frames, material.fps)
    for way, column, margin in (
        ("editing.blurred_fill", "side_blur", 0.3),
        ("editing.mirror", "mirror", 0.5),
        ("low_quality.banding", "level_gaps", 0.5),
        ("low_quality.combed", "combing", 0.3),
        ("low_quality.colour_cast", "colour_cast", 20),
        ("static.short_loop", "returns", 0.5),
        ("static.cinemagraph", "still_pixels", 0.3),
    ):
        made = ways[way].make(material, np.random.default_rng(3))
        assert measure(made.frames, made.fps)[column] >= before[column] + margin, way
