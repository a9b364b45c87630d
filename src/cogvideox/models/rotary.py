"""Rotary positions in three axes: channels of a head are split 1/4 time, 3/8 rows, 3/8 columns (paper section 2.2).

A rotation is a complex number per pair of neighbouring channels. Text tokens have the rotation 1, so the table covers
the joint token tensor and nothing needs to be cut out.

Axes: S segments, N tokens, K heads, d channels of a head, T H W token grid.
"""

import torch
from torch import Tensor

from cogvideox.configs import TransformerConfig
from cogvideox.models.sequence_layout import SequenceLayout

THETA = 10_000.0


def rotary_table(config: TransformerConfig, layout: SequenceLayout, device: torch.device) -> Tensor | None:
    """Return the rotation of every token and channel pair.

    Returns:
        None for models without rotary positions, else complex64: (1, N, 1, d/2) where all segments have the same grid,
        (S, N, 1, d/2) for a batch of different grids, (1, N_total, 1, d/2) for a pack. It broadcasts against query and
        key.

    Raises:
        ValueError: a grid has more rows or columns than a version 1.5 model knows.
    """
    if not config.use_rotary_positional_embeddings:
        return None
    by_grid: dict[tuple[int, int, int], Tensor] = {}
    for grid in layout.grids_THW:
        if grid not in by_grid:
            video = _grid_rotations(_grid_positions(config, grid, device), config.attention_head_dim)
            text = torch.ones(layout.num_text_tokens, video.shape[1], dtype=video.dtype, device=device)
            by_grid[grid] = torch.cat([text, video])
    if len(by_grid) == 1:
        return by_grid[layout.grids_THW[0]][None, :, None]
    packed = torch.cat([by_grid[grid] for grid in layout.grids_THW])[None]
    return layout.as_batch(packed)[:, :, None]


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Turn channel pairs (0, 1), (2, 3), ... of queries or keys (S, N, K, d) by a table that broadcasts against them.

    Computed in float32 at least, as published; the result has the dtype of ``x``.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    turned = torch.view_as_complex(wide.unflatten(-1, (-1, 2))) * rotations
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def _grid_positions(
    config: TransformerConfig, grid_THW: tuple[int, int, int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the float32 coordinates of a grid's frames, rows and columns.

    Version 1.0 fits another size into the native window; version 1.5 (temporal patches) counts from 0.
    """
    num_frames, num_rows, num_columns = grid_THW
    native_rows, native_columns = native_HW = config.native_grid_THW[1:]
    frames = torch.arange(num_frames, device=device, dtype=torch.float32)
    if config.patch_size_t is None:
        (top, bottom), (left, right) = _native_window((num_rows, num_columns), native_HW)
        return frames, _coordinates(top, bottom, num_rows, device), _coordinates(left, right, num_columns, device)
    if num_rows > native_rows or num_columns > native_columns:
        raise ValueError(
            f"latents: this model has positions for at most {native_rows}x{native_columns} rows and columns of tokens, "
            f"got {num_rows}x{num_columns}; choose a smaller height and width"
        )
    rows, columns = (torch.arange(count, device=device, dtype=torch.float32) for count in (num_rows, num_columns))
    return frames, rows, columns


def _grid_rotations(positions: tuple[Tensor, Tensor, Tensor], head_dim: int) -> Tensor:
    """Return complex64 (T*H*W, d/2), frames outermost."""
    num_frames, num_rows, num_columns = (len(axis) for axis in positions)
    widths = (head_dim // 4, head_dim // 8 * 3, head_dim // 8 * 3)
    angles = [
        torch.outer(axis, _frequencies(num_channels, axis.device))
        for axis, num_channels in zip(positions, widths, strict=True)
    ]
    angles_THWd = torch.cat(
        [
            angles[0][:, None, None].expand(-1, num_rows, num_columns, -1),
            angles[1][None, :, None].expand(num_frames, -1, num_columns, -1),
            angles[2][None, None, :].expand(num_frames, num_rows, -1, -1),
        ],
        dim=-1,
    )
    return torch.polar(torch.ones_like(angles_THWd), angles_THWd).flatten(0, 2)


def _frequencies(num_channels: int, device: torch.device) -> Tensor:
    # float32 like everything here: the published tables are, and large coordinates show the difference.
    return 1.0 / THETA ** (torch.arange(0, num_channels, 2, device=device, dtype=torch.float32) / num_channels)


def _coordinates(start: int, stop: int, count: int, device: torch.device) -> Tensor:
    # Parity: the end is stop * (n-1)/n also where start is not 0, so centred coordinates are stretched a little
    # (tests/parity/test_transformer.py::test_rotary_table_matches_other_sizes).
    return torch.linspace(start, stop * (count - 1) / count, count, device=device, dtype=torch.float32)


def _native_window(grid_HW: tuple[int, int], native_HW: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (top, bottom), (left, right) of the largest centred window of this aspect ratio in the native token grid.

    Other sizes than the native one interpolate positions inside this window (version 1.0 of the models).
    """
    num_rows, num_columns = grid_HW
    native_rows, native_columns = native_HW
    if num_rows * native_columns > native_rows * num_columns:
        height, width = native_rows, round(native_rows / num_rows * num_columns)
    else:
        height, width = round(native_columns / num_columns * num_rows), native_columns
    top, left = round((native_rows - height) / 2), round((native_columns - width) / 2)
    return (top, top + height), (left, left + width)
