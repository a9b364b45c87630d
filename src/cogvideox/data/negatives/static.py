"""Makers of video whose pictures do not follow from one another: stills, slides, frozen, stuttering, jumping scenes."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.labelling.labels import LabelName
from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.family import Family, Frames, Material, Negative
from cogvideox.data.negatives.overlays import light_leak, light_sweep, particles
from cogvideox.data.negatives.pictures import (
    WAYS,
    Picture,
    any_colour,
    base_clip,
    chance,
    cover,
    ease,
    even,
    mix,
    negative,
    output_size,
    pick,
    plate,
    resize,
    stamp,
    uniform,
    view_of,
    wander,
    whole,
    with_grain,
)
from cogvideox.data.negatives.shapes import rounded, shape_mask

OVERLAYS = ("snow", "rain", "bokeh", "sparkles", "hearts", "stars", "confetti", "light", "sweep")


def _stills(material: Material, rng: np.random.Generator, num: int) -> list[Picture]:
    """Return so many different stills if there are so many: photographs, now and then frames of clips."""
    clips = [material.frames, *material.others]
    frames = [clip[whole(rng, 0, len(clip) - 1)] for clip in clips]
    stills = list(material.pictures) if chance(rng, 0.75) else [*frames, *material.pictures]
    order = rng.permutation(len(stills))
    return [stills[order[index % len(order)]] for index in range(num)]


def _regrained(rng: np.random.Generator, frames: Frames, levels: float) -> Frames:
    """Return the frames, to which new fine grain was added in place, as a camera or a codec adds it."""
    return with_grain(rng, frames, 0, levels, 0.7) if levels > 0 else frames


def _grain_levels(rng: np.random.Generator) -> float:
    return 0.0 if chance(rng, 0.55) else uniform(rng, 0.3, 2.0)


def _pan_over(picture: Picture, size: tuple[int, int], num_frames: int, rng: np.random.Generator) -> Frames:
    """Return a slow pan or zoom over a still."""
    zooms, way = (uniform(rng, 1.02, 1.5), uniform(rng, 1.02, 1.5)), pick(rng, WAYS[:3])
    starts, ends = rng.uniform(-0.9, 0.9, 2), rng.uniform(-0.9, 0.9, 2)
    angles = (uniform(rng, -4, 4), uniform(rng, -4, 4)) if chance(rng, 0.3) else (0.0, 0.0)
    ground = plate(picture, *size, max(zooms))
    times = ease(np.linspace(0, 1, num_frames), way)
    places = starts + (ends - starts) * times[:, None]
    made = [
        view_of(
            ground,
            *size,
            zoom=zooms[0] * (zooms[1] / zooms[0]) ** float(time),
            right=float(right),
            down=float(down),
            angle_deg=angles[0] + (angles[1] - angles[0]) * float(time),
        )
        for time, (right, down) in zip(times, places, strict=True)
    ]
    return np.stack(made)


def _alike(picture: Picture, size: tuple[int, int], num: int, rng: np.random.Generator) -> list[Picture]:
    """Return views of a picture that differ a little, as photographs do that were taken one after the other."""
    ground = plate(picture, *size, 1.15)
    return [
        view_of(
            ground,
            *size,
            zoom=uniform(rng, 1.02, 1.12),
            right=uniform(rng, -1, 1),
            down=uniform(rng, -1, 1),
            angle_deg=uniform(rng, -2, 2),
        )
        for _ in range(num)
    ]


def _slides(material: Material, rng: np.random.Generator) -> Negative:
    num_frames, size = len(material.frames), output_size(material, rng)
    kind, moves, fade_s = pick(rng, ("long hold", "alike", "any")), chance(rng, 0.4), uniform(rng, 0.5, 2.0)
    # A shot detector cuts at fades: what is left of most slide shows is a slide, if it was held for long enough.
    spare_s = max(0.0, num_frames / material.fps - 2.6)
    hold_s = 2.2 + uniform(rng, 0, spare_s) if kind == "long hold" else uniform(rng, 0, 0.8)
    step = (hold_s + fade_s) * material.fps
    start, num = 0.0 if kind == "long hold" else uniform(rng, 0, step), math.ceil(num_frames / step) + 2
    stills = _stills(material, rng, 1 if kind == "alike" else num)
    if kind == "alike":
        stills = _alike(stills[0], size, num, rng)
    if moves:
        slides = [_pan_over(still, size, num_frames, rng) for still in stills]
    else:
        slides = [np.broadcast_to(cover(still, *size), (num_frames, *size, 3)) for still in stills]
    made = []
    for index in range(num_frames):
        place, within = divmod(start + index, step)
        share = float(np.clip((within / material.fps - hold_s) / fade_s, 0, 1))
        first, second = slides[int(place)][index], slides[int(place) + 1][index]
        made.append(first if share == 0 else mix(first, second, share))
    frames = _regrained(rng, np.stack(made), grain := _grain_levels(rng))
    return negative(material, frames, kind=kind, hold_s=hold_s, fade_s=fade_s, moves=int(moves), grain_levels=grain)


def _ken_burns(material: Material, rng: np.random.Generator) -> Negative:
    size = output_size(material, rng)
    frames = _pan_over(_stills(material, rng, 1)[0], size, len(material.frames), rng)
    frames = _regrained(rng, frames, grain := _grain_levels(rng))
    return negative(material, frames, grain_levels=grain)


def _parallax(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    height, width = output_size(material, rng)
    ground = plate(_stills(material, rng, 1)[0], height, width, 1.25)
    deep_height, deep_width = ground.shape[:2]
    kind = pick(rng, ("floor", "middle", "random", "light"))
    rows, columns = np.mgrid[-1 : 1 : deep_height * 1j, -1 : 1 : deep_width * 1j].astype(np.float32)
    if kind == "floor":
        depth = rows
    elif kind == "middle":
        depth = np.exp(-np.square(columns / 0.5) - np.square(rows / 0.7)).astype(np.float32)
    elif kind == "light":
        depth = cv2.GaussianBlur(cv2.cvtColor(ground, cv2.COLOR_RGB2GRAY), (0, 0), deep_width / 40)
        depth = (depth / np.float32(max(1, depth.max()))).astype(np.float32)
    else:
        small = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
        depth = cv2.resize(small, (deep_width, deep_height), interpolation=cv2.INTER_CUBIC)
    reach = np.float32(uniform(rng, 0.03, 0.08) * deep_width)
    turns, is_circle = uniform(rng, 0.3, 1.0), chance(rng, 0.5)
    x, y = (columns + 1) / 2 * (deep_width - 1), (rows + 1) / 2 * (deep_height - 1)
    made = []
    for index in range(len(material.frames)):
        phase = 2 * math.pi * turns * index / len(material.frames)
        right, down = math.sin(phase) * reach, math.cos(phase) * reach * 0.5 * is_circle
        moved = cv2.remap(ground, x + depth * right, y + depth * down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        zoom = 1.12 + 0.08 * index / len(material.frames)
        made.append(view_of(moved, height, width, zoom=zoom, right=0.0, down=0.0))
    return negative(material, np.stack(made), kind=kind, reach_px=float(reach), turns=turns)


def _frozen(material: Material, rng: np.random.Generator) -> Negative:
    size, num_frames = output_size(material, rng), len(material.frames)
    still = cover(_stills(material, rng, 1)[0], *size)
    kind = pick(rng, ("exact", "grain", "breathing", "pumping"))
    frames = np.repeat(still[None], num_frames, axis=0)
    levels = uniform(rng, 0.3, 4.0) if kind == "grain" else 0.0
    if kind == "breathing":  # light that trembles, as of a picture that was filmed
        gains = 1 + uniform(rng, 0.005, 0.03) * wander(rng, num_frames, uniform(rng, 2, 12))
        frames = np.stack([opencv().convertScaleAbs(still, alpha=float(gain)) for gain in gains])
    if kind == "pumping":  # a codec that makes the picture softer until its next key frame
        soft = opencv().GaussianBlur(still, (0, 0), uniform(rng, 0.8, 2))
        period = whole(rng, 8, 30)
        frames = np.stack([mix(still, soft, (index % period) / period) for index in range(num_frames)])
    return negative(material, _regrained(rng, frames, levels), kind=kind, grain_levels=levels)


def _held(frames: Frames, places: Sequence[int] | NDArray[np.int64]) -> Frames:
    return frames[np.clip(np.asarray(places), 0, len(frames) - 1)]


def _stutter(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    hold, varies, num_frames = whole(rng, 6, 20), chance(rng, 0.5), len(frames)
    places: list[int] = []
    while len(places) < num_frames:
        now = whole(rng, max(4, hold // 2), hold + hold // 2) if varies else hold
        places += [len(places)] * now
    made = _held(frames, places[:num_frames])
    return negative(material, _regrained(rng, made, grain := _grain_levels(rng)), hold_frames=hold, grain_levels=grain)


def _time_lapse(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    step, hold = whole(rng, 15, 40), whole(rng, 1, 5)
    places = (whole(rng, 0, len(frames) - 1) + np.arange(len(frames)) // hold * step) % len(frames)
    return negative(material, _held(frames, places), step_frames=step, hold_frames=hold)


def _shuffled(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    hold, reach = whole(rng, 1, 6), pick(rng, (12, 24, 48, len(frames)))
    order = np.arange(0, len(frames), hold)
    order = order[np.argsort(order + rng.uniform(0, reach, len(order)))]
    made = _held(frames, np.repeat(order, hold)[: len(frames)])
    return negative(material, made, hold_frames=hold, reach_frames=reach)


def _jump_cuts(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    shortest_s, num_frames = uniform(rng, 0.2, 0.45), len(frames)
    punches = chance(rng, 0.3)
    made: list[Picture] = []
    at, zoom = whole(rng, 0, num_frames - 1), 1.0
    while len(made) < num_frames:
        run = max(3, round(uniform(rng, shortest_s, shortest_s + 0.15) * material.fps))
        at = (at + run + whole(rng, num_frames // 10, num_frames // 3)) % max(1, num_frames - run)
        zoom = uniform(rng, 1.0, 1.1) if punches else 1.0
        for frame in frames[at : at + run]:
            made.append(view_of(frame, height, width, zoom=zoom, right=0.0, down=0.0) if zoom > 1 else frame)
    return negative(material, np.stack(made[:num_frames]), shortest_s=shortest_s, punches=int(punches))


def _still_overlaid(material: Material, rng: np.random.Generator) -> Negative:
    size, num_frames = output_size(material, rng), len(material.frames)
    kind = pick(rng, OVERLAYS)
    if chance(rng, 0.3):
        frames = _pan_over(_stills(material, rng, 1)[0], size, num_frames, rng)
    else:
        frames = np.repeat(cover(_stills(material, rng, 1)[0], *size)[None], num_frames, axis=0)
    if kind == "light":
        overlay = light_leak(rng, num_frames, *size)
    elif kind == "sweep":
        overlay = light_sweep(rng, num_frames, *size)
    else:
        overlay, _ = particles(rng, kind, num_frames, *size, material.fps)
    return negative(material, np.stack([overlay(frame, index) for index, frame in enumerate(frames)]), kind=kind)


def _sliding_pictures(material: Material, rng: np.random.Generator) -> Negative:
    (height, width), num_frames = output_size(material, rng), len(material.frames)
    num, way = whole(rng, 2, 4), pick(rng, WAYS[1:])
    ground = np.full((height, width, 3), any_colour(rng), np.uint8)
    if chance(rng, 0.4):
        ground = opencv().GaussianBlur(cover(_stills(material, rng, 1)[0], height, width), (0, 0), width / 40)
    covers = chance(rng, 0.4)
    cards: list[tuple[Picture, int, int, int, tuple[int, int]]] = []
    for number, still in enumerate(_stills(material, rng, num)):
        share = 1.0 if covers else uniform(rng, 0.3, 0.6)
        card = cover(still, even(height * share), even(width * share))
        if not covers:
            rim = max(2, height // 60)
            card = opencv().copyMakeBorder(card, rim, rim, rim, rim, opencv().BORDER_CONSTANT, value=(250, 250, 248))
        top = 0 if covers else whole(rng, 0, max(0, height - card.shape[0]))
        left = 0 if covers else whole(rng, 0, max(0, width - card.shape[1]))
        side = pick(rng, ((1, 0), (-1, 0), (0, 1), (0, -1)))
        cards.append((card, top, left, round(num_frames * (number + uniform(rng, 0, 0.4) - 0.2) / num), side))
    takes = uniform(rng, 0.3, 0.7) * material.fps
    made = []
    for index in range(num_frames):
        frame = ground.copy()
        for card, top, left, starts, (right, down) in cards:
            gone = 1 - float(ease((index - starts) / takes, way))
            if index >= starts:
                y, x = round(top + gone * down * height), round(left + gone * right * width)
                stamp(frame, card, np.ones(card.shape[:2], np.float32), y, x)
        made.append(frame)
    return negative(material, np.stack(made), num_pictures=num, way=way, covers=int(covers))


def _cinemagraph(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    still = frames[whole(rng, 0, len(frames) - 1)].copy()
    side = max(8, round(uniform(rng, 0.12, 0.25) * min(height, width)))
    changes = np.abs(frames[1:].astype(np.int16) - frames[:-1]).mean((0, 3), dtype=np.float32)
    busiest = cv2.blur(changes, (side, side))
    busiest[: side // 2] = busiest[-side // 2 :] = busiest[:, : side // 2] = busiest[:, -side // 2 :] = -1
    _, _, _, (x, y) = cv2.minMaxLoc(busiest)
    mask = cv2.GaussianBlur(shape_mask("disk", side), (0, 0), side / 14)
    top, left = y - side // 2, x - side // 2
    for frame in frames:
        kept, frame[:] = frame.copy(), still
        region = kept[max(0, top) : top + side, max(0, left) : left + side]
        stamp(frame, region, mask[: region.shape[0], : region.shape[1]], max(0, top), max(0, left))
    return negative(material, frames, side_share=side / min(height, width))


def _stop_motion(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    rate, num_frames = uniform(rng, 2, 4), len(frames)
    jitter, tremble = uniform(rng, 0.0, 0.006) * width, uniform(rng, 0.0, 0.06)
    speed = uniform(rng, 1, 2.5)
    made: list[Picture] = []
    while len(made) < num_frames:
        hold = max(2, round(material.fps / rate * uniform(rng, 0.8, 1.2)))
        taken = frames[round(len(made) * speed) % num_frames]
        matrix = np.array([[1, 0, rng.normal(0, 1) * jitter], [0, 1, rng.normal(0, 1) * jitter]])
        shot = opencv().warpAffine(taken, matrix, (width, height), borderMode=opencv().BORDER_REPLICATE)
        shot = opencv().convertScaleAbs(shot, alpha=float(np.clip(1 + tremble * rng.normal(), 0.8, 1.25)))
        made += [shot] * hold
    return negative(material, np.stack(made[:num_frames]), rate_hz=rate, speed=speed, tremble=tremble)


def _flicker_between(material: Material, rng: np.random.Generator) -> Negative:
    size, num_frames = output_size(material, rng), len(material.frames)
    kind = pick(rng, ("frames", "moved", "fading"))
    still = cover(_stills(material, rng, 1)[0], *size)
    if kind == "frames":  # not far from one another: a shot detector would cut at each turn
        start = whole(rng, 0, num_frames // 2)
        first, second = (
            cover(material.frames[i], *size) for i in (start, start + whole(rng, 3, max(3, num_frames // 6)))
        )
    else:
        first, second = _alike(still, size, 2, rng)
    rate = uniform(rng, 0.5, 1.5) if kind == "fading" else uniform(rng, 2, 8)
    phases = np.arange(num_frames) / material.fps * rate
    shares = 0.5 - 0.5 * np.cos(2 * np.pi * phases) if kind == "fading" else np.floor(2 * phases) % 2
    frames = np.stack([mix(first, second, share) for share in shares.tolist()])
    return negative(
        material, _regrained(rng, frames, grain := _grain_levels(rng)), kind=kind, rate_hz=rate, grain=grain
    )


def _freezes(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    num_frames, num = len(frames), whole(rng, 1, 3)
    share = uniform(rng, 0.55, 0.85)
    places = np.arange(num_frames)
    part, frozen = num_frames / num, share * num_frames / num
    for number in range(num):
        start = round(number * part + uniform(rng, 0.1, 1.0) * (part - frozen))
        places[start : start + round(frozen)] = places[start]
    return negative(material, _held(frames, places), num_freezes=num, frozen_share=share)


def _photo_wall(material: Material, rng: np.random.Generator) -> Negative:
    height, width = output_size(material, rng)
    num_rows, num_columns = whole(rng, 1, 3), whole(rng, 2, 4)
    tall = even(height * uniform(rng, 0.7, 1.0) / min(num_rows, 2))
    wide, gap = even(tall * uniform(rng, 0.8, 1.5)), whole(rng, 0, max(2, height // 30))
    stills = _stills(material, rng, num_rows * num_columns)
    wall = np.full((num_rows * (tall + gap) + gap, num_columns * (wide + gap) + gap, 3), any_colour(rng), np.uint8)
    mask = rounded(tall, wide, pick(rng, (0.0, 0.06)) * tall)
    for number, still in enumerate(stills):
        row, column = divmod(number, num_columns)
        card = resize(cover(still, tall, wide), tall, wide)
        stamp(wall, card, mask, gap + row * (tall + gap), gap + column * (wide + gap))
    return negative(material, _pan_over(wall, (height, width), len(material.frames), rng), num_pictures=len(stills))


def _short_loop(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    length = max(3, round(uniform(rng, 0.15, 0.6) * material.fps))
    start = whole(rng, 0, max(0, len(frames) - length))
    places = start + np.arange(len(frames)) % length
    return negative(material, _held(frames, places), loop_frames=length)


def _wobble(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    height, width = output_size(material, rng)
    still = cover(_stills(material, rng, 1)[0], height, width)
    size, num_frames = uniform(rng, 0.006, 0.02) * min(height, width), len(material.frames)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    fields = [
        cv2.resize(rng.standard_normal((5, 6)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(4)
    ]
    rate = 2 * math.pi * uniform(rng, 0.4, 1.5) / material.fps
    made = []
    for index in range(num_frames):
        sine, cosine = np.float32(size * math.sin(rate * index)), np.float32(size * math.cos(rate * index))
        x, y = columns + fields[0] * sine + fields[1] * cosine, rows + fields[2] * sine + fields[3] * cosine
        made.append(cv2.remap(still, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
    return negative(material, np.stack(made), size_px=size, turns_per_s=rate * material.fps / 2 / math.pi)


def _family(
    name: str, meaning: str, make: Callable[[Material, np.random.Generator], Negative], *unsure: LabelName
) -> Family:
    others: frozenset[LabelName] = frozenset(unsure)
    return Family(name=f"static.{name}", label="static", meaning=meaning, make=make, unsure=others)


FAMILIES: tuple[Family, ...] = (
    _family(
        "slides", "Photographs that fade slowly into one another, held between or not, some zoomed.", _slides, "editing"
    ),
    _family("ken_burns", "A slow pan, zoom or turn over one photograph.", _ken_burns),
    _family("parallax", "One photograph whose near parts move against the far ones.", _parallax),
    _family(
        "frozen", "One still: exact, with grain, in trembling light, or softened by a codec.", _frozen, "low_quality"
    ),
    _family("stutter", "A moving scene of which each frame is held for 6 to 20 frames.", _stutter, "low_quality"),
    _family("time_lapse", "Every 15th to 40th frame of a scene, one after the other.", _time_lapse, "editing"),
    _family("shuffled", "The frames of a scene out of order.", _shuffled, "editing"),
    _family("jump_cuts", "A scene that jumps on or back every 0.2 to 0.6 s.", _jump_cuts, "editing"),
    _family(
        "still_overlaid",
        "A still photograph, or a pan over it, with rain, snow, hearts or light laid over.",
        _still_overlaid,
        "editing",
    ),
    _family("sliding_pictures", "Photographs that slide in and stop.", _sliding_pictures, "editing"),
    _family("cinemagraph", "A still of which one small place moves.", _cinemagraph, "editing"),
    _family(
        "stop_motion",
        "Two to four pictures a second, each a little aside and in other light.",
        _stop_motion,
        "low_quality",
    ),
    _family("flicker_between", "Two stills in turn, at once or fading.", _flicker_between, "editing", "low_quality"),
    _family("freezes", "A scene that freezes for most of the time and then jumps on.", _freezes, "low_quality"),
    _family("photo_wall", "A pan or zoom over photographs side by side.", _photo_wall, "editing"),
    _family("short_loop", "A fraction of a second of a scene again and again.", _short_loop, "editing"),
    _family("wobble", "One photograph that bends to and fro, to seem alive.", _wobble, "editing"),
)
