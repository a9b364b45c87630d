"""Order of patches in tokens and of channels in patches."""

import torch

from cogvideox.configs import TransformerConfig
from cogvideox.models.patch_embedding import PatchEmbedding, unpatchify

CONFIG = TransformerConfig(
    num_attention_heads=1,
    attention_head_dim=16,
    in_channels=4,
    text_embed_dim=3,
    max_text_seq_length=2,
    use_rotary_positional_embeddings=True,
)


def test_embedding_with_an_identity_weight_is_undone_by_unpatchify() -> None:
    embedding = PatchEmbedding(CONFIG)
    with torch.no_grad():
        embedding.proj.weight.copy_(torch.eye(16).view(16, 4, 2, 2))
        assert embedding.proj.bias is not None
        embedding.proj.bias.zero_()
    latents = torch.randn(2, 4, 3, 4, 6)
    tokens = embedding(latents, torch.randn(2, 2, 3))
    assert tokens.shape == (2, 2 + 18, 16)
    torch.testing.assert_close(unpatchify(tokens[:, 2:], (3, 2, 3), CONFIG), latents)


def test_tokens_are_row_major_frames_outermost_after_text() -> None:
    embedding = PatchEmbedding(CONFIG)
    text = torch.randn(1, 2, 3)
    latents = torch.zeros(1, 4, 3, 4, 6)
    blank = embedding(latents, text)
    latents[0, 0, 1, 3, 4] = 1  # frame 1, patch row 1 of 2, patch column 2 of 3
    changed = (embedding(latents, text) != blank).any(-1)[0].nonzero().flatten().tolist()
    assert changed == [2 + 1 * 6 + 1 * 3 + 2]
    assert torch.equal(blank[:, :2], embedding.text_proj(text))
