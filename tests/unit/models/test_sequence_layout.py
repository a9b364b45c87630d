"""Offsets, splits and views of token layouts."""

import torch

from cogvideox.models.sequence_layout import SequenceLayout


def test_pack_of_unequal_segments() -> None:
    layout = SequenceLayout.of_grids(4, [(1, 2, 3), (2, 2, 2), (1, 1, 1)])
    assert layout.segment_lengths == (10, 12, 5)
    assert layout.offsets == (0, 10, 22)
    assert not layout.is_batch
    tokens = torch.arange(27).view(1, 27, 1)
    assert layout.as_batch(tokens) is tokens
    starts = [(part[0, 0, 0].item(), part.shape[1]) for part in layout.split_experts(tokens)]
    assert starts == [(0, 4), (4, 6), (10, 4), (14, 8), (22, 4), (26, 1)]


def test_neighbours_of_equal_length_are_a_run() -> None:
    layout = SequenceLayout.of_grids(4, [(1, 2, 3), (3, 2, 1), (1, 1, 1), (1, 3, 2)])
    assert layout.runs == ((2, 10), (1, 5), (1, 10))
    tokens = torch.arange(35 * 2).view(1, 35, 2)
    runs = layout.split_runs(tokens)
    assert [run.shape for run in runs] == [(2, 10, 2), (1, 5, 2), (1, 10, 2)]
    assert torch.equal(layout.join_runs(runs), tokens)
    parts = layout.split_experts(tokens)
    assert [part.shape[:2] for part in parts] == [(2, 4), (2, 6), (1, 4), (1, 1), (1, 4), (1, 6)]
    assert parts[1][1, 0, 0] == 2 * 14
    assert torch.equal(layout.join_experts(parts), tokens)


def test_equal_segments_are_viewed_as_a_batch_without_a_copy() -> None:
    layout = SequenceLayout.of_grids(4, [(1, 2, 3), (3, 2, 1)])
    assert layout.is_batch
    packed = torch.arange(20).view(1, 20, 1)
    batch = layout.as_batch(packed)
    assert batch.shape == (2, 10, 1)
    assert batch.data_ptr() == packed.data_ptr()
    text, video = layout.split_experts(batch)
    assert text[:, 0, 0].tolist() == list(layout.offsets) == [0, 10]
    assert video.shape == (2, 6, 1)


def test_one_segment_is_a_batch() -> None:
    assert SequenceLayout.of_grids(4, [(1, 2, 3)]).is_batch


def test_layouts_are_values() -> None:
    assert SequenceLayout.of_grids(4, [(1, 2, 3)]) == SequenceLayout.of_grids(4, [(1, 2, 3)])
    assert len({SequenceLayout.of_grids(4, [(1, 2, 3)]), SequenceLayout.of_grids(4, [(1, 3, 2)])}) == 2
