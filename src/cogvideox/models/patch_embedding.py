"""Latents and text embeddings to tokens, and tokens back to latents.

Axes: B batch, C channels, T latent frames, H W latent rows and columns, L text tokens, N video tokens, D width,
p patch size.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from cogvideox.configs import TransformerConfig


class PatchEmbedding(nn.Module):
    """Project p x p latent patches of every frame, and text embeddings, to the width of the transformer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        patch_size = config.patch_size
        self.proj = nn.Conv2d(
            config.in_channels, config.width, kernel_size=patch_size, stride=patch_size, bias=config.patch_bias
        )
        self.text_proj = nn.Linear(config.text_embed_dim, config.width)

    def forward(self, latents: Tensor, text: Tensor) -> Tensor:
        """Return tokens (B, L + N, D) from latents (B, C, T, H, W) and text embeddings (B, L, text_embed_dim).

        Video tokens are in row-major order, frames outermost.
        """
        patches = self.proj(rearrange(latents, "b c t h w -> (b t) c h w"))
        video = rearrange(patches, "(b t) d h w -> b (t h w) d", b=len(latents))
        return torch.cat([self.text_proj(text), video], dim=1)


def unpatchify(patches: Tensor, grid_THW: tuple[int, int, int], patch_size: int) -> Tensor:
    """Return latents (B, C, T, H, W) from projected video tokens (B, T*H/p*W/p, C*p*p)."""
    num_frames, num_rows, num_columns = grid_THW
    return rearrange(
        patches,
        "b (t h w) (c p q) -> b c t (h p) (w q)",
        t=num_frames,
        h=num_rows,
        w=num_columns,
        p=patch_size,
        q=patch_size,
    )
