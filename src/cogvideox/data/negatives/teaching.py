"""Made videos of people who teach, with drawn bodies and hands: families of lectures, told in ``lecture``.

Axes: T frames, H W rows and columns.
"""

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.drawing import darker, draw_format, draw_theme, drift, gradient, recorded
from cogvideox.data.negatives.family import Material, Negative
from cogvideox.data.negatives.figures import (
    draw_arm,
    draw_audience,
    draw_cartoon_body,
    draw_cartoon_head,
    draw_hand,
    draw_standing_body,
    oval,
)
from cogvideox.data.negatives.pictures import draw_colour, ease, negative, stamp_frames
from cogvideox.data.negatives.shapes import rounded
from cogvideox.data.negatives.slides import draw_slide, draw_strokes, handwriting
from cogvideox.data.negatives.speaking import blinks, draw_sitter, person_mask, portrait, skin_colour, speech


def make_stage(material: Material, rng: np.random.Generator) -> Negative:
    """Make a small speaker who stands on a stage beside a projected slide, before an audience."""
    cv2 = opencv()
    form = draw_format(material, rng, "landscape")
    unit, dark = form.unit_px, draw_colour(rng, (0.2, 0.7), (0.05, 0.2))
    stage = gradient(*form.size_px, dark, (4, 4, 8), np.pi / 2)
    floor = int(form.height_px * 0.78)
    stage[floor:] = gradient(form.height_px - floor, form.width_px, (70, 52, 40), (25, 18, 14), np.pi / 2)
    wide, high = int(form.width_px * rng.uniform(0.48, 0.6)), int(form.height_px * rng.uniform(0.45, 0.58))
    is_left = bool(rng.random() < 0.5)
    x, y = int(form.width_px * 0.06) if is_left else int(form.width_px * 0.94) - wide, int(form.height_px * 0.08)
    stage[y : y + high, x : x + wide] = draw_slide(material, rng, high, wide, draw_theme(rng, 0.3))
    middle = form.width_px * (rng.uniform(0.8, 0.86) if is_left else rng.uniform(0.14, 0.2))
    glow = np.zeros(stage.shape[:2], np.float32)
    cv2.ellipse(glow, (int(middle), floor), (int(unit * 22), int(unit * 60)), 0, 0, 360, 1, -1)
    glow = cv2.GaussianBlur(glow, (0, 0), unit * 8)[..., None]
    stage = (stage * (1 + glow) + glow * 25).clip(0, 255).astype(np.uint8)
    frames = np.repeat(stage[None], form.num_frames, 0)
    tall = int(form.height_px * rng.uniform(0.26, 0.34))
    made = portrait(draw_sitter(material, rng), rng, form.times_s, tall, int(tall * 0.95), 0.62, 1.2)
    chin = made.face_px[3] / tall
    neck = ease((chin + 0.14 - np.arange(tall) / tall) * 8 + 0.5, "smooth")
    mask = (person_mask(made) * neck[:, None]).astype(np.float32)
    skin, suit = skin_colour(made), draw_colour(rng, (0, 0.5), (0.1, 0.35))
    step = np.rint(drift(rng, form.times_s, 3.0) * unit * rng.uniform(0, 3)).astype(int)
    reach = drift(rng, form.times_s, 1.2)
    head_top = int(floor - form.height_px * rng.uniform(0.42, 0.5))
    shoulder = head_top + made.face_px[3] + tall * 0.14
    for index, frame in enumerate(frames):
        at = middle + step[index]
        oval(frame, (at, shoulder - unit), (tall * 0.1, tall * 0.14), skin)
        draw_standing_body(frame, at, shoulder, form.height_px * 0.93, tall * 0.36, suit)
        hand = at + unit * (11 if is_left else -11) * -1, shoulder + tall * (0.65 + 0.25 * reach[index])
        draw_arm(frame, (at, shoulder + tall * 0.1), hand, tall, suit, skin)
        corner = min(max(int(at - made.frames.shape[2] / 2), 0), form.width_px - made.frames.shape[2])
        stamp_frames(frame[None], made.frames[index][None], mask, head_top, corner)
    has_podium = bool(rng.random() < 0.5)
    if has_podium:
        left, right = int(middle - unit * 12), int(middle + unit * 12)
        frames[:, int(shoulder + tall * 0.7) : int(form.height_px * 0.97), left:right] = (66, 42, 26)
    draw_audience(frames, rng, form)
    frames, recording = recorded(frames, rng, 0.6)
    noted = {"head_height": tall / form.height_px, "podium": has_podium, "is_clip": made.is_clip}
    return negative(material, frames, recording=recording, **noted)


def make_whiteboard(material: Material, rng: np.random.Generator) -> Negative:
    """Make a hand that writes on a board or on paper, and the head of who writes in a corner."""
    form = draw_format(material, rng)
    unit = form.unit_px
    kind = str(rng.choice(["whiteboard", "blackboard", "paper"]))
    light, ink = {
        "whiteboard": ((232, 236, 238), draw_colour(rng, (0.7, 1), (0.1, 0.6))),
        "blackboard": ((38, 62, 50), (235, 235, 225)),
        "paper": ((240, 236, 222), (30, 30, 70)),
    }[kind]
    board = gradient(*form.size_px, light, darker(light, 0.86), rng.uniform(0, 6))
    letter = unit * rng.uniform(4, 7)
    left, wide = form.width_px * 0.06, form.width_px * 0.6
    course = handwriting(rng, left, form.height_px * 0.06, wide, form.height_px * 0.75, letter)
    speed = rng.uniform(25, 60)
    num_written = int(rng.uniform(0.2, 0.6) * len(course))
    num_written = max(1, min(num_written, len(course) - int(speed * form.num_frames / form.fps) - 2))
    pen = max(1, round(unit * rng.uniform(0.5, 1.0)))
    written = board.copy()
    draw_strokes(written, course[:num_written], ink, pen)
    high = int(form.height_px * rng.uniform(0.3, 0.42))
    broad = min(int(high * rng.uniform(0.8, 1.2)), int(form.width_px * 0.36))
    made = portrait(draw_sitter(material, rng), rng, form.times_s, high, broad, 0.5)
    skin, sleeve = skin_colour(made), draw_colour(rng, (0.1, 0.8), (0.2, 0.7))
    frames = form.empty()
    towards, size = rng.uniform(0.7, 1.3), unit * rng.uniform(13, 20)
    for index, time in enumerate(form.times_s):
        last = min(num_written + int(time * speed) + 1, len(course))
        frames[index] = written
        recent = np.concatenate([course[num_written - 1 : num_written] * (1, 1, 0), course[num_written:last]])
        draw_strokes(frames[index], recent, ink, pen)
        tip = float(course[last - 1, 0]), float(course[last - 1, 1])
        draw_hand(frames[index], tip, size, towards, skin, sleeve)
    mask = rounded(high, broad, rng.uniform(0, 4) * unit)
    stamp_frames(frames, made.frames, mask, int(unit * 2), form.width_px - broad - int(unit * 2))
    frames, recording = recorded(frames, rng, 0.6)
    return negative(material, frames, recording=recording, board=kind, letter_px=letter, points_per_s=speed)


def make_cartoon_teacher(material: Material, rng: np.random.Generator) -> Negative:
    """Make a drawn teacher of flat colours who talks beside a board."""
    form = draw_format(material, rng)
    unit = form.unit_px
    back = np.empty((form.height_px, form.width_px, 3), np.uint8)
    back[:] = draw_colour(rng, (0.1, 0.5), (0.7, 1))
    wide, high = int(form.width_px * 0.52), int(form.height_px * 0.5)
    x, y = int(form.width_px * 0.43), int(form.height_px * 0.1)
    back[y - 4 : y + high + 4, x - 4 : x + wide + 4] = (120, 80, 50)
    back[y : y + high, x : x + wide] = draw_slide(material, rng, high, wide, draw_theme(rng, 0.6))
    skin = ((244, 205, 170), (224, 172, 125), (160, 105, 70), (105, 70, 48))[rng.integers(4)]
    hair, shirt = draw_colour(rng, (0.3, 0.8), (0.1, 0.6)), draw_colour(rng, (0.4, 0.9), (0.4, 0.95))
    opening, closing = speech(rng, form.times_s), blinks(rng, form.times_s)
    bob, wave, look = (drift(rng, form.times_s, period) for period in (1.1, 0.9, 2.0))
    radius = unit * rng.uniform(12, 17)
    middle = form.width_px * 0.22, form.height_px * 0.42
    has_glasses = bool(rng.random() < 0.4)
    frames = np.repeat(back[None], form.num_frames, 0)
    for index, frame in enumerate(frames):
        at = middle[0] + bob[index] * unit, middle[1] + bob[index] * 0.7 * unit
        draw_cartoon_body(frame, at, radius, wave[index], shirt, skin)
        course = opening[index], closing[index], look[index]
        draw_cartoon_head(frame, at, radius, *course, (skin, hair), has_glasses)
    return negative(material, frames, radius_px=radius, glasses=has_glasses)
