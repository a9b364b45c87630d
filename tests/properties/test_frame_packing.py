"""Frame packs for any lengths: nothing lost or repeated, none too long, equal for equal seeds, tight and balanced."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvideox.training.frame_packing import Epoch, PackSettings, pack_cost, pack_epoch, packs_of_rank

SIZES_HW = np.array([(16, 24), (20, 30), (24, 36), (30, 45), (45, 30), (30, 30)])
"""Tokens by rows and columns: 256 to 480 px, several aspect ratios."""


def mixed_lengths(num_samples: int, seed: int = 0) -> np.ndarray:
    """Tokens of clips of 1 to 49 frames and 226 text tokens."""
    rng = np.random.default_rng(seed)
    rows, columns = SIZES_HW[rng.integers(len(SIZES_HW), size=num_samples)].T
    return 226 + rng.integers(1, 14, num_samples) * rows * columns


def tokens_of_packs(epoch: Epoch, lengths: np.ndarray) -> np.ndarray:
    return np.add.reduceat(lengths[epoch.samples], epoch.starts[:-1])


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=200),
    st.integers(100, 300),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_every_sample_is_in_one_pack(lengths, pack_tokens, num_groups, num_ranks, seed) -> None:
    num_packs_per_step = num_groups * num_ranks
    if len(lengths) < num_packs_per_step:
        return
    pack_settings = PackSettings(
        pack_tokens=pack_tokens, num_packs_per_step=num_packs_per_step, num_balanced_ranks=num_ranks
    )
    epoch = pack_epoch(np.array(lengths), pack_settings, (seed,))
    assert sorted(epoch.samples.tolist()) == list(range(len(lengths)))
    assert (len(epoch.starts) - 1) % num_packs_per_step == 0
    for index in range(len(epoch.starts) - 1):
        assert np.array(lengths)[epoch.pack(index)].sum() <= pack_tokens
    dealt = []
    for step in range(epoch.num_steps):
        packs = epoch.step(step)
        in_step = np.concatenate(packs).tolist()
        for rank in range(num_ranks):
            for place, pack in packs_of_rank(packs, rank, num_ranks):
                assert in_step[place : place + len(pack)] == pack.tolist()
                dealt += pack.tolist()
    assert sorted(dealt) == list(range(len(lengths)))


def test_epochs_are_functions_of_their_seeds() -> None:
    lengths, pack_settings = mixed_lengths(3000), PackSettings(pack_tokens=20_000, num_packs_per_step=4)
    first, again, other = (pack_epoch(lengths, pack_settings, (7, epoch)) for epoch in (0, 0, 1))
    assert np.array_equal(first.samples, again.samples) and np.array_equal(first.starts, again.starts)
    packs = {frozenset(first.pack(index).tolist()) for index in range(len(first.starts) - 1)}
    others = {frozenset(other.pack(index).tolist()) for index in range(len(other.starts) - 1)}
    assert len(packs & others) < 0.1 * len(packs)  # other packs, not another order of them


@pytest.mark.parametrize("num_samples", [2000, 20_000])
def test_packs_are_tight_and_cost_the_same(num_samples: int) -> None:
    lengths = mixed_lengths(num_samples)
    pack_settings = PackSettings(pack_tokens=20_000, num_packs_per_step=8, num_balanced_ranks=8)
    epoch = pack_epoch(lengths, pack_settings, (0,))
    assert 1 - tokens_of_packs(epoch, lengths).mean() / 20_000 < 0.02
    costs = np.add.reduceat(pack_cost(lengths, pack_settings.attention_ratio)[epoch.samples], epoch.starts[:-1])
    steps = costs.reshape(-1, 8)
    assert ((steps.max(1) - steps.min(1)) / steps.max(1)).mean() < 0.05


def test_packs_mix_lengths_as_the_training_set_does() -> None:
    lengths = mixed_lengths(20_000)
    epoch = pack_epoch(lengths, PackSettings(pack_tokens=400_000, num_packs_per_step=4), (0,))
    is_short = lengths[epoch.samples] < np.median(lengths)
    shares = np.add.reduceat(is_short, epoch.starts[:-1]) / np.diff(epoch.starts)
    assert np.quantile(shares, 0.1) > 0.35 and np.quantile(shares, 0.9) < 0.65


def test_a_million_samples_are_packed_in_half_a_minute() -> None:
    lengths = mixed_lengths(1_000_000)
    started_at_s = time.process_time()
    epoch = pack_epoch(lengths, PackSettings(pack_tokens=20_000, num_packs_per_step=8, num_balanced_ranks=8), (0,))
    assert time.process_time() - started_at_s < 30
    assert np.array_equal(np.sort(epoch.samples), np.arange(1_000_000))


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="pack_tokens: expected at least 12, the longest sample, got 10"):
        pack_epoch(np.array([3, 12]), PackSettings(pack_tokens=10), (0,))
    with pytest.raises(ValueError, match=r"num_packs_per_step: expected at most one per sample \(2\), got 3"):
        pack_epoch(np.array([3, 4]), PackSettings(pack_tokens=10, num_packs_per_step=3), (0,))
    with pytest.raises(ValueError, match="num_balanced_ranks: expected a divisor"):
        PackSettings(pack_tokens=10, num_packs_per_step=4, num_balanced_ranks=3)
    with pytest.raises(ValueError, match="multiple of the 2 processes, got 3"):
        list(packs_of_rank([np.arange(1)] * 3, 0, 2))
