"""Figures of known errors, and SSIM written out; pieces of any lengths make no difference."""

import json
import math

import numpy as np
import pytest
import torch

from cogvideox.evaluation.report import report_round_trip
from cogvideox.evaluation.video_metrics import VideoMetrics, check_lpips_size, ssim
from cogvideox.models.lpips import Lpips


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def plain_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Return the SSIM of two channels (H, W) of levels 0 to 255, every window by itself."""
    places = np.arange(11) - 5
    weights = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(first.shape[0] - 10):
        for left in range(first.shape[1] - 10):
            x, y = (picture[top : top + 11, left : left + 11] for picture in (first, second))
            x_mean, y_mean = (weights * x).sum(), (weights * y).sum()
            x_variance, y_variance = (weights * (x - x_mean) ** 2).sum(), (weights * (y - y_mean) ** 2).sum()
            covariance = (weights * (x - x_mean) * (y - y_mean)).sum()
            luminance = (2 * x_mean * y_mean + c1) / (x_mean**2 + y_mean**2 + c1)
            values.append(luminance * (2 * covariance + c2) / (x_variance + y_variance + c2))
    return float(np.mean(values))


@pytest.mark.parametrize("strength", [0.0, 0.2, 2.0])
def test_ssim_is_the_formula_of_every_window(strength: float) -> None:
    first = noise(2, 3, 14, 17)
    second = (first + strength * noise(2, 3, 14, 17, seed=1)).clamp(-1, 1)
    levels = [127.5 * (pictures.double().numpy() + 1) for pictures in (first, second)]
    expected = [
        np.mean([plain_ssim(levels[0][picture, channel], levels[1][picture, channel]) for channel in range(3)])
        for picture in range(2)
    ]
    np.testing.assert_allclose(ssim(first, second).numpy(), expected, rtol=0, atol=1e-5)
    assert strength or ssim(first, second).tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("shapes", [((1, 3, 10, 11),) * 2, ((3, 11, 11),) * 2, ((1, 3, 11, 11), (1, 3, 11, 12))])
def test_ssim_needs_a_window(shapes) -> None:
    with pytest.raises(ValueError, match="first, second: expected two tensors"):
        ssim(*map(torch.zeros, shapes))


def test_known_errors() -> None:
    brightness = torch.tensor([0.0, 10, 40]).view(1, 1, 3, 1, 1).expand(1, 3, 3, 12, 12)
    errors = torch.tensor([3.0, 6, 3]).view(1, 1, 3, 1, 1)
    metrics = VideoMetrics()
    metrics.update(brightness / 127.5 - 1, (brightness + errors) / 127.5 - 1)
    scores = metrics.scores()
    assert scores.psnr_db == pytest.approx(10 * math.log10(255**2 / 18), abs=1e-4)
    assert scores.psnr_frame_mean_db == pytest.approx(20 * (2 * math.log10(85) + math.log10(42.5)) / 3, abs=1e-4)
    assert scores.flicker_original == pytest.approx((10 + 30) / 2, abs=1e-4)
    assert scores.flicker_reconstructed == pytest.approx((13 + 27) / 2, abs=1e-4)
    assert scores.num_frames == 3 and scores.lpips is None


def test_equal_videos_and_what_is_out_of_range() -> None:
    video = torch.full((1, 3, 2, 12, 12), 1.0)
    metrics = VideoMetrics()
    metrics.update(video, video + 0.5)
    scores = metrics.scores()
    assert scores.psnr_db == scores.psnr_frame_mean_db == pytest.approx(126.02, abs=0.01)
    assert scores.ssim == pytest.approx(1) and scores.flicker_original == scores.flicker_reconstructed == 0


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_pieces_make_no_difference(length: int) -> None:
    original, made = noise(2, 3, 7, 12, 20), noise(2, 3, 7, 12, 20, seed=1)
    whole, pieces = VideoMetrics(), VideoMetrics()
    whole.update(original, made)
    for pair in zip(original.split(length, dim=2), made.split(length, dim=2), strict=True):
        pieces.update(*pair)
    assert pieces.scores() == whole.scores()
    changes = 127.5 * original.diff(dim=2).abs().mean()
    assert whole.scores().flicker_original == pytest.approx(float(changes), rel=1e-5)
    squared_error = (127.5 * (original - made)).square().mean()
    assert whole.scores().psnr_db == pytest.approx(10 * math.log10(255**2 / float(squared_error)), abs=1e-4)


def test_a_single_small_picture() -> None:
    metrics = VideoMetrics()
    with pytest.raises(ValueError, match="at least 1 frame"):
        metrics.scores()
    metrics.update(noise(1, 3, 1, 8, 8), noise(1, 3, 1, 8, 8, seed=1))
    scores = metrics.scores()
    assert (scores.ssim, scores.flicker_original, scores.flicker_reconstructed) == (None, None, None)
    report = report_round_trip(scores, title="a", height_px=8, width_px=8, seconds=2)
    assert json.loads(json.dumps(report.values))["frames_per_s"] == 0.5
    assert "| SSIM | - |" in report.to_markdown() and "LPIPS" not in report.to_markdown()


def test_lpips_is_the_mean_of_the_frames() -> None:
    torch.manual_seed(0)
    lpips, original, made = Lpips(), noise(1, 3, 2, 16, 16), noise(1, 3, 2, 16, 16, seed=1)
    metrics = VideoMetrics(lpips)
    metrics.update(original, made)
    expected = lpips(original[0].transpose(0, 1), made[0].transpose(0, 1)).mean()
    scores = metrics.scores()
    assert scores.lpips == pytest.approx(float(expected), rel=1e-5)
    assert "| LPIPS |" in report_round_trip(scores, title="", height_px=16, width_px=16, seconds=1).to_markdown()
    check_lpips_size(16, 16)
    with pytest.raises(ValueError, match="at least 16x16 px, got 20x15"):
        check_lpips_size(15, 20)


def test_what_is_no_pair_of_videos() -> None:
    video = noise(1, 3, 2, 12, 12)
    with pytest.raises(ValueError, match="expected one shape"):
        VideoMetrics().update(video, video[:, :, :1])
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN or infinity in frame 1"):
            VideoMetrics().update(video, torch.cat([video[:, :, :1], torch.full((1, 3, 1, 12, 12), wrong)], dim=2))
