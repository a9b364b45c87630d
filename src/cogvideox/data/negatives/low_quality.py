"""Makers of badly filmed and badly transmitted video: blurred, shaken, enlarged, noisy, blocky, dark, torn.

``severity`` is 0 (clearly bad) to 1 (terrible).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.labelling.labels import LabelName
from cogvideox.data.libraries import opencv
from cogvideox.data.negatives import coding
from cogvideox.data.negatives.family import Family, Frames, Material, Negative
from cogvideox.data.negatives.pictures import (
    Picture,
    base_clip,
    chance,
    mix,
    negative,
    pick,
    screened,
    uniform,
    wander,
    whole,
    with_grain,
)

DASH_PX = 12
"""Of what the tape lost."""


def _each(frames: Frames, change: Callable[[Picture], Picture]) -> Frames:
    for frame in frames:
        frame[:] = change(frame)
    return frames


def _toned(frames: Frames, curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Frames:
    """Send all levels, as 0 to 1, through a curve, in place."""
    table = np.clip(np.round(curve(np.arange(256) / 255) * 255), 0, 255).astype(np.uint8)
    return _each(frames, lambda frame: opencv().LUT(frame, table))


def _softened(frame: Picture, size_px: float) -> Picture:
    """Return a frame blurred by much, made from a fourth of its size."""
    cv2 = opencv()
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (max(2, width // 4), max(2, height // 4)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), max(0.5, size_px / 4)), (width, height))


def _blur(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    severity, kind = uniform(rng, 0, 1), pick(rng, ("gauss", "disk", "hunting"))
    size = (0.006 + 0.014 * severity) * min(height, width)
    swing = 1 + 0.35 * np.sin(np.arange(len(frames)) * 2 * np.pi * uniform(rng, 0.3, 1) / material.fps)
    for index, frame in enumerate(frames):
        if kind == "disk":
            side = 2 * round(1.7 * size) + 1
            disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
            frame[:] = cv2.filter2D(frame, -1, disk / disk.sum())
        else:
            frame[:] = cv2.GaussianBlur(frame, (0, 0), max(1.2, size * (swing[index] if kind == "hunting" else 1)))
    return negative(material, frames, severity=severity, kind=kind, size_px=size)


def _shaken_views(
    frames: Frames, rng: np.random.Generator, severity: float, fps: float
) -> tuple[Frames, NDArray[np.float64]]:
    """Return what a shaking hand films, in place, and (T, 2) how far the picture is aside, px."""
    cv2 = opencv()
    height, width = frames.shape[1:3]
    diagonal, num = math.hypot(height, width), len(frames)
    fast, slow = fps / uniform(rng, 2.5, 7), fps * uniform(rng, 0.6, 1.5)
    reach = (0.008 + 0.017 * severity) * diagonal
    path = np.stack([wander(rng, num, fast) + 1.2 * wander(rng, num, slow) for _ in range(2)], axis=1) * reach
    roll = (0.8 + 2.5 * severity) * (wander(rng, num, fast) + wander(rng, num, slow))
    zoom = 1 + 2.5 * reach / min(height, width)
    skews = np.gradient(path, axis=0) * uniform(rng, 0, 0.8)
    for index, frame in enumerate(frames):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(roll[index]), zoom)
        matrix[:, 2] += path[index]
        # Rows are read one after the other, so that a fast turn slants the picture.
        matrix[0, 1] += skews[index, 0] / height
        matrix[1, 1] += skews[index, 1] / height
        frame[:] = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return frames, path


def _shake(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    severity = uniform(rng, 0, 1)
    frames, _ = _shaken_views(frames, rng, severity, material.fps)
    return negative(material, frames, severity=severity)


def _motion_blur(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    severity, shutter = uniform(rng, 0, 1), uniform(rng, 0.7, 1.6)
    frames, path = _shaken_views(frames, rng, severity, material.fps)
    steps = np.gradient(path, axis=0) * shutter
    least = (0.018 + 0.02 * severity) * min(height, width)
    angle = uniform(rng, 0, math.pi)
    for index, frame in enumerate(frames):
        right, down = steps[index]
        length = math.hypot(right, down)
        if length < least:
            right, down = least * math.cos(angle + index / 15), least * math.sin(angle + index / 15)
        side = 2 * math.ceil(max(abs(right), abs(down)) / 2) + 3
        line = np.zeros((side, side), np.float32)
        ends = (
            (round((side - right) / 2), round((side - down) / 2)),
            (round((side + right) / 2), round((side + down) / 2)),
        )
        cv2.line(line, *ends, 1.0, 1)
        frame[:] = cv2.filter2D(frame, -1, line / max(float(line.sum()), 1.0))
    return negative(material, frames, severity=severity, shutter=shutter)


def _enlarged(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    factor, way = uniform(rng, 4, 10), pick(rng, ("nearest", "bilinear", "bicubic", "lanczos"))
    small = max(12, round(width / factor)), max(10, round(height / factor))
    ways = {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "lanczos": cv2.INTER_LANCZOS4,
    }
    sharpened = uniform(rng, 0, 1.5) if chance(rng, 0.4) else 0.0
    for frame in frames:
        large = cv2.resize(
            cv2.resize(frame, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=ways[way]
        )
        if sharpened:
            large = cv2.addWeighted(large, 1 + sharpened, cv2.GaussianBlur(large, (0, 0), 2), -sharpened, 0)
        frame[:] = large
    return negative(material, frames, factor=factor, way=way, sharpened=sharpened)


def _blocks(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    severity, period = uniform(rng, 0, 1), pick(rng, (1, 12, 25, 250))
    frames = coding.coded_badly(frames, quantiser=45 + 110 * severity, key_period_frames=period)
    return negative(material, frames, severity=severity, key_period_frames=period)


def _noise(material: Material, rng: np.random.Generator) -> Negative:
    frames, height, width = base_clip(material, rng)
    severity, kind = uniform(rng, 0, 1), pick(rng, ("luma", "chroma", "coarse", "salt and pepper", "lines"))
    levels = 16 + 34 * severity
    if kind == "salt and pepper":
        share = 0.02 + 0.1 * severity
        field = rng.random((height + 48, width + 48), np.float32)
        for frame in frames:
            y, x = whole(rng, 0, 48), whole(rng, 0, 48)
            piece = field[y : y + height, x : x + width]
            frame[piece < share / 2] = 0
            frame[piece > 1 - share / 2] = 255
    elif kind == "lines":
        for frame in frames:
            rows = rng.normal(0, levels * 0.8, (height, 1, 1)).astype(np.float32)
            frame[:] = np.clip(frame + rows, 0, 255).astype(np.uint8)
        frames = with_grain(rng, frames, levels * 0.4, 0)
    else:
        colour = {"luma": 0.0, "chroma": levels, "coarse": levels * 0.5}[kind]
        grain_px = uniform(rng, 0.8, 1.8) if kind == "coarse" else 0.0
        frames = with_grain(rng, frames, levels if kind != "chroma" else levels * 0.3, colour, grain_px)
    return negative(material, frames, severity=severity, kind=kind)


def _dark(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    severity, noise = uniform(rng, 0, 1), uniform(rng, 0, 10) * chance(rng, 0.7)
    gain, power = 0.3 - 0.2 * severity, uniform(rng, 1.0, 1.5)
    frames = _toned(frames, lambda level: level**power * gain)
    frames = with_grain(rng, frames, noise * 0.6, noise * 0.6, uniform(rng, 0, 1.0)) if noise else frames
    return negative(material, frames, severity=severity, noise_levels=noise)


def _overexposed(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    severity = uniform(rng, 0, 1)
    lift, share = uniform(rng, 0.1, 0.3), uniform(rng, 0.5, 0.6) + 0.3 * severity
    brightest = float(np.quantile(frames[::8, ::4, ::4].mean(axis=3), 1 - share)) / 255
    gain = min(max((1 - lift) / max(brightest, 0.02), 1.4), 12.0)
    frames = _toned(frames, lambda level: lift + level * gain)
    glare = uniform(rng, 0.01, 0.05) * frames.shape[1]
    if chance(rng, 0.5):
        frames = _each(frames, lambda frame: screened(frame, _softened(frame, glare) // 3))
    return negative(material, frames, severity=severity, gain=gain)


def _washed_out(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, _, _ = base_clip(material, rng)
    severity, grayness = uniform(rng, 0, 1), uniform(rng, 0.2, 0.8)
    spread, base = 0.3 - 0.17 * severity, uniform(rng, 0.3, 0.6)
    mean = float(frames.mean()) / 255
    frames = _toned(frames, lambda level: base + (level - mean) * spread)

    def paler(frame: Picture) -> Picture:
        return mix(frame, cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), grayness)

    return negative(material, _each(frames, paler), severity=severity, spread=spread)


def _combed(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, width = base_clip(material, rng)
    severity, thick = uniform(rng, 0, 1), pick(rng, (1, 1, 2))
    lag, aside = whole(rng, 2, 4), (0.006 + 0.02 * severity) * width
    path = wander(rng, len(frames), material.fps * uniform(rng, 0.3, 1))
    path = np.where(path < 0, -aside, aside) * (0.6 + 0.6 * np.abs(path))
    later = np.minimum(np.arange(len(frames)) + lag, len(frames) - 1)
    made = frames.copy()
    for index, frame in enumerate(made):
        # The second field is later, and the camera moved on.
        other = np.roll(frames[later[index]], round(float(path[index])), axis=1)
        for line in range(thick):
            frame[thick + line :: 2 * thick] = other[thick + line :: 2 * thick]
    return negative(material, made, severity=severity, lines_px=thick, lag_frames=lag)


def _tape(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    severity = uniform(rng, 0, 1)
    soft, bleed = (0.004 + 0.006 * severity) * width, max(2, round((0.015 + 0.035 * severity) * width))
    head_px = max(3, round(height * uniform(rng, 0.03, 0.08)))
    tear = height * (0.5 + 0.8 * np.sin(np.arange(len(frames)) * uniform(rng, 0.02, 0.12) + uniform(rng, 0, 6)))
    lines = np.arange(height)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    places = columns, rows
    for index, frame in enumerate(frames):
        tones = cv2.cvtColor(cv2.GaussianBlur(frame, (0, 0), sigmaX=soft, sigmaY=0.6), cv2.COLOR_RGB2YCrCb)
        chroma = np.roll(cv2.blur(tones[..., 1:], (2 * bleed + 1, 3)), bleed // 2, axis=1)
        tones[..., 1:] = cv2.addWeighted(chroma, 1.3, chroma, 0, -0.3 * 128)
        signal = cv2.cvtColor(tones, cv2.COLOR_YCrCb2RGB)
        shift = np.convolve(rng.normal(0, 1, height + 8), np.full(9, 1 / 9), mode="valid") * 0.012 * severity * width
        near = np.exp(-np.square((lines - tear[index]) / (0.05 * height)))
        shift += near * (0.03 + 0.08 * severity) * width
        shift[-head_px:] += np.linspace(0, 0.15, head_px) * width * (1 + rng.normal(0, 0.3))
        columns = places[0] - shift.astype(np.float32)[:, None]
        frame[:] = cv2.remap(signal, columns, places[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_WRAP)
        is_hit = rng.random((height, 1)) < near[:, None] * 0.5 + 0.01
        cells = rng.random((height, width // DASH_PX + 1)) < 0.3
        is_hit[-head_px:] = rng.random((head_px, 1)) < 0.5
        dashes = is_hit & cells.repeat(DASH_PX, axis=1)[:, :width]
        frame[dashes] = 225
    frames = with_grain(rng, frames, 5 + 9 * severity, 4 + 9 * severity, 0.9)
    return negative(material, frames, severity=severity, bleed_px=bleed)


def _banding(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, _, _ = base_clip(material, rng)
    severity = uniform(rng, 0, 1)
    levels, soft = 7 - round(3 * severity), uniform(rng, 0, 1.2)
    steps = np.round(np.arange(256) / 255 * (levels - 1)) / (levels - 1) * 255
    table = np.clip(steps, 0, 255).astype(np.uint8)

    def reduced(frame: Picture) -> Picture:
        tones = cv2.cvtColor(cv2.GaussianBlur(frame, (0, 0), soft + 0.3), cv2.COLOR_RGB2YCrCb)
        coarse = (tones[..., 1:] // 24) * 24 + 8
        tones[..., 0] = cv2.LUT(tones[..., 0], table)
        tones[..., 1:] = coarse
        return cv2.cvtColor(tones, cv2.COLOR_YCrCb2RGB)

    return negative(material, _each(frames, reduced), severity=severity, levels=levels)


def _colour_cast(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    severity = uniform(rng, 0, 1)
    casts = {
        "green": (0.55, 1.15, 0.5),
        "blue": (0.4, 0.75, 1.5),
        "orange": (1.45, 0.8, 0.3),
        "magenta": (1.3, 0.5, 1.25),
        "yellow": (1.25, 1.1, 0.25),
    }
    kind = pick(rng, tuple(casts))
    gains = 1 + (np.array(casts[kind]) - 1) * (0.85 + 0.5 * severity)
    drift = 0.08 * wander(rng, len(frames), material.fps)
    for index, frame in enumerate(frames):
        share = np.clip(gains * (1 + drift[index]), 0, 3)
        frame[:] = np.clip(frame * share.astype(np.float32) + np.float32(8), 0, 255).astype(np.uint8)
    return negative(material, frames, severity=severity, kind=kind)


def _dirty_lens(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    severity, kind, side = uniform(rng, 0, 1), pick(rng, ("fog", "smears", "drops", "dirt")), min(height, width)
    cover = np.zeros((height, width), np.float32)
    for _ in range({"fog": 0, "smears": 5, "drops": 40, "dirt": 45}[kind]):
        place = (whole(rng, 0, width), whole(rng, 0, height))
        radius = {"smears": (0.15, 0.4), "drops": (0.03, 0.12), "dirt": (0.02, 0.08)}[kind]
        axes = tuple(max(2, round(uniform(rng, *radius) * side)) for _ in range(2))
        cv2.ellipse(cover, place, axes, uniform(rng, 0, 180), 0, 360, uniform(rng, 0.6, 1), -1)
    if kind == "fog":
        small = rng.standard_normal((4, 5)).astype(np.float32)
        cover = np.clip(0.75 + 0.2 * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0.4, 1)
    else:
        cover = cv2.GaussianBlur(cover, (0, 0), {"smears": 0.05, "drops": 0.006, "dirt": 0.012}[kind] * side)
    veil: int = {"fog": 200, "smears": 190, "drops": 215, "dirt": 25}[kind]
    strength = np.float32({"fog": 0.62, "smears": 0.6, "drops": 0.35, "dirt": 0.75}[kind] + 0.22 * severity)
    above = np.full((height, width, 3), veil, np.uint8)
    smear = (0.02 + 0.02 * severity) * side
    for frame in frames:
        frame[:] = mix(mix(frame, _softened(frame, smear), np.clip(cover * 1.3, 0, 1)), above, cover * strength)
    return negative(material, frames, severity=severity, kind=kind)


def _broken(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, _ = base_clip(material, rng)
    severity, kind = uniform(rng, 0, 1), pick(rng, ("smear", "green", "slices", "mixed"))
    return negative(material, coding.broken(frames, rng, severity, kind), severity=severity, kind=kind)


def _flicker(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, _ = base_clip(material, rng)
    severity, kind = uniform(rng, 0, 1), pick(rng, ("whole", "bars", "exposure hunting", "colour"))
    num, size = len(frames), 0.2 + 0.3 * severity
    low_hz, high_hz = (1, 3) if kind == "exposure hunting" else (min(5, material.fps * 0.3), material.fps * 0.45)
    rate = uniform(rng, low_hz, high_hz)
    wave = np.sin(2 * np.pi * rate * np.arange(num) / material.fps) + 0.5 * rng.normal(0, 1, num)
    lines = np.linspace(0, 2 * np.pi * uniform(rng, 1.5, 5), height, dtype=np.float32)[:, None, None]
    for index, frame in enumerate(frames):
        if kind == "bars":
            gain = 1 + np.float32(size) * np.sin(lines + np.float32(index * rate))
            frame[:] = np.clip(frame * gain, 0, 255).astype(np.uint8)
        elif kind == "colour":
            gains = np.clip(1 + size * np.array([wave[index], -wave[index], 0.5 * wave[index - 1]]), 0.2, 2)
            frame[:] = np.clip(frame * gains.astype(np.float32), 0, 255).astype(np.uint8)
        else:
            frame[:] = cv2.convertScaleAbs(frame, alpha=float(np.clip(1 + size * wave[index], 0.15, 2.5)))
    return negative(material, frames, severity=severity, kind=kind, rate_hz=rate)


def _ghosts(material: Material, rng: np.random.Generator) -> Negative:
    frames, _, width = base_clip(material, rng)
    severity, kind = uniform(rng, 0, 1), pick(rng, ("antenna", "slow sensor"))
    if kind == "antenna":
        for frame in frames:
            source = frame.copy()
            for number, share in ((1, 0.35 + 0.1 * severity), (2, 0.25)):
                frame[:] = mix(frame, np.roll(source, round(number * (0.02 + 0.02 * severity) * width), axis=1), share)
        frames = with_grain(rng, frames, 8 + 14 * severity, 5)
    else:
        frames = _toned(frames, lambda level: 0.15 + level * 0.55)
        for index in range(1, len(frames)):
            frames[index] = mix(frames[index], frames[index - 1], 0.8 + 0.12 * severity)
        frames = with_grain(rng, frames, 7 + 10 * severity, 3, 0.7)
    return negative(material, frames, severity=severity, kind=kind)


def _multiple_of_eight(side_px: float) -> int:
    """Return the nearest multiple of 8."""
    return 8 * max(1, round(side_px / 8))


def _cheap_camera(material: Material, rng: np.random.Generator) -> Negative:
    cv2 = opencv()
    frames, height, width = base_clip(material, rng)
    severity, factor = uniform(rng, 0, 1), uniform(rng, 2, 3.5)
    small = max(16, _multiple_of_eight(width / factor)), max(16, _multiple_of_eight(height / factor))
    frames, _ = _shaken_views(frames, rng, 0.4 * severity, material.fps)
    reduced = np.stack([cv2.resize(frame, small, interpolation=cv2.INTER_AREA) for frame in frames])
    reduced = _toned(reduced, lambda level: 0.06 + 0.7 * level**1.2)
    reduced = with_grain(rng, reduced, 6 + 12 * severity, 5 + 8 * severity, 0.6)
    reduced = coding.coded_badly(reduced, quantiser=20 + 40 * severity, key_period_frames=15)
    for frame, source in zip(frames, reduced, strict=True):
        frame[:] = cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR)
    return negative(material, frames, severity=severity, factor=factor)


def _family(
    name: str, meaning: str, make: Callable[[Material, np.random.Generator], Negative], *unsure: LabelName
) -> Family:
    others: frozenset[LabelName] = frozenset(unsure)
    return Family(name=f"low_quality.{name}", label="low_quality", meaning=meaning, make=make, unsure=others)


FAMILIES: tuple[Family, ...] = (
    _family("blur", "Out of focus all the time, or hunting for it.", _blur),
    _family("motion_blur", "Smeared by shake and a slow shutter.", _motion_blur),
    _family("shake", "Filmed by a hand that shakes and rolls.", _shake),
    _family("enlarged", "Enlarged from a quarter to a tenth of the size.", _enlarged),
    _family("blocks", "Coded with far too few bits: blocks, smears, pumping.", _blocks),
    _family("noise", "Grain of luma or colour, coarse grain, salt and pepper, lines.", _noise),
    _family("dark", "Far too dark, often noisy.", _dark),
    _family("overexposed", "Far too bright, lights cut off.", _overexposed),
    _family("washed_out", "Hardly any contrast and colour.", _washed_out),
    _family("combed", "Two fields of different times in every frame.", _combed),
    _family("tape", "A worn video tape: colours that bleed, tears, dashes, a torn lower edge.", _tape, "editing"),
    _family("banding", "Few levels: steps where shades should be.", _banding, "editing"),
    _family("colour_cast", "Wrong white balance, beyond repair.", _colour_cast, "editing"),
    _family("dirty_lens", "Filmed through fog, smears, drops or dirt.", _dirty_lens),
    _family("broken", "Lost data: smeared, green, displaced blocks.", _broken, "editing"),
    _family("flicker", "Light, bars or colours that tremble.", _flicker, "editing"),
    _family("ghosts", "Doubled by a bad antenna, or smeared in time by a slow sensor.", _ghosts, "editing"),
    _family("cheap_camera", "Few pixels, grain, flat colours, blocks and a hand, all at once.", _cheap_camera),
)
