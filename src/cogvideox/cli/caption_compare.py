"""``cogvideox caption compare``: whether a student's captions can take the place of its teacher's."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import OK, print_json

Flag = Annotated[bool, Parameter(negative="")]


def compare(
    teacher: Path,
    student: Path,
    *,
    split: Literal["val", "all"] = "val",
    margin: float = 0.02,
    max_words: int = 100,
    json: Flag = False,
) -> int:
    """Compare the summaries of two captionings of the same clips, figure by figure.

    Both are measured against the inputs of the first. A student is accepted if no figure may be worse by more than the
    margin (lower end of a 95 % interval, drawn by sources), rejected if one surely is, and undecided if more clips or
    sources (5 at least) are needed. Clips are the same if their content is, whatever they are called.

    Parameters
    ----------
    teacher
        Folder that cogvideox caption made, with short captions or captions of frames.
    student
        Folder of the other captioning of these clips.
    split
        "val" for sources that were kept apart from training, "all" for every clip.
    margin
        By which a figure may be worse.
    max_words
        That a summary may have.
    json
        End standard output with one JSON object.
    """
    from cogvideox.data.captioning.comparison import compare as run

    found = run(teacher, student, split=split, margin=margin, max_words=max_words)
    if json:
        print_json({"ok": True, "data": found.to_json() | {"notes": found.notes()}})
    else:
        Console(highlight=False).print(found.to_text(), markup=False, soft_wrap=True)
    return OK
