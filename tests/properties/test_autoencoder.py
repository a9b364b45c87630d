"""Causality and chunking of the 3D VAE under each scope of its norms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvideox.configs import AutoencoderConfig, NormScope
from cogvideox.models import autoencoder
from cogvideox.models.autoencoder import VideoAutoencoder
from random_checkpoint import randomise

pytestmark = pytest.mark.slow

CONFIG = AutoencoderConfig(block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2, latent_channels=4)
LENGTHS = st.sampled_from([1, 8, 9, 16, 17, 24, 25])
FEW = settings(max_examples=8, deadline=None)


def make(norm_scope: NormScope) -> VideoAutoencoder:
    torch.manual_seed(0)
    model = VideoAutoencoder(CONFIG, norm_scope=norm_scope)
    randomise(model, seed=1)
    return model.double().eval()


MODELS: dict[NormScope, VideoAutoencoder] = {"chunk": make("chunk"), "clip": make("clip"), "frame": make("frame")}


def random_video(num_frames: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, num_frames, 16, 16, dtype=torch.float64, generator=generator) * 2 - 1


@torch.no_grad()
def pass_through(model: VideoAutoencoder, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    latents = model.encode(video).mode()
    return latents, model.decode(latents)


@FEW
@given(num_frames=st.sampled_from([9, 16, 17, 25]), seed=st.integers(0, 100), data=st.data())
def test_with_norms_of_a_frame_no_later_frame_changes_an_earlier_one(num_frames: int, seed: int, data) -> None:
    changed_from = data.draw(st.integers(1, num_frames - 1))
    video = random_video(num_frames, seed)
    other = video.clone()
    other[:, :, changed_from:] = random_video(num_frames - changed_from, seed + 1)
    latents, pixels = pass_through(MODELS["frame"], video)
    other_latents, other_pixels = pass_through(MODELS["frame"], other)
    # Latent n holds frames 4n - 3 to 4n where frame 0 has its own, else 4n to 4n + 3.
    num_equal = -(-changed_from // 4) if num_frames % 2 else changed_from // 4
    num_equal = min(num_equal, latents.shape[2])
    torch.testing.assert_close(other_latents[:, :, :num_equal], latents[:, :, :num_equal])
    num_equal_frames = (4 * num_equal - 3 if num_frames % 2 else 4 * num_equal) if num_equal else 0
    torch.testing.assert_close(other_pixels[:, :, :num_equal_frames], pixels[:, :, :num_equal_frames])
    assert not torch.allclose(other_latents[:, :, -1], latents[:, :, -1])


@FEW
@given(num_frames=st.sampled_from([17, 25]), seed=st.integers(0, 100))
def test_with_norms_of_a_chunk_no_later_chunk_changes_an_earlier_one(num_frames: int, seed: int) -> None:
    video = random_video(num_frames, seed)
    other = video.clone()
    other[:, :, -8:] = random_video(8, seed + 1)
    latents, pixels = pass_through(MODELS["chunk"], video)
    other_latents, other_pixels = pass_through(MODELS["chunk"], other)
    torch.testing.assert_close(other_latents[:, :, :-2], latents[:, :, :-2])
    torch.testing.assert_close(other_pixels[:, :, :-8], pixels[:, :, :-8])
    # Within a chunk the norm pools over later frames too: the documented limit of causality in the published model.
    other[:, :, :-8] = video[:, :, :-8]
    other[:, :, num_frames - 9] += 0.5  # the last frame of the chunk before
    changed = pass_through(MODELS["chunk"], other)[0]
    assert not torch.allclose(changed[:, :, -4], latents[:, :, -4])


@pytest.mark.parametrize("scope", ["frame", "clip"])
@pytest.mark.parametrize("num_frames", [1, 8, 9, 16, 17, 25])
def test_chunks_make_no_difference(scope: NormScope, num_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    video = random_video(num_frames, seed=3)
    latents, pixels = pass_through(MODELS[scope], video)
    monkeypatch.setattr(autoencoder, "NUM_FRAMES_PER_ENCODER_CHUNK", 16)
    monkeypatch.setattr(autoencoder, "NUM_LATENT_FRAMES_PER_DECODER_CHUNK", 4)
    other_latents, other_pixels = pass_through(MODELS[scope], video)
    torch.testing.assert_close(other_latents, latents)
    torch.testing.assert_close(other_pixels, pixels)


def test_with_norms_of_a_chunk_its_length_is_part_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    video = random_video(17, seed=3)
    latents = MODELS["chunk"].encode(video).mode()
    monkeypatch.setattr(autoencoder, "NUM_FRAMES_PER_ENCODER_CHUNK", 16)
    assert not torch.allclose(MODELS["chunk"].encode(video).mode(), latents)
    with torch.no_grad():
        torch.testing.assert_close(MODELS["chunk"].encode(video).mode(), MODELS["clip"].encode(video).mode())


@FEW
@given(num_frames=LENGTHS, seed=st.integers(0, 100))
def test_latents_and_frames_have_the_published_counts(num_frames: int, seed: int) -> None:
    latents, pixels = pass_through(MODELS["chunk"], random_video(num_frames, seed))
    assert latents.shape[2] == (num_frames - 1) // 4 + 1
    assert pixels.shape[2] == num_frames
