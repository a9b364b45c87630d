"""Without gradients the VAE computes in place, in windows: the same numbers as the differentiable modules."""

import copy
import itertools

import pytest
import torch

from cogvideox.configs import AutoencoderConfig
from cogvideox.models import frame_windows
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.reused_memory import Workspace, borrow_workspace
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


def test_a_workspace_at_rest_is_used_again_and_never_copied() -> None:
    like = torch.empty(0, dtype=torch.bfloat16)
    kept: list[Workspace] = []
    with borrow_workspace(kept) as workspace:
        lent = workspace.empty((1, 8, 1, 512, 512), like)
        address = lent.data_ptr()
    assert kept == [workspace]
    assert not copy.deepcopy(workspace)._free
    with borrow_workspace(kept) as again:
        assert again is workspace and not kept
        assert again.empty((1, 8, 1, 512, 512), like).data_ptr() == address
        with borrow_workspace(kept) as other:
            assert other is not again, "two passes at once do not share memory"


@torch.no_grad()
def test_an_abandoned_stream_leaves_a_model_that_decodes() -> None:
    model = make()
    latents = torch.randn(1, 4, 7, 2, 3, dtype=torch.float64)
    expected = model.decode(latents)
    stream = model.decode_stream(latents)
    next(stream)
    other = model.decode_stream(latents)
    torch.testing.assert_close(torch.cat([next(other), *other], dim=2), expected)
    stream.close()
    torch.testing.assert_close(model.decode(latents), expected)


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_start_of_a_clip_is_convolved_with_sums_of_kernels(num_frames: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(16, 32, 3, padding=(0, 1, 1)).to(dtype)
    x, before = torch.randn(1, 16, num_frames, 6, 8, dtype=dtype), torch.randn(1, 32, num_frames, 6, 8, dtype=dtype)
    x, before = (tensor.contiguous(memory_format=torch.channels_last_3d) for tensor in (x, before))
    padded = torch.cat([x[:, :, :1].expand(-1, -1, 2, -1, -1), x], dim=2).double()
    expected = torch.nn.functional.conv3d(padded, conv.weight.double(), conv.bias.double(), padding=(0, 1, 1))
    tolerance = {"atol": 0.03, "rtol": 0.02} if dtype == torch.bfloat16 else {"atol": 1e-9, "rtol": 1e-9}
    for is_added in (False, True):
        out = before.clone(memory_format=torch.preserve_format)
        frame_windows._convolve_first_frames(conv, x, out, is_added=is_added)
        sum_before = before.double() if is_added else 0.0
        torch.testing.assert_close(out.double(), expected + sum_before, **tolerance)


@torch.no_grad()
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_results_may_have_any_format(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(16, 32, 3, padding=(0, 1, 1)).bfloat16()
    x = torch.randn(1, 16, 5, 6, 8).bfloat16().contiguous(memory_format=memory_format)
    out = torch.ones(1, 32, 3, 6, 8).bfloat16().contiguous(memory_format=memory_format)
    frame_windows.convolve_frames(conv, x, out, is_added=True)
    torch.testing.assert_close(out, 1 + conv(x), atol=0.03, rtol=0.02)
