"""Good videos, some of them near to bad ones: what filters must leave alone."""

import numpy as np

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.drawing import words_mask
from cogvideox.data.negatives.family import Family, Frames, Material, Negative
from cogvideox.data.negatives.pictures import (
    base_clip,
    chance,
    contain,
    cover_frames,
    ease,
    even,
    lengthen,
    mix,
    negative,
    output_size,
    pick,
    resize_frames,
    stamp,
    uniform,
    view_of,
    wander,
    whole,
    with_grain,
)

GAMMAS = (0.75, 1.35)


def plain(material: Material, rng: np.random.Generator) -> Negative:
    """Return the clip, cropped, turned left to right and graded as editors do."""
    frames, crop = _cropped(material, rng, least=0.6)
    gamma, warmth = uniform(rng, *GAMMAS), uniform(rng, -0.08, 0.08)
    levels = 255 * (np.arange(256) / 255)[:, None] ** (gamma * np.array([1 - warmth, 1, 1 + warmth]))
    table = levels.round().astype(np.uint8).reshape(1, 256, 3)
    graded = np.stack([opencv().LUT(frame, table) for frame in frames])
    return negative(material, graded, crop=crop, gamma=gamma, warmth=warmth)


def small(material: Material, rng: np.random.Generator) -> Negative:
    """Return the clip with few pixels, all of them sharp."""
    frames, _ = _cropped(material, rng, least=0.8)
    height_px, width_px = frames.shape[1:3]
    scale = whole(rng, 144, 200) / min(height_px, width_px)
    if scale >= 1:
        return negative(material, frames, scale=1.0)
    return negative(material, cover_frames(frames, even(height_px * scale), even(width_px * scale)), scale=scale)


def portrait(material: Material, rng: np.random.Generator) -> Negative:
    """Return an upright part of the clip, as telephones film."""
    height_px, width_px = material.frames.shape[1:3]
    if width_px > height_px:
        width_px = even(height_px * pick(rng, (9 / 16, 3 / 4)))
    return negative(material, cover_frames(material.frames, even(height_px), width_px))


def faster(material: Material, rng: np.random.Generator) -> Negative:
    """Return the clip with every second frame, back and forth if it ends."""
    frames, _ = _cropped(material, rng, least=0.8)
    rate = uniform(rng, 1.2, 2.0)
    places = np.minimum((np.arange(int(len(frames) / rate)) * rate).astype(np.int64), len(frames) - 1)
    return negative(material, lengthen(frames[places], len(frames)), rate=rate)


def letterboxed(material: Material, rng: np.random.Generator) -> Negative:
    """Return the clip between the black bars of a wide film."""
    height_px, width_px = output_size(material, rng)
    wide = cover_frames(material.frames, even(width_px / uniform(rng, 1.85, 2.4)), width_px)
    above_px = max(0, (height_px - wide.shape[1]) // 2)
    frames = np.zeros((len(wide), height_px, width_px, 3), np.uint8)
    frames[:, above_px : above_px + wide.shape[1]] = wide[:, :height_px]
    return negative(material, frames, bars=1 - wide.shape[1] / height_px)


def handheld(material: Material, rng: np.random.Generator) -> Negative:
    """Return what a calm hand films: the view wanders and trembles a little."""
    zoom = uniform(rng, 1.1, 1.3)
    num_frames = len(material.frames)
    slow, fast = ([wander(rng, num_frames, period * material.fps) for _ in range(3)] for period in (1.5, 0.25))
    drift, tremble = uniform(rng, 0.1, 0.35), uniform(rng, 0.0, 0.03)
    right, down, angle_deg = (drift * far + tremble * near for far, near in zip(slow, fast, strict=True))
    size = material.frames.shape[1:3]
    frames = [
        view_of(frame, *size, zoom=zoom, right=float(x), down=float(y), angle_deg=float(a))
        for frame, x, y, a in zip(material.frames, right, down, angle_deg, strict=True)
    ]
    return negative(material, np.stack(frames), zoom=zoom, drift=drift, tremble=tremble)


def moving_camera(material: Material, rng: np.random.Generator) -> Negative:
    """Return the clip seen by a camera that also pans or zooms: what moves in it goes on moving."""
    progress = ease(np.linspace(0, 1, len(material.frames)), pick(rng, ("linear", "smooth")))
    zooms = np.array([uniform(rng, 1.0, 1.15), uniform(rng, 1.15, 1.5)])[:: pick(rng, (1, -1))]
    rights, downs = ([uniform(rng, -0.8, 0.8) for _ in range(2)] for _ in range(2))
    size = material.frames.shape[1:3]

    def at(ends: np.ndarray | list[float], share: float) -> float:
        return float(ends[0] + (ends[1] - ends[0]) * share)

    frames = [
        view_of(frame, *size, zoom=at(zooms, share), right=at(rights, share), down=at(downs, share))
        for frame, share in zip(material.frames, progress, strict=True)
    ]
    return negative(material, np.stack(frames), first_zoom=float(zooms[0]), last_zoom=float(zooms[1]))


def imperfect(material: Material, rng: np.random.Generator) -> Negative:
    """Return the clip a little soft, grainy, dim or bright: as most video is."""
    frames, _ = _cropped(material, rng, least=0.8)
    blur_px, grain = uniform(rng, 0.0, 0.7) * min(frames.shape[1:3]) / 360, uniform(rng, 0.0, 4.0)
    light = uniform(rng, 0.6, 1.15)
    cv2 = opencv()
    made = []
    for frame in frames:
        if blur_px > 0.2:
            frame = cv2.GaussianBlur(frame, (0, 0), blur_px)
        made.append(cv2.convertScaleAbs(frame, alpha=light))
    return negative(material, with_grain(rng, np.stack(made), grain, 0), blur_px=blur_px, grain=grain, light=light)


def subtitled(material: Material, rng: np.random.Generator) -> Negative:
    """Return the clip with one line of subtitles, or two, that change once."""
    frames, height_px, width_px = base_clip(material, rng)
    line_px = max(10, round(height_px * uniform(rng, 0.045, 0.06)))
    num_lines, change_at = whole(rng, 1, 2), whole(rng, len(frames) // 3, len(frames))
    first = whole(rng, 0, len(material.words) - 1)
    for part, span in enumerate((slice(0, change_at), slice(change_at, len(frames)))):
        for line in range(num_lines):
            words = [material.words[(first + 12 * part + 6 * line + i) % len(material.words)] for i in range(5)]
            mask = words_mask(" ".join(words), line_px)
            if mask.shape[1] > 0.92 * width_px:
                mask = words_mask(" ".join(words[:3]), line_px)
            top_px = height_px - round((num_lines - line + 0.6) * 1.25 * line_px)
            left_px = (width_px - mask.shape[1]) // 2
            for frame in frames[span]:
                for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    stamp(frame, (0, 0, 0), mask, top_px + down, left_px + right)
                stamp(frame, (245, 245, 245), mask, top_px, left_px)
    return negative(material, frames, line_px=line_px, num_lines=num_lines)


def close_up(material: Material, rng: np.random.Generator) -> Negative:
    """Return the middle of the clip enlarged a little, as zoom lenses do."""
    frames, crop = _cropped(material, rng, least=0.45)
    height_px, width_px = material.frames.shape[1:3]
    scale = min(1.3, height_px / frames.shape[1], width_px / frames.shape[2])
    size = even(frames.shape[1] * scale), even(frames.shape[2] * scale)
    return negative(material, resize_frames(frames, *size), crop=crop, scale=scale)


def beside_nothing(material: Material, rng: np.random.Generator) -> Negative:
    """Return an upright or square clip between black bars at its sides, as players show it."""
    height_px, width_px = material.frames.shape[1:3]
    inner = cover_frames(material.frames, height_px, even(height_px * uniform(rng, 0.8, 1.3)))
    inner = contain(inner, height_px, width_px)
    frames = np.zeros_like(material.frames)
    top_px, left_px = (height_px - inner.shape[1]) // 2, (width_px - inner.shape[2]) // 2
    frames[:, top_px : top_px + inner.shape[1], left_px : left_px + inner.shape[2]] = inner
    return negative(material, frames, bars=1 - inner.shape[2] / width_px)


def slow_fade(material: Material, rng: np.random.Generator) -> Negative:
    """Return the clip while the light changes slowly, as clouds and auto-exposure do."""
    depth = uniform(rng, 0.1, 0.35)
    light = 1 - depth * (0.5 + 0.5 * wander(rng, len(material.frames), 2.0 * material.fps)).clip(0, 1)
    dark = np.zeros_like(material.frames[0])
    frames = [mix(frame, dark, float(1 - share)) for frame, share in zip(material.frames, light, strict=True)]
    return negative(material, np.stack(frames), depth=depth)


def _cropped(material: Material, rng: np.random.Generator, *, least: float) -> tuple[Frames, float]:
    """Return a part of the clip, perhaps turned left to right, and the share of its sides that is left."""
    height_px, width_px = material.frames.shape[1:3]
    share = uniform(rng, least, 1.0)
    rows, columns = even(height_px * share - 0.9), even(width_px * share - 0.9)
    rows, columns = min(rows, height_px), min(columns, width_px)
    top, left = whole(rng, 0, height_px - rows), whole(rng, 0, width_px - columns)
    frames = material.frames[:, top : top + rows, left : left + columns]
    return np.ascontiguousarray(frames[:, :, ::-1] if chance(rng, 0.5) else frames), share


FAMILIES: tuple[Family, ...] = (
    *(
        Family(
            name=f"good.{make.__name__}", label=None, meaning=(make.__doc__ or "").removeprefix("Return "), make=make
        )
        for make in (
            plain,
            small,
            portrait,
            faster,
            letterboxed,
            handheld,
            moving_camera,
            imperfect,
            close_up,
            beside_nothing,
            slow_fade,
        )
    ),
    Family(
        name="good.subtitled",
        label=None,
        meaning="The clip with one line of subtitles, or two, that change once.",
        make=subtitled,
        unsure=frozenset({"editing"}),
    ),
)
