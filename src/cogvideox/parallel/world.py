"""The processes of a data-parallel run, started by ``torchrun`` or alone."""

import os
from dataclasses import dataclass, field
from datetime import timedelta

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from cogvideox.machine import parse_device

MAX_WAIT = timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """One process among all; alone it needs no group and no network."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def join(cls, device: str | torch.device) -> "World":
        """Join the processes that ``torchrun`` started (gloo on CPUs, NCCL on CUDA); alone without it.

        On CUDA every process of a machine takes the GPU of its ``LOCAL_RANK``.

        Raises:
            ValueError: this machine has no such device.
        """
        device = parse_device(device)
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(device=device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            # Processes wait for each other while one encodes, or reads a state of many gigabytes.
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=MAX_WAIT)
        return cls(distributed.get_rank(), size, device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def mesh(self) -> DeviceMesh:
        """Return all processes as one dimension, for FSDP2; only in a group."""
        return init_device_mesh(self.device.type, (self.size,))

    def sum(self, values: Tensor) -> Tensor:
        """Return the sums over all processes of a tensor that has the same shape everywhere, float64 on the CPU."""
        values = values.detach().to(self.device if self.device.type == "cuda" else "cpu", torch.float64)
        if self.size > 1:
            distributed.all_reduce(values)
        return values.cpu()

    def from_main(self, value: Tensor) -> Tensor:
        """Return the main process's value of a tensor that has the same shape everywhere."""
        if self.size == 1:
            return value
        value = value.to(self.device).contiguous()
        distributed.broadcast(value, src=0)
        return value

    def agree(self, decision: bool) -> bool:
        """Return the main process's decision, so that no process goes another way because of its own clock."""
        return bool(self.from_main(torch.tensor(int(decision), device=self.device)))

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            distributed.barrier()
