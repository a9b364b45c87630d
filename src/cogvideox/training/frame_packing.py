"""Multi-resolution frame packs: images and clips of any length and size in sequences of one token budget.

Paper: CogVideoX (arXiv 2408.06072), section 3.1, after NaViT (arXiv 2307.06304). How packs are filled and shared out is
not published; this is our way:

- **Filling** reads a shuffled stream through a window. A pack takes the samples that have waited longest, whatever they
  are, until one of the window would not fit; what is left is filled with the samples that fit best. So packs mix
  lengths as the training set does.
- **Sharing out** puts packs of nearly equal cost, attention's square included, side by side on the ranks, which wait
  for each other at every layer.

An epoch is a function of the lengths, the settings and a seed: every process computes the same one, and a resumed run
too. Axes: N samples, P packs.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_SAMPLES = 512
"""Samples among which the last ones of a pack are chosen."""
NUM_TRIED = 12
"""How many of them are tried."""

Pack = NDArray[np.int64]
"""Samples of one sequence, by their place in the lengths."""


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """How an epoch is cut into steps."""

    pack_tokens: int
    """Tokens of a sequence, text included; what is not filled is not computed."""
    num_packs_per_step: int = 1
    """Sequences of one optimizer step over all ranks; what a rank cannot take at once it accumulates."""
    num_balanced_ranks: int = 1
    """Ranks that shall have equal work at every moment; a divisor of ``num_packs_per_step``."""
    attention_ratio: float = 6 * 1920
    """Tokens of a segment for which attention costs as much as all linear layers: six times the width."""

    def __post_init__(self) -> None:
        for name in ("pack_tokens", "num_packs_per_step", "num_balanced_ranks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.num_packs_per_step % self.num_balanced_ranks:
            raise ValueError(
                f"num_balanced_ranks: expected a divisor of num_packs_per_step ({self.num_packs_per_step}), got "
                f"{self.num_balanced_ranks}"
            )


@dataclass(frozen=True)
class Epoch:
    """All samples, each once, in packs; the packs in steps. A few packs at the end of a small epoch may be empty."""

    samples: NDArray[np.int64]
    """(N,), pack by pack."""
    starts: NDArray[np.int64]
    """(P + 1,): pack p is ``samples[starts[p]:starts[p + 1]]``."""
    num_packs_per_step: int

    @property
    def num_steps(self) -> int:
        """Optimizer steps."""
        return (len(self.starts) - 1) // self.num_packs_per_step

    def step(self, index: int) -> list[Pack]:
        """Return the packs of a step; packs ``m * world_size`` and following run at the same time, one per rank."""
        first = index * self.num_packs_per_step
        return [self.pack(first + number) for number in range(self.num_packs_per_step)]

    def pack(self, index: int) -> Pack:
        """Return the samples of a pack."""
        return self.samples[self.starts[index] : self.starts[index + 1]]


def packs_of_rank(packs: Sequence[Pack], rank: int, world_size: int) -> Iterator[tuple[int, Pack]]:
    """Yield a rank's packs of a step, each with the place of its first sample among the samples of the whole step.

    Raises:
        ValueError: the packs cannot be dealt out evenly.
    """
    if len(packs) % world_size:
        raise ValueError(f"num_packs_per_step: expected a multiple of the {world_size} processes, got {len(packs)}")
    place = 0
    for index, pack in enumerate(packs):
        if index % world_size == rank:
            yield place, pack
        place += len(pack)


def pack_cost(lengths: NDArray[np.int64], attention_ratio: float) -> NDArray[np.float64]:
    """Return what samples cost, in tokens of linear layers: a token's attention grows with the length of its segment.

    A layer takes 24 d^2 multiplications and additions per token, and 4 N d for attention over N tokens (width d).
    """
    return lengths * (1 + lengths / attention_ratio)


def pack_epoch(lengths: NDArray[np.int64], settings: PackSettings, seed: Sequence[int]) -> Epoch:
    """Pack all samples.

    Args:
        lengths: (N,) tokens of each, text included.
        settings: of the packs.
        seed: of this epoch, for example (run, stage, epoch).

    Raises:
        ValueError: a sample is longer than a pack, or there are fewer samples than packs in a step.
    """
    check_lengths(lengths, settings)
    rng = np.random.default_rng(list(seed))
    samples, starts = _fill(lengths, settings.pack_tokens, rng)
    samples, starts = _split_packs(samples, starts, lengths, -(len(starts) - 1) % settings.num_packs_per_step)
    costs = np.diff(np.concatenate([[0.0], pack_cost(lengths, settings.attention_ratio)[samples].cumsum()])[starts])
    order = _share_out(costs, settings, rng)
    sizes = np.diff(starts)[order]
    new_starts = np.concatenate([[0], sizes.cumsum()])
    # The place of every sample of the reordered packs among the old ones.
    places = np.repeat(starts[:-1][order] - new_starts[:-1], sizes) + np.arange(len(samples))
    return Epoch(samples[places], new_starts, settings.num_packs_per_step)


def check_lengths(lengths: NDArray[np.int64], settings: PackSettings) -> None:
    """Raise ValueError as `pack_epoch` does."""
    if len(lengths) and lengths.max() > settings.pack_tokens:
        longest = lengths.max()
        raise ValueError(f"pack_tokens: expected at least {longest}, the longest sample, got {settings.pack_tokens}")
    if len(lengths) < settings.num_packs_per_step:
        raise ValueError(
            f"num_packs_per_step: expected at most one per sample ({len(lengths)}), got {settings.num_packs_per_step}"
        )


def _fill(
    lengths: NDArray[np.int64], pack_tokens: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples in the order of their packs, and where each pack starts."""
    order = rng.permutation(len(lengths))
    window = _Window(lengths[order].tolist())
    places: list[int] = []
    starts = [0]
    while window.refill():
        room = pack_tokens
        while window.waiting and room >= window.longest:
            room -= window.take(window.oldest(), places)
        while (place := window.best_fit(room)) is not None:
            room -= window.take(place, places)
        starts.append(len(places))
    return order[places], np.array(starts)


class _Window:
    """The next samples of a shuffled stream, by age and by length."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths
        self.waiting: list[tuple[int, int]] = []
        """Length and place in the stream, rising."""
        self._num_read = 0
        self._is_taken = bytearray(len(lengths))
        self._oldest = 0

    @property
    def longest(self) -> int:
        """Length of the longest sample; there must be one."""
        return self.waiting[-1][0]

    def refill(self) -> bool:
        """Read the stream until the window is full; return whether there is anything in it."""
        while len(self.waiting) < WINDOW_SAMPLES and self._num_read < len(self.lengths):
            insort(self.waiting, (self.lengths[self._num_read], self._num_read))
            self._num_read += 1
        return bool(self.waiting)

    def oldest(self) -> int:
        """Return the place of the sample that has waited longest; among the last ones, which must fit, the longest."""
        if self._num_read == len(self.lengths):
            return self.waiting[-1][1]
        while self._is_taken[self._oldest]:
            self._oldest += 1
        return self._oldest

    def best_fit(self, room: int) -> int | None:
        """Return the place of a sample that, with the best one after it, leaves the least room; None if none fits."""
        waiting = self.waiting
        num_fitting = bisect_left(waiting, (room + 1,))
        best, best_room = None, room + 1
        for tried in range(min(NUM_TRIED, num_fitting)):
            index = num_fitting - 1 - num_fitting * tried // NUM_TRIED if num_fitting > NUM_TRIED else tried
            length, place = waiting[index]
            rest = room - length
            after = bisect_left(waiting, (rest + 1,)) - 1
            if after == index:
                after -= 1
            if after >= 0:
                rest -= waiting[after][0]
            if rest < best_room:
                best, best_room = place, rest
                if not rest:
                    break
        return best

    def take(self, place: int, places: list[int]) -> int:
        """Move a sample to the end of ``places``; return its length."""
        length = self.lengths[place]
        del self.waiting[bisect_left(self.waiting, (length, place))]
        self._is_taken[place] = 1
        places.append(place)
        return length


def _split_packs(
    samples: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64], num_more: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut packs in two until there are ``num_more`` more, so that steps are whole: first those of most samples.

    Where no pack has two samples left, empty ones are added.
    """
    for _ in range(num_more):
        longest = int(np.diff(starts).argmax())
        first, last = starts[longest], starts[longest + 1]
        if last - first < 2:
            starts = np.append(starts, starts[-1])
            continue
        tokens = lengths[samples[first:last]].cumsum()
        half = int(np.clip(np.searchsorted(tokens, tokens[-1] / 2) + 1, 1, last - first - 1))
        starts = np.insert(starts, longest + 1, first + half)
    return samples, starts


def _share_out(costs: NDArray[np.float64], settings: PackSettings, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the order of packs in which every ``num_balanced_ranks`` neighbours cost about the same."""
    order = rng.permutation(len(costs))
    order = order[np.argsort(costs[order], kind="stable")]
    groups = order.reshape(-1, settings.num_balanced_ranks)
    return rng.permuted(groups[rng.permutation(len(groups))], axis=1).ravel()
