"""Full attention over text and video tokens of a segment; the only attention in the code base.

Axes: S segments, N tokens, K heads, d channels of a head.
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.attention.varlen import varlen_attn

from cogvideox.models.amx_attention import NUM_CHANNELS, amx_attention, has_amx_attention
from cogvideox.models.sequence_layout import SequenceLayout

AttentionBackend = Literal["sdpa", "amx", "blockwise", "matmul", "mixed", "flex", "varlen"]

MAX_BLOCK_ROWS = 256
"""Queries of one head that "blockwise" takes at a time: a matrix product's speed, and scores that stay in a cache."""
MIN_BLOCKWISE_TOKENS = 512
"""Segments below this fit sdpa's own blocks well."""
MIN_AMX_TOKENS = 1024
"""Shorter segments are over before the compiler of "amx" would be."""
MAX_MATMUL_TOKENS = 800
"""Up to here, with gradients and on a CPU, writing scores out is faster than sdpa's kernel."""
MAX_ROUNDED_SCORE = 10.0
"""Up to here `choose_backend` has scores rounded to bfloat16, an error of at most 2^-9 of a score."""


def attention(
    query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout, *, backend: AttentionBackend = "sdpa"
) -> Tensor:
    """Attend from every token to all tokens of its segment (paper section 2.2, "3D full attention").

    Args:
        query: (S, N, K, d), or (1, N_total, K, d) for segments of unequal length.
        key: the same shape.
        value: the same shape.
        layout: the segments; a token never sees those of another segment.
        backend: how it is computed.

            - "sdpa": torch's scaled dot product attention, run by run of equally long segments.
            - "amx": a kernel of our own for 64 channels of bfloat16 on CPUs with AMX, without gradients; more than
              three times as fast as sdpa (`cogvideox.models.amx_attention`).
            - "blockwise": matrix products of blocks of queries with all keys, without gradients. On CPUs with bfloat16
              products but no AMX 1.7 times as fast as sdpa, whose kernel there reaches a third of a matrix product's
              speed.
            - "matmul": writes all scores out, which costs memory quadratic in the segment but, on a CPU and for a few
              hundred tokens, a third of sdpa's time with gradients.
            - "mixed": "matmul" for segments of up to `MAX_MATMUL_TOKENS`, "sdpa" for longer ones; to train on a CPU.
            - "flex": one call for a whole pack, under a block mask; meant for `torch.compile` on CUDA.
            - "varlen": one call of torch's variable-length flash attention for a whole pack; CUDA, bfloat16 or float16.

    Returns:
        A tensor of the query's shape.
    """
    if backend == "flex" and not layout.is_batch:
        return _flex(query, key, value, layout)
    if backend == "varlen":
        return _varlen(query, key, value, layout)
    if layout.is_batch:
        return _attend(query, key, value, backend)
    runs = zip(layout.split_runs(query), layout.split_runs(key), layout.split_runs(value), strict=True)
    return layout.join_runs([_attend(*run, backend) for run in runs])


def _attend(query: Tensor, key: Tensor, value: Tensor, backend: AttentionBackend) -> Tensor:
    if backend == "amx":
        return amx_attention(query, key, value)
    # Views only: sdpa's kernels take strided heads and return them so that merging heads needs no copy.
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if backend == "mixed":
        backend = "matmul" if query.shape[2] <= MAX_MATMUL_TOKENS else "sdpa"
    if backend == "sdpa":
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    if backend == "flex":
        attended = flex_attention(query, key, value)
        assert isinstance(attended, Tensor)
        return attended.transpose(1, 2)
    if backend == "blockwise":
        return _blockwise(query, key, value).transpose(1, 2)
    assert backend == "matmul", backend
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return (scores.softmax(-1) @ value).transpose(1, 2)


def choose_backend(query: Tensor, max_score: Callable[[], float]) -> AttentionBackend:
    """Return the fastest backend that is exact enough.

    Args:
        query: (S, N, K, d).
        max_score: returns a bound of the scores.

    Returns:
        "amx" where it runs; "blockwise" where it was measured to be faster and rounds scores no worse than sdpa rounds
        probabilities.
    """
    num_tokens, num_channels = query.shape[1], query.shape[-1]
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or torch.is_grad_enabled():
        return "sdpa"
    if torch.cpu._is_amx_tile_supported():
        is_amx = num_channels == NUM_CHANNELS and num_tokens >= MIN_AMX_TOKENS and has_amx_attention()
        return "amx" if is_amx else "sdpa"
    is_blockwise = (
        num_tokens >= MIN_BLOCKWISE_TOKENS
        and torch.cpu._is_avx512_bf16_supported()
        and max_score() <= MAX_ROUNDED_SCORE
    )
    return "blockwise" if is_blockwise else "sdpa"


def _blockwise(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend (S, K, N, d), a block of queries of a few heads at a time."""
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        raise ValueError("backend: blockwise writes over its scores, so it has no gradients; use sdpa or matmul")
    num_segments, num_heads, num_tokens, num_channels = query.shape
    # Products of strided heads take a fifth longer.
    query, key, value = query.contiguous(), key.contiguous().transpose(2, 3), value.contiguous()
    out = query.new_empty(num_segments, num_tokens, num_heads, num_channels).transpose(1, 2)
    head_step = min(torch.get_num_threads(), num_heads)
    row_step = math.ceil(num_tokens / math.ceil(num_tokens / MAX_BLOCK_ROWS))
    buffer = query.new_empty(head_step * row_step * num_tokens)
    for segment, head, row in product(
        range(num_segments), range(0, num_heads, head_step), range(0, num_tokens, row_step)
    ):
        heads, rows = slice(head, head + head_step), slice(row, row + row_step)
        block = query[segment, heads, rows]
        scores = buffer[: block.shape[0] * block.shape[1] * num_tokens].view(*block.shape[:2], num_tokens)
        torch.baddbmm(scores, block, key[segment, heads], beta=0, alpha=num_channels**-0.5, out=scores)
        torch.softmax(scores, -1, out=scores)
        torch.bmm(scores, value[segment, heads], out=out[segment, heads, rows])
    return out


def _flex(query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout) -> Tensor:
    mask = _segment_mask(layout.segment_lengths, query.device)
    attended = flex_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), block_mask=mask)
    assert isinstance(attended, Tensor)
    return attended.transpose(1, 2)


@cache
def _segment_mask(lengths: tuple[int, ...], device: torch.device) -> BlockMask:
    num_tokens = sum(lengths)
    segments = torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device))
    return create_block_mask(
        lambda batch, head, row, column: segments[row] == segments[column],
        None,
        None,
        num_tokens,
        num_tokens,
        device=device.type,
    )


def _varlen(query: Tensor, key: Tensor, value: Tensor, layout: SequenceLayout) -> Tensor:
    if query.device.type != "cuda":
        raise ValueError(f"backend: varlen needs CUDA, got tensors on {query.device}")
    starts = torch.tensor([*layout.offsets, sum(layout.segment_lengths)], dtype=torch.int32, device=query.device)
    longest = max(layout.segment_lengths)
    packed = [x.flatten(0, 1) for x in (query, key, value)]
    attended = varlen_attn(packed[0], packed[1], packed[2], starts, starts, longest, longest)
    assert isinstance(attended, Tensor)
    return attended.view_as(query)
