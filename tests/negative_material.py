"""Material for makers of bad video that needs no files, and what all of them must keep to."""

import cv2
import numpy as np

from cogvideox.data.negatives.family import Family, Material

FPS = 24.0
NUM_FRAMES = 40
SIZE_PX = (144, 192)


def textured(seed: int, height_px: int, width_px: int) -> np.ndarray:
    """A picture with detail of all sizes, in natural proportions, and colours."""
    rng = np.random.default_rng(seed)
    picture = np.full((height_px, width_px, 3), 120, np.float32)
    for cell_px, levels in ((64, 40), (24, 26), (8, 14), (3, 9), (1, 5)):
        small = rng.normal(0, levels, (height_px // cell_px + 2, width_px // cell_px + 2, 3)).astype(np.float32)
        picture += cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def moving(seed: int, num_frames: int = NUM_FRAMES) -> np.ndarray:
    """A disk of one texture that crosses another, before a camera that pans slowly."""
    height, width = SIZE_PX
    ground, thing = textured(seed, height + 20, width + 2 * NUM_FRAMES), textured(seed + 50, height, width)
    frames = []
    for index in range(num_frames):
        frame = ground[10 : 10 + height, index : index + width].copy()
        mask = np.zeros((height, width), np.uint8)
        cv2.circle(mask, (20 + 3 * index, height // 2 + round(20 * np.sin(index / 6))), 26, 255, -1)
        frame[mask > 0] = thing[mask > 0]
        frames.append(frame)
    return np.stack(frames)


def head_and_shoulders() -> np.ndarray:
    """A picture (1, 120, 100, 3) of a drawn person."""
    picture = np.full((1, 120, 100, 3), 90, np.uint8)
    y, x = np.mgrid[:120, :100]
    picture[0, np.hypot((x - 50) / 20, (y - 50) / 27) < 1] = (224, 180, 150)
    picture[0, (y > 85) & (np.abs(x - 50) < y - 50)] = (40, 60, 120)
    return picture


def material(num_frames: int = NUM_FRAMES, fps: float = FPS) -> Material:
    """What families need, with a clip of a speaker and a picture of one, without screens."""
    text = "the open window lets in morning light while people walk along a river"
    return Material(
        frames=moving(1, num_frames),
        fps=fps,
        others=(moving(2, num_frames), moving(3, num_frames // 2 + 3)),
        pictures=tuple(textured(seed, 200 + 40 * seed, 300) for seed in range(4)),
        speakers=(moving(4, num_frames), head_and_shoulders()),
        screens=(),
        words=tuple(text.split() * 20),
    )


def check_contract(family: Family, given: Material, num_draws: int = 2) -> None:
    """What is promised of any family: its length, sizes, truth, and that only the generator decides."""
    label, _, way = family.name.partition(".")
    assert label == family.label and way and family.meaning.endswith(".")
    assert family.label not in family.also | family.unsure
    before = [frames.copy() for frames in (given.frames, *given.others, *given.pictures, *given.speakers)]
    draws = []
    for seed in range(num_draws):
        made, again = (family.make(given, np.random.default_rng(seed)) for _ in range(2))
        num_frames, height_px, width_px, num_channels = made.frames.shape
        assert made.frames.dtype == np.uint8 and num_channels == 3
        assert num_frames == len(given.frames) and made.fps == given.fps
        assert height_px % 2 == width_px % 2 == 0
        assert min(height_px, width_px) >= 100 and max(height_px, width_px) <= 1280
        assert made.frames.std() > 3
        assert np.array_equal(made.frames, again.frames) and made.parameters == again.parameters
        assert all(type(value) in (int, float, str) for value in made.parameters.values()), made.parameters
        assert made.parameters["height_px"] == height_px and made.parameters["width_px"] == width_px
        draws.append(made)
    first, second = (made.frames for made in draws[:2])
    assert first.shape != second.shape or not np.array_equal(first, second)
    after = (given.frames, *given.others, *given.pictures, *given.speakers)
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)), "the material was changed"
