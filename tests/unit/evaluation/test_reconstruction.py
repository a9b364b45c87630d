"""Reconstruction scores: PSNR and flicker of known errors."""

import json
import math

import pytest
import torch

from cogvideox.configs import AutoencoderConfig
from cogvideox.data.stage_world import draw_simple_art
from cogvideox.evaluation.reconstruction import evaluate_reconstruction, flicker, psnr_db
from cogvideox.evaluation.report import report_reconstruction
from cogvideox.models.autoencoder import VideoAutoencoder


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
