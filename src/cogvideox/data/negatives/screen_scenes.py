"""Made recordings of screens, second part: files, settings, games, players, captured and filmed screens.

Families are told in ``screenshot``. Axes: T frames, H W rows and columns.
"""

import numpy as np
from PIL import Image

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.coding import coded_badly
from cogvideox.data.negatives.drawing import (
    KEY_PERIODS_FRAMES,
    Format,
    draw_font_file,
    draw_format,
    draw_phrase,
    draw_theme,
    draw_words,
    drift,
    fewer_pixels,
    font,
    page,
    pointer_path,
    quantiser_of,
    recorded,
    text_block,
)
from cogvideox.data.negatives.family import Material, Negative
from cogvideox.data.negatives.figures import line, oval
from cogvideox.data.negatives.pictures import (
    Picture,
    clip_of,
    draw_colour,
    ease,
    negative,
    pick,
    resize,
    resize_frames,
    stamp,
    view_of,
    with_grain,
)
from cogvideox.data.negatives.screens import (
    ICON_KINDS,
    WINDOW_STYLES,
    cut_to,
    draw_any_icon,
    draw_browser,
    draw_desktop,
    draw_icon,
    draw_menu,
    draw_ui_font,
    draw_window,
    with_pointer,
)


def make_file_manager(material: Material, rng: np.random.Generator) -> Negative:
    """Make a window of files of which one is dragged to another place."""
    form = draw_format(material, rng, "landscape")
    theme, face = draw_theme(rng), draw_ui_font(rng, form, (2.8, 4.0))
    image, drawing = page(*form.size_px, theme.paper)
    style = WINDOW_STYLES[rng.integers(3)]
    box = (0, 0, form.width_px - 1, form.height_px - 1)
    box = draw_window(drawing, box, theme, "/home/" + draw_words(material, rng, 1)[0].lower(), face, style)
    left, top, right, bottom = draw_menu(drawing, box, theme, face, ["File", "Edit", "View", "Go"])
    side = int(form.width_px * rng.uniform(0.16, 0.26))
    drawing.rectangle((left, top, left + side, bottom), theme.panel)
    for y in np.arange(top + face.size, bottom - face.size, face.size * 1.9):
        draw_icon(drawing, left + 6, y, face.size * 1.1, "folder", theme.accent)
        drawing.text((left + 12 + face.size, y), draw_phrase(material, rng, 1, 1)[:10], theme.ink, face)
    size = face.size * rng.uniform(2.5, 4)
    places = [
        (x, y)
        for y in np.arange(top + face.size, bottom - size - face.size * 1.4, size + face.size * 2.2)
        for x in np.arange(left + side + face.size, right - size, size * 1.6)
    ]
    kind, colour = ICON_KINDS[rng.integers(2)], draw_colour(rng, (0.5, 0.9), (0.6, 0.95))
    for x, y in places:
        draw_icon(drawing, x, y, size, ICON_KINDS[rng.integers(4)] if rng.random() < 0.4 else kind, colour)
        drawing.text((x + size / 2, y + size * 1.05), draw_phrase(material, rng, 1, 1)[:9], theme.ink, face, "ma")
    back = np.array(image)
    order = rng.permutation(len(places))
    goals = [np.array(places[number]) + size / 2 for number in order[:3]]
    path = pointer_path(rng, form, [(float(goal[0]), float(goal[1])) for goal in goals])
    x, y, wide = int(goals[0][0] - size / 2), int(goals[0][1] - size / 2), int(size) + 1
    held = back[y : y + wide, x : x + wide].copy()
    frames, is_held = np.repeat(back[None], form.num_frames, 0), False
    for frame, place in zip(frames, path, strict=True):
        is_held = is_held or bool(np.abs(place - goals[0]).max() < 1.5)
        if is_held:
            ghost = np.full(held.shape[:2], 0.65, np.float32)
            stamp(frame, held, ghost, int(place[1] - size / 2), int(place[0] - size / 2))
    with_pointer(frames, form, rng, path)
    frames, recording = recorded(frames, rng)
    return negative(material, frames, recording=recording, files=len(places), style=style, dark=theme.is_dark)


def make_settings(material: Material, rng: np.random.Generator) -> Negative:
    """Make rows of switches, sliders and fields, lit where the pointer is."""
    form = draw_format(material, rng)
    theme, face = draw_theme(rng), draw_ui_font(rng, form, (3.4, 5.0))
    image, drawing = page(*form.size_px, theme.paper)
    drawing.rectangle((0, 0, form.width_px, face.size * 2.6), theme.panel)
    drawing.text((face.size, face.size * 0.7), draw_phrase(material, rng, 1, 3), theme.ink, face)
    high, left = face.size * rng.uniform(2.2, 3.4), form.width_px * (0.28 if form.width_px > form.height_px else 0.04)
    rows = np.arange(face.size * 3, form.height_px - high, high)
    for y in rows:
        drawing.text((left, y + high / 2), draw_phrase(material, rng, 1, 4)[:26], theme.ink, face, "lm")
        drawing.line((left, y + high, form.width_px * 0.96, y + high), theme.line)
        kind, end, middle, r = rng.integers(4), form.width_px * 0.94, y + high / 2, face.size * 0.55
        is_on = rng.random() < 0.5
        if kind == 0:
            drawing.rounded_rectangle(
                (end - r * 4, middle - r, end, middle + r), r, theme.accent if is_on else theme.line
            )
            x = end - r if is_on else end - r * 3
            drawing.ellipse((x - r * 0.8, middle - r * 0.8, x + r * 0.8, middle + r * 0.8), (250, 250, 250))
        elif kind == 1:
            x = end - r * 12 * rng.random()
            drawing.line((end - r * 12, middle, end, middle), theme.line, 3)
            drawing.ellipse((x - r, middle - r, x + r, middle + r), theme.accent)
        elif kind == 2:
            drawing.rectangle((end - r * 12, middle - r * 1.4, end, middle + r * 1.4), theme.panel, theme.line)
            drawing.text((end - r * 11, middle), draw_words(material, rng, 1)[0][:10], theme.faint, face, "lm")
        else:
            drawing.rectangle((end - r * 2, middle - r, end, middle + r), theme.accent if is_on else None, theme.faint)
    if left > form.width_px * 0.1:
        drawing.rectangle((0, face.size * 2.6, left * 0.88, form.height_px), theme.panel)
        for y in rows:
            draw_any_icon(drawing, face.size, y + high * 0.25, high * 0.5, rng)
            x = face.size * 2.5 + high * 0.4
            name = cut_to(draw_phrase(material, rng, 1, 1), face, left * 0.88 - x - 4)
            drawing.text((x, y + high / 2), name, theme.ink, face, "lm")
    back = np.array(image)
    num_stops = int(rng.integers(3, 7))
    goals = [
        (float(rng.uniform(left, form.width_px * 0.95)), float(rng.choice(rows) + high / 2)) for _ in range(num_stops)
    ]
    path = pointer_path(rng, form, goals)
    frames = np.repeat(back[None], form.num_frames, 0)
    for frame, (_, y) in zip(frames, path, strict=True):
        number = int((y - rows[0]) // high)
        if 0 <= number < len(rows):
            place = frame[int(rows[number]) : int(rows[number] + high), int(left) - 3 :]
            place[:] = (place * 0.8 + np.array(theme.accent) * 0.2).astype(np.uint8)
    with_pointer(frames, form, rng, path)
    frames, recording = recorded(frames, rng)
    return negative(material, frames, recording=recording, rows=len(rows), stops=num_stops, dark=theme.is_dark)


def make_game(material: Material, rng: np.random.Generator) -> Negative:
    """Make a game: a clip in few colours, with bars, a map, points, a sight and messages over it."""
    cv2 = opencv()
    form = draw_format(material, rng, "landscape")
    unit, accent = form.unit_px, draw_colour(rng, (0.7, 1), (0.7, 1))
    num_steps, coarse = int(rng.integers(5, 14)), int(rng.choice([1, 2, 3]))
    clip = clip_of(material, form.height_px // coarse, form.width_px // coarse)
    levels = (np.rint(np.arange(256) / 255 * num_steps) / num_steps * 255).astype(np.uint8)
    frames = np.stack(
        [cv2.resize(levels[frame], form.size_px[::-1], interpolation=cv2.INTER_NEAREST) for frame in clip]
    )
    file = draw_font_file(rng, "sans")
    small, large = font(file, max(9, round(unit * 4))), font(file, round(unit * 7))
    names = [text_block([name], small, "left", 1.2) for name in ("HP", "MP", draw_phrase(material, rng, 2, 4))]
    radius = unit * rng.uniform(9, 14)
    centre = form.width_px - radius - unit * 3, radius + unit * 3
    dots, turn = rng.uniform(-0.7, 0.7, (5, 2)) * radius, drift(rng, form.times_s, 2)
    health, points = 0.6 + 0.35 * drift(rng, form.times_s, 4), np.cumsum(rng.random(form.num_frames) < 0.15) * 50
    bar = (np.array([unit * 4, unit * 4]), unit * 32, unit * 3.6)
    has_sight, has_slots = bool(rng.random() < 0.7), bool(rng.random() < 0.7)
    for index, frame in enumerate(frames):
        for row, colour in enumerate(((215, 45, 45), (50, 90, 220))):
            corner = bar[0] + (unit * 7, row * unit * 6)
            first, last = corner.astype(int), (corner + np.array(bar[1:])).astype(int)
            cv2.rectangle(frame, first.tolist(), last.tolist(), (20, 20, 20), -1)
            full = corner + np.array(bar[1:]) * [float(np.clip(health[index] - row * 0.2, 0.05, 1)), 1]
            cv2.rectangle(frame, first.tolist(), full.astype(int).tolist(), colour, -1)
            cv2.rectangle(frame, first.tolist(), last.tolist(), (240, 240, 240), 1)
            stamp(frame, (255, 255, 255), names[row], int(corner[1] - unit), int(unit * 3.5))
        oval(frame, centre, (radius, radius), (24, 40, 30))
        for dot in dots:
            oval(frame, (centre[0] + dot[0] + turn[index] * unit * 2, centre[1] + dot[1]), (unit, unit), (230, 70, 60))
        oval(frame, centre, (radius, radius), (235, 235, 235), edge_px=2)
        score = text_block([f"{int(points[index]):06d}"], large, "right", 1.2)
        stamp(frame, accent, score, int(unit * 2), (form.width_px - score.shape[1]) // 2)
        if has_sight:
            x, y = form.width_px / 2, form.height_px / 2
            line(frame, (x - unit * 4, y), (x + unit * 4, y), (90, 255, 120), 1)
            line(frame, (x, y - unit * 4), (x, y + unit * 4), (90, 255, 120), 1)
        if has_slots:
            for slot in range(6):
                x, y = form.width_px / 2 + (slot - 3) * unit * 10, form.height_px - unit * 12
                corners = (int(x), int(y)), (int(x + unit * 9), int(y + unit * 9))
                cv2.rectangle(frame, *corners, (40, 40, 44), -1)
                cv2.rectangle(frame, *corners, accent if slot == index // 20 % 6 else (150, 150, 150), 2)
                oval(
                    frame,
                    (x + unit * 4.5, y + unit * 4.5),
                    (unit * 2.5, unit * 3),
                    (60 + slot * 30, 150, 220 - slot * 30),
                )
        stamp(frame, (255, 240, 180), names[2], int(form.height_px * 0.72), int(unit * 4))
    frames, recording = recorded(frames, rng)
    return negative(
        material, frames, recording=recording, levels=num_steps, coarse=coarse, sight=has_sight, slots=has_slots
    )


def make_player(material: Material, rng: np.random.Generator) -> Negative:
    """Make a browser in which a clip plays in part of the screen, between lists and text."""
    form = draw_format(material, rng)
    theme, face = draw_theme(rng), draw_ui_font(rng, form)
    image, drawing = page(*form.size_px, theme.paper)
    left, top, right, bottom = draw_browser(drawing, (0, 0, form.width_px, form.height_px), theme, face, material, rng)
    has_list = form.width_px > form.height_px
    wide = int((right - left) * (rng.uniform(0.5, 0.68) if has_list else 0.94))
    high = min(int(wide * 0.5625), int((bottom - top) * 0.72))
    x, y = left + int(face.size), top + int(face.size)
    drawing.text((x, y + high + face.size * 0.5), draw_phrase(material, rng, 3, 6), theme.ink, face)
    for row in np.arange(y + high + face.size * 2, bottom - face.size, face.size * 1.4):
        drawing.text(
            (x, row), " ".join(draw_words(material, rng, 12))[: int(wide / face.size * 1.7)], theme.faint, face
        )
    if has_list:
        mini = (right - x - wide - int(face.size * 2)) // 2
        for row in np.arange(y, bottom - mini * 0.6, mini * 0.66 + face.size):
            corner = x + wide + int(face.size), int(row)
            thumb = resize(pick(rng, material.pictures), max(6, int(mini * 0.56)), max(8, mini))
            image.paste(Image.fromarray(thumb), corner)
            for part in range(2):
                place = corner[0] + mini + 6, row + part * face.size * 1.2
                drawing.text(
                    place, cut_to(draw_phrase(material, rng, 1, 2), face, right - place[0] - 4), theme.ink, face
                )
    clip = clip_of(material, high, wide)
    frames = np.repeat(np.array(image)[None], form.num_frames, 0)
    start, bar = rng.uniform(0, 0.7), max(2, high // 60)
    for index, frame in enumerate(frames):
        frame[y : y + high, x : x + wide] = clip[index]
        frame[y + high - bar * 5 : y + high - bar * 4, x + 8 : x + wide - 8] = (150, 150, 150)
        played = x + 8 + int((wide - 16) * (start + 0.1 * index / form.num_frames))
        frame[y + high - bar * 5 : y + high - bar * 4, x + 8 : played] = (220, 30, 30)
        oval(frame, (played, y + high - bar * 4.5), (bar * 1.6, bar * 1.6), (220, 30, 30))
    with_pointer(frames, form, rng)
    frames, recording = recorded(frames, rng)
    share = wide * high / (form.width_px * form.height_px)
    return negative(material, frames, recording=recording, clip_share=share, dark=theme.is_dark)


def make_captured(material: Material, rng: np.random.Generator) -> Negative:
    """Make a captured screen that stands, is panned or is zoomed, with a pointer; without captures a drawn desktop."""
    cv2 = opencv()
    form = draw_format(material, rng)
    is_real = len(material.screens) > 0
    screen = pick(rng, material.screens) if is_real else _drawn_screen(material, rng, form)
    way = str(rng.choice(["still", "pan", "zoom", "scroll"]))
    need = max(form.width_px / screen.shape[1], form.height_px / screen.shape[0])
    fit = min(form.width_px / screen.shape[1], form.height_px / screen.shape[0])
    scale = need * rng.uniform(1.0, 1.6) if way != "still" else max(fit, 0.35)
    sized = resize(screen, round(screen.shape[0] * scale), round(screen.shape[1] * scale))
    beside = max(0, form.height_px - sized.shape[0]), max(0, form.width_px - sized.shape[1])
    ground = tuple(int(value) for value in np.median(sized.reshape(-1, 3), 0))
    halves = [part for room in beside for part in (room // 2, room - room // 2)]
    sized = cv2.copyMakeBorder(sized, *halves, cv2.BORDER_CONSTANT, value=ground)
    room = np.array([sized.shape[1] - form.width_px, sized.shape[0] - form.height_px])
    ends = rng.uniform(0, 1, (2, 2)) * room
    course = ease((form.times_s / form.times_s[-1] - 0.15) / 0.7, "smooth")
    zoom = rng.uniform(1.2, 1.8)
    frames = form.empty()
    for frame, share in zip(frames, course, strict=True):
        x, y = np.rint(ends[0] + (ends[1] - ends[0]) * share * (way in ("pan", "scroll"))).astype(int)
        x = x if way != "scroll" else int(ends[0][0])
        frame[:] = sized[y : y + form.height_px, x : x + form.width_px]
        if way == "zoom":
            frame[:] = view_of(frame, *form.size_px, zoom=1 + (zoom - 1) * share, right=0, down=0)
    has_pointer = way in ("still", "scroll") or bool(rng.random() < 0.7)
    if has_pointer:
        with_pointer(frames, form, rng)
    frames, recording = recorded(frames, rng)
    return negative(material, frames, recording=recording, way=way, scale=scale, real=is_real, pointer=has_pointer)


def _drawn_screen(material: Material, rng: np.random.Generator, form: Format) -> Picture:
    return draw_desktop(material, rng, form, draw_theme(rng), draw_ui_font(rng, form), int(rng.integers(1, 4)))


def filmed(made: Negative, rng: np.random.Generator) -> Negative:
    """Return a recording as a camera in a hand films it off a screen: from the side, with rows, moire, glare, grain."""
    cv2 = opencv()
    num_frames, height_px, width_px = made.frames.shape[:3]
    form = Format(num_frames=num_frames, fps=made.fps, width_px=width_px, height_px=height_px)
    size = np.array([width_px, height_px], float)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    skew, margin = rng.uniform(0.02, 0.14), rng.uniform(0.0, 0.1)
    places = corners * (1 - 2 * margin) + margin + rng.uniform(-skew, skew, (4, 2)) * 0.7
    x, y = np.meshgrid(np.arange(width_px, dtype=np.float32), np.arange(height_px, dtype=np.float32))
    strength = rng.uniform(0.03, 0.12)
    bend, spacing, angle = rng.uniform(5, 30), rng.uniform(3, 9), rng.uniform(0, 3)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    moire = 1 + strength * np.sin(2 * np.pi * (u + bend * np.sin(v / 60)) / spacing)
    far = ((x / width_px - rng.random()) / 0.3) ** 2 + ((y / height_px - rng.random() * 0.6) / 0.25) ** 2
    glare = rng.uniform(0, 90) * np.exp(-far)
    fade = 1 - rng.uniform(0.1, 0.45) * ((x / width_px - 0.5) ** 2 + (y / height_px - 0.5) ** 2) * 2
    gain = (moire * fade)[..., None].astype(np.float32) * rng.uniform(0.8, 1.05, 3).astype(np.float32)
    glow = glare[..., None].astype(np.float32)
    band_high, band_speed, band_depth = rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.8), rng.uniform(0, 0.22)
    shake = rng.uniform(0.2, 1.5) * form.unit_px
    moves = np.stack([drift(rng, form.times_s, rng.uniform(0.6, 2)) for _ in range(2)], 1) * shake
    room = tuple(int(value) for value in rng.integers(8, 60, 3))
    blur, deviation = rng.uniform(0.4, 1.1), rng.uniform(1.5, 8)
    rows = np.arange(height_px) / height_px
    frames = form.empty()
    source = (corners * size).astype(np.float32)
    for index, frame in enumerate(made.frames):
        matrix = cv2.getPerspectiveTransform(source, (places * size + moves[index]).astype(np.float32))
        seen = cv2.warpPerspective(frame, matrix, form.size_px[::-1], borderValue=room)
        phase = (rows - band_speed * form.times_s[index]) % 1
        band = (1 - band_depth * (phase < band_high)).astype(np.float32)[:, None, None]
        lit = cv2.GaussianBlur(seen, (0, 0), blur) * gain
        frames[index] = (lit * band + glow).clip(0, 255).astype(np.uint8)
    frames = with_grain(rng, frames, deviation, 0)
    noted = {"skew": skew, "moire": strength, "noise": deviation, "shake_px": shake, "band_depth": band_depth}
    return Negative(frames=frames, fps=made.fps, parameters={**made.parameters, **noted})


def few_bits(made: Negative, rng: np.random.Generator) -> Negative:
    """Return a recording of few bits: blocks lose their detail, and only some frames are new."""
    quantiser, every = quantiser_of(rng.uniform(4, 22)), int(rng.integers(1, 5))
    held = made.frames[np.arange(len(made.frames)) // every * every]
    scale, period = rng.uniform(1, 1.8), pick(rng, KEY_PERIODS_FRAMES)
    coded = coded_badly(fewer_pixels(held, scale), quantiser=quantiser, key_period_frames=period)
    noted = {"quantiser": quantiser, "repeats": every, "scale": scale, "key_period_frames": period}
    frames = resize_frames(coded, *held.shape[1:3])
    return Negative(frames=frames, fps=made.fps, parameters={**made.parameters, **noted})
