"""Answers in and out of a folder of answers, as one file that other tools read and write: CSV or JSON lines."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from cogvideox.data.labelling.answer import Answer, parse_lines, to_line
from cogvideox.data.labelling.answer_table import read_csv, to_csv
from cogvideox.data.labelling.answers import AnswerLog, answer_files, read_answers
from cogvideox.durable_files import replacing

FileFormat = Literal["jsonl", "csv"]


def to_jsonl(answers: Iterable[Answer]) -> str:
    """Return answers as JSON lines."""
    return "".join(f"{to_line(answer)}\n" for answer in answers)


WRITERS: dict[FileFormat, Callable[[Iterable[Answer]], str]] = {"jsonl": to_jsonl, "csv": to_csv}


def format_of(path: Path) -> FileFormat:
    """Return the format that a file's name ends with. Raises ValueError if it is none of them."""
    for name in WRITERS:
        if path.suffix.lower() == f".{name}":
            return name
    raise ValueError(f"{path}: expected a name that ends with {' or '.join(f'.{name}' for name in WRITERS)}")


def export_answers(folder: str | Path, out: str | Path) -> int:
    """Write all answers of a folder of answers as one file, whole or not at all; return how many.

    Raises:
        ValueError: there are none, a line is no answer, or the name of ``out`` does not end with a format.
        OSError: it cannot be written.
    """
    out = Path(out)
    write = WRITERS[format_of(out)]
    answers = read_answers(folder)
    if not answers:
        raise ValueError(f"{folder}: holds no answers yet; run cogvideox label, or import some")
    with replacing(out) as file:
        file.write(write(answers).encode())
    return len(answers)


def import_answers(path: str | Path, folder: str | Path) -> tuple[int, int]:
    """Add the answers of a CSV or JSONL file to a folder of answers; return how many are new, and how many were there.

    Every line is checked before anything is written, so a file is taken as a whole or not at all; the same file again
    adds nothing.

    Raises:
        ValueError: the file cannot be read, has no answers, or a line is no answer; the message has its number.
        OSError: the folder cannot be written.
    """
    path, folder = Path(path), Path(folder)
    if format_of(path) == "csv":
        answers = read_csv(path)
    else:
        try:
            answers = parse_lines(path.read_bytes(), str(path), skips_cut=False)
        except OSError as error:
            raise ValueError(f"answers: {path}: {error.strerror or error}") from None
    if not answers:
        raise ValueError(f"{path}: expected at least one answer, got none")
    folder.mkdir(parents=True, exist_ok=True)
    known = {_identity(answer) for answer in read_answers(answer_files(folder))}
    by_annotator: dict[str, list[Answer]] = {}
    num_new = 0
    for answer in answers:
        if (identity := _identity(answer)) in known:
            continue
        known.add(identity)
        by_annotator.setdefault(answer.annotator, []).append(answer)
        num_new += 1
    for annotator, new in by_annotator.items():
        AnswerLog(folder, annotator).append(new)
    return num_new, len(answers) - num_new


def _identity(answer: Answer) -> str:
    values: Mapping[str, object] = dataclasses.asdict(answer) | {"labels": sorted(answer.labels.items())}
    return repr(sorted((name, value if name != "seconds" else float(answer.seconds)) for name, value in values.items()))
