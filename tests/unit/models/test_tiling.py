"""Tiles with context and common norms: how they are cut and joined, and that they come closer to the whole frame."""

from typing import Any

import pytest
import torch

from cogvideox.checkpoints.directory import find_checkpoint
from cogvideox.configs import AutoencoderConfig
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.tiling import TileGrid, Tiling
from random_checkpoint import randomise

CONTEXT: dict[str, Any] = {"overlap_height": 0, "overlap_width": 0, "context_px": 16}
CONFIG = AutoencoderConfig(
    block_out_channels=(4, 4, 8, 8),
    layers_per_block=1,
    norm_num_groups=2,
    latent_channels=4,
    sample_height=80,
    sample_width=64,
)


@pytest.mark.parametrize("height, width", [(5, 4), (9, 13), (10, 8), (7, 3)])
def test_tiles_with_context_cover_a_frame_once(height: int, width: int) -> None:
    grid = TileGrid.for_decoding(Tiling(tile_height_px=40, tile_width_px=32, **CONTEXT), 8)
    latents = torch.randn(1, 2, 3, height, width)
    tiles = grid.split(latents)
    assert max(tile.shape[3] for row in tiles for tile in row) <= 5 + 2 * 2
    pixels = [[tile.repeat_interleave(8, 3).repeat_interleave(8, 4) for tile in row] for row in tiles]
    assert torch.equal(grid.join(pixels), latents.repeat_interleave(8, 3).repeat_interleave(8, 4))


@pytest.fixture(scope="module")
def model() -> VideoAutoencoder:
    torch.manual_seed(0)
    model = VideoAutoencoder(CONFIG)
    randomise(model, seed=1)
    return model.double().eval()


def gradient_video(height_px: int, width_px: int) -> torch.Tensor:
    """A picture that changes smoothly from left to right and from top to bottom, on which seams show most."""
    rows = torch.linspace(-1, 1, height_px)[:, None].expand(height_px, width_px)
    columns = torch.linspace(-1, 1, width_px).expand(height_px, width_px)
    return torch.stack([0.5 * rows + 0.3 * columns, 0.8 * columns, 0.2 - 0.6 * rows])[None, :, None]


@torch.no_grad()
def test_seams_of_a_trained_model_are_reduced_on_a_gradient() -> None:
    model = VideoAutoencoder.load(find_checkpoint("tiny"))
    video = gradient_video(96, 144)
    latents = model.encode(video).mode()
    whole = model.decode(latents)
    errors, latent_errors = [], []
    sizes: dict[str, Any] = {"tile_height_px": 48, "tile_width_px": 40}
    for tiling in (Tiling(**sizes), Tiling(**sizes, **CONTEXT | {"has_common_norms": True})):
        made = model.decode(latents, tiling=tiling)
        assert made.shape == whole.shape
        errors.append(float((made - whole).square().mean()))
        latent_errors.append(float((model.encode(video, tiling=tiling).mode() - latents).square().mean()))
    assert errors[1] < 0.6 * errors[0]  # measured: 0.44
    assert latent_errors[1] < 0.2 * latent_errors[0]  # measured: 0.09


@torch.no_grad()
def test_a_frame_of_one_tile_is_not_tiled(model: VideoAutoencoder) -> None:
    video = gradient_video(64, 64).double()
    tiling = Tiling.seam_reduced(CONFIG)
    assert (tiling.tile_height_px, tiling.tile_width_px) == (64, 64)  # the least
    assert torch.equal(model.encode(video, tiling=tiling).mode(), model.encode(video).mode())


@torch.no_grad()
def test_common_norms_leave_a_copy_of_one_tile_as_it_was(model: VideoAutoencoder) -> None:
    latents = torch.randn(1, 4, 3, 5, 4, dtype=torch.float64)
    alike = torch.cat([latents, latents], dim=4)  # both tiles have the same moments
    sizes: dict[str, Any] = {"tile_height_px": 40, "tile_width_px": 32, "overlap_height": 0, "overlap_width": 0}
    expected = model.decode(alike, tiling=Tiling(**sizes))
    common: dict[str, Any] = sizes | {"has_common_norms": True}
    torch.testing.assert_close(model.decode(alike, tiling=Tiling(**common)), expected)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"context_px": 48}, "context_px: expected 0 to the size of a tile, got 48"),
        ({"context_px": -8}, "context_px: expected 0 to the size of a tile, got -8"),
        ({"overlap_width": 0.2}, "overlap_height, overlap_width: expected 0 beside context_px, got 0 and 0.2"),
        ({"context_px": 12}, "context_px: expected a multiple of 8, got 12"),
    ],
)
def test_context_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TileGrid.for_decoding(Tiling(**({"tile_height_px": 40, "tile_width_px": 32} | CONTEXT | changes)), 8)
