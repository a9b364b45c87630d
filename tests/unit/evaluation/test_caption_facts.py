"""What is read out of captions, and how it is scored."""

import numpy as np
import pytest

from cogvideox.data.stage_world import caption_scene, draw_simple_art, sample_scene
from cogvideox.evaluation.caption_facts import StageFacts, facts_of, read_facts, score_captions


@pytest.mark.parametrize("has_unseen_words", [False, True])
def test_the_captions_of_the_stage_world_are_understood(has_unseen_words):
    for seed in range(400):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng, split="any")
        said, true = read_facts(caption_scene(scene, rng, use_held_out_synonyms=has_unseen_words)), facts_of(scene)
        for name in ("actor", "action", "place", "direction"):
            assert getattr(said, name) == getattr(true, name)
        assert said.second_object in (None, true.second_object)
        assert said.side in (None, true.side)
        assert said.weather in (None, true.weather)


def test_longest_phrases_count_and_whole_words_only():
    assert read_facts("A t-rex leaps into the air on a carpet").action == "jumps"
    assert read_facts("A scar on a carpet").actor is None
    facts = read_facts(
        "A soccer ball rolls from right to left; there is a little house on the right side of the beach."
    )
    assert facts == StageFacts(
        actor="soccer ball", action="rolls", direction="left", second_object="house", side="right"
    )
    assert read_facts("The cat is on the left of the picture").direction is None


def test_scores_count_what_is_wrong_missing_and_invented():
    art = draw_simple_art()
    rng = np.random.default_rng(3)
    scene = sample_scene(rng, split="any", actors=art.actors, direction="left", second_object="none", weather="none")
    right = caption_scene(scene, rng, style="plain")
    scores = score_captions([right, "A tree on the left side."], [scene, scene])
    half = dict.fromkeys(("actor", "action", "place", "direction"), 0.5)
    assert scores.fractions == half | dict.fromkeys(("second_object", "side", "weather"))
    assert scores.invented["second_object"] == 0.5
    assert scores.invented["actor"] is None
    assert scores.all_right == 0.5
    assert not scores.meets_requirements()
    assert score_captions([right], [scene]).meets_requirements()
    with pytest.raises(ValueError, match="captions"):
        score_captions([right], [])
