"""What annotators said of clips: one line of JSON for every change, in one file for each annotator.

Within one look of an annotator at a clip the last line counts. A label that a line does not name was not yet judged;
a clip is done when a line names all of them. Files are only appended to.
"""

import dataclasses
import fcntl
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cogvideox.data.labelling.answer import Answer, check_annotator, parse_lines, time_of, to_line
from cogvideox.data.labelling.answer_table import read_csv
from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.durable_files import sync_folder

logger = logging.getLogger(__name__)

LABELS_FOLDER = "labels"
ANSWERS_SUFFIX = ".jsonl"
NUM_SHOWN = 3
"""Of what is left out, in a warning."""
TICK = timedelta(milliseconds=1)
"""Between the times of two answers, at least."""
EARLIEST = datetime.min.replace(tzinfo=UTC)


def answer_files(folder: str | Path) -> list[Path]:
    """Return the files of answers in a folder, sorted; none if there is no such folder."""
    return sorted(path for path in Path(folder).glob(f"*{ANSWERS_SUFFIX}") if not path.name.startswith("."))


def read_answers(paths: str | Path | Iterable[str | Path]) -> list[Answer]:
    """Return the answers of files and folders (``labels/``), each file's in the order of its lines.

    Lines that a crash cut are left out with a warning. ``.csv`` files are read as tables
    (`cogvideox.data.labelling.answer_table.read_csv`).

    Raises:
        ValueError: a path does not exist, or a line is no answer; the message has its number.
    """
    answers: list[Answer] = []
    for path in [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]:
        for file in answer_files(path) if path.is_dir() else [path]:
            if file.suffix.lower() == ".csv":
                answers += read_csv(file)
                continue
            try:
                content = file.read_bytes()
            except OSError as error:
                raise ValueError(f"answers: {file}: {error.strerror or error}") from None
            answers += parse_lines(content, str(file), skips_cut=True)
    return answers


def latest(answers: Iterable[Answer]) -> dict[tuple[str, str, bool], Answer]:
    """Return the last answer of each annotator for each clip and look, by annotator, clip id and ``repeat``.

    The later time is the last; of the same time, the one that comes later here. Keys are in order of these times.
    """
    found: dict[tuple[str, str, bool], Answer] = {}
    for answer in sorted(answers, key=lambda answer: time_of(answer.time)):
        key = (answer.annotator, answer.clip_id, answer.repeat)
        found.pop(key, None)
        found[key] = answer
    return found


def opinions(answers: Iterable[Answer]) -> dict[str, dict[str, dict[LabelName, bool | None]]]:
    """Return by clip id and annotator what each said last of each label, of both looks."""
    said: dict[str, dict[str, dict[LabelName, bool | None]]] = {}
    for (annotator, clip_id, _), answer in latest(answers).items():
        said.setdefault(clip_id, {}).setdefault(annotator, {}).update(answer.labels)
    return said


def consensus(answers: Iterable[Answer]) -> dict[str, dict[LabelName, bool]]:
    """Return by clip id what the majority of annotators say of each label; ties and unsure ones are left out.

    Answers that are meant for sources go through `resolve` first.
    """
    found: dict[str, dict[LabelName, bool]] = {}
    for clip_id, said in opinions(answers).items():
        agreed: dict[LabelName, bool] = {}
        for label in LABELS:
            votes = [labels[label] for labels in said.values() if labels.get(label) is not None]
            num_for = sum(vote is True for vote in votes)
            if 2 * num_for != len(votes):
                agreed[label] = 2 * num_for > len(votes)
        if agreed:
            found[clip_id] = agreed
    return found


def resolve(
    answers: Iterable[Answer], clips: Sequence[Mapping[str, Any]], sources: Sequence[Mapping[str, Any]]
) -> list[Answer]:
    """Return answers with ids of clips: one that names a source becomes one for each clip of that source.

    A source is named by its name in the table, by the end of it from a folder on (``cat.mp4`` for ``videos/cat.mp4``),
    by its SHA-256, or by the first 16 digits of that. What is not in the tables is left out with a warning.

    Args:
        answers: of any files.
        clips: rows of ``tables/clips.parquet``: ``clip_id`` and ``sha256``.
        sources: rows of ``tables/sources.parquet``: ``source`` and ``sha256``.

    Raises:
        ValueError: a name fits several sources of different content.
    """
    digest_of = {row["clip_id"]: row["sha256"] for row in clips}
    clips_of: dict[str, list[str]] = {row["sha256"]: [] for row in sources if row["sha256"]}
    for clip_id, digest in digest_of.items():
        clips_of.setdefault(digest, []).append(clip_id)
    digests_by_name = _digests_by_name(clips_of, sources)
    resolved: list[Answer] = []
    unknown: dict[str, None] = {}
    for answer in answers:
        name = answer.clip_id
        if name in digest_of:
            source = answer.source or digest_of[name]
            resolved.append(answer if answer.source else dataclasses.replace(answer, source=source))
            continue
        digests = digests_by_name.get(name, ())
        if len(digests) > 1:
            raise ValueError(
                f"clip_id: {name!r} names {len(digests)} sources of different content; name it with its folders, or by "
                f"its SHA-256: {', '.join(digest[:16] for digest in digests)}"
            )
        if not digests:
            unknown[name] = None
        for digest in digests:
            source = answer.source or digest
            resolved += [dataclasses.replace(answer, clip_id=each, source=source) for each in clips_of[digest]]
    if unknown:
        shown = ", ".join(list(unknown)[:NUM_SHOWN])
        logger.warning("answers for %d names that are no clip or source here are left out: %s", len(unknown), shown)
    return resolved


def _digests_by_name(digests: Iterable[str], sources: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return which contents a source's full or shortened name, or digest, may mean; a full name means its own alone."""
    short: dict[str, dict[str, None]] = {}
    full: dict[str, dict[str, None]] = {}
    for row in sources:
        if not row["sha256"]:
            continue
        full.setdefault(row["source"], {})[row["sha256"]] = None
        parts = row["source"].split("/")
        for start in range(1, len(parts)):
            short.setdefault("/".join(parts[start:]), {})[row["sha256"]] = None
    for digest in digests:
        full.setdefault(digest, {})[digest] = None
        short.setdefault(digest[:16], {})[digest] = None
    return {name: tuple(found) for name, found in (short | full).items()}


class AnswerLog:
    """Appends to one annotator's file of answers; what it has taken is on the disk."""

    def __init__(self, folder: str | Path, annotator: str, *, after: datetime = EARLIEST) -> None:
        """Prepare to write; answers are later than ``after``, and than all that the file holds."""
        check_annotator(annotator)
        self.path = Path(folder) / f"{annotator}{ANSWERS_SUFFIX}"
        self._last_time = after
        self._num_seen_bytes = 0

    def append(self, answers: Sequence[Answer]) -> None:
        """Write answers and wait until they are on the disk; a line that a crash cut is ended first.

        Raises:
            OSError: they could not be written.
        """
        is_new = not self.path.exists()
        text = "".join(f"{to_line(answer)}\n" for answer in answers).encode()
        with self.path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another server may write to it too
            if size_bytes := file.seek(0, os.SEEK_END):
                file.seek(size_bytes - 1)
                text = text if file.read(1) == b"\n" else b"\n" + text
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)

    def now(self) -> str:
        """Return the time as answers have it: later than all answers that are there, whatever the clock says."""
        self._see_times()
        try:
            self._last_time = max(_whole_ms(datetime.now(UTC)), _whole_ms(self._last_time.astimezone(UTC)) + TICK)
        except OverflowError:  # nothing is later than the end of the year 9999: of equal times the last line counts
            return self._last_time.isoformat()
        return self._last_time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _see_times(self) -> None:
        """Take note of the times of lines that are new, by whomever: an answer that is earlier would not count."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._num_seen_bytes)
            lines = file.read().split(b"\n")
        self._num_seen_bytes += sum(len(line) + 1 for line in lines[:-1])  # the last one may still be written
        for line in lines:
            try:
                self._last_time = max(self._last_time, time_of(json.loads(line.decode("utf-8-sig"))["time"]))
            except (ValueError, KeyError, TypeError):
                continue  # `read_answers` warns of it


def _whole_ms(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
