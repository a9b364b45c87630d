from collections import Counter

import numpy as np
import pytest

from cogvideox.data.caption_mixture import CaptionMixture


def test_kinds_come_in_their_shares_whatever_their_number_of_wordings() -> None:
    mixture, rng = CaptionMixture(own=0, short=1, dense=3), np.random.default_rng(0)
    drawn = Counter(mixture.draw(("own", "short", "dense", "dense"), rng) for _ in range(4000))
    assert drawn[0] == 0
    assert drawn[1] / 4000 == pytest.approx(0.25, abs=0.03)
    assert drawn[2] / 4000 == pytest.approx(0.375, abs=0.03)


def test_a_missing_kind_leaves_its_share_to_the_others() -> None:
    mixture = CaptionMixture(own=0, short=1, dense=3)
    assert mixture.weights(("own", "dense")) == [0, 1]
    assert mixture.weights(("own", "own")) == [0.5, 0.5]
    assert mixture.misses(("own", "own")) and not mixture.misses(("own", "short"))


def test_the_likeliest_kind_stands_for_a_clip() -> None:
    mixture = CaptionMixture(own=0, short=1, dense=3)
    assert mixture.likeliest(("own", "short", "dense", "dense")) == 2
    assert mixture.likeliest(("own", "short")) == 1


@pytest.mark.parametrize("shares", [{"own": 0, "short": 0, "dense": 0}, {"short": -1}, {"dense": float("inf")}])
def test_shares_that_cannot_be_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share"):
        CaptionMixture(**shares)
