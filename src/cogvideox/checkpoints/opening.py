"""The networks of a checkpoint in memory, all or one at a time."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from cogvideox.checkpoints.directory import CheckpointConfigs, read_configs
from cogvideox.machine import group_memory
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.text_encoder import TextEncoder
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.quantization import Quantization

MAX_SHARE_OF_MEMORY = 0.5
"""Weights that take more than this of a device's memory are kept one network at a time."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The parts of a model, all in memory."""

    transformer: ExpertTransformer
    autoencoder: VideoAutoencoder
    text_encoder: TextEncoder
    configs: CheckpointConfigs
    quantization: Quantization | None = None
    """Of the transformer's and text encoder's blocks."""

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.transformer.proj_out.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the transformer."""
        return self.transformer.dtype

    def adapt(self, change: Callable[[ExpertTransformer], None]) -> None:
        """Change the transformer."""
        change(self.transformer)


_Part = ExpertTransformer | VideoAutoencoder | TextEncoder
PartT = TypeVar("PartT", ExpertTransformer, VideoAutoencoder, TextEncoder)


class StagedCheckpoint:
    """The same parts, read when they are asked for, one network in memory at a time: for models larger than memory.

    Asking for a part takes as long as reading it, unless it is the one that was asked for last.
    """

    def __init__(
        self,
        configs: CheckpointConfigs,
        *,
        device: torch.device,
        dtype: torch.dtype,
        variant: str | None = None,
        quantization: Quantization | None = None,
    ) -> None:
        """Read nothing yet."""
        self.configs, self.device, self.dtype, self.quantization = configs, device, dtype, quantization
        self._loaders = _loaders(configs, device, dtype, variant, quantization)
        self._part: _Part | None = None
        self._adaptations: list[Callable[[ExpertTransformer], None]] = []

    @property
    def transformer(self) -> ExpertTransformer:
        """The transformer, with its adaptations."""
        is_held = isinstance(self._part, ExpertTransformer)
        transformer = self._hold(ExpertTransformer)
        for change in [] if is_held else self._adaptations:
            change(transformer)
        return transformer

    @property
    def autoencoder(self) -> VideoAutoencoder:
        """The autoencoder."""
        return self._hold(VideoAutoencoder)

    @property
    def text_encoder(self) -> TextEncoder:
        """The text encoder."""
        return self._hold(TextEncoder)

    def adapt(self, change: Callable[[ExpertTransformer], None]) -> None:
        """Change the transformer whenever it is read, and now if it is in memory."""
        if isinstance(self._part, ExpertTransformer):
            change(self._part)
        self._adaptations.append(change)

    def _hold(self, part_class: type[PartT]) -> PartT:
        if isinstance(self._part, part_class):
            return self._part
        self._part = None  # its memory is free before the next part takes some
        part = self._part = self._loaders[part_class]()
        return part


def _loaders(
    configs: CheckpointConfigs,
    device: torch.device,
    dtype: torch.dtype,
    variant: str | None,
    quantization: Quantization | None,
) -> dict[type, Callable[[], Any]]:
    arguments: Any = {"device": device, "dtype": dtype, "variant": variant}
    quantized = arguments | {"quantization": quantization}
    return {
        ExpertTransformer: partial(ExpertTransformer.load, configs.directory, **quantized),
        VideoAutoencoder: partial(VideoAutoencoder.load, configs.directory, **arguments),
        TextEncoder: partial(TextEncoder.load, configs.directory, **quantized),
    }


def open_checkpoint(
    model: str | Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    variant: str | None = None,
    is_staged: bool | None = None,
    quantization: Quantization | None = None,
) -> Checkpoint | StagedCheckpoint:
    """Load all parts of a checkpoint, in a ``variant`` such as "fp16" if asked for, or get ready to load one at a time.

    Args:
        model: directory, embedded or published model, or hub id.
        device: of all parts.
        dtype: of all parts.
        variant: a precision's name.
        is_staged: one part in memory at a time; None does so if all take more than `MAX_SHARE_OF_MEMORY` of it.
        quantization: of the transformer's and text encoder's blocks.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    configs = read_configs(model, variant)
    if is_staged is None:
        is_staged = configs.weight_bytes > MAX_SHARE_OF_MEMORY * memory_bytes(device)
    if is_staged:
        return StagedCheckpoint(configs, device=device, dtype=dtype, variant=variant, quantization=quantization)
    loaders = _loaders(configs, device, dtype, variant, quantization)
    return Checkpoint(
        transformer=loaders[ExpertTransformer](),
        autoencoder=loaders[VideoAutoencoder](),
        text_encoder=loaders[TextEncoder](),
        configs=configs,
        quantization=quantization,
    )


def memory_bytes(device: torch.device) -> int:
    """Return the memory of a device; of a CPU, the machine's or what its control group allows."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    group = group_memory()
    if group is not None:
        limits.append(group.limit_bytes)
    return min(limits)
