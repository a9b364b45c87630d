"""Low-rank adapters (LoRA, Hu et al., arXiv 2106.09685): read from the files that are around, added to a transformer.

An adapter adds ``alpha / rank * up @ down`` to the weight of linear layers. Files name layers in several dialects, all
of which become the names that published transformers have.
"""

import json
import re
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cogvideox.component_files import PICKLE_SUFFIXES
from cogvideox.configs import TransformerConfig
from cogvideox.errors import CheckpointError, MissingPackageError
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.quantization import dequantized, quantize, quiet_torchao

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

FILE_NAMES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
"""What is read of a folder: as diffusers and as peft name it."""
METADATA_KEY = "lora_adapter_metadata"
"""Under which diffusers (0.35 and later) keeps peft's configuration in the file's header, as JSON."""

_PREFIXES = ("base_model.model.", "transformer.", "model.diffusion_model.", "diffusion_model.")
_PARTS = {
    ".lora_A.weight": "down",
    ".lora_A.default.weight": "down",
    ".lora_B.weight": "up",
    ".lora_B.default.weight": "up",
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".alpha": "alpha",
}
_UNDERSCORED = re.compile(r"^lora_(?:unet|transformer)_+")


@dataclass(frozen=True)
class LowRankUpdate:
    """What is added to one weight."""

    down: Tensor
    """(r, in_channels)."""
    up: Tensor
    """(out_channels, r)."""
    scale: float
    """alpha / r."""

    def weight(self) -> Tensor:
        """Return the whole update (out_channels, in_channels), float32 at least."""
        dtype = torch.promote_types(self.down.dtype, torch.float32)
        return self.scale * (self.up.to(dtype) @ self.down.to(dtype))


def read_lora(path: str | Path, config: TransformerConfig) -> dict[str, LowRankUpdate]:
    """Read an adapter for a transformer: updates by the layer's name.

    Args:
        path: a safetensors file, or a folder with one, written by diffusers (with or without metadata), peft,
            the SAT exporter or kohya's scripts (``lora_unet__...``).
        config: of the transformer, which need not be in memory.

    Raises:
        CheckpointError: there is no such file, it is damaged or no adapter, or a layer that it names is not in the
            transformer or has another size; nothing is skipped silently.
    """
    path = _find_file(Path(path))
    tensors, metadata = _read_tensors(path)
    with torch.device("meta"):
        modules = _linear_layers(ExpertTransformer(config))
    underscored = {name.replace(".", "_"): name for name in modules}
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        suffix = next((suffix for suffix in _PARTS if key.endswith(suffix)), None)
        if suffix is None:
            raise CheckpointError(f"{path}: {key}: not a tensor of a LoRA adapter for linear layers")
        name = key.removesuffix(suffix)
        if _UNDERSCORED.match(name):
            name = underscored.get(_UNDERSCORED.sub("", name), name)
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        parts[name][_PARTS[suffix]] = tensor
    if not parts:
        raise CheckpointError(f"{path}: no tensors in it")
    return {name: _make_update(name, layer, metadata, modules.get(name), path) for name, layer in parts.items()}


def _find_file(path: Path) -> Path:
    if path.suffix in PICKLE_SUFFIXES:
        raise CheckpointError(f"{path}: expected safetensors; pickled files may run code and are not read")
    if path.is_file():
        return path
    for name in FILE_NAMES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path}: no such file, nor a folder with {' or '.join(FILE_NAMES)}")


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            header = (file.metadata() or {}).get(METADATA_KEY)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {key}: NaN or infinite values; train or download the adapter again")
    peft_config = path.parent / "adapter_config.json"
    text = header
    if header is None and path.name == FILE_NAMES[1] and peft_config.is_file():
        text = peft_config.read_text(encoding="utf-8")
    try:
        values = {} if text is None else json.loads(text)
        return tensors, {key.removeprefix("transformer."): value for key, value in values.items()}
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its metadata is no JSON object ({error})") from None


def _make_update(
    name: str, parts: dict[str, Tensor], metadata: dict[str, object], module: nn.Linear | None, path: Path
) -> LowRankUpdate:
    if module is None:
        raise CheckpointError(f"{path}: {name}: the transformer has no such linear layer")
    missing = {"down", "up"} - parts.keys()
    if missing:
        raise CheckpointError(f"{path}: {name}: its {' and '.join(sorted(missing))} matrix is missing")
    down, up = parts["down"], parts["up"]
    if down.ndim != 2 or up.ndim != 2 or len(down) != up.shape[1] or len(down) == 0:
        raise CheckpointError(f"{path}: {name}: ranks differ, shapes {tuple(down.shape)} and {tuple(up.shape)}")
    if (len(up), down.shape[1]) != tuple(module.weight.shape):
        expected = f"{module.out_features}x{module.in_features}"
        raise CheckpointError(f"{path}: {name}: made for a {len(up)}x{down.shape[1]} weight, this one is {expected}")
    rank = len(down)
    # Without any word on alpha it is the rank, as in diffusers.
    try:
        alpha = float(parts["alpha"]) if "alpha" in parts else _alpha_of(name, metadata, rank)
    except (RuntimeError, TypeError, ValueError, re.error) as error:
        raise CheckpointError(f"{path}: {name}: its alpha is no number ({error})") from None
    scale = alpha / rank**0.5 if metadata.get("use_rslora") else alpha / rank
    return LowRankUpdate(down, up, scale)


def _alpha_of(name: str, metadata: dict[str, object], rank: int) -> float:
    pattern = metadata.get("alpha_pattern")
    if isinstance(pattern, dict):
        for key, value in pattern.items():
            if re.match(rf".*\.{key}$|{key}$", name):
                return float(value)
    alpha = metadata.get("lora_alpha")
    return float(alpha) if isinstance(alpha, int | float) else float(rank)


@torch.no_grad()
def fuse_lora(transformer: ExpertTransformer, updates: dict[str, LowRankUpdate], weight: float = 1.0) -> None:
    """Add an adapter, ``weight`` times, to the transformer's own weights: as fast and small as without."""
    layers = _linear_layers(transformer)
    for name, update in updates.items():
        layer = layers[name]
        plain = dequantized(layer.weight)
        wide = plain.to(torch.promote_types(plain.dtype, torch.float32)) + weight * update.weight().to(plain.device)
        if plain is layer.weight:
            plain.copy_(wide)
        else:
            layer.weight = nn.Parameter(quantize(wide.to(plain.dtype)), requires_grad=False)


@torch.no_grad()
def attach_lora(
    transformer: ExpertTransformer, updates: dict[str, LowRankUpdate], name: str, weight: float = 1.0
) -> None:
    """Add an adapter beside the transformer's weights, by peft, so that it can be weighted anew.

    Raises:
        ImportError: peft is not installed.
        ValueError: the transformer is quantized.
    """
    if any(dequantized(layer.weight) is not layer.weight for layer in _linear_layers(transformer).values()):
        raise ValueError("name: an adapter of quantized weights cannot be weighted later; load it without a name")
    try:
        with quiet_torchao():  # peft imports it where it is installed
            from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingPackageError("live adapters need peft: pip install 'cogvideox[train]'") from None
    ranks = {layer: len(update.down) for layer, update in updates.items()}
    config = LoraConfig(r=next(iter(ranks.values())), rank_pattern=ranks, target_modules=list(updates))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are what is wanted
        inject_adapter_in_model(config, transformer, adapter_name=name)
    adapted = _adapted_layers(transformer)
    for layer, update in updates.items():
        for factor, value in ((adapted[layer].lora_A[name], update.down), (adapted[layer].lora_B[name], update.up)):
            parameter = factor.get_parameter("weight")
            parameter.data = value.to(parameter.device, adapted[layer].get_base_layer().get_parameter("weight").dtype)
        adapted[layer].scaling[name] = weight * update.scale
    for module in adapted.values():
        module.set_adapter(list(module.scaling), inference_mode=True)


def weight_lora(transformer: ExpertTransformer, updates: dict[str, LowRankUpdate], name: str, weight: float) -> None:
    """Change how strongly an attached adapter counts; 0 switches it off."""
    adapted = _adapted_layers(transformer)
    for layer, update in updates.items():
        adapted[layer].scaling[name] = weight * update.scale


def _linear_layers(transformer: nn.Module) -> dict[str, nn.Linear]:
    """Return the transformer's own linear layers by their published names, adapted or not."""
    return {
        name.removesuffix(".base_layer"): module
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in name
    }


def _adapted_layers(transformer: nn.Module) -> "dict[str, LoraLayer]":
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in transformer.named_modules() if isinstance(module, LoraLayer)}
