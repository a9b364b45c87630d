"""SHA-256 of a model's files: what a checkpoint of a job belongs to, and whether weights have rotted on the disk."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from cogvideox.checkpoints.hub import damaged_files
from cogvideox.durable_files import read_json, replace_text
from cogvideox.errors import CheckpointError

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")


def digests_of(directory: Path, cache_folder: Path) -> dict[str, str]:
    """Return one SHA-256 for each part of a checkpoint, and ``model`` for all of it.

    Args:
        directory: in the diffusers layout.
        cache_folder: where the digests are noted, to be compared the next time.

    Raises:
        CheckpointError: a file's content has changed while its size and time have not, or it is not what was pulled;
            the message names it.
    """
    if damaged := damaged_files(directory):
        raise CheckpointError(f"{directory / damaged[0]}: damaged; cogvideox models pull fetches it again")
    noted_path = cache_folder / "weights" / f"{hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:32]}.json"
    noted, found = read_json(noted_path) or {}, {}
    parts: dict[str, str] = {}
    for part in PARTS:
        of_part = hashlib.sha256()
        for path in sorted((directory / part).glob("*")):
            if not path.is_file():
                continue
            name, status = f"{part}/{path.name}", path.stat()
            sha256 = _sha256(path)
            found[name] = {"num_bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
            _compare(path, found[name], noted.get(name))
            of_part.update(f"{name} {sha256}\n".encode())
        parts[part] = of_part.hexdigest()
    if found != noted:
        with contextlib.suppress(OSError):  # what cannot be noted cannot be compared
            noted_path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(noted_path, json.dumps(found, indent=1))
    everything = "\n".join(f"{part} {digest}" for part, digest in parts.items())
    return parts | {"model": hashlib.sha256(everything.encode()).hexdigest()}


def _compare(path: Path, found: Mapping[str, object], noted: object) -> None:
    if not isinstance(noted, Mapping) or noted == found:
        return
    if all(noted.get(name) == found[name] for name in ("num_bytes", "mtime_ns")):
        raise CheckpointError(f"{path}: its content has changed on the disk by itself; put the file back from a copy")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
