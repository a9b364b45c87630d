"""Made videos of lists, messages, numbers and printed pages: families of text, told in ``text_pages``.

Axes: T frames, H W rows and columns.
"""

import math

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.drawing import (
    draw_font_file,
    draw_format,
    draw_phrase,
    draw_theme,
    draw_words,
    drift,
    fitting_font,
    font,
    gradient,
    page,
    recorded,
    text_block,
    wrap,
)
from cogvideox.data.negatives.family import Material, Negative
from cogvideox.data.negatives.pictures import Colour, Picture, draw_picture, ease, negative, stamp


def make_price_list(material: Material, rng: np.random.Generator) -> Negative:
    """Make a menu or price list, of one or two columns, whose lines come one by one or are pointed out in turn."""
    form = draw_format(material, rng)
    unit, theme, file = form.unit_px, draw_theme(rng, 0.55), draw_font_file(rng)
    image, drawing = page(*form.size_px, theme.paper)
    heading = draw_phrase(material, rng, 1, 3).title()
    large = fitting_font(file, heading, form.width_px * 0.8, round(unit * rng.uniform(9, 13)))
    drawing.text((form.width_px / 2, unit * 4), heading, theme.accent, large, "ma")
    top = unit * 8 + large.size * 1.1
    num_columns = 2 if form.width_px > form.height_px * 1.3 and rng.random() < 0.6 else 1
    small = font(file, round(unit * rng.uniform(4.6, 6.5)))
    step = small.size * rng.uniform(1.35, 1.9)
    currency = str(rng.choice(["$", "€", "£"]))
    if rng.random() < 0.4:
        drawing.rectangle(
            (unit * 2, unit * 2, form.width_px - unit * 2, form.height_px - unit * 2), outline=theme.accent
        )
    empty = np.array(image)
    boxes: list[tuple[int, int, int, int]] = []
    wide = form.width_px / num_columns
    for column in range(num_columns):
        left, right, y = wide * column + unit * 5, wide * (column + 1) - unit * 5, top
        while y + step < form.height_px - unit * 4:
            item, price = draw_phrase(material, rng, 1, 3), f"{currency}{rng.uniform(1, 60):.2f}"
            room = right - left - small.getlength(price) - unit * 2
            item = next(item[:n] for n in range(len(item), -1, -1) if small.getlength(item[:n]) < room)
            drawing.text((left, y), item, theme.ink, small)
            drawing.text((right, y), price, theme.accent, small, "ra")
            dots = int((room - small.getlength(item)) / small.getlength(".") * 0.8)
            drawing.text((right - small.getlength(price) - unit, y), "." * max(0, dots), theme.faint, small, "ra")
            boxes.append((int(left - unit), int(y), int(right + unit), int(min(y + step, form.height_px))))
            y += step
    full = np.array(image)
    effect = str(rng.choice(["still", "line by line", "pointed out"]))
    frames = np.repeat((empty if effect == "line by line" else full)[None], form.num_frames, 0)
    pace = len(boxes) / rng.uniform(0.5, 1.2) / max(form.times_s[-1], 1e-9)
    for frame, time in zip(frames, form.times_s, strict=True):
        if effect == "line by line":
            for left, y, right, bottom in boxes[: max(3, int(time * pace))]:
                frame[y:bottom, left:right] = full[y:bottom, left:right]
        if effect == "pointed out":
            left, y, right, bottom = boxes[int(time * 2.2) % len(boxes)]
            place = frame[y:bottom, max(0, left) : right]
            place[:] = (place * 0.6 + np.array(theme.accent) * 0.4).astype(np.uint8)
    frames, recording = recorded(frames, rng, 0.75)
    return negative(material, frames, items=len(boxes), columns=num_columns, effect=effect, recording=recording)


def make_chat(material: Material, rng: np.random.Generator) -> Negative:
    """Make bubbles of two sides that come from below, one after another, and push the others up."""
    form = draw_format(material, rng)
    unit, theme, file = form.unit_px, draw_theme(rng, 0.4), draw_font_file(rng, "sans")
    face = font(file, round(unit * rng.uniform(5, 7.5)))
    other: Colour = theme.line if theme.is_dark else (228, 228, 233)
    bubbles: list[tuple[Picture, bool]] = []
    pace = rng.uniform(0.5, 1.1)
    num_before = 12
    for _ in range(num_before + int(form.times_s[-1] / pace) + 1):
        lines = wrap(draw_words(material, rng, int(rng.integers(2, 15))), face, form.width_px * 0.62)
        is_own = bool(rng.random() < 0.5)
        wide = min(form.width_px, int(max(face.getlength(line) for line in lines) + unit * 6))
        high = int(face.size * 1.25 * len(lines) + unit * 4)
        image, drawing = page(high + int(unit * 3), form.width_px, theme.paper)
        left = form.width_px - wide - unit * 3 if is_own else unit * 3
        drawing.rounded_rectangle((left, 0, left + wide, high), unit * 3, theme.accent if is_own else other)
        for row, line in enumerate(lines):
            place = (left + unit * 3, unit * 1.5 + row * face.size * 1.25)
            drawing.text(place, line, (255, 255, 255) if is_own or theme.is_dark else (15, 15, 18), face)
        bubbles.append((np.asarray(image), is_own))
    roll = np.concatenate([bubble for bubble, _ in bubbles])
    ends = np.cumsum([len(bubble) for bubble, _ in bubbles])
    frames = form.empty()
    for frame, time in zip(frames, form.times_s, strict=True):
        number = num_before + int(time / pace)
        share = float(ease((time % pace) / 0.2, "smooth")) if number > num_before else 1.0
        bottom = ends[number - 1] - (1 - share) * len(bubbles[number - 1][0])
        rows = np.arange(form.height_px) + round(bottom) - form.height_px
        frame[:] = roll[rows.clip(0)]
        frame[rows < 0] = theme.paper
    frames, recording = recorded(frames, rng, 0.7)
    return negative(
        material, frames, messages_per_s=1 / pace, dark=theme.is_dark, size_px=face.size, recording=recording
    )


def make_countdown(material: Material, rng: np.random.Generator) -> Negative:
    """Make large numbers that count down, plain or in a ring that runs round, or large letters with words below."""
    cv2 = opencv()
    form = draw_format(material, rng)
    unit, file, theme = form.unit_px, draw_font_file(rng), draw_theme(rng, 0.6)
    kind = str(rng.choice(["number", "leader", "clock", "letter"]))
    face = font(file, round(unit * (rng.uniform(26, 34) if kind == "clock" else rng.uniform(45, 65))))
    size_px = round(unit * rng.uniform(5, 8))
    back = gradient(*form.size_px, theme.paper, theme.panel, rng.uniform(0, 6))
    middle = form.width_px // 2, form.height_px // 2
    line = draw_phrase(material, rng, 3, 6)
    below = text_block([line], fitting_font(file, line, form.width_px * 0.9, size_px), "center", 1.2)
    pace, first = rng.uniform(0.5, 1.1), int(rng.integers(4, 100 if kind == "number" else 11))
    grows = bool(rng.random() < 0.5) and kind != "leader"
    frames = np.repeat(back[None], form.num_frames, 0)
    for frame, time in zip(frames, form.times_s, strict=True):
        step = int(time / pace)
        shown = str(max(0, first - step))
        if kind == "clock":
            shown = f"{first:02d}:{59 - int(time * 1.0) % 60:02d}"
        if kind == "letter":
            shown = material.words[(first + step) % len(material.words)][:2].upper()
        block = text_block([shown], face, "center", 1.2)
        if kind == "leader":
            radius = int(unit * 38)
            cv2.line(frame, (0, middle[1]), (form.width_px, middle[1]), theme.faint, 2)
            cv2.line(frame, (middle[0], 0), (middle[0], form.height_px), theme.faint, 2)
            angle = 360 * (time % pace) / pace
            cv2.ellipse(frame, middle, (radius * 3, radius * 3), -90, 0, angle, theme.line, -1)
            cv2.circle(frame, middle, radius, theme.ink, max(1, round(unit)), cv2.LINE_AA)
        if grows:
            scale = 1.25 - 0.25 * float(ease((time % pace) / pace * 2, "smooth"))
            block = cv2.resize(block, None, fx=scale, fy=scale)
        x, y = middle[0] - block.shape[1] // 2, middle[1] - block.shape[0] // 2
        stamp(frame, theme.ink, block, y, x)
        stamp(frame, theme.accent, below, int(form.height_px * 0.86), middle[0] - below.shape[1] // 2)
    frames, recording = recorded(frames, rng, 0.7)
    return negative(material, frames, kind=kind, first=first, step_s=pace, grows=grows, recording=recording)


def make_page_turn(material: Material, rng: np.random.Generator) -> Negative:
    """Make pages of a book or newspaper that a camera moves over slowly, and of which one may be turned."""
    cv2 = opencv()
    form = draw_format(material, rng)
    zoom = rng.uniform(1.1, 1.5)
    wide, high = int(form.width_px * zoom), int(form.height_px * zoom)
    num_columns = int(rng.integers(2, 5)) if wide > high else int(rng.integers(1, 3))
    is_news = bool(rng.random() < 0.5)
    sheets = [_printed_page(material, rng, high, wide, num_columns, is_news) for _ in range(2)]
    turns = bool(rng.random() < 0.5)
    start, length = rng.uniform(0.2, 0.5) * form.times_s[-1], rng.uniform(0.6, 1.3)
    dx, dy, tilt = (drift(rng, form.times_s, rng.uniform(3, 7)).clip(-1, 1) for _ in range(3))
    room = (zoom - 1) / 2 * 0.8
    lean = rng.uniform(0, 3)
    frames = form.empty()
    x = np.linspace(0, 1, wide, dtype=np.float32)
    for index, (frame, time) in enumerate(zip(frames, form.times_s, strict=True)):
        sheet = sheets[0]
        share = float(ease((time - start) / length, "smooth")) if turns else 0.0
        if share >= 1:
            sheet = sheets[1]
        elif share > 0:
            fold = (1 - share) * 1.15
            under = x > fold
            sheet = np.where(under[:, None], sheets[1], sheets[0])
            band = 0.16 * math.sin(math.pi * share) + 0.01
            curl = ((x > fold - band) & ~under)[None, :, None]
            shade = 0.75 + 0.35 * np.sin(np.pi * ((x - fold + band) / band).clip(0, 1))[None, :, None]
            behind = cv2.flip(np.ascontiguousarray(sheets[0]), 1) // 4 + 165
            sheet = np.where(curl, (behind * shade).clip(0, 255), sheet).astype(np.uint8)
            near = np.where(under, 1 - 0.45 * np.exp(-(x - fold) / 0.04), 1)[None, :, None]
            sheet = (sheet * near).astype(np.uint8)
        matrix = cv2.getRotationMatrix2D((wide / 2, high / 2), lean + tilt[index] * 1.2, 1)
        matrix[:, 2] -= (wide - form.width_px) / 2, (high - form.height_px) / 2
        matrix[:, 2] += dx[index] * room * form.width_px, dy[index] * room * form.height_px
        frame[:] = cv2.warpAffine(sheet, matrix, form.size_px[::-1], borderMode=cv2.BORDER_REPLICATE)
    frames, recording = recorded(frames, rng, 0.5)
    return negative(
        material, frames, columns=num_columns, newspaper=is_news, turns=turns, zoom=zoom, recording=recording
    )


def _printed_page(
    material: Material, rng: np.random.Generator, height_px: int, width_px: int, num_columns: int, is_news: bool
) -> Picture:
    """Return a page of columns of running text on paper, with headlines and a picture if it is of a newspaper."""
    unit, file = min(width_px, height_px) / 100, draw_font_file(rng)
    light = int(rng.integers(222, 248))
    paper = (light, light - int(rng.integers(0, 10)), light - int(rng.integers(8, 34)))
    image, drawing = page(height_px, width_px, paper)
    face, y_top = font(file, max(9, round(unit * rng.uniform(2.8, 4.2)))), unit * 6
    if is_news:
        headline = draw_phrase(material, rng, 3, 6)
        large = fitting_font(file, headline, width_px * 0.92, round(unit * 11))
        drawing.text((width_px / 2, unit * 4), headline, (20, 18, 18), large, "ma")
        y_top = unit * 8 + large.size * 1.2
        drawing.line((unit * 4, y_top - unit * 2, width_px - unit * 4, y_top - unit * 2), (60, 55, 50), 1)
    wide, photo = width_px / num_columns, rng.integers(num_columns) if is_news else -1
    for column in range(num_columns):
        y = y_top + (wide * 0.7 if column == photo else 0)
        words = draw_words(material, rng, int(height_px / face.size * wide / face.size) // 3 + 20)
        for line in wrap(words, face, wide - unit * 6):
            if y > height_px - unit * 6:
                break
            drawing.text((wide * column + unit * 3, y), line, (38, 34, 34), face)
            y += face.size * (1.25 if rng.random() < 0.9 else 1.9)
    made = np.array(image)
    if photo >= 0:
        w, h, x, y = int(wide - unit * 6), int(wide * 0.62), int(wide * photo + unit * 3), int(y_top)
        gray = opencv().cvtColor(draw_picture(material, rng, h, w), opencv().COLOR_RGB2GRAY)
        rows = made[y : y + h, x : x + w]
        rows[:] = (gray[: rows.shape[0], : rows.shape[1], None] * 0.8 + 30).astype(np.uint8)
    if num_columns == 2 and not is_news:
        x = np.abs(np.arange(width_px) - width_px / 2) / (0.06 * width_px)
        made = (made * (1 - 0.4 * np.exp(-x))[None, :, None]).astype(np.uint8)
    grain = rng.normal(0, 2.5, made.shape[:2])[..., None]
    return (made + grain).clip(0, 255).astype(np.uint8)
