"""One answer: what an annotator said of a clip."""

import dataclasses
import difflib
import json
import logging
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cogvideox.data.labelling.labels import LABELS, LabelName

logger = logging.getLogger(__name__)

MAX_NAME_CHARACTERS = 64
MAX_NOTE_CHARACTERS = 4000
_NAME = re.compile(r"\w[\w.-]*", re.UNICODE)
_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one annotator said of one clip at one time."""

    clip_id: str
    """In imported answers also the name or the SHA-256 (or its first 16 digits) of a source, for all of its clips."""
    source: str = ""
    """Name or SHA-256 of the clip's source; may be empty."""
    annotator: str
    """Also the name of the file of answers."""
    time: str
    """ISO 8601, UTC."""
    labels: Mapping[LabelName, bool | None] = field(default_factory=dict)
    """True: the clip has it, False: it has not, None: unsure. A label that is not named was not judged."""
    seconds: float = 0.0
    """Spent on the clip up to this answer."""
    repeat: bool = False
    """Whether the clip came a second time, unannounced."""
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("clip_id", "source", "annotator", "time", "note"):
            _check_text(name, getattr(self, name))
        if not self.clip_id:
            raise ValueError("clip_id: expected the id of a clip, or the name or SHA-256 of a source, got nothing")
        check_annotator(self.annotator)
        time_of(self.time)
        if len(self.note) > MAX_NOTE_CHARACTERS:
            raise ValueError(f"note: expected at most {MAX_NOTE_CHARACTERS} characters, got {len(self.note)}")
        if not isinstance(self.labels, Mapping):
            raise ValueError(f"labels: expected an object of labels, got {self.labels!r}")
        for label, value in self.labels.items():
            check_label(label)
            if value is not None and not isinstance(value, bool):
                raise ValueError(f"labels.{label}: expected true, false or null, got {value!r}")
        is_number = isinstance(self.seconds, int | float) and not isinstance(self.seconds, bool)
        if not is_number or not math.isfinite(self.seconds) or self.seconds < 0:
            raise ValueError(f"seconds: expected a number of 0 or more, got {self.seconds!r}")
        if not isinstance(self.repeat, bool):
            raise ValueError(f"repeat: expected true or false, got {self.repeat!r}")

    @property
    def is_done(self) -> bool:
        """Whether all labels are judged."""
        return all(label in self.labels for label in LABELS)


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: expected text that is valid Unicode, got {value!r}") from None


def check_label(name: str) -> None:
    """Raise ValueError, naming the nearest label, if there is none of this name."""
    if name not in LABELS:
        nearest = difflib.get_close_matches(str(name), LABELS, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ValueError(f"label {name!r}: unknown; {hint}known: {', '.join(LABELS)}")


def check_annotator(name: str) -> None:
    """Raise ValueError if a name cannot be the name of a file on any machine."""
    is_safe = _NAME.fullmatch(name) and not _DEVICE_NAMES.fullmatch(name) and not name.endswith(".")
    is_short = len(name) <= MAX_NAME_CHARACTERS and len(name.encode("utf-8", "replace")) <= 200
    if not is_safe or not is_short or unicodedata.normalize("NFC", name) != name:
        raise ValueError(
            f"annotator: expected at most {MAX_NAME_CHARACTERS} letters, digits, '_', '-' or '.', first a letter, "
            f"digit or '_', got {name!r}"
        )


def time_of(text: str) -> datetime:
    """Return a time; one without offset is taken as UTC. Raises ValueError if it is not ISO 8601."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time: expected ISO 8601, for example 2026-01-31T12:00:00Z, got {text!r}") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def to_line(answer: Answer) -> str:
    """Return an answer as one line of JSON, without its end."""
    return json.dumps(dataclasses.asdict(answer), ensure_ascii=False)


def from_values(values: Any) -> Answer:
    """Return the answer of a JSON object. Raises ValueError that names the field."""
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {str(values)[:60]!r}")
    known = [item.name for item in dataclasses.fields(Answer)]
    for name in values:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ValueError(f"{name!r}: unknown field; {hint}known: {', '.join(known)}")
    for name in ("clip_id", "annotator", "time", "labels"):
        if name not in values:
            raise ValueError(f"{name}: missing")
    return Answer(**values)


def parse_lines(content: bytes, name: str, *, skips_cut: bool) -> list[Answer]:
    """Return the answers of a file of JSON lines.

    Args:
        content: of the file.
        name: of the file, for messages.
        skips_cut: leave out lines that are no JSON, as a crash leaves them, with a warning.

    Raises:
        ValueError: a line is no answer; the message has its number.
    """
    answers: list[Answer] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode())
        except ValueError:
            if not skips_cut:
                raise ValueError(f"{name}, line {number}: not JSON: {line[:60].decode(errors='replace')!r}") from None
            logger.warning("%s, line %d: left out: it is cut or damaged, as a crash leaves it", name, number)
            continue
        try:
            answers.append(from_values(values))
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from None
    return answers
