"""Which files there are to curate, and which content each has."""

import hashlib
import json
import math
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cogvideox.durable_files import read_json, replace_text

PASSED_OVER = (
    ".txt", ".json", ".jsonl", ".srt", ".vtt", ".ass", ".csv", ".tsv", ".md", ".toml", ".yaml", ".yml", ".xml", ".nfo",
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".parquet", ".tar", ".part",
)  # fmt: skip
"""Files that lie beside videos. Any other file is looked into, whatever its name says."""
CHUNK_BYTES = 2**20
MAX_CAPTION_BYTES = 2**20
SAVE_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of the inputs."""

    path: Path
    name: str
    """Its path below the input that it belongs to, with that input's own name before it: as it is shown, and sorted."""
    digest: str = ""
    """SHA-256 of its content; empty if it cannot be read."""
    size_bytes: int = 0
    changed_ns: int = 0
    """When it was last changed."""
    reason: str = ""
    """Why it cannot be read."""
    captions: tuple[str, ...] = ()
    """Lines of the text file beside it."""


class Digests:
    """SHA-256 of files, remembered by path, size and time of change, so that an old file is not read for it again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[int | str]] = {}
        self._is_changed = False
        self._saved_at_s = time.monotonic()
        known = read_json(path)
        if isinstance(known, dict):  # it only saves time: what is damaged is left
            self._known = {key: facts for key, facts in known.items() if isinstance(facts, list) and len(facts) == 4}

    def digest(self, path: Path, status: os.stat_result) -> str:
        """Return the digest of a file. Raises OSError if it cannot be read."""
        key = os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")
        facts = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = self._known.get(key)
        if known is None or known[:3] != facts:
            known = [*facts, _sha256(path)]
            self._known[key] = known
            self._is_changed = True
            if time.monotonic() - self._saved_at_s > SAVE_EVERY_S:
                self.save()
        return str(known[3])

    def save(self) -> None:
        """Write what is known."""
        if self._is_changed:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(self.path, json.dumps(self._known))
            self._saved_at_s = time.monotonic()
            self._is_changed = False


def find_sources(
    inputs: Sequence[str],
    digests: Digests,
    *,
    left_out: Path | None = None,
    max_file_gib: float = math.inf,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Source]:
    """Return all files of the inputs, sorted by name, with their digests.

    Hidden files, and texts and pictures that lie beside videos, are passed over. What cannot be read is returned with
    its reason.

    Args:
        inputs: folders, which are searched with all below, and files.
        digests: remembers what was read before.
        left_out: a folder that is not looked into, where the results go.
        max_file_gib: larger files are not read.
        on_progress: called with the files done and all.

    Raises:
        ValueError: an input does not exist, or there is no file in all of them.
    """
    tops = list(dict.fromkeys(Path(os.path.abspath(os.path.expanduser(name))) for name in inputs))
    found: dict[str, Path] = {}
    for top, shown in zip(tops, _shown_names(tops), strict=True):
        if not os.path.lexists(top):
            raise ValueError(f"inputs: no such file or folder: {top}")
        for path in _files_below(top, left_out) if top.is_dir() else [top]:
            found[_readable(str(Path(shown) / path.relative_to(top)))] = path
    if not found:
        raise ValueError(f"inputs: expected videos in {', '.join(inputs)}, got none")
    sources: list[Source] = []
    for name in sorted(found):
        sources.append(_source(found[name], name, digests, max_file_gib))
        if on_progress is not None:
            on_progress(len(sources), len(found))
    digests.save()
    return sources


def _shown_names(tops: Sequence[Path]) -> list[str]:
    """Return the names of inputs, with as many of the folders above as tell them all apart."""
    num_parts, names = 1, [top.name for top in tops]
    while len(set(names)) < len(names):
        num_parts += 1
        names = [str(Path(*top.parts[-num_parts:])) for top in tops]
    return names


def _files_below(top: Path, left_out: Path | None) -> list[Path]:
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    if left_out is not None and left_out.exists():
        status = os.stat(left_out)
        seen.add((status.st_dev, status.st_ino))

    def keep_unreadable(error: OSError) -> None:
        files.append(Path(error.filename))

    for parent, folders, names in os.walk(top, followlinks=True, onerror=keep_unreadable):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:  # a link back to a folder above, or what is left out
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return [file for file in files if file.suffix.lower() not in PASSED_OVER]


def _source(path: Path, name: str, digests: Digests, max_file_gib: float) -> Source:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            os.scandir(path).close()  # a folder is here only if it could not be looked into
        if not stat.S_ISREG(status.st_mode):
            return Source(path=path, name=name, reason="not a regular file")
        if not status.st_size:
            return Source(path=path, name=name, reason="empty file")
        if status.st_size > max_file_gib * 2**30:
            reason = f"{status.st_size / 2**30:,.0f} GiB are more than decoding.max_file_gib"
            return Source(path=path, name=name, size_bytes=status.st_size, reason=reason)
        digest = digests.digest(path, status)
    except OSError as error:
        return Source(path=path, name=name, reason=f"not readable ({error.strerror or error})")
    known = {"digest": digest, "size_bytes": status.st_size, "changed_ns": status.st_mtime_ns}
    return Source(path=path, name=name, captions=_captions(path), **known)


def _captions(path: Path) -> tuple[str, ...]:
    """Return the lines of the text file beside a video; none if there is none that can be read."""
    text = path.with_suffix(".txt")
    try:
        if not text.is_file() or text.stat().st_size > MAX_CAPTION_BYTES:
            return ()
        lines = text.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip() for line in lines if line.strip())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _readable(name: str) -> str:
    """Return a name as text: bytes that are no UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
