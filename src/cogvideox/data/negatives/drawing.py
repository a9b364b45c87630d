"""What pages and screens are drawn with, beyond ``pictures``: formats, themes, fonts, text, scrolling and pointers.

Axes: T frames, H W rows and columns.
"""

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.coding import coded_badly
from cogvideox.data.negatives.family import Frames, Material
from cogvideox.data.negatives.pictures import (
    USUAL_SIZES_PX,
    Colour,
    Mask,
    Picture,
    draw_colour,
    ease,
    pick,
    resize_frames,
    wander,
    with_grain,
)

FontKind = Literal["any", "sans", "mono"]
Font = ImageFont.FreeTypeFont

MIN_DRAWN_SIDE_PX = 240
LANDSCAPES_PX = tuple(size for size in USUAL_SIZES_PX if MIN_DRAWN_SIDE_PX <= size[0] < size[1])
PORTRAITS_PX = tuple(size for size in USUAL_SIZES_PX if MIN_DRAWN_SIDE_PX <= size[1] < size[0])
MIN_SIDE_PX = 144
"""Of the material's own size; on smaller screens there is no room for what is drawn."""
LARGE_SHARE = 0.25
"""Of the draws of 720p that stay: they cost as much as all others together."""
MAX_FONT_FILES = 300
SANS_NAMES = ("sans", "arial", "helvetica", "roboto", "inter", "verdana", "segoe", "ubuntu", "noto", "lato")
MONO_NAMES = ("mono", "courier", "consola", "menlo", "typewriter")
PLAIN_LETTERS = "AaQgRz5&"
"""A font that cannot write these is one of symbols."""
DRIFT = 0.54
"""Root mean square of `drift`."""
KEY_PERIODS_FRAMES = (12, 25, 250)


@dataclass(frozen=True, kw_only=True)
class Format:
    """How long and how large a made video is."""

    num_frames: int
    fps: float
    height_px: int
    width_px: int

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.fps <= 0:
            raise ValueError(f"format: expected frames at a rate above 0, got {self.num_frames} at {self.fps}")
        if self.width_px % 2 or self.height_px % 2 or min(self.width_px, self.height_px) < 16:
            raise ValueError(f"format: expected even sides of at least 16 px, got {self.width_px}x{self.height_px}")

    @property
    def unit_px(self) -> float:
        """A hundredth of the shorter side: what sizes of letters go by."""
        return min(self.width_px, self.height_px) / 100

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width."""
        return self.height_px, self.width_px

    @property
    def times_s(self) -> NDArray[np.float64]:
        """(T,) from 0."""
        return np.arange(self.num_frames) / self.fps

    def empty(self) -> Frames:
        """Return frames that are still to be filled."""
        return np.empty((self.num_frames, self.height_px, self.width_px, 3), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of a page or a program."""

    is_dark: bool
    paper: Colour
    panel: Colour
    """Of bars and boxes on the paper."""
    line: Colour
    ink: Colour
    faint: Colour
    """Of text that matters less."""
    accent: Colour


def draw_format(
    material: Material, rng: np.random.Generator, orientation: Literal["any", "landscape", "portrait"] = "any"
) -> Format:
    """Return the material's length at its size or at another usual one, of an orientation."""
    num_frames, height_px, width_px = material.frames.shape[:3]
    own = height_px // 2 * 2, width_px // 2 * 2
    # There are three times as many usual sizes of landscapes.
    usual = {"landscape": LANDSCAPES_PX, "portrait": PORTRAITS_PX, "any": LANDSCAPES_PX + 2 * PORTRAITS_PX}[orientation]
    size = pick(rng, usual)
    is_large = size == (720, 1280) and rng.random() > LARGE_SHARE
    is_turned = orientation != "any" and (own[0] > own[1]) != (orientation == "portrait")
    fits = not is_turned and min(own) >= MIN_SIDE_PX
    if fits and (is_large or rng.random() < 0.55):
        size = own
    elif is_large:
        size = (360, 640)
    return Format(num_frames=num_frames, fps=material.fps, height_px=size[0], width_px=size[1])


def draw_theme(rng: np.random.Generator, dark_share: float = 0.4) -> Theme:
    """Return colours that are light or dark, with an accent of any hue."""
    tint = rng.integers(-6, 7, 3)
    is_dark = bool(rng.random() < dark_share)
    paper = int(rng.integers(8, 42)) if is_dark else int(rng.integers(238, 256))
    panel, line, ink, faint = (paper + 18, paper + 42, 225, 140) if is_dark else (paper - 14, paper - 44, 30, 120)

    def tinted(level: int) -> Colour:
        r, g, b = (int(value) for value in (level + tint).clip(0, 255))
        return r, g, b

    return Theme(
        is_dark=is_dark,
        paper=tinted(paper),
        panel=tinted(panel),
        line=tinted(line),
        ink=tinted(ink),
        faint=tinted(faint),
        accent=draw_colour(rng, (0.55, 0.95), (0.6, 0.95)),
    )


def darker(colour: Sequence[int], share: float) -> Colour:
    """Return a colour with this share of its light."""
    r, g, b = (int(value * share) for value in colour)
    return r, g, b


def gradient(height_px: int, width_px: int, first: Colour, last: Colour, angle: float) -> Picture:
    """Return a picture that goes from one colour to another along an angle in radians."""
    x, y = np.linspace(-0.5, 0.5, width_px), np.linspace(-0.5, 0.5, height_px)[:, None]
    along = x * math.cos(angle) + y * math.sin(angle)
    share = ((along - along.min()) / max(np.ptp(along), 1e-9)).astype(np.float32)[..., None]
    return (np.array(first, np.float32) * (1 - share) + np.array(last, np.float32) * share + 0.5).astype(np.uint8)


# Fonts and text


@cache
def fonts(kind: FontKind) -> tuple[str, ...]:
    """Return the files of fonts of a kind that this system has, in the order of their paths; "" is Pillow's own."""
    files = _font_files()
    names = {"any": ("",), "sans": SANS_NAMES, "mono": MONO_NAMES}[kind]
    fitting = [file for file in files if any(name in Path(file).name.lower() for name in names)]
    if kind == "sans":
        others = (*MONO_NAMES, "italic", "oblique")
        fitting = [file for file in fitting if not any(name in Path(file).name.lower() for name in others)]
    return tuple(fitting) or ("",)


@cache
def _font_files() -> tuple[str, ...]:
    folders = ["/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts"]
    if sys.platform == "darwin":
        folders = ["/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"]
    if sys.platform == "win32":
        folders = [os.path.join(os.environ.get("WINDIR", "C:\\Windows"), "Fonts")]
    found = [path for folder in folders for path in Path(folder).expanduser().rglob("*.[to]tf")]
    return tuple(str(path) for path in sorted(found)[:MAX_FONT_FILES] if can_write(str(path), PLAIN_LETTERS))


@cache
def font(file: str, size_px: int) -> Font:
    """Return a font at a size; "" is Pillow's own."""
    if file:
        return ImageFont.truetype(file, max(size_px, 6))
    own = ImageFont.load_default(max(size_px, 6))
    if not isinstance(own, ImageFont.FreeTypeFont):
        raise ValueError("font: expected a Pillow that was built with FreeType, got one without; reinstall pillow")
    return own


def can_write(file: str, letters: str) -> bool:
    """Return whether a font has a shape of its own for each of these letters; False if it cannot be read."""
    try:
        face = font(file, 20)
        missing, *shapes = (_shape(face, letter) for letter in ("\uffff", *letters))
    except (OSError, ValueError):
        return False
    return all(shape.any() and not np.array_equal(shape, missing) for shape in shapes)


def _shape(face: Font, letter: str) -> NDArray[np.uint8]:
    image, drawing = mask_page(40, 40)
    drawing.text((5, 5), letter, 255, face)
    return np.asarray(image)


def draw_font_file(rng: np.random.Generator, kind: FontKind = "any") -> str:
    """Return one of the system's fonts of a kind."""
    return pick(rng, fonts(kind))


def draw_words(material: Material, rng: np.random.Generator, num_words: int) -> list[str]:
    """Return words of the running text that follow one another; it begins anew if it ends."""
    start = int(rng.integers(len(material.words)))
    return [material.words[(start + index) % len(material.words)] for index in range(num_words)]


def draw_phrase(material: Material, rng: np.random.Generator, low: int, high: int) -> str:
    """Return so many words (both counts may be drawn), the first letter large."""
    phrase = " ".join(draw_words(material, rng, int(rng.integers(low, high + 1)))).strip(" ,.;:")
    return phrase[:1].upper() + phrase[1:]


def wrap(words: Sequence[str], face: Font, width_px: float) -> list[str]:
    """Return lines no wider than that, but for single words that are."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def fitting_font(file: str, text: str, width_px: float, size_px: int) -> Font:
    """Return the font at that size, or smaller if the text would be wider."""
    length = font(file, size_px).getlength(text)
    return font(file, size_px if length <= width_px else int(size_px * width_px / length))


def fitted_lines(words: list[str], file: str, size_px: int, form: Format) -> tuple[list[str], Font]:
    """Return words in lines, and the font, made smaller until they fit into the frame."""
    while True:
        face = font(file, size_px)
        lines = wrap(words, face, form.width_px * 0.86)
        is_narrow = max(face.getlength(line) for line in lines) <= form.width_px * 0.94
        if size_px <= 8 or (is_narrow and len(lines) * size_px * 1.45 <= form.height_px * 0.86):
            return lines, face
        size_px = int(size_px * 0.9)


def page(height_px: int, width_px: int, colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty page and what draws on it."""
    image = Image.new("RGB", (width_px, height_px), colour)
    return image, ImageDraw.Draw(image)


def mask_page(height_px: int, width_px: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty mask and what draws on it, in levels of 0 to 255; `mask_of` makes it one."""
    image = Image.new("L", (width_px, height_px))
    return image, ImageDraw.Draw(image)


def mask_of(image: Image.Image) -> Mask:
    """Return a drawn mask page, of 0 to 1."""
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def words_mask(text: str, height_px: int) -> Mask:
    """Return the mask of one line of text in Pillow's font, as high as its letters reach and as wide as it is."""
    face = font("", max(6, round(height_px * 0.8)))
    left, _, right, _ = face.getbbox(text)
    image, drawing = mask_page(height_px, max(1, int(right - left) + 2))
    drawing.text((1 - left, height_px / 2), text, fill=255, font=face, anchor="lm")
    return mask_of(image)


def text_block(lines: Sequence[str], face: Font, align: Literal["left", "center", "right"], spacing: float) -> Mask:
    """Return lines of text as a mask; spacing is of lines, in heights of the font."""
    step_px = round(face.size * spacing)
    width_px = max(1, math.ceil(max((face.getlength(line) for line in lines), default=1)) + 4)
    image, drawing = mask_page(step_px * len(lines) + round(face.size * 0.4), width_px)
    share = {"left": 0.0, "center": 0.5, "right": 1.0}[align]
    for row, line in enumerate(lines):
        drawing.text((2 + (width_px - 4 - face.getlength(line)) * share, row * step_px), line, 255, face)
    return mask_of(image)


def outline(mask: Mask, width_px: int) -> Mask:
    """Return a mask grown by a width and as much larger on each side, for edges and shadows of letters."""
    cv2 = opencv()
    grown = cv2.copyMakeBorder(mask, *[width_px] * 4, cv2.BORDER_CONSTANT)
    return cv2.dilate(grown, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width_px + 1, 2 * width_px + 1)))


def dimmed(frames: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Return frames or a picture with this share of their light."""
    return (np.arange(256) * share).astype(np.uint8)[frames]


# Courses of time


def drift(rng: np.random.Generator, times_s: NDArray[np.float64], period_s: float) -> NDArray[np.float64]:
    """Return (T,) `wander` at evenly spaced times, by a period in seconds and mostly between -1 and 1."""
    period_frames = period_s / (times_s[1] - times_s[0]) if len(times_s) > 1 else 1.0
    return DRIFT * wander(rng, len(times_s), period_frames)


def scroll_path(rng: np.random.Generator, form: Format, max_px: int, speed_px_s: float) -> NDArray[np.int64]:
    """Return (T,) whole pixels from 0 up to a largest one, in bursts of a wheel or a finger with pauses between."""
    step = np.zeros(form.num_frames)
    at = int(rng.integers(0, max(1, form.num_frames // 8)))
    is_eased = rng.random() < 0.5
    while at < form.num_frames:
        length = max(2, int(rng.uniform(0.3, 1.2) * form.fps))
        course = np.sin(np.pi * (np.arange(length) + 0.5) / length) * 1.5 if is_eased else np.ones(length)
        direction = 1 if rng.random() < 0.85 else -1
        part = step[at : at + length]
        part[:] = (course * direction * speed_px_s / form.fps)[: len(part)]
        at += length + int(rng.uniform(0.1, 0.9) * form.fps)
    path, place = np.zeros(form.num_frames), 0.0
    for index, change in enumerate(step):
        place = min(max(place + change, 0.0), max_px)
        path[index] = place
    return np.rint(path).astype(np.int64)


def pointer_path(
    rng: np.random.Generator, form: Format, targets_px: Sequence[tuple[float, float]] = ()
) -> NDArray[np.int64]:
    """Return (T, 2) x and y of a pointer that goes in arcs from target to target, or anywhere, and rests at each."""
    size = np.array([form.width_px, form.height_px], float)
    place = rng.uniform(0.1, 0.9, 2) * size
    path: list[NDArray[np.float64]] = []
    next_target = 0
    while len(path) < form.num_frames:
        goal = np.array(targets_px[next_target]) if next_target < len(targets_px) else rng.uniform(0.05, 0.95, 2) * size
        next_target += 1
        bend = np.array([-1.0, 1.0]) * (goal - place)[::-1] * rng.uniform(-0.3, 0.3)
        num_moving = max(3, int(rng.uniform(0.25, 0.8) * form.fps))
        share = ease((np.arange(num_moving) + 1) / num_moving, "smooth")[:, None]
        path.extend(place + (goal - place) * share + bend * 2 * share * (1 - share))
        path.extend([goal] * int(rng.uniform(0.1, 0.8) * form.fps))
        place = goal
    return np.rint(np.array(path[: form.num_frames]).clip(0, size - 1)).astype(np.int64)


POINTER = ((0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (13, 12))


def draw_pointer(frame: Picture, x_px: int, y_px: int, scale: float, is_dark: bool) -> None:
    """Draw an arrow with its tip at a pixel."""
    cv2 = opencv()
    shape = np.rint(np.array(POINTER) * scale + (x_px, y_px)).astype(np.int32)
    body, edge = ((20, 20, 20), (245, 245, 245)) if is_dark else ((250, 250, 250), (10, 10, 10))
    cv2.fillPoly(frame, [shape], body, cv2.LINE_AA)
    cv2.polylines(frame, [shape], True, edge, 1, cv2.LINE_AA)


# How it was recorded


def fewer_pixels(frames: Frames, factor: float) -> Frames:
    """Return frames reduced by a factor of their sides."""
    return resize_frames(frames, int(frames.shape[1] / factor), int(frames.shape[2] / factor))


def quantiser_of(jpeg_quality: float) -> float:
    """Return the step of the second frequency, in levels, that JPEG has at a quality of up to 50."""
    return 11 * 50 / jpeg_quality


def recorded(frames: Frames, rng: np.random.Generator, clean_share: float = 0.5) -> tuple[Frames, str]:
    """Return frames as some recorder left them, and what that was: clean, of few bits, noisy or of few pixels.

    Noise is added in place.
    """
    how = str(rng.choice(["few bits", "noise", "few pixels"])) if rng.random() > clean_share else "clean"
    if how == "few bits":
        quantiser, period = quantiser_of(rng.uniform(8, 45)), pick(rng, KEY_PERIODS_FRAMES)
        return coded_badly(frames, quantiser=quantiser, key_period_frames=period), how
    if how == "noise":
        return with_grain(rng, frames, rng.uniform(2, 9), 0), how
    if how == "few pixels":
        return resize_frames(fewer_pixels(frames, rng.uniform(1.3, 2.2)), *frames.shape[1:3]), how
    return frames, how
