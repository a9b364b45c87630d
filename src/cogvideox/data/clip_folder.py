"""A folder of videos and pictures with text files beside them, as a training set."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.clip_index import INDEX_NAME, IndexedClips, read_index
from cogvideox.data.clips import ClipShape, ClipTable, Rejected, read_fitted, read_frames
from cogvideox.media.reading import VideoFacts, survey_video

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv", ".gif",
)  # fmt: skip
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".apng", ".webp")
"""Those of several frames are videos."""
NUM_SURVEYORS = 8


def open_clips(folder: str | Path, *, needs_captions: bool = True) -> "IndexedClips | FolderClips":
    """Open a training set: a folder with ``index.parquet`` as that, any other as a folder of videos and text files.

    Without ``needs_captions`` text files are not read, and the captions of a folder's clips are empty; with it, clips
    without captions are left out.

    Raises:
        MissingPackageError: pyarrow, which reads an index, is not installed.
        ValueError: there is no such folder, it holds no clips, or its index is damaged.
    """
    folder = Path(folder)
    if (folder / INDEX_NAME).is_file():
        return read_index(folder, needs_captions=needs_captions)
    return FolderClips(folder, needs_captions=needs_captions)


class FolderClips:
    """The videos and pictures in a folder and the folders below, each with a text file of its name.

    Beside ``fox.mp4`` stands ``fox.txt``, each of whose lines is one wording of the caption. A clip's id is its path
    in the folder. Hidden files and folders, and files of other kinds, are passed over.
    """

    def __init__(self, folder: str | Path, *, needs_captions: bool = True) -> None:
        """Survey the folder, without decoding whole videos; ``needs_captions`` as for `open_clips`.

        Raises:
            ValueError: there is no such folder, or no clip in it.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ValueError(f"clips: no such folder: {folder}")
        paths = _media_files(self.folder)
        with ThreadPoolExecutor(NUM_SURVEYORS) as pool:
            surveys = list(pool.map(partial(_survey, needs_captions=needs_captions), paths))
        names = [path.relative_to(self.folder).as_posix() for path in paths]
        found = [(name, *survey) for name, survey in zip(names, surveys, strict=True) if not isinstance(survey, str)]
        self.rejected = tuple(
            Rejected(clip_id=name, reason=survey)
            for name, survey in zip(names, surveys, strict=True)
            if isinstance(survey, str)
        )
        """What is left out, and why."""
        if not found:
            raise ValueError(f"clips: {_nothing_found(self.folder, self.rejected, needs_captions)}")
        clip_ids, versions, captions, facts = zip(*found, strict=True)
        self.table = ClipTable(
            clip_ids=clip_ids,
            versions=versions,
            num_frames=np.array([fact.num_frames for fact in facts], np.int64),
            height_px=np.array([fact.height_px for fact in facts], np.int64),
            width_px=np.array([fact.width_px for fact in facts], np.int64),
            fps=np.array([fact.fps if fact.num_frames > 1 else 0 for fact in facts], np.float64),
            captions=captions,
        )

    def read(self, index: int, shape: ClipShape) -> NDArray[np.uint8]:
        """Return the clip of a row as (T, H, W, 3) RGB of the shape. Raises ValueError if it cannot be read."""
        return read_fitted(self.folder / self.table.clip_ids[index], float(self.table.fps[index]), shape)

    def read_frames(self, index: int, frames: NDArray[np.int64], size_px: tuple[int, int]) -> NDArray[np.uint8]:
        """Return some frames of a row's clip, as `cogvideox.data.clips.read_frames`."""
        return read_frames(self.folder / self.table.clip_ids[index], frames, size_px)


def _media_files(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(file for file in files if file.suffix.lower() in VIDEO_SUFFIXES + PICTURE_SUFFIXES)


def _survey(path: Path, *, needs_captions: bool) -> tuple[str, tuple[str, ...], VideoFacts] | str:
    """Return version, wordings and facts, or the reason to leave a file out."""
    wordings: tuple[str, ...] = ("",)
    try:
        if needs_captions:
            wordings = _read_wordings(path.with_suffix(".txt"))
        facts, status = survey_video(path), path.stat()
    except (OSError, ValueError) as error:
        return str(error)
    return f"{status.st_size}-{status.st_mtime_ns}", wordings, facts


def _read_wordings(text: Path) -> tuple[str, ...]:
    """Return the lines of a text file. Raises ValueError if there are none."""
    try:
        lines = text.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ValueError(f"no text file {text.name} beside it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the text file {text.name} is not readable as UTF-8 ({error})") from None
    wordings = tuple(line.strip() for line in lines if line.strip())
    if not wordings:
        raise ValueError(f"the text file {text.name} is empty")
    return wordings


def _nothing_found(folder: Path, rejected: tuple[Rejected, ...], needs_captions: bool) -> str:
    expected = "expected videos or pictures"
    if needs_captions:
        expected += ", each with a text file of its name beside it (fox.mp4 and fox.txt)"
    if not rejected:
        return f"{folder}: {expected}, got none"
    first = rejected[0]
    return f"{folder}: {expected}; all {len(rejected)} files are left out, the first is {first.clip_id}: {first.reason}"
