"""Full attention over text and video tokens of a segment; the only attention in the code base.

Axes: S segments, N tokens, K heads, d channels of a head.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cogvideox.models.sequence_layout import SequenceLayout

AttentionBackend = Literal["sdpa", "matmul"]


def attention(
    query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout, *, backend: AttentionBackend = "sdpa"
) -> Tensor:
    """Attend from every token to all tokens of its segment (paper section 2.2, "3D full attention").

    Args:
        query: (S, N, K, d), or (1, N_total, K, d) for segments of unequal length.
        key: the same shape.
        value: the same shape.
        layout: the segments; a token never sees those of another segment.
        backend: "sdpa" is torch's scaled dot product attention; "matmul" writes the scores out, which costs memory
            quadratic in the segment but, on a CPU and for a few hundred tokens, a third of sdpa's time with gradients.

    Returns:
        A tensor of the query's shape.
    """
    if layout.is_batch:
        return _attend(query, key, value, backend)
    lengths = list(layout.segment_lengths)
    segments = zip(query.split(lengths, dim=1), key.split(lengths, dim=1), value.split(lengths, dim=1), strict=True)
    return torch.cat([_attend(*segment, backend) for segment in segments], dim=1)


def _attend(query: Tensor, key: Tensor, value: Tensor, backend: AttentionBackend) -> Tensor:
    # Views only: sdpa's kernels take strided heads and return them so that merging heads needs no copy.
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if backend == "sdpa":
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    assert backend == "matmul", backend
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return (scores.softmax(-1) @ value).transpose(1, 2)
