"""Painted backgrounds: wide gradients and large soft shapes, which leave a small model's capacity to the actor."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.stage_world.scene import Place, Scene

Rgb = tuple[float, float, float]
Plane = NDArray[np.floating]

_EDGE = 0.016


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Coordinates of the frame: `x` and `y` run 0..1 over width and height, `aspect` is width over height."""

    x: Plane
    y: Plane
    aspect: float
    scene: Scene


def paint_place(scene: Scene, *, height_px: int, width_px: int) -> NDArray[np.float32]:
    """Paint the scene's background, (height, width, 3) float32 in 0..255, without actor, object or weather."""
    canvas = Canvas(
        x=((np.arange(width_px, dtype=np.float32) + 0.5) / width_px)[None, :],
        y=((np.arange(height_px, dtype=np.float32) + 0.5) / height_px)[:, None],
        aspect=width_px / height_px,
        scene=scene,
    )
    image = PAINTERS[scene.place](canvas)
    tint = np.array(scene.tint_rgb, dtype=np.float32)
    if scene.weather == "rain":
        tint = tint * np.float32(0.86)
    return np.clip(image * tint, 0, 255).astype(np.float32)


def _paint_meadow(canvas: Canvas) -> Plane:
    horizon = canvas.scene.horizon_fraction
    image = _gradient(canvas, [(0, (92, 178, 250)), (horizon, (205, 235, 255))])
    _paint_disc(image, canvas, canvas.scene.sun_fraction, 0.14, 0.085, (255, 238, 150), softness=0.05)
    _paint_clouds(image, canvas, (255, 255, 255), 0.85)
    _paint_below(image, canvas, _waves(canvas, horizon - 0.05, 0.045, 1.3), (112, 186, 110))
    grass = _gradient(canvas, [(horizon, (126, 206, 88)), (1, (52, 150, 62))])
    _paint_below(image, canvas, _waves(canvas, horizon + 0.03, 0.02, 0.8), grass)
    return image


def _paint_beach(canvas: Canvas) -> Plane:
    horizon = canvas.scene.horizon_fraction - 0.08
    image = _gradient(canvas, [(0, (70, 190, 245)), (horizon, (200, 242, 250))])
    _paint_disc(image, canvas, canvas.scene.sun_fraction, 0.14, 0.085, (255, 245, 180), softness=0.05)
    _paint_clouds(image, canvas, (255, 255, 255), 0.8)
    sea = _gradient(canvas, [(horizon, (18, 110, 185)), (horizon + 0.2, (50, 195, 200))])
    _paint_below(image, canvas, _waves(canvas, horizon, 0, 1), sea)
    _paint_below(image, canvas, _waves(canvas, horizon + 0.175, 0.014, 1.2), (235, 250, 245))
    sand = _gradient(canvas, [(horizon + 0.2, (240, 222, 170)), (1, (250, 226, 160))])
    _paint_below(image, canvas, _waves(canvas, horizon + 0.205, 0.014, 1.2), sand)
    return image


def _paint_desert(canvas: Canvas) -> Plane:
    horizon = canvas.scene.horizon_fraction
    image = _gradient(canvas, [(0, (250, 190, 92)), (horizon, (255, 236, 178))])
    _paint_disc(image, canvas, canvas.scene.sun_fraction, 0.17, 0.10, (255, 252, 225), softness=0.06)
    _paint_below(image, canvas, _waves(canvas, horizon - 0.11, 0.09, 0.9), (214, 138, 84))
    _paint_below(image, canvas, _waves(canvas, horizon - 0.01, 0.05, 1.4, shift_turns=0.4), (196, 112, 66))
    sand = _gradient(canvas, [(horizon, (200, 118, 66)), (1, (158, 84, 48))])
    _paint_below(image, canvas, _waves(canvas, horizon + 0.08, 0.03, 0.8, shift_turns=0.7), sand)
    return image


def _paint_snowy_field(canvas: Canvas) -> Plane:
    horizon = canvas.scene.horizon_fraction
    image = _gradient(canvas, [(0, (150, 172, 205)), (horizon, (206, 220, 238))])
    _paint_peaks(image, canvas, horizon + 0.02, 0.34, (134, 152, 190), (240, 246, 255))
    snow = _gradient(canvas, [(horizon, (246, 250, 255)), (1, (196, 214, 240))])
    _paint_below(image, canvas, _waves(canvas, horizon, 0.025, 0.9), snow)
    return image


def _paint_city(canvas: Canvas) -> Plane:
    horizon = canvas.scene.horizon_fraction + 0.06
    image = _gradient(canvas, [(0, (172, 190, 214)), (horizon, (232, 222, 214))])
    walls: tuple[Rgb, ...] = ((150, 88, 84), (116, 124, 150), (176, 136, 108), (98, 104, 128))
    heights = (0.50, 0.40, 0.46, 0.56)
    spacing = 0.30
    first = -canvas.scene.hill_phase_turns * spacing
    for index in range(5):
        left, top = first + index * spacing, horizon - heights[index % 4]
        _paint_box(image, canvas, (left + 0.002, top, left + spacing - 0.006, horizon + 0.02), walls[index % 4])
        for column in (0.065, 0.175):
            for row in (0.07, 0.24):
                window = (left + column, top + row, left + column + 0.06, top + row + 0.09)
                _paint_box(image, canvas, window, (255, 226, 150))
    road = _gradient(canvas, [(horizon + 0.05, (104, 106, 120)), (1, (66, 68, 84))])
    _paint_below(image, canvas, _waves(canvas, horizon, 0, 1), (184, 182, 186))
    _paint_below(image, canvas, _waves(canvas, horizon + 0.06, 0, 1), road)
    return image


def _paint_underwater(canvas: Canvas) -> Plane:
    floor = canvas.scene.horizon_fraction + 0.16
    image = _gradient(canvas, [(0, (30, 150, 190)), (floor, (6, 52, 118))])
    for offset, width, strength in ((-0.30, 0.10, 0.26), (0.0, 0.14, 0.30), (0.33, 0.09, 0.24)):
        middle = canvas.scene.sun_fraction + offset + 0.25 * (canvas.y - 0.3)
        shaft = np.exp(-(((canvas.x - middle) / (width * (0.6 + 0.6 * canvas.y))) ** 2))
        _blend(image, (150, 235, 245), strength * shaft * np.clip(1.1 - canvas.y / floor, 0, 1))
    sand = _gradient(canvas, [(floor, (120, 160, 150)), (1, (178, 170, 120))])
    _paint_below(image, canvas, _waves(canvas, floor, 0.03, 1.1), sand, softness=0.05)
    return image


def _paint_sunset(canvas: Canvas) -> Plane:
    horizon = canvas.scene.horizon_fraction
    image = _gradient(canvas, [(0, (92, 48, 140)), (0.6 * horizon, (240, 104, 104)), (horizon, (255, 190, 96))])
    sun_height = horizon - 0.12
    _paint_disc(
        image, canvas, canvas.scene.sun_fraction, sun_height, 0.34, (255, 214, 120), softness=0.30, strength=0.5
    )
    _paint_disc(image, canvas, canvas.scene.sun_fraction, sun_height, 0.18, (255, 244, 178), softness=0.02)
    _paint_below(image, canvas, _waves(canvas, horizon - 0.03, 0.05, 1.1), (170, 72, 120))
    hills = _gradient(canvas, [(horizon, (116, 54, 116)), (1, (66, 34, 86))])
    _paint_below(image, canvas, _waves(canvas, horizon + 0.07, 0.04, 0.8, shift_turns=0.35), hills)
    return image


def _paint_night(canvas: Canvas) -> Plane:
    horizon = canvas.scene.horizon_fraction
    image = _gradient(canvas, [(0, (10, 14, 48)), (horizon, (40, 56, 118))])
    moon = canvas.scene.sun_fraction
    _paint_disc(image, canvas, moon, 0.20, 0.30, (110, 130, 200), softness=0.28, strength=0.55)
    _paint_disc(image, canvas, moon, 0.20, 0.13, (246, 244, 220), softness=0.015)
    _paint_disc(image, canvas, moon + 0.02, 0.17, 0.035, (222, 218, 196), softness=0.02)
    _paint_below(image, canvas, _waves(canvas, horizon - 0.03, 0.06, 1.2), (26, 38, 84))
    ground = _gradient(canvas, [(horizon, (34, 78, 100)), (1, (20, 50, 70))])
    _paint_below(image, canvas, _waves(canvas, horizon + 0.06, 0.035, 0.8, shift_turns=0.3), ground)
    return image


PAINTERS: dict[Place, Callable[[Canvas], Plane]] = {
    "meadow": _paint_meadow,
    "beach": _paint_beach,
    "desert": _paint_desert,
    "snowy field": _paint_snowy_field,
    "city": _paint_city,
    "underwater": _paint_underwater,
    "sunset": _paint_sunset,
    "night": _paint_night,
}


def _gradient(canvas: Canvas, stops: list[tuple[float, Rgb]]) -> Plane:
    """Vertical gradient through (y, colour) stops, constant beyond the first and last."""
    heights = [height for height, _ in stops]
    column = np.stack([np.interp(canvas.y[:, 0], heights, [rgb[c] for _, rgb in stops]) for c in range(3)], axis=-1)
    return np.repeat(column[:, None, :].astype(np.float32), canvas.x.shape[1], axis=1)


def _blend(image: Plane, colour: Rgb | Plane, opacity: Plane) -> None:
    image += (np.asarray(colour, dtype=np.float32) - image) * opacity[..., None].astype(np.float32)


def _soft_step(distance: Plane, softness: float) -> Plane:
    """0 outside (negative distance), 1 inside, with a smooth edge about `softness` wide."""
    ramp = np.clip(distance / softness + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _waves(canvas: Canvas, level: float, height: float, num_waves: float, *, shift_turns: float = 0.0) -> Plane:
    """A rolling outline around `level`: y of the upper edge of a hill at each x."""
    angle = 2 * np.pi * (num_waves * canvas.x + canvas.scene.hill_phase_turns + shift_turns)
    return (level - height * (0.75 * np.sin(angle) + 0.25 * np.sin(1.7 * angle + 1.0))).astype(np.float32)


def _paint_below(image: Plane, canvas: Canvas, outline: Plane, colour: Rgb | Plane, *, softness: float = _EDGE) -> None:
    _blend(image, colour, _soft_step(canvas.y - outline, softness))


def _paint_disc(
    image: Plane, canvas: Canvas, x: float, y: float, radius: float, rgb: Rgb, *, softness: float, strength: float = 1.0
) -> None:
    distance = radius - np.hypot((canvas.x - x) * canvas.aspect, canvas.y - y)
    _blend(image, rgb, strength * _soft_step(distance, softness))


def _paint_box(image: Plane, canvas: Canvas, corners: tuple[float, float, float, float], rgb: Rgb) -> None:
    left, top, right, bottom = corners
    across = np.minimum(canvas.x - left, right - canvas.x) * canvas.aspect
    _blend(image, rgb, _soft_step(np.minimum(across, np.minimum(canvas.y - top, bottom - canvas.y)), 0.02))


def _paint_clouds(image: Plane, canvas: Canvas, rgb: Rgb, strength: float) -> None:
    """Two clouds of three overlapping puffs; they wrap around, so every cloud_fraction shows both."""
    opacity = np.zeros(image.shape[:2], dtype=np.float32)
    for shift, height, scale in ((0.0, 0.15, 1.0), (0.52, 0.29, 0.75)):
        middle = (canvas.scene.cloud_fraction + shift) % 1.0
        for dx, dy, radius in ((-0.085, 0.02, 0.055), (0.0, -0.015, 0.085), (0.09, 0.02, 0.06)):
            x = (canvas.x - middle - scale * dx) * canvas.aspect
            distance = scale * radius - np.hypot(0.75 * x, canvas.y - height - scale * dy)
            opacity = np.maximum(opacity, _soft_step(distance, 0.05))
    _blend(image, rgb, strength * opacity)


def _paint_peaks(image: Plane, canvas: Canvas, base: float, height: float, rock: Rgb, snow: Rgb) -> None:
    """Three broad mountains with white tops."""
    for offset, size in ((0.10, 0.8), (0.50, 1.0), (0.92, 0.75)):
        middle = offset + 0.16 * (canvas.scene.hill_phase_turns - 0.5)
        outline = base - size * height + 1.15 * height * np.abs(canvas.x - middle) * canvas.aspect
        _paint_below(image, canvas, outline, rock)
        cap = _soft_step(canvas.y - outline, 0.02) * _soft_step(base - 0.62 * size * height - canvas.y, 0.05)
        _blend(image, snow, 0.9 * cap)
