"""Captions given to the clips that they were made of: in a training set's tables, or in text files beside videos."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cogvideox.chat.caption_style import style_of, write_style
from cogvideox.data.caption_mixture import CaptionKind
from cogvideox.data.captioning.clip_set import CaptionClip, ClipSet
from cogvideox.data.captioning.stages import CaptionRow, ClipCaptions
from cogvideox.data.clip_index import generated_captions, replace_captions
from cogvideox.durable_files import read_json, replace_text

logger = logging.getLogger(__name__)

GIVEN_KINDS: tuple[CaptionKind, ...] = ("dense", "short")
"""In the order in which they are written."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What clips were given."""

    num_changed: int
    """Clips that have other captions now; of a plain folder, text files that were written."""
    num_own_texts: int = 0
    """Text files beside videos that are not of captioning, and were left as they are."""


def apply_captions(clip_set: ClipSet, found: Sequence[tuple[CaptionClip, ClipCaptions]], written_path: Path) -> Applied:
    """Give clips their dense and their short captions; a kind that a clip has no new text of stays as it is.

    A training set keeps its clips' own captions beside them. In a plain folder a text file is written where there is
    none: the dense caption is its first line, the short one comes after it.

    Args:
        clip_set: that was captioned.
        found: its clips and their captions.
        written_path: remembers the text files that were written, which a later run may write anew.

    Raises:
        ValueError: a table of the training set is damaged.
        OSError: it cannot be written; for text files that cannot be there is a warning only.
    """
    if not clip_set.is_indexed:
        return _write_beside(found, written_path)
    before = generated_captions(clip_set.folder)
    made = {clip.clip_id: _texts(captions) for clip, captions in found}
    texts = {clip_id: _merged(dict(before.get(clip_id, ())), new) for clip_id, new in made.items() if new}
    num_changed = replace_captions(clip_set.folder, {clip_id: list(both.items()) for clip_id, both in texts.items()})
    pairs = [(both["short"], both["dense"]) for both in texts.values() if {"short", "dense"} <= set(both)]
    if pairs:
        write_style(clip_set.folder, style_of(pairs))
    return Applied(num_changed=num_changed)


def _texts(captions: ClipCaptions) -> dict[CaptionKind, str]:
    rows: dict[CaptionKind, CaptionRow | None] = {"dense": captions.summary, "short": captions.short}
    return {kind: row.text for kind, row in rows.items() if row is not None and row.text}


def _merged(old: Mapping[CaptionKind, str], new: Mapping[CaptionKind, str]) -> dict[CaptionKind, str]:
    """Return the captions of both, the new one of a kind if there is one."""
    both = {**old, **new}
    return {kind: both[kind] for kind in GIVEN_KINDS if kind in both}


def _write_beside(found: Sequence[tuple[CaptionClip, ClipCaptions]], written_path: Path) -> Applied:
    written = _written(written_path)
    made: dict[Path, dict[CaptionKind, str]] = {}
    for clip, captions in found:
        if texts := _texts(captions):
            lines: dict[CaptionKind, str] = {kind: " ".join(text.split()) for kind, text in texts.items()}
            # Of videos that share one text file the first has it.
            made.setdefault(Path(clip.path).with_suffix(".txt"), lines)
    new: dict[Path, dict[CaptionKind, str]] = {}
    failed: list[str] = []
    num_own = 0
    for path, lines in made.items():
        try:
            old = path.read_bytes() if path.exists() else None
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
            continue
        before = written.get(str(path), {})
        if old is None:
            new[path] = lines
        elif _text_of(before).encode() != old:
            num_own += 1
        elif (both := _merged(before, lines)) != before:
            new[path] = both
    if new:
        # A run that is killed meanwhile knows its own files.
        ours = written | {str(path): lines for path, lines in new.items() if not path.exists()}
        replace_text(written_path, json.dumps(ours))
    num_written = 0
    for path, lines in new.items():
        try:
            replace_text(path, _text_of(lines))
            written[str(path)] = lines
            num_written += 1
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
    if new:
        replace_text(written_path, json.dumps(written))
    if failed:
        logger.warning("%d text files beside videos cannot be written, the first: %s", len(failed), failed[0])
    return Applied(num_changed=num_written, num_own_texts=num_own)


def _written(path: Path) -> dict[str, dict[CaptionKind, str]]:
    """Return the lines of the text files that were written, by kind; of those that are not known nothing."""
    known = read_json(path)
    texts = known if isinstance(known, dict) else {}
    return {name: lines for name, lines in texts.items() if isinstance(lines, dict)}


def _text_of(lines: Mapping[CaptionKind, str]) -> str:
    return "".join(f"{lines[kind]}\n" for kind in GIVEN_KINDS if kind in lines)
