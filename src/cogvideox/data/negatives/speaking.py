"""People who talk: clips of them, or single pictures that are made to move mouth, eyes and head; and a drawn one.

Axes: T frames, H W rows and columns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.faces import find_faces
from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.drawing import drift
from cogvideox.data.negatives.family import Frames, Material
from cogvideox.data.negatives.pictures import Colour, Mask, Picture, ease, lengthen, pick, resize

Course = NDArray[np.float64]

MIN_FACE_SCORE = 0.5
USUAL_FACE = (0.33, 0.18, 0.67, 0.62)
"""Left, top, right, bottom in shares of the picture, of a head and shoulders without a face that is found."""
MASK_SIDE_PX = 112
MASK_ROUNDS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Sitter:
    """A person's head and shoulders, and where the face is in the first frame."""

    frames: Frames
    face_px: tuple[float, float, float, float]
    """Left, top, right, bottom."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Portrait:
    """A person who talks, cut to a size."""

    frames: Frames
    face_px: tuple[float, float, float, float]
    """Left, top, right, bottom, about."""
    is_clip: bool
    """Whether it was filmed; else a picture was made to move."""


def draw_sitter(material: Material, rng: np.random.Generator) -> Sitter:
    """Return one of the speakers, with the surest face that is found.

    Raises:
        MissingPackageError: the weights of the face detector are not installed.
    """
    return find_sitter(pick(rng, material.speakers))


def find_sitter(frames: Frames) -> Sitter:
    """Return a speaker with the surest face in the first frame. Raises MissingPackageError."""
    height_px, width_px = frames.shape[1:3]
    _, boxes = find_faces(frames[0])
    usual = np.array(USUAL_FACE) * (width_px, height_px, width_px, height_px)
    left, top, right, bottom = (float(value) for value in (boxes[0, :4] if len(boxes) else usual))
    return Sitter(frames=frames, face_px=(left, top, right, bottom))


def portrait(
    sitter: Sitter,
    rng: np.random.Generator,
    times_s: Course,
    height_px: int,
    width_px: int,
    face_share: float,
    liveliness: float = 1.0,
) -> Portrait:
    """Return a sitter who talks, cut to a size.

    Args:
        sitter: a clip runs from a frame that is drawn; a picture is made to move.
        rng: what is drawn from.
        times_s: (T,) of the frames.
        height_px: of the result.
        width_px: of the result.
        face_share: wanted height of the face in that of the result; it becomes larger where the picture has no more.
        liveliness: how far head and hands go; 1 is usual.
    """
    cv2 = opencv()
    left, top, right, bottom = sitter.face_px
    rows, columns = sitter.frames.shape[1:3]
    cut_height = min((bottom - top) / face_share, rows, columns * height_px / width_px)
    cut_width = cut_height * width_px / height_px
    x = min(max((left + right) / 2 - cut_width * 0.5, 0.0), columns - cut_width)
    y = min(max((top + bottom) / 2 - cut_height * 0.42, 0.0), rows - cut_height)
    scale = height_px / cut_height
    face = np.array([left - x, top - y, right - x, bottom - y]) * scale
    is_mirrored = rng.random() < 0.5
    x0, y0, x1, y1 = (
        round(x),
        round(y),
        max(round(x + cut_width), round(x) + 2),
        max(round(y + cut_height), round(y) + 2),
    )

    def cut(frame: Picture) -> Picture:
        made = resize(frame[y0:y1, x0:x1], height_px, width_px)
        return cv2.flip(made, 1) if is_mirrored else made

    if is_mirrored:
        face = np.array([width_px - face[2], face[1], width_px - face[0], face[3]])
    is_clip = len(sitter.frames) > 1
    if is_clip:
        taken = lengthen(sitter.frames, len(times_s), int(rng.integers(len(sitter.frames))))
        frames = np.stack([cut(frame) for frame in taken])
    else:
        frames = talking(cut(sitter.frames[0]), face, rng, times_s, liveliness)
    fl, ft, fr, fb = (float(value) for value in face)
    return Portrait(frames=frames, face_px=(fl, ft, fr, fb), is_clip=is_clip)


def speech(rng: np.random.Generator, times_s: Course) -> Course:
    """Return (T,) how far a mouth is open, 0 to 1: syllables of changing strength, and pauses between phrases."""
    phase = np.cumsum(rng.uniform(3.2, 5.5) * (1 + 0.3 * drift(rng, times_s, 0.9))) * np.gradient(times_s)
    strength = 0.55 + 0.45 * drift(rng, times_s, 0.6)
    is_talking = ease((drift(rng, times_s, rng.uniform(1.5, 3)) + 0.75) * 4, "smooth")
    return (np.sin(np.pi * phase) ** 2 * strength * is_talking).clip(0, 1)


def blinks(rng: np.random.Generator, times_s: Course) -> Course:
    """Return (T,) how far eyes are closed, 0 to 1."""
    closed, at = np.zeros(len(times_s)), rng.uniform(0, 1.5)
    while at < times_s[-1]:
        closed = np.maximum(closed, (1.4 - np.abs(times_s - at) / 0.09).clip(0, 1))
        at += rng.uniform(0.8, 3.0)
    return closed


def talking(
    picture: Picture, face_px: NDArray[np.float64], rng: np.random.Generator, times_s: Course, liveliness: float
) -> Frames:
    """Return frames of a picture of a face that talks, blinks, and sways, nods and tilts its head."""
    cv2 = opencv()
    height_px, width_px = picture.shape[:2]
    left, top, right, bottom = face_px
    wide, high = right - left, bottom - top
    y, x = np.mgrid[:height_px, :width_px].astype(np.float32)
    u, v = (x - (left + right) / 2) / wide, (y - top) / high
    head = ease(2.1 - np.hypot(u / 0.75, (v - 0.5) / 0.85), "smooth").astype(np.float32)
    body = ease((v - 0.2) * 0.7, "smooth").astype(np.float32) * ease(2.2 - np.abs(u), "smooth").astype(np.float32)
    jaw = ease((v - 0.76) * 14, "smooth") * ease((1.35 - v) * 3, "smooth") * ease(1.3 - np.abs(u) * 1.6, "smooth")
    lids = sum(np.exp(-(((u - side) / 0.13) ** 2) - ((v - 0.36) / 0.06) ** 2) for side in (-0.21, 0.21))
    opening, closing = speech(rng, times_s), blinks(rng, times_s)
    sway, nod, tilt, lean = (drift(rng, times_s, rng.uniform(1.2, 3.5)) for _ in range(4))
    reach = liveliness * high * rng.uniform(0.035, 0.08)
    turn = liveliness * rng.uniform(0.02, 0.06)
    jaw_drop = high * rng.uniform(0.07, 0.12)
    mouth = _mouth_place(left, top, wide, high)
    down_by_jaw, down_by_lids = np.float32(jaw * jaw_drop), np.float32(lids * high * 0.055)
    side_by_turn, down_by_turn = np.float32(head * (v - 1.0) * high), np.float32(-head * u * wide)
    frames = np.empty((len(times_s), height_px, width_px, 3), np.uint8)
    moved = head * np.float32(0.8) + body * np.float32(0.2)
    for index in range(len(times_s)):
        angle = np.float32(turn * tilt[index])
        map_x = x - np.float32(reach * sway[index]) * moved + angle * side_by_turn
        map_y = y - np.float32(reach * 0.6 * nod[index]) * head + angle * down_by_turn
        map_y -= np.float32(reach * 0.3 * lean[index]) * body
        map_y -= np.float32(opening[index]) * down_by_jaw
        map_y -= np.float32(closing[index]) * down_by_lids
        source = _with_mouth(picture, mouth, opening[index])
        frames[index] = cv2.remap(source, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return frames


def _mouth_place(left: float, top: float, wide: float, high: float) -> tuple[float, float, float, float]:
    return left + wide * 0.5, top + high * 0.785, wide * 0.17, high * 0.035


def _with_mouth(picture: Picture, mouth: tuple[float, float, float, float], opening: float) -> Picture:
    """Return the picture with the dark inside of a mouth, which the warp of the jaw then draws down."""
    if opening < 0.08:
        return picture
    x, y, half_width, half_height = mouth
    half_height *= float(opening)
    rows = slice(max(0, int(y - half_height * 2 - 2)), int(y + half_height * 2 + 3))
    columns = slice(max(0, int(x - half_width - 2)), int(x + half_width + 3))
    made = picture.copy()
    place = made[rows, columns]
    if not place.size:
        return picture
    v, u = np.mgrid[rows, columns][:, : place.shape[0], : place.shape[1]]
    far = np.hypot((u - x) / half_width, (v - y) / max(half_height, 0.5))
    share = (ease((1.25 - far) * 2.5, "smooth") * 0.85)[..., None]
    is_teeth = ((v - y) < -half_height * 0.35)[..., None]
    place[:] = (place * (1 - share) + np.where(is_teeth, (205, 190, 180), (52, 20, 20)) * share).astype(np.uint8)
    return made


def person_mask(made: Portrait) -> Mask:
    """Return (H, W) 0 to 1, how far a place belongs to the person, with soft edges as video calls cut them out."""
    cv2 = opencv()
    frame = made.frames[len(made.frames) // 2]
    height_px, width_px = frame.shape[:2]
    scale = min(1.0, MASK_SIDE_PX / max(height_px, width_px))
    small = cv2.resize(frame, (max(8, round(width_px * scale)), max(8, round(height_px * scale))))
    left, top, right, bottom = np.array(made.face_px) * scale
    wide, high, middle = right - left, bottom - top, (left + right) / 2
    y, x = np.mgrid[: small.shape[0], : small.shape[1]]
    u, v = (x - middle) / wide, (y - top) / high
    core = (np.hypot(u / 0.5, (v - 0.5) / 0.55) < 1) | ((v > 1.3) & (np.abs(u) < 0.5))
    likely = (np.hypot(u / 0.8, (v - 0.4) / 0.85) < 1) | ((v > 0.85) & (np.abs(u) < 0.55 + (v - 0.85) * 1.3))
    possible = (np.hypot(u / 0.95, (v - 0.38) / 0.98) < 1) | ((v > 0.85) & (np.abs(u) < 0.75 + (v - 0.85) * 1.8))
    marks = np.where(core, cv2.GC_FGD, np.where(likely, cv2.GC_PR_FGD, np.where(possible, cv2.GC_PR_BGD, cv2.GC_BGD)))
    marks = marks.astype(np.uint8)
    if (marks == cv2.GC_BGD).any():
        cv2.setRNGSeed(1)  # its clusters begin at random
        cv2.grabCut(small, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), MASK_ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD) | core).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if made.is_clip:
        found = cv2.dilate(found, np.ones((3, 3), np.uint8))
    soft = cv2.resize(cv2.GaussianBlur(found.astype(np.float32), (0, 0), 1.2), (width_px, height_px)).clip(0, 1)
    inside = np.minimum(np.arange(width_px), np.arange(width_px)[::-1]) / (0.06 * width_px)
    below = np.arange(height_px) / (0.05 * height_px)
    return (soft * np.minimum(inside, 1) * np.minimum(below, 1)[:, None]).astype(np.float32)


def skin_colour(made: Portrait) -> Colour:
    """Return the median colour of the middle of the face."""
    left, top, right, bottom = made.face_px
    rows = slice(max(0, int(top + (bottom - top) * 0.4)), max(1, int(top + (bottom - top) * 0.7)) + 1)
    columns = slice(max(0, int(left + (right - left) * 0.3)), max(1, int(left + (right - left) * 0.7)) + 1)
    r, g, b = (int(value) for value in np.median(made.frames[0][rows, columns].reshape(-1, 3), 0))
    return r, g, b
