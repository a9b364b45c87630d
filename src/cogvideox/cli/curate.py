"""``cogvideox curate``: raw videos become measured clips and a training set; and questions about them."""

import dataclasses
from json import dumps as json_text  # json is the name of a flag
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cogvideox.cli.output import OK, PARTLY_FAILED, PartsProgress, print_json

if TYPE_CHECKING:
    from cogvideox.data.curation.recipe import CurationRecipe
    from cogvideox.data.curation.tables import Curation

Overrides = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=True)]
Inputs = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]
Flag = Annotated[bool, Parameter(negative="")]

DEFAULT_OUT = Path("curated")


def curate(
    recipe: Path,
    *,
    inputs: Inputs = None,
    out: Path = DEFAULT_OUT,
    inline: Flag = False,
    ray_address: str | None = None,
    retry_failed: Flag = False,
    overrides: Overrides = None,
    json: Flag = False,
) -> int:
    """Turn raw videos into a training set: shots, measured qualities, a policy, and shards that the trainer reads.

    Nothing is computed twice: a run that was stopped goes on, new files are added, a changed operator alone is run
    again, and moved or renamed files are known by their content. OUT/report.html shows what was decided, and why.

    Parameters
    ----------
    recipe
        TOML file, for example recipes/curate.toml.
    inputs
        Folders and files, in place of the recipe's.
    out
        Folder for tables, training set and report.
    inline
        Work in this process alone, instead of on Ray Data.
    ray_address
        Of a Ray cluster whose machines all see the inputs and the folder under these names (default: this machine).
    retry_failed
        Look again at files that could not be decoded, and measure again what failed.
    overrides
        Recipe values, for example --set shots.max_duration_s=6 policy.rules.0.min=0.5.
    json
        End standard output with one JSON object.
    """
    from cogvideox.data.curation.curate import curate as run

    if inline and ray_address is not None:
        raise ValueError("--inline: expected without --ray-address, because it works in this process alone")
    settings = _read(recipe, inputs, overrides)
    with PartsProgress() as on_progress:
        result = run(
            settings,
            out,
            engine="inline" if inline else "ray",
            ray_address=ray_address,
            retries_failed=retry_failed,
            on_progress=on_progress,
        )
    if json:
        print_json({"ok": True, "data": dataclasses.asdict(result) | {"folder": str(out)}})
        return PARTLY_FAILED if result.num_failed else OK
    console = Console(highlight=False)
    is_good = result.num_sources - result.num_rejected
    console.print(
        f"{is_good} of {result.num_sources} files give video, {result.num_damaged} of them are damaged", markup=False
    )
    console.print(
        f"{result.num_kept} of {result.num_clips} clips kept, {_time(result.kept_s)} of {_time(result.clips_s)}",
        markup=False,
    )
    if result.num_errors:
        console.print(f"{result.num_errors} measurements failed; the column error of the tables says how", markup=False)
    if result.num_failed:
        console.print(
            f"{result.num_failed} kept clips could not be written; tables/decisions.parquet says why", markup=False
        )
    if result.num_kept:
        console.print(f"training set: {out / 'dataset'}", markup=False, soft_wrap=True)
    console.print(f"report: {out / 'report.html'}", markup=False, soft_wrap=True)
    return PARTLY_FAILED if result.num_failed else OK


def describe(recipe: Path, *, inputs: Inputs = None, overrides: Overrides = None) -> int:
    """Print what a recipe does, with the keys that results are known by, and do nothing.

    Parameters
    ----------
    recipe
        TOML file.
    inputs
        Folders and files, in place of the recipe's.
    overrides
        Recipe values.
    """
    from cogvideox.data.curation.plan import CurationPlan

    plan = CurationPlan.of(_read(recipe, inputs, overrides))
    Console(highlight=False).print(plan.describe(), markup=False, soft_wrap=True)
    return OK


def explain(clip: str, *, out: Path = DEFAULT_OUT, step: int = 0, json: Flag = False) -> int:
    """Print where a clip comes from, everything measured of it, and what each rule says of it.

    Parameters
    ----------
    clip
        Its id, or the beginning of one.
    out
        Folder of the curation.
    step
        Of the training, for thresholds that move.
    json
        End standard output with one JSON object instead.
    """
    from cogvideox.data.curation.tables import read_copies, read_curation

    if step < 0:
        raise ValueError(f"--step: expected 0 or more, got {step}")
    curation = read_curation(out)
    index = _find(curation, clip)
    copies = read_copies(out).get(curation.clips.scores.clip_ids[index], {})
    copy = {name: copies.get(name, "") for name in ("best_clip_id", "kind", "evaluation")}
    row, decision = curation.clips.rows[index], curation.decisions[index]
    values = {name: float(column[index]) for name, column in sorted(curation.clips.scores.values.items())}
    outcomes = curation.policy.decide(curation.clips.scores, index, step)
    sources = [source["source"] for source in curation.sources if source["sha256"] == row["sha256"]]
    if json:
        rules = [
            {
                "rule": outcome.rule.name,
                "column": outcome.rule.column,
                "side": outcome.rule.side,
                "bound": outcome.bound,
                "value": outcome.value,
                "passes": outcome.passes,
            }
            for outcome in outcomes
        ]
        known = {name: value if value == value else None for name, value in values.items()}
        print_json(
            {"ok": True, "data": row | decision | {"sources": sources, "rules": rules, "values": known, "copy": copy}}
        )
        return OK
    console = Console(highlight=False)
    console.print(f"{row['clip_id']}  {'kept' if decision['is_kept'] else 'dropped'}", markup=False)
    for source in sources:
        span = f"{row['start_s']:.2f} to {row['end_s']:.2f} s, {row['num_frames']} frames"
        console.print(
            f"  {source}: {span} of {row['width_px']}x{row['height_px']} px at {row['fps']:.5g} fps", markup=False
        )
    if decision["reason"]:
        console.print(f"  {decision['reason']}", markup=False)
    if copy["best_clip_id"]:
        console.print(f"  a {copy['kind']} copy of {copy['best_clip_id']}", markup=False)
    if copy["evaluation"]:
        console.print(f"  shows what is in {copy['evaluation']}", markup=False)
    rules = Table("rule", "value", "", "bound", "", title=f"rules at step {step}", title_justify="left")
    for outcome in outcomes:
        value = "none" if outcome.value is None else f"{outcome.value:.4g}"
        sign = "≥" if outcome.rule.side == "min" else "≤"
        rules.add_row(outcome.rule.name, value, sign, f"{outcome.bound:.4g}", "passes" if outcome.passes else "fails")
    if outcomes:
        console.print(rules)
    for name, value in values.items():
        console.print(f"  {name:28s} {value:.4g}" if value == value else f"  {name:28s} none", markup=False)
    return OK


def sweep(column: str, *, out: Path = DEFAULT_OUT, step: int = 0, plot: Path | None = None, json: Flag = False) -> int:
    """Print, and plot, how many hours are kept at each threshold of a column.

    Parameters
    ----------
    column
        For example motion.peak_speed.
    out
        Folder of the curation.
    step
        Of the training, at which the other rules are taken.
    plot
        An .svg or .html file to write (default: OUT/sweep_COLUMN.html).
    json
        End standard output with one JSON object instead of a table.
    """
    from cogvideox.data.curation.sweep import sweep as run
    from cogvideox.data.curation.sweep import write_sweep
    from cogvideox.data.curation.tables import read_curation

    if step < 0:
        raise ValueError(f"--step: expected 0 or more, got {step}")
    curation = read_curation(out)
    made = run(curation.policy, curation.clips.scores, column, step=step)
    plot = out / f"sweep_{column}.html" if plot is None else plot
    write_sweep(plot, made)
    if json:
        print_json({"ok": True, "data": {"column": column, "plot": str(plot), "rows": made.to_rows()}})
        return OK
    table = Table("threshold", "kept alone", "kept with the other rules", "clips")
    for row in made.to_rows()[::5]:
        times = (_time(row["alone_s"]), _time(row["kept_s"]))
        table.add_row(f"{row['threshold']:.4g}", *times, str(row["num_kept"]))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"plot: {plot}", markup=False, soft_wrap=True)
    return OK


def _read(recipe: Path, inputs: list[str] | None, overrides: list[str] | None) -> "CurationRecipe":
    from cogvideox.data.curation.recipe import CurationRecipe
    from cogvideox.settings import read_recipe

    changes = [*(overrides or ()), *([] if inputs is None else [f"inputs={json_text(inputs, ensure_ascii=False)}"])]
    return read_recipe(recipe, CurationRecipe, changes)


def _find(curation: "Curation", clip: str) -> int:
    ids = curation.clips.scores.clip_ids
    found = [index for index, clip_id in enumerate(ids) if clip_id.startswith(clip)]
    exact = [index for index in found if ids[index] == clip]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise ValueError(f"clip: expected the id of one of {len(ids)} clips, or its beginning, got {clip!r}")
    raise ValueError(f"clip: {clip!r} begins {len(found)} ids, among them {ids[found[0]]} and {ids[found[1]]}")


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds:.0f} s"
