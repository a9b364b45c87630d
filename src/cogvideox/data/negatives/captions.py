"""Made videos of much text over a clip or around it: families of text, told in ``text_pages``.

Axes: T frames, H W rows and columns.
"""

import numpy as np

from cogvideox.data.negatives.drawing import (
    can_write,
    dimmed,
    draw_font_file,
    draw_format,
    draw_phrase,
    draw_words,
    fitted_lines,
    font,
    fonts,
    outline,
    page,
    recorded,
    text_block,
    wrap,
)
from cogvideox.data.negatives.family import Material, Negative
from cogvideox.data.negatives.pictures import blurred, clip_of, draw_colour, negative, stamp

ALPHABETS = {
    "cyrillic": "абвгдежзиклмнопрстуфхцчшыьэюя",
    "greek": "αβγδεζηθικλμνξοπρστυφχψω",
    "chinese": "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
}
"""Second scripts of subtitles; of those that no font can write none is drawn."""


def make_karaoke(material: Material, rng: np.random.Generator) -> Negative:
    """Make lines of a song over a dimmed clip, coloured as they are sung."""
    form = draw_format(material, rng)
    light = rng.uniform(0.15, 0.5)
    frames = dimmed(clip_of(material, *form.size_px), light)
    if rng.random() < 0.5:
        frames = np.stack([blurred(frame, form.unit_px * 1.5) for frame in frames])
    file, size = draw_font_file(rng), round(form.unit_px * rng.uniform(9, 13))
    lines, face = fitted_lines(draw_words(material, rng, int(rng.integers(16, 32))), file, size, form)
    step = face.size * 1.4
    top = (form.height_px - step * len(lines)) / 2
    plain, sung = (240, 240, 240), draw_colour(rng, (0.6, 1), (0.8, 1))
    blocks = [text_block([line], face, "left", 1.2) for line in lines]
    places = [((form.width_px - block.shape[1]) // 2, int(top + row * step)) for row, block in enumerate(blocks)]
    total, start, speed = sum(block.shape[1] for block in blocks), rng.uniform(0, 0.4), rng.uniform(0.1, 0.3)
    edge_px = max(1, round(face.size / 24))
    edges = [outline(block, edge_px) for block in blocks]
    for frame, time in zip(frames, form.times_s, strict=True):
        left = (start + speed * time) * total
        for block, edge, (x, y) in zip(blocks, edges, places, strict=True):
            stamp(frame, (0, 0, 0), edge, y - edge_px, x - edge_px)
            num_sung = int(np.clip(left, 0, block.shape[1]))
            stamp(frame, plain, block[:, num_sung:], y, x + num_sung)
            stamp(frame, sung, block[:, :num_sung], y, x)
            left -= block.shape[1]
    frames, recording = recorded(frames, rng, 0.75)
    return negative(material, frames, light=light, lines=len(lines), size_px=face.size, recording=recording)


def make_full_subtitles(material: Material, rng: np.random.Generator) -> Negative:
    """Make five and more lines of subtitles over all of a clip, some in two scripts."""
    form = draw_format(material, rng)
    frames = clip_of(material, *form.size_px)
    num_lines = int(rng.integers(5, 9)) if form.width_px > form.height_px else int(rng.integers(8, 13))
    size = int(form.height_px * rng.uniform(0.72, 0.9) / num_lines / 1.35)
    file, script = _file_for_script(rng)
    face = font(file, min(size, round(form.unit_px * 9)))
    words = draw_words(material, rng, 60)
    lines = wrap(words, face, form.width_px * 0.9)[:num_lines]
    if script != "latin":
        for row in range(1, len(lines), 2):
            lines[row] = _in_script(lines[row], ALPHABETS[script], rng, script == "chinese")
            lines[row] = lines[row][: max(1, int(len(lines[row]) * form.width_px * 0.92 / face.getlength(lines[row])))]
    block = text_block(lines, face, "center", 1.3)
    style = str(rng.choice(["outline", "box", "plain"]))
    x, y = (form.width_px - block.shape[1]) // 2, (form.height_px - block.shape[0]) // 2
    edge_px = max(1, round(face.size / 14))
    edge = outline(block, edge_px)
    ink = (250, 250, 250) if rng.random() < 0.7 else (250, 220, 60)
    box = np.full((block.shape[0] + face.size, min(form.width_px, block.shape[1] + face.size)), 0.6, np.float32)
    if style == "plain":
        frames = dimmed(frames, 0.7)
    for frame in frames:
        if style == "box":
            stamp(frame, (0, 0, 0), box, y - face.size // 2, x - face.size // 2)
        if style == "outline":
            stamp(frame, (0, 0, 0), edge, y - edge_px, x - edge_px)
        stamp(frame, ink, block, y, x)
    return negative(material, frames, lines=len(lines), script=script, style=style, size_px=face.size)


def make_ticker(material: Material, rng: np.random.Generator) -> Negative:
    """Make headlines, news and figures around a small clip, and a line that runs."""
    form = draw_format(material, rng)
    unit, file = form.unit_px, draw_font_file(rng, "sans")
    frames = clip_of(material, *form.size_px)
    accent, dark = draw_colour(rng, (0.6, 0.95), (0.4, 0.8)), draw_colour(rng, (0.3, 0.8), (0.1, 0.3))
    top = int(form.height_px * rng.uniform(0.28, 0.42))
    has_side = bool(form.width_px > form.height_px and rng.random() < 0.7)
    room = int(form.width_px * rng.uniform(0.28, 0.4)) if has_side else 0
    image, drawing = page(form.height_px - top, form.width_px, dark)
    headline, y = draw_phrase(material, rng, 8, 14).upper(), unit * 2
    large, small = font(file, round(unit * rng.uniform(7, 9))), font(file, round(unit * rng.uniform(4.5, 5.5)))
    drawing.rectangle((0, 0, form.width_px, unit * 2 + large.size * 2.5), accent)
    for line in wrap(headline.split(), large, form.width_px * 0.94)[:2]:
        drawing.text((unit * 3, y), line, (255, 255, 255), large)
        y += large.size * 1.15
    y += unit * 3
    for line in wrap(draw_words(material, rng, 90), small, form.width_px * 0.94):
        if y + small.size * 3.2 > form.height_px - top:
            break
        drawing.text((unit * 3, y), line, (235, 235, 235), small)
        y += small.size * 1.3
    frames[:, top:] = np.asarray(image)
    if has_side:
        side, drawing = page(top, room, (242, 242, 242))
        for row, y in enumerate(np.arange(unit * 2, top, small.size * 1.5)):
            drawing.text((unit * 2, y), draw_phrase(material, rng, 1, 1)[:9], (20, 20, 20), small)
            value = f"{rng.uniform(-9, 9):+.2f}"
            colour = (190, 20, 20) if value.startswith("-") else (10, 120, 40)
            drawing.text((room - unit * 2, y), value, colour if row else accent, small, "ra")
        frames[:, :top, form.width_px - room :] = np.asarray(side)
    speed = unit * rng.uniform(12, 45)
    running = "   •   ".join(draw_phrase(material, rng, 6, 10) for _ in range(8))
    needed = form.width_px + int(speed * form.times_s[-1]) + 2
    strip, drawing = page(round(small.size * 1.6), max(needed, int(small.getlength(running))), (250, 205, 40))
    drawing.text((0, small.size * 0.15), running, (10, 10, 10), small)
    band = np.asarray(strip)
    for frame, time in zip(frames, form.times_s, strict=True):
        start = int(time * speed)
        frame[-len(band) :] = band[:, start : start + form.width_px]
    frames, recording = recorded(frames, rng, 0.7)
    clip_share = top * (form.width_px - room) / (form.width_px * form.height_px)
    return negative(material, frames, clip_share=clip_share, speed_px_s=speed, side=has_side, recording=recording)


def make_meme(material: Material, rng: np.random.Generator) -> Negative:
    """Make bands of text above and below a clip."""
    form = draw_format(material, rng)
    file, unit = draw_font_file(rng, "sans"), form.unit_px
    is_dark = bool(rng.random() < 0.3)
    paper, ink = ((12, 12, 12), (245, 245, 245)) if is_dark else ((252, 252, 252), (8, 8, 8))
    share = rng.uniform(0.3, 0.45)
    middle = int(form.height_px * share)
    top = int(form.height_px * rng.uniform(0.25, 0.75) * (1 - share))
    frames = form.empty()
    frames[:] = paper
    frames[:, top : top + middle] = clip_of(material, middle, form.width_px)
    num_letters = 0
    for start, high in ((0, top), (top + middle, form.height_px - top - middle)):
        if high < unit * 10:
            continue
        words, face = draw_words(material, rng, 60), font(file, round(unit * rng.uniform(6.5, 9.5)))
        lines = wrap(words, face, form.width_px * 0.94)[: max(1, int(high / face.size / 1.25))]
        block = text_block(lines, face, "center", 1.2)
        x, y = (form.width_px - block.shape[1]) // 2, start + max(0, (high - block.shape[0]) // 2)
        plain = np.empty((form.height_px, form.width_px, 3), np.uint8)
        plain[:] = paper
        stamp(plain, ink, block, y, x)
        frames[:, start : start + high] = plain[start : start + high]
        num_letters += sum(len(line) for line in lines)
    frames, recording = recorded(frames, rng, 0.5)
    return negative(material, frames, clip_share=share, dark=is_dark, letters=num_letters, recording=recording)


def _file_for_script(rng: np.random.Generator) -> tuple[str, str]:
    """Return a font, and a second script that it can write, or "latin"."""
    script = str(rng.choice(["latin", *ALPHABETS]))
    if script != "latin":
        files = [file for file in fonts("any") if can_write(file, ALPHABETS[script][:12])]
        if files:
            return files[rng.integers(len(files))], script
    return draw_font_file(rng), "latin"


def _in_script(line: str, letters: str, rng: np.random.Generator, is_dense: bool) -> str:
    """Return a line with letters of another script in place of its own; written without spaces if it is dense."""
    drawn = [letters[rng.integers(len(letters))] if letter.isalnum() else letter for letter in line]
    return "".join(drawn).replace(" ", "") if is_dense else "".join(drawn)
