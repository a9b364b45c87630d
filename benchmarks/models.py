"""The models under test, ours and diffusers', with the same random weights in bfloat16."""

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

from benchmarks.harness import NUM_THREADS
from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.transformer import ExpertTransformer

torch.set_num_threads(NUM_THREADS)
torch.manual_seed(0)


def autoencoders() -> tuple[VideoAutoencoder, AutoencoderKLCogVideoX, AutoencoderKLCogVideoX]:
    """Return ours, diffusers' as it comes, and with its convolutions' weights channels last (published shape)."""
    shipped, tuned = (AutoencoderKLCogVideoX().bfloat16().eval() for _ in range(2))
    tuned.load_state_dict(shipped.state_dict())
    for parameter in tuned.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        elif parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    ours = VideoAutoencoder(AutoencoderConfig()).bfloat16().eval()
    ours.load_state_dict(shipped.state_dict())
    return ours, shipped, tuned


def transformers(num_layers: int) -> tuple[ExpertTransformer, CogVideoXTransformer3DModel]:
    """Return ours and diffusers' in the width of 2B."""
    theirs = CogVideoXTransformer3DModel(num_layers=num_layers).bfloat16().eval()
    ours = ExpertTransformer(TransformerConfig(num_layers=num_layers)).bfloat16().eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def transformer_inputs(batch: int, latent_THW: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return latents (B, C, T, H, W), text and timesteps."""
    latents = torch.randn(batch, 16, *latent_THW).bfloat16()
    return latents, torch.randn(batch, 226, 4096).bfloat16(), torch.full((batch,), 500)
