"""Cut-out pictures of actors and objects: the MIT-licensed Fluent set fetched by npm, or a few drawn by us."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cogvideox.data.fetching import NpmPackage
from cogvideox.data.stage_world.scene import ACTORS, Actor
from cogvideox.data.stage_world.simple_art import SIMPLE_PAINTERS, paint_simple_picture
from cogvideox.errors import FetchError
from cogvideox.machine import cache_folder

FLUENT = NpmPackage(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    what="the actors' pictures",
)
SUPERSAMPLING = 2
SPRITE_MARGIN_PX = 4
"""Empty border around a scaled sprite, in supersampled pixels: room for the rim."""
_ALPHA_THRESHOLD = 8
_RIM_RGB = (38, 30, 58)
_RIM_STRENGTH = 0.6
_RIM_RADIUS_PX = 1.6

FLUENT_FILES: dict[str, tuple[str, bool]] = {
    "cat": ("1f408", True),
    "elephant": ("1f418", True),
    "pig": ("1f416", True),
    "horse": ("1f40e", True),
    "turtle": ("1f422", True),
    "penguin": ("1f427", False),
    "dinosaur": ("1f996", True),
    "parrot": ("1f99c", True),
    "whale": ("1f433", True),
    "octopus": ("1f419", False),
    "car": ("1f697", True),
    "taxi": ("1f695", True),
    "robot": ("1f916", False),
    "snowman": ("26c4", True),
    "pumpkin": ("1f383", False),
    "soccer ball": ("26bd", False),
    "tree": ("1f333", False),
    "house": ("1f3e0", False),
    "cactus": ("1f335", False),
    "balloon": ("1f388", False),
}
"""Name -> (code point that names the file, whether it is drawn facing left)."""

BRIGHTNESS_GAINS: dict[str, float] = {"horse": 1.45}
"""The horse is drawn too dark to be seen at night and in the desert."""


class Art(Mapping[str, NDArray[np.uint8]]):
    """Pictures by name, each (height, width, 4) uint8 straight-alpha RGBA, facing right, cropped to what is visible.

    Scaled sprites are cached here, because rendering asks for the same few sizes again and again.
    Raises ValueError for a picture of another shape, another type, or without a visible pixel.
    """

    def __init__(self, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        self._pictures = {name: _crop_to_visible(name, picture) for name, picture in pictures.items()}
        self._sprites: dict[tuple[str, int], Image.Image] = {}

    def __getitem__(self, name: str) -> NDArray[np.uint8]:
        return self._pictures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pictures)

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def actors(self) -> tuple[Actor, ...]:
        """The actors this art holds, in the order of ACTORS: pass them to `sample_scene`."""
        return tuple(actor for actor in ACTORS if actor in self._pictures)

    def aspect_ratio(self, name: str) -> float:
        """Width over height of a picture. Raises ValueError for a name the art does not hold."""
        height_px, width_px = self._picture(name).shape[:2]
        return width_px / height_px

    def sprite(self, name: str, height_px: int) -> Image.Image:
        """A picture scaled to SUPERSAMPLING * height_px, mode RGBa (premultiplied), with a border
        of SPRITE_MARGIN_PX on each side for a soft dark rim.

        The rim keeps a white actor visible on snow and a dark one at night.
        Raises ValueError for a name the art does not hold.
        """
        key = (name, height_px)
        if key not in self._sprites:
            size = (
                max(1, round(SUPERSAMPLING * height_px * self.aspect_ratio(name))),
                SUPERSAMPLING * height_px,
            )
            picture = Image.fromarray(self._picture(name), "RGBA").resize(size, Image.Resampling.LANCZOS)
            self._sprites[key] = _add_rim(picture).convert("RGBa")
        return self._sprites[key]

    def _picture(self, name: str) -> NDArray[np.uint8]:
        if name not in self._pictures:
            raise ValueError(f"this art has no picture named {name!r}; it holds {', '.join(sorted(self._pictures))}")
        return self._pictures[name]


def load_fluent_art(cache_dir: Path | None = None) -> Art:
    """Read the sixteen actors and four objects of the Fluent emoji set, fetching the npm package once.

    `cache_dir` holds the package file; by default `cogvideox/fluent-emoji-3d-1.1.0` in the user's cache folder.
    Raises FetchError when npm is missing, the fetch fails, or the package is not the expected one.
    """
    folder = _default_cache_dir() if cache_dir is None else Path(cache_dir)
    package = folder / f"lobehub-fluent-emoji-3d-{FLUENT.version}.tgz"
    content = FLUENT.content(package)
    names = {f"package/assets/{code}.webp": name for name, (code, _) in FLUENT_FILES.items()}
    pictures: dict[str, NDArray[np.uint8]] = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            name = names.get(member.name)
            stream = archive.extractfile(member) if name is not None else None
            if name is None or stream is None:
                continue
            picture = np.array(Image.open(stream).convert("RGBA"))
            colours = picture[..., :3] * BRIGHTNESS_GAINS.get(name, 1.0)
            picture[..., :3] = np.minimum(colours, 255).astype(np.uint8)
            is_facing_left = FLUENT_FILES[name][1]
            pictures[name] = picture[:, ::-1] if is_facing_left else picture
            if len(pictures) == len(names):
                break
    missing = sorted(set(FLUENT_FILES) - set(pictures))
    if missing:
        raise FetchError(f"{package} has no picture for {', '.join(missing)}: delete it and try again")
    return Art(pictures)


def draw_simple_art() -> Art:
    """Draw six actors and all second objects with plain shapes: enough for tests and for work without a network."""
    return Art({name: paint_simple_picture(name) for name in SIMPLE_PAINTERS})


def _default_cache_dir() -> Path:
    return cache_folder() / f"fluent-emoji-3d-{FLUENT.version}"


def _crop_to_visible(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != np.uint8:
        raise ValueError(f"picture {name!r}: expected (height, width, 4) uint8, got {picture.shape} {picture.dtype}")
    rows, columns = np.nonzero(picture[..., 3] > _ALPHA_THRESHOLD)
    if not len(rows):
        raise ValueError(f"picture {name!r}: expected at least one visible pixel, got none")
    return np.ascontiguousarray(picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])


def _add_rim(picture: Image.Image) -> Image.Image:
    """Lay the picture over its own blurred, darkened silhouette, with a border of SPRITE_MARGIN_PX on each side."""
    size = (picture.width + 2 * SPRITE_MARGIN_PX, picture.height + 2 * SPRITE_MARGIN_PX)
    sprite = Image.new("RGBA", size, (0, 0, 0, 0))
    sprite.paste(picture, (SPRITE_MARGIN_PX, SPRITE_MARGIN_PX))
    spread = sprite.getchannel("A").filter(ImageFilter.GaussianBlur(_RIM_RADIUS_PX))
    rim = Image.new("RGBA", size, (*_RIM_RGB, 0))
    rim.putalpha(spread.point([round(_RIM_STRENGTH * value) for value in range(256)]))
    return Image.alpha_composite(rim, sprite)
