"""Makers of re-edited video: pictures in pictures, panes, borders, screens; graphics and effects are beside."""

import math
from itertools import pairwise

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives import effects, graphics
from cogvideox.data.negatives.family import Family, Material, Negative
from cogvideox.data.negatives.pictures import (
    Colour,
    Picture,
    any_colour,
    base_clip,
    blurred,
    chance,
    contain,
    cover,
    cover_frames,
    draw_picture,
    ease,
    even,
    lengthen,
    mix,
    negative,
    pick,
    stamp,
    uniform,
    vivid,
)
from cogvideox.data.negatives.shapes import rounded


def _picture_in_picture(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    share = uniform(rng, 0.24, 0.55)
    inset_height, inset_width = even(height * share), even(width * share * uniform(rng, 0.6, 1.1))
    inset = cover_frames(lengthen(pick(rng, material.others), len(frames)), inset_height, inset_width)
    side = min(height, width)
    border_px = pick(rng, (0, 0, 1, 2, max(2, side // 90), max(3, side // 50)))
    place = pick(rng, ("top left", "top right", "bottom left", "bottom right", "centre", "free"))
    margin = uniform(rng, 0.0, 0.06) * side + border_px
    free = (uniform(rng, 0, 1), uniform(rng, 0, 1))
    down, right = {"centre": (0.5, 0.5), "free": free}.get(place, (float("bottom" in place), float("right" in place)))
    top = round(margin + down * (height - inset_height - 2 * margin))
    left = round(margin + right * (width - inset_width - 2 * margin))
    radius = pick(rng, (0.0, 0.0, 0.08, 0.5)) * min(inset_height, inset_width)
    mask, rim = rounded(inset_height, inset_width, radius), any_colour(rng)
    around = rounded(inset_height + 2 * border_px, inset_width + 2 * border_px, radius + border_px)
    slides_in = chance(rng, 0.2)
    for index, frame in enumerate(frames):
        gone = 1 - float(ease(index / (0.25 * len(frames)), "smooth")) if slides_in else 0.0
        shift = round(gone * (width - left) * (1 if right >= 0.5 else -1))
        if border_px:
            stamp(frame, rim, around, top - border_px, left - border_px + shift)
        stamp(frame, inset[index], mask, top, left + shift)
    shown = {"share": share, "place": place, "border_px": border_px, "radius_px": radius, "slides_in": int(slides_in)}
    return negative(material, frames, **shown)


def _split_screen(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    layout = pick(rng, ("columns 2", "columns 3", "rows 2", "rows 3", "grid", "one and two"))
    near = uniform(rng, 0.32, 0.68) if chance(rng, 0.4) else 0.5
    boxes: list[tuple[float, float, float, float]]
    if layout.startswith(("columns", "rows")):
        count = int(layout[-1])
        edges = [0, near, 1] if count == 2 else [0, 0.33, 0.67, 1]
        spans = list(pairwise(edges))
        boxes = [(0, 1, a, b) for a, b in spans] if layout[0] == "c" else [(a, b, 0, 1) for a, b in spans]
    elif layout == "grid":
        boxes = [(a, a + 0.5, b, b + 0.5) for a in (0, 0.5) for b in (0, 0.5)]
    else:
        boxes = [(0, 1, 0, near), (0, 0.5, near, 1), (0.5, 1, near, 1)]
    line_px = pick(rng, (0, 0, 2, 4, max(4, min(height, width) // 45)))
    clips = [material.frames, *material.others]
    is_same_clip = chance(rng, 0.25)
    canvas = np.empty_like(frames)
    canvas[:] = any_colour(rng)
    for number, (top, bottom, left, right) in enumerate(boxes):
        y, x = round(top * height) + (top > 0) * line_px // 2, round(left * width) + (left > 0) * line_px // 2
        y_end, x_end = round(bottom * height) - (bottom < 1) * line_px // 2, round(right * width)
        x_end -= (right < 1) * line_px // 2
        clip = lengthen(clips[0 if is_same_clip else number % len(clips)], len(frames))
        if is_same_clip or number >= len(clips):  # the same scene again, turned or later
            clip = np.roll(clip, number * len(clip) // 5, axis=0)[:, :, :: -1 if number % 2 else 1]
        canvas[:, y:y_end, x:x_end] = cover_frames(np.ascontiguousarray(clip), y_end - y, x_end - x)
    return negative(material, canvas, layout=layout, first_share=near, line_px=line_px, same_clip=int(is_same_clip))


def _blurred_fill(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    clip_height, clip_width = material.frames.shape[1:3]
    frames, height, width = base_clip(material, rng)
    is_wide = width >= height
    shape = uniform(rng, 0.45, 0.75)
    if is_wide:
        inside = cover_frames(material.frames, even(height), even(min(height * shape, 0.7 * width)))
    elif chance(rng, 0.5):
        inside = contain(material.frames, even(height * 0.7), width)
    else:
        inside = cover_frames(material.frames, even(width * shape), width)
    inside = (
        contain(inside, height, width) if chance(rng, 0.8) else contain(inside, int(0.9 * height), int(0.9 * width))
    )
    strength, dim, tint = uniform(rng, 0.02, 0.08), uniform(rng, 0.45, 1.0), any_colour(rng)
    tinted = uniform(rng, 0.2, 0.5) if chance(rng, 0.2) else 0.0
    top, left = (height - inside.shape[1]) // 2, (width - inside.shape[2]) // 2
    small = max(8, height // 6), max(8, width // 6)
    for index, frame in enumerate(frames):
        fill = cv2.GaussianBlur(cover(inside[index], *small), (0, 0), max(0.8, strength * max(small)))
        fill = cv2.convertScaleAbs(fill, alpha=dim)
        if tinted:
            fill = mix(fill, np.full_like(fill, tint), tinted)
        frame[:] = cv2.resize(fill, (width, height), interpolation=cv2.INTER_CUBIC)
        frame[top : top + inside.shape[1], left : left + inside.shape[2]] = inside[index]
    shown = {"inside_share": inside.shape[1] * inside.shape[2] / (height * width), "blur": strength, "dim": dim}
    return negative(material, frames, **shown, from_width_px=clip_width, from_height_px=clip_height)


def _pattern(rng: np.random.Generator, height: int, width: int, kind: str) -> Picture:
    """Return a plain, shaded, striped or dotted ground."""
    cv2 = opencv()
    first, second = np.array(any_colour(rng)), np.array(vivid(rng))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    period = max(6.0, uniform(rng, 0.04, 0.12) * min(height, width))
    if kind == "shade":
        angle = uniform(rng, 0, math.pi)
        share = (rows / height * math.sin(angle) + columns / width * math.cos(angle)) % 1
    elif kind == "stripes":
        share = np.clip(4 * np.sin((rows + pick(rng, (-1, 0, 1)) * columns) * 2 * np.pi / period) + 0.5, 0, 1)
    elif kind == "dots":
        x, y = (columns + period / 2 * (rows // period % 2)) % period - period / 2, rows % period - period / 2
        share = np.clip(0.28 * period - np.hypot(x, y) + 0.5, 0, 1)
    elif kind == "wood":
        small = rng.standard_normal((max(2, height // 3), max(2, width // 40))).astype(np.float32)
        share = np.clip(0.5 + 0.3 * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
        first, second = np.array((130, 82, 44)), np.array((82, 46, 22))
    else:
        share = np.zeros((height, width), np.float32)
    return (first + (second - first) * share[..., None]).astype(np.uint8)


def _border(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    kind = pick(rng, ("plain", "shade", "stripes", "dots", "wood", "film strip", "picture"))
    side = min(height, width)
    thick, more_below = uniform(rng, 0.05, 0.16), pick(rng, (1.0, 1.0, 1.0, 2.2))
    edge = max(3, round(thick * side))
    below = round(edge * more_below)
    if kind == "picture":
        ground = draw_picture(material, rng, height, width)
    else:
        ground = _pattern(rng, height, width, "plain" if kind == "film strip" else kind)
    if kind == "film strip":
        below, hole = edge, rounded(max(2, round(edge * 0.5)), max(2, round(edge * 0.6)), edge * 0.12)
        ground[:] = (16, 15, 15)
        for x in range(edge // 3, width, round(edge * 1.1)):
            for y in (edge // 4, height - edge + edge // 4):
                stamp(ground, (225, 222, 212), hole, y, x)
    inner = height - edge - below, width - (0 if kind == "film strip" else 2 * edge)
    left = 0 if kind == "film strip" else edge
    radius = pick(rng, (0.0, 0.0, 0.06, 0.5)) * min(inner)
    mask, clip = rounded(*inner, radius), cover_frames(material.frames, *inner)
    rim = max(1, edge // 8) if chance(rng, 0.4) and kind != "film strip" else 0
    if rim:
        stamp(
            ground,
            any_colour(rng),
            rounded(inner[0] + 2 * rim, inner[1] + 2 * rim, radius + rim),
            edge - rim,
            left - rim,
        )
    for index, frame in enumerate(frames):
        frame[:] = ground
        stamp(frame, clip[index], mask, edge, left)
    return negative(material, frames, kind=kind, thickness=thick, radius_px=radius, rim_px=rim)


def _green_screen(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    speaker = lengthen(pick(rng, material.speakers), len(frames))
    tall = even(height * uniform(rng, 0.55, 0.95))
    size = tall, even(min(width, tall * uniform(rng, 0.8, 1.2)))
    people = cover_frames(speaker, *size)
    mask = np.zeros(size, np.uint8)
    middle = size[1] // 2
    cv2.ellipse(mask, (middle, round(0.42 * tall)), (round(0.23 * size[1]), round(0.34 * tall)), 0, 0, 360, 255, -1)
    cv2.ellipse(mask, (middle, tall + tall // 10), (round(0.46 * size[1]), round(0.45 * tall)), 0, 0, 360, 255, -1)
    halo_px, strength = max(2, round(uniform(rng, 0.008, 0.025) * tall)), uniform(rng, 0.5, 1.0)
    around = cv2.dilate(mask, np.ones((2 * halo_px + 1, 2 * halo_px + 1), np.uint8))
    around = cv2.blur(around, (halo_px, halo_px)).astype(np.float32) / 255 * np.float32(strength)
    halo: Colour = pick(rng, ((60, 220, 70), (90, 200, 110), (70, 110, 230), (240, 240, 240)))
    inside = cv2.blur(mask, (3, 3)).astype(np.float32) / 255
    left = round(uniform(rng, 0, 1) * (width - size[1]))
    trembles = rng.normal(0, 1, (len(frames), 2)) * 0.004 * tall
    for index, frame in enumerate(frames):
        top, at = height - tall + max(0, round(trembles[index, 0])), left + round(trembles[index, 1])
        stamp(frame, halo, around, top, at)
        stamp(frame, people[index], inside, top, at)
    return negative(material, frames, height_share=tall / height, halo_px=halo_px)


def _tilted_screen(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    ground = blurred(draw_picture(material, rng, height, width), uniform(rng, 0.5, 4))
    share, tilt = uniform(rng, 0.5, 0.82), uniform(rng, 0.03, 0.14)
    bezel = uniform(rng, 0.015, 0.05)
    box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * share / 2 + rng.uniform(-tilt, tilt, (4, 2)) / 2 + 0.5
    corners = (box * (width, height)).astype(np.float32)
    outer = ((box - box.mean(0)) * (1 + 2 * bezel) + box.mean(0)) * (width, height)
    rim = pick(rng, ((14, 14, 15), (40, 40, 42), (225, 225, 222), (70, 48, 30)))
    cv2.fillConvexPoly(ground, outer.round().astype(np.int32), rim, cv2.LINE_AA)
    size = frames.shape[2], frames.shape[1]
    flat = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float32)
    matrix = cv2.getPerspectiveTransform(flat, corners)
    mask = cv2.warpPerspective(np.ones((height, width), np.float32), matrix, size)
    for frame in frames:
        seen = cv2.warpPerspective(frame, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        frame[:] = mix(ground, seen, mask)
    return negative(material, frames, share=share, tilt=tilt, bezel=bezel)


def _slow_wipe(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    other = cover_frames(lengthen(pick(rng, material.others), len(frames)), height, width)
    kind = pick(rng, ("bar", "slanted", "iris", "clock", "push"))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns / width - 0.5, rows / height - 0.5
    slope, line = uniform(rng, -0.5, 0.5) * (kind == "slanted"), vivid(rng)
    if kind == "iris":
        order = np.hypot(x, y) * np.float32(1.42)
    elif kind == "clock":
        order = (np.arctan2(x, -y) / (2 * np.pi)).astype(np.float32) % 1
    else:
        order = (x + np.float32(slope) * y + 0.5).astype(np.float32)
    has_line, flips = chance(rng, 0.5), chance(rng, 0.5)
    start, end = uniform(rng, 0.1, 0.3), uniform(rng, 0.7, 0.9)
    for index, frame in enumerate(frames):
        at = start + (end - start) * index / len(frames)
        at = 1 - at if flips else at
        if kind == "push":
            cut = round(at * width)
            frame[:] = np.concatenate([other[index, :, width - cut :], frame[:, : width - cut]], axis=1)
            continue
        frame[:] = mix(frame, other[index], np.clip((np.float32(at) - order) * (width / 2) + 0.5, 0, 1))
        if has_line:
            frame[np.abs(order - at) < 0.006] = line
    return negative(material, frames, kind=kind, start=start, end=end, line=int(has_line))


FAMILIES: tuple[Family, ...] = (
    Family(
        name="editing.picture_in_picture",
        label="editing",
        meaning="A second clip in a box over the first, in a corner, the middle or anywhere.",
        make=_picture_in_picture,
    ),
    Family(
        name="editing.split_screen",
        label="editing",
        meaning="Two to four clips side by side, with or without lines between them.",
        make=_split_screen,
    ),
    Family(
        name="editing.blurred_fill",
        label="editing",
        meaning="A clip of other proportions in the middle of its own enlarged blur.",
        make=_blurred_fill,
    ),
    Family(
        name="editing.border",
        label="editing",
        meaning="A clip in a decorated border: plain, striped, dotted, wooden, a strip of film or a photograph.",
        make=_border,
    ),
    Family(
        name="editing.green_screen",
        label="editing",
        meaning="A person who was cut out badly, with a coloured rim, before another clip.",
        make=_green_screen,
        unsure=frozenset({"lecture"}),
    ),
    Family(
        name="editing.tilted_screen",
        label="editing",
        meaning="A clip on a tilted screen in a photograph.",
        make=_tilted_screen,
        unsure=frozenset({"screenshot"}),
    ),
    Family(
        name="editing.slow_wipe",
        label="editing",
        meaning="Another clip slowly takes the place of the first behind a moving edge.",
        make=_slow_wipe,
    ),
    *graphics.FAMILIES,
    *effects.FAMILIES,
)
