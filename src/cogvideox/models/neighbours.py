"""What a part of a clip needs from the parts around it, whoever holds them: other processes, or other tiles.

The model calls these functions and knows nothing of ranks; `cogvideox.parallel` supplies them.

Axes: B batch, C channels, T frames, P past frames, H W rows and columns, G groups, R parts.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Functions that a pass over a part calls, in the same order for every part; None where nothing is cut."""

    with_past: Callable[[Tensor, int], Tensor] | None = None
    """(B, C, T, H, W) and P to (B, C, P + T, H, W): the last P frames of the part before are put in front, the own ones
    are handed on. At the start of a clip the first frame is repeated. Differentiable."""
    hand_on: Callable[[Tensor, int], Tensor | None] | None = None
    """The same without gradients, before the frames exist in one piece: takes the part's last frames (B, C, n, H, W), P
    or, in a shorter part, all, and returns the P frames before the part, None at the start of a clip."""
    with_rows: Callable[[Tensor, int, int], Tensor] | None = None
    """(..., H, W) and two counts: so many rows of the parts above and below are added, zeros at the borders of the
    frame. Without gradients."""
    gather_moments: Callable[[Tensor], Tensor] | None = None
    """Mean, variance and count (3, B, G) of the groups of this part to those of all parts that a norm pools over
    (R, 3, B, G). Differentiable."""
    is_start_of_clip: bool = True
    """Whether no frames come before; read with `with_past` only."""
    has_odd_clip: bool | None = None
    """Whether all parts together have an odd number of frames, so that the first is alone in time; None is for the
    published chunks, whose first one tells."""


ALONE = Neighbours()
