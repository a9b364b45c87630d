"""Masks of boxes with round corners and of simple shapes. Masks are (H, W) float32, 0 to 1."""

from typing import Literal

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.pictures import Mask

Shape = Literal["disk", "ring", "square", "star", "heart", "triangle", "arrow", "cross", "bubble", "drop", "face"]
SHAPES: tuple[Shape, ...] = (
    "disk",
    "ring",
    "square",
    "star",
    "heart",
    "triangle",
    "arrow",
    "cross",
    "bubble",
    "drop",
    "face",
)
SUPERSAMPLING = 4


def rounded(height_px: int, width_px: int, radius_px: float) -> Mask:
    """Return the mask of a box with round corners."""
    cv2 = opencv()
    factor = SUPERSAMPLING
    size = height_px * factor, width_px * factor
    radius = round(min(radius_px * factor, min(size) / 2 - 1))
    mask = np.zeros(size, np.uint8)
    if radius < 1:
        return np.ones((height_px, width_px), np.float32)
    mask[radius : size[0] - radius] = 255
    mask[:, radius : size[1] - radius] = 255
    for y in (radius, size[0] - radius - 1):
        for x in (radius, size[1] - radius - 1):
            cv2.circle(mask, (x, y), radius, 255, -1)
    return cv2.resize(mask, (width_px, height_px), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def shape_mask(shape: Shape, side_px: int, angle_deg: float = 0.0) -> Mask:
    """Return the mask of a simple shape in a square, turned about its middle."""
    cv2 = opencv()
    side = max(8, side_px * SUPERSAMPLING)
    mask = np.zeros((side, side), np.uint8)
    middle, radius = (side // 2, side // 2), round(side * 0.46)
    if shape in ("disk", "ring", "face"):
        cv2.circle(mask, middle, radius, 255, -1)
        if shape == "ring":
            cv2.circle(mask, middle, round(radius * 0.68), 0, -1)
        elif shape == "face":
            for x in (-0.35, 0.35):
                cv2.circle(mask, (round(middle[0] + x * radius), round(middle[1] - 0.25 * radius)), radius // 7, 0, -1)
            mouth = (radius // 2, radius // 2)
            cv2.ellipse(mask, (middle[0], middle[1] + radius // 10), mouth, 0, 15, 165, 0, max(1, radius // 8))
    else:
        corners = (np.asarray(_corners(shape)) * radius + side / 2).round().astype(np.int32)
        cv2.fillPoly(mask, [corners], 255)
    if angle_deg:
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle_deg, 1)
        mask = cv2.warpAffine(mask, matrix, (side, side))
    return cv2.resize(mask, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _corners(shape: Shape) -> list[tuple[float, float]]:
    """Return corners (x, y), -1 to 1."""
    turn = np.linspace(0, 2 * np.pi, 60)
    if shape == "star":
        radii = [1.0 if index % 2 == 0 else 0.42 for index in range(10)]
        angles = [index * np.pi / 5 - np.pi / 2 for index in range(10)]
        return [(radius * np.cos(angle), radius * np.sin(angle)) for radius, angle in zip(radii, angles, strict=True)]
    if shape == "heart":
        x, y = (
            16 * np.sin(turn) ** 3,
            13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn),
        )
        return list(zip((x / 17).tolist(), (-y / 17).tolist(), strict=True))
    if shape == "drop":
        x, y = 0.75 * np.sin(turn) * np.sin(turn / 2) ** 1.5, -np.cos(turn)
        return list(zip(x.tolist(), y.tolist(), strict=True))
    if shape == "triangle":
        return [(0, -0.95), (0.95, 0.75), (-0.95, 0.75)]
    if shape == "arrow":
        return [(-1, -0.25), (0.1, -0.25), (0.1, -0.7), (1, 0), (0.1, 0.7), (0.1, 0.25), (-1, 0.25)]
    if shape == "cross":
        quarter = [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)]
        return quarter + [(-x, -y) for x, y in quarter]
    if shape == "bubble":
        body = [(np.cos(a), 0.65 * np.sin(a) - 0.25) for a in np.linspace(0.65 * np.pi, 2.5 * np.pi, 40)]
        return [*body, (-0.6, 0.95)]
    return [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]
