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
