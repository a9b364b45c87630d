"""Made recordings of editors and terminals: families of screenshots, told in ``screenshot``.

Axes: T frames, H W rows and columns.
"""

import numpy as np

from cogvideox.data.negatives.drawing import (
    darker,
    draw_font_file,
    draw_format,
    draw_theme,
    draw_words,
    drift,
    font,
    page,
    recorded,
)
from cogvideox.data.negatives.family import Material, Negative
from cogvideox.data.negatives.pictures import Colour, draw_colour, negative
from cogvideox.data.negatives.screens import (
    WINDOW_STYLES,
    cut_to,
    draw_icon,
    draw_menu,
    draw_ui_font,
    draw_window,
    with_pointer,
)

KEYWORDS = ("def", "return", "for", "if", "class", "import", "while", "else:", "with", "try:", "in", "not")
SIGNS = ("(", ")", " = ", ".", "[", "]", ", ", ": ", " + ", "_", " == ")
CODE_COLOURS: dict[bool, tuple[Colour, Colour, Colour, Colour]] = {
    True: ((212, 212, 212), (198, 120, 221), (152, 195, 121), (110, 120, 135)),
    False: ((30, 30, 30), (0, 0, 200), (163, 21, 21), (0, 128, 0)),
}
"""Of dark and light editors: plain, keywords, texts, remarks."""


def make_editor(material: Material, rng: np.random.Generator) -> Negative:
    """Make an editor of code in which someone types."""
    form = draw_format(material, rng, "landscape")
    theme, face = draw_theme(rng, 0.6), draw_ui_font(rng, form)
    mono = font(draw_font_file(rng, "mono"), max(9, round(form.unit_px * rng.uniform(3.4, 5.5))))
    image, drawing = page(*form.size_px, theme.paper)
    style = WINDOW_STYLES[rng.integers(3)]
    box = draw_window(drawing, (0, 0, form.width_px - 1, form.height_px - 1), theme, "main.py", face, style)
    box = draw_menu(drawing, box, theme, face, ["File", "Edit", "View", "Run", "Help"])
    left, top, right, bottom = box
    if (side := int(form.width_px * rng.choice([0, 0.2]))) > 0:
        drawing.rectangle((left, top, left + side, bottom), theme.panel)
        for y in np.arange(top + 6, bottom - face.size, face.size * 1.6):
            name = draw_words(material, rng, 1)[0].lower()[:10] + ".py"
            draw_icon(drawing, left + 6, y, face.size, "sheet", theme.accent)
            drawing.text((left + 10 + face.size, y), cut_to(name, face, side - face.size - 14), theme.ink, face)
    step, code_left = mono.size * 1.35, left + side + mono.size * 2.6
    num_rows = int((bottom - top - 4) / step)
    bounds: list[list[int]] = []
    empty = np.array(image)
    for row, pieces in enumerate(_code(rng, material, num_rows)):
        x, y, ends = code_left, top + 4 + row * step, [int(code_left)]
        drawing.text((left + side + mono.size * 2.0, y), str(row + 1), theme.faint, mono, "ra")
        for text, kind in pieces:
            drawing.text((x, y), text, CODE_COLOURS[theme.is_dark][kind], mono)
            ends += [int(x + mono.getlength(text[: n + 1])) for n in range(len(text))]
            x += mono.getlength(text)
        bounds.append(ends)
    full = np.array(image)
    first = int(num_rows * rng.uniform(0.3, 0.7))
    area = slice(int(top + 4 + first * step), bottom), slice(int(code_left), right)
    blank = full.copy()
    blank[area] = empty[area]
    speed = rng.uniform(5, 18)
    is_typing = np.cumsum(drift(rng, form.times_s, 1.5) > -0.3) / form.fps * speed
    frames = np.repeat(blank[None], form.num_frames, 0)
    for frame, typed, time in zip(frames, is_typing, form.times_s, strict=True):
        row, left_over = first, int(typed)
        while row < num_rows - 1 and left_over >= len(bounds[row]):
            left_over -= len(bounds[row])
            row += 1
        x, y = min(bounds[row][min(left_over, len(bounds[row]) - 1)], right), int(top + 4 + row * step)
        for done in ((slice(area[0].start, y), area[1]), (slice(y, int(y + step)), slice(int(code_left), x))):
            frame[done] = full[done]
        if time % 1.0 < 0.55:
            frame[y : y + mono.size, x : x + max(1, mono.size // 8)] = theme.ink
    if rng.random() < 0.3:
        with_pointer(frames, form, rng)
    frames, recording = recorded(frames, rng)
    return negative(material, frames, recording=recording, letters_per_s=speed, dark=theme.is_dark, size_px=mono.size)


def make_terminal(material: Material, rng: np.random.Generator) -> Negative:
    """Make lines of output that fill a terminal and scroll."""
    form = draw_format(material, rng)
    mono = font(draw_font_file(rng, "mono"), max(9, round(form.unit_px * rng.uniform(3.2, 5.5))))
    is_dark = bool(rng.random() < 0.85)
    paper = darker(draw_colour(rng, (0, 1), (0, 0.25)), 1) if is_dark else (250, 250, 248)
    ink = ((220, 220, 220), (80, 230, 90), (240, 190, 80))[rng.integers(3)] if is_dark else (30, 30, 30)
    step, num_shown = round(mono.size * 1.25), 0
    rate, burst = rng.uniform(2, 25), drift(rng, form.times_s, rng.uniform(0.8, 2))
    num_lines = np.floor(np.cumsum(np.maximum(burst + 0.4, 0)) / form.fps * rate).astype(int)
    num_shown = form.height_px // step
    start = int(rng.integers(2, num_shown))
    roll, drawing = page((start + int(num_lines[-1]) + num_shown + 2) * step, form.width_px, paper)
    for row in range(start + int(num_lines[-1]) + 1):
        kind = rng.integers(4)
        words = draw_words(material, rng, int(rng.integers(1, 10)))
        text = ("$ " if kind == 0 else f"[{rng.integers(10**5):6d}] " if kind == 1 else "  ") + " ".join(words).lower()
        text += f" {rng.integers(100)}%" if kind == 3 else ""
        drawing.text((4, row * step), text, darker(ink, 0.65) if kind == 1 else ink, mono)
    made, frames = np.asarray(roll), form.empty()
    for frame, count, time in zip(frames, num_lines, form.times_s, strict=True):
        last = start + int(count)
        top = max(0, last - num_shown + 2) * step
        frame[:] = made[top : top + form.height_px]
        y = last * step - top
        frame[y:] = paper
        if time % 1.0 < 0.6:
            frame[y : y + mono.size, 4 : 4 + mono.size // 2] = ink
    frames, recording = recorded(frames, rng)
    return negative(material, frames, recording=recording, lines_per_s=rate, dark=is_dark, size_px=mono.size)


def _code(rng: np.random.Generator, material: Material, num_lines: int) -> list[list[tuple[str, int]]]:
    """Return lines of made-up code, each of pieces of text and what they are: 0 plain, 1 keyword, 2 text, 3 remark."""
    lines, depth = [], 0
    for _ in range(num_lines):
        if rng.random() < 0.12:
            lines.append([])
            depth = 0
            continue
        line: list[tuple[str, int]] = [("    " * depth, 0)]
        if rng.random() < 0.12:
            line.append(("# " + " ".join(draw_words(material, rng, int(rng.integers(2, 6)))), 3))
        else:
            if rng.random() < 0.5:
                line.append((KEYWORDS[rng.integers(len(KEYWORDS))] + " ", 1))
            for _ in range(int(rng.integers(1, 4))):
                word = draw_words(material, rng, 1)[0].lower().strip(".,;:()")
                is_text = rng.random() < 0.2
                line.append((f'"{word}"' if is_text else word, 2 if is_text else 0))
                line.append((SIGNS[rng.integers(len(SIGNS))], 0))
        lines.append(line)
        depth = int(np.clip(depth + rng.integers(-1, 2), 0, 3))
    return lines
