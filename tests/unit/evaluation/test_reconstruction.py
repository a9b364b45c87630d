"""Reconstruction scores of known errors, and the round trip of any length and size."""

import json
import math

import pytest
import torch

from cogvideox.configs import AutoencoderConfig
from cogvideox.data.stage_world import draw_simple_art
from cogvideox.evaluation.reconstruction import evaluate_reconstruction, flicker, psnr_db, reconstruct_stream
from cogvideox.evaluation.report import report_reconstruction
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.tiling import Tiling


class OffsetAutoencoder(torch.nn.Module):
    """Returns its input, each clip's pixels 0.1 off towards grey."""

    def __init__(self, *, has_flicker=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.has_flicker = has_flicker

    @property
    def dtype(self):
        return self.weight.dtype

    def encode(self, video):
        self.video = video
        return self

    def mode(self):
        return self.video

    def decode(self, latents):
        signs = torch.tensor([1.0, -1.0]).repeat(9)[:17].view(1, 1, 17, 1, 1) if self.has_flicker else 1.0
        return latents - 0.1 * signs * latents.sign()


def test_psnr_and_flicker_of_known_videos():
    real = torch.zeros(3, 5, 4, 4)
    assert float(psnr_db(real + 0.2, real)) == pytest.approx(20.0, abs=1e-4)
    assert float(flicker(real)) == 0
    assert float(flicker(torch.arange(5.0).view(1, 5, 1, 1).expand(3, 5, 4, 4))) == pytest.approx(1)


def test_an_autoencoder_with_a_known_error():
    steps = []
    scores = evaluate_reconstruction(
        OffsetAutoencoder(),  # pyright: ignore[reportArgumentType]
        num_clips=5,
        seed=0,
        art=draw_simple_art(),
        batch_size=2,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(2, 5), (4, 5), (5, 5)]
    assert scores.psnr_mean_db == pytest.approx(20 * math.log10(2 / 0.1), abs=0.05)
    assert scores.psnr_worst_db <= scores.psnr_mean_db
    report = report_reconstruction(scores)
    assert json.loads(json.dumps(report.values))["num_clips"] == 5
    assert "| 5 | 26.0" in report.to_markdown()


def test_flicker_is_seen_and_seeds_choose_the_clips():
    art = draw_simple_art()
    steady = evaluate_reconstruction(OffsetAutoencoder(), num_clips=2, seed=1, art=art)  # pyright: ignore[reportArgumentType]
    shaky = evaluate_reconstruction(OffsetAutoencoder(has_flicker=True), num_clips=2, seed=1, art=art)  # pyright: ignore[reportArgumentType]
    other = evaluate_reconstruction(OffsetAutoencoder(), num_clips=2, seed=2, art=art)  # pyright: ignore[reportArgumentType]
    assert shaky.flicker_ratio > steady.flicker_ratio + 0.5
    assert shaky.flicker_real == steady.flicker_real != other.flicker_real
    with pytest.raises(ValueError, match="num_clips"):
        evaluate_reconstruction(OffsetAutoencoder(), num_clips=0, seed=0, art=art)  # pyright: ignore[reportArgumentType]


def test_a_real_autoencoder_is_accepted():
    config = AutoencoderConfig(
        block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=4, latent_channels=4
    )
    scores = evaluate_reconstruction(VideoAutoencoder(config), num_clips=1, seed=0, art=draw_simple_art())
    assert math.isfinite(scores.psnr_mean_db)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are not faster on two, and many times slower if something else runs."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def small_autoencoder(temporal_compression_ratio: int = 4) -> VideoAutoencoder:
    torch.manual_seed(0)
    config = AutoencoderConfig(
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        temporal_compression_ratio=temporal_compression_ratio,
    )
    return VideoAutoencoder(config).eval()


def noise(num_frames: int, height_px: int = 16, width_px: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.rand((1, 3, num_frames, height_px, width_px), generator=generator) * 2 - 1


def round_trip(autoencoder: VideoAutoencoder, pieces, num_frames: int, **options) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = list(reconstruct_stream(autoencoder, pieces, num_frames, **options))
    assert all(original.shape == made.shape for original, made in pairs)
    originals, made = zip(*pairs, strict=True)
    return torch.cat(originals, dim=2), torch.cat(made, dim=2)


@torch.no_grad()
def at_once(autoencoder: VideoAutoencoder, video: torch.Tensor, tiling: Tiling | None = None) -> torch.Tensor:
    return autoencoder.decode(autoencoder.encode(video, tiling=tiling).mode(), tiling=tiling)


@pytest.mark.parametrize(
    ("ratio", "lengths"), [(4, range(1, 41)), (1, (1, 2, 9, 12)), (2, (3, 4, 6, 13)), (8, (1, 5, 16, 17, 31, 33))]
)
def test_every_length_comes_back(ratio: int, lengths) -> None:
    autoencoder = small_autoencoder(ratio)
    for num_frames in lengths:
        video = noise(num_frames)
        original, made = round_trip(autoencoder, video.split(num_frames % 5 + 1, dim=2), num_frames)
        assert torch.equal(original, video)
        assert not made.requires_grad
        is_exact = num_frames % (2 * ratio) in (0, 1)
        num_repeats = 0 if is_exact else 2 * ratio - num_frames % (2 * ratio)
        padded = torch.cat([video, video[:, :, -1:].repeat(1, 1, num_repeats, 1, 1)], dim=2)
        assert torch.equal(made, at_once(autoencoder, padded)[:, :, :num_frames]), num_frames


@pytest.mark.parametrize(("height_px", "width_px"), [(8, 8), (1, 1), (13, 24), (16, 31), (9, 15)])
def test_every_size_comes_back(height_px: int, width_px: int) -> None:
    autoencoder, video = small_autoencoder(), noise(9, height_px, width_px)
    original, made = round_trip(autoencoder, [video], 9)
    assert torch.equal(original, video) and made.shape == video.shape
    rows, columns = (torch.arange(-(-size // 8) * 8).clamp_max(size - 1) for size in (height_px, width_px))
    padded = video[:, :, :, rows][..., columns]
    assert torch.equal(made, at_once(autoencoder, padded)[..., :height_px, :width_px])


def test_tiles_and_batches() -> None:
    autoencoder = small_autoencoder()
    tiling = Tiling(tile_height_px=16, tile_width_px=16, overlap_height=0.5, overlap_width=0.5)
    video = torch.cat([noise(17, 32, 40), -noise(17, 32, 40)])
    _, made = round_trip(autoencoder, video.split(4, dim=2), 17, tiling=tiling)
    assert torch.equal(made, at_once(autoencoder, video, tiling))
    assert not torch.equal(made, at_once(autoencoder, video))


def test_pieces_are_taken_as_they_are_needed() -> None:
    taken = 0

    def pieces():
        nonlocal taken
        for piece in noise(41).split(1, dim=2):
            taken += 1
            yield piece

    num_done = 0
    for original, _ in reconstruct_stream(small_autoencoder(), pieces(), 41):
        num_done += original.shape[2]
        assert taken <= num_done + 8
    assert num_done == taken == 41


@pytest.mark.parametrize(("num_frames", "got"), [(18, "got 17"), (16, "got more"), (15, "got more"), (25, "got 17")])
def test_a_wrong_number_of_frames_is_noticed(num_frames: int, got: str) -> None:
    with pytest.raises(ValueError, match=f"expected {num_frames} frames in all .num_frames., {got}"):
        round_trip(small_autoencoder(), noise(17).split(3, dim=2), num_frames)


def test_no_frames() -> None:
    with pytest.raises(ValueError, match="num_frames: expected at least 1, got 0"):
        next(reconstruct_stream(small_autoencoder(), [], 0))
    with pytest.raises(ValueError, match="expected 3 frames in all"):
        next(reconstruct_stream(small_autoencoder(), [], 3))
