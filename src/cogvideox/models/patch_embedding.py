"""Latents and text embeddings to tokens, and tokens back to latents.

Axes: B batch, C channels, T latent frames, H W latent rows and columns, L text tokens, N video tokens, D width,
r p q frames, rows and columns of a patch.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from cogvideox.configs import TransformerConfig
from cogvideox.models.positions import sincos_table


class PatchEmbedding(nn.Module):
    """Project latent patches and text embeddings to the width of the transformer and, in some models, add positions.

    A patch is p x p latents of one frame (version 1.0) or of ``patch_size_t`` frames (version 1.5).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        patch_size = config.patch_size
        if config.patch_size_t is None:
            self.proj = nn.Conv2d(
                config.in_channels, config.width, kernel_size=patch_size, stride=patch_size, bias=config.patch_bias
            )
        else:
            # Parity: has a bias whatever patch_bias says (tests/parity/test_transformer.py).
            self.proj = nn.Linear(config.in_channels * config.patch_size_t * patch_size**2, config.width)
        self.text_proj = nn.Linear(config.text_embed_dim, config.width)
        if config.use_learned_positional_embeddings:
            num_tokens = config.max_text_seq_length + _num_tokens(config.native_grid_THW)
            # Published as a buffer under this name; starts as sines and cosines.
            table = torch.zeros(1, num_tokens, config.width)
            table[0, config.max_text_seq_length :] = sincos_table(
                config, config.native_grid_THW, table.device, table.dtype
            )
            self.pos_embedding: Tensor
            self.register_buffer("pos_embedding", table)

    def forward(self, latents: Tensor, text: Tensor) -> Tensor:
        """Return tokens (B, L + N, D) from latents (B, C, T, H, W) and text embeddings (B, L, text_embed_dim).

        Video tokens are in row-major order, frames outermost.
        """
        tokens = torch.cat([self.text_proj(text), self._project(latents)], dim=1)
        if not self.config.has_additive_positions:
            return tokens
        grid_THW = token_grid(self.config, latents.shape)
        num_frames = (latents.shape[2] - 1) * self.config.temporal_compression_ratio + 1
        if self.config.use_learned_positional_embeddings and num_frames == self.config.sample_frames:
            return tokens + self.pos_embedding.to(tokens.dtype)
        # Parity: a model with a learned table falls back to sines and cosines for another number of frames
        # (tests/parity/test_transformer.py).
        positions = sincos_table(self.config, grid_THW, tokens.device, tokens.dtype)
        video = tokens[:, self.config.max_text_seq_length :] + positions
        return torch.cat([tokens[:, : self.config.max_text_seq_length], video], dim=1)

    def _project(self, latents: Tensor) -> Tensor:
        patch_size, patch_size_t = self.config.patch_size, self.config.patch_size_t
        if patch_size_t is None:
            patches = self.proj(rearrange(latents, "b c t h w -> (b t) c h w"))
            return rearrange(patches, "(b t) d h w -> b (t h w) d", b=len(latents))
        pattern = "b c (t r) (h p) (w q) -> b (t h w) (c r p q)"
        return self.proj(rearrange(latents, pattern, r=patch_size_t, p=patch_size, q=patch_size))


def token_grid(config: TransformerConfig, latents_shape: torch.Size) -> tuple[int, int, int]:
    """Return the frames, rows and columns of the tokens of latents (B, C, T, H, W)."""
    num_frames, height, width = latents_shape[2:]
    return num_frames // (config.patch_size_t or 1), height // config.patch_size, width // config.patch_size


def unpatchify(patches: Tensor, grid_THW: tuple[int, int, int], config: TransformerConfig) -> Tensor:
    """Return latents (B, C, T, H, W) from projected video tokens (B, N, C * r * p * q)."""
    num_frames, num_rows, num_columns = grid_THW
    return rearrange(
        patches,
        "b (t h w) (c r p q) -> b c (t r) (h p) (w q)",
        t=num_frames,
        h=num_rows,
        w=num_columns,
        r=config.patch_size_t or 1,
        p=config.patch_size,
        q=config.patch_size,
    )


def _num_tokens(grid_THW: tuple[int, int, int]) -> int:
    num_frames, num_rows, num_columns = grid_THW
    return num_frames * num_rows * num_columns
