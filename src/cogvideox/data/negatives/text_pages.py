"""Made videos that are text above all: title cards, credits, quotes, captions, lists, messages and pages.

Axes: T frames, H W rows and columns.
"""

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.captions import make_full_subtitles, make_karaoke, make_meme, make_ticker
from cogvideox.data.negatives.drawing import (
    Format,
    darker,
    dimmed,
    draw_font_file,
    draw_format,
    draw_phrase,
    draw_words,
    fitted_lines,
    fitting_font,
    font,
    gradient,
    mask_of,
    mask_page,
    recorded,
    text_block,
)
from cogvideox.data.negatives.family import Family, Material, Negative
from cogvideox.data.negatives.pictures import (
    Colour,
    Picture,
    blurred,
    draw_colour,
    draw_picture,
    ease,
    negative,
    stamp,
    view_of,
)
from cogvideox.data.negatives.printed import make_chat, make_countdown, make_page_turn, make_price_list


def _title_card(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    back, ink = _background(material, rng, form)
    effect = str(rng.choice(["still", "fade", "typed", "letters", "grows", "line by line", "rises"]))
    file, size = draw_font_file(rng), round(form.unit_px * rng.uniform(4.5, 15))
    words = draw_words(material, rng, int(rng.integers(2, 22 if size < 10 * form.unit_px else 11)))
    # Many cards are empty before their text comes and after it has gone.
    first_s, last_s = form.times_s[-1] * np.array([rng.uniform(0, 0.3), rng.uniform(0.75, 1.2)])
    if rng.random() < 0.4:
        words = [word.upper() for word in words]
    lines, face = fitted_lines(words, file, size, form)
    step, top = face.size * 1.35, (form.height_px - face.size * 1.35 * len(lines)) / 2
    frames = np.repeat(back[None], form.num_frames, 0)
    duration = rng.uniform(0.4, 0.95) * form.times_s[-1]
    num_letters = sum(len(line) for line in lines)
    blocks = [text_block([line], face, "left", 1.2) for line in lines]
    pace = form.times_s / max(duration, 1e-9)
    is_left = bool(rng.random() < 0.25)
    for frame, share, time_s in zip(frames, pace, form.times_s, strict=True):
        seen = 0
        if not first_s <= time_s <= last_s:
            continue
        for row, (line, block) in enumerate(zip(lines, blocks, strict=True)):
            x = int(form.width_px * 0.07) if is_left else (form.width_px - block.shape[1]) // 2
            y, opacity = int(top + row * step), 1.0
            if effect in ("typed", "letters"):
                num = int(np.clip(share * num_letters - seen, 0, len(line)))
                block = block[:, : int(face.getlength(line[:num])) + 3 if num else 0]
            if effect == "fade":
                opacity = float(ease(share * 1.6, "smooth"))
            if effect == "line by line":
                opacity = float(ease(share * (len(lines) + 1) - row, "smooth"))
            if effect == "grows":
                scale = 0.75 + 0.25 * float(ease(share, "smooth"))
                block = opencv().resize(block, None, fx=scale, fy=scale)
                x = (form.width_px - block.shape[1]) // 2
                y = int(form.height_px / 2 + (top + row * step - form.height_px / 2) * scale)
            if effect == "rises":
                y += int((1 - float(ease(share * 2, "smooth"))) * 1.2 * step)
                opacity = float(ease(share * 2, "smooth"))
            seen += len(line)
            stamp(frame, ink, block * opacity, y, x)
    frames, recording = recorded(frames, rng, 0.75)
    return negative(material, frames, effect=effect, size_px=face.size, letters=num_letters, recording=recording)


def _rolling_credits(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    back, ink = _background(material, rng, form)
    file, unit = draw_font_file(rng), form.unit_px
    small, large = font(file, round(unit * rng.uniform(4, 5.5))), font(file, round(unit * rng.uniform(5, 7.5)))
    speed = unit * rng.uniform(8, 35)
    high = form.height_px + int(speed * form.times_s[-1]) + 2
    is_two_columns = bool(rng.random() < 0.5)
    roll, drawing = mask_page(high, form.width_px)
    y, middle = unit * rng.uniform(0, 20), form.width_px / 2
    while y < high:
        job, num_names = draw_phrase(material, rng, 1, 3), int(rng.integers(1, 5))
        if not is_two_columns:
            drawing.text((middle, y), job, 190, small, "ma")
            y += small.size * 1.4
        for row in range(num_names):
            name = draw_phrase(material, rng, 2, 3).title()[:28]
            if is_two_columns and row == 0:
                drawing.text((middle - unit * 2, y), job, 190, small, "ra")
            anchor = "la" if is_two_columns else "ma"
            drawing.text((middle + (unit * 2 if is_two_columns else 0), y), name, 255, large, anchor)
            y += large.size * 1.3
        y += large.size * rng.uniform(0.5, 1.2)
    mask, frames = mask_of(roll), np.repeat(back[None], form.num_frames, 0)
    is_whole = bool(rng.random() < 0.5)
    for frame, time in zip(frames, form.times_s, strict=True):
        start = time * speed
        first = int(start)
        part = mask[first : first + form.height_px]
        if not is_whole:
            shift = np.array([[1, 0, 0], [0, 1, first - start]])
            part = opencv().warpAffine(mask[first : first + form.height_px + 1], shift, (form.width_px, form.height_px))
        stamp(frame, ink, part, 0, 0)
    frames, recording = recorded(frames, rng, 0.75)
    return negative(material, frames, speed_px_s=speed, two_columns=is_two_columns, recording=recording)


def _crawl(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    back, ink = _background(material, rng, form)
    file, unit = draw_font_file(rng), form.unit_px
    num_rows = int(rng.integers(4, 9))
    face = font(file, round(form.height_px / num_rows * rng.uniform(0.4, 0.6)))
    frames = np.repeat(back[None], form.num_frames, 0)
    is_one_way = bool(rng.random() < 0.4)
    speeds = []
    for row in range(num_rows):
        speed = unit * rng.uniform(10, 60) * (1 if is_one_way or rng.random() < 0.5 else -1)
        speeds.append(abs(speed))
        needed = form.width_px + abs(speed) * form.times_s[-1] + unit
        words: list[str] = []
        while not words or face.getlength(" ".join(words)) < needed:
            words += draw_words(material, rng, 8)
        band = text_block([" ".join(words)], face, "left", 1.1)
        y = int(form.height_px * (row + 0.5) / num_rows - face.size * 0.65)
        colour = ink if rng.random() < 0.7 else draw_colour(rng, (0.5, 1), (0.3, 0.9))
        for frame, time in zip(frames, form.times_s, strict=True):
            x = time * speed if speed > 0 else needed - form.width_px + time * speed
            stamp(frame, colour, band[:, int(x) : int(x) + form.width_px], y, 0)
    frames, recording = recorded(frames, rng, 0.75)
    return negative(material, frames, rows=num_rows, speed_px_s=float(np.mean(speeds)), recording=recording)


def _quote(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    unit = form.unit_px
    grow = rng.uniform(0, 0.1)
    photo = dimmed(blurred(draw_picture(material, rng, *form.size_px), unit * rng.uniform(1, 4)), rng.uniform(0.3, 0.6))
    file = draw_font_file(rng)
    size = round(unit * rng.uniform(6.5, 9.5))
    words = draw_words(material, rng, int(rng.integers(14, 34)))
    lines, face = fitted_lines([f"“{words[0]}", *words[1:-1], f"{words[-1]}”"], file, size, form)
    author = f"— {draw_phrase(material, rng, 2, 2).title()}"
    block = text_block([*lines, "", author], face, "center", 1.3)
    x, y = (form.width_px - block.shape[1]) // 2, (form.height_px - block.shape[0]) // 2
    frames, is_fading = form.empty(), bool(rng.random() < 0.5)
    for frame, time in zip(frames, form.times_s, strict=True):
        zoom = 1.15 * (1 + grow * time / max(form.times_s[-1], 1e-9))
        frame[:] = view_of(photo, *form.size_px, zoom=zoom, right=0, down=0)
        opacity = float(ease(time * 1.5, "smooth")) if is_fading else 1.0
        stamp(frame, (245, 245, 240), block * opacity, y, x)
    frames, recording = recorded(frames, rng, 0.75)
    return negative(material, frames, words=len(words), zoom=grow, fades=is_fading, recording=recording)


def _kinetic(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    back, ink = _background(material, rng, form)
    value = (0.75, 1.0) if sum(ink) > 3 * 128 else (0.1, 0.5)
    colours = [ink, draw_colour(rng, (0.4, 0.9), value), draw_colour(rng, (0.4, 0.9), value)]
    unit, file = form.unit_px, draw_font_file(rng)
    pace = rng.uniform(0.22, 0.5)
    num_rows = int(rng.integers(3, 6))
    frames = np.repeat(back[None], form.num_frames, 0)
    words = draw_words(material, rng, int(form.times_s[-1] / pace) + num_rows + 1)
    high = form.height_px / num_rows
    entry = str(rng.choice(["grow", "slide", "turn"]))
    for number, word in enumerate(words):
        word = word.upper() if number % 2 else word
        face = fitting_font(file, word, form.width_px * 0.9, int(high * rng.uniform(0.62, 0.85)))
        block, colour = text_block([word], face, "center", 1.15), colours[number % 3]
        shown, gone = (number - num_rows + 1) * pace, (number + 1) * pace
        x = int((form.width_px - block.shape[1]) * rng.uniform(0.2, 0.8))
        y = int(high * (number % num_rows + 0.5) - face.size * 0.65)
        for frame, time in zip(frames, form.times_s, strict=True):
            if not shown <= time < gone:
                continue
            share = float(ease((time - shown) / 0.18, "smooth")) if number >= num_rows else 1.0
            moved, left, top = block, x, y
            if share < 1 and entry == "slide":
                left = int(x + (1 - share) * form.width_px * (1 if number % 2 else -1))
            elif share < 1:
                matrix = opencv().getRotationMatrix2D(
                    (block.shape[1] / 2, block.shape[0] / 2), (1 - share) * 60 * (entry == "turn"), 0.3 + 0.7 * share
                )
                moved = opencv().warpAffine(block, matrix, block.shape[::-1])
            stamp(frame, colour, moved, top, left)
    frames, recording = recorded(frames, rng, 0.75)
    return negative(
        material, frames, words_per_s=1 / pace, rows=num_rows, entry=entry, unit_px=unit, recording=recording
    )


def _background(material: Material, rng: np.random.Generator, form: Format) -> tuple[Picture, Colour]:
    """Return a plain, shaded or dim photographed background and a colour of letters that stands out from it."""
    is_dark = bool(rng.random() < 0.65)
    value = (0.0, 0.35) if is_dark else (0.75, 1.0)
    first = (0, 0, 0) if is_dark and rng.random() < 0.4 else draw_colour(rng, (0.0, 0.8 if is_dark else 0.3), value)
    back = gradient(*form.size_px, first, first, 0)
    kind = rng.integers(4)
    if kind == 1:
        back = gradient(*form.size_px, first, draw_colour(rng, (0.0, 0.5), value), rng.uniform(0, 6))
    if kind == 2 and is_dark:
        photo = blurred(draw_picture(material, rng, *form.size_px), form.unit_px * 2)
        back = dimmed(photo, rng.uniform(0.15, 0.35))
    ink = draw_colour(rng, (0.0, 0.6), (0.85, 1.0)) if is_dark else darker(draw_colour(rng, (0, 1), (0, 0.5)), 0.7)
    return back, ink


FAMILIES: tuple[Family, ...] = (
    Family(
        name="text.title_card",
        label="text",
        meaning="A few large words on a plain or shaded ground that stand, fade in, grow or are typed.",
        make=_title_card,
        unsure=frozenset({"static", "editing"}),
    ),
    Family(
        name="text.rolling_credits",
        label="text",
        meaning="Names and offices that roll upwards.",
        make=_rolling_credits,
        unsure=frozenset({"static", "editing"}),
    ),
    Family(
        name="text.crawl",
        label="text",
        meaning="Several lines that run sideways.",
        make=_crawl,
        unsure=frozenset({"static", "editing"}),
    ),
    Family(
        name="text.quote",
        label="text",
        meaning="A long quotation over a blurred photograph.",
        make=_quote,
        unsure=frozenset({"static", "editing"}),
    ),
    Family(
        name="text.kinetic",
        label="text",
        meaning="Large words that come one after another, growing, sliding or turning in.",
        make=_kinetic,
        unsure=frozenset({"static", "editing"}),
    ),
    Family(
        name="text.karaoke",
        label="text",
        meaning="Lines of a song over a dimmed clip, coloured as they are sung.",
        make=make_karaoke,
        unsure=frozenset({"editing", "low_quality"}),
    ),
    Family(
        name="text.full_subtitles",
        label="text",
        meaning="Five and more lines of subtitles over all of a clip, some in two scripts.",
        make=make_full_subtitles,
        unsure=frozenset({"editing"}),
    ),
    Family(
        name="text.ticker",
        label="text",
        meaning="Headlines, news and figures around a small clip, and a line that runs.",
        make=make_ticker,
        also=frozenset({"editing"}),
    ),
    Family(
        name="text.meme",
        label="text",
        meaning="Bands of text above and below a clip.",
        make=make_meme,
        also=frozenset({"editing"}),
    ),
    Family(
        name="text.price_list",
        label="text",
        meaning="A menu or price list whose lines come one by one or are pointed out.",
        make=make_price_list,
        unsure=frozenset({"static", "editing", "screenshot"}),
    ),
    Family(
        name="text.chat",
        label="text",
        meaning="Bubbles of a conversation that come one after another, without a telephone around them.",
        make=make_chat,
        unsure=frozenset({"static", "editing", "screenshot"}),
    ),
    Family(
        name="text.countdown",
        label="text",
        meaning="Large numbers that count down, or large letters, with a line or two of text.",
        make=make_countdown,
        unsure=frozenset({"static", "editing"}),
    ),
    Family(
        name="text.page_turn",
        label="text",
        meaning="Pages of a book or a newspaper that are moved over, and one that is turned.",
        make=make_page_turn,
        unsure=frozenset({"static", "low_quality", "editing"}),
    ),
)
