"""``cogvideox label negatives``: videos with known truth, to train filters and to test them."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import OK, StepProgress, print_json

Overrides = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=True)]


def negatives(
    recipe: Path,
    *,
    out: Path = Path("made"),
    overrides: Overrides = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make bad videos of many families from good clips, pictures and text, and good ones that are near to them.

    OUT/videos are for ``cogvideox curate``, and OUT/labels.jsonl says what they are, for ``cogvideox train filters``.
    Interrupted, it goes on where it was.

    Parameters
    ----------
    recipe
        TOML file, for example recipes/negatives.toml.
    out
        Folder of the videos and their labels.
    overrides
        Recipe values, for example --set num_each=5 families='["static.slides"]'.
    json
        End standard output with one JSON object.
    """
    from cogvideox.data.negatives.making import MakingRecipe, make_set
    from cogvideox.settings import read_recipe

    settings = read_recipe(recipe, MakingRecipe, overrides or ())
    with StepProgress("making") as on_progress:
        num_made = make_set(settings, out, on_progress)
    if json:
        print_json({"ok": True, "data": {"folder": str(out), "num_videos": num_made}})
        return OK
    Console(highlight=False).print(f"{num_made} videos and their labels: {out}", markup=False, soft_wrap=True)
    return OK
