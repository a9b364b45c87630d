"""Encoding and decoding one video with several processes: the result is that of one process, chunks included.

Axes: B batch, C channels, Z latent channels, T frames, H W rows and columns (lower case: latent).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from cogvideox.models.autoencoder import GaussianPosterior, VideoAutoencoder, regroup_frames
from cogvideox.models.neighbours import Neighbours
from cogvideox.parallel.frame_split import FrameLink, split_evenly, wait_for_delivery
from cogvideox.parallel.row_split import RowSplit

SplitName = Literal["frames", "rows"]
"""What is spread over processes. "frames": chunks in turn; each layer's cache goes to the process of the next chunk as
soon as that layer is done, so all work at once. "rows": bands of every frame, with halos and common norms."""


class ParallelAutoencoder:
    """Encodes and decodes with all processes of a group, which call it alike; each of them gets the whole result.

    Without gradients (`FrameSplit` has them). With one process, it is the autoencoder itself.
    """

    def __init__(
        self, autoencoder: VideoAutoencoder, group: ProcessGroup | None = None, *, split: SplitName = "frames"
    ) -> None:
        """Take an autoencoder that has the same weights on every process.

        Args:
            autoencoder: on this process's device.
            group: by default all processes.
            split: what is spread.
        """
        if split not in ("frames", "rows"):
            raise ValueError(f"split: expected 'frames' or 'rows', got {split!r}")
        self.autoencoder = autoencoder
        self._split: SplitName = split
        group = distributed.group.WORLD if group is None else group
        assert group is not None, "torch.distributed is not initialized"
        self._group = group
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)

    def encode(self, video: Tensor) -> GaussianPosterior:
        """Encode (B, 3, T, H, W), the same on every process, as `VideoAutoencoder.encode`."""
        chunks = [_moments(chunk) for chunk in self.encode_stream([video], video.shape[2])]
        return GaussianPosterior(torch.cat(chunks, dim=2))

    @torch.no_grad()
    def encode_stream(self, pieces: Iterable[Tensor], num_frames: int) -> Iterator[GaussianPosterior]:
        """Encode pieces (B, 3, n, H, W), the same on every process, as `VideoAutoencoder.encode_stream`.

        Raises:
            ValueError: as there; or fewer latent rows, or under norm scope "clip" latent frames, than processes.
        """
        model = self.autoencoder
        if self.size == 1:
            yield from model.encode_stream(pieces, num_frames)
        elif self._split == "rows":
            ratio = model.config.spatial_compression_ratio
            split = RowSplit(self._group)

            def encode_bands(bands: Iterable[Tensor], neighbours: Neighbours) -> Iterator[Tensor]:
                for posterior in model.encode_stream(bands, num_frames, neighbours=neighbours):
                    yield _moments(posterior)

            for moments in self._run_bands(pieces, encode_bands, split, rows_per_latent=ratio):
                yield GaussianPosterior(moments)
        else:
            ratio = model.config.temporal_compression_ratio
            sizes = self._parts(model.encoder_chunk_sizes(num_frames), multiple=ratio)

            def encode_chunk(chunk: Tensor, neighbours: Neighbours) -> Tensor:
                return _moments(model.encode(chunk, neighbours=neighbours))

            chunks = regroup_frames(
                map(model.checked_pixels, pieces), sizes, "num_frames"
            )  # by all, or some would wait
            for moments in self._run_in_turn(chunks, sizes, encode_chunk):
                yield GaussianPosterior(moments)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode (B, Z, t, h, w), the same on every process, as `VideoAutoencoder.decode`."""
        return torch.cat(list(self.decode_stream(latents)), dim=2)

    @torch.no_grad()
    def decode_stream(
        self, latents: Tensor | Iterable[Tensor], num_latent_frames: int | None = None
    ) -> Iterator[Tensor]:
        """Decode latents, the same on every process, as `VideoAutoencoder.decode_stream`; errors as `encode_stream`."""
        model = self.autoencoder
        if isinstance(latents, Tensor):
            latents, num_latent_frames = [latents], latents.shape[2]
        if num_latent_frames is None:
            raise ValueError("num_latent_frames: expected the number of latent frames of all pieces, got None")
        if self.size == 1:
            yield from model.decode_stream(latents, num_latent_frames)
        elif self._split == "rows":

            def decode_bands(bands: Iterable[Tensor], neighbours: Neighbours) -> Iterator[Tensor]:
                return model.decode_stream(bands, num_latent_frames, neighbours=neighbours)

            yield from self._run_bands(latents, decode_bands, RowSplit(self._group), rows_per_latent=1)
        else:
            sizes = self._parts(model.decoder_chunk_sizes(num_latent_frames), multiple=1)
            chunks = regroup_frames(map(model.checked_latents, latents), sizes, "num_latent_frames")
            yield from self._run_in_turn(chunks, sizes, lambda x, others: model.decode(x, neighbours=others))

    def _parts(self, chunk_sizes: list[int], *, multiple: int) -> list[int]:
        """Return the frames of the chunks, or where a whole clip is one, of equal parts of it."""
        if self.autoencoder.norm_scope != "clip":
            return chunk_sizes
        return split_evenly(sum(chunk_sizes), self.size, multiple)

    def _run_in_turn(
        self, chunks: Iterator[Tensor], sizes: list[int], run: Callable[[Tensor, Neighbours], Tensor]
    ) -> Iterator[Tensor]:
        """Yield the results of all chunks in order; chunk i is this process's if i is its rank, modulo their number."""
        is_odd, is_pooling = sum(sizes) % 2 == 1, self.autoencoder.norm_scope == "clip"
        held: FrameLink | None = None
        for first in range(0, len(sizes), self.size):
            result: Tensor | None = None
            if held is not None:
                held.release()
                held = None
            for index in range(first, min(first + self.size, len(sizes))):
                chunk = next(chunks)
                if index % self.size != self.rank:
                    continue
                previous = self._rank_of(index - 1) if index > 0 else None
                following = self._rank_of(index + 1) if index + 1 < len(sizes) else None
                # Nothing is under way at a yield, where whoever takes the results may stop.
                is_last_of_round = index == first + self.size - 1
                link = FrameLink(self._group, previous, following, is_holding=is_last_of_round)
                held = link if is_last_of_round and following is not None else None
                result = run(chunk, link.neighbours(has_odd_clip=is_odd, is_pooling=is_pooling))
            wait_for_delivery()
            num_owners = min(self.size, len(sizes) - first)
            yield from self._exchange(result, num_owners)
        assert next(chunks, None) is None

    def _rank_of(self, index: int) -> int:
        return distributed.get_global_rank(self._group, index % self.size)

    def _run_bands(
        self,
        pieces: Iterable[Tensor],
        run: Callable[[Iterable[Tensor], Neighbours], Iterator[Tensor]],
        split: RowSplit,
        *,
        rows_per_latent: int,
    ) -> Iterator[Tensor]:
        """Yield whole frames, chunk by chunk, of which each process makes its band."""

        def band(piece: Tensor) -> Tensor:
            num_latent_rows = piece.shape[3] // rows_per_latent if piece.ndim == 5 else 0
            if num_latent_rows < self.size or piece.shape[3] % rows_per_latent:
                expected = f"at least {self.size} latent rows of {rows_per_latent} each, one for every process"
                raise ValueError(f"height: expected {expected}, got {tuple(piece.shape)}")
            rows = split.part_of(num_latent_rows)
            return piece[:, :, :, rows.start * rows_per_latent : rows.stop * rows_per_latent]

        for result in run(map(band, pieces), split.neighbours()):
            yield torch.cat(list(self._exchange(result, self.size)), dim=3)

    def _exchange(self, own: Tensor | None, num_owners: int) -> Iterator[Tensor]:
        """Yield the results of the first processes, in order of rank, on all of them."""
        kinds: list[tuple[tuple[int, ...], torch.dtype] | None] = [None] * self.size
        distributed.all_gather_object(kinds, None if own is None else (tuple(own.shape), own.dtype), group=self._group)
        for rank in range(num_owners):
            kind = kinds[rank]
            assert kind is not None
            if rank == self.rank:
                assert own is not None
                result = own.contiguous()
            else:
                result = torch.empty(kind[0], dtype=kind[1], device=self.autoencoder.device)
            distributed.broadcast(result, distributed.get_global_rank(self._group, rank), group=self._group)
            yield result


def _moments(posterior: GaussianPosterior) -> Tensor:
    return torch.cat([posterior.mean, posterior.log_variance], dim=1)
