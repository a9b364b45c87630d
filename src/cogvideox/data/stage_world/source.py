"""The stage world as a training set: clip i of a seed is always the same."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.clips import ClipShape, ClipTable, fit_clip
from cogvideox.data.stage_world.art import Art, load_fluent_art
from cogvideox.data.stage_world.captions import caption_scene
from cogvideox.data.stage_world.renderer import render_scene
from cogvideox.data.stage_world.scene import ACTORS, Actor, Scene, sample_scene

PIXELS_VERSION = 1
"""To be raised when equal scenes come to render to other pixels: cached latents are then made anew."""


@dataclass(frozen=True, kw_only=True)
class StageWorldSettings:
    """Which clips there are. More clips or wordings leave the others as they are."""

    num_clips: int
    seed: int = 1
    num_captions_per_clip: int = 4
    """Wordings of each clip's caption."""
    sizes_px: tuple[str, ...] = ("64x96",)
    """Heights and widths; each clip has one of them."""
    lengths: tuple[int, ...] = (17,)
    """In frames; each clip has one of them. A clip of one frame is a picture."""
    fps: int = 8
    actors: tuple[Actor, ...] = ()
    """Who may appear; empty for all that the art holds."""

    def __post_init__(self) -> None:
        for name in ("num_clips", "num_captions_per_clip", "fps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not self.sizes_px or not all(re.fullmatch(r"\d+x\d+", size) for size in self.sizes_px):
            raise ValueError(f'sizes_px: expected heights and widths as in ["64x96"], got {list(self.sizes_px)}')
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"lengths: expected numbers of frames from 1, got {list(self.lengths)}")
        for actor in self.actors:
            if actor not in ACTORS:
                raise ValueError(f"actors: expected some of {', '.join(ACTORS)}, got {actor!r}")


class StageWorldClips:
    """Rendered clips with exact captions; held-out triples are not among them."""

    def __init__(self, settings: StageWorldSettings, art: Art | None = None) -> None:
        """Sample scenes and captions; nothing is rendered yet.

        ``art`` is the Fluent set unless given. Raises ValueError if it lacks one of the actors.
        """
        self._art = load_fluent_art() if art is None else art
        actors = settings.actors or self._art.actors
        for actor in actors:
            self._art.aspect_ratio(actor)  # refuses one that it does not hold
        sizes = [tuple(map(int, size.split("x"))) for size in settings.sizes_px]
        art_digest = _digest_of_art(self._art)
        self._scenes: list[Scene] = []
        captions: list[tuple[str, ...]] = []
        shapes: list[tuple[int, int, int]] = []
        for index in range(settings.num_clips):
            rng = np.random.default_rng((settings.seed, index))
            scene = sample_scene(rng, actors=actors)
            height_px, width_px = sizes[rng.integers(len(sizes))]
            shapes.append((settings.lengths[rng.integers(len(settings.lengths))], height_px, width_px))
            self._scenes.append(scene)
            captions.append(tuple(caption_scene(scene, rng) for _ in range(settings.num_captions_per_clip)))
        num_frames, heights_px, widths_px = np.array(shapes, np.int64).T
        self._fps = settings.fps
        self.table = ClipTable(
            clip_ids=tuple(f"stage-{settings.seed}-{index:06d}" for index in range(settings.num_clips)),
            versions=tuple(
                _digest(f"{PIXELS_VERSION}|{art_digest}|{settings.fps}|{shape[0]}|{scene}".encode())
                for shape, scene in zip(shapes, self._scenes, strict=True)
            ),
            num_frames=num_frames,
            height_px=heights_px,
            width_px=widths_px,
            fps=np.where(num_frames > 1, float(settings.fps), 0.0),
            captions=tuple(captions),
        )

    def read(self, index: int, shape: ClipShape) -> NDArray[np.uint8]:
        """Return the clip of a row as (T, H, W, 3) RGB, rendered at the size of the shape.

        Raises ValueError if it is too short for the shape.
        """
        frames = render_scene(
            self._scenes[index],
            self._art,
            num_frames=int(self.table.num_frames[index]),
            height_px=shape.height_px,
            width_px=shape.width_px,
            fps=self._fps,
        )
        return fit_clip(frames, float(self.table.fps[index]), shape)


def _digest_of_art(art: Art) -> str:
    return _digest(b"".join(f"{name}|{art[name].shape}".encode() + art[name].tobytes() for name in sorted(art)))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
