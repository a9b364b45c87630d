"""Makers of video with effects: colours, mirrors, glitches, waves, zooms, turns, speed and echoes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.labelling.labels import LabelName
from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.family import Family, Frames, Material, Negative
from cogvideox.data.negatives.pictures import (
    Picture,
    any_colour,
    base_clip,
    blurred,
    chance,
    cover_frames,
    draw_picture,
    ease,
    lengthen,
    mix,
    negative,
    pick,
    stamp,
    uniform,
    vivid,
    wander,
    whole,
)
from cogvideox.data.negatives.shapes import rounded

Map = NDArray[np.floating[Any]]


def _gray(frame: Picture) -> NDArray[np.uint8]:
    return opencv().cvtColor(frame, opencv().COLOR_RGB2GRAY)


def _toned(rng: np.random.Generator, kind: str) -> NDArray[np.uint8]:
    """Return the (256, 3) colours that luma becomes."""
    luma = np.arange(256)
    if kind == "duotone":
        stops = np.array([vivid(rng), vivid(rng)], np.float64)
        stops[0] *= 0.25
    elif kind == "heat":
        stops = np.array([(0, 0, 40), (90, 0, 150), (230, 60, 60), (255, 170, 30), (255, 255, 200)], np.float64)
    else:
        stops = np.array([vivid(rng) for _ in range(whole(rng, 3, 6))], np.float64)
    places = np.linspace(0, 255, len(stops))
    return np.stack([np.interp(luma, places, stops[:, channel]) for channel in range(3)], axis=1).astype(np.uint8)


def _a_hue_of(frame: Picture, rng: np.random.Generator) -> float:
    """Return the hue (0 to 180) of the strongest colour of some places of a frame."""
    cv2 = opencv()
    tones = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).reshape(-1, 3)
    places = tones[rng.integers(0, len(tones), 60)].astype(np.int64)
    return float(places[(places[:, 1] * places[:, 2]).argmax(), 0])


def _recolour(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, _, _ = base_clip(material, rng)
    kind = pick(rng, ("duotone", "heat", "pop art", "negative", "solarised", "posterised", "one colour", "sketch"))
    levels, hue, wide = whole(rng, 2, 4), _a_hue_of(frames[0], rng), uniform(rng, 10, 25)
    luma = np.arange(256)
    fold = max(24.0, float(frames[0].mean()))  # where it turns: in the middle of what is there
    curve = {
        "negative": 255 - luma,
        "solarised": np.where(luma < fold, luma / fold, (255 - luma) / (255 - fold)) * 255,
        "posterised": np.round(luma / 255 * (levels - 1)) / (levels - 1) * 255,
    }
    table = curve[kind].astype(np.uint8) if kind in curve else _toned(rng, kind)
    if kind == "pop art":
        table = table[np.round(luma / 255 * 4).astype(int) * 255 // 4]
    for frame in frames:
        if kind in curve:
            frame[:] = cv2.LUT(frame, table)
        elif kind == "one colour":
            tones = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
            away = np.abs((tones[..., 0] - hue + 90) % 180 - 90)
            tones[..., 1] = np.where(away < wide, np.minimum(tones[..., 1] * 1.5, 255), 0)
            frame[:] = cv2.cvtColor(tones.astype(np.uint8), cv2.COLOR_HSV2RGB)
        elif kind == "sketch":
            gray = _gray(frame)
            paper = cv2.divide(gray, cv2.GaussianBlur(gray, (0, 0), 6), scale=255)
            frame[:] = cv2.LUT(paper, (255 * (luma / 255) ** 4).astype(np.uint8))[..., None]
        else:
            frame[:] = table[_gray(frame)]
    return negative(material, frames, kind=kind, levels=levels)


def _hue_cycle(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    kind = pick(rng, ("turn", "wash", "rainbow"))
    rate, strength = uniform(rng, 0.3, 1.5) / material.fps, uniform(rng, 0.3, 0.6)
    colours = np.array([vivid(rng) for _ in range(whole(rng, 3, 6))], np.float64)
    ramp = (np.linspace(0, 180, width, endpoint=False) * uniform(rng, 0.5, 2))[None].repeat(height, 0)
    for index, frame in enumerate(frames):
        if kind == "wash":
            place = index * rate * len(colours)
            first, share = int(place) % len(colours), place % 1
            colour = colours[first] * (1 - share) + colours[(first + 1) % len(colours)] * share
            frame[:] = mix(frame, np.full_like(frame, colour.astype(np.uint8)), strength)
            continue
        if kind == "rainbow":
            hues = ((ramp + index * rate * 180) % 180).astype(np.uint8)
            bright = np.full_like(hues, 255)
            colour = cv2.cvtColor(np.dstack([hues, bright - 30, bright]), cv2.COLOR_HSV2RGB)
            frame[:] = mix(frame, colour, strength)
            continue
        tones = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        tones[..., 0] = (tones[..., 0].astype(np.int16) + round(index * rate * 180)) % 180
        tones[..., 1] = cv2.convertScaleAbs(tones[..., 1], alpha=1.5, beta=30)
        frame[:] = cv2.cvtColor(tones, cv2.COLOR_HSV2RGB)
    return negative(material, frames, kind=kind, turns_per_s=rate * material.fps, strength=strength)


def _flash(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, _, _ = base_clip(material, rng)
    kind = pick(rng, ("white", "coloured", "negative", "black"))
    rate, decay, strength = uniform(rng, 2, 8), uniform(rng, 0.04, 0.2), uniform(rng, 0.5, 0.9)
    colours = [vivid(rng) for _ in range(8)]
    for index, frame in enumerate(frames):
        beats = index / material.fps * rate
        share = strength * math.exp(-(beats % 1) / rate / decay)
        plain = {"white": (255, 255, 255), "black": (0, 0, 0)}.get(kind, colours[int(beats) % len(colours)])
        above = cv2.bitwise_not(frame) if kind == "negative" else np.full_like(frame, plain)
        frame[:] = mix(frame, above, share)
    return negative(material, frames, kind=kind, rate_hz=rate, decay_s=decay, strength=strength)


def _mirror(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    kind = pick(rng, ("left", "right", "top", "bottom", "four"))
    half_y, half_x = height // 2, width // 2
    if kind in ("left", "four"):
        frames[:, :, width - half_x :] = frames[:, :, :half_x][:, :, ::-1]
    if kind == "right":
        frames[:, :, :half_x] = frames[:, :, width - half_x :][:, :, ::-1]
    if kind in ("top", "four"):
        frames[:, height - half_y :] = frames[:, :half_y][:, ::-1]
    if kind == "bottom":
        frames[:, :half_y] = frames[:, height - half_y :][:, ::-1]
    return negative(material, frames, kind=kind)


def _warped(frames: Frames, maps: Callable[[int], tuple[Map, Map]]) -> Frames:
    """Return frames fetched from the places (x, y) that ``maps`` gives for each index."""
    cv2 = opencv()
    for index, frame in enumerate(frames):
        x, y = (places.astype(np.float32, copy=False) for places in maps(index))
        frame[:] = cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return frames


def _polar(height: int, width: int) -> tuple[Map, Map, Map, Map]:
    """Return columns and rows from the middle, distance and angle of every pixel, px and radians."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns - np.float32((width - 1) / 2), rows - np.float32((height - 1) / 2)
    return x, y, np.hypot(x, y), np.arctan2(y, x)


def _kaleidoscope(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    num_parts, turns = whole(rng, 3, 8), uniform(rng, -0.25, 0.25) / material.fps
    _, _, distance, angle = _polar(height, width)
    part = np.float32(2 * np.pi / num_parts)
    reach = np.float32(min(height, width) / 2 / max(1.0, float(distance.max())) * uniform(rng, 0.9, 1.6))

    def maps(index: int) -> tuple[Map, Map]:
        turn = np.float32(2 * np.pi * turns * index)
        folded = np.abs((angle + turn) % part - part / 2) + turn
        x = np.cos(folded) * distance * reach + np.float32(width / 2)
        return x, np.sin(folded) * distance * reach + np.float32(height / 2)

    return negative(material, _warped(frames, maps), num_parts=num_parts, turns_per_s=turns * material.fps)


def _waves(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    kind, side = pick(rng, ("ripple", "wave", "swirl", "bulge")), min(height, width)
    x, y, distance, angle = _polar(height, width)
    middle = np.float32((width - 1) / 2), np.float32((height - 1) / 2)
    size, rate = uniform(rng, 0.02, 0.05) * side, 2 * math.pi * uniform(rng, 0.4, 1.5) / material.fps
    number = np.float32(2 * math.pi / (uniform(rng, 0.12, 0.4) * side))
    near = np.exp(-np.square(distance / np.float32(0.4 * side)))
    strength = uniform(rng, 1.2, 2.4)

    def maps(index: int) -> tuple[Map, Map]:
        phase = np.float32(rate * index)
        if kind == "wave":
            shift = np.float32(size)
            return middle[0] + x + shift * np.sin(number * y + phase), middle[1] + y + shift * np.cos(
                number * x + phase
            )
        if kind == "ripple":
            further = 1 + np.float32(size) * np.sin(number * distance - phase) / np.maximum(distance, 4)
            return middle[0] + x * further, middle[1] + y * further
        swing = np.float32(strength * math.sin(rate * index / 2 + 0.6))
        if kind == "swirl":
            turned = angle + swing * near
            return middle[0] + distance * np.cos(turned), middle[1] + distance * np.sin(turned)
        further = np.maximum(1 - np.float32(0.45) * (np.abs(swing) + np.float32(0.3)) * near, 0.15)
        return middle[0] + x * further, middle[1] + y * further

    return negative(material, _warped(frames, maps), kind=kind, size_share=size / side, strength=strength)


def _glitch(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    split_px, share = uniform(rng, 0.008, 0.03) * width, uniform(rng, 0.35, 0.9)
    swing = wander(rng, len(frames), 3)
    torn = rng.random(len(frames)) < share
    keeps = whole(rng, 2, 5)
    bands: list[tuple[int, int, int]] = []
    for index, frame in enumerate(frames):
        shift = round(split_px * (1 + float(swing[index])))
        source = frame.copy()
        frame[..., 0] = np.roll(source[..., 0], shift, axis=1)
        frame[..., 2] = np.roll(source[..., 2], -shift, axis=1)
        if index % keeps == 0:
            bands = []
            for _ in range(whole(rng, 2, 8) if torn[index] else 0):
                top, high = whole(rng, 0, height - 4), whole(rng, 2, max(3, height // 8))
                bands.append((top, high, round(float(rng.normal(0, 0.08)) * width)))
        for top, high, aside in bands:
            frame[top : top + high] = np.roll(frame[top : top + high], aside, axis=1)
        if bands and chance(rng, 0.4):
            top, left = whole(rng, 0, height - 8), whole(rng, 0, width - 16)
            frame[top : top + height // 12, left : left + width // 5, whole(rng, 0, 2)] ^= 0xFF
    return negative(material, frames, split_px=split_px, torn_share=share)


def _zoom_pulse(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    rate, size, turn = uniform(rng, 1.0, 4.0), uniform(rng, 0.12, 0.45), uniform(rng, 0, 10) * chance(rng, 0.5)
    kind, decay = pick(rng, ("kick", "sine", "shake")), uniform(rng, 0.08, 0.25)
    aside = rng.normal(0, 0.02, (len(frames), 2)) * (width, height) if kind == "shake" else np.zeros((len(frames), 2))
    for index, frame in enumerate(frames):
        beats = index / material.fps * rate
        kick = math.exp(-(beats % 1) / rate / decay)
        pulse = 0.5 - 0.5 * math.cos(2 * math.pi * beats) if kind == "sine" else kick
        angle = turn * pulse * (1 if int(beats) % 2 else -1)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.04 + size * pulse)
        matrix[:, 2] += aside[index] * kick
        frame[:] = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return negative(material, frames, kind=kind, rate_hz=rate, size=size, turn_deg=turn)


def _flying_card(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    kind = pick(rng, ("spin", "swing", "fly in", "shrink", "flip"))
    if chance(rng, 0.5):
        ground = blurred(draw_picture(material, rng, height, width), max(1, width / 60))
    else:
        ground = np.full((height, width, 3), any_colour(rng), np.uint8)
    rim = max(2, min(height, width) // whole(rng, 40, 90))
    card = np.full((height + 2 * rim, width + 2 * rim, 3), pick(rng, ((255, 255, 255), (20, 20, 20))), np.uint8)
    share, turns = uniform(rng, 0.5, 0.85), uniform(rng, 0.1, 0.5) * pick(rng, (-1, 1))
    mask = np.ones(card.shape[:2], np.float32)
    for index, frame in enumerate(frames):
        time = index / len(frames)
        angle, scale, right, flat = 0.0, share, 0.0, 1.0
        if kind == "spin":
            angle = 360 * turns * time * len(frames) / material.fps
        elif kind == "swing":
            angle = 25 * turns * 2 * math.sin(2 * math.pi * 1.5 * time)
        elif kind == "fly in":
            gone = 1 - float(ease(time * 1.6, "smooth"))
            right, angle = gone * 1.2 * (1 if turns > 0 else -1), 80 * gone * turns
        elif kind == "shrink":
            scale = 1.05 + (0.4 - 1.05) * float(ease(time, "smooth"))
        else:
            flat = max(0.06, abs(math.cos(2 * math.pi * turns * time * 2)))
        card[rim:-rim, rim:-rim] = frame
        matrix = cv2.getRotationMatrix2D((card.shape[1] / 2, card.shape[0] / 2), angle, scale)
        matrix[0] *= flat
        matrix[0, 2] += (0.5 - flat / 2) * card.shape[1] - rim + right * width
        matrix[1, 2] -= rim
        seen = cv2.warpAffine(card, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        frame[:] = mix(ground, seen, cv2.warpAffine(mask, matrix, (width, height)))
    return negative(material, frames, kind=kind, share=share, turns=turns)


def _speed(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, _, _ = base_clip(material, rng)
    kind = pick(rng, ("ramp", "boomerang", "pulses", "rewind"))
    last, time = len(frames) - 1, np.linspace(0, 1, len(frames))
    ratio, period_s = uniform(rng, 4, 12), uniform(rng, 0.5, 1.4)
    if kind == "boomerang":
        beats = time * len(frames) / material.fps / period_s
        reach = min(last, round(period_s * material.fps * uniform(rng, 1.2, 3)))
        places = (last - reach) / 2 + reach * (1 - np.abs(beats % 2 - 1))
    elif kind == "rewind":
        turn, back = uniform(rng, 0.35, 0.6), uniform(rng, 2, 5)
        places = np.where(time < turn, time * last, np.maximum(0, turn - back * (time - turn)) * last)
        again = time > turn + turn / back
        places[again] = (time[again] - turn - turn / back) * last
    else:
        fast = np.sin(2 * np.pi * time * len(frames) / material.fps / period_s) > 0 if kind == "pulses" else time > 0.5
        speeds = np.where(fast ^ chance(rng, 0.5), ratio, 1.0)
        speeds = np.convolve(np.pad(speeds, 2, mode="edge"), np.full(5, 0.2), mode="valid")
        places = np.concatenate([[0.0], np.cumsum(speeds)[:-1]])
        places *= last / places[-1]
    blends = chance(rng, 0.6)
    first = np.clip(np.floor(places), 0, last - 1).astype(int)
    shares = np.clip(places - first, 0, 1) if blends else np.round(np.clip(places - first, 0, 1))
    made = [
        cv2.addWeighted(frames[i], 1 - share, frames[i + 1], share, 0)
        for i, share in zip(first.tolist(), shares.tolist(), strict=True)
    ]
    return negative(material, np.stack(made), kind=kind, ratio=ratio, period_s=period_s, blends=int(blends))


def _echo(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    kind = pick(rng, ("double exposure", "trails", "steps"))
    share, gap = uniform(rng, 0.35, 0.55), whole(rng, 3, 8)
    made = frames.copy()
    if kind == "double exposure":
        above = cover_frames(lengthen(pick(rng, material.others), len(frames)), height, width)
        for index, frame in enumerate(made):
            frame[:] = mix(frame, above[index], share)
        return negative(material, made, kind=kind, share=share)
    if kind == "trails":
        for index in range(1, len(made)):
            made[index] = mix(frames[index], made[index - 1], 0.8)
        return negative(material, made, kind=kind, share=0.8)
    for index, frame in enumerate(made):
        for number in (1, 2, 3):
            frame[:] = mix(frame, frames[max(0, index - number * gap)], 0.35)
    return negative(material, made, kind=kind, gap_frames=gap)


def _censored(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    kind, side = pick(rng, ("mosaic", "blur", "bar", "highlight")), min(height, width)
    high, wide = round(uniform(rng, 0.25, 0.5) * height), round(uniform(rng, 0.25, 0.5) * width)
    top = (0.5 + 0.22 * wander(rng, len(frames), len(frames) / 2)) * (height - high)
    left = (0.5 + 0.22 * wander(rng, len(frames), len(frames) / 2)) * (width - wide)
    block = max(4, round(side * uniform(rng, 0.04, 0.09)))
    mask = rounded(high, wide, pick(rng, (0.0, 0.5)) * min(high, wide))
    rim = rounded(high, wide, 0) - np.pad(np.ones((high - 6, wide - 6), np.float32), 3)
    colour = vivid(rng)
    for index, frame in enumerate(frames):
        y = int(np.clip(top[index], 0, height - high))
        x = int(np.clip(left[index], 0, width - wide))
        box = frame[y : y + high, x : x + wide]
        if kind == "mosaic":
            small = cv2.resize(box, (max(1, wide // block), max(1, high // block)), interpolation=cv2.INTER_AREA)
            stamp(frame, cv2.resize(small, (wide, high), interpolation=cv2.INTER_NEAREST), mask, y, x)
        elif kind == "blur":
            stamp(frame, cv2.GaussianBlur(box, (0, 0), block), mask, y, x)
        elif kind == "bar":
            frame[y + high // 3 : y + high * 2 // 3, x : x + wide] = 0
        else:
            kept = box.copy()
            frame[:] = cv2.convertScaleAbs(frame, alpha=0.3)
            stamp(frame, kept, mask, y, x)
            if mask.min() == 1:
                stamp(frame, colour, rim, y, x)
    return negative(material, frames, kind=kind, height_share=high / height, width_share=wide / width)


def _family(
    name: str, meaning: str, make: Callable[[Material, np.random.Generator], Negative], *unsure: LabelName
) -> Family:
    others: frozenset[LabelName] = frozenset(unsure)
    return Family(name=f"editing.{name}", label="editing", meaning=meaning, make=make, unsure=others)


FAMILIES: tuple[Family, ...] = (
    _family("recolour", "Colours exchanged: two tones, heat, negative, few levels, one colour kept, drawn.", _recolour),
    _family("hue_cycle", "Colours that run through the rainbow, or a tint that changes.", _hue_cycle),
    _family(
        "flash",
        "Flashes, white, black, coloured or negative, to a beat.",
        _flash,
        "static",
        "low_quality",
    ),
    _family("mirror", "One half of the picture mirrored into the other.", _mirror),
    _family("kaleidoscope", "The picture folded into a star of mirrors.", _kaleidoscope),
    _family("waves", "The picture bent by waves, ripples, a swirl or a lens.", _waves),
    _family("glitch", "Colours pulled apart and bands torn aside, as an effect.", _glitch, "low_quality"),
    _family("zoom_pulse", "Zooms and turns to a beat.", _zoom_pulse, "low_quality"),
    _family("flying_card", "The clip as a card that spins, swings, flies in, shrinks or flips.", _flying_card),
    _family("speed", "Speed that ramps, pulses, or runs back and forth.", _speed, "static"),
    _family("echo", "Two clips at once, or trails and echoes of what moved.", _echo, "low_quality"),
    _family("censored", "A place that is pixelated, blurred, barred or spotlighted.", _censored),
)
