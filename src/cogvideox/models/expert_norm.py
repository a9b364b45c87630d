"""Adaptive layer norm with one expert for text and one for video tokens.

Paper: CogVideoX (arXiv 2408.06072), section 2.2 "Expert Adaptive LayerNorm".

Modulation values come from the timestep alone, so those of all layers are computed before the first block, and for a
whole sampling schedule at once if wanted.

Axes: S segments, N tokens, D width, E width of the timestep embedding.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.models.reused_memory import computes_in_place
from cogvideox.models.sequence_layout import SequenceLayout

VIDEO, TEXT = 0, 3
"""Where an expert's shift, scale and gate start among the six values of a norm: the published order is video first."""


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate of all layers for some timesteps."""

    norm1: tuple[Tensor, ...]
    """Per block (S, 6, D): shift, scale, gate of video tokens, then of text tokens; around attention."""
    norm2: tuple[Tensor, ...]
    """The same around the feed-forward layer."""
    norm_out: Tensor
    """(S, 2, D): shift and scale before the output projection."""

    def select(self, rows: Tensor | slice) -> Self:
        """Pick timesteps, e.g. ``slice(i, i + 1)`` of a precomputed schedule (one row serves any batch)."""
        norm1, norm2 = (tuple(values[rows] for values in norm) for norm in (self.norm1, self.norm2))
        return type(self)(norm1, norm2, self.norm_out[rows])


class ExpertNorm(nn.Module):
    """Layer norm whose shift and scale depend on the timestep and differ for text and video; its gate is used after."""

    def __init__(self, embed_dim: int, width: int, eps: float, is_affine: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, 6 * width)
        self.norm = nn.LayerNorm(width, eps, elementwise_affine=is_affine)

    def modulation(self, activated_embedding: Tensor) -> Tensor:
        """Return (S, 6, D) from the timestep embedding (S, E) after its activation function."""
        return self.linear(activated_embedding).unflatten(-1, (6, -1))

    def forward(self, tokens: Tensor, modulation: Tensor, layout: SequenceLayout) -> Tensor:
        """Return normalized, scaled and shifted tokens of the same shape."""
        shift, scale = modulation[:, VIDEO::TEXT], modulation[:, VIDEO + 1 :: TEXT]
        shift, scale = fold_affine(self.norm, shift, scale)
        normalized = functional.layer_norm(tokens, self.norm.normalized_shape, eps=self.norm.eps)
        parts = layout.split_experts(normalized)
        rows = zip(_rows(shift, layout), parts, _rows(scale, layout), strict=True)
        return _addcmul_parts(rows, normalized, layout)


class OutputNorm(nn.Module):
    """Layer norm before the output projection; only video tokens pass it."""

    def __init__(self, embed_dim: int, width: int, eps: float, is_affine: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, 2 * width)
        self.norm = nn.LayerNorm(width, eps, elementwise_affine=is_affine)

    def modulation(self, activated_embedding: Tensor) -> Tensor:
        """Return (S, 2, D), shift and scale, from the timestep embedding (S, E) after its activation function."""
        return self.linear(activated_embedding).unflatten(-1, (2, -1))

    def forward(self, tokens: Tensor, modulation: Tensor) -> Tensor:
        """Return tokens (S, N, D) normalized, scaled and shifted by modulation (S, 2, D)."""
        shift, scale = fold_affine(self.norm, modulation[:, :1], modulation[:, 1:])
        normalized = functional.layer_norm(tokens, self.norm.normalized_shape, eps=self.norm.eps)
        return torch.addcmul(shift, normalized, scale)


def gated_residual(tokens: Tensor, update: Tensor, modulation: Tensor, layout: SequenceLayout) -> Tensor:
    """Return tokens + gate * update, the gate being that of each token's expert.

    Without gradients, ``update`` is written over.
    """
    gates = _rows(modulation[:, VIDEO + 2 :: TEXT], layout)
    parts = zip(layout.split_experts(tokens), layout.split_experts(update), gates, strict=True)
    return _addcmul_parts(parts, update, layout)


def _addcmul_parts(parts: Iterable[tuple[Tensor, Tensor, Tensor]], second: Tensor, layout: SequenceLayout) -> Tensor:
    """Return first + second * third of all parts, joined; without gradients, in the memory of ``second``."""
    if not computes_in_place(second):
        return layout.join_experts([torch.addcmul(*part) for part in parts])
    for part in parts:
        torch.addcmul(*part, out=part[1])
    return second


def fold_affine(norm: nn.LayerNorm, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Fold the norm's own weight and bias into a modulation, which saves a pass over all tokens.

    (x w + b)(1 + scale) + shift = x w(1 + scale) + b(1 + scale) + shift.

    Returns:
        The shift and the factor (1 is included) for tokens normalized without weight and bias.
    """
    factor = 1 + scale
    if not norm.elementwise_affine:
        return shift, factor
    dtype = scale.dtype
    return torch.addcmul(shift, factor, norm.bias.to(dtype)), factor * norm.weight.to(dtype)


def _rows(values: Tensor, layout: SequenceLayout) -> list[Tensor]:
    """Order (S, 2, D) values (video, text) like `SequenceLayout.split_experts`, each (s, 1, D) or (1, 1, D)."""
    video, text = values.split(1, dim=1)
    if len(values) == 1:
        return [text, video] * len(layout.runs)
    numbers = [number for number, _ in layout.runs]
    assert len(values) == sum(numbers), "modulation: one row, or one per segment"
    return [row for pair in zip(text.split(numbers), video.split(numbers), strict=True) for row in pair]
