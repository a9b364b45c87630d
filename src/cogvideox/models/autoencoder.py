"""The 3D causal VAE: video to 8x8x4 smaller latents and back, chunk by chunk.

Paper: CogVideoX (arXiv 2408.06072), section 2.1. Frames: 1 + 4k video frames are 1 + k latent frames.
Chunks are part of the published function: group norms pool over the frames of a chunk, so another chunk size gives
other pixels. Encoding takes 8 frames a chunk and decoding 2 latent frames, the remainder joined to the first chunk.

Axes: B batch, C channels, T frames, H W rows and columns (lower case: latent).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.component_files import load_component, save_component
from cogvideox.configs import AutoencoderConfig
from cogvideox.models.autoencoder_blocks import (
    ChunkPass,
    Downsample,
    LatentNorm,
    NormScope,
    ResidualBlock,
    ScopedGroupNorm,
    Upsample,
)
from cogvideox.models.causal_conv import CausalConv3d
from cogvideox.models.reused_memory import Workspace, borrow_workspace
from cogvideox.models.tiling import TileGrid, Tiling

NUM_FRAMES_PER_ENCODER_CHUNK = 8
NUM_LATENT_FRAMES_PER_DECODER_CHUNK = 2


@dataclass(frozen=True)
class DecoderState:
    """What one chunk leaves to the next: the pasts of all causal convolutions, in running order."""

    pasts: tuple[Tensor, ...] = ()

    @property
    def is_first_chunk(self) -> bool:
        """Whether no chunk came before."""
        return not self.pasts


EncoderState = DecoderState


class _Stage(nn.Module):
    """Residual blocks and at most one resampler, under the published names."""

    def __init__(self, resnets: list[ResidualBlock], resampler: Downsample | Upsample | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        if isinstance(resampler, Downsample):
            self.downsamplers = nn.ModuleList([resampler])
        elif isinstance(resampler, Upsample):
            self.upsamplers = nn.ModuleList([resampler])
        self._resampler_name = {Downsample: "downsamplers", Upsample: "upsamplers"}.get(type(resampler))

    def forward(self, x: Tensor, chunk: ChunkPass) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x, chunk)
        if self._resampler_name is None:
            return x
        return self.get_submodule(f"{self._resampler_name}.0")(x, chunk)


def _residual_block(
    config: AutoencoderConfig,
    in_channels: int,
    out_channels: int,
    *,
    norm_scope: NormScope,
    num_latent_channels: int | None,
) -> ResidualBlock:
    return ResidualBlock(
        in_channels,
        out_channels,
        num_groups=config.norm_num_groups,
        norm_eps=config.norm_eps,
        norm_scope=norm_scope,
        activation=config.act_fn,
        num_latent_channels=num_latent_channels,
    )


class Encoder(nn.Module):
    """Pixels to the parameters of the latents' Gaussian."""

    def __init__(self, config: AutoencoderConfig, norm_scope: NormScope = "chunk") -> None:
        super().__init__()
        widths = config.block_out_channels
        num_time_halvings = config.temporal_compression_ratio.bit_length() - 1

        block = partial(_residual_block, config, norm_scope=norm_scope, num_latent_channels=None)
        self.conv_in = CausalConv3d(config.in_channels, widths[0], kernel_size=3)
        self.down_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            width_before = widths[max(level - 1, 0)]
            blocks = [block(width_before if i == 0 else width, width) for i in range(config.layers_per_block)]
            is_last = level == len(widths) - 1
            downsample = None if is_last else Downsample(width, halves_time=level < num_time_halvings)
            self.down_blocks.append(_Stage(blocks, downsample))
        self.mid_block = _Stage([block(widths[-1], widths[-1]) for _ in range(2)], None)
        self.norm_out = ScopedGroupNorm(config.norm_num_groups, widths[-1], 1e-6, norm_scope)
        self.conv_out = CausalConv3d(widths[-1], 2 * config.latent_channels, kernel_size=3)

    def forward(
        self, pixels: Tensor, state: EncoderState, workspace: Workspace | None = None, *, is_end_of_clip: bool = False
    ) -> tuple[Tensor, EncoderState]:
        """Encode one chunk (B, 3, T, H, W) in [-1, 1] to mean and log variance (B, 2Z, t, h, w).

        The remaining arguments are as for `ChunkPass`.
        """
        chunk = ChunkPass(state.pasts, None, workspace, is_end_of_clip=is_end_of_clip)
        x = chunk.convolve(self.conv_in, pixels)
        for stage in self.down_blocks:
            x = stage(x, chunk)
        x = self.mid_block(x, chunk)
        moments = chunk.norm_activate_convolve(self.norm_out, functional.silu, self.conv_out, x, is_kept=True)
        chunk.workspace.give_back(x)
        return moments, EncoderState(chunk.collect())


class Decoder(nn.Module):
    """Latents to pixels; every norm is conditioned on the latents.

    Parity: the first two upsamplings double time and the last does not, as in the public code and weights; the
    paper's text and figure say the opposite.
    """

    def __init__(self, config: AutoencoderConfig, norm_scope: NormScope = "chunk") -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        num_time_doublings = config.temporal_compression_ratio.bit_length() - 1

        block = partial(_residual_block, config, norm_scope=norm_scope, num_latent_channels=config.latent_channels)
        self.conv_in = CausalConv3d(config.latent_channels, widths[0], kernel_size=3)
        self.mid_block = _Stage([block(widths[0], widths[0]) for _ in range(2)], None)
        self.up_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            width_before = widths[max(level - 1, 0)]
            blocks = [block(width_before if i == 0 else width, width) for i in range(config.layers_per_block + 1)]
            is_last = level == len(widths) - 1
            upsample = None if is_last else Upsample(width, doubles_time=level < num_time_doublings)
            self.up_blocks.append(_Stage(blocks, upsample))
        self.norm_out = LatentNorm(widths[-1], config.latent_channels, config.norm_num_groups, norm_scope)
        self.conv_out = CausalConv3d(widths[-1], config.out_channels, kernel_size=3)

    def forward(
        self, latents: Tensor, state: DecoderState, workspace: Workspace | None = None, *, is_end_of_clip: bool = False
    ) -> tuple[Tensor, DecoderState]:
        """Decode one chunk (B, Z, t, h, w) to pixels (B, 3, T, H, W), nominally in [-1, 1].

        The remaining arguments are as for `ChunkPass`.
        """
        chunk = ChunkPass(state.pasts, latents, workspace, is_end_of_clip=is_end_of_clip)
        x = chunk.convolve(self.conv_in, latents)
        x = self.mid_block(x, chunk)
        for stage in self.up_blocks:
            x = stage(x, chunk)
        pixels = chunk.norm_activate_convolve(self.norm_out, functional.silu, self.conv_out, x, is_kept=True)
        chunk.workspace.give_back(x)
        return pixels, DecoderState(chunk.collect())


class GaussianPosterior:
    """Diagonal Gaussian over latents (B, Z, t, h, w)."""

    def __init__(self, mean_and_log_variance: Tensor) -> None:
        self.mean, log_variance = mean_and_log_variance.chunk(2, dim=1)
        self.log_variance = log_variance.clamp(-30.0, 20.0)

    def mode(self) -> Tensor:
        """Return the most likely latents."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents; the generator may be on another device."""
        device = self.mean.device if generator is None else generator.device
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=device)
        return self.mean + torch.exp(0.5 * self.log_variance) * noise.to(self.mean.device)

    def kl(self) -> Tensor:
        """Return the divergence from the unit Gaussian in nats, mean over all latent elements (a scalar)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance).mean()


class VideoAutoencoder(nn.Module):
    """The 3D causal VAE with the published chunking.

    ``encode`` and ``decode`` work on unscaled latents; the diffusion model's are multiplied by
    ``config.scaling_factor``.
    """

    def __init__(self, config: AutoencoderConfig, *, norm_scope: NormScope = "chunk") -> None:
        """Build with random weights.

        Args:
            config: shape.
            norm_scope: over which frames group norms pool. Only "chunk" is the published function. With "frame", chunks
                make no difference; with "clip", a clip is one chunk, in the memory that it takes. It is no part of the
                checkpoint format: load a model with the scope that it was trained with.
        """
        super().__init__()
        self.config = config
        self.norm_scope: NormScope = norm_scope
        self.encoder = Encoder(config, norm_scope)
        self.decoder = Decoder(config, norm_scope)
        self._workspaces: list[Workspace] = []
        _use_channels_last(self)

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        variant: str | None = None,
        norm_scope: NormScope = "chunk",
    ) -> Self:
        """Load a checkpoint directory or its ``vae/`` folder; ``variant`` is a precision's name, as in "fp16".

        Raises ValueError on a damaged or foreign one.
        """
        make = partial(cls, norm_scope=norm_scope)
        model = load_component(directory, "vae", make, AutoencoderConfig, device=device, dtype=dtype, variant=variant)
        _use_channels_last(model)
        return model

    def save(self, directory: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and weights, in ``dtype`` if given, as a checkpoint's ``vae/`` folder."""
        save_component(self, directory, "AutoencoderKLCogVideoX", dtype=dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.encoder.conv_in.conv.weight.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.encoder.conv_in.conv.weight.device

    def encode(self, video: Tensor, *, tiling: Tiling | None = None) -> GaussianPosterior:
        """Encode (B, 3, T, H, W) in [-1, 1] to a posterior over (B, Z, t, H/8, W/8).

        T is 1 + 4k, or 4k (whose first frames then have no latent of their own, as published). With ``tiling``, a
        frame larger than a tile is encoded tile by tile.
        Raises ValueError if H or W is not a multiple of the spatial compression, or the tiles do not fit the latents.
        """
        num_frames = self._checked_pixels(video).shape[2]
        chunks = list(self.encode_stream([video], num_frames, tiling=tiling))
        moments = torch.cat([torch.cat([chunk.mean, chunk.log_variance], dim=1) for chunk in chunks], dim=2)
        return GaussianPosterior(moments)

    def encode_stream(
        self, pieces: Iterable[Tensor], num_frames: int, *, tiling: Tiling | None = None
    ) -> Iterator[GaussianPosterior]:
        """Encode a video that need never be in memory as a whole, chunk by chunk.

        Args:
            pieces: (B, 3, n, H, W) each, in order, of any lengths n; taken as they are needed.
            num_frames: of all pieces together. It has to be known, because a remainder belongs to the first chunk.
            tiling: as for `encode`.

        Yields:
            The posterior of every chunk; together they are that of `encode`. Memory does not depend on the length.

        Raises:
            ValueError: as `encode`; or the pieces have fewer or more frames than ``num_frames``.
        """
        grid = None if tiling is None else TileGrid.for_encoding(tiling, self.config.spatial_compression_ratio)
        if num_frames < 1:
            raise ValueError(f"num_frames: expected at least 1, got {num_frames}")
        sizes = self._chunk_sizes(num_frames, NUM_FRAMES_PER_ENCODER_CHUNK)
        chunks = _regroup(map(self._checked_pixels, pieces), sizes)
        for moments in _run_chunks(self.encoder, chunks, len(sizes), grid, self._workspaces):
            yield GaussianPosterior(moments)

    def _checked_pixels(self, video: Tensor) -> Tensor:
        ratio = self.config.spatial_compression_ratio
        if video.ndim != 5 or video.shape[1] != self.config.in_channels:
            raise ValueError(f"video: expected (B, {self.config.in_channels}, T, H, W), got {tuple(video.shape)}")
        if video.shape[3] % ratio or video.shape[4] % ratio:
            raise ValueError(f"video: height and width must be multiples of {ratio} px, got {tuple(video.shape[3:])}")
        return video

    def decode_stream(self, latents: Tensor, *, tiling: Tiling | None = None) -> Iterator[Tensor]:
        """Decode (B, Z, t, h, w) chunk by chunk: yields pixels (B, 3, T, H, W) in [-1, 1] (clamp before showing).

        Memory does not depend on the length. With ``tiling``, a frame larger than a tile is decoded tile by tile.
        Raises ValueError if the latents have another number of channels, or the tiles do not fit the latents.
        """
        if latents.ndim != 5 or latents.shape[1] != self.config.latent_channels:
            expected = f"(B, {self.config.latent_channels}, t, h, w)"
            raise ValueError(f"latents: expected {expected}, got {tuple(latents.shape)}")
        grid = None if tiling is None else TileGrid.for_decoding(tiling, self.config.spatial_compression_ratio)
        sizes = self._chunk_sizes(latents.shape[2], NUM_LATENT_FRAMES_PER_DECODER_CHUNK)
        yield from _run_chunks(self.decoder, latents.split(sizes, dim=2), len(sizes), grid, self._workspaces)

    def decode(self, latents: Tensor, *, tiling: Tiling | None = None) -> Tensor:
        """Decode (B, Z, t, h, w) to pixels (B, 3, T, 8h, 8w), nominally in [-1, 1]; T = 4t - 3, or 4t for even t."""
        return torch.cat(list(self.decode_stream(latents, tiling=tiling)), dim=2)

    def _chunk_sizes(self, num_frames: int, chunk_size: int) -> list[int]:
        """Return the frames of every chunk; the remainder belongs to the first."""
        if self.norm_scope == "clip":
            return [num_frames]
        num_chunks = max(num_frames // chunk_size, 1)
        return [num_frames - (num_chunks - 1) * chunk_size] + [chunk_size] * (num_chunks - 1)


def _regroup(pieces: Iterator[Tensor], sizes: Sequence[int]) -> Iterator[Tensor]:
    """Cut and join (B, C, n, H, W) along time into pieces of the given sizes, which must use them up."""
    rest: Tensor | None = None
    num_done = 0
    for size in sizes:
        parts = [] if rest is None else [rest]
        while sum(part.shape[2] for part in parts) < size:
            piece = next(pieces, None)
            if piece is None:
                num_frames = num_done + sum(part.shape[2] for part in parts)
                raise ValueError(f"pieces: expected {sum(sizes)} frames in all (num_frames), got {num_frames}")
            parts.append(piece)
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        rest = joined[:, :, size:]
        num_done += size
        yield joined[:, :, :size]
    if (rest is not None and rest.shape[2]) or next(pieces, None) is not None:
        raise ValueError(f"pieces: expected {sum(sizes)} frames in all (num_frames), got more")


def _run_chunks(
    coder: Encoder | Decoder,
    chunks: Iterable[Tensor],
    num_chunks: int,
    grid: TileGrid | None,
    workspaces: list[Workspace],
) -> Iterator[Tensor]:
    """Run chunk after chunk, each tile of a frame with a state of its own."""
    states: list[list[DecoderState]] = []
    with borrow_workspace(workspaces) as workspace:
        for index, chunk in enumerate(chunks):
            is_tiled = grid is not None and grid.is_needed(chunk)
            tiles = grid.split(chunk) if grid is not None and is_tiled else [[chunk]]
            states = states or [[DecoderState() for _ in row] for row in tiles]
            results: list[list[Tensor]] = []
            for row, row_states in zip(tiles, states, strict=True):
                results.append([])
                for column, tile in enumerate(row):
                    tile = tile.contiguous(memory_format=torch.channels_last_3d)
                    is_last = index == num_chunks - 1
                    result, row_states[column] = coder(tile, row_states[column], workspace, is_end_of_clip=is_last)
                    results[-1].append(result)
            yield grid.join(results) if grid is not None and is_tiled else results[0][0]


def _use_channels_last(model: nn.Module) -> None:
    """Lay out convolution weights channels last: CPU convolutions re-lay them at every call in any other format."""
    for parameter in model.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        elif parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
