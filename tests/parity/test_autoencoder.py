"""The autoencoder against diffusers, random weights, published chunking."""

from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX

from cogvideox.configs import AutoencoderConfig
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.tiling import TileGrid, Tiling
from random_checkpoint import AUTOENCODER, randomise


@pytest.fixture(scope="module")
def pair() -> tuple[VideoAutoencoder, AutoencoderKLCogVideoX]:
    torch.manual_seed(0)
    reference = AutoencoderKLCogVideoX(**AUTOENCODER)
    randomise(reference, seed=3)
    ours = VideoAutoencoder(AutoencoderConfig.from_json(dict(reference.config)))
    ours.load_state_dict(reference.state_dict())
    return ours.double().eval(), reference.double().eval()


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.abs().max())


@pytest.mark.parametrize("num_frames", [1, 8, 9, 16, 17, 25, 49])
@torch.no_grad()
def test_encode(pair, num_frames: int) -> None:
    ours, reference = pair
    video = torch.rand(2, 3, num_frames, 32, 48, dtype=torch.float64) * 2 - 1
    expected = reference.encode(video).latent_dist
    posterior = ours.encode(video)
    assert relative_error(posterior.mode(), expected.mode()) < 1e-6
    sample = posterior.sample(torch.Generator().manual_seed(5))
    assert relative_error(sample, expected.sample(torch.Generator().manual_seed(5))) < 1e-6


@pytest.mark.parametrize("num_latent_frames", [1, 2, 3, 4, 5, 7, 13])
@torch.no_grad()
def test_decode(pair, num_latent_frames: int) -> None:
    ours, reference = pair
    latents = torch.randn(2, 16, num_latent_frames, 4, 6, dtype=torch.float64)
    expected = reference.decode(latents).sample
    assert relative_error(ours.decode(latents), expected) < 1e-6
    streamed = list(ours.decode_stream(latents))
    assert len(streamed) == max(num_latent_frames // 2, 1)
    assert torch.equal(torch.cat(streamed, dim=2), ours.decode(latents))


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [None, (1 / 3, 1 / 2)], ids=str)
@pytest.mark.parametrize("num_frames", [1, 8, 9, 17, 25])
@torch.no_grad()
def test_tiled(pair, num_frames: int, overlap: tuple[float, float] | None) -> None:
    """Two rows and three columns of tiles with slivers at the end, the published overlap and another one."""
    ours, reference = pair
    tiling = Tiling(tile_height_px=48, tile_width_px=80)
    reference.enable_tiling(48, 80)
    if overlap is not None:
        tiling = replace(tiling, overlap_height=overlap[0], overlap_width=overlap[1])
        reference.enable_tiling(48, 80, *overlap)
    video = torch.rand(1, 3, num_frames, 64, 136, dtype=torch.float64) * 2 - 1
    try:
        encoded = reference.encode(video).latent_dist.mode()
        decoded = reference.decode(encoded).sample
    finally:
        reference.enable_tiling(48, 80, 1 / 6, 1 / 5)
        reference.disable_tiling()
    latents = ours.encode(video, tiling=tiling).mode()
    assert relative_error(latents, encoded) < 1e-6
    assert relative_error(ours.decode(latents, tiling=tiling), decoded) < 1e-6
    assert len(list(ours.decode_stream(latents, tiling=tiling))) == max(latents.shape[2] // 2, 1)
    assert relative_error(ours.decode(latents), decoded) > 1e-3  # tiles give other pixels


@pytest.mark.parametrize(
    "change",
    [
        {"block_out_channels": (32, 64, 64, 128), "norm_num_groups": 32},
        {"temporal_compression_ratio": 8},
        {"temporal_compression_ratio": 2},
        {"temporal_compression_ratio": 1},
        {
            "block_out_channels": (16, 32, 48),
            "down_block_types": ("CogVideoXDownBlock3D",) * 3,
            "up_block_types": ("CogVideoXUpBlock3D",) * 3,
        },
        {"latent_channels": 4, "layers_per_block": 2},
        {"norm_eps": 1e-2, "act_fn": "gelu"},
    ],
    ids=lambda change: ",".join(change),
)
@torch.no_grad()
def test_other_configurations(change: dict) -> None:
    """Widths of the published ratio, where the norms are real, and shapes that no published model has."""
    torch.manual_seed(0)
    reference = AutoencoderKLCogVideoX(**AUTOENCODER | change)
    randomise(reference, seed=3)
    ours = VideoAutoencoder(AutoencoderConfig.from_json(dict(reference.config)))
    ours.load_state_dict(reference.state_dict())
    video = torch.rand(1, 3, 17, 32, 48, dtype=torch.float64) * 2 - 1
    encoded = reference.double().encode(video).latent_dist.mode()
    decoded = reference.decode(encoded).sample
    latents = ours.double().encode(video).mode()
    assert relative_error(latents, encoded) < 1e-6
    assert relative_error(ours.decode(latents), decoded) < 1e-6
    if "norm_num_groups" not in change:
        return

    def errors(model) -> list[float]:
        """Root mean square errors of encoding and decoding in float32 against float64."""
        model = model.float()
        posterior = model.encode(video.float())
        made = getattr(posterior, "latent_dist", posterior).mode()
        shown = model.decode(encoded.float())
        pairs = [(made, encoded), (getattr(shown, "sample", shown), decoded)]
        return [(value.double() - exact).square().mean().sqrt().item() for value, exact in pairs]

    for our_error, their_error in zip(errors(ours), errors(reference), strict=True):
        assert our_error < 2 * their_error


def test_published_tiles_and_ones_that_do_not_fit() -> None:
    assert Tiling.published(AutoencoderConfig()) == Tiling(tile_height_px=240, tile_width_px=360)
    grid = TileGrid.for_decoding(Tiling.published(AutoencoderConfig()), 8)
    assert (grid.tile, grid.stride, grid.ramp, grid.kept) == ((30, 45), (25, 36), (40, 72), (200, 288))
    with pytest.raises(ValueError, match=r"tile_height_px.*whole number of latents"):
        TileGrid.for_decoding(Tiling(tile_height_px=32, tile_width_px=40), 8)


def test_gradients_match(pair) -> None:
    ours, reference = pair
    video = torch.rand(1, 3, 9, 32, 32, dtype=torch.float64) * 2 - 1
    ours.decode(ours.encode(video).mode()).square().mean().backward()
    reference.decode(reference.encode(video).latent_dist.mode()).sample.square().mean().backward()
    expected = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert relative_error(parameter.grad, expected[name]) < 1e-6, name


def test_published_parameters_on_the_meta_device() -> None:
    with torch.device("meta"):
        ours = VideoAutoencoder(AutoencoderConfig())
        reference = AutoencoderKLCogVideoX(
            block_out_channels=(128, 256, 256, 512),
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
        )
    ours_shapes = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    assert ours_shapes == {name: tuple(value.shape) for name, value in reference.state_dict().items()}
    assert sum(value.numel() for value in ours.parameters()) == 215_583_907
