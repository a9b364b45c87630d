"""How far a video is from another one, frame by frame: PSNR, SSIM, flicker and LPIPS, in memory that does not grow.

Axes: B batch, T frames, N pictures, H W rows and columns.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cogvideox.models.lpips import MIN_SIZE_PX as LPIPS_SIZE_PX
from cogvideox.models.lpips import Lpips

RANGE = 2.0
"""Of pixels in [-1, 1]."""
LEVELS = 255
"""Steps from black to white of 8-bit pixels."""
LEAST_SQUARED_ERROR = 1e-12
"""Equal videos have a PSNR of 126 dB, not an infinite one, which would be no JSON and spoil a mean."""

SSIM_WINDOW_PX = 11
SSIM_DEVIATION_PX = 1.5
SSIM_CONSTANTS = ((0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2)


@dataclass(frozen=True, kw_only=True)
class VideoScores:
    """Of a reconstructed video beside its original."""

    num_frames: int
    psnr_db: float
    """Of the mean squared error of all frames; at most 126."""
    psnr_frame_mean_db: float
    """Mean of the frames' own ratios; at most 126."""
    ssim: float | None
    """Mean of the frames; at most 1; None if the frames are smaller than its window of 11x11 px."""
    flicker_original: float | None
    """Mean absolute difference of neighbouring frames, in levels of 0 to 255; None for a single frame."""
    flicker_reconstructed: float | None
    lpips: float | None
    """Mean of the frames; 0 for equal ones; None if not asked for."""


class VideoMetrics:
    """Takes two videos piece by piece and keeps sums and the last frames."""

    def __init__(self, lpips: Lpips | None = None) -> None:
        self._lpips = lpips
        self._num_frames = 0
        self._sums = dict.fromkeys(("squared_error", "psnr_db", "ssim", "original", "reconstructed", "lpips"), 0.0)
        self._has_ssim = True
        self._last: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def update(self, original: Tensor, reconstructed: Tensor) -> None:
        """Take the next frames of both videos.

        Args:
            original: (B, 3, T, H, W) in [-1, 1].
            reconstructed: the same; what is beyond the range is cut off, as when it is shown.

        Raises:
            ValueError: the shapes differ, frames are too small for LPIPS, or pixels are NaN or infinite.
        """
        if original.shape != reconstructed.shape or original.ndim != 5:
            got = f"{tuple(original.shape)} and {tuple(reconstructed.shape)}"
            raise ValueError(f"original, reconstructed: expected one shape (B, 3, T, H, W), got {got}")
        for index in range(original.shape[2]):  # one by one: SSIM and LPIPS take many times the memory of a frame
            made = reconstructed[:, :, index].float()
            self._add_frame(original[:, :, index].to(made), made)

    def _add_frame(self, real: Tensor, made: Tensor) -> None:
        """Take one frame (B, 3, H, W) of each."""
        if not torch.isfinite(made).all():
            raise ValueError(
                f"reconstructed: expected finite pixels, got NaN or infinity in frame {self._num_frames}; float16 is "
                "too narrow for some autoencoders, use bfloat16 or float32"
            )
        made = made.clamp(-1, 1)
        squared_error = float((made - real).square().mean())
        self._sums["squared_error"] += squared_error
        self._sums["psnr_db"] += _psnr_db(squared_error)
        self._has_ssim = min(real.shape[2:]) >= SSIM_WINDOW_PX
        if self._has_ssim:
            self._sums["ssim"] += float(ssim(made, real).mean())
        if self._lpips is not None:
            self._sums["lpips"] += float(self._lpips(made, real).mean())
        if self._last is not None:
            for name, now, before in zip(("original", "reconstructed"), (real, made), self._last, strict=True):
                self._sums[name] += float((now - before).abs().mean()) * LEVELS / RANGE
        self._last = (real, made)
        self._num_frames += 1

    def scores(self) -> VideoScores:
        """Return the scores of all frames so far. Raises ValueError if there are none."""
        if not self._num_frames:
            raise ValueError("scores: expected at least 1 frame, got none; call update first")
        means = {name: total / self._num_frames for name, total in self._sums.items()}
        num_changes = self._num_frames - 1
        flickers = [self._sums[name] / num_changes if num_changes else None for name in ("original", "reconstructed")]
        return VideoScores(
            num_frames=self._num_frames,
            psnr_db=_psnr_db(means["squared_error"]),
            psnr_frame_mean_db=means["psnr_db"],
            ssim=means["ssim"] if self._has_ssim else None,
            flicker_original=flickers[0],
            flicker_reconstructed=flickers[1],
            lpips=None if self._lpips is None else means["lpips"],
        )


def check_lpips_size(height_px: int, width_px: int) -> None:
    """Raise ValueError for frames that are too small for LPIPS."""
    if min(height_px, width_px) < LPIPS_SIZE_PX:
        size = f"{width_px}x{height_px}"
        raise ValueError(f"lpips: expected frames of at least {LPIPS_SIZE_PX}x{LPIPS_SIZE_PX} px, got {size}")


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity (N,) of pictures (N, C, H, W) in [-1, 1], mean over places and channels.

    As Wang et al. 2004: a Gaussian window of 11x11 px and deviation 1.5, wholly inside the picture, K1 = 0.01,
    K2 = 0.03; of each colour channel alone.

    Raises:
        ValueError: the shapes differ, or the window does not fit.
    """
    if first.shape != second.shape or first.ndim != 4 or min(first.shape[2:]) < SSIM_WINDOW_PX:
        expected = f"two tensors (N, C, H, W) of one shape, H and W at least {SSIM_WINDOW_PX}"
        raise ValueError(f"first, second: expected {expected}, got {tuple(first.shape)} and {tuple(second.shape)}")
    c1, c2 = SSIM_CONSTANTS
    first, second = first + 1, second + 1  # from black: the formula compares means as ratios
    products = torch.stack([first, second, first.square(), second.square(), first * second])
    first_mean, second_mean, first_square, second_square, product = _window_means(products)
    mean_product, mean_squares = first_mean * second_mean, first_mean.square() + second_mean.square()
    variances, covariance = first_square + second_square - mean_squares, product - mean_product
    places = (2 * mean_product + c1) * (2 * covariance + c2) / ((mean_squares + c1) * (variances + c2))
    return places.mean((1, 2, 3))


def _window_means(pictures: Tensor) -> Tensor:
    """Return the weighted means of every window in (..., H, W)."""
    offsets = torch.arange(SSIM_WINDOW_PX, dtype=pictures.dtype, device=pictures.device) - SSIM_WINDOW_PX // 2
    weights = torch.exp(-(offsets / SSIM_DEVIATION_PX).square() / 2)
    weights = weights / weights.sum()
    x = pictures.flatten(0, -3)[None]  # as channels of one picture: nine times as fast as one channel of many
    for shape in ((-1, 1), (1, -1)):
        x = functional.conv2d(x, weights.view(1, 1, *shape).expand(x.shape[1], -1, -1, -1), groups=x.shape[1])
    return x.view(*pictures.shape[:-2], *x.shape[2:])


def _psnr_db(squared_error: float) -> float:
    return 10 * math.log10(RANGE**2 / max(squared_error, LEAST_SQUARED_ERROR))
