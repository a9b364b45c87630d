"""The clips that are to be captioned, each known by the content of its file."""

import hashlib
import os
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.clip_folder import FolderClips, open_clips
from cogvideox.data.clip_index import INDEX_NAME, IndexedClips
from cogvideox.data.curation.sources import Digests
from cogvideox.data.curation.store import read_table
from cogvideox.media.reading import stream_frames

CAPTIONS_FOLDER, TABLES_NAME, DATASET_NAME = "captions", "tables", "dataset"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CURATED_ID = re.compile(r"([0-9a-f]{16})_\d+_\d+")


@dataclass(frozen=True, kw_only=True)
class CaptionClip:
    """A clip, and where its file is."""

    clip_id: str
    """As in the training set; bytes of a name that are no UTF-8 are written out."""
    digest: str = ""
    """SHA-256 of its file; empty if it cannot be read."""
    path: str = ""
    """Of the file, or of the shard that holds it."""
    offset_bytes: int = 0
    size_bytes: int = -1
    """In a shard; -1 for a file of its own."""
    num_frames: int = 1
    """1 for a picture."""
    fps: float = 0.0
    """0 for a picture."""
    source: str = ""
    """What it is a piece of: clips of one source go to the same side of a split. Of a curated clip the digest of its
    video, of a file in a folder below the dataset that folder, of others their content."""
    reason: str = ""
    """Why it cannot be read."""

    @property
    def is_picture(self) -> bool:
        """Whether nothing can move in it."""
        return self.num_frames == 1 or self.fps == 0

    @property
    def duration_s(self) -> float:
        """Length; 0 for a picture."""
        return 0.0 if self.is_picture else self.num_frames / self.fps

    @property
    def content_key(self) -> tuple[str, int, float]:
        """Return what its captions depend on: clips that share it share them."""
        return self.digest, self.num_frames, self.fps

    def name_in(self, dataset: Path) -> str:
        """Return the name by which `cogvideox.data.clip_folder.open_clips` knows it: its id, with the bytes of a name
        that are no UTF-8 as Python has them.
        """
        is_file = bool(self.path) and self.size_bytes < 0
        return Path(self.path).relative_to(dataset).as_posix() if is_file else self.clip_id

    def stream(self) -> Generator[NDArray[np.uint8], None, float]:
        """Yield its frames (H, W, 3), one in memory at a time. Raises ValueError or OSError if it cannot be read."""
        path = Path(self.path)
        if self.size_bytes < 0:
            return stream_frames(path)
        return stream_frames(Path(f"{path}: {self.clip_id}"), content=_piece(path, self.offset_bytes, self.size_bytes))

    def packed(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return self.__dict__.copy()


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """All clips of a dataset, sorted by id."""

    folder: Path
    """Where the training set is: that of a curation is below its folder."""
    clips: tuple[CaptionClip, ...]
    is_indexed: bool
    """Whether it is a training set with an index, not a plain folder."""


def training_set_of(dataset: str | Path) -> Path:
    """Return the training set in the folder of a curation, any other folder as it is."""
    dataset = Path(dataset)
    is_curation = (dataset / TABLES_NAME / "clips.parquet").is_file() and not (dataset / INDEX_NAME).is_file()
    if is_curation and not (dataset / DATASET_NAME / INDEX_NAME).is_file():
        raise ValueError(f"dataset: {dataset}: expected a curation that kept clips, got one without; loosen its policy")
    return dataset / DATASET_NAME if is_curation else dataset


def captions_folder_of(dataset: str | Path) -> Path:
    """Return where captions go if nothing else is said: beside the tables of a curation, whose training set is written
    anew by every run of it, else into the dataset.
    """
    folder = training_set_of(dataset).absolute()
    is_inside = (folder / INDEX_NAME).is_file() and (folder.parent / TABLES_NAME / "clips.parquet").is_file()
    return (folder.parent if is_inside else folder) / CAPTIONS_FOLDER


OpenedDataset = IndexedClips | FolderClips


def open_dataset(dataset: str | Path) -> OpenedDataset:
    """Open a curation, a training set (``index.parquet``), or a folder of videos and pictures; nothing is written.

    Raises:
        MissingPackageError: pyarrow, which reads an index, is not installed.
        ValueError: there is no such folder, it holds no clips, or its index is damaged.
    """
    folder = training_set_of(dataset)
    if not folder.is_dir():
        raise ValueError(f"dataset: no such folder: {folder}")
    return open_clips(folder, needs_captions=False)


def read_clip_set(
    opened: OpenedDataset, digests: Digests, *, on_progress: Callable[[int, int], None] = lambda *_: None
) -> ClipSet:
    """Return the clips of a dataset with what their content is.

    Args:
        opened: by `open_dataset`.
        digests: remembers what was read before.
        on_progress: called with the clips that are done and all.

    Raises:
        ValueError: the index is damaged.
        OSError: what was read cannot be remembered.
    """
    folder = opened.folder
    if isinstance(opened, IndexedClips):
        clips = _indexed(opened, folder.absolute(), on_progress)
    else:
        clips = _files(opened, folder.absolute(), digests, on_progress)
    clips += [
        CaptionClip(
            clip_id=_readable(rejected.clip_id),
            source=_readable(rejected.clip_id),
            reason=without_folder(rejected.reason, str(folder)),
        )
        for rejected in opened.rejected
    ]
    digests.save()
    ordered = tuple(sorted(clips, key=lambda clip: clip.clip_id))
    return ClipSet(folder=folder.absolute(), clips=ordered, is_indexed=isinstance(opened, IndexedClips))


def _files(
    opened: FolderClips, folder: Path, digests: Digests, on_progress: Callable[[int, int], None]
) -> list[CaptionClip]:
    clips: list[CaptionClip] = []
    table = opened.table
    for index, name in enumerate(table.clip_ids):
        path = folder / name
        shown = _readable(name)
        folder_name = shown.rpartition("/")[0]
        facts: dict[str, Any] = {"clip_id": shown, "path": str(path), "source": folder_name or shown}
        try:
            facts["digest"] = digests.digest(path, path.stat())
            facts["source"] = folder_name or facts["digest"][:16]
        except OSError as error:
            facts["reason"] = f"not readable ({error.strerror or error})"
        facts |= {"num_frames": int(table.num_frames[index]), "fps": float(table.fps[index])}
        clips.append(CaptionClip(**facts))
        on_progress(index + 1, len(table.clip_ids))
    return clips


def _indexed(opened: IndexedClips, folder: Path, on_progress: Callable[[int, int], None]) -> list[CaptionClip]:
    known = _known_digests(folder)
    clips: list[CaptionClip] = []
    table = opened.table
    for index, clip_id in enumerate(table.clip_ids):
        place = (int(opened.offsets_bytes[index]), int(opened.sizes_bytes[index]))
        path = folder / opened.shards[index]
        facts: dict[str, Any] = {"digest": known.get(clip_id, "")}
        if not _DIGEST.fullmatch(facts["digest"]):
            try:
                facts["digest"] = hashlib.sha256(_piece(path, *place)).hexdigest()
            except OSError as error:
                facts = {"reason": f"not readable ({error.strerror or error})"}
        curated = _CURATED_ID.fullmatch(clip_id)
        clips.append(
            CaptionClip(
                clip_id=clip_id,
                path=str(path),
                offset_bytes=place[0],
                size_bytes=place[1],
                num_frames=int(table.num_frames[index]),
                fps=float(table.fps[index]),
                source=curated[1] if curated else facts.get("digest", "")[:16] or clip_id,
                **facts,
            )
        )
        on_progress(index + 1, len(table.clip_ids))
    return clips


def _known_digests(folder: Path) -> Mapping[str, str]:
    """Return the digests that an index holds, by clip; it may have none."""
    rows = read_table(folder / INDEX_NAME)
    return {row["clip_id"]: str(row.get("sha256") or "") for row in rows}


def _piece(path: Path, offset_bytes: int, size_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset_bytes)
        return file.read(size_bytes)


def without_folder(reason: str, folder: str) -> str:
    """Return a reason that names files in a folder without it: tables say the same wherever the dataset is."""
    return " ".join(reason.replace(f"{folder}{os.sep}", "").split())


def _readable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
