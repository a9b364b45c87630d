"""Frames of the clips of curated folders, for models that are trained on pictures: decoded once, kept as JPEG.

They come from the ``detail`` view, which operators see too: what is trained on is what will be judged. Axes: T frames,
H W rows and columns.
"""

import io
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cogvideox.data.curation.curate import RECIPE_NAME, WORK_NAME
from cogvideox.data.curation.decoding import Decoder, DecodingError, DecodingLimits
from cogvideox.data.curation.operators import DETAIL_LONG_SIDE_PX, spread
from cogvideox.data.curation.sources import Digests, find_sources
from cogvideox.data.curation.tables import read_curation
from cogvideox.data.filters.video_backbone import reduce_picture
from cogvideox.durable_files import read_json, remove_temporary_files, replacing

JPEG_QUALITY = 95
FORMAT = 1

logger = logging.getLogger(__name__)


@dataclass
class _Clip:
    """A clip that frames are gathered of."""

    clip_id: str
    start_frame: int
    end_frame: int
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)


class CuratedClipFrames:
    """Gives frames of clips by their ids; call `prepare` first."""

    def __init__(
        self,
        curated: Sequence[Path],
        cache_dir: str | Path,
        *,
        num_frames: int,
        max_side_px: int,
        inputs: Sequence[str] = (),
        limits: DecodingLimits | None = None,
    ) -> None:
        """Read which clips there are.

        Args:
            curated: folders that ``cogvideox curate`` wrote.
            cache_dir: where the frames are kept; made if it is not there.
            num_frames: at most so many of a clip, spread over it.
            max_side_px: they are reduced to it.
            inputs: where the videos now are; by default where they were when the folders were curated.
            limits: what decoding a file may cost.

        Raises:
            ValueError: a folder holds no curation.
        """
        self._num_frames = num_frames
        self._max_side_px = min(max_side_px, DETAIL_LONG_SIDE_PX)
        self._cache_dir = Path(cache_dir)
        self._folder = self._cache_dir / f"v{FORMAT}-{num_frames}-frames-{self._max_side_px}-px"
        self._curated = [Path(folder) for folder in curated]
        self._inputs = tuple(inputs)
        self._limits = limits or DecodingLimits()
        self._rows: dict[str, dict[str, Any]] = {}
        for folder in self._curated:
            self._rows |= {row["clip_id"]: row for row in read_curation(folder).clips.rows}

    def prepare(
        self, clip_ids: Iterable[str], *, on_progress: Callable[[int, int], None] = lambda *_: None
    ) -> dict[str, str]:
        """Decode what is not yet kept of clips, each source once; what is interrupted goes on at the next source.

        Args:
            clip_ids: which.
            on_progress: called with the sources done and all.

        Returns:
            The clips that cannot be had, and why.

        Raises:
            ValueError: a clip is in none of the folders, or the inputs are not there.
            OSError: the frames cannot be written.
        """
        wanted: dict[str, list[_Clip]] = {}
        for clip_id in clip_ids:
            if clip_id not in self._rows:
                raise ValueError(f"clip {clip_id}: in none of the curated folders {', '.join(map(str, self._curated))}")
            if not self._path(clip_id).exists():
                row = self._rows[clip_id]
                clip = _Clip(clip_id, row["start_frame"], row["end_frame"])
                wanted.setdefault(row["sha256"], []).append(clip)
        if not wanted:
            return {}
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in self._folder.iterdir():
            remove_temporary_files(folder)
        paths = self._source_paths()
        failed: dict[str, str] = {}
        with Decoder(self._limits) as decoder:
            for number, (digest, clips) in enumerate(wanted.items()):
                on_progress(number, len(wanted))
                if digest not in paths:
                    failed |= dict.fromkeys((clip.clip_id for clip in clips), "its source is no longer there")
                else:
                    failed |= self._decode(paths[digest], clips, decoder)
        on_progress(len(wanted), len(wanted))
        return failed

    def __call__(self, clip_id: str) -> NDArray[np.uint8]:
        """Return (T, H, W, 3) RGB of a clip.

        Raises:
            ValueError: `prepare` did not keep it, or what is kept is damaged.
        """
        path = self._path(clip_id)
        try:
            with np.load(path, allow_pickle=False) as kept:
                contents = [kept[name].tobytes() for name in sorted(kept.files)]
            return np.stack([np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in contents])
        except FileNotFoundError:
            raise ValueError(f"clip {clip_id}: its frames are not prepared") from None
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path}: damaged ({error}); remove it and run the command again") from None

    def _path(self, clip_id: str) -> Path:
        return self._folder / clip_id[:2] / f"{clip_id}.npz"

    def _source_paths(self) -> dict[str, Path]:
        """Return where each content lies."""
        paths: dict[str, Path] = {}
        for number, folder in enumerate(self._curated):
            recipe = read_json(folder / RECIPE_NAME)
            inputs = self._inputs or tuple(recipe["inputs"] if isinstance(recipe, dict) else ())
            if not inputs:
                raise ValueError(f"{folder / RECIPE_NAME}: does not say where the videos are: set inputs")
            known = self._cache_dir / f"digests-{number}.json"
            if not known.exists() and (folder / WORK_NAME / "digests.json").exists():
                shutil.copyfile(folder / WORK_NAME / "digests.json", known)
            for source in find_sources(inputs, Digests(known), left_out=folder, max_file_gib=self._limits.max_file_gib):
                if source.digest:
                    paths.setdefault(source.digest, source.path)
        return paths

    def _decode(self, path: Path, clips: list[_Clip], decoder: Decoder) -> dict[str, str]:
        """Keep the frames of clips of one file; return those that cannot be had, and why."""
        open_clips = {clip.clip_id: clip for clip in clips}
        failed: dict[str, str] = {}
        num_seen, reason = 0, "it can no longer be decoded so far"

        def close(ended: list[_Clip]) -> None:
            for clip in ended:
                del open_clips[clip.clip_id]
                if clip.pictures:
                    self._keep(clip)
                else:
                    failed[clip.clip_id] = "too short for a picture"

        try:
            for message in decoder.stream_views(path, frozenset({"detail"})):
                if message.kind != "frames":
                    continue
                num_seen = message.values["first"] + len(message.arrays["times_s"])
                places = message.arrays["detail_frames"].tolist()
                for place, picture in zip(places, message.arrays["detail"], strict=True):
                    for clip in open_clips.values():
                        if clip.start_frame <= place < clip.end_frame:
                            clip.pictures.append(reduce_picture(picture, self._max_side_px))
                close([clip for clip in open_clips.values() if clip.end_frame <= num_seen])
                if not open_clips:
                    break
        except DecodingError as error:
            reason = str(error)
        failed |= dict.fromkeys(open_clips, reason)
        for clip_id, why in failed.items():
            logger.warning("clip %s of %s is left out: %s", clip_id, path, why)
        return failed

    def _keep(self, clip: _Clip) -> None:
        contents: dict[str, NDArray[np.uint8]] = {}
        for number, place in enumerate(spread(len(clip.pictures), self._num_frames)):
            content = io.BytesIO()
            Image.fromarray(clip.pictures[place]).save(content, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            contents[f"{number:04d}"] = np.frombuffer(content.getvalue(), np.uint8)
        path = self._path(clip.clip_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(file, **contents)  # pyright: ignore[reportArgumentType]
