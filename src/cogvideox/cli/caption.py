"""``cogvideox caption``: clips get dense captions; and what is known of those of one clip."""

import dataclasses
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import OK, PARTLY_FAILED, PartsProgress, print_json, warnings_shown

if TYPE_CHECKING:
    from cogvideox.data.captioning.captioning import CaptionEstimate, CaptionResult

Overrides = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=True)]
Flag = Annotated[bool, Parameter(negative="")]


def caption(
    dataset: Path,
    recipe: Path,
    *,
    out: Path | None = None,
    inline: Flag = False,
    ray_address: str | None = None,
    retry_failed: Flag = False,
    dry_run: Flag = False,
    overrides: Overrides = None,
    json: Flag = False,
) -> int:
    """Caption clips: one sentence about each, what its frames show, and one dense caption made of them.

    No answer of a model is paid for twice: a run that was stopped goes on, new clips are added, a changed stage alone
    is asked again, and moved or renamed clips are known by their content. Captions go into OUT/tables, examples to
    train students into OUT/training, and the clips of the dataset get them too.

    Parameters
    ----------
    dataset
        Folder that cogvideox curate made, training set (index.parquet), or folder of videos and pictures.
    recipe
        TOML file, for example recipes/caption.toml.
    out
        Folder for the results (default: captions, beside the tables of a curation or in the dataset).
    inline
        Work in this process alone, which is the default: questions to servers are made many at a time all the same.
    ray_address
        Work on a Ray cluster whose machines all see the dataset and the folder under these names; "local" is one of
        this machine.
    retry_failed
        Ask again where all answers were no use.
    dry_run
        Say what would be asked and about what it would cost, and ask nothing.
    overrides
        Recipe values, for example --set summary.max_words=80 backends.0.concurrency=4.
    json
        End standard output with one JSON object.
    """
    from cogvideox.data.captioning import captioning
    from cogvideox.data.captioning.recipe import CaptionRecipe
    from cogvideox.settings import read_recipe

    if inline and ray_address is not None:
        raise ValueError("--inline: expected without --ray-address, because it works in this process alone")
    settings = read_recipe(recipe, CaptionRecipe, overrides or ())
    with warnings_shown(Console(stderr=True, highlight=False)), PartsProgress() as on_progress:
        if dry_run:
            found = captioning.estimate(dataset, settings, out, on_progress=on_progress)
        else:
            with _terminated_as_interrupted():
                found = captioning.caption(
                    dataset,
                    settings,
                    out,
                    engine="inline" if ray_address is None else "ray",
                    ray_address=ray_address,
                    retries_failed=retry_failed,
                    on_progress=on_progress,
                )
    if isinstance(found, captioning.CaptionEstimate):
        return _report_estimate(found, json)
    return _report(found, json)


def explain(clip: str, *, out: Path, json: Flag = False) -> int:
    """Print what was asked and answered about a clip: short caption, frames, summary and figures.

    Parameters
    ----------
    clip
        Its id, or the beginning of one.
    out
        Folder of the captions.
    json
        End standard output with one JSON object instead.
    """
    from cogvideox.data.captioning.caption_tables import read_captions

    captions = read_captions(out)
    tables = {field.name: getattr(captions, field.name) for field in dataclasses.fields(captions)}
    ids = sorted({row["clip_id"] for rows in tables.values() for row in rows})
    clip_id = _find(ids, clip)
    rows = {name: [row for row in found if row["clip_id"] == clip_id] for name, found in tables.items()}
    if json:
        shown = {name: [_without_nan(row) for row in found] for name, found in rows.items()}
        print_json({"ok": True, "data": {"clip_id": clip_id} | shown})
        return OK
    console = Console(highlight=False)
    console.print(clip_id, markup=False, soft_wrap=True)
    for name in ("short", "frames", "summary", "judge"):
        for row in rows[name]:
            when = f" {row['time_s']:.2f} s" if name == "frames" and row["frame"] >= 0 else ""
            said = row["text"] or f"none: {row['error']}"
            console.print(f"\n{name}{when}: {said}", markup=False, soft_wrap=True)
            notes = [f"{row['num_words']} words", f"{row['num_tries']} tries", row["model"]]
            notes += [row["problem"], f"before: {row['rejected']}" if row["rejected"] else ""]
            console.print(f"  {', '.join(note for note in notes if note)}", markup=False, soft_wrap=True)
    for row in rows["check"]:
        for name, value in row.items():
            if name != "clip_id":
                shown = f"{value:.3g}" if isinstance(value, float) else str(value)
                console.print(f"  {name:24s} {shown}", markup=False)
    return OK


def _report(result: "CaptionResult", json: bool) -> int:
    code = PARTLY_FAILED if result.num_failed else OK
    if json:
        print_json({"ok": True, "data": dataclasses.asdict(result) | {"folder": str(result.folder)}})
        return code
    console = Console(highlight=False)
    made = f"{result.num_shorts} short captions, {result.num_frames} of frames, {result.num_summaries} dense ones"
    console.print(f"{made}, of {result.num_clips} clips", markup=False)
    tokens = f"{result.num_input_tokens:,} tokens read and {result.num_output_tokens:,} written"
    about = "about " if result.is_estimated else ""
    cost = f", {about}{result.dollars:.2f} dollars" if result.dollars else ""
    console.print(f"{result.num_asked} questions asked, {result.num_reused} answers known", markup=False)
    console.print(f"in all runs {about}{tokens}{cost}", markup=False)
    if result.num_unreadable:
        console.print(f"{result.num_unreadable} clips cannot be read", markup=False)
    if result.stopped:
        console.print(result.stopped, markup=False, soft_wrap=True)
    if result.num_failed:
        again = f" (--retry-failed asks again for {result.num_no_use})" if result.num_no_use else ""
        usual = f", most often: {result.usual_failure}" if result.usual_failure else ""
        said = f"{result.num_failed} captions are missing{again}; the column error of the tables says why{usual}"
        console.print(said, markup=False, soft_wrap=True)
    if result.check_problem:
        console.print(f"the captions are not checked: {result.check_problem}", markup=False, soft_wrap=True)
    if result.num_train or result.num_val:
        examples = f"{result.num_train} examples to train students and {result.num_val} kept apart"
        console.print(f"{examples}: {result.folder / 'training'}", markup=False, soft_wrap=True)
    if result.num_given:
        console.print(f"{result.num_given} clips have other captions now", markup=False)
    if result.num_own_texts:
        kept = f"{result.num_own_texts} text files beside videos were there before, and are left as they are"
        console.print(kept, markup=False)
    console.print(f"tables: {result.folder / 'tables'}", markup=False, soft_wrap=True)
    console.print(f"report: {result.folder / 'report.html'}", markup=False, soft_wrap=True)
    return code


def _report_estimate(found: "CaptionEstimate", json: bool) -> int:
    if json:
        print_json({"ok": True, "data": dataclasses.asdict(found)})
        return OK
    console = Console(highlight=False)
    asked = ", ".join(f"{number} for {stage}" for stage, number in found.num_requests.items())
    console.print(f"{sum(found.num_requests.values())} questions would be asked: {asked}", markup=False)
    console.print(f"{found.num_frames} pictures would be shown; {found.num_reused} answers are known", markup=False)
    if found.dollars or found.spent_dollars:
        console.print(f"about {found.dollars:.2f} dollars, {found.spent_dollars:.2f} are spent already", markup=False)
    if found.num_unreadable:
        console.print(f"{found.num_unreadable} of {found.num_clips} clips cannot be read", markup=False)
    return OK


def _find(ids: list[str], clip: str) -> str:
    found = [clip_id for clip_id in ids if clip_id.startswith(clip)]
    if clip in found or len(found) == 1:
        return clip if clip in found else found[0]
    if not found:
        raise ValueError(f"clip: expected the id of one of {len(ids)} clips, or its beginning, got {clip!r}")
    raise ValueError(f"clip: {clip!r} begins {len(found)} ids, among them {found[0]} and {found[1]}")


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in row.items()}


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """End a run that is told to terminate as one that is interrupted: what was answered is written into the tables."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
