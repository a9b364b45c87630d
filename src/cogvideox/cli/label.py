"""``cogvideox label``: people say what is bad about clips, on a local page; and what they said, in and out."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Column, Table

from cogvideox.cli.output import OK, print_json, warnings_shown

DEFAULT_PORT = 8421

Flag = Annotated[bool, Parameter(negative="")]
Columns = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]


def label(
    dataset: Path,
    *,
    annotator: str = "",
    order: Literal["stratified", "uncertain", "random"] = "stratified",
    strata: Columns = None,
    overlap_share: float = 0.1,
    repeat_share: float = 0.05,
    seed: int = 0,
    labels: Path | None = None,
    port: int = DEFAULT_PORT,
    host: str = "127.0.0.1",
    no_browser: Flag = False,
) -> int:
    """Label clips on a page in the browser: keys 1 to 6, and every key press is saved at once.

    The page is for this machine, and for any number of annotators. Start it again to go on. Ctrl-C ends it.

    Parameters
    ----------
    dataset
        A folder that cogvideox curate made (dropped clips too), a training set, or a folder of videos.
    annotator
        Name that the answers go under (default: the page asks).
    order
        Equal shares of all kinds of clips, those first that a classifier is unsure of, or random.
    strata
        Measured columns whose ranges make up the kinds, for example motion.peak_speed text.area.
    overlap_share
        Of all clips, that every annotator is asked about.
    repeat_share
        Of all clips, that come again unannounced.
    seed
        Of the order.
    labels
        Folder of answers (default: labels, in the dataset; a training set in a curation shares the curation's).
    port
        Of the page; 0 takes any free one.
    host
        Address to listen on. Other machines reach the page only if it is not 127.0.0.1, and with the printed token.
    no_browser
        Only print the address.
    """
    from cogvideox.data.labelling.answer import check_annotator
    from cogvideox.data.labelling.dataset import open_dataset
    from cogvideox.data.labelling.guard import kept_token
    from cogvideox.data.labelling.sampling import DEFAULT_STRATA, QueueSettings
    from cogvideox.data.labelling.server import is_loopback, listen, make_app, serve
    from cogvideox.data.labelling.session import Labelling
    from cogvideox.data.labelling.shelf import ClipShelf

    if annotator:
        check_annotator(annotator)
    settings = QueueSettings(
        order=order,
        strata=DEFAULT_STRATA if strata is None else tuple(strata),
        overlap_share=overlap_share,
        repeat_share=repeat_share,
        seed=seed,
    )
    console = Console(highlight=False)
    with warnings_shown(Console(stderr=True, highlight=False)):
        opened = open_dataset(dataset)
        if strata is not None:
            _check_columns(strata, list(opened.values))
        folder = opened.labels_folder if labels is None else labels
        labelling = Labelling(opened, folder, settings)
        shelf = ClipShelf(opened, folder / ".cache")
        listener = listen(host, port)
        token = "" if is_loopback(host) else kept_token(folder)
        app = make_app(labelling, shelf, annotator=annotator, host=host, token=token)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")
        console.print(f"{len(opened.clips)} clips of {dataset}; answers go to {folder}", markup=False, soft_wrap=True)
        console.print(f"open {address}", markup=False, soft_wrap=True)
        console.print("Ctrl-C ends it; nothing is lost.", markup=False)
        console.file.flush()
        if not no_browser:
            _open_browser(address)
        try:
            serve(app, listener)
        except KeyboardInterrupt:
            console.print(f"\nanswers are in {folder}", markup=False, soft_wrap=True)
    return OK


def export(dataset: Path, out: Path, *, labels: Path | None = None, json: Flag = False) -> int:
    """Write all answers as one file, .csv or .jsonl.

    Parameters
    ----------
    dataset
        That was labelled.
    out
        File to write; its name ends with .csv or .jsonl.
    labels
        Folder of answers, if it is not the dataset's own.
    json
        End standard output with one JSON object.
    """
    from cogvideox.data.labelling.exchange import export_answers

    with warnings_shown(Console(stderr=True, highlight=False)):
        num_answers = export_answers(_folder(dataset, labels), out)
    _report(f"{num_answers} answers written to {out}", {"out": str(out), "num_answers": num_answers}, json)
    return OK


def import_(dataset: Path, file: Path, *, labels: Path | None = None, json: Flag = False) -> int:
    """Add the answers of a .csv or .jsonl file; nothing is added if a line is wrong.

    Parameters
    ----------
    dataset
        That the answers are about. A clip_id may also be the name or the SHA-256 of a source, for all of its clips.
    file
        With the columns or fields that export writes.
    labels
        Folder of answers, if it is not the dataset's own.
    json
        End standard output with one JSON object.
    """
    from cogvideox.data.labelling.exchange import import_answers

    with warnings_shown(Console(stderr=True, highlight=False)):
        num_new, num_known = import_answers(file, _folder(dataset, labels))
    known = f", {num_known} were there already" if num_known else ""
    _report(f"{num_new} answers added{known}", {"num_new": num_new, "num_known": num_known}, json)
    return OK


def agreement(dataset: Path, *, labels: Path | None = None, json: Flag = False) -> int:
    """Print how far the annotators agree with one another, and with themselves on clips that came twice.

    Parameters
    ----------
    dataset
        That was labelled.
    labels
        Folder of answers, if it is not the dataset's own.
    json
        End standard output with one JSON object instead of a table.
    """
    from cogvideox.data.labelling.agreement import agreement as compare
    from cogvideox.data.labelling.answers import read_answers, resolve
    from cogvideox.data.labelling.dataset import open_dataset
    from cogvideox.data.labelling.labels import LABELS

    with warnings_shown(Console(stderr=True, highlight=False)):
        folder = _folder(dataset, labels)
        opened = open_dataset(dataset)
        answers = resolve(read_answers(folder), opened.clip_rows, opened.source_rows)
    if not answers:
        raise ValueError(f"{folder}: holds no answers yet; run cogvideox label {dataset}, or import some")
    found = compare(answers)
    if json:
        rows = [
            {name: None if value != value else value for name, value in dataclasses.asdict(row).items()}
            for row in found.labels
        ]
        print_json({"ok": True, "data": dataclasses.asdict(found) | {"labels": rows}})
        return OK
    console = Console(highlight=False)
    people = ", ".join(f"{name} {num}" for name, num in found.annotators.items())
    console.print(f"{found.num_clips} clips answered ({people}), {found.num_shared} by two or more", markup=False)
    table = Table(Column("label", no_wrap=True), "marked", "by 2+", "agree", "alpha", "twice", "same")
    for row in found.labels:
        table.add_row(
            LABELS[row.label].title,
            f"{row.num_positive}/{row.num_judged}",
            str(row.num_clips),
            _percent(row.agreement),
            "-" if row.alpha != row.alpha else f"{row.alpha:.2f}",
            str(row.num_repeats),
            _percent(row.self_agreement),
        )
    console.print(table)
    return OK


def _open_browser(address: str) -> None:
    """Open the page where there is a screen: without, a browser for terminals would take this one."""
    import webbrowser

    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def _check_columns(strata: list[str], known: list[str]) -> None:
    import difflib

    for name in strata:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ValueError(f"--strata: {name!r} is not measured; {hint}known: {', '.join(sorted(known)) or 'none'}")


def _folder(dataset: Path, labels: Path | None) -> Path:
    from cogvideox.data.labelling.dataset import labels_folder_of

    if not dataset.is_dir():
        raise ValueError(f"dataset: no such folder: {dataset}")
    return labels_folder_of(dataset) if labels is None else labels


def _report(text: str, data: dict[str, object], is_json: bool) -> None:
    if is_json:
        print_json({"ok": True, "data": data})
    else:
        Console(highlight=False).print(text, markup=False, soft_wrap=True)


def _percent(share: float) -> str:
    return "-" if share != share else f"{share:.0%}"
