"""Made recordings of screens: desktops, programs, pages, telephones, games, players, and screens that were filmed.

Axes: T frames, H W rows and columns.
"""

from dataclasses import replace

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.code_screens import make_editor, make_terminal
from cogvideox.data.negatives.drawing import (
    draw_format,
    draw_phrase,
    draw_theme,
    draw_words,
    page,
    pointer_path,
    recorded,
    scroll_path,
)
from cogvideox.data.negatives.family import Family, Material, Negative
from cogvideox.data.negatives.pictures import negative, resize
from cogvideox.data.negatives.screen_scenes import (
    few_bits,
    filmed,
    make_captured,
    make_file_manager,
    make_game,
    make_player,
    make_settings,
)
from cogvideox.data.negatives.screens import (
    WINDOW_STYLES,
    draw_any_icon,
    draw_article,
    draw_browser,
    draw_desktop,
    draw_keyboard,
    draw_menu,
    draw_messages,
    draw_text_in,
    draw_tools,
    draw_ui_font,
    draw_window,
    with_pointer,
)
from cogvideox.data.negatives.slides import draw_slide


def _desktop(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng, "landscape")
    theme, face = draw_theme(rng), draw_ui_font(rng, form)
    style, num_windows = WINDOW_STYLES[rng.integers(3)], int(rng.integers(1, 4))
    back = draw_desktop(material, rng, form, theme, face, num_windows - 1)
    wide, high = int(form.width_px * rng.uniform(0.35, 0.55)), int(form.height_px * rng.uniform(0.4, 0.6))
    top_image, top_drawing = page(high, wide, theme.paper)
    inner = draw_window(top_drawing, (0, 0, wide - 4, high - 4), theme, draw_phrase(material, rng, 1, 2), face, style)
    draw_text_in(top_drawing, inner, material, rng, theme, face)
    window, room = np.array(top_image), (form.width_px - wide, form.height_px - high - int(face.size * 2.3))
    is_moved = bool(rng.random() < 0.5)
    start = np.array([room[0] * rng.uniform(0.2, 0.9), room[1] * rng.uniform(0.1, 0.9)])
    grip = np.array([wide * 0.4, face.size])
    goals = [start + grip, np.array(room) * rng.uniform(0.1, 0.9, 2) + grip]
    places = pointer_path(rng, form, goals) if is_moved else pointer_path(rng, form)
    frames, corner, is_held = np.repeat(back[None], form.num_frames, 0), start, False
    for index, frame in enumerate(frames):
        is_held = is_held or bool(is_moved and index and np.abs(places[index] - goals[0]).max() < 1)
        if is_held:
            corner = (places[index] - grip).clip(0, room)
        x, y = int(corner[0]), int(corner[1])
        frame[y : y + high, x : x + wide] = window
    with_pointer(frames, form, rng, places)
    frames, recording = recorded(frames, rng)
    noted = {"windows": num_windows, "style": style, "moved": is_moved, "dark": theme.is_dark}
    return negative(material, frames, recording=recording, **noted)


def _web_page(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    theme, face = draw_theme(rng, 0.3), draw_ui_font(rng, form, (2.8, 4.6))
    image, drawing = page(*form.size_px, theme.paper)
    left, top, right, bottom = draw_browser(drawing, (0, 0, form.width_px, form.height_px), theme, face, material, rng)
    speed = form.height_px * rng.uniform(0.3, 1.6)
    tall = bottom - top + int(speed * form.times_s[-1])
    article = draw_article(material, rng, tall, right - left - 8, theme, face)
    scroll = scroll_path(rng, form, tall - (bottom - top), speed)
    frames = np.repeat(np.array(image)[None], form.num_frames, 0)
    for frame, start in zip(frames, scroll, strict=True):
        frame[top:bottom, left : right - 8] = article[start : start + bottom - top]
        bar = top + int((bottom - top) * start / tall)
        frame[bar : bar + (bottom - top) ** 2 // tall, right - 7 : right - 2] = theme.faint
    has_pointer = bool(rng.random() < 0.7)
    if has_pointer:
        with_pointer(frames, form, rng)
    frames, recording = recorded(frames, rng)
    noted = {"scrolled_px": int(np.abs(np.diff(scroll)).sum()), "pointer": has_pointer, "dark": theme.is_dark}
    return negative(material, frames, recording=recording, **noted)


def _phone(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng, "portrait")
    theme, face = draw_theme(rng), draw_ui_font(rng, form, (4, 5.5))
    kind = str(rng.choice(["chat", "feed", "menu"]))
    image, drawing = page(*form.size_px, theme.panel)
    bar, head = round(face.size * 1.5), round(face.size * 2.6)
    drawing.text((face.size, bar / 2), f"{rng.integers(24):02d}:{rng.integers(60):02d}", theme.ink, face, "lm")
    for number in range(3):
        x = form.width_px - face.size * (1.2 + 1.1 * number)
        drawing.rectangle((x, bar * 0.3, x + face.size * (0.9 if number == 0 else 0.6), bar * 0.7), theme.ink)
    draw_any_icon(drawing, face.size * 0.7, bar + head * 0.1, head * 0.8, rng)
    drawing.text((face.size + head, bar + head / 2), draw_phrase(material, rng, 1, 2)[:18], theme.ink, face, "lm")
    top, bottom = bar + head, form.height_px - round(face.size * 3)
    if kind == "chat" and rng.random() < 0.4:
        bottom = int(form.height_px * 0.62)
        draw_keyboard(drawing, (0, bottom + face.size * 2, form.width_px, form.height_px), theme, face)
    edge = (face.size, bottom + 4, form.width_px - face.size, bottom + face.size * 1.8)
    drawing.rounded_rectangle(edge, face.size * 0.8, theme.paper)
    speed = form.height_px * rng.uniform(0.25, 1.2)
    tall = bottom - top + int(speed * form.times_s[-1])
    if kind == "feed":
        content = draw_article(material, rng, tall, form.width_px, theme, face)
    else:
        content = draw_messages(material, rng, tall, form.width_px, theme, face, kind == "chat")
    scroll = scroll_path(rng, form, tall - (bottom - top), speed)
    scroll = scroll if rng.random() < 0.5 else tall - (bottom - top) - scroll
    frames = np.repeat(np.array(image)[None], form.num_frames, 0)
    for frame, start in zip(frames, scroll, strict=True):
        frame[top:bottom] = content[start : start + bottom - top]
    frames, recording = recorded(frames, rng)
    scrolled = int(np.abs(np.diff(scroll)).sum())
    return negative(material, frames, recording=recording, kind=kind, scrolled_px=scrolled, dark=theme.is_dark)


def _spreadsheet(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng, "landscape")
    theme, face = draw_theme(rng, 0.2), draw_ui_font(rng, form, (2.8, 4.2))
    image, drawing = page(*form.size_px, theme.paper)
    box = (0, 0, form.width_px - 1, form.height_px - 1)
    box = draw_window(drawing, box, theme, draw_phrase(material, rng, 1, 2), face, WINDOW_STYLES[rng.integers(3)])
    box = draw_menu(drawing, box, theme, face, ["File", "Edit", "View", "Insert", "Format", "Data"])
    left, top, right, bottom = draw_tools(drawing, box, theme, face.size * 1.3, rng)
    drawing.rectangle((left + 4, top + 2, right - 4, top + face.size * 1.5), theme.paper, theme.line)
    top += round(face.size * 1.7)
    high, wide = round(face.size * 1.6), round(face.size * rng.uniform(5, 8))
    drawing.rectangle((left, top, right, top + high), theme.panel)
    drawing.rectangle((left, top, left + high * 2, bottom), theme.panel)
    xs, ys = range(left + high * 2, right, wide), range(top + high, bottom, high)
    for column, x in enumerate(xs):
        drawing.text((x + wide / 2, top + high / 2), chr(65 + column % 26), theme.faint, face, "mm")
        drawing.line((x, top, x, bottom), theme.line)
        is_words = column == 0 or rng.random() < 0.2
        for y in ys:
            text = draw_words(material, rng, 1)[0][:8] if is_words else f"{rng.uniform(0, 9999):.1f}"
            if rng.random() < 0.85:
                place = (x + 3, y + 2) if is_words else (x + wide - 3, y + 2)
                drawing.text(place, text, theme.ink, face, "la" if is_words else "ra")
    for row, y in enumerate(ys):
        drawing.line((left, y, right, y), theme.line)
        drawing.text((left + high, y + high / 2), str(row + 1), theme.faint, face, "mm")
    frames = np.repeat(np.array(image)[None], form.num_frames, 0)
    pace = rng.uniform(0.15, 0.8)
    cell = [int(rng.integers(max(1, len(places) - 1))) for places in (xs, ys)]
    moves = rng.integers(0, 4, form.num_frames)
    step_before, entered = -1, ""
    for frame, time in zip(frames, form.times_s, strict=True):
        step = int(time / pace)
        if step != step_before:
            axis, change = int(moves[step] // 2), 1 if moves[step] % 2 or rng.random() < 0.5 else -1
            cell[axis] = int(np.clip(cell[axis] + change, 0, max(0, (len(xs), len(ys))[axis] - 2)))
            step_before, entered = step, f"{rng.uniform(0, 9999):.1f}"
        x, y = xs[cell[0]], ys[cell[1]]
        place = frame[y : y + high, x : x + wide]
        place[1:-1, 1:-1] = (place[1:-1, 1:-1] * 0.75 + np.array(theme.accent) * 0.25).astype(np.uint8)
        place[:2] = place[-2:] = place[:, :2] = place[:, -2:] = theme.accent
        opencv().putText(frame, entered, (left + 8, top - high // 3), 0, high / 55, theme.ink, 1, opencv().LINE_AA)
    has_pointer = bool(rng.random() < 0.5)
    if has_pointer:
        with_pointer(frames, form, rng)
    frames, recording = recorded(frames, rng)
    return negative(material, frames, recording=recording, step_s=pace, pointer=has_pointer, dark=theme.is_dark)


def _slides_program(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng, "landscape")
    theme, face = draw_theme(rng), draw_ui_font(rng, form)
    image, drawing = page(*form.size_px, theme.panel)
    box = (0, 0, form.width_px - 1, form.height_px - 1)
    box = draw_window(drawing, box, theme, draw_phrase(material, rng, 1, 3), face, WINDOW_STYLES[rng.integers(3)])
    box = draw_menu(drawing, box, theme, face, ["File", "Insert", "Design", "Show"])
    left, top, right, bottom = draw_tools(drawing, box, theme, face.size * 1.5, rng)
    drawing.rectangle((left, top, right, bottom), theme.panel)
    wide = int((right - left) * 0.72) // 2 * 2
    high = min(int(wide * 0.62), bottom - top - 12)
    x, y = right - wide - int(face.size), top + (bottom - top - high) // 2
    look = draw_theme(rng, 0.3)
    slides = [draw_slide(material, rng, high, wide, look) for _ in range(3)]
    base, small = np.array(image), (int((right - left) * 0.17 * high / wide), int((right - left) * 0.17))
    tops = [int(top + 6 + number * (small[0] + 8)) for number in range(3)]
    for slide, row in zip(slides, tops, strict=True):
        mini = resize(slide, *small)[: max(0, bottom - row)]
        base[row : row + len(mini), left + 8 : left + 8 + small[1]] = mini
    frames = np.repeat(base[None], form.num_frames, 0)
    change = int(form.num_frames * rng.uniform(0.3, 1.5))
    targets = [(left + 8 + small[1] / 2, tops[1] + small[0] / 2)] if change < form.num_frames else []
    for index, frame in enumerate(frames):
        number = int(index >= change)
        frame[y : y + high, x : x + wide] = slides[number]
        low = min(bottom, tops[number] + small[0]) - 1
        opencv().rectangle(frame, (left + 6, tops[number] - 2), (left + 9 + small[1], low + 2), theme.accent, 2)
    with_pointer(frames, form, rng, pointer_path(rng, form, targets))
    frames, recording = recorded(frames, rng)
    return negative(material, frames, recording=recording, changes=int(change < form.num_frames), dark=theme.is_dark)


RECORDABLE = (
    _desktop,
    make_editor,
    _web_page,
    _phone,
    _spreadsheet,
    _slides_program,
    make_file_manager,
    make_player,
    make_terminal,
)
"""What is filmed off a screen, or recorded with few bits."""


def _filmed_screen(material: Material, rng: np.random.Generator) -> Negative:
    number = int(rng.integers(len(RECORDABLE)))
    return _noted(filmed(RECORDABLE[number](material, rng), rng), number)


def _few_bits(material: Material, rng: np.random.Generator) -> Negative:
    number = int(rng.integers(len(RECORDABLE)))
    return _noted(few_bits(RECORDABLE[number](material, rng), rng), number)


def _noted(made: Negative, number: int) -> Negative:
    shown = RECORDABLE[number].__name__.removeprefix("make").strip("_")
    return replace(made, parameters={**made.parameters, "shown": shown})


FAMILIES: tuple[Family, ...] = (
    Family(
        name="screenshot.desktop",
        label="screenshot",
        meaning="A desktop with icons, windows and a pointer that moves one of them or just moves.",
        make=_desktop,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.editor",
        label="screenshot",
        meaning="An editor of code in which someone types.",
        make=make_editor,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.terminal",
        label="screenshot",
        meaning="Lines of output that fill a terminal and scroll.",
        make=make_terminal,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.web_page",
        label="screenshot",
        meaning="A browser whose page of text and pictures is scrolled in bursts.",
        make=_web_page,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.phone",
        label="screenshot",
        meaning="A telephone upright: a chat, a feed or a list that is scrolled.",
        make=_phone,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.spreadsheet",
        label="screenshot",
        meaning="A table of numbers in which a selected cell moves.",
        make=_spreadsheet,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.slides_program",
        label="screenshot",
        meaning="A program of slides, their small pictures beside them.",
        make=_slides_program,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.file_manager",
        label="screenshot",
        meaning="A window of files of which one is dragged.",
        make=make_file_manager,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.settings",
        label="screenshot",
        meaning="Rows of switches and fields, lit where the pointer is.",
        make=make_settings,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.game",
        label="screenshot",
        meaning="A game with bars, a map, points and a sight over a moving scene.",
        make=make_game,
        unsure=frozenset({"editing", "low_quality"}),
    ),
    Family(
        name="screenshot.player",
        label="screenshot",
        meaning="A browser in which a clip plays in part of the screen.",
        make=make_player,
        unsure=frozenset({"editing", "text"}),
    ),
    Family(
        name="screenshot.captured",
        label="screenshot",
        meaning="A real capture that stands, or is panned, zoomed or scrolled, with a pointer.",
        make=make_captured,
        unsure=frozenset({"static", "text", "editing"}),
    ),
    Family(
        name="screenshot.filmed",
        label="screenshot",
        meaning="A screen filmed by a camera in a hand: from the side, with moire, glare, bands, grain and shake.",
        make=_filmed_screen,
        unsure=frozenset({"static", "text", "editing", "low_quality"}),
    ),
    Family(
        name="screenshot.few_bits",
        label="screenshot",
        meaning="A recording of few bits: blocks without detail, repeated frames.",
        make=_few_bits,
        unsure=frozenset({"static", "text", "editing", "low_quality"}),
    ),
)
