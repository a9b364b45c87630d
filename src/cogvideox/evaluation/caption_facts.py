"""What captions say of clips of the stage world, and how often it is true."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import cast

from cogvideox.data.stage_world.scene import Action, Actor, Direction, Place, Scene, SecondObject, Weather
from cogvideox.data.stage_world.vocabulary import (
    ACTION_VERBS,
    ACTOR_NOUNS,
    ACTOR_VERBS,
    DIRECTION_PHRASES,
    HELD_OUT_SYNONYMS,
    PLACE_PHRASES,
    SECOND_OBJECT_NOUNS,
    WEATHER_PHRASES,
)

REQUIRED_FRACTIONS: dict[str, float] = {"actor": 0.95, "action": 0.90, "place": 0.95, "direction": 0.95}
"""What a captioner must reach on clips whose actor, action and place were never trained together."""


@dataclass(frozen=True, kw_only=True)
class StageFacts:
    """What a caption says; None where it says nothing."""

    actor: Actor | None = None
    action: Action | None = None
    place: Place | None = None
    direction: Direction | None = None
    second_object: SecondObject | None = None
    side: Direction | None = None
    """Of the second object."""
    weather: Weather | None = None


FACTS: tuple[str, ...] = tuple(field.name for field in fields(StageFacts))


@dataclass(frozen=True, kw_only=True)
class CaptionScores:
    """Fractions of captions that say each fact rightly, among the clips that have it."""

    num_clips: int
    fractions: Mapping[str, float | None]
    """By the names of `FACTS`; None where no clip has the fact."""
    nums: Mapping[str, int]
    """Clips that have it."""
    invented: Mapping[str, float | None]
    """Fractions of the clips without a fact whose captions say one."""
    all_right: float
    """Fraction of captions that say everything rightly and invent nothing."""

    def meets_requirements(self) -> bool:
        """Whether all of `REQUIRED_FRACTIONS` are reached; what no clip has is left out."""
        return all(
            fraction is None or fraction >= least
            for fraction, least in ((self.fractions[name], least) for name, least in REQUIRED_FRACTIONS.items())
        )


def read_facts(caption: str) -> StageFacts:
    """Return what a caption says, by the words of the stage world's vocabulary, synonyms that training never uses
    included. Of several phrases of a kind the first counts, and the longest of those that start together.
    """
    text = " ".join(caption.lower().split())
    found = {kind: _first(kind, text) for kind in ("actor", "action", "place", "direction", "weather")}
    thing = re.search(_pattern("second_object"), text)
    side = None
    if thing is not None:
        after = re.match(r"[^.;]{0,40}?\b(?:on|at|to) the (left|right)\b", text[thing.end() :])
        side = after[1] if after is not None else None
        found["second_object"] = _names("second_object")[thing[0]]
    return StageFacts(**found, side=cast("Direction | None", side))  # pyright: ignore[reportArgumentType]


def facts_of(scene: Scene) -> StageFacts:
    """Return what is true of a scene."""
    return StageFacts(
        actor=scene.actor,
        action=scene.action,
        place=scene.place,
        direction=scene.direction,
        second_object=scene.second_object,
        side=None if scene.second_object is None else scene.second_object_side,
        weather=scene.weather,
    )


def score_captions(captions: Sequence[str], scenes: Sequence[Scene]) -> CaptionScores:
    """Compare captions with the scenes that they are of. Raises ValueError for different numbers, and for none."""
    if len(captions) != len(scenes) or not captions:
        raise ValueError(f"captions: expected one for each of {len(scenes)} scenes, got {len(captions)}")
    pairs = [(read_facts(caption), facts_of(scene)) for caption, scene in zip(captions, scenes, strict=True)]
    fractions: dict[str, float | None] = {}
    invented: dict[str, float | None] = {}
    nums: dict[str, int] = {}
    for name in FACTS:
        present = [
            getattr(said, name) == getattr(true, name) for said, true in pairs if getattr(true, name) is not None
        ]
        absent = [getattr(said, name) is not None for said, true in pairs if getattr(true, name) is None]
        nums[name] = len(present)
        fractions[name] = sum(present) / len(present) if present else None
        invented[name] = sum(absent) / len(absent) if absent else None
    return CaptionScores(
        num_clips=len(pairs),
        fractions=fractions,
        nums=nums,
        invented=invented,
        all_right=sum(said == true for said, true in pairs) / len(pairs),
    )


def _first(kind: str, text: str) -> str | None:
    match = re.search(_pattern(kind), text)
    return None if match is None else _names(kind)[match[0]]


@cache
def _pattern(kind: str) -> re.Pattern[str]:
    # Alternatives are tried in their order: of those that start together the longest.
    phrases = sorted(_names(kind), key=len, reverse=True)
    return re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, phrases)) + r")(?![\w-])")


@cache
def _names(kind: str) -> dict[str, str]:
    """Return the phrases of a kind with what they mean."""
    rows: list[tuple[str, Sequence[str]]] = []
    match kind:
        case "actor":
            rows = [(name, (*nouns, *HELD_OUT_SYNONYMS[name])) for name, nouns in ACTOR_NOUNS.items()]
        case "action":
            rows = [(name, (*verbs, *HELD_OUT_SYNONYMS[name])) for name, verbs in ACTION_VERBS.items()]
            rows += [(action, verbs) for (_, action), verbs in ACTOR_VERBS.items()]
        case "place":
            rows = [(name, (*phrases, *HELD_OUT_SYNONYMS[name])) for name, phrases in PLACE_PHRASES.items()]
        case "direction":
            rows = list(DIRECTION_PHRASES.items())
        case "second_object":
            rows = list(SECOND_OBJECT_NOUNS.items())
        case _:
            rows = list(WEATHER_PHRASES.items())
    return {phrase: name for name, phrases in rows for phrase in phrases}
