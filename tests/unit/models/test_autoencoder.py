import pytest
import torch

from cogvideox.configs import AutoencoderConfig
from cogvideox.models.autoencoder import DecoderState, GaussianPosterior, VideoAutoencoder

CONFIG = AutoencoderConfig(block_out_channels=(4, 8, 8, 8), layers_per_block=1, norm_num_groups=2)


@pytest.fixture(scope="module")
def autoencoder() -> VideoAutoencoder:
    torch.manual_seed(0)
    return VideoAutoencoder(CONFIG).eval()


@pytest.mark.parametrize(("num_frames", "num_latent_frames"), [(1, 1), (8, 2), (9, 3), (16, 4), (17, 5), (33, 9)])
@torch.no_grad()
def test_lengths_and_sizes(autoencoder: VideoAutoencoder, num_frames: int, num_latent_frames: int) -> None:
    latents = autoencoder.encode(torch.zeros(1, 3, num_frames, 16, 24)).mode()
    assert latents.shape == (1, 16, num_latent_frames, 2, 3)
    assert autoencoder.decode(latents).shape == (1, 3, num_frames, 16, 24)


@torch.no_grad()
def test_earlier_chunks_do_not_see_later_ones(autoencoder: VideoAutoencoder) -> None:
    latents = torch.randn(1, 16, 5, 2, 3)
    changed = latents.clone()
    changed[:, :, 3:] += 1.0
    before, after = autoencoder.decode(latents), autoencoder.decode(changed)
    assert torch.equal(before[:, :, :9], after[:, :, :9]) and not torch.equal(before[:, :, 9:], after[:, :, 9:])


@torch.no_grad()
def test_the_stream_keeps_no_chunk_alive(autoencoder: VideoAutoencoder) -> None:
    state = DecoderState()
    _, state = autoencoder.decoder(torch.randn(1, 16, 3, 2, 3), state)
    assert not state.is_first_chunk
    num_kept = sum(past.untyped_storage().nbytes() for past in state.pasts)
    assert num_kept == sum(past.numel() * past.element_size() for past in state.pasts)
    assert {past.shape[2] for past in state.pasts} == {2}


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 3, 9, 20, 24), "multiples of 8"), ((1, 4, 9, 16, 24), "expected"), ((3, 9, 16, 24), "expected")],
)
def test_wrong_videos_are_refused(autoencoder: VideoAutoencoder, shape, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        autoencoder.encode(torch.zeros(shape))


def test_wrong_latents_are_refused(autoencoder: VideoAutoencoder) -> None:
    with pytest.raises(ValueError, match="latents"):
        list(autoencoder.decode_stream(torch.zeros(1, 8, 3, 2, 3)))


def test_posterior() -> None:
    moments = torch.zeros(1, 32, 1, 2, 2)
    assert GaussianPosterior(moments).kl() == 0
    moments[:, 16:] = 100.0
    assert GaussianPosterior(moments).log_variance.max() == 20
    moments[:, :16], moments[:, 16:] = 3.0, -40.0
    posterior = GaussianPosterior(moments)
    assert posterior.kl() > 4.5 and (posterior.sample(torch.Generator().manual_seed(0)) - 3).abs().max() < 1e-4


def test_weights_are_channels_last(autoencoder: VideoAutoencoder, tmp_path) -> None:
    autoencoder.save(tmp_path)
    loaded = VideoAutoencoder.load(tmp_path, dtype="bfloat16")
    for model in (autoencoder, loaded):
        weight = model.decoder.up_blocks[0].resnets[0].conv1.conv.weight
        assert weight.is_contiguous(memory_format=torch.channels_last_3d)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[25], [1] * 25, [3, 9, 1, 12], [10, 15]])
def test_a_stream_of_pieces_is_encoded_like_the_whole(autoencoder: VideoAutoencoder, lengths: list[int]) -> None:
    video = torch.rand(1, 3, 25, 16, 24) * 2 - 1
    chunks = list(autoencoder.encode_stream(iter(video.split(lengths, dim=2)), 25))
    assert [chunk.mean.shape[2] for chunk in chunks] == [3, 2, 2]
    torch.testing.assert_close(torch.cat([chunk.mean for chunk in chunks], dim=2), autoencoder.encode(video).mean)


@torch.no_grad()
def test_pieces_are_taken_as_they_are_needed(autoencoder: VideoAutoencoder) -> None:
    num_taken = 0

    def pieces():
        nonlocal num_taken
        for _ in range(25):
            num_taken += 1
            yield torch.zeros(1, 3, 1, 16, 24)

    next(autoencoder.encode_stream(pieces(), 25))
    assert num_taken == 9


@torch.no_grad()
@pytest.mark.parametrize(("num_frames", "message"), [(17, "got more"), (33, "got 25"), (0, "at least 1")])
def test_a_wrong_number_of_frames_is_refused(autoencoder: VideoAutoencoder, num_frames: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(autoencoder.encode_stream([torch.zeros(1, 3, 25, 16, 24)], num_frames))
