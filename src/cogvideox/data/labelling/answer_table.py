"""Answers as a table (CSV).

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and runs it. Such a cell is
written with ``'`` before it, and read without.
"""

import csv
import difflib
import io
from collections.abc import Iterable
from pathlib import Path

from cogvideox.data.labelling.answer import Answer
from cogvideox.data.labelling.labels import LABELS, LabelName

COLUMNS = ("clip_id", "source", "annotator", "time", *LABELS, "seconds", "repeat", "note")
NEEDED = ("clip_id", "annotator", "time")
CELLS: dict[bool | None, str] = {True: "1", False: "0", None: "?"}
"""Of a label; one that was not judged is empty."""
TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
FULLWIDTH = ("\uff1d", "\uff0b", "\uff0d", "\uff20")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", *FULLWIDTH)
GUARD = "'"


def guarded(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return GUARD + text if _is_ambiguous(text) or text.startswith(FORMULA_STARTS) else text


def unguarded(cell: str) -> str:
    """Return the text of a cell that `guarded` made; any other cell as it is."""
    return cell[len(GUARD) :] if _is_ambiguous(cell) else cell


def _is_ambiguous(text: str) -> bool:
    return text.startswith(GUARD) and text[len(GUARD) :].startswith((*FORMULA_STARTS, GUARD))


def to_csv(answers: Iterable[Answer]) -> str:
    """Return a table with the columns `COLUMNS`, a row for each answer."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        labels = [CELLS[answer.labels[label]] if label in answer.labels else "" for label in LABELS]
        names = [guarded(value) for value in (answer.clip_id, answer.source, answer.annotator, answer.time)]
        seconds = repr(answer.seconds).removesuffix(".0")
        writer.writerow([*names, *labels, seconds, int(answer.repeat), guarded(answer.note)])
    return text.getvalue()


def read_csv(path: str | Path) -> list[Answer]:
    """Return the answers of a table as `to_csv` writes it; columns may be in any order, and left out but for `NEEDED`.

    Raises:
        ValueError: the file cannot be read, or a row is no answer; the message has the number of its line.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"answers: {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text ({error}); save the table as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    answers: list[Answer] = []
    header: list[str] = []
    first_line = 1
    try:
        for cells in reader:
            if not header and cells:
                header = [unguarded(cell.strip()) for cell in cells]
                _check_header(header)
            elif any(cells):
                answers.append(_from_cells(header, cells))
            first_line = reader.line_num + 1
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}, line {first_line}: {error}") from None
    if not header:
        raise ValueError(f"{path}: expected a table with the columns {', '.join(COLUMNS)}, got an empty file")
    return answers


def _check_header(header: list[str]) -> None:
    for name in header:
        if name not in COLUMNS:
            nearest = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ValueError(f"column {name!r}: unknown; {hint}known: {', '.join(COLUMNS)}")
        if header.count(name) > 1:
            raise ValueError(f"column {name!r}: expected once, got {header.count(name)}")
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise ValueError(f"expected the columns {', '.join(NEEDED)}, got no {missing[0]}")


def _from_cells(header: list[str], cells: list[str]) -> Answer:
    if len(cells) != len(header):
        raise ValueError(f"expected {len(header)} cells, got {len(cells)}")
    row = dict(zip(header, cells, strict=True))
    labels: dict[LabelName, bool | None] = {}
    for label in LABELS:
        cell = row.get(label, "").strip().lower()
        if cell == "?":
            labels[label] = None
        elif cell:
            labels[label] = _truth(label, cell)
    seconds = row.get("seconds", "").strip() or "0"
    try:
        seconds_s = float(seconds)
    except ValueError:
        raise ValueError(f"seconds: expected a number, got {seconds!r}") from None
    return Answer(
        **{name: unguarded(row.get(name, "")) for name in ("clip_id", "source", "annotator", "time", "note")},
        labels=labels,
        seconds=seconds_s,
        repeat=_truth("repeat", row.get("repeat", "").strip().lower() or "0"),
    )


def _truth(name: str, cell: str) -> bool:
    if cell not in TRUTHS:
        wanted = "1, 0, ? or nothing" if name in LABELS else "1 or 0"
        raise ValueError(f"{name}: expected {wanted}, got {cell!r}")
    return TRUTHS[cell]
