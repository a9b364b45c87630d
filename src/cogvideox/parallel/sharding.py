"""A model whose weights are spread over the processes of a data-parallel run (FSDP2), and its state as a whole.

The whole state is the same however many processes there are, so a run can go on with another number of them.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

from cogvideox.parallel.world import World


def shard_model(
    model: nn.Module, groups: Iterable[Sequence[nn.Module]], world: World, *, methods: Sequence[str] = ()
) -> None:
    """Spread a model's weights over all processes, in place; alone nothing happens.

    Gradients are summed over processes, not averaged, so a loss must be divided by the count of the whole step.

    Args:
        model: the whole model; what is in no group is gathered for the whole pass.
        groups: modules whose weights are gathered together when the first of them runs, and let go after the last.
        world: the processes.
        methods: of the model that compute as ``forward`` does.
    """
    if world.size == 1:
        return
    mesh = world.mesh()
    for group in groups:
        fully_shard(list(group), mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # Gloo cannot scale while it reduces.
            module.set_force_sum_reduction_for_comms(True)
            module.set_gradient_divide_factor(1.0)
    for method in methods:
        register_fsdp_forward_method(model, method)
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # nothing here writes to one


def set_gradient_sync(model: nn.Module, is_synced: bool) -> None:
    """Choose whether the next backward pass exchanges gradients: only the last of those that are accumulated."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(is_synced)


def release(model: nn.Module) -> None:
    """Let go of weights that a forward pass has gathered and no backward pass has let go of."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole_tensor(value: Tensor) -> Tensor:
    """Return a tensor whole, on every process."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def to_whole(state: Any, world: World) -> Any:
    """Return a (nested) state with every spread tensor gathered, in the main process's CPU memory.

    All processes take part. They hold one whole tensor at a time, and the others keep empty ones.
    """
    if isinstance(state, DTensor):
        whole = state.full_tensor()
        return whole.cpu() if world.is_main else whole.new_empty(0)
    if isinstance(state, dict):
        return {key: to_whole(value, world) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_whole(value, world) for value in state)
    return state


def like(whole: Tensor, reference: Tensor) -> Tensor:
    """Return this process's part of a whole tensor, spread as ``reference`` is."""
    if isinstance(reference, DTensor) and not isinstance(whole, DTensor):
        return distribute_tensor(whole.to(reference.device), reference.device_mesh, reference.placements)
    return whole


def replicated_like(whole: Tensor, reference: Tensor) -> Tensor:
    """Return the part of a tensor that every process has computed whole, without any exchange."""
    if not isinstance(reference, DTensor):
        return whole
    mesh = reference.device_mesh
    return DTensor.from_local(whole, mesh, [Replicate()]).redistribute(placements=reference.placements)


def load_optimizer(optimizer: torch.optim.Optimizer, whole: dict[str, Any]) -> None:
    """Give an optimizer what it remembered, from a state that `to_whole` gathered; its settings stay its own."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {
        index: {
            name: like(value, parameters[index])
            if isinstance(value, Tensor) and value.shape == parameters[index].shape
            else value
            for name, value in values.items()
        }
        for index, values in whole["state"].items()
    }
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
