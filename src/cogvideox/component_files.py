"""One component folder of a checkpoint: ``config.json`` beside safetensors weights, whole or in shards.

Knows files and names, not models: `cogvideox.checkpoints` knows which components make a checkpoint.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cogvideox.configs import ComponentConfig
from cogvideox.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cogvideox.quantization import Quantization

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS_NAME = "model.safetensors"
"""The same of a text encoder, as transformers names it."""
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
BLOCK_ELEMENTS = 2**20
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
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def component_folder(directory: str | Path, name: str) -> Path:
    """Return ``directory/name`` if it exists, else ``directory`` itself (already a component folder)."""
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such checkpoint directory")
    return directory / name if (directory / name).is_dir() else directory


def read_config(path: Path, config_class: type[ConfigT]) -> ConfigT:
    """Read a component's config file. Raises CheckpointError on a missing file, unknown field or wrong value."""
    try:
        return config_class.from_json(read_json(path))
    except CheckpointError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def weight_files(folder: Path, weights_name: str = WEIGHTS_NAME, variant: str | None = None) -> list[Path]:
    """Return the safetensors files of a component: one, or the shards that its index names.

    Args:
        folder: of the component.
        weights_name: of the plain file.
        variant: which of several precisions (``NAME.fp16.safetensors``), from `find_variant`; None is the plain one.

    Raises:
        CheckpointError: there is none, or a shard is missing.
    """
    dotted = "" if variant is None else f".{variant}"
    index = folder / f"{weights_name}.index{dotted}.json"
    if index.exists():
        weight_map = read_json(index).get("weight_map")
        names = list(weight_map.values()) if isinstance(weight_map, dict) else []
        if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
            raise CheckpointError(f"{index}: weight_map: expected the file of every weight, in this folder")
        files = [folder / name for name in sorted(set(names))]
    else:
        files = [folder / f"{weights_name.removesuffix('.safetensors')}{dotted}.safetensors"]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file}: missing weights; {_advice(folder)}")
    return files


def find_variant(folder: Path, weights_name: str = WEIGHTS_NAME, wanted: str | None = None) -> str | None:
    """Return the variant to read: the wanted one if it is there, else plain files (None), else the only variant.

    Raises:
        CheckpointError: there are several variants, none of them wanted, and no plain files.
    """
    stem = weights_name.removesuffix(".safetensors")
    names = [file.name.removeprefix(f"{stem}.") for file in folder.glob(f"{stem}.*.safetensors")]
    variants = sorted({re.sub(r"-\d{5}-of-\d{5}$", "", name.removesuffix(".safetensors")) for name in names})
    if wanted in variants:
        return wanted
    has_plain_files = (folder / weights_name).exists() or (folder / f"{weights_name}.index.json").exists()
    if has_plain_files or not variants:
        return None
    if len(variants) > 1 or wanted is not None:
        raise CheckpointError(f"{folder}: no plain weights, only the variants {', '.join(variants)}: name one of them")
    return variants[0]


def _advice(folder: Path) -> str:
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if pickles:
        return f"{pickles[0]} is a pickle file, which can run code when it is read: convert it to safetensors"
    return "download the checkpoint again"


def read_weights(file: Path) -> "Iterator[tuple[str, torch.Tensor]]":
    """Yield names and tensors of a safetensors file, mapped from disk: a tensor that is let go takes no memory.

    Raises:
        CheckpointError: the file is damaged, or a tensor has NaN or infinite values.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as reader:
            keys = list(reader.keys())
        for key in keys:
            # Opened for each: what one mapping has read stays in memory until all its tensors are let go.
            with safe_open(file, framework="pt") as reader:
                value = reader.get_tensor(key)
                is_wide = value.is_floating_point() and value.element_size() > 1  # torch cannot test 8-bit floats
                # In blocks: temporary results of a weight's size would stay with malloc, gigabytes in the end.
                if is_wide and not all(torch.isfinite(block).all() for block in value.flatten().split(BLOCK_ELEMENTS)):
                    raise CheckpointError(
                        f"{file}: weight {key}: NaN or infinite values; download the checkpoint again"
                    )
                yield key, value
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: damaged weights ({error}); download the checkpoint again") from None


def load_component(
    directory: str | Path,
    name: str,
    model_class: Any,
    config_class: type[ComponentConfig],
    *,
    device: "str | torch.device",
    dtype: "str | torch.dtype",
    variant: str | None = None,
    quantization: "Quantization | None" = None,
    is_ignored: Callable[[str], bool] = lambda key: False,
) -> Any:
    """Build ``model_class(config)`` and fill it, allocating its weights once; leaves out keys that are ignored.

    Raises:
        CheckpointError: files are missing or damaged, or their names or shapes are not the model's.
    """
    import torch

    folder = component_folder(directory, name)
    config = read_config(folder / "config.json", config_class)
    with torch.device("meta"):
        model = model_class(config)
    files = weight_files(folder, variant=find_variant(folder, wanted=variant))
    weights = (pair for file in files for pair in read_weights(file) if not is_ignored(pair[0]))
    resolved_dtype = parse_dtype(dtype)
    fill_model(model, weights, files, device=device, dtype_of=lambda key: resolved_dtype, quantization=quantization)
    return model.eval()


def fill_model(
    model: "nn.Module",
    weights: "Iterable[tuple[str, torch.Tensor]]",
    files: list[Path],
    *,
    device: "str | torch.device",
    dtype_of: "Callable[[str], torch.dtype]",
    quantization: "Quantization | None" = None,
) -> None:
    """Give a model on the meta device its weights, each converted as it comes.

    Args:
        model: the same names and shapes are expected.
        weights: names and tensors.
        files: where they come from, for the message of an error.
        device: of the weights.
        dtype_of: by the weight's name.
        quantization: how the linear layers of the blocks are kept.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    from cogvideox.quantization import linear_weights_of_blocks, quantize

    where = files[0] if len(files) == 1 else files[0].parent
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    quantized = frozenset() if quantization is None else linear_weights_of_blocks(model)
    filled: dict[str, torch.Tensor] = {}
    for key, value in weights:
        if key not in shapes:
            raise CheckpointError(f"{where}: unexpected weight {key}: config.json describes a model without it")
        if tuple(value.shape) != shapes[key]:
            got = tuple(value.shape)
            raise CheckpointError(f"{where}: weight {key}: config.json expects shape {shapes[key]}, the file has {got}")
        converted = value.to(device=device, dtype=dtype_of(key))
        filled[key] = quantize(converted) if key in quantized else converted
    missing = [key for key in shapes if key not in filled]
    if missing:
        raise CheckpointError(
            f"{where}: {len(missing)} weights are missing that config.json asks for, first {missing[0]}"
        )
    model.load_state_dict(filled, assign=True)


def save_component(
    model: _Component, directory: str | Path, class_name: str, *, dtype: "torch.dtype | None" = None
) -> None:
    """Write ``config.json`` and one safetensors file, in ``dtype`` if given; readers never see half a file.

    Raises:
        ValueError: the weights are quantized, which the format cannot hold.
    """
    from safetensors.torch import save_file

    from cogvideox.quantization import is_quantized

    quantized = [key for key, value in model.state_dict().items() if is_quantized(value)]
    if quantized:
        raise ValueError(
            f"model: expected plain weights, got int8 ones ({quantized[0]} and {len(quantized) - 1} others), which a "
            "checkpoint cannot hold; load the model without quantization and save that"
        )
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    header = {"_class_name": class_name, "_diffusers_version": FORMAT_VERSION}
    weights = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        save_file(weights, Path(temporary) / WEIGHTS_NAME, metadata={"format": "pt"})
        text = json.dumps(header | model.config.to_json(), indent=2) + "\n"
        (Path(temporary) / "config.json").write_text(text, encoding="utf-8")
        # Shards of an earlier model would be read before the new file.
        stem = WEIGHTS_NAME.removesuffix(".safetensors")
        for stale in (folder / f"{WEIGHTS_NAME}.index.json", *folder.glob(f"{stem}-*-of-*.safetensors")):
            stale.unlink(missing_ok=True)
        move_files(Path(temporary), folder)


def move_files(source: Path, folder: Path) -> None:
    """Move finished files into a folder of the same file system, each replacing one of its name; the config last."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda file: (file.suffix == ".json", file.name)):
        file.chmod(0o644)  # safetensors writes files that only their owner may read
        os.replace(file, folder / file.name)


def parse_dtype(dtype: "str | torch.dtype") -> "torch.dtype":
    """Return the torch dtype of a name. Raises ValueError listing the known names."""
    import torch

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in dtypes:
        raise ValueError(f"dtype: expected one of {', '.join(dtypes)}, got {dtype!r}")
    return dtypes[dtype]
