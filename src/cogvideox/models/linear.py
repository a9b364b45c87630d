"""Linear layers without gradients on CPUs with bfloat16 products: the weight laid out for the product beforehand.

oneDNN lays out weights for its kernels; told to do so first, it chooses a product up to a tenth faster for thousands of
tokens, which pays for doing it at every call, so nothing needs to be kept (docs/decisions.md).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.models.reused_memory import computes_in_place

GeluForm = Literal["tanh", "none"]
"""The approximation, named as by `torch.nn.functional.gelu`."""

MIN_ROWS = 1024
"""With fewer, laying the weight out takes longer than it saves."""


def prepare_linear(layer: nn.Module, x: Tensor, *, gelu: GeluForm | None = None) -> Callable[[Tensor], Tensor]:
    """Return ``layer``, followed by a GELU if asked for, as the function that is fastest for ``x``.

    Args:
        layer: a linear layer, or what an adapter or quantization has put in its place, which is then called as it is.
        x: (..., in_channels), what it will be called with, at once or in blocks.
        gelu: the form of the activation; None for none.
    """
    if not _is_laid_out_faster(layer, x):
        return layer if gelu is None else lambda block: functional.gelu(layer(block), approximate=gelu)
    assert isinstance(layer, nn.Linear)
    num_rows = x.numel() // x.shape[-1]
    weight = layer.weight
    if num_rows >= MIN_ROWS:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), num_rows)
    # One pass less over the result, and with an activation one rounding less.
    operation = ("none", [], "") if gelu is None else ("gelu", [], gelu)
    return lambda block: torch.ops.mkldnn._linear_pointwise(block, weight, layer.bias, *operation)


def _is_laid_out_faster(layer: nn.Module, x: Tensor) -> bool:
    return (
        computes_in_place(x)
        and x.dtype == torch.bfloat16
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        # Exactly these types: adapters and quantized weights bring their own products.
        and type(layer) is nn.Linear
        and type(layer.weight) is nn.Parameter
        and layer.weight.dtype == torch.bfloat16
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )
