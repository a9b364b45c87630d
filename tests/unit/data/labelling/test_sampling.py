"""Queues: everyone's own, the same every time, with shares that are as asked for."""

from collections import Counter
from itertools import groupby

import numpy as np
import pytest

from cogvideox.data.labelling.sampling import QueueSettings, plan_queue, quantile_bins

CLIPS = {f"clip{number:04d}": f"source{number % 40}" for number in range(400)}
RNG = np.random.default_rng(0)
VALUES = {
    "text.area": np.where(RNG.random(400) < 0.9, 0.0, RNG.random(400)),
    "filters.text": RNG.random(400),
    "filters.static": np.where(RNG.random(400) < 0.5, np.nan, 0.99),
}


def queue(annotator: str = "ann", **values):
    return plan_queue(CLIPS, annotator, QueueSettings(**values), values=VALUES)


@pytest.mark.parametrize("order", ["stratified", "uncertain", "random"])
def test_every_clip_once_and_some_again_later(order) -> None:
    made = queue(order=order)
    assert made == queue(order=order) != queue("ben", order=order)
    assert plan_queue(dict(reversed(CLIPS.items())), "ann", QueueSettings(order="random")) == queue(order="random")
    assert sorted(item.clip_id for item in made if not item.is_repeat) == sorted(CLIPS)
    first = {item.clip_id: place for place, item in reversed(list(enumerate(made)))}
    repeats = [(item, place) for place, item in enumerate(made) if item.is_repeat]
    assert len(repeats) == 20 and len({item.clip_id for item, _ in repeats}) == 20
    assert all(place - first[item.clip_id] > 20 for item, place in repeats)
    runs = [len(list(run)) for _, run in groupby(CLIPS[item.clip_id] for item in made if not item.is_repeat)]
    assert max(runs) <= 2


def test_shared_clips_are_the_same_for_all_and_come_early() -> None:
    ann, ben = (queue(name, order=order) for name, order in (("ann", "stratified"), ("ben", "random")))
    shared = {item.clip_id for item in ann if item.is_shared}
    assert shared == {item.clip_id for item in ben if item.is_shared} and len(shared) == 40
    for made in (ann, ben):
        assert made[0].is_shared
        counts = [sum(item.is_shared for item in made[start : start + 100]) for start in range(0, 400, 100)]
        assert min(counts) >= 8 and max(counts) <= 12
    assert queue(seed=1) != queue() and {item.clip_id for item in queue(seed=1) if item.is_shared} != shared
    assert not [item for item in queue(overlap_share=0) if item.is_shared]
    assert all(item.is_shared for item in queue(overlap_share=1, repeat_share=0))


def test_strata_have_equal_shares_as_long_as_they_last() -> None:
    made = queue(strata=("text.area",), repeat_share=0)
    has_text = dict(zip(CLIPS, VALUES["text.area"] > 0, strict=True))
    num_rare = sum(has_text.values())
    begin = Counter(has_text[item.clip_id] for item in made[:60])
    assert num_rare < 60 and abs(begin[True] - 30) <= 4
    assert quantile_bins(np.array([0, 0, 0, 5, np.nan, 9]), 3).tolist() == [0, 0, 0, 2, -1, 2]


def test_uncertain_ones_come_first_among_random_ones() -> None:
    made = queue(order="uncertain", overlap_share=0, repeat_share=0, random_share=0.2)
    distance = dict(zip(CLIPS, np.abs(VALUES["filters.text"] - 0.5), strict=True))
    begin = [distance[item.clip_id] for item in made[:50]]
    assert 37 <= sum(value < 0.08 for value in begin) <= 48
    only = plan_queue(
        CLIPS,
        "ann",
        QueueSettings(order="uncertain", overlap_share=0, random_share=0, max_in_a_row=400),
        values={"filters.text": VALUES["filters.text"]},
        thresholds={"text": 0.9},
    )
    by_hand = sorted(CLIPS, key=lambda clip_id: abs(VALUES["filters.text"][list(CLIPS).index(clip_id)] - 0.9))
    assert [item.clip_id for item in only if not item.is_repeat] == by_hand
    nothing = {f"filters.{label}": np.full(400, np.nan) for label in ("text", "static")}
    for values in ({}, nothing, nothing | {"text.area": VALUES["text.area"]}):
        with pytest.raises(ValueError, match=r"filters\.text.*got none.*another order"):
            plan_queue(CLIPS, "ann", QueueSettings(order="uncertain"), values=values)


def test_one_source_and_few_clips() -> None:
    few = {f"{number}": "one" for number in range(5)}
    assert sorted(item.clip_id for item in plan_queue(few, "ann", QueueSettings())) == sorted(few)
    assert plan_queue({}, "ann", QueueSettings()) == []
    with pytest.raises(ValueError, match="overlap_share"):
        QueueSettings(overlap_share=2)
