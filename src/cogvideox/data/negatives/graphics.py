"""Makers of video with graphics laid over it: logos, banners, stickers, progress, particles, light and film wear."""

import math

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.drawing import words_mask
from cogvideox.data.negatives.family import Family, Material, Negative
from cogvideox.data.negatives.overlays import PARTICLE_KINDS, film_wear, light_leak, particles, vignette
from cogvideox.data.negatives.pictures import (
    WAYS,
    Colour,
    Mask,
    Picture,
    any_colour,
    base_clip,
    chance,
    ease,
    mix,
    negative,
    pick,
    stamp,
    uniform,
    vivid,
    whole,
)
from cogvideox.data.negatives.shapes import SHAPES, shape_mask


def _emblem(rng: np.random.Generator, side_px: int, words: tuple[str, ...]) -> tuple[Picture, Mask]:
    """Return a made-up logo: shapes one in another, sometimes with a name beside them."""
    outer, inner = pick(rng, ("disk", "square", "ring", "triangle", "star", "cross")), pick(rng, SHAPES)
    mask = shape_mask(outer, side_px)
    picture = np.empty((side_px, side_px, 3), np.uint8)
    picture[:] = any_colour(rng)
    small = max(4, round(side_px * 0.55))
    gap = (side_px - small) // 2
    inside = shape_mask(inner, small, uniform(rng, 0, 360) if chance(rng, 0.3) else 0.0)
    stamp(picture, vivid(rng) if chance(rng, 0.6) else (255, 255, 255), inside, gap, gap)
    mask[gap : gap + small, gap : gap + small] = np.maximum(mask[gap : gap + small, gap : gap + small], inside)
    if chance(rng, 0.45):
        name = words_mask(pick(rng, words)[:9].upper(), max(8, round(side_px * 0.6)))
        whole_mask = np.zeros((side_px, side_px + name.shape[1] + side_px // 8), np.float32)
        whole_mask[:, :side_px] = mask
        top = (side_px - name.shape[0]) // 2
        whole_mask[top : top + name.shape[0], -name.shape[1] :] = name[: side_px - top]
        colours = np.empty((*whole_mask.shape, 3), np.uint8)
        colours[:] = any_colour(rng)
        colours[:, :side_px] = picture
        return colours, whole_mask
    return picture, mask


def _logo(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    share = uniform(rng, 0.15, 0.28)
    side = max(12, round(share * min(height, width)))
    way = pick(rng, ("still", "still", "pulsing", "bouncing", "tiled", "two corners"))
    opacity = uniform(rng, 0.45, 0.65) if chance(rng, 0.4) else uniform(rng, 0.8, 1.0)
    picture, mask = _emblem(rng, side, material.words)
    margin = round(uniform(rng, 0.02, 0.08) * min(height, width))
    free_y, free_x = height - side - 2 * margin, max(1, width - mask.shape[1] - 2 * margin)
    down, right = pick(rng, ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, 0.5)))
    places = [(margin + down * free_y, margin + right * free_x)]
    if way == "two corners":
        places.append((margin + (1 - down) * free_y, margin + (1 - right) * free_x))
    if way == "tiled":
        step_y, step_x = side * uniform(rng, 1.6, 2.6), mask.shape[1] * uniform(rng, 1.4, 2.2)
        places = [
            (y + 0.0, x + (row % 2) * step_x / 2 - step_x / 2)
            for row, y in enumerate(np.arange(0, height, step_y))
            for x in np.arange(0, width + step_x, step_x)
        ]
        opacity = min(opacity, 0.55)
    rate = uniform(rng, 0.5, 2.0) / material.fps
    speed = rng.uniform(0.2, 0.6, 2) * (height, width) / material.fps
    for index, frame in enumerate(frames):
        strength = opacity * (0.65 + 0.35 * math.sin(2 * math.pi * rate * index)) if way == "pulsing" else opacity
        for y, x in places:
            if way == "bouncing":
                y = margin + abs((y + speed[0] * index) % (2 * free_y) - free_y)
                x = margin + abs((x + speed[1] * index) % (2 * free_x) - free_x)
            stamp(frame, picture, mask * np.float32(strength), round(y), round(x))
    return negative(material, frames, share=share, way=way, opacity=opacity, num_places=len(places))


def _banner(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    first, second, ink = any_colour(rng), vivid(rng), (255, 255, 255)
    thick = uniform(rng, 0.07, 0.13)
    bar = max(10, round(thick * height))
    has_ticker, has_title, has_tag = chance(rng, 0.7), chance(rng, 0.7), chance(rng, 0.6)
    has_title = has_title or not has_ticker
    start = whole(rng, 0, max(0, len(material.words) - 60))
    ticker = words_mask("   *   ".join([" ".join(material.words[start + i : start + i + 6]) for i in (0, 6, 12)]), bar)
    title = words_mask(" ".join(material.words[start + 20 : start + 23]).title(), bar)
    fits = (0.9 * width - bar) / title.shape[1]
    if fits < 1:
        title = opencv().resize(title, None, fx=fits, fy=fits, interpolation=opencv().INTER_AREA)
        title = np.pad(title, ((0, bar - title.shape[0]), (0, 0)))
    if sum(first) > 500:
        ink = (15, 15, 20)
    title_width = max(title.shape[1] + bar, round(uniform(rng, 0.3, 0.9) * width))
    speed, way = uniform(rng, 0.12, 0.4) * width / material.fps, pick(rng, WAYS)
    flat, full = np.ones((bar, title_width), np.float32), np.ones((bar, width), np.float32)
    emblem, emblem_mask = _emblem(rng, max(12, round(1.4 * bar)), material.words)
    title_top = height - bar * (3 if has_ticker else 2)
    comes_s = uniform(rng, 0.2, 0.8)
    for index, frame in enumerate(frames):
        if has_ticker:
            stamp(frame, first, full * np.float32(0.92), height - bar, 0)
            stamp(frame, ink, ticker, height - bar, round(width * 0.6 - speed * index))
            stamp(frame, second, np.ones((bar, 2 * bar), np.float32), height - bar, 0)
        if has_title:
            gone = 1 - float(ease(index / (comes_s * material.fps), way))
            left = round(-gone * (title_width + 8))
            stamp(frame, second, flat, title_top, left)
            stamp(frame, (255, 255, 255), title[:, : title_width - bar // 2], title_top, left + bar // 2)
            under = np.ones((max(2, bar // 5), round(title_width * (1 - gone))), np.float32)
            stamp(frame, first, under, title_top + bar, 0)
        if has_tag:
            stamp(frame, emblem, emblem_mask, bar // 2, width - bar // 2 - emblem_mask.shape[1])
    shown = {"thickness": thick, "ticker": int(has_ticker), "title": int(has_title), "tag": int(has_tag)}
    return negative(material, frames, **shown, speed_px=speed)


def _stickers(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    num = whole(rng, 3, 9)
    side = min(height, width)
    for _ in range(num):
        shape, colour, size = pick(rng, SHAPES), vivid(rng), max(14, round(uniform(rng, 0.14, 0.34) * side))
        top, left = uniform(rng, -0.05, 0.95) * (height - size), uniform(rng, -0.05, 0.95) * (width - size)
        starts, lasts = whole(rng, 0, round(0.6 * len(frames))), whole(rng, round(0.3 * len(frames)), len(frames))
        swing, rate, tilt = uniform(rng, 0, 20), uniform(rng, 0.5, 2.5) / material.fps, uniform(rng, -25, 25)
        rim: Colour = (255, 255, 255)
        for index in range(starts, min(len(frames), starts + lasts)):
            grown = max(0.05, float(ease((index - starts) / (0.25 * material.fps), "back")))
            now = max(6, round(size * grown))
            angle = tilt + swing * math.sin(2 * math.pi * rate * index)
            mask = shape_mask(shape, now, angle)
            y, x = round(top + (size - now) / 2), round(left + (size - now) / 2)
            thick = max(1, now // 16)
            if shape == "face":
                stamp(frames[index], (20, 20, 20), shape_mask("disk", now), y, x)
            else:
                around = opencv().dilate(np.pad(mask, thick), np.ones((2 * thick + 1, 2 * thick + 1), np.uint8))
                stamp(frames[index], rim, around, y - thick, x - thick)
            stamp(frames[index], (255, 210, 40) if shape == "face" else colour, mask, y, x)
    return negative(material, frames, num_stickers=num)


def _countdown(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    kind = pick(rng, ("ring", "pie", "bar", "dots"))
    side, colour, ground = min(height, width), vivid(rng), any_colour(rng)
    radius = round(uniform(rng, 0.12, 0.32) * side)
    middle = (round(uniform(rng, 0.25, 0.75) * width), round(uniform(rng, 0.25, 0.75) * height))
    thick, num_rounds = max(3, radius // whole(rng, 3, 6)), pick(rng, (1.0, 2.0, 3.0))
    has_number = chance(rng, 0.7)
    bar_px, at_top = max(6, round(uniform(rng, 0.04, 0.09) * height)), chance(rng, 0.5)
    for index, frame in enumerate(frames):
        done = (index + 1) / len(frames) * num_rounds
        turn = 360 * (done % 1 or 1)
        if kind == "bar":
            top = 0 if at_top else height - bar_px
            frame[top : top + bar_px] = ground
            frame[top : top + bar_px, : round(width * (index + 1) / len(frames))] = colour
            continue
        if kind == "dots":
            for number in range(8):
                angle = number * math.pi / 4
                place = (round(middle[0] + radius * math.cos(angle)), round(middle[1] + radius * math.sin(angle)))
                lit = (number - index * 8 / material.fps) % 8 / 8
                shade = tuple(round(value * (0.25 + 0.75 * lit)) for value in colour)
                cv2.circle(frame, place, thick, shade, -1, cv2.LINE_AA)
            continue
        if kind == "pie":
            shade = cv2.ellipse(frame.copy(), middle, (radius, radius), -90, 0, turn, colour, -1, cv2.LINE_AA)
            frame[:] = mix(frame, shade, 0.75)
        else:
            cv2.circle(frame, middle, radius, ground, thick, cv2.LINE_AA)
            cv2.ellipse(frame, middle, (radius, radius), -90, 0, turn, colour, thick, cv2.LINE_AA)
        if has_number:
            number = words_mask(str(max(1, math.ceil(num_rounds - done + 1e-6))), radius)
            stamp(frame, (255, 255, 255), number, middle[1] - radius // 2, middle[0] - number.shape[1] // 2)
    return negative(material, frames, kind=kind, radius_share=radius / side, num_rounds=num_rounds)


def _laid_over(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    kind = pick(rng, PARTICLE_KINDS)
    overlay, num = particles(rng, kind, len(frames), height, width, material.fps)
    frames = np.stack([overlay(frame, index) for index, frame in enumerate(frames)])
    return negative(material, frames, kind=kind, num_particles=num)


def _light_leak(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    overlay = light_leak(rng, len(frames), height, width)
    return negative(material, np.stack([overlay(frame, index) for index, frame in enumerate(frames)]))


def _old_film(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    wear, weave_px = uniform(rng, 0.2, 1.0), uniform(rng, 0, 0.006) * height
    tone = pick(rng, ("gray", "sepia", "faded"))
    share = {"gray": (1.0, 1.0, 1.0), "sepia": (1.08, 0.92, 0.68), "faded": (1.05, 1.0, 0.85)}[tone]
    light = (vignette(height, width, uniform(rng, 0.3, 0.9))[..., None] * np.array(share, np.float32)).astype(
        np.float32
    )
    overlay = film_wear(rng, len(frames), height, width, wear)
    made = []
    for index, frame in enumerate(frames):
        gray = frame if tone == "faded" else cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        toned = cv2.multiply(gray, light, dtype=cv2.CV_8U)
        made.append(overlay(np.roll(toned, round(float(rng.normal(0, 1)) * weave_px), axis=0), index))
    return negative(material, np.stack(made), wear=wear, tone=tone, weave_px=weave_px)


FAMILIES: tuple[Family, ...] = (
    Family(
        name="editing.logo",
        label="editing",
        meaning="A logo or watermark, opaque or not, still, pulsing, bouncing or tiled.",
        make=_logo,
    ),
    Family(
        name="editing.banner",
        label="editing",
        meaning="Banners of a news programme: a title that slides in, a running line, an emblem.",
        make=_banner,
        unsure=frozenset({"text", "lecture"}),
    ),
    Family(name="editing.stickers", label="editing", meaning="Shapes and faces that pop up and swing.", make=_stickers),
    Family(
        name="editing.countdown",
        label="editing",
        meaning="A ring, pie, bar or wheel that shows progress.",
        make=_countdown,
    ),
    Family(
        name="editing.particles",
        label="editing",
        meaning="Confetti, snow, rain, hearts, stars or lights that were laid over.",
        make=_laid_over,
    ),
    Family(
        name="editing.light_leak",
        label="editing",
        meaning="Coloured light that drifts and swells over the picture.",
        make=_light_leak,
        unsure=frozenset({"low_quality"}),
    ),
    Family(
        name="editing.old_film",
        label="editing",
        meaning="Made to look like old film: gray or brown, with scratches, dust and dark corners.",
        make=_old_film,
        unsure=frozenset({"low_quality"}),
    ),
)
