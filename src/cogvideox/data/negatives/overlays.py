"""What is laid over moving and still pictures: particles, rain, light and the wear of film."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.pictures import (
    Mask,
    Picture,
    chance,
    pick,
    screened,
    stamp,
    uniform,
    vivid,
    wander,
    whole,
)
from cogvideox.data.negatives.shapes import Shape, shape_mask

Overlay = Callable[[Picture, int], Picture]
"""Lays itself over a picture at the index of a frame; may change the picture."""
ParticleKind = Literal["confetti", "snow", "rain", "hearts", "stars", "bokeh", "sparkles"]
PARTICLE_KINDS: tuple[ParticleKind, ...] = ("confetti", "snow", "rain", "hearts", "stars", "bokeh", "sparkles")
LIGHT_SIDE_PX = 48
"""Light is soft: it is made this small and enlarged."""


def particles(
    rng: np.random.Generator, kind: ParticleKind, num_frames: int, height_px: int, width_px: int, fps: float
) -> tuple[Overlay, int]:
    """Return many small things that fall, rise or twinkle, and how many they are."""
    side_px = min(height_px, width_px)
    num = whole(rng, *{"rain": (120, 300), "snow": (60, 200), "bokeh": (8, 24)}.get(kind, (25, 90)))
    low, high = {
        "rain": (0.03, 0.09),
        "snow": (0.006, 0.025),
        "bokeh": (0.06, 0.22),
        "confetti": (0.02, 0.045),
        "sparkles": (0.03, 0.1),
    }.get(kind, (0.05, 0.12))
    sizes_px = rng.uniform(low, high, num) * side_px
    fall = {"rain": 1.6, "confetti": 0.45, "snow": 0.2, "hearts": -0.35, "stars": -0.1}.get(kind, 0.03)
    speeds = fall * rng.uniform(0.6, 1.4, num) * height_px / fps
    drift = uniform(rng, -0.25, 0.25) * speeds + rng.normal(0, 0.01, num) * width_px / fps
    starts = rng.uniform(0, 1, (num, 2)) * (width_px, height_px)
    phases, rates = rng.uniform(0, 2 * np.pi, num), rng.uniform(1, 5, num) / fps
    colours = [vivid(rng) for _ in range(num)]
    shapes: dict[ParticleKind, Shape] = {"hearts": "heart", "stars": "star"}
    margin_px = 0.25 * side_px

    def place(index: int) -> tuple[np.ndarray, np.ndarray]:
        sway = 0.02 * side_px * np.sin(phases + rates * index) if kind != "rain" else 0.0
        x = (starts[:, 0] + drift * index + sway + margin_px) % (width_px + 2 * margin_px) - margin_px
        y = (starts[:, 1] + speeds * index + margin_px) % (height_px + 2 * margin_px) - margin_px
        return x, y

    def solid(frame: Picture, index: int) -> Picture:
        x, y = place(index)
        for i in range(num):
            if kind == "confetti":
                _draw_paper(frame, x[i], y[i], sizes_px[i], phases[i] + 3 * rates[i] * index, colours[i])
            else:
                mask = shape_mask(shapes[kind], max(4, int(sizes_px[i])))
                stamp(frame, colours[i], mask, int(y[i]), int(x[i]))
        return frame

    def glowing(frame: Picture, index: int) -> Picture:
        cv2 = opencv()
        light = np.zeros_like(frame)
        x, y = place(index)
        for i in range(num):
            twinkle = 0.5 + 0.5 * math.sin(phases[i] + 3 * rates[i] * index)
            middle, radius = (int(x[i]), int(y[i])), max(1, int(sizes_px[i] / 2))
            if kind == "rain":
                end = (int(x[i] + drift[i] * sizes_px[i] / max(speeds[i], 1e-6)), int(y[i] + sizes_px[i]))
                cv2.line(light, middle, end, (150, 155, 165), max(1, side_px // 300), cv2.LINE_AA)
            elif kind == "sparkles":
                arm = int(radius * twinkle)
                for right, down in ((arm, 0), (0, arm)):
                    ends = (middle[0] - right, middle[1] - down), (middle[0] + right, middle[1] + down)
                    cv2.line(light, *ends, (255, 250, 220), max(1, side_px // 200), cv2.LINE_AA)
                cv2.circle(light, middle, max(1, arm // 4), (255, 255, 240), -1, cv2.LINE_AA)
            elif kind == "bokeh":
                shade = tuple(int((0.25 + 0.25 * twinkle) * value) for value in colours[i])
                cv2.circle(light, middle, radius, shade, -1, cv2.LINE_AA)
            else:
                cv2.circle(light, middle, radius, (235, 238, 245), -1, cv2.LINE_AA)
        return screened(frame, light)

    return (solid if kind in ("confetti", "hearts", "stars") else glowing), num


def _draw_paper(
    frame: Picture, x_px: float, y_px: float, side_px: float, turn: float, colour: tuple[int, int, int]
) -> None:
    long, short = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    long, short = long * side_px / 2, short * side_px / 2 * (0.2 + 0.6 * abs(math.sin(2 * turn)))
    corners = np.array([x_px, y_px]) + np.stack([long + short, long - short, -long - short, short - long])
    opencv().fillConvexPoly(frame, corners.round().astype(np.int32), colour, opencv().LINE_AA)


def light_leak(rng: np.random.Generator, num_frames: int, height_px: int, width_px: int) -> Overlay:
    """Return warm light that drifts over the picture and swells, as from a camera that is not tight."""
    cv2 = opencv()
    rows, columns = np.mgrid[0:LIGHT_SIDE_PX, 0:LIGHT_SIDE_PX] / (LIGHT_SIDE_PX - 1)
    num = whole(rng, 2, 4)
    warm = ((255, 120, 30), (255, 60, 60), (255, 190, 80), (230, 60, 200), (120, 160, 255))
    colours = [np.array(pick(rng, warm)) for _ in range(num)]
    xs = [pick(rng, (0.0, 1.0)) + 0.35 * wander(rng, num_frames, num_frames / 3) for _ in range(num)]
    ys = [uniform(rng, 0, 1) + 0.35 * wander(rng, num_frames, num_frames / 3) for _ in range(num)]
    swells = [np.clip(0.75 + 0.4 * wander(rng, num_frames, num_frames / 6), 0.2, 1.2) for _ in range(num)]
    spreads = [(uniform(rng, 0.15, 0.4), uniform(rng, 0.3, 0.8)) for _ in range(num)]

    def overlay(frame: Picture, index: int) -> Picture:
        light = np.zeros((LIGHT_SIDE_PX, LIGHT_SIDE_PX, 3))
        for colour, x, y, swell, (wide, high) in zip(colours, xs, ys, swells, spreads, strict=True):
            away = ((columns - x[index]) / wide) ** 2 + ((rows - y[index]) / high) ** 2
            light += (np.exp(-away) * swell[index])[..., None] * colour
        small = np.clip(light, 0, 255).astype(np.uint8)
        return screened(frame, cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_LINEAR))

    return overlay


def light_sweep(rng: np.random.Generator, num_frames: int, height_px: int, width_px: int) -> Overlay:
    """Return a bright band that runs across the picture again and again."""
    slope, wide = uniform(rng, -0.6, 0.6), uniform(rng, 0.04, 0.15)
    num_runs, strength = uniform(rng, 1, 3), uniform(rng, 90, 200)
    rows, columns = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    across = columns / width_px + slope * rows / height_px

    def overlay(frame: Picture, index: int) -> Picture:
        middle = (index / num_frames * num_runs % 1) * 2 - 0.5
        light = strength * np.exp(-(((across - np.float32(middle)) / np.float32(wide)) ** 2))
        return screened(frame, np.repeat(light.astype(np.uint8)[..., None], 3, axis=2))

    return overlay


def film_wear(rng: np.random.Generator, num_frames: int, height_px: int, width_px: int, wear: float) -> Overlay:
    """Return scratches that wander, dust, hairs and a light that trembles; ``wear`` is 0 to 1."""
    cv2 = opencv()
    num_scratches = whole(rng, 1, 2 + round(4 * wear))
    starts = rng.uniform(0, width_px, num_scratches)
    paths = [start + 0.02 * width_px * wander(rng, num_frames, 8) for start in starts]
    is_seen = rng.random((num_scratches, num_frames)) < 0.4 + 0.5 * wear
    shades = rng.choice([30, 230], num_scratches)
    tremble = 1 + (0.03 + 0.09 * wear) * wander(rng, num_frames, 1.5)
    specks = [_specks(rng, height_px, width_px, wear) for _ in range(num_frames)]

    def overlay(frame: Picture, index: int) -> Picture:
        frame = cv2.convertScaleAbs(frame, alpha=float(tremble[index]))
        for path, seen, shade in zip(paths, is_seen, shades.tolist(), strict=True):
            if seen[index]:
                x = int(path[index])
                cv2.line(frame, (x, 0), (x + whole_shift(index), height_px), (shade,) * 3, 1, cv2.LINE_AA)
        for x, y, radius, shade, is_hair in specks[index]:
            if is_hair:
                arms = (4 * radius + 2, 2 * radius + 1)
                cv2.ellipse(frame, (x, y), arms, 40 * radius, 0, 200, (shade,) * 3, 1, cv2.LINE_AA)
            else:
                cv2.circle(frame, (x, y), radius, (shade,) * 3, -1, cv2.LINE_AA)
        return frame

    def whole_shift(index: int) -> int:
        return index % 3 - 1

    return overlay


def _specks(
    rng: np.random.Generator, height_px: int, width_px: int, wear: float
) -> list[tuple[int, int, int, int, bool]]:
    most_px = max(1, min(height_px, width_px) // 90)
    return [
        (
            whole(rng, 0, width_px),
            whole(rng, 0, height_px),
            whole(rng, 1, most_px),
            pick(rng, (20, 240)),
            chance(rng, 0.2),
        )
        for _ in range(int(rng.poisson(3 + 14 * wear)))
    ]


def vignette(height_px: int, width_px: int, strength: float) -> Mask:
    """Return how bright each place of a picture with dark corners is, 0 to 1."""
    rows = np.linspace(-1, 1, height_px, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width_px, dtype=np.float32)[None]
    return np.clip(1 - strength * (rows**2 + columns**2) / 2, 0, 1).astype(np.float32)
