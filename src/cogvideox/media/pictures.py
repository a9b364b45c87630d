"""Pictures as arrays: what is read from a file or a Pillow image, and fitting to a size without distortion."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Fit = Literal["crop", "pad"]
"""What happens to another aspect ratio: the middle is cut out, or black is added around."""

MAX_PIXELS = 100_000_000
"""More than this in one picture is refused, decoded or not."""

Picture = Image.Image | np.ndarray | str | Path
"""A Pillow image, (H, W, 3) uint8 RGB, or a file that Pillow reads."""


def read_picture(picture: Picture) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB, turned upright as its EXIF data says; transparency becomes black.

    Raises:
        ValueError: there is no such file, it is no picture, it is too large, or an array has the wrong shape.
    """
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ValueError(f"image: expected (H, W, 3) uint8, got {picture.shape} {picture.dtype}")
        return picture
    if isinstance(picture, Image.Image):
        return _to_array(picture)
    if not Path(picture).is_file():
        raise ValueError(f"image: no such file: {picture}")
    try:
        with Image.open(picture) as opened:
            return _to_array(opened)
    except UnidentifiedImageError:
        raise ValueError(f"image: {picture} is not a picture that Pillow reads") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"image: {picture} is damaged or too large ({error})") from None


def _to_array(image: Image.Image) -> np.ndarray:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"image: expected at most {MAX_PIXELS:,} pixels, got {image.width}x{image.height}")
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
    return np.asarray(upright.convert("RGB"))


def check_fit(fit: str) -> None:
    """Raise ValueError for an unknown way to fit."""
    if fit not in get_args(Fit):
        raise ValueError(f"fit: expected {' or '.join(get_args(Fit))}, got {fit!r}")


def fit_pictures(pictures: np.ndarray, *, height_px: int, width_px: int, fit: Fit = "crop") -> np.ndarray:
    """Resize (..., H, W, 3) uint8 to a size without distortion; pictures of that size are returned as they are.

    Raises:
        ValueError: ``fit`` is unknown.
    """
    check_fit(fit)
    if pictures.shape[-3:-1] == (height_px, width_px):
        return pictures
    size, method = (width_px, height_px), Image.Resampling.LANCZOS
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    images = map(Image.fromarray, flat)
    fitted = [
        ImageOps.fit(image, size, method) if fit == "crop" else ImageOps.pad(image, size, method) for image in images
    ]
    return np.stack([np.asarray(image) for image in fitted]).reshape(*pictures.shape[:-3], height_px, width_px, 3)
