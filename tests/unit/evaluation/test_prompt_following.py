"""The prompts are held out and balanced; the scores count what they say."""

import re
from collections import Counter

import numpy as np
import pytest

from cogvideox.data.stage_world import TRAVELLING_ACTIONS, draw_simple_art, is_held_out
from cogvideox.data.stage_world.vocabulary import DIRECTION_PHRASES, HELD_OUT_SYNONYMS
from cogvideox.evaluation.judge import JudgedClips
from cogvideox.evaluation.prompt_following import (
    ASPECTS,
    NUM_PROMPTS,
    PROMPTS_FILE,
    Prompt,
    evaluate_prompt_following,
    make_prompts,
    read_prompts,
    render_prompts,
    score_prompt_following,
    shuffle_prompts,
    write_prompts,
)
from cogvideox.evaluation.report import report_prompt_following


class TellingJudge:
    """Reads the answer that `_tell` wrote into a clip's first pixel."""

    def __init__(self, prompts):
        self.prompts = prompts

    def predict(self, videos):
        told = [self.prompts[int(video[0, 0, 0, 0]) % len(self.prompts)] for video in videos]
        return JudgedClips(tuple(p.actor for p in told), tuple(p.action for p in told), tuple(p.place for p in told))


def _tell(video, index):
    video = video.copy()
    video[:, 0, 0, 0] = index
    return video


@pytest.fixture(scope="module")
def prompts():
    """The first prompts whose actors the simple art holds."""
    art = draw_simple_art()
    return [prompt for prompt in read_prompts() if prompt.actor in art.actors][:20]


@pytest.fixture(scope="module")
def real(prompts):
    return [_tell(video, index) for index, video in enumerate(render_prompts(prompts, draw_simple_art()))]


def test_the_packaged_prompts_are_what_the_function_makes(tmp_path):
    write_prompts(make_prompts(), tmp_path / "prompts.jsonl")
    assert (tmp_path / "prompts.jsonl").read_bytes() == PROMPTS_FILE.read_bytes()


def test_every_packaged_triple_is_held_out_and_every_prompt_is_another():
    prompts = read_prompts()
    assert len(prompts) == NUM_PROMPTS >= 200
    assert all(is_held_out(prompt.actor, prompt.action, prompt.place) for prompt in prompts)
    assert len({prompt.prompt for prompt in prompts}) == NUM_PROMPTS


@pytest.mark.parametrize(("num_prompts", "aspect", "num_names"), [
    (num_prompts, aspect, num_names)
    for num_prompts in (64, NUM_PROMPTS)
    for aspect, num_names in (("actor", 16), ("action", 8), ("place", 8))
])  # fmt: skip
def test_prompts_are_balanced_from_the_first_on(num_prompts, aspect, num_names):
    counts = Counter(getattr(prompt, aspect) for prompt in read_prompts()[:num_prompts])
    assert len(counts) == num_names
    assert max(counts.values()) - min(counts.values()) <= 2


def test_directions_are_balanced_and_named_in_the_prompts():
    prompts = read_prompts()
    counts = Counter(prompt.direction for prompt in prompts)
    assert abs(counts["left"] - counts["right"]) <= 2
    assert abs(counts[None] - NUM_PROMPTS // 2) <= 2
    for prompt in prompts:
        assert (prompt.direction is not None) == (prompt.action in TRAVELLING_ACTIONS)
        if prompt.direction is not None:
            assert any(phrase in prompt.prompt for phrase in DIRECTION_PHRASES[prompt.direction])


def test_prompts_use_training_words_and_few_extras():
    texts = [prompt.prompt.lower() for prompt in read_prompts()]
    for prompt, text in zip(read_prompts(), texts, strict=True):
        for name in (prompt.actor, prompt.action, prompt.place):
            assert not any(f" {word} " in f" {text} " for word in HELD_OUT_SYNONYMS[name])
    extra = re.compile(r"\b(tree|house|cottage|cactus|balloon|rain|raining|snowing|snow is|snowflakes)\b")
    assert 0 < sum(extra.search(text) is not None for text in texts) <= NUM_PROMPTS // 10


def test_damaged_prompt_files_are_refused_with_the_line(tmp_path):
    path = tmp_path / "prompts.jsonl"
    with pytest.raises(ValueError, match="No such file"):
        read_prompts(path)
    path.write_text(PROMPTS_FILE.read_text().splitlines()[0] + '\n{"prompt": "a cat"}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_prompts(path)


def test_shuffling_moves_every_prompt_and_is_repeatable(prompts):
    shuffled = shuffle_prompts(prompts)
    assert shuffled == shuffle_prompts(prompts)
    assert sorted(map(str, shuffled)) == sorted(map(str, prompts))
    assert all(one is not other for one, other in zip(prompts, shuffled, strict=True))
    with pytest.raises(ValueError, match="at least 2"):
        shuffle_prompts(prompts[:1])


def test_real_renders_of_the_prompts_are_all_right(prompts, real):
    scores = score_prompt_following(real, prompts, TellingJudge(prompts))  # pyright: ignore[reportArgumentType]
    assert (scores.actor, scores.action, scores.place, scores.direction, scores.all_right) == (1, 1, 1, 1, 1)
    assert scores.num_clips == len(prompts)
    assert scores.num_travelling_clips == sum(prompt.direction is not None for prompt in prompts)
    assert scores.meets_requirements()


def _prompt(actor="cat", action="walks", place="beach", direction="right"):
    return Prompt(prompt="", actor=actor, action=action, place=place, direction=direction)


@pytest.mark.parametrize(
    ("shown", "wanted", "expected"),
    [
        ([_prompt()], [_prompt()], (1, 1, 1, 1, 1)),
        ([_prompt()], [_prompt(actor="pig")], (0, 1, 1, 1, 0)),
        ([_prompt()], [_prompt(direction="left")], (1, 1, 1, 0, 0)),
        ([_prompt()], [_prompt(action="spins", direction=None)], (1, 0, 1, None, 0)),
        ([_prompt(), _prompt()], [_prompt(), _prompt(place="night", action="falls", direction=None)],
         (1, 0.5, 0.5, 1, 0.5)),
    ],
)  # fmt: skip
def test_scores_count_what_is_right(shown, wanted, expected):
    videos = [_tell(video, index) for index, video in enumerate(render_prompts(shown, draw_simple_art()))]
    scores = score_prompt_following(videos, wanted, TellingJudge(shown))  # pyright: ignore[reportArgumentType]
    assert (scores.actor, scores.action, scores.place, scores.direction, scores.all_right) == expected


def test_the_worst_name_is_found():
    shown = [_prompt(), _prompt(), _prompt()]
    wanted = [_prompt(), _prompt(actor="pig"), _prompt(actor="pig")]
    videos = [_tell(video, index) for index, video in enumerate(render_prompts(shown, draw_simple_art()))]
    scores = score_prompt_following(videos, wanted, TellingJudge(shown))  # pyright: ignore[reportArgumentType]
    assert scores.by_name["actor"] == {"cat": 1.0, "pig": 0.0}
    assert scores.worst("actor") == ("pig", 0.0)


def test_the_whole_table_with_a_perfect_model(prompts, real):
    art, calls, progress = draw_simple_art(), [], []

    def generate(texts, seeds):
        calls.append(list(seeds))
        by_text = {prompt.prompt: video for prompt, video in zip(prompts, real, strict=True)}
        return [by_text[text] for text in texts]

    def untrained(texts, seeds):
        return [np.zeros((17, 64, 96, 3), dtype=np.uint8) for _ in texts]

    result = evaluate_prompt_following(
        generate,
        judge=TellingJudge(prompts),  # pyright: ignore[reportArgumentType]
        art=art,
        prompts=prompts,
        untrained=untrained,
        num_untrained_clips=5,
        batch_size=8,
        seed=100,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert list(result.rows) == ["model", "prompts shuffled", "untrained weights", "real renders"]
    assert calls == [list(range(100, 108)), list(range(108, 116)), list(range(116, 120))]
    assert progress == [(8, 25), (16, 25), (20, 25), (25, 25)]
    assert result.model.all_right == 1
    assert result.rows["prompts shuffled"].all_right == 0
    assert result.rows["prompts shuffled"].actor < 0.5
    assert result.rows["untrained weights"].num_clips == 5
    assert result.rows["untrained weights"].direction == 0
    assert result.rows["real renders"].direction == 1

    report = report_prompt_following(result)
    assert report.values["rows"]["model"]["actor"] == 1
    assert set(report.values["rows"]["model"]["by_name"]) == set(ASPECTS)
    assert report.values["meets_requirements"] is True
    assert "| model | 100.0% |" in report.to_markdown()
    assert report.to_rich().row_count == 5


def test_a_model_that_returns_too_few_clips_is_refused(prompts):
    with pytest.raises(ValueError, match="expected 16 clips, got 0"):
        evaluate_prompt_following(
            lambda texts, seeds: [],
            judge=TellingJudge(prompts),  # pyright: ignore[reportArgumentType]
            art=draw_simple_art(),
            prompts=prompts,
        )
    with pytest.raises(ValueError, match="at least 1, got 0"):
        score_prompt_following([], prompts, TellingJudge(prompts))  # pyright: ignore[reportArgumentType]
