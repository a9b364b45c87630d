"""Low-rank adapters in training: put beside the weights by peft, saved as diffusers reads them.

Method: Hu et al., arXiv 2106.09685.
"""

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from cogvideox.checkpoints.lora import FILE_NAMES, METADATA_KEY
from cogvideox.component_files import move_files
from cogvideox.errors import MissingPackageError
from cogvideox.quantization import quiet_torchao
from cogvideox.training.transformer_recipe import LoraSettings

ADAPTER_NAME = "default"


def add_lora(transformer: nn.Module, settings: LoraSettings) -> None:
    """Freeze a transformer and add trainable adapters to it, in place; at first they change nothing.

    Raises:
        ValueError: no linear layer has one of the names.
        MissingPackageError: peft is not installed.
    """
    try:
        with quiet_torchao():  # peft imports it where it is installed
            from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingPackageError("training adapters needs peft: pip install 'cogvideox[train]'") from None
    names = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    for target in settings.target_modules:
        if not any(name.endswith(f".{target}") or name == target for name in names):
            raise ValueError(f"lora.target_modules: no linear layer of the transformer is named ...{target}")
    transformer.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # pyright: ignore[reportArgumentType] (peft divides it, any number will do)
        target_modules=list(settings.target_modules),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")
        inject_adapter_in_model(config, transformer, adapter_name=ADAPTER_NAME)
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def save_lora(state: dict[str, Tensor], settings: LoraSettings, folder: Path) -> None:
    """Write the adapter of a transformer's state as ``pytorch_lora_weights.safetensors``, float32.

    The layers' names and the metadata (rank, alpha) are those that diffusers writes and reads.
    """
    from safetensors.torch import save_file

    weights = {
        f"transformer.{name.replace(f'.{ADAPTER_NAME}.', '.')}": value.to("cpu", torch.float32).contiguous()
        for name, value in state.items()
        if ".lora_" in name
    }
    alpha = int(settings.alpha) if float(settings.alpha).is_integer() else settings.alpha
    metadata = {"r": settings.rank, "lora_alpha": alpha, "target_modules": sorted(settings.target_modules)}
    text = json.dumps({f"transformer.{key}": value for key, value in metadata.items()}, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".saving-lora"
    temporary.mkdir(exist_ok=True)
    save_file(weights, temporary / FILE_NAMES[0], metadata={"format": "pt", METADATA_KEY: text})
    move_files(temporary, folder)
    temporary.rmdir()
