"""Low-rank adapters (LoRA) of models that are kept as they are, in peft's files."""

import copy
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cogvideox.data.captioning.chat_backbone import ChatBackbone
from cogvideox.data.libraries import peft
from cogvideox.data.low_rank import ADAPTER, ADAPTER_NAMES, LowRankSettings


def new_adapter(backbone: ChatBackbone, settings: LowRankSettings) -> Any:
    """Put a new adapter, which changes nothing yet, on a model, in place; return it as peft holds it.

    Raises:
        ValueError: it has no blocks to adapt.
        MissingPackageError: peft is not installed.
    """
    config = peft().LoraConfig(
        r=settings.rank,
        lora_alpha=int(settings.alpha) if float(settings.alpha).is_integer() else settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=backbone.block_layers(has_mlp=settings.has_mlp),
        base_model_name_or_path=backbone.settings.source,
    )
    with _quiet_peft():
        adapted = peft().get_peft_model(backbone.model, config)
    # Not the folder that it happens to lie in on this machine.
    adapted.peft_config[ADAPTER].base_model_name_or_path = backbone.settings.source
    return adapted


def write_adapter(adapted: Any, folder: Path) -> None:
    """Write what `new_adapter` returned into a folder, where ``PeftModel.from_pretrained`` finds it."""
    from safetensors.torch import save_file

    state = peft().get_peft_model_state_dict(adapted, save_embedding_layers=False)
    tensors = {name: value.detach().to("cpu").contiguous() for name, value in state.items()}
    save_file(tensors, folder / ADAPTER_NAMES[0], metadata={"format": "pt"})
    config = copy.copy(adapted.peft_config[ADAPTER])
    config.inference_mode = True  # as peft itself writes it
    config.save_pretrained(folder)


def put_adapter(backbone: ChatBackbone, folder: Path) -> Any:
    """Put an adapter from a folder on a model, in place; return it as peft holds it.

    Raises:
        ValueError: it is damaged, or of another model.
        MissingPackageError: peft is not installed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    library = peft()
    try:
        with _quiet_peft():
            adapted = library.PeftModel(backbone.model, library.LoraConfig.from_pretrained(folder))
        adapter = load_file(folder / ADAPTER_NAMES[0])
        expected = library.get_peft_model_state_dict(adapted, save_embedding_layers=False)
        if set(adapter) != set(expected):
            other = sorted(set(adapter) ^ set(expected))
            raise ValueError(f"{len(other)} weights do not fit {backbone.settings.source}, first {other[0]}")
        library.set_peft_model_state_dict(adapted, adapter)
    except (SafetensorError, RuntimeError, TypeError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"adapter {folder}: no usable one ({error}); train it again") from None
    return adapted.requires_grad_(False).eval()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Silence what transformers and peft say to each other, and nobody else can mend: names, and layers of GPT-2."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*base_model_name_or_path. was renamed", UserWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.* is deprecated", FutureWarning)
        yield
