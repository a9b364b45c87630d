"""Clips as files that browsers play: H.264 in mp4, made when they are asked for and kept for the next time."""

import hashlib
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cogvideox.data.curation.decoding import Decoder, DecodingError, DecodingLimits
from cogvideox.data.curation.wire import NO_PTS
from cogvideox.data.labelling.dataset import LabelClip, LabelDataset, SourceFinder

CRF, PRESET, MAX_SHORT_SIDE_PX = 18, "veryfast", 720
"""Nearly exact: noise and blocks are to be judged."""
MAX_SHOWN_S = 60.0
"""Of a whole video; a clip of a curation is shown whole."""
BEGINNING_SUFFIX = "-beginning.mp4"
"""Of the copy of a video that is longer."""
MAX_FPS = 60.0
MAX_DIRECT_BYTES = 64 * 2**20
"""A larger file is shown from a shortened copy."""
MAX_CACHE_BYTES = 4 * 2**30
BASELINE, MAIN, HIGH = 66, 77, 100
"""Profiles of H.264 with 8 bits and 4:2:0, which all browsers play."""
MAX_MOOV_BYTES = 2**24


@dataclass(frozen=True, kw_only=True)
class Playable:
    """Bytes of a file that are an mp4."""

    path: Path
    offset_bytes: int
    size_bytes: int
    is_beginning: bool = False
    """It is a part of a longer video."""


class ClipShelf:
    """Gives clips as mp4; used by several threads, but decodes one clip at a time."""

    def __init__(self, dataset: LabelDataset, cache: str | Path) -> None:
        """Prepare a folder for copies.

        Raises:
            OSError: the folder cannot be written.
        """
        self._dataset = dataset
        self._cache = Path(cache)
        self._cache.mkdir(parents=True, exist_ok=True)
        for rest in self._cache.glob(".making-*"):
            rest.unlink()
        self._finder = SourceFinder(dataset, self._cache / "digests.json")
        self._decoder = Decoder(DecodingLimits(max_silence_s=20.0))
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}

    def close(self) -> None:
        """End the decoder."""
        with self._lock:
            self._decoder.stop()

    def playable(self, clip_id: str) -> Playable:
        """Return a clip as an mp4 that browsers play.

        Raises:
            ValueError: it cannot be shown; the message says why.
            OSError: a copy could not be written.
        """
        clip = self._dataset.clips[clip_id]
        if (direct := self._direct(clip)) is not None:
            return direct
        with self._lock:
            whole = self._copy_path(clip)
            beginning = whole.with_name(f"{whole.stem}{BEGINNING_SUFFIX}")
            copy = next((path for path in (whole, beginning) if path.exists()), None)
            if copy is None:
                if clip_id in self._reasons:
                    raise ValueError(self._reasons[clip_id])
                try:
                    copy = self._make(clip, whole, beginning)
                except ValueError as error:
                    self._reasons[clip_id] = str(error)
                    raise
            size_bytes = copy.stat().st_size
            return Playable(path=copy, offset_bytes=0, size_bytes=size_bytes, is_beginning=copy == beginning)

    def _direct(self, clip: LabelClip) -> Playable | None:
        """Return the place of a clip that needs no copy."""
        if clip.cut is not None:
            # What the curation wrote of it may be small or strongly compressed: its source is to be judged.
            return None
        assert clip.file is not None
        try:
            with clip.file.open("rb") as file:
                start, size_bytes = clip.span_bytes or (0, os.fstat(file.fileno()).st_size)
                if size_bytes <= MAX_DIRECT_BYTES and is_plain_h264(file, start, size_bytes):
                    return Playable(path=clip.file, offset_bytes=start, size_bytes=size_bytes)
        except OSError as error:
            raise ValueError(f"{clip.file.name} cannot be read ({error.strerror or error})") from None
        return None

    def _copy_path(self, clip: LabelClip) -> Path:
        """Return where a clip's copy is; a file that was changed has another."""
        version = str(clip.span_bytes)
        if clip.file is not None:
            status = clip.file.stat()
            version += f" {status.st_size} {status.st_mtime_ns}"
        key = f"{clip.clip_id}\0{version}".encode("utf-8", "surrogatepass")
        return self._cache / f"{hashlib.sha256(key).hexdigest()[:32]}.mp4"

    def _make(self, clip: LabelClip, whole: Path, beginning: Path) -> Path:
        """Write a copy and return it: ``whole``, or ``beginning`` if the video goes on."""
        self._make_room()
        making = whole.with_name(f".making-{whole.name}")
        piece = whole.with_name(f".making-{whole.stem}")
        copy = whole
        try:
            if clip.cut is not None:
                self._transcode(self._finder.find(clip.cut["sha256"]), clip.cut, making)
            else:
                assert clip.file is not None
                path = clip.file
                if clip.span_bytes is not None:
                    path = piece
                    _copy_span(clip.file, *clip.span_bytes, piece)
                has_all_frames = self._transcode(path, self._beginning(path), making)
                copy = beginning if has_all_frames else whole
            os.replace(making, copy)
        finally:
            making.unlink(missing_ok=True)
            piece.unlink(missing_ok=True)
        return copy

    def _beginning(self, path: Path) -> dict[str, Any]:
        """Return a file's beginning as a clip, with one frame more: only a file that is longer has it."""
        facts = next(self._decoder.stream_views(path, frozenset()))
        fps = facts.values["nominal_fps"]
        fps = min(max(fps, 1.0), MAX_FPS) if math.isfinite(fps) else MAX_FPS
        place = {"start_frame": 0, "end_frame": math.ceil(MAX_SHOWN_S * fps) + 1, "start_pts": NO_PTS}
        return place | {"start_s": 0.0, "end_s": 0.0, "fps": fps}

    def _transcode(self, path: Path, clip: Mapping[str, Any], out: Path) -> bool:
        """Write a clip; return whether it has all of its frames."""
        place = {name: clip[name] for name in ("start_frame", "end_frame", "start_pts", "start_s", "end_s", "fps")}
        how = {"crf": CRF, "preset": PRESET, "max_short_side_px": MAX_SHORT_SIDE_PX, "out": str(out.absolute())}
        has_all_frames = True
        for _, reason in self._decoder.transcode(path, [place | how]):
            has_all_frames = not reason
            # With less frames than were counted it is shown as far as it goes.
            if reason and not reason.startswith("gave "):
                raise DecodingError(reason)
        return has_all_frames

    def _make_room(self) -> None:
        copies = sorted(self._cache.glob("[0-9a-f]*.mp4"), key=lambda path: path.stat().st_mtime)
        sizes = [path.stat().st_size for path in copies]
        left_bytes = sum(sizes)
        for path, size_bytes in zip(copies, sizes, strict=True):
            if left_bytes <= MAX_CACHE_BYTES:
                break
            path.unlink()
            left_bytes -= size_bytes


def _copy_span(source: Path, start: int, size_bytes: int, target: Path) -> None:
    with source.open("rb") as file, target.open("wb") as out:
        file.seek(start)
        while size_bytes and (content := file.read(min(size_bytes, 2**20))):
            out.write(content)
            size_bytes -= len(content)


def is_plain_h264(file: BinaryIO, start: int, size_bytes: int) -> bool:
    """Return whether bytes of a file are an mp4 with one video track, in H.264 of a kind that all browsers play."""
    moov = _find_box(file, start, size_bytes, b"moov")
    if moov is None:
        return False
    place = moov.find(b"avcC")
    is_single = moov.count(b"vide") == 1 and moov.count(b"avcC") == 1
    profile = moov[place + 5] if place >= 0 and place + 5 < len(moov) else 0
    return is_single and profile in (BASELINE, MAIN, HIGH)


def _find_box(file: BinaryIO, start: int, size_bytes: int, wanted: bytes) -> bytes | None:
    """Return the content of an mp4's box of the top level; None if there is none, or it is no mp4."""
    place, end = start, start + size_bytes
    is_first = True
    while place + 8 <= end:
        file.seek(place)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        head_bytes = 8
        if length == 1:
            length, head_bytes = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - place
        if length < head_bytes or place + length > end or (is_first and name != b"ftyp"):
            return None
        if name == wanted:
            file.seek(place + head_bytes)
            return file.read(length - head_bytes) if length <= MAX_MOOV_BYTES else None
        is_first = False
        place += length
    return None
