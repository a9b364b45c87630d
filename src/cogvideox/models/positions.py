"""Additive positions: a table of sines and cosines over frames, rows and columns (the 2B model; paper section 2.2).

Axes: N video tokens, D width, T H W token grid.
"""

import torch
from torch import Tensor

from cogvideox.configs import TransformerConfig

MAX_PERIOD = 10_000.0


def sincos_table(
    config: TransformerConfig, grid_THW: tuple[int, int, int], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the positions (N, D) of a grid's tokens, frames outermost.

    A quarter of the channels holds the frame, the rest half and half the column and the row, each as sines, then
    cosines. Coordinates are divided by the configuration's interpolation scales.
    """
    num_frames, num_rows, num_columns = grid_THW
    spatial_scale, temporal_scale = config.spatial_interpolation_scale, config.temporal_interpolation_scale
    time_width = config.width // 4
    space_width = (config.width - time_width) // 2
    frames = _axis(num_frames, temporal_scale, time_width).to(device, dtype)
    rows = _axis(num_rows, spatial_scale, space_width).to(device, dtype)
    columns = _axis(num_columns, spatial_scale, space_width).to(device, dtype)
    table = torch.cat(
        [
            frames[:, None, None].expand(-1, num_rows, num_columns, -1),
            # Parity: columns come before rows, as published (tests/parity/test_transformer.py).
            columns[None, None, :].expand(num_frames, num_rows, -1, -1),
            rows[None, :, None].expand(num_frames, -1, num_columns, -1),
        ],
        dim=-1,
    )
    return table.flatten(0, 2)


def _axis(count: int, scale: float, num_channels: int) -> Tensor:
    # Parity: coordinates are rounded to float32 before the rest is computed in float64.
    coordinates = (torch.arange(count, dtype=torch.float32) / scale).double()
    half = num_channels // 2
    frequencies = 1.0 / MAX_PERIOD ** (torch.arange(half, dtype=torch.float64) / half)
    angles = torch.outer(coordinates, frequencies)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
