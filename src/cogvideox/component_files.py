"""One component folder of a checkpoint: ``config.json`` beside safetensors weights, whole or in shards.

Knows files and names, not models: `cogvideox.checkpoints` knows which components make a checkpoint.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cogvideox.configs import ComponentConfig
from cogvideox.errors import CheckpointError

if TYPE_CHECKING:
    import torch

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
FORMAT_VERSION = "0.42.1"
"""The diffusers version whose layout is written."""


class _Component(Protocol):
    config: Any

    def state_dict(self) -> dict[str, Any]: ...


ConfigT = TypeVar("ConfigT", bound=ComponentConfig)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError if it is missing or not an object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file; is this a checkpoint directory in the diffusers layout?"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def component_folder(directory: str | Path, name: str) -> Path:
    """Return ``directory/name`` if it exists, else ``directory`` itself (already a component folder)."""
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such checkpoint directory")
    return directory / name if (directory / name).is_dir() else directory


def read_config(folder: Path, config_class: type[ConfigT]) -> ConfigT:
    """Read ``config.json``. Raises CheckpointError on a missing file, unknown field or value out of range."""
    path = folder / "config.json"
    try:
        return config_class.from_json(read_json(path))
    except CheckpointError:
        raise
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def weight_files(folder: Path, weights_name: str = WEIGHTS_NAME) -> list[Path]:
    """Return the safetensors files of a component: one, or the shards that its index names."""
    index = folder / f"{weights_name}.index.json"
    if index.exists():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index}: no weight_map")
        files = [folder / name for name in sorted(set(weight_map.values()))]
    else:
        files = [folder / weights_name]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file}: missing weights; download the checkpoint again")
    return files


def load_component(
    directory: str | Path,
    name: str,
    model_class: Any,
    config_class: type[ComponentConfig],
    *,
    device: "str | torch.device",
    dtype: "str | torch.dtype",
) -> Any:
    """Build ``model_class(config)`` and fill it, allocating its weights once.

    Raises:
        CheckpointError: files are missing or damaged, or their names or shapes are not the model's.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    folder = component_folder(directory, name)
    config = read_config(folder, config_class)
    resolved_dtype = parse_dtype(dtype)
    with torch.device("meta"):
        model = model_class(config)
    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt", device=str(device)) as reader:
                for key in reader.keys():  # noqa: SIM118 (not a dict)
                    weights[key] = reader.get_tensor(key).to(resolved_dtype)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: damaged weights ({error}); download the checkpoint again") from None
    _check_weights(folder, {key: tuple(value.shape) for key, value in model.state_dict().items()}, weights)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _check_weights(folder: Path, shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Any]) -> None:
    missing = sorted(shapes.keys() - weights.keys())
    unexpected = sorted(weights.keys() - shapes.keys())
    if missing or unexpected:
        parts = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in _named(missing, unexpected) if keys]
        raise CheckpointError(f"{folder}: weights do not fit config.json: {', '.join(parts)}")
    for key, shape in shapes.items():
        if tuple(weights[key].shape) != shape:
            got = tuple(weights[key].shape)
            raise CheckpointError(f"{folder}: weight {key}: config.json expects shape {shape}, the file has {got}")


def _named(missing: list[str], unexpected: list[str]) -> list[tuple[str, list[str]]]:
    return [("missing", missing), ("unexpected", unexpected)]


def save_component(
    model: _Component, directory: str | Path, class_name: str, *, dtype: "torch.dtype | None" = None
) -> None:
    """Write ``config.json`` and one safetensors file, in ``dtype`` if given; readers never see half a file."""
    from safetensors.torch import save_file

    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    header = {"_class_name": class_name, "_diffusers_version": FORMAT_VERSION}
    write_atomically(folder / "config.json", json.dumps(header | model.config.to_json(), indent=2) + "\n")
    weights = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    temporary = folder / (WEIGHTS_NAME + ".tmp")
    save_file(weights, temporary, metadata={"format": "pt"})
    os.replace(temporary, folder / WEIGHTS_NAME)


def parse_dtype(dtype: "str | torch.dtype") -> "torch.dtype":
    """Return the torch dtype of a name. Raises ValueError listing the known names."""
    import torch

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in dtypes:
        raise ValueError(f"dtype: expected one of {', '.join(dtypes)}, got {dtype!r}")
    return dtypes[dtype]
