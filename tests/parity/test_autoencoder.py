"""The autoencoder against diffusers, random weights, published chunking."""

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX

from cogvideox.configs import AutoencoderConfig
from cogvideox.models.autoencoder import VideoAutoencoder
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


@pytest.mark.parametrize("num_frames", [1, 8, 9, 16, 17, 25])
@torch.no_grad()
def test_encode(pair, num_frames: int) -> None:
    ours, reference = pair
    video = torch.rand(2, 3, num_frames, 32, 48, dtype=torch.float64) * 2 - 1
    expected = reference.encode(video).latent_dist
    posterior = ours.encode(video)
    assert relative_error(posterior.mode(), expected.mode()) < 1e-6
    sample = posterior.sample(torch.Generator().manual_seed(5))
    assert relative_error(sample, expected.sample(torch.Generator().manual_seed(5))) < 1e-6


@pytest.mark.parametrize("num_latent_frames", [1, 2, 3, 4, 5, 7])
@torch.no_grad()
def test_decode(pair, num_latent_frames: int) -> None:
    ours, reference = pair
    latents = torch.randn(2, 16, num_latent_frames, 4, 6, dtype=torch.float64)
    expected = reference.decode(latents).sample
    assert relative_error(ours.decode(latents), expected) < 1e-6
    streamed = list(ours.decode_stream(latents))
    assert len(streamed) == max(num_latent_frames // 2, 1)
    assert torch.equal(torch.cat(streamed, dim=2), ours.decode(latents))


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
