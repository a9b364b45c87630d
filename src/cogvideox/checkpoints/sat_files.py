"""Files of SAT checkpoints: found, read without running code, and written; and the shards of ours."""

import json
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cogvideox.checkpoints.lora import FILE_NAMES as LORA_NAMES
from cogvideox.checkpoints.sat import PREFIX, is_lora_key
from cogvideox.component_files import PICKLE_SUFFIXES, WEIGHTS_NAME, read_json
from cogvideox.errors import CheckpointError

Format = Literal["diffusers", "sat"]
Part = Literal["transformer", "vae", "lora"]

MODEL_NAME = "mp_rank_00_model_states.pt"
"""Of a transformer, in a folder named after the iteration."""
LATEST_NAME = "latest"
"""Of the text file beside that folder which names it."""
AUTOENCODER_NAME = "3d-vae.pt"
ITERATION = "1"
"""Of what is written: SAT wants a number above 0."""
ALPHA_KEY = "lora_alpha"
"""Beside "module" in an adapter's file that is written here; SAT itself keeps it in its YAML file only."""
MAX_SHARD_BYTES = 5 * 10**9
"""As in the published checkpoints."""

_CLASS_PARTS: dict[object, Part] = {"CogVideoXTransformer3DModel": "transformer", "AutoencoderKLCogVideoX": "vae"}
_WRAPPERS = ("model", "module", "state_dict")


@dataclass(frozen=True)
class Source:
    """What there is to convert."""

    format: Format
    files: dict[Part | None, Path]
    """By part: a pickle, a component folder or an adapter's safetensors file. None: the file's contents will tell."""


def find_source(source: Path) -> Source:
    """Return what a path is.

    Raises:
        CheckpointError: neither a SAT nor a diffusers checkpoint, nor a part of one.
    """
    if source.is_file():
        if source.suffix in PICKLE_SUFFIXES:
            return Source("sat", {None: source})
        if source.suffix == ".safetensors" and any("lora" in key for key in _keys(source)):
            return Source("diffusers", {"lora": source})
        raise CheckpointError(f"{source}: expected a .pt file of SAT, a LoRA in safetensors, or a checkpoint's folder")
    if not source.is_dir():
        raise CheckpointError(f"{source}: no such file or folder")
    if (source / "model_index.json").is_file():
        return Source("diffusers", {"transformer": source / "transformer", "vae": source / "vae"})
    if (source / "config.json").is_file():
        name = read_json(source / "config.json").get("_class_name")
        if name not in _CLASS_PARTS:
            raise CheckpointError(
                f"{source}/config.json: _class_name: expected {' or '.join(map(str, _CLASS_PARTS))}, got {name!r}"
            )
        return Source("diffusers", {_CLASS_PARTS[name]: source})
    lora = next((source / name for name in LORA_NAMES if (source / name).is_file()), None)
    if lora is not None:
        return Source("diffusers", {"lora": lora})
    files = _find_sat_files(source)
    if files:
        return Source("sat", files)
    raise CheckpointError(
        f"{source}: no checkpoint in it: expected {LATEST_NAME} or {AUTOENCODER_NAME} of SAT, or model_index.json or "
        "config.json"
    )


def _find_sat_files(folder: Path) -> dict[Part | None, Path]:
    if (folder / LATEST_NAME).is_file():
        return {None: _latest_file(folder)}
    if (folder / MODEL_NAME).is_file():
        return {None: folder / MODEL_NAME}
    files: dict[Part | None, Path] = {}
    if (folder / "transformer" / LATEST_NAME).is_file():
        files["transformer"] = _latest_file(folder / "transformer")
    for place in (folder / "vae", folder):
        if (place / AUTOENCODER_NAME).is_file():
            files.setdefault("vae", place / AUTOENCODER_NAME)
    return files


def _latest_file(folder: Path) -> Path:
    iteration = (folder / LATEST_NAME).read_text(encoding="utf-8", errors="replace").strip()
    if re.fullmatch(r"[\w-]+", iteration) is None:
        raise CheckpointError(
            f"{folder / LATEST_NAME}: expected the name of a folder beside it, got {iteration[:40]!r}"
        )
    file = folder / iteration / MODEL_NAME
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file, but {folder / LATEST_NAME} names {iteration!r}")
    if (file.parent / MODEL_NAME.replace("00", "01")).is_file():
        raise CheckpointError(f"{file.parent}: split between model-parallel ranks; merge it with SAT first")
    return file


def _keys(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as reader:
            return list(reader.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a readable safetensors file ({error})") from None


def read_pickle(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a SAT file, mapped from disk: its tensors, and what else it holds.

    Only plain values, tensors and, because SAT saves the state of numpy's random numbers too, numpy arrays are read.

    Raises:
        CheckpointError: it is damaged, needs code to run, or holds something else.
    """
    rebuild = np.zeros(1).__reduce__()[0]
    of_random_state = [rebuild, (rebuild, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype]
    try:
        with torch.serialization.safe_globals([*of_random_state, type(np.dtype("uint32"))]):
            contents = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise CheckpointError(f"{file}: a pickle that would run code{what} or is damaged; it is not read") from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = (
            "an old format without a zip archive, or no torch file" if "mmap can only" in str(error) else str(error)
        )
        raise CheckpointError(f"{file}: damaged, or not written by torch.save ({reason.splitlines()[0]})") from None
    state, rest = contents, {}
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            rest |= {key: value for key, value in state.items() if key != wrapper}
            state = state[wrapper]
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{file}: expected named tensors, under {' or '.join(map(repr, _WRAPPERS))} or not")
    for key, value in state.items():
        if not (isinstance(key, str) and isinstance(value, Tensor)):
            raise CheckpointError(f"{file}: {key}: expected a tensor, got {type(value).__name__}")
    return {key: value.detach() for key, value in state.items()}, rest


def part_of(state: Iterable[str], file: Path) -> Part:
    """Return what the tensors of a SAT file are, by their names. Raises CheckpointError if they are none of ours."""
    keys = list(state)
    if any(is_lora_key(key) for key in keys):
        return "lora"
    if any(key.startswith(PREFIX) for key in keys):
        return "transformer"
    if any(key.startswith(("encoder.", "decoder.")) for key in keys):
        return "vae"
    raise CheckpointError(f"{file}: neither {PREFIX}... nor encoder. and decoder. among its tensors, first {keys[0]}")


def write_pickle(part: Part, tensors: Mapping[str, Tensor], folder: Path, *, lora_alpha: float | None = None) -> int:
    """Write a part as SAT reads it; returns the bytes of its tensors.

    Raises:
        OSError: no space.
    """
    if part == "vae":
        file, contents = folder / AUTOENCODER_NAME, {"state_dict": dict(tensors)}
        folder.mkdir(parents=True, exist_ok=True)
    else:
        file, contents = folder / ITERATION / MODEL_NAME, {"module": dict(tensors)}
        file.parent.mkdir(parents=True)
        (folder / LATEST_NAME).write_text(ITERATION, encoding="utf-8")
    try:
        torch.save(contents if lora_alpha is None else contents | {ALPHA_KEY: lora_alpha}, file)
    except RuntimeError as error:  # torch's writer of zip archives has no other
        raise OSError(f"{file.name}: not written, is the disk full? {str(error).splitlines()[0]}") from None
    return sum(value.nbytes for value in tensors.values())


def write_safetensors(tensors: Mapping[str, Tensor], file: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file that others may read. Raises OSError if there is no space."""
    try:
        save_file(dict(tensors), file, metadata={"format": "pt", **(metadata or {})})
    except SafetensorError as error:
        raise OSError(f"{file.name}: not written, is the disk full? {error}") from None
    file.chmod(0o644)  # safetensors writes files that only their owner may read


def write_shards(tensors: Iterable[tuple[str, Tensor]], folder: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> int:
    """Write weights as they come: one file, or shards and their index, of which one is in memory at a time.

    Args:
        tensors: names and values.
        folder: of the component; it holds no weights yet.
        max_shard_bytes: of tensors in a file, unless a single one is larger.

    Returns:
        The bytes of all tensors.

    Raises:
        OSError: no space.
    """
    stem = WEIGHTS_NAME.removesuffix(".safetensors")
    shards: list[list[str]] = []
    shard: dict[str, Tensor] = {}
    num_bytes = total_bytes = 0

    def write() -> None:
        shards.append(list(shard))
        write_safetensors(shard, folder / f"{len(shards)}.safetensors")
        shard.clear()

    for key, value in tensors:
        if shard and num_bytes + value.nbytes > max_shard_bytes:
            write()
            num_bytes = 0
        shard[key] = value.contiguous()
        num_bytes += value.nbytes
        total_bytes += value.nbytes
    write()
    if len(shards) == 1:
        (folder / "1.safetensors").rename(folder / WEIGHTS_NAME)
        return total_bytes
    weight_map: dict[str, str] = {}
    for number, keys in enumerate(shards, 1):
        name = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"{number}.safetensors").rename(folder / name)
        weight_map |= dict.fromkeys(keys, name)
    index = {"metadata": {"total_size": total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / f"{WEIGHTS_NAME}.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return total_bytes
