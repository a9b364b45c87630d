"""Drawn figures: hands, bodies, a teacher of flat colours, and what stands around people who talk.

Axes: T frames, H W rows and columns. Places are x and y in pixels.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.drawing import Format, darker, drift
from cogvideox.data.negatives.family import Frames
from cogvideox.data.negatives.pictures import Colour, Picture

Place = tuple[float, float]
FIXED_BITS = 4
"""OpenCV draws at sixteenths of a pixel, so that what moves slowly does not jump."""


def _fixed(place: Any) -> tuple[int, int]:
    return round(float(place[0]) * 16), round(float(place[1]) * 16)


def line(frame: Picture, first: Any, last: Any, colour: Sequence[int], width_px: float) -> None:
    """Draw a line with round ends."""
    opencv().line(frame, _fixed(first), _fixed(last), colour, max(1, round(width_px)), opencv().LINE_AA, FIXED_BITS)


def oval(
    frame: Picture, middle: Any, half_px: Place, colour: Sequence[int], *, arc: Place = (0, 360), edge_px: int = -1
) -> None:
    """Draw an ellipse by its half sides, or a part of it by angles in degrees; filled unless an edge has a width."""
    cv2 = opencv()
    half = max(1, round(half_px[0] * 16)), max(1, round(half_px[1] * 16))
    cv2.ellipse(frame, _fixed(middle), half, 0, *arc, colour, edge_px, cv2.LINE_AA, FIXED_BITS)


def polygon(frame: Picture, corners: Sequence[Place], colour: Sequence[int]) -> None:
    """Draw a filled polygon."""
    cv2 = opencv()
    cv2.fillPoly(frame, [np.array([_fixed(corner) for corner in corners])], colour, cv2.LINE_AA, FIXED_BITS)


def draw_hand(
    frame: Picture, tip_px: tuple[float, float], size_px: float, towards: float, skin: Colour, sleeve: Colour
) -> None:
    """Draw a hand whose fingers end at a place, and its arm, which leaves the frame in a direction in radians."""
    tip, along = np.array(tip_px), np.array([np.cos(towards), np.sin(towards)])
    across = np.array([-along[1], along[0]])
    shade = darker(skin, 0.8)
    wrist = tip + along * size_px
    line(frame, wrist + along * size_px * 0.25, wrist + along * size_px * 12, sleeve, size_px * 0.62)
    line(frame, wrist - along * size_px * 0.1, wrist + along * size_px * 0.4, skin, size_px * 0.42)
    line(frame, tip + along * size_px * 0.5 + across * size_px * 0.05, wrist, skin, size_px * 0.55)
    for place, reach in ((-0.22, 0.42), (-0.07, 0.3), (0.1, 0.22), (0.26, 0.36)):
        knuckle = tip + along * size_px * 0.55 + across * size_px * place
        end = tip + along * size_px * reach * 0.6 + across * size_px * place * 0.5
        line(frame, knuckle, end, shade, size_px * 0.17)
        line(frame, knuckle, end, skin, size_px * 0.13)
    line(frame, tip + along * size_px * 0.6 - across * size_px * 0.3, tip + along * size_px * 0.1, skin, size_px * 0.16)


def draw_standing_body(
    frame: Picture, x_px: float, shoulder_px: float, foot_px: float, half_px: float, suit: Colour
) -> None:
    """Draw shoulders, trunk and legs of someone who stands, below a head that is laid over later."""
    hip = shoulder_px + (foot_px - shoulder_px) * 0.45
    legs = darker(suit, 0.75)
    for side in (-1, 1):
        knee = x_px + side * half_px * 0.45
        line(frame, (x_px + side * half_px * 0.35, hip), (knee, foot_px), legs, half_px * 0.62)
        oval(frame, (knee + side * half_px * 0.15, foot_px), (half_px * 0.4, half_px * 0.16), (20, 18, 18))
    trunk = [(-0.95, 0.1), (-0.6, -0.12), (0.6, -0.12), (0.95, 0.1), (0.72, 1.0), (-0.72, 1.0)]
    long = hip - shoulder_px + half_px * 0.3
    polygon(frame, [(x_px + dx * half_px, shoulder_px + dy * long) for dx, dy in trunk], suit)


def draw_arm(frame: Picture, shoulder: Place, hand: Place, length_px: float, sleeve: Colour, skin: Colour) -> None:
    """Draw an arm with a bent elbow, and its hand."""
    middle = (np.array(shoulder) + hand) / 2
    elbow = middle + np.array([0, length_px * 0.22])
    line(frame, shoulder, elbow, sleeve, length_px * 0.17)
    line(frame, elbow, hand, sleeve, length_px * 0.14)
    oval(frame, hand, (length_px * 0.075, length_px * 0.085), skin)


def draw_gestures(
    frames: Frames, rng: np.random.Generator, form: Format, x_px: float, skin: Colour, sleeve: Colour
) -> None:
    """Draw two hands that rise from below and move as those of people who explain."""
    unit = form.unit_px
    for side in (-1, 1):
        up, out = drift(rng, form.times_s, 1.3), drift(rng, form.times_s, 1.0)
        size, low = unit * rng.uniform(11, 15), rng.uniform(0.78, 0.92)
        for index, frame in enumerate(frames):
            tip = x_px + side * unit * (20 + 6 * out[index]), form.height_px * low - unit * 6 * up[index]
            draw_hand(frame, tip, size, math.pi / 2 - side * 0.5, skin, sleeve)


def draw_audience(frames: Frames, rng: np.random.Generator, form: Format) -> None:
    """Draw dark heads along the lower edge."""
    unit, x = form.unit_px, 0.0
    rows = np.zeros((form.height_px, form.width_px, 3), np.uint8)
    while x < form.width_px:
        half, top = unit * rng.uniform(3.5, 5), form.height_px - unit * rng.uniform(7, 12)
        oval(rows, (x, top), (half, half * 1.2), (1, 1, 1))
        oval(rows, (x, top + half * 3.2), (half * 2.1, half * 2.2), (1, 1, 1))
        x += unit * rng.uniform(9, 15)
    frames[:, rows[..., 0] > 0] = (10, 9, 12)


def draw_microphone(frames: Frames, x_px: float, y_px: float, size_px: float) -> None:
    """Draw a microphone on an arm, which comes from a lower corner."""
    for frame in frames:
        line(frame, (x_px + size_px, y_px), (x_px, y_px - size_px * 0.3), (40, 40, 44), size_px * 0.08)
        line(
            frame,
            (x_px, y_px - size_px * 0.3),
            (x_px - size_px * 0.2, y_px - size_px * 0.45),
            (24, 24, 26),
            size_px * 0.24,
        )


def draw_cartoon_body(frame: Picture, at: Place, radius_px: float, wave: float, shirt: Colour, skin: Colour) -> None:
    """Draw the body of a teacher, at the middle of whose head a place is, and who points with one arm."""
    x, y = at
    dark = darker(shirt, 0.85)
    bottom = frame.shape[0] + radius_px
    line(frame, (x, y), (x, y + radius_px * 1.6), skin, radius_px * 0.6)
    shoulders = [(-1.25, 1.7), (-0.5, 1.3), (0.5, 1.3), (1.25, 1.7)]
    hem = [(x + radius_px * 1.4, bottom), (x - radius_px * 1.4, bottom)]
    polygon(frame, [(x + dx * radius_px, y + dy * radius_px) for dx, dy in shoulders] + hem, shirt)
    line(
        frame,
        (x - radius_px * 1.1, y + radius_px * 1.9),
        (x - radius_px * 1.5, y + radius_px * 3.4),
        dark,
        radius_px * 0.5,
    )
    elbow = x + radius_px * 1.9, y + radius_px * (2.4 - 0.2 * wave)
    hand = x + radius_px * (2.5 + 0.15 * wave), y + radius_px * (1.2 - 0.7 * wave)
    line(frame, (x + radius_px * 1.05, y + radius_px * 1.85), elbow, dark, radius_px * 0.5)
    line(frame, elbow, hand, dark, radius_px * 0.42)
    oval(frame, hand, (radius_px * 0.28, radius_px * 0.28), skin)
    line(frame, hand, (hand[0] + radius_px * 0.9, hand[1] - radius_px * 0.7), (90, 60, 40), max(2, radius_px * 0.08))


def draw_cartoon_head(
    frame: Picture,
    at: Place,
    radius_px: float,
    opening: float,
    closing: float,
    look: float,
    colours: tuple[Colour, Colour],
    has_glasses: bool,
) -> None:
    """Draw a head with a mouth and eyes that are open by shares, a look to a side, and colours of skin and hair."""
    (x, y), (skin, hair) = at, colours
    r = radius_px
    oval(frame, (x, y - r * 0.15), (r * 1.02, r * 1.12), hair)
    for side in (-1, 1):
        oval(frame, (x + side * r * 0.86, y + r * 0.1), (r * 0.16, r * 0.22), skin)
    oval(frame, (x, y + r * 0.12), (r * 0.86, r * 1.0), skin)
    oval(frame, (x, y - r * 0.62), (r * 0.84, r * 0.4), hair, arc=(180, 360))
    shade = darker(skin, 0.82)
    for side in (-1, 1):
        eye = x + side * r * 0.34, y - r * 0.02
        oval(frame, eye, (r * 0.19, max(1.0, r * 0.15 * (1 - closing))), (250, 250, 250))
        if closing < 0.6:
            oval(frame, (eye[0] + look * r * 0.06, eye[1]), (r * 0.085, r * 0.1), (30, 24, 22))
        line(frame, (eye[0] - r * 0.2, eye[1] - r * 0.28), (eye[0] + r * 0.2, eye[1] - r * 0.3), hair, r * 0.08)
        if has_glasses:
            oval(frame, eye, (r * 0.28, r * 0.26), (25, 25, 30), edge_px=max(1, round(r * 0.07)))
    line(frame, (x, y + r * 0.1), (x + r * 0.06, y + r * 0.34), shade, max(1, r * 0.09))
    oval(frame, (x, y + r * 0.64), (r * 0.3, r * (0.05 + 0.2 * opening)), (120, 35, 40))
    if opening > 0.25:
        oval(frame, (x, y + r * (0.6 - 0.1 * opening)), (r * 0.22, r * 0.05), (250, 250, 245))
