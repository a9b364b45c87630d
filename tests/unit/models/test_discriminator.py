"""The discriminator: causal, the same in chunks, of any size and length (derivatives: test_autoencoder_losses)."""

import pytest
import torch
from torch import Tensor, nn

from cogvideox.models.autoencoder_blocks import ChunkPass
from cogvideox.models.discriminator import Discriminator, DiscriminatorConfig


@pytest.fixture(scope="module")
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(DiscriminatorConfig(num_channels=4, max_channels=8)).double()


def video(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2, 3, 17, 32, 48), (2, 1, 5, 2, 3)),
        ((1, 3, 16, 32, 32), (1, 1, 4, 2, 2)),
        ((3, 3, 1, 40, 24), (3, 1, 1, 3, 2)),
        ((1, 3, 6, 17, 31), (1, 1, 2, 2, 2)),
    ],
)
def test_patches_of_any_size_and_length(discriminator: Discriminator, size, expected) -> None:
    assert discriminator(video(*size)).shape == expected


def test_widths_double_up_to_the_cap(discriminator: Discriminator) -> None:
    weights = [module.weight for module in discriminator.modules() if isinstance(module, nn.Conv3d | nn.Conv2d)]
    assert [weight.ndim for weight in weights].count(5) == 4
    assert discriminator.conv_last.weight.shape[:2] == (8, 8) and weights[0].shape[0] == 4


def test_no_logit_depends_on_later_frames(discriminator: Discriminator) -> None:
    pixels = video(1, 3, 17, 32, 32)
    changed = pixels.clone()
    changed[:, :, 9:] = 0.5
    # 17 frames are 1 + 4 * 4: the logits of frames 0, 1-4 and 5-8 come before the change.
    first, second = discriminator(pixels), discriminator(changed)
    assert torch.equal(first[:, :, :3], second[:, :, :3])
    assert not torch.allclose(first[:, :, 3], second[:, :, 3])


def test_earlier_frames_are_seen(discriminator: Discriminator) -> None:
    pixels = video(1, 3, 17, 32, 32)
    changed = pixels.clone()
    changed[:, :, 8] = 0.5
    assert not torch.allclose(discriminator(pixels)[:, :, 3], discriminator(changed)[:, :, 3])


@pytest.mark.parametrize("sizes", [(9, 8), (5, 4, 8), (1, 16), (4, 4, 8)])
def test_chunks_are_the_whole(discriminator: Discriminator, sizes: tuple[int, ...]) -> None:
    pixels = video(2, 3, sum(sizes), 32, 32)
    pasts: tuple[Tensor, ...] = ()
    chunks = []
    for part in pixels.split(sizes, dim=2):
        chunk = ChunkPass(pasts, None)
        chunks.append(discriminator(part, chunk))
        pasts = chunk.collect()
    torch.testing.assert_close(torch.cat(chunks, dim=2), discriminator(pixels))


def test_without_gradients_the_result_is_the_same(discriminator: Discriminator) -> None:
    pixels = video(2, 3, 9, 32, 32)
    before = pixels.clone()
    expected = discriminator(pixels)
    with torch.no_grad():
        torch.testing.assert_close(discriminator(pixels), expected.detach(), rtol=0, atol=0)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize(
    ("field", "value"), [("num_channels", 0), ("max_channels", 0), ("num_3d_blocks", -1), ("num_2d_blocks", -1)]
)
def test_impossible_shapes_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        DiscriminatorConfig(**{field: value})
    with pytest.raises(ValueError, match="at least one block"):
        DiscriminatorConfig(num_3d_blocks=0, num_2d_blocks=0)
