"""Checkpoints of the Hugging Face hub: what they are, and their copies here, in the cache that all tools share.

Torch-free. ``HF_ENDPOINT`` names a mirror, ``HF_HOME`` another folder, ``HF_HUB_OFFLINE=1`` forbids the network, as
everywhere. A file's name in the cache is its hash, so copies can be verified without the hub.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cogvideox.errors import CheckpointError, FetchError

PUBLISHED = {
    "2b": "zai-org/CogVideoX-2b",
    "5b": "zai-org/CogVideoX-5b",
    "5b-i2v": "zai-org/CogVideoX-5b-I2V",
    "1.5-5b": "zai-org/CogVideoX1.5-5B",
    "1.5-5b-i2v": "zai-org/CogVideoX1.5-5B-I2V",
}
"""Repositories of the published models; those of the former organisation, THUDM, are found by their ids."""

_FOLDERS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
_SUFFIXES = (".json", ".model", ".safetensors")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")

RETRY_PAUSE_S = 1.0
"""Before a broken connection is tried again."""

OnBytes = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes in all."""


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class HubModel:
    """What the hub says of a model, without its weights."""

    repository: str
    revision: str
    """The commit."""
    licence: str
    files: tuple[HubFile, ...]
    """Those that make the checkpoint; other precisions and formats are left out."""

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


def repository_of(model: str) -> str | None:
    """Return the repository of a published name or hub id, None if it is neither."""
    return PUBLISHED.get(model) or (model if _REPOSITORY.fullmatch(model) else None)


def find_local(model: str) -> Path | None:
    """Return the folder of a pulled model on this machine, whole or not; None if there is nothing of it."""
    repository = repository_of(model)
    if repository is None:
        return None
    folder = _repository_folder(repository)
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    snapshot = folder / "snapshots" / revision
    return snapshot if snapshot.is_dir() else None


def local_models() -> dict[str, Path]:
    """Return the CogVideoX checkpoints in the cache by repository."""
    found = {}
    for folder in sorted(_cache_folder().glob("models--*--*")):
        repository = folder.name.removeprefix("models--").replace("--", "/", 1)
        snapshot = find_local(repository)
        if snapshot is not None and _is_cogvideox(snapshot / "model_index.json"):
            found[repository] = snapshot
    return found


def _is_cogvideox(index: Path) -> bool:
    try:
        return "CogVideoX" in json.loads(index.read_text(encoding="utf-8")).get("_class_name", "")
    except (OSError, ValueError, AttributeError):
        return False


def describe(model: str) -> HubModel:
    """Ask the hub what a model is.

    Raises:
        CheckpointError: the name is no repository, or one without a CogVideoX checkpoint.
        FetchError: the hub does not answer.
    """
    repository = repository_of(model)
    if repository is None:
        known = ", ".join(PUBLISHED)
        raise CheckpointError(f"model: expected one of {known} or a hub id such as org/name, got {model!r}")
    from huggingface_hub import HfApi

    with _hub_errors(repository):
        info = HfApi().model_info(repository, files_metadata=True)
    files = tuple(
        HubFile(sibling.rfilename, sibling.size or 0)
        for sibling in info.siblings or []
        if _is_needed(sibling.rfilename)
    )
    if not any(file.name == "model_index.json" for file in files):
        raise CheckpointError(f"{repository}: no model_index.json in it; expected a checkpoint in the diffusers layout")
    card: Any = info.card_data or {}
    licence = card.get("license_name") or card.get("license") or "not stated"
    return HubModel(repository, info.sha or "main", licence, files)


def _is_needed(name: str) -> bool:
    path = PurePosixPath(name)
    if len(path.parts) == 1:
        return name == "model_index.json" or path.stem.upper().startswith("LICENSE")
    has_variant = path.suffix == ".safetensors" and "." in re.sub(r"-\d+-of-\d+$", "", path.stem)
    return len(path.parts) == 2 and path.parts[0] in _FOLDERS and path.suffix in _SUFFIXES and not has_variant


def pull(model: HubModel, on_bytes: OnBytes | None = None) -> Path:
    """Download a model or what is missing or damaged of it, and check every file's hash; return its folder.

    An interrupted download goes on where it stopped. Configurations come first, so a missing shard is noticed before
    any weight is fetched.

    Raises:
        CheckpointError: a shard is missing on the hub, or a file's hash is wrong; that file is removed.
        FetchError: the hub does not answer, or the connection broke.
        OSError: the disk has no space for it.
    """
    from huggingface_hub import hf_hub_download

    snapshot = find_local(model.repository)
    for name in [] if snapshot is None else damaged_files(snapshot):
        assert snapshot is not None
        _delete(snapshot / name)
    _check_space(model)
    num_bytes = 0
    for file in sorted(model.files, key=lambda file: (file.name.endswith(".safetensors"), file.name)):
        if file.name.endswith(".safetensors"):
            assert snapshot is not None
            _check_shards(snapshot, model)
            _fetch_weights(model, file, lambda done, before=num_bytes: _report(on_bytes, before + done, model))
        with _hub_errors(model.repository):
            path = Path(hf_hub_download(model.repository, file.name))
        num_bytes += file.size_bytes
        _report(on_bytes, num_bytes, model)
        snapshot = path.parents[len(PurePosixPath(file.name).parts) - 1]
        if snapshot.name != model.revision:
            raise FetchError(f"{model.repository}: it changed on the hub meanwhile; pull it again")
        if not file.name.endswith(".safetensors") and not _has_right_hash(path):
            _delete(path)
            raise _wrong_hash(model, file)
    assert snapshot is not None
    return snapshot


def _delete(path: Path) -> None:
    """Delete a cached file and the link to it."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _report(on_bytes: OnBytes | None, num_bytes: int, model: HubModel) -> None:
    if on_bytes is not None:
        on_bytes(num_bytes, model.size_bytes)


def _wrong_hash(model: HubModel, file: HubFile) -> CheckpointError:
    return CheckpointError(f"{model.repository}: {file.name} has another hash than the hub says; not kept, pull again")


def _fetch_weights(model: HubModel, file: HubFile, on_bytes: Callable[[int], None]) -> None:
    """Put a file under its hash into the cache, going on where an earlier process stopped.

    The hub's library goes on only within one process: it gives its unfinished files random names.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    url, headers = hf_hub_url(model.repository, file.name), build_hf_headers()
    with _hub_errors(model.repository):
        metadata = get_hf_file_metadata(url)
    assert metadata.etag is not None, "the hub names every file's hash"
    blob = _blob_folder(model.repository) / metadata.etag
    blob.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{blob.name}.partial")
    with WeakFileLock(f"{partial}.lock"):
        if blob.exists():
            return
        with _hub_errors(model.repository):
            _append_rest(url, headers, partial, file.size_bytes, on_bytes)
        if not _has_right_hash(partial, name=blob.name):
            partial.unlink()
            raise _wrong_hash(model, file)
        partial.replace(blob)


def _append_rest(
    url: str, headers: dict[str, str], partial: Path, size_bytes: int, on_bytes: Callable[[int], None]
) -> None:
    """Append what is missing of a file; try again as long as something arrives."""
    from huggingface_hub import get_session
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage] (its HTTP client's)
    from huggingface_hub.utils import hf_raise_for_status

    while True:
        num_before = num_bytes = partial.stat().st_size if partial.exists() else 0
        if num_bytes >= size_bytes:
            return
        wanted = headers | {"Range": f"bytes={num_bytes}-", "Accept-Encoding": "identity"}
        try:
            with get_session().stream("GET", url, headers=wanted, follow_redirects=True) as response:
                hf_raise_for_status(response)
                if response.status_code == 200:  # a server that knows no ranges
                    num_bytes = 0
                with partial.open("ab" if num_bytes else "wb") as target:
                    for chunk in response.iter_raw():
                        num_bytes += target.write(chunk)
                        on_bytes(num_bytes)
        except HTTPError:
            if num_bytes <= num_before:
                raise
            time.sleep(RETRY_PAUSE_S)
        else:
            if num_bytes <= num_before:
                raise ConnectionError("the connection ends before the file does")


def _check_space(model: HubModel) -> None:
    snapshot = find_local(model.repository)
    present = {file.name for file in model.files if snapshot is not None and (snapshot / file.name).is_file()}
    needed = sum(file.size_bytes for file in model.files if file.name not in present)
    needed -= sum(path.stat().st_size for path in _blob_folder(model.repository).glob("*.partial"))
    folder = _cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{model.repository}: {needed / 1e9:.1f} GB are to be fetched, {folder} has {free / 1e9:.1f} GB free; "
            "make space or name another folder by HF_HOME"
        )


def _check_shards(snapshot: Path, model: HubModel) -> None:
    names = {file.name for file in model.files}
    for index in snapshot.glob("*/*.safetensors.index.json"):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(shard for shard in shards if f"{index.parent.name}/{shard}" not in names)
        if missing:
            raise CheckpointError(f"{model.repository}: {index.parent.name}/{missing[0]} is missing on the hub")


def damaged_files(snapshot: Path) -> list[str]:
    """Return the names of a local copy's files whose contents do not have the hash that they had on the hub."""
    files = sorted(path for path in snapshot.rglob("*") if path.is_symlink() or path.is_file())
    return [str(path.relative_to(snapshot)) for path in files if not _has_right_hash(path)]


def _has_right_hash(path: Path, *, name: str | None = None) -> bool:
    """Compare a file with its name in the cache, or another: SHA-256 for large files, git's SHA-1 for others."""
    blob = path.resolve()
    name = name or blob.name
    if not blob.is_file():
        return False
    if re.fullmatch(r"[0-9a-f]{64}", name):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", name):
        digest = hashlib.sha1(f"blob {blob.stat().st_size}\0".encode(), usedforsecurity=False)
    else:  # a mirror that names no hashes
        return True
    with blob.open("rb") as file:
        while chunk := file.read(2**24):
            digest.update(chunk)
    return digest.hexdigest() == name


def remove(model: str) -> int:
    """Delete a local copy; return the bytes freed. Raises CheckpointError if there is none."""
    repository = repository_of(model)
    if repository is None or find_local(model) is None:
        raise CheckpointError(f"model: no copy of {model!r} on this machine")
    folder = _repository_folder(repository)
    size_bytes = sum(path.stat().st_size for path in _blob_folder(repository).iterdir())
    shutil.rmtree(folder)
    return size_bytes


def export(snapshot: Path, directory: Path) -> None:
    """Copy a local model into a plain folder, for another machine or tool. Raises ValueError if that has contents."""
    if directory.exists() and any(directory.iterdir()):
        raise ValueError(f"directory: {directory} is not empty")
    shutil.copytree(snapshot, directory, dirs_exist_ok=True)  # follows the links


def _blob_folder(repository: str) -> Path:
    return _repository_folder(repository) / "blobs"


def _repository_folder(repository: str) -> Path:
    return _cache_folder() / ("models--" + repository.replace("/", "--"))


def _cache_folder() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Turn what the hub's library raises into one line."""
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage] (its HTTP client's)

    try:
        yield
    except (errors.RepositoryNotFoundError, errors.GatedRepoError, errors.HFValidationError):
        raise CheckpointError(f"{repository}: no such model on the hub, or not open to you (HF_TOKEN)") from None
    except errors.RemoteEntryNotFoundError as error:
        raise CheckpointError(f"{repository}: a file is missing on the hub ({_first_line(error)})") from None
    except errors.OfflineModeIsEnabled:
        raise FetchError(
            f"{repository}: HF_HUB_OFFLINE forbids the network, and it is not whole on this machine"
        ) from None
    except (HTTPError, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise FetchError(f"{repository}: the hub does not answer ({_first_line(error)}); try again to go on") from None
    except OSError as error:
        if error.errno is None:  # sizes that do not match, as the library says it
            raise FetchError(f"{repository}: {_first_line(error)}; try again to go on") from None
        raise


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
