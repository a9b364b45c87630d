"""Slides, writing by hand, name plates and headlines: what stands beside people who teach or report."""

import math

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.drawing import (
    Font,
    Format,
    Theme,
    draw_font_file,
    draw_phrase,
    draw_words,
    fitting_font,
    font,
    page,
    wrap,
)
from cogvideox.data.negatives.family import Frames, Material
from cogvideox.data.negatives.figures import oval
from cogvideox.data.negatives.pictures import Colour, Picture, draw_colour, draw_picture


def draw_slide(material: Material, rng: np.random.Generator, height_px: int, width_px: int, theme: Theme) -> Picture:
    """Return a slide: a heading, and bullets, columns of a chart, boxes with arrows or a picture with some words."""
    image, drawing = page(height_px, width_px, theme.paper)
    unit = min(width_px, height_px) / 100
    file = draw_font_file(rng, "sans")
    if rng.random() < 0.5:
        drawing.rectangle((0, 0, width_px, height_px * 0.17), theme.accent)
    heading = draw_phrase(material, rng, 2, 4)
    face = fitting_font(file, heading, width_px * 0.86, round(unit * rng.uniform(7.5, 10)))
    drawing.text((width_px * 0.06, height_px * 0.04), heading, theme.ink, face)
    body_top, kind = height_px * 0.24, rng.integers(4)
    text_width = width_px * (0.45 if kind == 3 else 0.82)
    if kind in (0, 3):
        small, y = font(file, round(unit * rng.uniform(4.6, 6.5))), body_top
        while y < height_px * 0.84:
            for row, line in enumerate(wrap(draw_words(material, rng, int(rng.integers(3, 12))), small, text_width)):
                if row == 0:
                    r = small.size * 0.16
                    x, middle = width_px * 0.075, y + small.size * 0.62
                    drawing.ellipse((x - r, middle - r, x + r, middle + r), theme.accent)
                drawing.text((width_px * 0.11, y), line, theme.ink, small)
                y += small.size * 1.25
            y += small.size * 0.5
    if kind == 1:
        num_columns = int(rng.integers(4, 9))
        base, step = height_px * 0.86, width_px * 0.8 / num_columns
        drawing.line((width_px * 0.1, body_top, width_px * 0.1, base, width_px * 0.92, base), theme.ink, 2)
        for column in range(num_columns):
            x, tall = width_px * 0.1 + step * (column + 0.2), (base - body_top) * rng.uniform(0.15, 0.95)
            drawing.rectangle((x, base - tall, x + step * 0.65, base - 1), draw_colour(rng, (0.4, 0.9), (0.4, 0.9)))
            drawing.text((x, base + 3), draw_words(material, rng, 1)[0][:6], theme.ink, font(file, round(unit * 3.6)))
    if kind == 2:
        num_boxes, small = int(rng.integers(3, 6)), font(file, round(unit * 4.4))
        for box in range(num_boxes):
            x = width_px * (0.06 + 0.9 * box / num_boxes)
            y = height_px * (0.35 + 0.25 * (box % 2))
            corners = (x, y, x + width_px * 0.7 / num_boxes, y + height_px * 0.18)
            drawing.rounded_rectangle(corners, unit * 2, theme.panel, theme.accent, max(1, round(unit * 0.6)))
            drawing.text((x + unit * 2, y + unit * 3), draw_words(material, rng, 1)[0][:9], theme.ink, small)
            if box:
                drawing.line((x - width_px * 0.2 / num_boxes, y + unit * 9, x, y + unit * 9), theme.ink, 2)
    made = np.array(image)
    if kind == 3:
        wide, high = int(width_px * 0.36), int(height_px * 0.55)
        x, y = int(width_px * 0.58), int(body_top)
        made[y : y + high, x : x + wide] = draw_picture(material, rng, high, wide)
    return made


def handwriting(
    rng: np.random.Generator, left_px: float, top_px: float, width_px: float, height_px: float, letter_px: float
) -> NDArray[np.float64]:
    """Return the course (N, 3) of a pen that fills a box with lines of script: x, y, and 1 where it touches, else 0."""
    points: list[NDArray[np.float64]] = []
    y = top_px + letter_px
    while y < top_px + height_px:
        x = left_px + rng.uniform(0, 0.05) * width_px
        line_end = left_px + width_px * rng.uniform(0.6, 1.0)
        while x < line_end:
            num_letters = int(rng.integers(2, 8))
            steps = np.arange(num_letters * 7 + 1) / 7
            wide = letter_px * rng.uniform(0.5, 0.75)
            tall = 0.5 + 0.5 * np.repeat(rng.choice([0.1, 0.9, 1.6], num_letters + 1), 7)[: len(steps)]
            word_x = x + steps * wide + np.sin(2 * math.pi * steps) * wide * rng.uniform(0.25, 0.5)
            word_y = y - (1 - np.cos(2 * math.pi * steps)) * letter_px * 0.35 * tall
            word = np.stack([word_x, word_y, np.ones(len(steps))], 1)
            word[0, 2] = 0
            points.append(word)
            x = float(word_x[-1]) + letter_px * 0.8
        y += letter_px * 2.1
    return np.concatenate(points)


def draw_strokes(frame: Picture, points: NDArray[np.float64], colour: tuple[int, int, int], width_px: int) -> None:
    """Draw a pen's course (N, 3): a line to every point at which it touches."""
    cv2 = opencv()
    fixed = np.rint(points[:, :2] * 16).astype(np.int32)
    starts = np.flatnonzero(points[:, 2] == 0)
    for first, last in zip(starts, [*starts[1:], len(points)], strict=True):
        cv2.polylines(frame, [fixed[first:last]], False, colour, max(1, width_px), cv2.LINE_AA, 4)


def draw_name_plate(frames: Frames, material: Material, rng: np.random.Generator, form: Format) -> None:
    """Draw a name and an office on a box at the lower left."""
    file = draw_font_file(rng, "sans")
    name, office = draw_phrase(material, rng, 2, 2)[:24], draw_phrase(material, rng, 2, 4)[:36]
    large, small = font(file, round(form.unit_px * 5.5)), font(file, round(form.unit_px * 3.8))
    wide = int(max(large.getlength(name), small.getlength(office)) + form.unit_px * 6)
    high = int(form.unit_px * 14)
    image, drawing = page(high, wide, draw_colour(rng, (0.3, 0.9), (0.1, 0.5)))
    drawing.text((form.unit_px * 3, form.unit_px * 1.5), name, (250, 250, 250), large)
    drawing.text((form.unit_px * 3, form.unit_px * 8.5), office, (225, 225, 225), small)
    x, y = int(form.width_px * 0.06), int(form.height_px * 0.93) - high
    plate = np.asarray(image)[:, : form.width_px - x]
    frames[:, y : y + high, x : x + plate.shape[1]] = plate


def draw_lower_third(
    frames: Frames, material: Material, rng: np.random.Generator, form: Format, accent: tuple[int, int, int]
) -> None:
    """Draw a headline on a box, and below it a line of news that runs to the left."""
    unit, file = form.unit_px, draw_font_file(rng, "sans")
    headline = draw_phrase(material, rng, 3, 7).upper()
    wide, high = int(form.width_px * 0.92), int(unit * 11)
    image, drawing = page(high, wide, (245, 245, 245))
    drawing.rectangle((0, 0, unit * 14, high), accent)
    drawing.text((unit * 2, unit * 2.6), "NEWS", (255, 255, 255), font(file, round(unit * 4.6)))
    drawing.text(
        (unit * 16, unit * 2), headline, (15, 15, 20), fitting_font(file, headline, wide - unit * 18, round(unit * 6))
    )
    x, y = int(form.width_px * 0.04), int(form.height_px * 0.94 - unit * 17)
    frames[:, y : y + high, x : x + wide] = np.asarray(image)
    small = font(file, round(unit * 4))
    running = "   +++   ".join(draw_phrase(material, rng, 6, 10) for _ in range(4))
    strip, drawing = page(int(unit * 6), max(wide * 2, int(small.getlength(running))), (18, 20, 30))
    drawing.text((0, unit * 0.6), running, (240, 240, 240), small)
    band, speed = np.asarray(strip), unit * rng.uniform(12, 30)
    for frame, time in zip(frames, form.times_s, strict=True):
        start = int(time * speed) % (band.shape[1] - wide)
        frame[y + high : y + high + len(band), x : x + wide] = band[:, start : start + wide]


def draw_label(frames: Frames, text: str, face: Font, x_px: float, y_px: float) -> None:
    """Draw a name on a dark box."""
    image, drawing = page(int(face.size * 1.4), int(face.getlength(text)) + 8, (24, 24, 26))
    drawing.text((4, face.size * 0.08), text, (240, 240, 240), face)
    x, y = int(x_px), int(y_px)
    box = np.asarray(image)[: frames.shape[1] - y, : frames.shape[2] - x]
    frames[:, y : y + box.shape[0], x : x + box.shape[1]] = box


def draw_frame_around(frames: Frames, box_px: tuple[int, int, int, int], colour: Colour, edge_px: int) -> None:
    """Draw an edge inside of a box: left, top, width, height."""
    x, y, wide, high = box_px
    frames[:, y : y + edge_px, x : x + wide] = frames[:, y + high - edge_px : y + high, x : x + wide] = colour
    frames[:, y : y + high, x : x + edge_px] = frames[:, y : y + high, x + wide - edge_px : x + wide] = colour


def draw_call_buttons(frames: Frames, form: Format, bar_px: int) -> None:
    """Draw a row of round buttons along the lower edge, the last of them red."""
    strip = np.full((bar_px, form.width_px, 3), 28, np.uint8)
    for place in range(5):
        x = form.width_px / 2 + (place - 2) * bar_px * 1.3
        oval(strip, (x, bar_px / 2), (bar_px * 0.36, bar_px * 0.36), (210, 50, 45) if place == 4 else (70, 72, 78))
        oval(strip, (x, bar_px / 2), (bar_px * 0.12, bar_px * 0.16), (235, 235, 235))
    frames[:, -bar_px:] = strip
