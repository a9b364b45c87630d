"""Whether generated clips show what their prompts say, on triples of actor, action and place that were never trained.

A packaged judge names actor, action and place, centroid tracking names the direction. Beside the model stand three
controls: the same clips scored against other clips' prompts (chance), clips of untrained weights, and real renders of
the same prompts (the most this judge can give).
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.stage_world import (
    ACTIONS,
    ACTORS,
    DIRECTIONS,
    PLACES,
    SECOND_OBJECTS,
    TRAVELLING_ACTIONS,
    WEATHERS,
    Action,
    Actor,
    Art,
    Direction,
    Place,
    caption_scene,
    is_held_out,
    render_scene,
    sample_scene,
)
from cogvideox.evaluation.judge import Judge
from cogvideox.evaluation.tracking import track_direction

PROMPTS_FILE = Path(__file__).parent / "prompts.jsonl"
PROMPTS_SEED = 208
NUM_PROMPTS = 208
EXTRA_EVERY = 10
"""Every so many prompts name a second object or the weather, as in training captions."""
Video = NDArray[np.uint8]
Generate = Callable[[Sequence[str], Sequence[int]], Sequence[Video]]
"""Prompts and seeds to clips (T, H, W, 3) uint8, one each."""
RowName = Literal["model", "prompts shuffled", "untrained weights", "real renders"]
Aspect = Literal["actor", "action", "place", "direction"]
ASPECTS: tuple[Aspect, ...] = ("actor", "action", "place", "direction")
REQUIRED_FRACTIONS: dict[Aspect, float] = {"actor": 0.60, "action": 0.50, "place": 0.90, "direction": 0.85}
"""What the embedded small model must reach."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt and what a clip of it must show."""

    prompt: str
    actor: Actor
    action: Action
    place: Place
    direction: Direction | None
    """None exactly for actions done in place."""


@dataclass(frozen=True, kw_only=True)
class PromptFollowingScores:
    """Fractions of clips that show what their prompts say, 0 to 1."""

    num_clips: int
    num_travelling_clips: int
    """Those whose prompts name a direction; only they count for `direction`."""
    actor: float
    action: float
    place: float
    direction: float | None
    """None if no prompt names a direction."""
    all_right: float
    """Actor, action, place and, if one is named, direction in one clip."""
    by_name: Mapping[Aspect, Mapping[str, float]]
    """For each aspect, the fraction right among the prompts of each name."""

    def worst(self, aspect: Aspect) -> tuple[str, float]:
        """Return the name that is shown least reliably, and its fraction."""
        return min(self.by_name[aspect].items(), key=lambda item: item[1])

    def meets_requirements(self) -> bool:
        """Whether all aspects reach `REQUIRED_FRACTIONS`."""
        return all((getattr(self, aspect) or 0.0) >= least for aspect, least in REQUIRED_FRACTIONS.items())


@dataclass(frozen=True, kw_only=True)
class PromptFollowingResult:
    """The rows of the table, the model's first."""

    rows: Mapping[RowName, PromptFollowingScores]

    @property
    def model(self) -> PromptFollowingScores:
        """The scores that matter."""
        return self.rows["model"]


def read_prompts(path: str | Path = PROMPTS_FILE) -> list[Prompt]:
    """Read a file of one JSON object a line with the fields of `Prompt`; by default the packaged prompts.

    Raises ValueError for an unreadable file or line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"prompts {path}: {error.strerror or error}") from None
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, start=1):
        try:
            prompts.append(Prompt(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"prompts {path}, line {number}: {error}") from None
    return prompts


def write_prompts(prompts: Sequence[Prompt], path: str | Path) -> None:
    """Write what `read_prompts` reads."""
    text = "".join(json.dumps(vars(prompt)) + "\n" for prompt in prompts)
    Path(path).write_text(text, encoding="utf-8")


def make_prompts(seed: int = PROMPTS_SEED, num_prompts: int = NUM_PROMPTS) -> list[Prompt]:
    """Make the prompts of the packaged file: held-out triples only, with training's words.

    Each prompt takes the triple whose actor, action and place are rarest so far, so every beginning of the list is
    balanced too.
    """
    rng = np.random.default_rng((seed, num_prompts))
    triples = [(a, b, c) for a in ACTORS for b in ACTIONS for c in PLACES if is_held_out(a, b, c)]
    triples = [triples[index] for index in rng.permutation(len(triples))]
    seen: Counter[Any] = Counter()
    prompts: list[Prompt] = []
    for index in range(num_prompts):
        triple = min(triples, key=lambda t: (_crowding(t, seen), seen[t]))
        actor, action, place = triple
        seen.update((triple, *triple))
        direction = None
        if action in TRAVELLING_ACTIONS:
            direction = min(DIRECTIONS, key=lambda side: (seen[action, side], seen[side]))
            seen.update(((action, direction), direction))
        has_extra = index % EXTRA_EVERY == EXTRA_EVERY - 1 and place != "underwater"
        extra = (*SECOND_OBJECTS, *WEATHERS)[int(rng.integers(len(SECOND_OBJECTS) + len(WEATHERS)))]
        scene = sample_scene(
            rng,
            split="held_out",
            actor=actor,
            action=action,
            place=place,
            direction=direction,
            second_object=extra if has_extra and extra in SECOND_OBJECTS else "none",
            weather=extra if has_extra and extra in WEATHERS else "none",
        )
        prompts.append(
            Prompt(prompt=caption_scene(scene, rng), actor=actor, action=action, place=place, direction=direction)
        )
    return prompts


def _crowding(triple: tuple[Actor, Action, Place], seen: Counter[Any]) -> float:
    """How often the triple's names have been used, relative to an even share of each."""
    actor, action, place = triple
    shares = (seen[actor] * len(ACTORS), seen[action] * len(ACTIONS), seen[place] * len(PLACES))
    return float(sum(share**2 for share in shares))


def shuffle_prompts(prompts: Sequence[Prompt], seed: int = 0) -> list[Prompt]:
    """Return the prompts in another order in which none keeps its place; the same for the same seed.

    Raises ValueError for fewer than two prompts.
    """
    if len(prompts) < 2:
        raise ValueError(f"prompts: expected at least 2 to shuffle, got {len(prompts)}")
    order = np.random.default_rng(seed).permutation(len(prompts))
    shuffled = list(prompts)
    for position, following in zip(order, np.roll(order, -1), strict=True):
        shuffled[position] = prompts[following]
    return shuffled


def score_prompt_following(videos: Sequence[Video], prompts: Sequence[Prompt], judge: Judge) -> PromptFollowingScores:
    """Score clips (T, H, W, 3) uint8, one for each prompt. Raises ValueError if their numbers differ or are 0."""
    return _score(_observe(videos, judge), prompts)


@dataclass(frozen=True, kw_only=True)
class _Observation:
    """What one clip shows."""

    actor: str
    action: str
    place: str
    direction: Direction | None


def _observe(videos: Sequence[Video], judge: Judge) -> list[_Observation]:
    judged = judge.predict(videos)
    return [
        _Observation(actor=actor, action=action, place=place, direction=track_direction(video))
        for video, actor, action, place in zip(videos, judged.actors, judged.actions, judged.places, strict=True)
    ]


def _score(observations: Sequence[_Observation], prompts: Sequence[Prompt]) -> PromptFollowingScores:
    if not prompts or len(observations) != len(prompts):
        raise ValueError(
            f"videos: expected one for each of {len(prompts)} prompts, at least 1, got {len(observations)}"
        )
    right: dict[Aspect, dict[str, list[bool]]] = {aspect: {} for aspect in ASPECTS}
    num_all_right = 0
    for seen, prompt in zip(observations, prompts, strict=True):
        clip_hits: list[bool] = []
        for aspect in ASPECTS:
            name = getattr(prompt, aspect)
            if name is not None:
                clip_hits.append(getattr(seen, aspect) == name)
                right[aspect].setdefault(name, []).append(clip_hits[-1])
        num_all_right += all(clip_hits)
    flat = {aspect: [hit for hits in names.values() for hit in hits] for aspect, names in right.items()}
    return PromptFollowingScores(
        num_clips=len(prompts),
        num_travelling_clips=len(flat["direction"]),
        actor=_fraction(flat["actor"]),
        action=_fraction(flat["action"]),
        place=_fraction(flat["place"]),
        direction=_fraction(flat["direction"]) if flat["direction"] else None,
        all_right=num_all_right / len(prompts),
        by_name={
            aspect: {name: _fraction(hits) for name, hits in sorted(names.items())} for aspect, names in right.items()
        },
    )


def _fraction(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)


def render_prompts(prompts: Sequence[Prompt], art: Art, *, seed: int = 0) -> list[Video]:
    """Render a fresh scene of each prompt's actor, action, place and direction, 17 frames of 96x64 px."""
    videos: list[Video] = []
    for index, prompt in enumerate(prompts):
        scene = sample_scene(
            np.random.default_rng((PROMPTS_SEED, seed, index)),
            split="any",
            actor=prompt.actor,
            action=prompt.action,
            place=prompt.place,
            direction=prompt.direction,
        )
        videos.append(render_scene(scene, art))
    return videos


def evaluate_prompt_following(
    generate: Generate,
    *,
    judge: Judge,
    art: Art,
    prompts: Sequence[Prompt],
    untrained: Generate | None = None,
    num_untrained_clips: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> PromptFollowingResult:
    """Generate a clip for each prompt and score it beside the controls.

    Args:
        generate: the model.
        judge: names actors, actions and places.
        art: draws the real renders.
        prompts: what to generate, from `read_prompts`; at least 2.
        untrained: the same model with fresh weights; without it that row is left out.
        num_untrained_clips: how many of the first prompts it is given; by default all.
        batch_size: clips generated at a time.
        seed: clip n is generated from seed + n.
        on_progress: called with the clips made so far and the clips to make.

    Raises:
        ValueError: too few prompts, a batch size below 1, or a model that returns another number of clips.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    shuffled = shuffle_prompts(prompts)
    untrained_prompts = prompts[:num_untrained_clips] if untrained is not None else []
    num_to_make = len(prompts) + len(untrained_prompts)

    def observe_all(make: Generate, wanted: Sequence[Prompt], num_made: int) -> list[_Observation]:
        observations: list[_Observation] = []
        for first in range(0, len(wanted), batch_size):
            texts = [prompt.prompt for prompt in wanted[first : first + batch_size]]
            videos = make(texts, [seed + first + offset for offset in range(len(texts))])
            if len(videos) != len(texts):
                raise ValueError(f"generate: expected {len(texts)} clips, got {len(videos)}")
            observations += _observe(videos, judge)
            if on_progress is not None:
                on_progress(num_made + len(observations), num_to_make)
        return observations

    made = observe_all(generate, prompts, 0)
    rows: dict[RowName, PromptFollowingScores] = {
        "model": _score(made, prompts),
        "prompts shuffled": _score(made, shuffled),
    }
    if untrained is not None:
        rows["untrained weights"] = _score(observe_all(untrained, untrained_prompts, len(prompts)), untrained_prompts)
    rows["real renders"] = score_prompt_following(render_prompts(prompts, art, seed=seed), prompts, judge)
    return PromptFollowingResult(rows=rows)
