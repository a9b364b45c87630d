"""``cogvideox models``: what there is, on this machine and on the hub."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cogvideox.cli.output import BAD_CHECKPOINT, OK, StepProgress, print_json

JsonFlag = Annotated[bool, Parameter(negative="")]


def list_models(*, json: JsonFlag = False) -> int:
    """List the embedded and published models and every CogVideoX checkpoint in the hub's cache.

    Parameters
    ----------
    json
        End standard output with one JSON object.
    """
    from cogvideox.checkpoints import hub
    from cogvideox.checkpoints.directory import EMBEDDED

    embedded = {folder.name: folder for folder in EMBEDDED.iterdir() if (folder / "model_index.json").is_file()}
    local = hub.local_models()
    rows = [(name, "in the package", str(folder)) for name, folder in sorted(embedded.items())]
    for name, repository in hub.PUBLISHED.items():
        folder = local.pop(repository, None)
        rows.append((name, repository, "not on this machine" if folder is None else str(folder)))
    rows += [(repository, repository, str(folder)) for repository, folder in local.items()]
    if json:
        names = ("name", "source", "folder")
        print_json({"ok": True, "data": {"models": [dict(zip(names, row, strict=True)) for row in rows]}})
        return OK
    table = Table("model", "source", "on this machine", box=None)
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=True, highlight=False).print(table)
    return OK


def pull(model: str, *, json: JsonFlag = False) -> int:
    """Download a model, or what is missing of it, and check every file's hash.

    Parameters
    ----------
    model
        A published name (2b, 5b, 5b-i2v, 1.5-5b, 1.5-5b-i2v) or a hub id (org/name).
    json
        End standard output with one JSON object.
    """
    from cogvideox.checkpoints import hub

    described = hub.describe(model)
    console = Console(stderr=True, highlight=False)
    console.print(_summary(described), soft_wrap=True, markup=False)
    with StepProgress("megabytes") as progress:
        folder = hub.pull(described, lambda done, total: progress(done // 10**6, max(total // 10**6, 1)))

    from cogvideox.checkpoints.directory import read_configs  # needs torch

    read_configs(folder)
    print(folder, flush=True)
    if json:
        print_json({"ok": True, "data": _description(described) | {"folder": str(folder)}})
    return OK


def info(model: str, *, json: JsonFlag = False) -> int:
    """Say what the hub knows of a model: size, licence, files.

    Parameters
    ----------
    model
        As for pull.
    json
        End standard output with one JSON object.
    """
    from cogvideox.checkpoints import hub

    described = hub.describe(model)
    print(_summary(described))
    for file in described.files:
        print(f"  {file.size_bytes / 1e6:10.1f} MB  {file.name}")
    if json:
        print_json({"ok": True, "data": _description(described)})
    return OK


def verify(model: str, *, json: JsonFlag = False) -> int:
    """Check every file of a pulled model against its hash; needs no network.

    Parameters
    ----------
    model
        As for pull.
    json
        End standard output with one JSON object.
    """
    from cogvideox.checkpoints import hub
    from cogvideox.checkpoints.directory import find_checkpoint, read_configs

    folder = hub.find_local(model) or find_checkpoint(model)
    damaged = hub.damaged_files(folder)
    if not damaged:
        read_configs(folder)
    for name in damaged:
        print(f"damaged: {folder / name}")
    if damaged:
        hint = f"cogvideox models pull {model} fetches them again"
        Console(stderr=True, highlight=False).print(f"error: {len(damaged)} files are damaged; {hint}", soft_wrap=True)
    else:
        print(f"{folder}: all files are whole")
    if json:
        print_json({"ok": not damaged, "data": {"folder": str(folder), "damaged": damaged}})
    return BAD_CHECKPOINT if damaged else OK


def remove(model: str) -> int:
    """Delete a pulled model from this machine.

    Parameters
    ----------
    model
        As for pull.
    """
    from cogvideox.checkpoints import hub

    print(f"{model}: {hub.remove(model) / 1e9:.2f} GB freed")
    return OK


def export(model: str, directory: Path) -> int:
    """Copy a model of this machine into a plain folder, for a machine without a network.

    Parameters
    ----------
    model
        A name, hub id or checkpoint directory.
    directory
        New or empty.
    """
    from cogvideox.checkpoints import hub
    from cogvideox.checkpoints.directory import find_checkpoint, read_configs

    folder = find_checkpoint(model)
    read_configs(folder)
    hub.export(folder, directory)
    print(directory)
    return OK


def _summary(described: Any) -> str:
    num_files, gigabytes = len(described.files), described.size_bytes / 1e9
    return f"{described.repository}: {gigabytes:.2f} GB in {num_files} files, licence: {described.licence}"


def _description(described: Any) -> dict[str, Any]:
    return {
        "repository": described.repository,
        "revision": described.revision,
        "licence": described.licence,
        "size_bytes": described.size_bytes,
        "files": [file.name for file in described.files],
    }
