"""Full attention over text and video tokens of a segment; the only attention in the code base.

Axes: S segments, N tokens, K heads, d channels of a head.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cogvideox.models.sequence_layout import SequenceLayout

AttentionBackend = Literal["sdpa"]


def attention(
    query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout, *, backend: AttentionBackend = "sdpa"
) -> Tensor:
    """Attend from every token to all tokens of its segment (paper section 2.2, "3D full attention").

    Args:
        query: (S, N, K, d), or (1, N_total, K, d) for segments of unequal length.
        key: the same shape.
        value: the same shape.
        layout: the segments; a token never sees those of another segment.
        backend: "sdpa" is torch's scaled dot product attention.

    Returns:
        A tensor of the query's shape.
    """
    assert backend == "sdpa", backend
    if layout.is_batch:
        return _scaled_dot_product(query, key, value)
    lengths = list(layout.segment_lengths)
    segments = zip(query.split(lengths, dim=1), key.split(lengths, dim=1), value.split(lengths, dim=1), strict=True)
    return torch.cat([_scaled_dot_product(*segment) for segment in segments], dim=1)


def _scaled_dot_product(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    # Views only: the kernels take strided heads and return them so that merging heads needs no copy.
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
