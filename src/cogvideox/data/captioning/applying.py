"""Captions given to the clips that they were made of: in a training set's tables, or in text files beside videos."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from cogvideox.chat.caption_style import style_of, write_style
from cogvideox.data.caption_mixture import CaptionKind
from cogvideox.data.captioning.clip_set import CaptionClip, ClipSet
from cogvideox.data.captioning.stages import ClipCaptions
from cogvideox.data.clip_index import replace_captions
from cogvideox.durable_files import read_json, replace_text

logger = logging.getLogger(__name__)


def apply_captions(clip_set: ClipSet, found: Sequence[tuple[CaptionClip, ClipCaptions]], written_path: Path) -> int:
    """Give clips their dense and their short captions; return how many clips have others now.

    A training set keeps its clips' own captions beside them. In a plain folder a text file is written where there is
    none: the dense caption is its first line, the short one its second.

    Args:
        clip_set: that was captioned.
        found: its clips and their captions.
        written_path: remembers the text files that were written, which a later run may write anew.

    Raises:
        ValueError: a table of the training set is damaged.
        OSError: it cannot be written; for text files that cannot be there is a warning only.
    """
    texts = {clip.clip_id: _texts(captions) for clip, captions in found if _texts(captions)}
    if not clip_set.is_indexed:
        return _write_beside(found, written_path)
    num_changed = replace_captions(clip_set.folder, texts)
    pairs = [(pair["short"], pair["dense"]) for pair in map(dict, texts.values()) if {"short", "dense"} <= set(pair)]
    if pairs:
        write_style(clip_set.folder, style_of(pairs))
    return num_changed


def _texts(captions: ClipCaptions) -> list[tuple[CaptionKind, str]]:
    texts: list[tuple[CaptionKind, str]] = []
    if captions.summary is not None and captions.summary.text:
        texts.append(("dense", captions.summary.text))
    if captions.short is not None and captions.short.text:
        texts.append(("short", captions.short.text))
    return texts


def _write_beside(found: Sequence[tuple[CaptionClip, ClipCaptions]], written_path: Path) -> int:
    known = read_json(written_path)
    written: dict[str, str] = known if isinstance(known, dict) else {}
    wanted: dict[Path, str] = {}
    for clip, captions in found:
        if texts := _texts(captions):
            # Of videos that share one text file the first has it.
            text = "".join(f"{' '.join(line.split())}\n" for _, line in texts)
            wanted.setdefault(Path(clip.path).with_suffix(".txt"), text)
    new: dict[Path, str] = {}
    failed: list[str] = []
    for path, text in wanted.items():
        try:
            old = path.read_bytes() if path.exists() else None
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
            continue
        if old != text.encode() and (old is None or written.get(str(path)) == _digest(old)):
            new[path] = text
    if new:
        # A run that is killed meanwhile knows its own files.
        ours = written | {str(path): _digest(text.encode()) for path, text in new.items() if not path.exists()}
        replace_text(written_path, json.dumps(ours))
    for path, text in new.items():
        try:
            replace_text(path, text)
            written[str(path)] = _digest(text.encode())
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
    if new:
        replace_text(written_path, json.dumps(written))
    if failed:
        logger.warning("%d text files beside videos cannot be written, the first: %s", len(failed), failed[0])
    return len(new)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
