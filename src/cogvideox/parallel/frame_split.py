"""A clip whose frames are spread over processes: context parallelism of the 3D causal VAE (paper section 2.1).

Every process holds consecutive frames. Before a causal convolution it hands its last frames on to the next process, and
the gradient of what it was handed goes back to the process it came from, so gradients are those of the whole clip.

Axes: B batch, C channels, T frames, P past frames, H W rows and columns, G groups, R parts.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup, Work

from cogvideox.models.autoencoder import GaussianPosterior, VideoAutoencoder
from cogvideox.models.neighbours import Neighbours


def split_evenly(num_frames: int, num_parts: int, multiple: int) -> list[int]:
    """Return the frames of every part: multiples of ``multiple`` that differ by at most one of them.

    A first frame that is alone in time (``num_frames`` is 1 more than a multiple) comes on top of the first part.

    Raises:
        ValueError: the frames are no such number, or too few.
    """
    num_units, num_alone = divmod(num_frames, multiple)
    if multiple == 1:
        num_units, num_alone = num_frames, 0
    if num_alone > 1:
        raise ValueError(f"num_frames: expected k * {multiple} or k * {multiple} + 1, got {num_frames}")
    if num_units < num_parts - num_alone:
        smallest = (num_parts - num_alone) * multiple + num_alone
        raise ValueError(f"num_frames: expected at least {smallest} for {num_parts} processes, got {num_frames}")
    # Extra units go to the last parts: the first already has the frame that is alone.
    sizes = [(num_units + part) // num_parts * multiple for part in range(num_parts)]
    return [sizes[0] + num_alone, *sizes[1:]]


class FrameSplit:
    """One process's place in a clip that is cut in time, among the processes of a group.

    All of them call the same methods in the same order, with the frames of their own part.
    """

    def __init__(self, group: ProcessGroup | None = None) -> None:
        """Take a place by rank in ``group``, by default all processes."""
        self.group = distributed.group.WORLD if group is None else group
        assert self.group is not None, "torch.distributed is not initialized"
        self.rank, self.size = distributed.get_rank(self.group), distributed.get_world_size(self.group)
        previous = distributed.get_global_rank(self.group, self.rank - 1) if self.rank > 0 else None
        following = distributed.get_global_rank(self.group, self.rank + 1) if self.rank + 1 < self.size else None
        self._link = FrameLink(self.group, previous, following)

    def encode(self, autoencoder: VideoAutoencoder, part: Tensor) -> GaussianPosterior:
        """Encode this process's frames (B, 3, T, H, W) of a clip to the posterior of their latents (B, Z, t, h, w).

        Differentiable. Under norm scope "clip" the result is that of the whole clip in one process, under "chunk" that
        with ``chunk_sizes`` of the parts, under "frame" both.

        Raises:
            ValueError: as `VideoAutoencoder.encode`; or a part other than the first is no multiple of the temporal
                compression, or the first is neither that nor 1 more.
        """
        ratio = autoencoder.config.temporal_compression_ratio
        neighbours = self.neighbours(part, multiple=ratio, is_pooling=autoencoder.norm_scope == "clip")
        posterior = autoencoder.encode(part, neighbours=neighbours)
        wait_for_delivery()
        return posterior

    def decode(self, autoencoder: VideoAutoencoder, part: Tensor) -> Tensor:
        """Decode this process's latents (B, Z, t, h, w) to its pixels (B, 3, T, H, W), as `encode`.

        With an odd number of latent frames in all, the first is one frame.
        """
        neighbours = self.neighbours(part, multiple=1, is_pooling=autoencoder.norm_scope == "clip")
        pixels = autoencoder.decode(part, neighbours=neighbours)
        wait_for_delivery()
        return pixels

    def neighbours(self, part: Tensor, *, multiple: int, is_pooling: bool) -> Neighbours:
        """Return what a pass over this process's part (B, C, T, H, W) needs of the others.

        Args:
            part: only its shape counts.
            multiple: of which every part's number of frames must be one, but for a first frame alone.
            is_pooling: whether group norms pool over the whole clip, not over the part.
        """
        counts = self._counts(part)
        for rank, count in enumerate(counts):
            rest = count % multiple
            if count < 1 or (rest and (rank > 0 or rest != 1)):
                expected = f"multiples of {multiple}, the first may have 1 more"
                raise ValueError(f"part: expected frames of the processes to be {expected}, got {counts}")
        return self._link.neighbours(has_odd_clip=sum(counts) % 2 == 1, is_pooling=is_pooling)

    def _counts(self, part: Tensor) -> list[int]:
        """Return the frames of all parts."""
        if part.ndim != 5:
            raise ValueError(f"part: expected (B, C, T, H, W), got {tuple(part.shape)}")
        count = torch.tensor([part.shape[2]], device=part.device)
        counts = [torch.empty_like(count) for _ in range(self.size)]
        distributed.all_gather(counts, count, group=self.group)
        return [int(value) for value in counts]


_under_way: list[tuple[Work, Tensor]] = []
"""Messages that may not have arrived: one is cancelled when its work is destroyed, and a backward pass may be the last
to know of it."""


def wait_for_delivery() -> None:
    """Return when all that this process has sent has arrived."""
    for work, _ in _under_way:
        work.wait()
    _under_way.clear()


class FrameLink:
    """Messages between a part of a clip and the parts before and after it, which other processes have."""

    def __init__(
        self, group: ProcessGroup, previous: int | None, following: int | None, *, is_holding: bool = False
    ) -> None:
        """Name the global ranks before and after, None at the start and the end of the clip.

        A link that ``is_holding`` keeps what it hands on until `release`: the part after this one may never be wanted.
        """
        self.group = group
        self.previous = previous
        self.following = following
        self._held: list[Tensor] | None = [] if is_holding else None

    def neighbours(self, *, has_odd_clip: bool, is_pooling: bool) -> Neighbours:
        """Return the functions that a pass over the part calls."""
        return Neighbours(
            with_past=self.with_past,
            hand_on=self.hand_on,
            gather_moments=self.gather_moments if is_pooling else None,
            is_start_of_clip=self.previous is None,
            has_odd_clip=has_odd_clip,
        )

    def with_past(self, x: Tensor, num_past_frames: int) -> Tensor:
        """Put the past in front of (B, C, T, H, W) and hand the own last frames on."""
        if num_past_frames == 0:
            return x
        result = _WithPast.apply(x, num_past_frames, self)
        assert isinstance(result, Tensor)
        return result

    def hand_on(self, last: Tensor, num_past_frames: int) -> Tensor | None:
        """Hand on the last frames (B, C, n, H, W) of this part; return those before it (B, C, P, H, W)."""
        is_long = last.shape[2] >= num_past_frames
        if is_long:
            self.send_on(last[:, :, last.shape[2] - num_past_frames :])
        past = self.receive(_with_frames(last, num_past_frames), self.previous)
        if not is_long:
            # What is handed on reaches further back than this part.
            before = last[:, :, :1].expand(-1, -1, num_past_frames, -1, -1) if past is None else past
            self.send_on(torch.cat([before, last], dim=2)[:, :, last.shape[2] :])
        return past

    def send_on(self, x: Tensor) -> None:
        """Begin to send a tensor to the part after this one."""
        if self._held is None:
            self._send(x, self.following)
        else:
            self._held.append(x.detach().clone())

    def release(self) -> None:
        """Begin to send what was held."""
        held, self._held = self._held or [], None
        for x in held:
            self._send(x, self.following)

    def send_back(self, x: Tensor) -> None:
        """Begin to send a tensor to the part before this one."""
        self._send(x, self.previous)

    def _send(self, x: Tensor, rank: int | None) -> None:
        if rank is None:
            return
        _under_way[:] = [pair for pair in _under_way if not pair[0].is_completed()]
        x = x.detach().contiguous()
        work = distributed.isend(x, rank, group=self.group)
        assert work is not None
        _under_way.append((work, x))

    def receive(self, like: Tensor, rank: int | None) -> Tensor | None:
        """Wait for a tensor of the shape and dtype of ``like`` from a process; None if there is none."""
        if rank is None:
            return None
        received = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        distributed.recv(received, rank, group=self.group)
        return received

    def gather_moments(self, moments: Tensor) -> Tensor:
        """Return the moments (3, B, G) of all parts of the group (R, 3, B, G), differentiably."""
        return gather_differentiably(moments, self.group)


def _with_frames(x: Tensor, num_frames: int) -> Tensor:
    """Return a tensor without memory in the shape of (B, C, T, H, W), but for the frames."""
    return x[:, :, :1].expand(-1, -1, num_frames, -1, -1)


class _WithPast(torch.autograd.Function):
    """(B, C, T, H, W) to (B, C, P + T, H, W); linear, and with `_WithoutPast` its own second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_past_frames: int, link: FrameLink) -> Tensor:
        ctx.num_past_frames, ctx.link = num_past_frames, link
        past = link.hand_on(x[:, :, -num_past_frames:], num_past_frames)
        if past is None:
            past = _with_frames(x, num_past_frames)
        return torch.cat([past, x], dim=2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _WithoutPast.apply(gradients[0], ctx.num_past_frames, ctx.link), None, None  # pyright: ignore[reportReturnType]


class _WithoutPast(torch.autograd.Function):
    """The adjoint of `_WithPast`: gradients of what was handed on come back and are added; those of the past leave."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, num_past_frames: int, link: FrameLink) -> Tensor:
        ctx.num_past_frames, ctx.link = num_past_frames, link
        num_frames = padded.shape[2] - num_past_frames
        padded = padded.clone()
        is_long = num_frames >= num_past_frames
        if is_long:
            link.send_back(padded[:, :, :num_past_frames])
        returned = link.receive(_with_frames(padded, num_past_frames), link.following)
        if returned is not None:
            padded[:, :, num_frames:] += returned
        if not is_long:
            link.send_back(padded[:, :, :num_past_frames])
        if link.previous is None:
            padded[:, :, num_past_frames] += padded[:, :, :num_past_frames].sum(2)
        return padded[:, :, num_past_frames:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _WithPast.apply(gradients[0], ctx.num_past_frames, ctx.link), None, None  # pyright: ignore[reportReturnType]


def gather_differentiably(x: Tensor, group: ProcessGroup) -> Tensor:
    """Return a tensor of the same shape on every process from all of them, stacked (R, ...)."""
    result = _Gather.apply(x, group)
    assert isinstance(result, Tensor)
    return result


class _Gather(torch.autograd.Function):
    """All gathered; the gradient of a process's share is the sum of what all of them made of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(x) for _ in range(distributed.get_world_size(group))]
        distributed.all_gather(parts, x.contiguous(), group=group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total, group=ctx.group)
        return total[distributed.get_rank(ctx.group)], None


def sum_gradients(parameters: Sequence[torch.nn.Parameter], group: ProcessGroup | None = None) -> None:
    """Add up the gradients that the processes of a group have of their own parts, in place.

    All processes have gradients of the same parameters; those without any are left alone.
    """
    wait_for_delivery()
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat, group=group)
    for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))
