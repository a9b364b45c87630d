"""Which of a clip's captions a model is trained on: short ones, dense ones and those that came with it, mixed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

CaptionKind = Literal["own", "short", "dense"]
CAPTION_KINDS: tuple[CaptionKind, ...] = get_args(CaptionKind)


@dataclass(frozen=True, kw_only=True)
class CaptionMixture:
    """How often each kind of caption is taken, as shares of each other.

    A clip that lacks a kind takes the others in their shares; one that has only kinds of share 0 takes what it has.
    """

    own: float = 1.0
    """Came with the clip: a text file, a caption of its source."""
    short: float = 1.0
    """One sentence, like most prompts of users."""
    dense: float = 1.0
    """A description of the whole clip (`cogvideox caption`)."""

    def __post_init__(self) -> None:
        shares = {kind: getattr(self, kind) for kind in CAPTION_KINDS}
        for kind, share in shares.items():
            if not 0 <= share < float("inf"):
                raise ValueError(f"{kind}: expected a share of 0 or more, got {share}")
        if not any(shares.values()):
            raise ValueError(f"expected a share above 0 for one of {', '.join(CAPTION_KINDS)}, got none")

    def weights(self, kinds: Sequence[CaptionKind]) -> list[float]:
        """Return the probability of each wording of a clip, given their kinds; those of one kind share its own."""
        shares = [getattr(self, kind) / kinds.count(kind) for kind in kinds]
        if not any(shares):
            shares = [1.0] * len(kinds)
        return [share / sum(shares) for share in shares]

    def draw(self, kinds: Sequence[CaptionKind], rng: np.random.Generator) -> int:
        """Return the place of the wording to train on."""
        return int(rng.choice(len(kinds), p=self.weights(kinds)))

    def likeliest(self, kinds: Sequence[CaptionKind]) -> int:
        """Return the place of the first wording of the commonest kind, for samples and measurements."""
        shares = [float(getattr(self, kind)) for kind in kinds]
        return shares.index(max(shares))

    def misses(self, kinds: Sequence[CaptionKind]) -> bool:
        """Return whether a clip has no wording of a kind with a share."""
        return not any(getattr(self, kind) for kind in kinds)
