"""Exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cogvideox.parallel.sharding import like


class WeightAverage:
    """Average of a module's trained parameters in float32; short runs start from a faster average.

    The decay of update n is ``min(decay, (1 + n) / (10 + n))``.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.averages = {name: value.detach().float().clone() for name, value in _trained(module)}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the averages towards the module's present weights."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for name, value in _trained(module):
            self.averages[name].lerp_(value.float(), 1.0 - decay)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the module's weights with the averages; call again to undo."""
        for name, value in _trained(module):
            present = value.detach().clone()
            value.copy_(self.averages[name])
            self.averages[name].copy_(present)

    @contextmanager
    def swapped(self, module: nn.Module) -> Iterator[None]:
        """Give the module the averages inside a block, also if the block fails."""
        self.swap(module)
        try:
            yield
        finally:
            self.swap(module)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return averages and update count."""
        return {"num_updates": self.num_updates, **self.averages}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in state.items():
            if name == "num_updates":
                assert isinstance(value, int)
                self.num_updates = value
            else:
                assert isinstance(value, Tensor)
                self.averages[name].copy_(like(value, self.averages[name]))


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, value) for name, value in module.named_parameters() if value.requires_grad]
