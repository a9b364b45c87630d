"""Muon: momentum whose matrix updates are made orthogonal, for linear and convolution weights.

Method: K. Jordan et al. 2024, "Muon: an optimizer for hidden layers"; update scale after J. Liu et al. 2025 (arXiv
2502.16982), which lets it share AdamW's learning rate. Reaches the small models' quality in fewer samples than AdamW
(docs/decisions.md).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cogvideox.parallel.sharding import replicated_like, whole_tensor

# Quintic iteration whose fixed points have all singular values near 1 (coefficients from the method's publication).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NUM_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Optimizer for weights with two or more dimensions; a convolution counts as (out, in x kernel).

    ``dtype`` is that of the matrix iteration; bfloat16 is precise enough and the faster one where it is native.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every weight that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            # Weights of one shape share the iteration's matrix products: many small ones would waste the machine.
            by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[weight.shape[0], weight[0].numel()].append(weight)
            for shape, weights in by_shape.items():
                directions = [whole_tensor(self._direction(weight, group["momentum"])).flatten(1) for weight in weights]
                updates = orthogonalise(torch.stack(directions).to(self.dtype))
                # An orthogonal (m, n) matrix has elements of size 1 / sqrt(max(m, n)); AdamW's are about 0.2.
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for weight, update in zip(weights, updates.to(weights[0].dtype), strict=True):
                    part = replicated_like(update.view(weight.shape), weight)
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(part, alpha=-rate)
        return loss

    def _direction(self, weight: Tensor, momentum: float) -> Tensor:
        average = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        assert weight.grad is not None
        average.lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(average, momentum)  # Nesterov's look-ahead


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return the nearest matrices (..., M, N) with all singular values about 1, by Newton-Schulz iteration."""
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


def make_optimizers(
    module: nn.Module,
    is_hidden: Callable[[str, nn.Parameter], bool],
    *,
    learning_rate: float,
    weight_decay: float,
    dtype: torch.dtype,
    betas: tuple[float, float] = (0.9, 0.99),
    eps: float = 1e-8,
) -> tuple[Muon, torch.optim.AdamW]:
    """Return Muon for the parameters that ``is_hidden`` (name, parameter) picks and AdamW for all others."""
    hidden = [parameter for name, parameter in module.named_parameters() if is_hidden(name, parameter)]
    others = [parameter for name, parameter in module.named_parameters() if not is_hidden(name, parameter)]
    muon = Muon(hidden, learning_rate=learning_rate, weight_decay=weight_decay, dtype=dtype)
    return muon, torch.optim.AdamW(others, lr=learning_rate, betas=betas, eps=eps, weight_decay=0.0)
