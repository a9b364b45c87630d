"""Exact captions of scenes: one plain form, and a template grammar with synonyms, orders and lengths."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from cogvideox.data.stage_world.scene import Actor, Scene
from cogvideox.data.stage_world.vocabulary import (
    ACTION_VERBS,
    ACTOR_COLOURS,
    ACTOR_NOUNS,
    ACTOR_VERBS,
    AIR_WORDS,
    CAMERA_REMARKS,
    DIRECTION_PHRASES,
    HELD_OUT_SYNONYMS,
    PLACE_PHRASES,
    SECOND_OBJECT_NOUNS,
    SECOND_OBJECT_PHRASES,
    STYLE_WORDS,
    WEATHER_PHRASES,
)

SIZELESS_ACTORS: tuple[Actor, ...] = ("turtle", "car")
"""So wide that the frame's width, not `size_fraction`, decides their size: a size word would be untrue."""
CaptionStyle = Literal["plain", "varied"]
MAX_WORDS = 24
BIG_FROM_FRACTION, SMALL_UP_TO_FRACTION = 0.55, 0.45
"""Size words are said only of sizes clearly above or below the middle."""


def caption_scene(
    scene: Scene,
    rng: np.random.Generator,
    *,
    style: CaptionStyle = "varied",
    use_held_out_synonyms: bool = False,
) -> str:
    """Describe a scene truthfully in at most 24 words, always with the direction of a travelling actor.

    "plain" is the canonical short form and ignores `rng`; "varied" draws words, order and length. With
    `use_held_out_synonyms`, actor, action and place are named by words that training captions never contain.
    Raises ValueError for an unknown style, and for held-out synonyms in the plain style.
    """
    if style not in ("plain", "varied"):
        raise ValueError(f"style: expected 'plain' or 'varied', got {style!r}")
    if style == "plain":
        if use_held_out_synonyms:
            raise ValueError("use_held_out_synonyms: the plain style has no synonyms, use style='varied'")
        return _plain(scene)
    return _varied(scene, rng, use_held_out_synonyms)


def _plain(scene: Scene) -> str:
    parts = [with_article(scene.actor), ACTION_VERBS[scene.action][0]]
    if scene.direction is not None:
        parts.append(DIRECTION_PHRASES[scene.direction][0])
    parts.append(PLACE_PHRASES[scene.place][0])
    if scene.second_object is not None:
        parts.append(f"with {with_article(scene.second_object)} in the background")
    if scene.weather is not None:
        parts.append(WEATHER_PHRASES[scene.weather][0])
    return " ".join(parts)


def _varied(scene: Scene, rng: np.random.Generator, is_held_out: bool) -> str:
    subject = _subject(scene, rng, is_held_out)
    deed = _deed(scene, rng, is_held_out)
    place = _pick(rng, HELD_OUT_SYNONYMS[scene.place] if is_held_out else PLACE_PHRASES[scene.place])
    order = rng.random()
    if order < 0.62:
        caption = f"{subject} {deed} {place}"
    elif order < 0.85:
        caption = f"{place}, {subject} {deed}"
    else:
        caption = f"{_pick(rng, ('a video of', 'a short clip of', 'a scene with'))} {subject} that {deed} {place}"
    extras = _extras(scene, rng)
    for extra in extras:
        longer = caption + extra
        if count_words(longer) <= MAX_WORDS:
            caption = longer
    if rng.random() < 0.4:
        caption = caption[0].upper() + caption[1:]
        caption += "." if rng.random() < 0.7 else ""
    return caption


def _subject(scene: Scene, rng: np.random.Generator, is_held_out: bool) -> str:
    noun = _pick(rng, HELD_OUT_SYNONYMS[scene.actor] if is_held_out else ACTOR_NOUNS[scene.actor])
    adjectives: list[str] = []
    if rng.random() < 0.25 and (size := _size_word(scene)):
        adjectives.append(size)
    if rng.random() < 0.12:
        adjectives.append(_pick(rng, STYLE_WORDS))
    if rng.random() < 0.3 and not is_held_out:
        adjectives.append(ACTOR_COLOURS[scene.actor])
    phrase = " ".join((*adjectives, noun))
    return f"the {phrase}" if rng.random() < 0.1 else with_article(phrase)


def _deed(scene: Scene, rng: np.random.Generator, is_held_out: bool) -> str:
    verbs: Sequence[str] = HELD_OUT_SYNONYMS[scene.action]
    if not is_held_out:
        verbs = (*ACTION_VERBS[scene.action], *ACTOR_VERBS.get((scene.actor, scene.action), ()))
    if scene.place == "underwater":
        verbs = [verb for verb in verbs if not AIR_WORDS.intersection(verb.split())]
    verb = _pick(rng, verbs)
    return verb if scene.direction is None else f"{verb} {_pick(rng, DIRECTION_PHRASES[scene.direction])}"


def _extras(scene: Scene, rng: np.random.Generator) -> list[str]:
    extras: list[str] = []
    if scene.second_object is not None and rng.random() < 0.9:
        noun = with_article(_pick(rng, SECOND_OBJECT_NOUNS[scene.second_object]))
        extras.append(_pick(rng, SECOND_OBJECT_PHRASES).format(noun=noun, side=scene.second_object_side))
    if scene.weather is not None and rng.random() < 0.95:
        extras.append(_pick(rng, (" {}", ", {}")).format(_pick(rng, WEATHER_PHRASES[scene.weather])))
    if rng.random() < 0.1:
        extras.append(f", {_pick(rng, CAMERA_REMARKS)}")
    return extras


def _size_word(scene: Scene) -> str | None:
    if scene.actor in SIZELESS_ACTORS:
        return None
    if scene.size_fraction >= BIG_FROM_FRACTION:
        return "big"
    return "small" if scene.size_fraction <= SMALL_UP_TO_FRACTION else None


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a phrase, by its first letter."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def count_words(caption: str) -> int:
    """Number of words separated by blanks."""
    return len(caption.split())


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
