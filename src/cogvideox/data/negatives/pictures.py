"""What the makers of bad video share: sizes, fitting, moving views, masks and mixing of pictures.

Axes: T frames, H W rows and columns; pictures are (H, W, 3) RGB, uint8; masks (H, W) float32, 0 to 1.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.libraries import opencv
from cogvideox.data.negatives.family import Frames, Material, Negative

Picture = NDArray[np.uint8]
Mask = NDArray[np.float32]
Colour = tuple[int, int, int]
Way = Literal["linear", "smooth", "out", "back"]
WAYS: tuple[Way, ...] = ("linear", "smooth", "out", "back")
USUAL_SIZES_PX = (
    (120, 160),
    (144, 176),
    (180, 320),
    (240, 320),
    (288, 352),
    (270, 480),
    (360, 480),
    (360, 640),
    (480, 640),
    (480, 854),
    (540, 960),
    (720, 1280),
    (320, 180),
    (480, 270),
    (640, 360),
    (854, 480),
    (320, 320),
    (480, 480),
)
"""Height and width of what is found in the wild, portrait and square ones too."""
MAX_ENLARGED = 1.1
"""By which a clip may be enlarged: more of it looks like low quality, which is another label."""
KEEPS_SIZE_SHARE = 0.6

_Value = TypeVar("_Value")


def pick(rng: np.random.Generator, values: Sequence[_Value]) -> _Value:
    """Return one of the values, each as likely."""
    return values[int(rng.integers(len(values)))]


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number between two."""
    return float(rng.uniform(low, high))


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a whole number from ``low`` to ``high``, both possible."""
    return int(rng.integers(low, high + 1))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with this probability."""
    return bool(rng.random() < probability)


def draw_colour(
    rng: np.random.Generator, saturation: tuple[float, float] = (0.0, 1.0), value: tuple[float, float] = (0.0, 1.0)
) -> Colour:
    """Return a colour of any hue with saturation and value (0 to 1) in these ranges."""
    hue, s, v = rng.uniform(0, 6), rng.uniform(*saturation), rng.uniform(*value)
    channels = [v - v * s * min(1.0, max(0.0, min(k, 4 - k))) for k in ((n + hue) % 6 for n in (5, 3, 1))]
    red, green, blue = (round(255 * channel) for channel in channels)
    return red, green, blue


def vivid(rng: np.random.Generator) -> Colour:
    """Return a strong colour of any hue."""
    return draw_colour(rng, (0.59, 1.0), (0.67, 1.0))


def any_colour(rng: np.random.Generator) -> Colour:
    """Return white, black, a gray or a strong colour."""
    plain: tuple[Colour, ...] = ((255, 255, 255), (0, 0, 0), (40, 40, 44), (235, 235, 230))
    return pick(rng, plain) if chance(rng, 0.5) else vivid(rng)


def even(side_px: float) -> int:
    """Return the nearest even whole number, at least 2."""
    return max(2, 2 * round(side_px / 2))


def output_size(material: Material, rng: np.random.Generator) -> tuple[int, int]:
    """Return height and width: mostly the material's, else a usual size that needs no enlarging of it."""
    height_px, width_px = material.frames.shape[1:3]
    fits = [
        (height, width) for height, width in USUAL_SIZES_PX if max(height / height_px, width / width_px) <= MAX_ENLARGED
    ]
    if not fits or chance(rng, KEEPS_SIZE_SHARE):
        return height_px, width_px
    return pick(rng, fits)


def resize(picture: Picture, height_px: int, width_px: int) -> Picture:
    """Return a picture scaled to a size, with averaging where it becomes smaller."""
    cv2 = opencv()
    if picture.shape[:2] == (height_px, width_px):
        return picture
    is_smaller = height_px * width_px < picture.shape[0] * picture.shape[1]
    way = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    return cv2.resize(picture, (width_px, height_px), interpolation=way)


def cover(picture: Picture, height_px: int, width_px: int) -> Picture:
    """Return the middle of a picture, scaled so that it fills a size."""
    height, width = picture.shape[:2]
    scale = max(height_px / height, width_px / width)
    kept_height, kept_width = min(height, round(height_px / scale)), min(width, round(width_px / scale))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return resize(picture[top : top + kept_height, left : left + kept_width], height_px, width_px)


def cover_frames(frames: Frames, height_px: int, width_px: int) -> Frames:
    """Return `cover` of all frames; the same array if they have this size."""
    if frames.shape[1:3] == (height_px, width_px):
        return frames
    return np.stack([cover(frame, height_px, width_px) for frame in frames])


def resize_frames(frames: Frames, height_px: int, width_px: int) -> Frames:
    """Return `resize` of all frames."""
    return np.stack([resize(frame, height_px, width_px) for frame in frames])


def draw_picture(material: Material, rng: np.random.Generator, height_px: int, width_px: int) -> Picture:
    """Return one of the photographs, covering a size."""
    return cover(pick(rng, material.pictures), height_px, width_px)


def contain(frames: Frames, height_px: int, width_px: int) -> Frames:
    """Return frames scaled so that they just fit into a size, in their own proportions."""
    height, width = frames.shape[1:3]
    scale = min(height_px / height, width_px / width)
    return resize_frames(frames, max(2, round(height * scale)), max(2, round(width * scale)))


def lengthen(frames: Frames, num_frames: int, start: int = 0) -> Frames:
    """Return so many frames from one on, in an array of their own; where they end they run back, and forth again."""
    period = max(1, 2 * (len(frames) - 1))
    places = (start + np.arange(num_frames)) % period
    return frames[np.minimum(places, period - places)] if len(frames) > 1 else np.repeat(frames, num_frames, axis=0)


def clip_of(material: Material, height_px: int, width_px: int) -> Frames:
    """Return the material's clip, covering a size, as frames that may be drawn into."""
    return cover_frames(material.frames, height_px, width_px).copy()


def base_clip(material: Material, rng: np.random.Generator) -> tuple[Frames, int, int]:
    """Return the clip at the size that is made, as frames that may be drawn into, and height and width."""
    height_px, width_px = output_size(material, rng)
    return clip_of(material, height_px, width_px), height_px, width_px


def negative(material: Material, frames: Frames, **parameters: float | int | str) -> Negative:
    """Return a made video at the material's rate, with its size and what was drawn, in plain types."""
    plain: dict[str, float | int | str] = {"height_px": frames.shape[1], "width_px": frames.shape[2]}
    for name, value in parameters.items():
        is_whole = isinstance(value, bool | int | np.integer | np.bool_)
        plain[name] = str(value) if isinstance(value, str) else int(value) if is_whole else float(value)
    return Negative(frames=frames, fps=material.fps, parameters=plain)


def ease(progress: NDArray[np.float64] | float, way: Way) -> NDArray[np.float64]:
    """Return how far a movement has got, 0 to 1 ("back" goes a little beyond), at a progress in time, cut to 0 to 1."""
    time = np.clip(np.asarray(progress, dtype=np.float64), 0, 1)
    if way == "smooth":
        return time * time * (3 - 2 * time)
    if way == "out":
        return 1 - (1 - time) ** 3
    if way == "back":
        return 1 + 2.7 * (time - 1) ** 3 + 1.7 * (time - 1) ** 2
    return time


def wander(rng: np.random.Generator, num_frames: int, period_frames: float) -> NDArray[np.float64]:
    """Return (T,) a smooth random path around 0 whose root mean square is 1 and that turns about once a period."""
    offsets = np.arange(-np.ceil(2 * period_frames), np.ceil(2 * period_frames) + 1)
    kernel = np.exp(-((offsets / max(period_frames, 0.1)) ** 2) * 4)
    path = np.convolve(rng.standard_normal(num_frames + len(kernel) - 1), kernel, mode="valid")
    path = path - path.mean()
    return path / max(float(np.sqrt(np.square(path).mean())), 1e-9)


def view_of(
    picture: Picture, height_px: int, width_px: int, *, zoom: float, right: float, down: float, angle_deg: float = 0.0
) -> Picture:
    """Return what a camera over a picture sees.

    Args:
        picture: at zoom 1 it just fills the view.
        height_px: of the view.
        width_px: of the view.
        zoom: 1 or more.
        right: of the middle of the view, -1 to 1 of what the zoom leaves free.
        down: likewise.
        angle_deg: turns the view; what lies outside the picture is its mirror image.
    """
    cv2 = opencv()
    height, width = picture.shape[:2]
    scale = max(height_px / height, width_px / width) * zoom
    free_x, free_y = max(0.0, width - width_px / scale) / 2, max(0.0, height - height_px / scale) / 2
    middle = ((width - 1) / 2 + right * free_x, (height - 1) / 2 + down * free_y)
    matrix = cv2.getRotationMatrix2D(middle, angle_deg, scale)
    matrix[:, 2] += [(width_px - 1) / 2 - middle[0], (height_px - 1) / 2 - middle[1]]
    return cv2.warpAffine(
        picture, matrix, (width_px, height_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def plate(picture: Picture, height_px: int, width_px: int, max_zoom: float) -> Picture:
    """Return a picture scaled for `view_of`, so that the nearest view is not finer than its pixels by much."""
    height, width = picture.shape[:2]
    scale = max(height_px / height, width_px / width) * max_zoom
    if scale >= 1:
        return picture
    return resize(picture, max(height_px, round(height * scale)), max(width_px, round(width * scale)))


def blurred(picture: Picture, deviation_px: float) -> Picture:
    """Return a picture blurred by a Gaussian."""
    return opencv().GaussianBlur(picture, (0, 0), max(0.3, deviation_px))


def mix(below: Picture, above: Picture, share: Mask | float) -> Picture:
    """Return one picture over another, of which it hides a share."""
    cv2 = opencv()
    if isinstance(share, float):
        return cv2.addWeighted(below, 1 - share, above, share, 0)
    return cv2.blendLinear(above, below, share, 1 - share)


def screened(below: Picture, light: Picture) -> Picture:
    """Return a picture with light added as two projectors add it."""
    cv2 = opencv()
    return cv2.bitwise_not(cv2.multiply(cv2.bitwise_not(below), cv2.bitwise_not(light), scale=1 / 255))


def stamp(frame: Picture, picture: Picture | Colour, mask: Mask, top_px: int, left_px: int) -> None:
    """Draw a picture or a colour through a mask into a frame, in place; what lies outside is cut off."""
    height, width = frame.shape[:2]
    top, left = max(0, top_px), max(0, left_px)
    bottom, right = min(height, top_px + mask.shape[0]), min(width, left_px + mask.shape[1])
    if bottom <= top or right <= left:
        return
    rows, columns = slice(top - top_px, bottom - top_px), slice(left - left_px, right - left_px)
    below = frame[top:bottom, left:right]
    if isinstance(picture, tuple):
        above = np.empty_like(below)
        above[:] = picture
    else:
        above = np.ascontiguousarray(picture[rows, columns])
    share = np.ascontiguousarray(mask[rows, columns])
    frame[top:bottom, left:right] = mix(np.ascontiguousarray(below), above, share)


def stamp_frames(frames: Frames, pictures: Frames, mask: Mask, top_px: int, left_px: int) -> None:
    """`stamp` each of the pictures (T, h, w, 3) into one of the frames."""
    for frame, picture in zip(frames, pictures, strict=True):
        stamp(frame, picture, mask, top_px, left_px)


def with_grain(rng: np.random.Generator, frames: Frames, luma: float, chroma: float, grain_px: float = 0.0) -> Frames:
    """Return the frames, to which new noise of so many levels was added in place, in grains of a pixel or more."""
    cv2 = opencv()
    height, width = frames.shape[1:3]
    field = rng.standard_normal((height + 48, width + 48, 4), np.float32)
    if grain_px:
        field = cv2.GaussianBlur(field, (0, 0), grain_px)
        field /= np.float32(max(float(field.std()), 1e-6))
    field = field[..., :3] * np.float32(chroma) + field[..., 3:] * np.float32(luma)
    for frame in frames:
        y, x = whole(rng, 0, 48), whole(rng, 0, 48)
        piece = field[y : y + height, x : x + width]
        piece = piece[:: 1 if chance(rng, 0.5) else -1, :: 1 if chance(rng, 0.5) else -1]
        frame[:] = cv2.add(frame, np.ascontiguousarray(piece), dtype=cv2.CV_8U)
    return frames
