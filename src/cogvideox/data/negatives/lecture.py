"""Made videos in which a person talks on and on: talks, news, calls, and a drawn teacher.

Axes: T frames, H W rows and columns.
"""

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.drawing import (
    darker,
    dimmed,
    draw_font_file,
    draw_format,
    draw_phrase,
    draw_theme,
    drift,
    font,
    gradient,
    recorded,
)
from cogvideox.data.negatives.family import Family, Material, Negative
from cogvideox.data.negatives.figures import (
    draw_gestures,
    draw_microphone,
    oval,
)
from cogvideox.data.negatives.pictures import blurred, draw_colour, draw_picture, negative, stamp_frames
from cogvideox.data.negatives.shapes import rounded
from cogvideox.data.negatives.slides import (
    draw_call_buttons,
    draw_frame_around,
    draw_label,
    draw_lower_third,
    draw_name_plate,
    draw_slide,
)
from cogvideox.data.negatives.speaking import (
    draw_sitter,
    find_sitter,
    person_mask,
    portrait,
    skin_colour,
)
from cogvideox.data.negatives.teaching import make_cartoon_teacher, make_stage, make_whiteboard

MIN_TILE_FACE_PX = 26
"""Height of faces in calls; smaller ones are not found."""


def _talking_head(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    share = rng.uniform(0.25, 0.6)
    liveliness = rng.uniform(0.5, 1.5)
    sitter = draw_sitter(material, rng)
    made = portrait(sitter, rng, form.times_s, form.height_px, form.width_px, share, liveliness)
    frames = made.frames
    has_still_room = bool(rng.random() < 0.6)
    if has_still_room:
        mask = np.minimum(person_mask(made) * 1.5, 1)
        mask = opencv().GaussianBlur(mask, (0, 0), form.unit_px * 1.5)
        still = np.repeat(frames[:1], len(frames), 0)
        stamp_frames(still, frames, mask, 0, 0)
        frames = still
    with_name = bool(rng.random() < 0.25)
    if with_name:
        draw_name_plate(frames, material, rng, form)
    frames, recording = recorded(frames, rng, 0.75)
    noted = {"face_share": share, "liveliness": liveliness, "still_room": has_still_room, "name": with_name}
    return negative(material, frames, recording=recording, is_clip=made.is_clip, **noted)


def _virtual_background(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    blur = rng.uniform(0, 2.5)
    room = blurred(draw_picture(material, rng, *form.size_px), blur * form.unit_px)
    room = dimmed(room, rng.uniform(0.5, 1.0))
    frames = np.repeat(room[None], form.num_frames, 0)
    high = int(form.height_px * rng.uniform(0.7, 0.95))
    wide = min(form.width_px, int(high * rng.uniform(0.9, 1.2)))
    share = rng.uniform(0.35, 0.55)
    made = portrait(draw_sitter(material, rng), rng, form.times_s, high, wide, share)
    x = int(rng.uniform(0, 1) * (form.width_px - wide))
    stamp_frames(frames, made.frames, person_mask(made), form.height_px - high, x)
    frames, recording = recorded(frames, rng, 0.7)
    return negative(material, frames, recording=recording, blur=blur, face_share=share, is_clip=made.is_clip)


def _news_desk(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng, "landscape")
    accent = draw_colour(rng, (0.6, 0.95), (0.3, 0.7))
    angle = rng.uniform(0, 6)
    studio = gradient(*form.size_px, accent, draw_colour(rng, (0.5, 0.9), (0.1, 0.5)), angle)
    if rng.random() < 0.5:
        photo = blurred(draw_picture(material, rng, *form.size_px), 3 * form.unit_px)
        studio = opencv().addWeighted(studio, 0.6, photo, 0.4, 0)
    wide, high = int(form.width_px * rng.uniform(0.28, 0.4)), int(form.height_px * rng.uniform(0.32, 0.45))
    is_left = rng.random() < 0.5
    x = int(form.width_px * (0.05 if is_left else 0.95) - (0 if is_left else wide))
    y = int(form.height_px * 0.1)
    edge = max(1, round(form.unit_px))
    studio[y - edge : y + high + edge, x - edge : x + wide + edge] = 235
    studio[y : y + high, x : x + wide] = draw_picture(material, rng, high, wide)
    frames = np.repeat(studio[None], form.num_frames, 0)
    tall = int(form.height_px * rng.uniform(0.72, 0.85))
    broad = min(int(form.width_px * 0.6), tall)
    made = portrait(draw_sitter(material, rng), rng, form.times_s, tall, broad, 0.45, 0.7)
    stamp_frames(frames, made.frames, person_mask(made), form.height_px - tall, form.width_px - broad if is_left else 0)
    has_desk = bool(rng.random() < 0.5)
    if has_desk:
        top = int(form.height_px * 0.86)
        frames[:, top:] = gradient(form.height_px - top, form.width_px, accent, (20, 20, 25), np.pi / 2)
    draw_lower_third(frames, material, rng, form, accent)
    return negative(material, frames, desk=has_desk, picture_left=bool(is_left), is_clip=made.is_clip)


def _slides_with_speaker(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng, "landscape")
    theme = draw_theme(rng, 0.25)
    layout = str(rng.choice(["corner", "beside", "circle"]))
    room = int(form.width_px * rng.uniform(0.28, 0.42)) if layout == "beside" else 0
    slides = [draw_slide(material, rng, form.height_px, form.width_px - room, theme) for _ in range(2)]
    change = int(form.num_frames * rng.uniform(0.3, 0.7)) if rng.random() < 0.25 else form.num_frames
    frames = form.empty()
    frames[:] = theme.panel
    is_left = bool(rng.random() < 0.3)
    start = room if is_left else 0
    frames[:change, :, start : start + form.width_px - room] = slides[0]
    frames[change:, :, start : start + form.width_px - room] = slides[1]
    high = int(form.height_px * (rng.uniform(0.4, 0.9) if layout == "beside" else rng.uniform(0.26, 0.42)))
    wide = room or int(high * (1 if layout == "circle" else rng.uniform(0.9, 1.4)))
    made = portrait(draw_sitter(material, rng), rng, form.times_s, high, wide, rng.uniform(0.42, 0.62))
    mask = rounded(high, wide, min(wide, high) / 2 if layout == "circle" else rng.uniform(0, 4) * form.unit_px)
    gap = 0 if layout == "beside" else int(2 * form.unit_px)
    x = gap if is_left else form.width_px - wide - gap
    y = int(rng.choice([gap, form.height_px - high - gap]))
    stamp_frames(frames, made.frames, mask, y, x)
    frames, recording = recorded(frames, rng, 0.7)
    noted = {"layout": layout, "speaker_height": high / form.height_px, "changes": int(change < form.num_frames)}
    return negative(material, frames, recording=recording, is_clip=made.is_clip, **noted)


def _video_call(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    is_portrait = form.height_px > form.width_px
    num_columns, num_rows = ((1, 2), (2, 1), (2, 2), (3, 2), (3, 3))[rng.integers(5)]
    if is_portrait != (num_rows > num_columns):
        num_columns, num_rows = num_rows, num_columns
    num_people = int(rng.integers(max(2, num_columns * num_rows - 1), num_columns * num_rows + 1))
    gap = max(1, round(form.unit_px * rng.uniform(0.5, 2)))
    bar = int(form.height_px * 0.09) if rng.random() < 0.6 else 0
    wide = (form.width_px - gap * (num_columns + 1)) // num_columns
    high = (form.height_px - bar - gap * (num_rows + 1)) // num_rows
    frames = form.empty()
    frames[:] = rng.integers(18, 46)
    known = [find_sitter(speaker) for speaker in material.speakers[:4]]
    face = font(draw_font_file(rng, "sans"), max(9, round(form.unit_px * 3)))
    mask = rounded(high, wide, gap * 2)
    active = int(rng.integers(num_people))
    num_dark = 0
    for place in range(num_people):
        x = gap + (place % num_columns) * (wide + gap)
        y = gap + place // num_columns * (high + gap)
        sitter = known[place % len(known)]
        is_dark = place >= 2 and rng.random() < 0.2
        num_dark += is_dark
        if is_dark:
            disc, half = np.full((high, wide, 3), 60, np.uint8), min(wide, high) / 4
            oval(disc, (wide / 2, high / 2), (half, half), draw_colour(rng, (0.4, 0.8), (0.3, 0.8)))
            frames[:, y : y + high, x : x + wide] = disc
        else:
            share = rng.uniform(0.3, 0.55) if high > 2.5 * MIN_TILE_FACE_PX else 0.6
            made = portrait(sitter, rng, form.times_s, high, wide, max(share, min(0.7, MIN_TILE_FACE_PX / high)), 0.8)
            light = np.arange(256) * rng.uniform(0.75, 1.1)
            stamp_frames(frames, light.clip(0, 255).astype(np.uint8)[made.frames], mask, y, x)
        draw_label(frames, draw_phrase(material, rng, 1, 2), face, x + gap, y + high - face.size - gap * 2)
        if place == active:
            draw_frame_around(frames, (x, y, wide, high), (60, 200, 110), max(1, gap // 2))
    if bar:
        draw_call_buttons(frames, form, bar)
    frames, recording = recorded(frames, rng, 0.5)
    noted = {"columns": num_columns, "rows": num_rows, "people": num_people, "without_camera": int(num_dark)}
    return negative(material, frames, recording=recording, **noted)


def _podcast(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    is_stacked = form.height_px > form.width_px
    gap = int(rng.choice([0, 2, 4]))
    wide = form.width_px if is_stacked else form.width_px // 2
    high = form.height_px // 2 if is_stacked else form.height_px
    frames = form.empty()
    share = rng.uniform(0.28, 0.45)
    for side in range(2):
        made = portrait(draw_sitter(material, rng), rng, form.times_s, high, wide, share * rng.uniform(0.9, 1.1))
        tint = rng.uniform(0.85, 1.1, 3).astype(np.float32)
        tinted = np.stack([(frame * tint).clip(0, 255).astype(np.uint8) for frame in made.frames])
        x, y = (0, high * side) if is_stacked else (wide * side, 0)
        frames[:, y : y + high, x : x + wide] = tinted
        draw_microphone(frames, x + wide * (0.3 if side else 0.7), y + high, high * 0.3)
    if gap:
        strip = frames[:, high - gap : high + gap] if is_stacked else frames[:, :, wide - gap : wide + gap]
        strip[:] = int(rng.choice([10, 240]))
    with_name = bool(rng.random() < 0.4)
    if with_name:
        draw_name_plate(frames, material, rng, form)
    frames, recording = recorded(frames, rng, 0.7)
    return negative(material, frames, recording=recording, face_share=share, stacked=is_stacked, name=with_name)


def _vlog(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    form = draw_format(material, rng)
    share, zoom = rng.uniform(0.35, 0.6), 1.12
    wide, high = int(form.width_px * zoom), int(form.height_px * zoom)
    made = portrait(draw_sitter(material, rng), rng, form.times_s, high, wide, share, 1.5)
    shake = rng.uniform(0.6, 2.4)
    dx, dy, turn = (drift(rng, form.times_s, period) for period in (rng.uniform(0.5, 2), rng.uniform(0.4, 1.5), 1.7))
    warm = rng.uniform(0.85, 1.12, 3)
    light = rng.uniform(0.7, 1.15)
    flicker = 1 + 0.03 * drift(rng, form.times_s, 0.7)
    frames = form.empty()
    for index, frame in enumerate(made.frames):
        matrix = cv2.getRotationMatrix2D((wide / 2, high / 2), turn[index] * shake * 0.4, 1)
        matrix[:, 2] += np.array([dx[index], dy[index]]) * shake * form.unit_px
        matrix[:, 2] -= (wide - form.width_px) / 2, (high - form.height_px) / 2
        moved = cv2.warpAffine(frame, matrix, form.size_px[::-1], borderMode=cv2.BORDER_REFLECT)
        levels = np.arange(256)[:, None] * warm * light * flicker[index]
        frames[index] = cv2.LUT(moved, levels.clip(0, 255).astype(np.uint8)[:, None])
    frames, recording = recorded(frames, rng, 0.3)
    return negative(material, frames, recording=recording, face_share=share, shake=shake, light=light)


def _interview(material: Material, rng: np.random.Generator) -> Negative:
    form = draw_format(material, rng)
    wall = draw_colour(rng, (0, 0.5), (0.15, 0.95))
    back = gradient(*form.size_px, wall, darker(wall, rng.uniform(0.4, 0.95)), rng.uniform(0, 6))
    frames = np.repeat(back[None], form.num_frames, 0)
    high = int(form.height_px * rng.uniform(0.75, 0.98))
    wide = min(int(high * rng.uniform(0.8, 1.1)), form.width_px)
    share = rng.uniform(0.32, 0.55)
    made = portrait(draw_sitter(material, rng), rng, form.times_s, high, wide, share, rng.uniform(0.5, 1.5))
    place = float(rng.choice([0.1, 0.5, 0.9]))
    stamp_frames(frames, made.frames, person_mask(made), form.height_px - high, int((form.width_px - wide) * place))
    with_hands = bool(rng.random() < 0.4)
    if with_hands:
        middle, sleeve = (form.width_px - wide) * place + wide / 2, draw_colour(rng, (0.1, 0.7), (0.2, 0.7))
        draw_gestures(frames, rng, form, middle, skin_colour(made), sleeve)
    with_name = bool(rng.random() < 0.5)
    if with_name:
        draw_name_plate(frames, material, rng, form)
    frames, recording = recorded(frames, rng, 0.7)
    noted = {"face_share": share, "place": place, "hands": with_hands, "name": with_name}
    return negative(material, frames, recording=recording, is_clip=made.is_clip, **noted)


FAMILIES: tuple[Family, ...] = (
    Family(
        name="lecture.talking_head",
        label="lecture",
        meaning="A talking head that fills the frame, mostly before a room in which nothing moves.",
        make=_talking_head,
    ),
    Family(
        name="lecture.virtual_background",
        label="lecture",
        meaning="A person cut out before a photograph of a room, sharp or blurred.",
        make=_virtual_background,
        unsure=frozenset({"editing"}),
    ),
    Family(
        name="lecture.news_desk",
        label="lecture",
        meaning="A news reader with a picture over the shoulder, a headline and running news.",
        make=_news_desk,
        unsure=frozenset({"editing", "text"}),
    ),
    Family(
        name="lecture.slides_with_speaker",
        label="lecture",
        meaning="A small speaker in a corner of slides or beside them.",
        make=_slides_with_speaker,
        unsure=frozenset({"editing", "static", "text", "screenshot"}),
    ),
    Family(
        name="lecture.video_call",
        label="lecture",
        meaning="Two to nine tiles of a call, some without a camera.",
        make=_video_call,
        unsure=frozenset({"editing", "screenshot"}),
    ),
    Family(
        name="lecture.podcast",
        label="lecture",
        meaning="Two speakers in halves of the frame.",
        make=_podcast,
        also=frozenset({"editing"}),
    ),
    Family(
        name="lecture.stage",
        label="lecture",
        meaning="A small speaker who stands on a stage beside a projected slide.",
        make=make_stage,
        unsure=frozenset({"static", "text", "low_quality"}),
    ),
    Family(
        name="lecture.whiteboard",
        label="lecture",
        meaning="A hand that writes on a board or on paper, and the head of who writes in a corner.",
        make=make_whiteboard,
        unsure=frozenset({"editing", "text"}),
    ),
    Family(
        name="lecture.vlog",
        label="lecture",
        meaning="A near talking head filmed by a camera that sways in a hand.",
        make=_vlog,
        unsure=frozenset({"low_quality"}),
    ),
    Family(
        name="lecture.interview",
        label="lecture",
        meaning="A person before a plain wall, in the middle or at a side, some with hands that explain.",
        make=_interview,
        unsure=frozenset({"editing"}),
    ),
    Family(
        name="lecture.cartoon_teacher",
        label="lecture",
        meaning="A drawn teacher of flat colours who talks beside a board.",
        make=make_cartoon_teacher,
        unsure=frozenset({"text"}),
    ),
)
