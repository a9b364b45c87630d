"""Spatial tiles of the 3D VAE: less memory, other pixels (group norms pool over a tile), as published.

`Tiling.seam_reduced` comes closer to the whole frame: tiles are computed with what is around them, and norms pool over
all tiles. Tiles of 240x360 px take 2.5 times as long as the whole frame, smaller ones more.

Axes: B batch, C channels, T frames, H W rows and columns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cogvideox.configs import AutoencoderConfig

OVERLAP_HEIGHT, OVERLAP_WIDTH = 1 / 6, 1 / 5
NUM_CONTEXT_LATENTS = 2
"""Rows and columns around a tile that `Tiling.seam_reduced` adds (docs/decisions.md)."""


MIN_TILE_LATENTS = 8
"""In smaller tiles most of the work would be on what is around them."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Size and surroundings of the tiles; `Tiling.published` is what the public code uses."""

    tile_height_px: int
    tile_width_px: int
    overlap_height: float = OVERLAP_HEIGHT
    """Share of a tile's height that it has in common with the next one."""
    overlap_width: float = OVERLAP_WIDTH
    context_px: int = 0
    """Computed on all sides beyond a tile and thrown away; tiles with it do not overlap otherwise."""
    has_common_norms: bool = False
    """Norms take the moments that all tiles had when each was normed alone, so every tile is computed twice."""

    def __post_init__(self) -> None:
        if not 0 <= self.context_px <= min(self.tile_height_px, self.tile_width_px):
            raise ValueError(f"context_px: expected 0 to the size of a tile, got {self.context_px}")
        if self.context_px and (self.overlap_height or self.overlap_width):
            overlaps = f"{self.overlap_height} and {self.overlap_width}"
            raise ValueError(f"overlap_height, overlap_width: expected 0 beside context_px, got {overlaps}")
        for field in ("tile_height_px", "tile_width_px"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}: expected at least 1, got {getattr(self, field)}")
        for field in ("overlap_height", "overlap_width"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"{field}: expected 0 to below 1, got {getattr(self, field)}")

    @classmethod
    def published(cls, config: AutoencoderConfig) -> "Tiling":
        """Return tiles of half the model's native size."""
        return cls(tile_height_px=config.sample_height // 2, tile_width_px=config.sample_width // 2)

    @classmethod
    def seam_reduced(cls, config: AutoencoderConfig) -> "Tiling":
        """Return tiles of about half the model's native size with the latents around them."""
        ratio = config.spatial_compression_ratio
        sizes_px = [
            max(size // 2 // ratio, MIN_TILE_LATENTS) * ratio for size in (config.sample_height, config.sample_width)
        ]
        return cls(
            tile_height_px=sizes_px[0],
            tile_width_px=sizes_px[1],
            overlap_height=0,
            overlap_width=0,
            context_px=NUM_CONTEXT_LATENTS * ratio,
            has_common_norms=True,
        )


@dataclass(frozen=True)
class TileGrid:
    """Tiles in the units of one tensor in and one tensor out (pixels and latents, or the other way round)."""

    tile: tuple[int, int]
    """Rows and columns of a tile, in."""
    stride: tuple[int, int]
    """From the start of a tile to the start of the next, in."""
    ramp: tuple[int, int]
    """Over which neighbours are blended, out."""
    kept: tuple[int, int]
    """Of a tile before the next one begins, out."""
    context: tuple[int, int] = (0, 0)
    """Rows and columns computed beyond a tile and thrown away: in, out."""
    has_common_norms: bool = False
    """Whether norms pool over all tiles."""

    @classmethod
    def for_decoding(cls, tiling: Tiling, ratio: int) -> "TileGrid":
        """Latents in, pixels out."""
        return cls._make(tiling, ratio, is_decoding=True)

    @classmethod
    def for_encoding(cls, tiling: Tiling, ratio: int) -> "TileGrid":
        """Pixels in, latents out."""
        return cls._make(tiling, ratio, is_decoding=False)

    @classmethod
    def _make(cls, tiling: Tiling, ratio: int, *, is_decoding: bool) -> "TileGrid":
        pixels = (tiling.tile_height_px, tiling.tile_width_px)
        latents = (tiling.tile_height_px // ratio, tiling.tile_width_px // ratio)
        tile_in, tile_out = (latents, pixels) if is_decoding else (pixels, latents)
        overlaps = (tiling.overlap_height, tiling.overlap_width)
        # Parity: truncated, not rounded (tests/parity/test_autoencoder.py::test_tiled).
        stride = _pair(int(size * (1 - overlap)) for size, overlap in zip(tile_in, overlaps, strict=True))
        ramp = _pair(int(size * overlap) for size, overlap in zip(tile_out, overlaps, strict=True))
        kept = _pair(size - length for size, length in zip(tile_out, ramp, strict=True))
        for field, step, rest in zip(("height", "width"), stride, kept, strict=True):
            is_whole = step * ratio == rest if is_decoding else step == rest * ratio
            if step < 1 or not is_whole:
                raise ValueError(
                    f"tile_{field}_px, overlap_{field}: a tile without its overlap must be a whole number of latents "
                    f"({ratio} px each), got {getattr(tiling, f'tile_{field}_px')} px, "
                    f"{getattr(tiling, f'overlap_{field}')}; for example 240 px and 1/6"
                )
        if tiling.context_px % ratio:
            raise ValueError(f"context_px: expected a multiple of {ratio}, got {tiling.context_px}")
        in_latents = tiling.context_px // ratio
        context = (in_latents, tiling.context_px) if is_decoding else (tiling.context_px, in_latents)
        return cls(tile_in, stride, ramp, kept, context, tiling.has_common_norms)

    def is_needed(self, x: Tensor) -> bool:
        """Whether ``x`` (B, C, T, H, W) is larger than one tile."""
        return x.shape[3] > self.tile[0] or x.shape[4] > self.tile[1]

    def split(self, x: Tensor) -> list[list[Tensor]]:
        """Cut ``x`` into rows of overlapping tiles; the last ones may be slivers, as published."""
        rows, columns = (
            [
                slice(max(start - self.context[0], 0), start + self.tile[axis] + self.context[0])
                for start in range(0, x.shape[3 + axis], self.stride[axis])
            ]
            for axis in (0, 1)
        )
        return [[x[:, :, :, row, column] for column in columns] for row in rows]

    def join(self, tiles: Sequence[Sequence[Tensor]]) -> Tensor:
        """Blend processed tiles into their neighbours above, then to the left, and put them together."""
        if self.context[1]:
            tiles = [[self._without_context(tile, i, j) for j, tile in enumerate(row)] for i, row in enumerate(tiles)]
        blended: list[list[Tensor]] = []
        for row in tiles:
            blended.append([])
            for column, tile in enumerate(row):
                if len(blended) > 1:
                    tile = _blend(blended[-2][column], tile, self.ramp[0], dim=3)
                if column:
                    tile = _blend(blended[-1][-1], tile, self.ramp[1], dim=4)
                blended[-1].append(tile)
        rows = [torch.cat([tile[..., : self.kept[0], : self.kept[1]] for tile in row], dim=4) for row in blended]
        return torch.cat(rows, dim=3)

    def _without_context(self, tile: Tensor, row: int, column: int) -> Tensor:
        """Return what a tile covers itself; the first of a row or column has nothing before it."""
        top, left = self.context[1] if row else 0, self.context[1] if column else 0
        return tile[..., top : top + self.kept[0], left : left + self.kept[1]]


def _blend(before: Tensor, tile: Tensor, ramp: int, *, dim: int) -> Tensor:
    """Fade from the end of the tile before into the start of this one along ``dim``."""
    ramp = min(before.shape[dim], tile.shape[dim], ramp)
    weights = torch.arange(ramp, dtype=tile.dtype, device=tile.device) / max(ramp, 1)
    shape = [1] * tile.ndim
    shape[dim] = ramp
    end, start = before.narrow(dim, before.shape[dim] - ramp, ramp), tile.narrow(dim, 0, ramp)
    rest = tile.narrow(dim, ramp, tile.shape[dim] - ramp)
    return torch.cat([torch.lerp(end, start, weights.view(shape)), rest], dim=dim)


def _pair(values: Iterable[int]) -> tuple[int, int]:
    first, second = values
    return first, second
