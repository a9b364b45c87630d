"""Weights in fewer bits, for models larger than memory. The one file that imports torchao.

Only the linear layers of the transformers' blocks are quantized: 95 % of the weights of 2B, 97 % of 5B. Embeddings,
norms, the first and last layers and the autoencoder keep their precision.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from torch import Tensor, nn

from cogvideox.errors import MissingPackageError

Quantization = Literal["int8"]
"""int8: 8 bits per weight, one scale per output channel; activations keep their precision."""

_OF_BLOCKS = re.compile(r"(^|\.)(transformer_blocks|block)\.\d+\.")
"""Blocks as the expert transformer and T5 name them."""


def check_quantization(quantization: str | None) -> "Quantization | None":
    """Return it. Raises ValueError if it is unknown, ImportError if torchao is not installed."""
    if quantization is None:
        return None
    if quantization not in get_args(Quantization):
        raise ValueError(f"quantization: expected {' or '.join(get_args(Quantization))}, got {quantization!r}")
    _import_torchao()
    return "int8"


def linear_weights_of_blocks(model: nn.Module) -> frozenset[str]:
    """Return the names of the weights to quantize."""
    return frozenset(
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _OF_BLOCKS.search(name)
    )


def quantize(weight: Tensor) -> Tensor:
    """Return a linear layer's weight (out_channels, in_channels) as torchao's int8 tensor, which acts like it."""
    torchao = _import_torchao()
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    torchao.quantize_(layer, torchao.Int8WeightOnlyConfig())
    return layer.weight


def dequantized(weight: Tensor) -> Tensor:
    """Return what a quantized weight stands for; another weight is returned as it is."""
    return weight.dequantize() if is_quantized(weight) else weight


def is_quantized(weight: Tensor) -> bool:
    """Whether a weight is one of torchao's."""
    return type(weight) not in (Tensor, nn.Parameter)


def _import_torchao():  # noqa: ANN202 (a module)
    with quiet_torchao():
        try:
            import torchao.quantization
        except ImportError:
            raise MissingPackageError("int8 weights need torchao: pip install 'cogvideox[int8]'") from None
    return torchao.quantization


@contextmanager
def quiet_torchao() -> Iterator[None]:
    """Silence what torchao says on import: it lists kernels for other machines, which it cannot load."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
