"""The round trip through the autoencoder, as a stream of any length, and its score on held-out renders.

Axes: B batch, T frames, H W rows and columns.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cogvideox.data.stage_world import Art, render_scene, sample_scene
from cogvideox.media.geometry import num_latent_frames, shortest_clip
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.tiling import Tiling

CLIP_SEED_DOMAIN = 880_000_003
"""First entry of the seeds of the clips scored here, which no training uses."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionScores:
    """Over held-out clips, rendered and reconstructed."""

    num_clips: int
    psnr_mean_db: float
    """Mean of the clips' own ratios."""
    psnr_worst_db: float
    """Of the worst clip."""
    flicker_made: float
    """Mean absolute difference of neighbouring frames of the reconstructions, of a range of 2."""
    flicker_real: float
    """The same of the renders."""

    @property
    def flicker_ratio(self) -> float:
        """Above 1 the reconstructions flicker, below 1 they lose motion."""
        return self.flicker_made / self.flicker_real


def psnr_db(made: Tensor, real: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of two videos (..., T, H, W) in [-1, 1], a scalar.

    The mean squared error is taken over all elements, then one ratio is formed.
    """
    error = (made.float() - real.float()).square().mean()
    return 10 * torch.log10(4.0 / error.clamp_min(1e-12))


def flicker(video: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring frames of (..., T, H, W), a scalar."""
    return (video[..., 1:, :, :].float() - video[..., :-1, :, :].float()).abs().mean()


@torch.no_grad()
def evaluate_reconstruction(
    autoencoder: VideoAutoencoder,
    *,
    num_clips: int,
    seed: int,
    art: Art,
    batch_size: int = 4,
    on_progress: Callable[[int, int], None] | None = None,
) -> ReconstructionScores:
    """Encode (to the posterior's mode) and decode held-out renders, 17 frames of 96x64 px.

    Args:
        autoencoder: on any device, in any dtype.
        num_clips: how many clips, at least 1.
        seed: of the clips.
        art: draws them; scenes are limited to the actors it holds.
        batch_size: clips reconstructed at a time.
        on_progress: called with the clips done so far and `num_clips`.

    Raises:
        ValueError: a number below 1.
    """
    for argument, value in (("num_clips", num_clips), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{argument}: expected at least 1, got {value}")
    device = next(autoencoder.parameters()).device
    rows: list[tuple[float, float, float]] = []
    for first in range(0, num_clips, batch_size):
        clips = [_render_clip(seed, index, art) for index in range(first, min(first + batch_size, num_clips))]
        real = torch.from_numpy(np.stack(clips)).movedim(-1, 1).float().to(device) / 127.5 - 1
        made = autoencoder.decode(autoencoder.encode(real.to(autoencoder.dtype)).mode()).float().clamp(-1, 1)
        for one_made, one_real in zip(made, real, strict=True):
            rows.append((float(psnr_db(one_made, one_real)), float(flicker(one_made)), float(flicker(one_real))))
        if on_progress is not None:
            on_progress(len(rows), num_clips)
    psnrs_db, made_flickers, real_flickers = (np.array(column) for column in zip(*rows, strict=True))
    return ReconstructionScores(
        num_clips=num_clips,
        psnr_mean_db=float(psnrs_db.mean()),
        psnr_worst_db=float(psnrs_db.min()),
        flicker_made=float(made_flickers.mean()),
        flicker_real=float(real_flickers.mean()),
    )


def _render_clip(seed: int, index: int, art: Art) -> np.ndarray:
    rng = np.random.default_rng((CLIP_SEED_DOMAIN, seed, index))
    return render_scene(sample_scene(rng, split="held_out", actors=art.actors), art)


@torch.no_grad()
def reconstruct_stream(
    autoencoder: VideoAutoencoder, pieces: Iterable[Tensor], num_frames: int, *, tiling: Tiling | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Encode a video (to the posterior's mode) and decode it as it comes; memory does not depend on its length.

    Any length and size comes back as it was: what the autoencoder cannot hold exactly is padded with its last frame,
    its last row and its last column, and cut off again.

    Args:
        autoencoder: on any device, in any dtype.
        pieces: (B, 3, n, H, W) in [-1, 1] each, in order, of any lengths n; taken as they are needed.
        num_frames: of all pieces together, at least 1.
        tiling: as for `VideoAutoencoder.encode`.

    Yields:
        The next frames of the original, on its device, and what was made of them, nominally in [-1, 1], on the
        autoencoder's; both (B, 3, n, H, W). Together they are ``num_frames``.

    Raises:
        ValueError: the pieces have fewer or more frames than ``num_frames``, another number of channels, or tiles that
            do not fit the autoencoder.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames: expected at least 1, got {num_frames}")
    ratio = autoencoder.config.temporal_compression_ratio
    num_padded_frames = shortest_clip(num_frames, ratio)
    waiting: deque[Tensor] = deque()

    def padded_pieces() -> Iterator[Tensor]:
        num_taken, piece = 0, None
        for piece in pieces:
            num_taken += piece.shape[2]
            if num_taken > num_frames:
                raise ValueError(f"pieces: expected {num_frames} frames in all (num_frames), got more")
            waiting.append(piece)
            yield _pad(piece, autoencoder)
        if piece is None or num_taken < num_frames:
            raise ValueError(f"pieces: expected {num_frames} frames in all (num_frames), got {num_taken}")
        if num_padded_frames > num_frames:
            yield _pad(piece[:, :, -1:], autoencoder).expand(-1, -1, num_padded_frames - num_frames, -1, -1)

    posteriors = autoencoder.encode_stream(padded_pieces(), num_padded_frames, tiling=tiling)
    latents = (posterior.mode() for posterior in posteriors)
    num_left = num_frames
    for made in autoencoder.decode_stream(latents, num_latent_frames(num_padded_frames, ratio), tiling=tiling):
        original = _take(waiting, min(made.shape[2], num_left))
        num_left -= original.shape[2]
        yield original, made[:, :, : original.shape[2], : original.shape[3], : original.shape[4]]


def _pad(piece: Tensor, autoencoder: VideoAutoencoder) -> Tensor:
    """Return (B, 3, n, H, W) as the autoencoder takes it, its last row and column repeated as often as it needs."""
    ratio = autoencoder.config.spatial_compression_ratio
    below, right = -piece.shape[3] % ratio, -piece.shape[4] % ratio
    if below or right:
        piece = functional.pad(piece, (0, right, 0, below, 0, 0), mode="replicate")
    return piece.to(device=autoencoder.device, dtype=autoencoder.dtype)


def _take(pieces: deque[Tensor], num_frames: int) -> Tensor:
    """Remove the first frames of a queue of (B, 3, n, H, W)."""
    parts: list[Tensor] = []
    while num_frames:
        piece = pieces.popleft()
        parts.append(piece[:, :, :num_frames])
        num_frames -= parts[-1].shape[2]
        if parts[-1].shape[2] < piece.shape[2]:
            pieces.appendleft(piece[:, :, parts[-1].shape[2] :])
    return torch.cat(parts, dim=2)
