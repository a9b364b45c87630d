"""The 3D causal VAE: video to 8x8x4 smaller latents and back, chunk by chunk.

Paper: CogVideoX (arXiv 2408.06072), section 2.1. Frames: 1 + 4k video frames are 1 + k latent frames.
Chunks are part of the published function: group norms pool over the frames of a chunk, so another chunk size gives
other pixels. Encoding takes 8 frames a chunk and decoding 2 latent frames, the remainder joined to the first chunk.

Axes: B batch, C channels, T frames, H W rows and columns (lower case: latent).
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.component_files import load_component, save_component
from cogvideox.configs import AutoencoderConfig, NormScope
from cogvideox.models.autoencoder_blocks import (
    ChunkPass,
    Downsample,
    LatentNorm,
    ResidualBlock,
    ScopedGroupNorm,
    Upsample,
)
from cogvideox.models.causal_conv import CausalConv3d
from cogvideox.models.neighbours import ALONE, Neighbours
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
    num_latent_channels: int | None,
) -> ResidualBlock:
    return ResidualBlock(
        in_channels,
        out_channels,
        num_groups=config.norm_num_groups,
        norm_eps=config.norm_eps,
        norm_scope=config.norm_scope,
        activation=config.act_fn,
        num_latent_channels=num_latent_channels,
    )


class Encoder(nn.Module):
    """Pixels to the parameters of the latents' Gaussian."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        num_time_halvings = config.temporal_compression_ratio.bit_length() - 1

        block = partial(_residual_block, config, num_latent_channels=None)
        self.conv_in = CausalConv3d(config.in_channels, widths[0], kernel_size=3)
        self.down_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            width_before = widths[max(level - 1, 0)]
            blocks = [block(width_before if i == 0 else width, width) for i in range(config.layers_per_block)]
            is_last = level == len(widths) - 1
            downsample = None if is_last else Downsample(width, halves_time=level < num_time_halvings)
            self.down_blocks.append(_Stage(blocks, downsample))
        self.mid_block = _Stage([block(widths[-1], widths[-1]) for _ in range(2)], None)
        self.norm_out = ScopedGroupNorm(config.norm_num_groups, widths[-1], 1e-6, config.norm_scope)
        self.conv_out = CausalConv3d(widths[-1], 2 * config.latent_channels, kernel_size=3)

    def forward(
        self,
        pixels: Tensor,
        state: EncoderState,
        workspace: Workspace | None = None,
        *,
        is_end_of_clip: bool = False,
        neighbours: Neighbours = ALONE,
    ) -> tuple[Tensor, EncoderState]:
        """Encode one chunk (B, 3, T, H, W) in [-1, 1] to mean and log variance (B, 2Z, t, h, w).

        The remaining arguments are as for `ChunkPass`.
        """
        chunk = ChunkPass(state.pasts, None, workspace, is_end_of_clip=is_end_of_clip, neighbours=neighbours)
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
    paper's text and figure say the opposite (``upsampling_order``).
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        num_time_doublings = config.temporal_compression_ratio.bit_length() - 1
        num_first = 0 if config.upsampling_order == "published" else len(widths) - 1 - num_time_doublings
        levels_that_double_time = range(num_first, num_first + num_time_doublings)

        block = partial(_residual_block, config, num_latent_channels=config.latent_channels)
        self.conv_in = CausalConv3d(config.latent_channels, widths[0], kernel_size=3)
        self.mid_block = _Stage([block(widths[0], widths[0]) for _ in range(2)], None)
        self.up_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            width_before = widths[max(level - 1, 0)]
            blocks = [block(width_before if i == 0 else width, width) for i in range(config.layers_per_block + 1)]
            is_last = level == len(widths) - 1
            upsample = None if is_last else Upsample(width, doubles_time=level in levels_that_double_time)
            self.up_blocks.append(_Stage(blocks, upsample))
        self.norm_out = LatentNorm(widths[-1], config.latent_channels, config.norm_num_groups, config.norm_scope)
        self.conv_out = CausalConv3d(widths[-1], config.out_channels, kernel_size=3)

    def forward(
        self,
        latents: Tensor,
        state: DecoderState,
        workspace: Workspace | None = None,
        *,
        is_end_of_clip: bool = False,
        neighbours: Neighbours = ALONE,
    ) -> tuple[Tensor, DecoderState]:
        """Decode one chunk (B, Z, t, h, w) to pixels (B, 3, T, H, W), nominally in [-1, 1].

        The remaining arguments are as for `ChunkPass`.
        """
        chunk = ChunkPass(state.pasts, latents, workspace, is_end_of_clip=is_end_of_clip, neighbours=neighbours)
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

    def __init__(self, config: AutoencoderConfig, *, norm_scope: NormScope | None = None) -> None:
        """Build with random weights; ``norm_scope`` takes the place of the configuration's."""
        super().__init__()
        self.config = config if norm_scope is None else replace(config, norm_scope=norm_scope)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
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
        norm_scope: NormScope | None = None,
    ) -> Self:
        """Load a checkpoint directory or its ``vae/`` folder; ``variant`` is a precision's name, as in "fp16".

        ``norm_scope`` takes the place of the configuration's. Raises ValueError on a damaged or foreign one.
        """
        make = partial(cls, norm_scope=norm_scope)
        model = load_component(directory, "vae", make, AutoencoderConfig, device=device, dtype=dtype, variant=variant)
        _use_channels_last(model)
        return model

    def save(self, directory: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and weights, in ``dtype`` if given, as a checkpoint's ``vae/`` folder.

        Other readers of the format refuse a model of another norm scope or upsampling order than the published.
        """
        class_name = "AutoencoderKLCogVideoX" if self.config.is_published_function else type(self).__name__
        save_component(self, directory, class_name, dtype=dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.encoder.conv_in.conv.weight.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.encoder.conv_in.conv.weight.device

    @property
    def norm_scope(self) -> NormScope:
        """Over which frames group norms pool."""
        return self.config.norm_scope

    def encode(
        self,
        video: Tensor,
        *,
        tiling: Tiling | None = None,
        chunk_sizes: Sequence[int] | None = None,
        neighbours: Neighbours = ALONE,
    ) -> GaussianPosterior:
        """Encode (B, 3, T, H, W) in [-1, 1] to a posterior over (B, Z, t, H/8, W/8).

        Args:
            video: T is 1 + 4k, or 4k (whose first frames then have no latent of their own, as published).
            tiling: a frame larger than a tile is encoded tile by tile.
            chunk_sizes: frames of every chunk; by default the published ones.
            neighbours: the rest of a clip of which the video is one part (`cogvideox.parallel`). A part cut in time is
                one chunk.

        Raises:
            ValueError: H or W is not a multiple of the spatial compression, the tiles do not fit the latents, or the
                chunks not the frames.
        """
        num_frames = self.checked_pixels(video).shape[2]
        chunks = list(
            self.encode_stream([video], num_frames, tiling=tiling, chunk_sizes=chunk_sizes, neighbours=neighbours)
        )
        moments = torch.cat([torch.cat([chunk.mean, chunk.log_variance], dim=1) for chunk in chunks], dim=2)
        return GaussianPosterior(moments)

    def encode_stream(
        self,
        pieces: Iterable[Tensor],
        num_frames: int,
        *,
        tiling: Tiling | None = None,
        chunk_sizes: Sequence[int] | None = None,
        neighbours: Neighbours = ALONE,
    ) -> Iterator[GaussianPosterior]:
        """Encode a video that need never be in memory as a whole, chunk by chunk.

        Args:
            pieces: (B, 3, n, H, W) each, in order, of any lengths n; taken as they are needed.
            num_frames: of all pieces together. It has to be known, because a remainder belongs to the first chunk.
            tiling: as for `encode`.
            chunk_sizes: likewise.
            neighbours: likewise.

        Yields:
            The posterior of every chunk; together they are that of `encode`. Memory does not depend on the length,
            except under norm scope "clip".

        Raises:
            ValueError: as `encode`; or the pieces have fewer or more frames than ``num_frames``.
        """
        grid = None if tiling is None else TileGrid.for_encoding(tiling, self.config.spatial_compression_ratio)
        if num_frames < 1:
            raise ValueError(f"num_frames: expected at least 1, got {num_frames}")
        sizes = self._sizes(num_frames, chunk_sizes, neighbours, self.encoder_chunk_sizes(num_frames))
        chunks = regroup_frames(map(self.checked_pixels, pieces), sizes, "num_frames")
        neighbours = _of_clip(neighbours, num_frames, chunk_sizes)
        for moments in _run_chunks(self.encoder, chunks, len(sizes), grid, self._workspaces, neighbours):
            yield GaussianPosterior(moments)

    def checked_pixels(self, video: Tensor) -> Tensor:
        """Return a video that `encode` takes, as it is. Raises ValueError otherwise."""
        ratio = self.config.spatial_compression_ratio
        if video.ndim != 5 or video.shape[1] != self.config.in_channels:
            raise ValueError(f"video: expected (B, {self.config.in_channels}, T, H, W), got {tuple(video.shape)}")
        if video.shape[3] % ratio or video.shape[4] % ratio:
            raise ValueError(f"video: height and width must be multiples of {ratio} px, got {tuple(video.shape[3:])}")
        return video

    def decode_stream(
        self,
        latents: Tensor | Iterable[Tensor],
        num_latent_frames: int | None = None,
        *,
        tiling: Tiling | None = None,
        chunk_sizes: Sequence[int] | None = None,
        neighbours: Neighbours = ALONE,
    ) -> Iterator[Tensor]:
        """Decode (B, Z, t, h, w) chunk by chunk; memory does not depend on the length, but for scope "clip".

        Args:
            latents: all of them, or pieces (B, Z, n, h, w) in order, of any lengths n, taken as they are needed.
            num_latent_frames: of all pieces together; a remainder belongs to the first chunk.
            tiling: as for `encode`.
            chunk_sizes: likewise, in latent frames.
            neighbours: likewise.

        Yields:
            Pixels (B, 3, T, H, W) in [-1, 1] (clamp before showing).

        Raises:
            ValueError: another number of channels or of frames, or tiles or chunks that do not fit.
        """
        if isinstance(latents, Tensor):
            pieces, num_latent_frames = [latents], latents.shape[2] if latents.ndim == 5 else 1
        else:
            pieces = latents
            if num_latent_frames is None:
                raise ValueError("num_latent_frames: expected the number of latent frames of all pieces, got None")
        grid = None if tiling is None else TileGrid.for_decoding(tiling, self.config.spatial_compression_ratio)
        if num_latent_frames < 1:
            raise ValueError(f"num_latent_frames: expected at least 1, got {num_latent_frames}")
        sizes = self._sizes(num_latent_frames, chunk_sizes, neighbours, self.decoder_chunk_sizes(num_latent_frames))
        chunks = regroup_frames(map(self.checked_latents, pieces), sizes, "num_latent_frames")
        neighbours = _of_clip(neighbours, num_latent_frames, chunk_sizes)
        yield from _run_chunks(self.decoder, chunks, len(sizes), grid, self._workspaces, neighbours)

    def checked_latents(self, latents: Tensor) -> Tensor:
        """Return latents that `decode` takes, as they are. Raises ValueError otherwise."""
        if latents.ndim != 5 or latents.shape[1] != self.config.latent_channels:
            expected = f"(B, {self.config.latent_channels}, t, h, w)"
            raise ValueError(f"latents: expected {expected}, got {tuple(latents.shape)}")
        return latents

    def decode(
        self,
        latents: Tensor,
        *,
        tiling: Tiling | None = None,
        chunk_sizes: Sequence[int] | None = None,
        neighbours: Neighbours = ALONE,
    ) -> Tensor:
        """Decode (B, Z, t, h, w) to pixels (B, 3, T, 8h, 8w), nominally in [-1, 1]; T = 4t - 3, or 4t for even t.

        The arguments are those of `decode_stream`.
        """
        chunks = self.decode_stream(latents, tiling=tiling, chunk_sizes=chunk_sizes, neighbours=neighbours)
        return torch.cat(list(chunks), dim=2)

    def encoder_chunk_sizes(self, num_frames: int) -> list[int]:
        """Return the frames of every chunk in which a clip is encoded; a remainder belongs to the first."""
        return self._published_chunk_sizes(num_frames, NUM_FRAMES_PER_ENCODER_CHUNK)

    def decoder_chunk_sizes(self, num_latent_frames: int) -> list[int]:
        """Return the latent frames of every chunk in which a clip is decoded; a remainder belongs to the first."""
        return self._published_chunk_sizes(num_latent_frames, NUM_LATENT_FRAMES_PER_DECODER_CHUNK)

    def _published_chunk_sizes(self, num_frames: int, chunk_size: int) -> list[int]:
        if self.norm_scope == "clip":
            return [num_frames]
        num_chunks = max(num_frames // chunk_size, 1)
        return [num_frames - (num_chunks - 1) * chunk_size] + [chunk_size] * (num_chunks - 1)

    def _sizes(
        self, num_frames: int, chunk_sizes: Sequence[int] | None, neighbours: Neighbours, published: list[int]
    ) -> list[int]:
        """Return the frames of every chunk: those asked for, one of a part, or the published ones."""
        if chunk_sizes is None:
            return [num_frames] if neighbours.with_past is not None else published
        if min(chunk_sizes, default=0) < 1 or sum(chunk_sizes) != num_frames:
            raise ValueError(f"chunk_sizes: expected {num_frames} frames in all, got {list(chunk_sizes)}")
        return list(chunk_sizes)


def _of_clip(neighbours: Neighbours, num_frames: int, chunk_sizes: Sequence[int] | None) -> Neighbours:
    """Let chunks of any sizes know whether the first frame of the clip is alone in time."""
    if chunk_sizes is None or neighbours.has_odd_clip is not None:
        return neighbours
    return replace(neighbours, has_odd_clip=num_frames % 2 == 1)


def regroup_frames(pieces: Iterator[Tensor], sizes: Sequence[int], count: str) -> Iterator[Tensor]:
    """Cut and join (B, C, n, H, W) along time into pieces of the given sizes, which must use them up.

    Raises:
        ValueError: there are fewer or more frames; ``count`` names the argument that said how many.
    """
    rest: Tensor | None = None
    num_done = 0
    for size in sizes:
        parts = [] if rest is None else [rest]
        while sum(part.shape[2] for part in parts) < size:
            piece = next(pieces, None)
            if piece is None:
                num_frames = num_done + sum(part.shape[2] for part in parts)
                raise ValueError(f"pieces: expected {sum(sizes)} frames in all ({count}), got {num_frames}")
            parts.append(piece)
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        rest = joined[:, :, size:]
        num_done += size
        yield joined[:, :, :size]
    if (rest is not None and rest.shape[2]) or next(pieces, None) is not None:
        raise ValueError(f"pieces: expected {sum(sizes)} frames in all ({count}), got more")


def _run_chunks(
    coder: Encoder | Decoder,
    chunks: Iterable[Tensor],
    num_chunks: int,
    grid: TileGrid | None,
    workspaces: list[Workspace],
    neighbours: Neighbours,
) -> Iterator[Tensor]:
    """Run chunk after chunk, each tile of a frame with a state of its own."""
    states: list[DecoderState] = []
    with borrow_workspace(workspaces) as workspace:
        for index, chunk in enumerate(chunks):
            is_tiled = grid is not None and grid.is_needed(chunk)
            rows = grid.split(chunk) if grid is not None and is_tiled else [[chunk]]
            tiles = [tile.contiguous(memory_format=torch.channels_last_3d) for row in rows for tile in row]
            states = states or [DecoderState() for _ in tiles]
            if grid is not None and is_tiled and grid.has_common_norms:
                neighbours = _with_common_norms(coder, tiles, states, neighbours)
            results: list[Tensor] = []
            for place, tile in enumerate(tiles):
                result, states[place] = coder(
                    tile, states[place], workspace, is_end_of_clip=index == num_chunks - 1, neighbours=neighbours
                )
                results.append(result)
            if grid is None or not is_tiled:
                yield results[0]
            else:
                num_columns = len(rows[0])
                yield grid.join([results[i : i + num_columns] for i in range(0, len(results), num_columns)])


def _with_common_norms(
    coder: Encoder | Decoder, tiles: Sequence[Tensor], states: Sequence[DecoderState], neighbours: Neighbours
) -> Neighbours:
    """Run a chunk's tiles, each normed alone; return neighbours that give every norm the moments of all of them."""
    moments: list[list[Tensor]] = []
    for tile, state in zip(tiles, states, strict=True):
        of_tile: list[Tensor] = []

        def keep(of_norm: Tensor, of_tile: list[Tensor] = of_tile) -> Tensor:
            of_tile.append(of_norm)
            return of_norm[None]

        coder(tile, state, is_end_of_clip=True, neighbours=replace(neighbours, gather_moments=keep))
        moments.append(of_tile)
    of_norms = itertools.cycle([torch.stack(of_norm) for of_norm in zip(*moments, strict=True)])
    return replace(neighbours, gather_moments=lambda _: next(of_norms))


def _use_channels_last(model: nn.Module) -> None:
    """Lay out convolution weights channels last: CPU convolutions re-lay them at every call in any other format."""
    for parameter in model.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        elif parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
