"""What each step of a VAE run reconstructs: a function of the recipe, the clips and the step.

All randomness of a clip comes from generators of its own, by step and place in the step, so it is the same in whatever
process, and a resumed run sees what an uninterrupted one would have seen.

Axes: B clips, T frames, t latent frames, H W rows and columns, Z latent channels.
"""

import hashlib
import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cogvideox.configs import AutoencoderConfig
from cogvideox.data.clip_folder import FolderClips, open_clips
from cogvideox.data.clip_index import IndexedClips
from cogvideox.data.clips import frames_at_rate, log_rejected
from cogvideox.data.stage_world import Art, load_fluent_art, render_scene, sample_scene
from cogvideox.media.geometry import longest_clip, num_latent_frames
from cogvideox.media.video import to_tensor
from cogvideox.training.autoencoder_recipe import AutoencoderRecipe, AutoencoderStage
from cogvideox.training.learning_rate import stage_at
from cogvideox.training.transformer_recipe import recipe_path

logger = logging.getLogger(__name__)

SAMPLE_SEED = 1_000_000_007
"""Seeds the renders of the sample sheets, apart from all training seeds."""
NUM_READERS = 8
"""Threads that decode the clips of a batch."""
MAX_UNREADABLE = 20
"""So many unreadable files in a row end the run."""
_SOURCE, _WINDOW, _NOISE, _FRAMES = range(4)
"""What random numbers are for: each has its own, so none depends on how many others were drawn."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderBatch:
    """A process's share of a step's clips."""

    step: int
    stage: int
    num_frames: int
    """Of the whole clips, of which a process may have a part."""
    pixels: Tensor
    """(B, 3, T, H, W) in [-1, 1]."""
    noise: Tensor
    """(B, Z, t, h, w) from the unit Gaussian, that latents are drawn with."""
    has_perceptual: Tensor
    """(B, T) whether the perceptual loss sees a frame."""


class ReadAhead:
    """Makes the next batch while this one is trained on, when batches are asked for in order."""

    def __init__(self, make: Callable[[int], AutoencoderBatch], num_steps: int) -> None:
        """Ask ``make`` for the batch of a step; no run has more than ``num_steps``."""
        self._make, self._num_steps = make, num_steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="next batch")
        self._last: int | None = None
        self._next: tuple[int, Future[AutoencoderBatch]] | None = None

    def batch(self, step: int) -> AutoencoderBatch:
        """Return the batch of a step; raises what making it raises."""
        batch = self._next[1].result() if self._next is not None and self._next[0] == step else self._make(step)
        is_in_order = self._last == step - 1 and step + 1 < self._num_steps
        self._next = (step + 1, self._pool.submit(self._make, step + 1)) if is_in_order else None
        self._last = step
        return batch


class AutoencoderData:
    """A recipe's clips, ready to train on."""

    def __init__(self, recipe: AutoencoderRecipe, config: AutoencoderConfig, art: Art | None = None) -> None:
        """Survey the folder, if there is one.

        Args:
            recipe: says what is trained on.
            config: of the model.
            art: draws renders; the Fluent set unless given.

        Raises:
            ValueError: the recipe does not fit the model or the folder.
            FetchError: the art of the renders is not there.
        """
        recipe.check_stages(config)
        self.recipe, self.config = recipe, config
        self.folder: _Folder | None = None
        if recipe.data.folder is not None:
            self.folder = _Folder(recipe, config)
        needs_art = recipe.data.share_of_folder < 1
        self._art = art if art is not None or not needs_art else load_fluent_art()

    def batch(self, step: int, *, rank: int = 0, size: int = 1) -> AutoencoderBatch:
        """Return a process's clips of a step of the run; the number of processes divides all batch sizes."""
        recipe = self.recipe
        index, place = stage_at(recipe.stages, step)
        stage = recipe.stages[index]
        shape = stage.batch_at(place)
        assert shape.num_clips % size == 0, "the step checks it"
        num_own = shape.num_clips // size
        places = range(rank * num_own, (rank + 1) * num_own)
        num_per_source = recipe.data.num_images_per_source if shape.num_frames == 1 else 1
        numbers = range(places.start // num_per_source, (places.stop - 1) // num_per_source + 1)
        with ThreadPoolExecutor(NUM_READERS) as pool:
            read = partial(self._read, step, stage, shape.num_frames)
            sources = dict(zip(numbers, pool.map(read, numbers), strict=True))
        windows = [
            self._window(sources[number // num_per_source], stage, shape.num_frames, self._rng(_WINDOW, step, number))
            for number in places
        ]
        return AutoencoderBatch(
            step=step,
            stage=index,
            num_frames=shape.num_frames,
            pixels=to_tensor(np.stack(windows)),
            noise=torch.stack([self._noise(step, number, stage, shape.num_frames) for number in places]),
            has_perceptual=torch.stack([self._perceptual_frames(step, number, shape.num_frames) for number in places]),
        )

    def _rng(self, purpose: int, step: int, number: int) -> np.random.Generator:
        return np.random.default_rng((self.recipe.run.seed, purpose, step, number))

    def _read(self, step: int, stage: AutoencoderStage, num_frames: int, number: int) -> NDArray[np.uint8]:
        """Return a step's video or render (T, H, W, 3) that windows are cut out of."""
        rng = self._rng(_SOURCE, step, number)
        is_from_folder = rng.random() < self.recipe.data.share_of_folder
        fps = int(rng.choice(stage.fps))
        if is_from_folder:
            assert self.folder is not None
            return self.folder.draw(rng, stage, num_frames, fps)
        return self._render(rng, num_frames, fps)

    def _render(self, rng: np.random.Generator, num_frames: int, fps: int) -> NDArray[np.uint8]:
        data, art = self.recipe.data, self._art
        assert art is not None
        return render_scene(
            sample_scene(rng, actors=art.actors),
            art,
            num_frames=max(num_frames, round(data.min_render_duration_s * fps) + 1),
            height_px=data.render_height_px,
            width_px=data.render_width_px,
            fps=fps,
        )

    def _window(
        self, clip: NDArray[np.uint8], stage: AutoencoderStage, num_frames: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return the random window with the most foreground."""
        sides = (num_frames, stage.height_px, stage.width_px)
        num_candidates = self.recipe.data.num_crop_candidates
        starts = [
            [rng.integers(have - want + 1) for have, want in zip(clip.shape, sides, strict=False)]
            for _ in range(num_candidates)
        ]
        windows = [
            tuple(slice(first, first + side) for first, side in zip(start, sides, strict=True)) for start in starts
        ]
        if num_candidates == 1:
            return clip[windows[0]]
        foreground = np.abs(clip - np.median(clip, axis=0)).mean(-1)
        return clip[max(windows, key=lambda window: foreground[window].mean())]

    def _noise(self, step: int, number: int, stage: AutoencoderStage, num_frames: int) -> Tensor:
        generator = torch.Generator().manual_seed(int(self._rng(_NOISE, step, number).integers(2**62)))
        ratio = self.config.spatial_compression_ratio
        time = num_latent_frames(num_frames, self.config.temporal_compression_ratio) if num_frames > 1 else 1
        size = (time, stage.height_px // ratio, stage.width_px // ratio)
        return torch.randn(self.config.latent_channels, *size, generator=generator)

    def _perceptual_frames(self, step: int, number: int, num_frames: int) -> Tensor:
        wanted = self.recipe.loss.num_perceptual_frames
        if not 0 < wanted < num_frames:
            return torch.ones(num_frames, dtype=torch.bool)
        mask = torch.zeros(num_frames, dtype=torch.bool)
        mask[self._rng(_FRAMES, step, number).choice(num_frames, wanted, replace=False)] = True
        return mask

    def held_out(self) -> list[Tensor]:
        """Return clips (3, T, H, W) that are never trained on, of one size.

        Raises:
            ValueError: none of those of the folder can be read.
        """
        stage = _shown_stage(self.recipe)
        if self.folder is not None:
            clips = self.folder.held_out_clips(stage)
        else:
            rng = np.random.default_rng(SAMPLE_SEED)
            clips = [self._held_out_render(stage, rng) for _ in range(self.recipe.data.num_held_out)]
        return [to_tensor(clip) for clip in clips]

    def _held_out_render(self, stage: AutoencoderStage, rng: np.random.Generator) -> NDArray[np.uint8]:
        data, config, art = self.recipe.data, self.config, self._art
        assert art is not None
        fps, multiple_px = stage.fps[0], config.spatial_compression_ratio
        num_frames = longest_clip(round(data.min_render_duration_s * fps) + 1, config.temporal_compression_ratio)
        return render_scene(
            sample_scene(rng, split="held_out", actors=art.actors),
            art,
            num_frames=num_frames,
            height_px=data.render_height_px // multiple_px * multiple_px,
            width_px=data.render_width_px // multiple_px * multiple_px,
            fps=fps,
        )


class _Folder:
    """The videos and pictures of a folder: which are long enough, which are kept apart, and windows in time."""

    def __init__(self, recipe: AutoencoderRecipe, config: AutoencoderConfig) -> None:
        assert recipe.data.folder is not None
        self.clips: FolderClips | IndexedClips = open_clips(recipe_path(recipe.data.folder), needs_captions=False)
        self.table = self.clips.table
        self._num_images_per_source = recipe.data.num_images_per_source
        log_rejected(self.clips.rejected)
        shown = _shown_stage(recipe)
        candidates = self._long_enough(shown.num_frames, shown.fps[0])
        order = sorted(candidates, key=lambda row: _digest(recipe.run.seed, self.table.clip_ids[row]))
        # By the clips' names: a clip that is added later moves no other one to the other side, but for one at most.
        self.held_out = np.array(sorted(order[: recipe.data.num_held_out]), np.int64)
        self._rows: dict[tuple[int, int], NDArray[np.int64]] = {}
        self._unreadable: set[int] = set()
        self._lock = threading.Lock()
        if recipe.data.share_of_folder > 0:
            for index, stage in enumerate(recipe.stages):
                self._choose(index, stage, len(candidates))

    def _long_enough(self, num_frames: int, fps: int) -> list[int]:
        """Return the rows with so many frames at a rate, or at their own if that is lower."""
        return [
            row
            for row in range(len(self.table))
            if self.table.num_frames[row] > self._positions(row, num_frames, fps)[-1]
        ]

    def _positions(self, row: int, num_frames: int, fps: int) -> NDArray[np.int64]:
        own_fps = float(self.table.fps[row])
        if num_frames == 1 or own_fps == 0:
            return np.arange(num_frames)
        return frames_at_rate(num_frames, own_fps, min(own_fps, fps))

    def _choose(self, index: int, stage: AutoencoderStage, num_candidates: int) -> None:
        """Choose the videos of a stage's batches. Raises ValueError if there are none."""
        for num_frames in sorted({shape.num_frames for shape in stage.batch_shapes.values()}):
            for fps in stage.fps:
                rows = np.array(self._long_enough(num_frames, fps), np.int64)
                kept = rows[~np.isin(rows, self.held_out)]
                what = f"{num_frames} frames at {fps} fps"
                if not len(rows):
                    raise ValueError(
                        f"stages[{index}]: none of the {len(self.table)} videos of data.folder has {what}; shorten "
                        "num_frames, lower fps or add longer ones"
                    )
                if not len(kept):
                    raise ValueError(
                        f"data.num_held_out: expected fewer than the {len(rows)} videos of data.folder with {what}, "
                        f"got {len(self.held_out)}"
                    )
                if len(rows) < len(self.table):
                    number = len(self.table) - len(rows)
                    logger.warning(
                        "stages[%d]: %d of %d videos left out: shorter than %s", index, number, len(self.table), what
                    )
                self._rows[num_frames, fps] = kept

    def draw(self, rng: np.random.Generator, stage: AutoencoderStage, num_frames: int, fps: int) -> NDArray[np.uint8]:
        """Return a random window in time of a random video (T, H, W, 3), at least as large as the stage's in space.

        Raises:
            ValueError: file after file cannot be read.
        """
        rows = self._rows[num_frames, fps]
        for _ in range(MAX_UNREADABLE):
            row = int(rows[rng.integers(len(rows))])
            num_available = int(self.table.num_frames[row])
            if num_frames == 1:  # several to choose from
                number = min(self._num_images_per_source, num_available)
                frames = np.sort(rng.choice(num_available, number, replace=False))
            else:
                frames = self._positions(row, num_frames, fps)
                frames = frames + rng.integers(num_available - frames[-1])
            clip = self._read(row, frames, self._size_px(row, stage))
            if clip is not None:
                return clip
        raise ValueError(f"data.folder: {MAX_UNREADABLE} files in a row could not be read; the warnings say why")

    def held_out_clips(self, stage: AutoencoderStage) -> list[NDArray[np.uint8]]:
        """Return the starts of the clips kept apart, in a stage's size. Raises ValueError if none is readable."""
        clips = [
            self._read(row, self._positions(row, stage.num_frames, stage.fps[0]), (stage.height_px, stage.width_px))
            for row in self.held_out.tolist()
        ]
        readable = [clip for clip in clips if clip is not None]
        if not readable:
            raise ValueError(f"data.folder: none of the {len(clips)} clips kept apart for samples is readable")
        return readable

    def _size_px(self, row: int, stage: AutoencoderStage) -> tuple[int, int]:
        """Return what a video is resized to: the short side of the stage, but not smaller than its window."""
        height_px, width_px = int(self.table.height_px[row]), int(self.table.width_px[row])
        short_px = min(height_px, width_px)
        scale = min(1.0, stage.short_side_px / short_px) if stage.short_side_px else 1.0
        scale = max(scale, stage.height_px / height_px, stage.width_px / width_px)
        # Rounded first: 480 * (256 / 480) may be a little above 256.
        return math.ceil(round(height_px * scale, 6)), math.ceil(round(width_px * scale, 6))

    def _read(self, row: int, frames: NDArray[np.int64], size_px: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Return frames of a clip; None, and its name in a warning the first time, if it cannot be read."""
        if row in self._unreadable:
            return None
        try:
            return self.clips.read_frames(row, frames, size_px)
        except (ValueError, OSError) as error:
            with self._lock:
                if row not in self._unreadable:
                    self._unreadable.add(row)
                    logger.warning("%s: left out: %s", self.table.clip_ids[row], error)
            return None


def _shown_stage(recipe: AutoencoderRecipe) -> AutoencoderStage:
    """Return the stage whose size the held-out clips have: the first of clips, so that scores can be compared."""
    return next((stage for stage in recipe.stages if stage.num_frames > 1), recipe.stages[0])


def _digest(seed: int, clip_id: str) -> str:
    return hashlib.sha256(f"{seed}\n{clip_id}".encode()).hexdigest()
