"""Without gradients the VAE computes in place, in windows: the same numbers as the differentiable modules."""

import itertools

import pytest
import torch

from cogvideox.configs import AutoencoderConfig
from cogvideox.models import frame_windows
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.reused_memory import Workspace
from random_checkpoint import randomise

CONFIG = AutoencoderConfig(block_out_channels=(4, 8, 8, 16), layers_per_block=1, norm_num_groups=2, latent_channels=4)


def make(**changes) -> VideoAutoencoder:
    torch.manual_seed(0)
    model = VideoAutoencoder(AutoencoderConfig(**{**vars(CONFIG), **changes}))
    randomise(model, seed=1)
    return model.double().eval()


def assert_both_equal(
    model: VideoAutoencoder, num_frames: int, batch: int = 1, size: tuple[int, int] = (16, 24)
) -> None:
    video = torch.rand(batch, 3, num_frames, *size, dtype=torch.float64) * 2 - 1
    latents = model.encode(video).mode()
    pixels = model.decode(latents)
    assert latents.requires_grad and pixels.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(model.encode(video).mode(), latents, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(model.decode(latents), pixels, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("num_frames", [1, 8, 9, 16, 17, 24, 25])
def test_equal_to_the_differentiable_modules(num_frames: int) -> None:
    assert_both_equal(make(), num_frames)


def test_a_batch_and_another_activation() -> None:
    assert_both_equal(make(act_fn="gelu"), 17, batch=2)


def test_one_latent_high_and_wide() -> None:
    assert_both_equal(make(), 9, size=(8, 8))


@pytest.mark.parametrize(("block", "result", "window"), [*itertools.product((1, 700), (1, 20_000), (1, 30_000))])
def test_any_size_of_blocks_and_windows(monkeypatch, block: int, result: int, window: int) -> None:
    monkeypatch.setattr(frame_windows, "BLOCK_BYTES", block)
    monkeypatch.setattr(frame_windows, "RESULT_BYTES", result)
    monkeypatch.setattr(frame_windows, "WINDOW_BYTES", window)
    monkeypatch.setattr(frame_windows, "MIN_WINDOW_FRAMES", 1)
    assert_both_equal(make(), 17, batch=2)


@torch.no_grad()
def test_inputs_and_earlier_results_are_not_written_over() -> None:
    model = make()
    latents = torch.randn(1, 4, 7, 2, 3, dtype=torch.float64)
    before = latents.clone()
    chunks = list(model.decode_stream(latents))
    copies = [chunk.clone() for chunk in model.decode_stream(latents)]
    assert torch.equal(latents, before)
    assert all(torch.equal(chunk, copy) for chunk, copy in zip(chunks, copies, strict=True))


def test_workspace_uses_memory_again_and_grows_only_to_the_largest() -> None:
    workspace, like = Workspace(), torch.empty(0)
    first = workspace.empty((1, 4, 2, 3, 5), like)
    assert first.is_contiguous(memory_format=torch.channels_last_3d)
    other = workspace.empty((1, 4, 2, 3, 5), like)
    assert other.data_ptr() != first.data_ptr()
    address = first.data_ptr()
    workspace.give_back(first)
    assert workspace.empty((1, 4, 1, 3, 5), like).data_ptr() == address
    workspace.give_back(other)
    larger = workspace.empty((1, 8, 2, 3, 5), like)
    assert not workspace._free, "the smaller buffer went when a larger one was needed"
    workspace.give_back(larger)
    workspace.give_back(torch.empty(3))
    assert len(workspace._free) == 1
