"""Activation functions by the names of the checkpoint format."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from cogvideox.configs import ActivationName

ACTIVATIONS: dict[ActivationName, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "mish": functional.mish,
}
