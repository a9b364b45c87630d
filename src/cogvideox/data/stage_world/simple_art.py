"""Actors and objects drawn with plain shapes, all facing right: for tests and for work without a network."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_GRID = 100
_ENLARGEMENT = 4
_BLACK = (30, 25, 40)


class _Brush:
    """Draws filled shapes on a 100 x 100 grid with soft edges."""

    def __init__(self) -> None:
        self._image = Image.new("RGBA", (_GRID * _ENLARGEMENT, _GRID * _ENLARGEMENT), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def ellipse(self, left: float, top: float, right: float, bottom: float, rgb: tuple[int, int, int]) -> None:
        self._draw.ellipse([_ENLARGEMENT * value for value in (left, top, right, bottom)], fill=rgb)

    def box(self, left: float, top: float, right: float, bottom: float, rgb: tuple[int, int, int]) -> None:
        corners = [_ENLARGEMENT * value for value in (left, top, right, bottom)]
        self._draw.rounded_rectangle(corners, radius=4 * _ENLARGEMENT, fill=rgb)

    def polygon(self, points: list[tuple[float, float]], rgb: tuple[int, int, int]) -> None:
        self._draw.polygon([(_ENLARGEMENT * x, _ENLARGEMENT * y) for x, y in points], fill=rgb)

    def picture(self) -> NDArray[np.uint8]:
        return np.array(self._image.reduce(_ENLARGEMENT))


def paint_simple_picture(name: str) -> NDArray[np.uint8]:
    """Paint one of SIMPLE_PAINTERS as (100, 100, 4) uint8 straight-alpha RGBA. Raises ValueError for another name."""
    if name not in SIMPLE_PAINTERS:
        raise ValueError(f"name: expected one of {', '.join(SIMPLE_PAINTERS)}, got {name!r}")
    brush = _Brush()
    SIMPLE_PAINTERS[name](brush)
    return brush.picture()


def _paint_cat(brush: _Brush) -> None:
    orange, pale = (240, 150, 60), (255, 205, 150)
    brush.polygon([(6, 60), (4, 20), (14, 18), (20, 55)], orange)
    for left in (16, 30, 54, 68):
        brush.box(left, 62, left + 11, 98, orange)
    brush.box(12, 42, 80, 76, orange)
    brush.polygon([(58, 26), (62, 4), (74, 18)], orange)
    brush.polygon([(78, 18), (90, 4), (94, 28)], orange)
    brush.ellipse(54, 14, 98, 54, orange)
    brush.ellipse(80, 34, 99, 50, pale)
    brush.ellipse(82, 24, 89, 32, _BLACK)


def _paint_pig(brush: _Brush) -> None:
    pink, dark = (250, 150, 170), (225, 105, 135)
    for left in (20, 36, 58, 72):
        brush.box(left, 70, left + 11, 92, dark)
    brush.ellipse(6, 24, 92, 84, pink)
    brush.polygon([(60, 34), (66, 10), (80, 28)], dark)
    brush.ellipse(84, 44, 99, 64, dark)
    brush.ellipse(76, 36, 83, 44, _BLACK)


def _paint_turtle(brush: _Brush) -> None:
    shell, skin = (45, 140, 90), (165, 205, 70)
    brush.ellipse(76, 46, 99, 72, skin)
    brush.ellipse(89, 53, 94, 59, _BLACK)
    brush.box(18, 68, 34, 84, skin)
    brush.box(58, 68, 74, 84, skin)
    brush.polygon([(6, 72), (16, 46), (34, 30), (52, 30), (70, 46), (80, 72)], shell)
    brush.ellipse(28, 38, 58, 64, (90, 180, 120))


def _paint_car(brush: _Brush) -> None:
    red, glass = (225, 45, 60), (150, 220, 255)
    brush.polygon([(14, 50), (26, 22), (66, 22), (80, 50)], red)
    brush.polygon([(24, 48), (32, 28), (46, 28), (46, 48)], glass)
    brush.polygon([(51, 48), (51, 28), (63, 28), (72, 48)], glass)
    brush.box(4, 46, 97, 74, red)
    brush.ellipse(89, 50, 98, 60, (255, 240, 150))
    for left in (14, 64):
        brush.ellipse(left, 60, left + 24, 84, _BLACK)
        brush.ellipse(left + 7, 67, left + 17, 77, (200, 200, 215))


def _paint_robot(brush: _Brush) -> None:
    metal, blue = (205, 205, 225), (60, 150, 240)
    brush.box(46, 2, 54, 20, (235, 70, 100))
    brush.box(22, 14, 82, 52, metal)
    brush.box(40, 22, 78, 42, _BLACK)
    brush.ellipse(46, 26, 57, 38, blue)
    brush.ellipse(64, 26, 75, 38, blue)
    brush.box(28, 54, 76, 84, metal)
    brush.box(14, 56, 26, 78, (235, 70, 100))
    brush.box(78, 56, 90, 78, (235, 70, 100))
    brush.box(34, 82, 48, 98, (130, 130, 155))
    brush.box(58, 82, 72, 98, (130, 130, 155))


def _paint_soccer_ball(brush: _Brush) -> None:
    brush.ellipse(4, 4, 96, 96, (240, 240, 250))
    for left, top in ((38, 38), (12, 20), (66, 16), (10, 62), (68, 62), (40, 76)):
        brush.ellipse(left, top, left + 22, top + 20, (60, 110, 235))


def _paint_tree(brush: _Brush) -> None:
    brush.box(43, 55, 58, 98, (125, 85, 60))
    brush.ellipse(20, 30, 82, 76, (70, 160, 70))
    brush.ellipse(28, 2, 74, 52, (95, 185, 85))


def _paint_house(brush: _Brush) -> None:
    brush.box(14, 44, 86, 96, (235, 190, 145))
    brush.polygon([(4, 50), (50, 6), (96, 50)], (215, 75, 60))
    brush.box(26, 60, 44, 96, (120, 80, 60))
    brush.box(56, 58, 76, 76, (130, 200, 250))


def _paint_cactus(brush: _Brush) -> None:
    green = (60, 165, 90)
    brush.box(40, 2, 60, 98, green)
    for left, top in ((14, 30), (74, 20)):
        brush.box(left, top, left + 13, top + 36, green)
    brush.box(14, 54, 50, 67, green)
    brush.box(50, 44, 87, 57, green)


def _paint_balloon(brush: _Brush) -> None:
    brush.polygon([(48, 70), (52, 70), (54, 99), (46, 99)], (60, 130, 220))
    brush.ellipse(22, 2, 78, 74, (220, 40, 90))
    brush.ellipse(56, 14, 68, 28, (255, 160, 185))


SIMPLE_PAINTERS: dict[str, Callable[[_Brush], None]] = {
    "cat": _paint_cat,
    "pig": _paint_pig,
    "turtle": _paint_turtle,
    "car": _paint_car,
    "robot": _paint_robot,
    "soccer ball": _paint_soccer_ball,
    "tree": _paint_tree,
    "house": _paint_house,
    "cactus": _paint_cactus,
    "balloon": _paint_balloon,
}
