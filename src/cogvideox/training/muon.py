"""Muon: momentum whose matrix updates are made orthogonal, for linear and convolution weights.

Method: K. Jordan et al. 2024, "Muon: an optimizer for hidden layers"; update scale after J. Liu et al. 2025 (arXiv
2502.16982), which lets it share AdamW's learning rate. Reaches the small models' quality in fewer samples than AdamW
(docs/decisions.md).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Quintic iteration whose fixed points have all singular values near 1 (coefficients from the method's publication).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NUM_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Optimizer for weights with two or more dimensions; a convolution counts as (out, in x kernel)."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every weight that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                average = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                direction = weight.grad.lerp(average, group["momentum"])  # Nesterov's look-ahead
                update = orthogonalise(direction.flatten(1)).view_as(weight)
                # An orthogonal (m, n) matrix has elements of size 1 / sqrt(max(m, n)); AdamW's are about 0.2.
                scale = 0.2 * max(weight.shape[0], weight[0].numel()) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)
        return loss


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return the nearest matrix (M, N) with all singular values about 1, by Newton-Schulz iteration."""
    a, b, c = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x
