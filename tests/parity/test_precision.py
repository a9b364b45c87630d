"""bfloat16 inference loses no more than diffusers' does: errors against float32 on the same weights and inputs."""

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from torch import Tensor

from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.transformer import ExpertTransformer
from random_checkpoint import randomise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 products on this CPU"),
]

WIDTHS = {"block_out_channels": (32, 64, 64, 128), "layers_per_block": 1}
HEADS = {"num_attention_heads": 4, "attention_head_dim": 64, "num_layers": 3, "text_embed_dim": 64}


def error(result: Tensor, reference: Tensor) -> float:
    return float((result.double() - reference.double()).square().mean().sqrt())


def assert_as_exact(ours: Tensor, theirs: Tensor, reference: Tensor) -> None:
    assert error(ours, reference) <= 1.1 * error(theirs, reference)
    assert error(theirs, reference) > 1e-5, "a comparison without rounding shows nothing"


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_autoencoder(seed: int) -> None:
    torch.manual_seed(seed)
    theirs = AutoencoderKLCogVideoX(**WIDTHS).eval()
    ours = VideoAutoencoder(AutoencoderConfig(**WIDTHS)).eval()
    randomise(theirs, seed=seed)
    theirs.bfloat16()
    ours.load_state_dict(theirs.state_dict())
    reference = AutoencoderKLCogVideoX(**WIDTHS).eval()
    reference.load_state_dict({key: value.float() for key, value in theirs.state_dict().items()})
    ours.bfloat16()
    video = (torch.rand(1, 3, 17, 64, 96) * 2 - 1).bfloat16()
    expected = reference.encode(video.float()).latent_dist.mean
    assert_as_exact(ours.encode(video).mean, theirs.encode(video).latent_dist.mean, expected)
    latents = torch.randn(1, 16, 5, 8, 12).bfloat16()
    expected = reference.decode(latents.float()).sample
    assert_as_exact(ours.decode(latents), theirs.decode(latents).sample, expected)


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_transformer(seed: int) -> None:
    torch.manual_seed(seed)
    theirs = CogVideoXTransformer3DModel(**HEADS).eval()
    ours = ExpertTransformer(TransformerConfig(**HEADS)).eval()
    randomise(theirs, seed=seed)
    theirs.bfloat16()
    ours.load_state_dict(theirs.state_dict())
    ours.bfloat16()
    reference = CogVideoXTransformer3DModel(**HEADS).eval()
    reference.load_state_dict({key: value.float() for key, value in theirs.state_dict().items()})
    latents, text = torch.randn(2, 16, 5, 32, 24).bfloat16(), torch.randn(2, 226, 64).bfloat16()
    timestep = torch.tensor([500, 500])
    frames_first = latents.transpose(1, 2)
    expected = reference(frames_first.float(), text.float(), timestep, return_dict=False)[0].transpose(1, 2)
    diffused = theirs(frames_first, text, timestep, return_dict=False)[0].transpose(1, 2)
    for backend in (None, "sdpa"):
        ours.attention_backend = backend
        assert_as_exact(ours(latents, text, timestep), diffused, expected)
