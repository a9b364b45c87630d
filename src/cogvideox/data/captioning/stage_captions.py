"""The truth of stage-world scenes as captioners would tell it: the short caption says who does what in which direction,
captions of frames say who is where.

Only both together say all of it, as in a real pipeline. This is an oracle for tests and demonstrations: it knows what
was rendered and looks at no picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.stage_world.art import Art
from cogvideox.data.stage_world.captions import SIZELESS_ACTORS, with_article
from cogvideox.data.stage_world.motion import Stage, pose_at
from cogvideox.data.stage_world.renderer import MAX_SPRITE_WIDTH_FRACTION
from cogvideox.data.stage_world.scene import Scene
from cogvideox.data.stage_world.vocabulary import (
    ACTION_VERBS,
    ACTOR_COLOURS,
    ACTOR_NOUNS,
    ACTOR_VERBS,
    AIR_WORDS,
    DIRECTION_PHRASES,
    HELD_OUT_SYNONYMS,
    PLACE_PHRASES,
    SECOND_OBJECT_NOUNS,
    WEATHER_PHRASES,
)

Position = Literal["left", "middle", "right"]
POSITION_PHRASES: dict[Position, tuple[str, ...]] = {
    "left": ("on the left of the picture", "on the left", "at the left edge"),
    "middle": ("in the middle of the picture", "in the middle", "in the centre"),
    "right": ("on the right of the picture", "on the right", "at the right edge"),
}
"""Where an actor is; the three columns of a row belong together."""
STATES = ("is", "can be seen", "appears")
BIG_FROM_FRACTION, SMALL_UP_TO_FRACTION = 0.55, 0.45
UNLIKE_NOUN_PROBABILITY = 0.25
"""How often the short caption names the actor by another word than the captions of frames."""


@dataclass(frozen=True, kw_only=True)
class SceneCaptions:
    """What two captioners say of one clip."""

    short: str
    frames: tuple[TimedCaption, ...]


def describe_scene(
    scene: Scene,
    art: Art,
    rng: np.random.Generator,
    *,
    times_s: Sequence[float],
    duration_s: float,
    use_held_out_synonyms: bool = False,
    has_one_style: bool = False,
) -> SceneCaptions:
    """Return a short caption and one for each time; the words are drawn, what they say is true.

    Args:
        scene: what is shown.
        art: of the renders, for the width of the actor.
        rng: draws the words; those of one clip's frames are alike, as a captioner's are.
        times_s: of the frames, from the start of the clip.
        duration_s: from the first frame of the clip to its last.
        use_held_out_synonyms: name actor, action and place by words that training never uses.
        has_one_style: build all captions of frames alike, as one captioner does; only their words differ.
    """
    nouns, verbs, places = ACTOR_NOUNS[scene.actor], ACTION_VERBS[scene.action], PLACE_PHRASES[scene.place]
    verbs = (*verbs, *ACTOR_VERBS.get((scene.actor, scene.action), ()))
    if use_held_out_synonyms:
        nouns, verbs, places = (HELD_OUT_SYNONYMS[name] for name in (scene.actor, scene.action, scene.place))
    noun = _pick(rng, nouns)
    short_noun = _pick(rng, nouns) if rng.random() < UNLIKE_NOUN_PROBABILITY else noun
    short = _short(scene, rng, short_noun, verbs)
    words = _FrameWords.draw(scene, rng, noun, places)
    if has_one_style:
        words = replace(words, opening="", state=STATES[0], position_row=0, order=0)
    captions = [
        TimedCaption(time_s=time_s, text=words.caption(scene, position_at(scene, art, time_s, duration_s)))
        for time_s in times_s
    ]
    return SceneCaptions(short=short, frames=tuple(captions))


def position_at(
    scene: Scene, art: Art, time_s: float, duration_s: float, *, height_px: int = 64, width_px: int = 96
) -> Position:
    """Return the third of the picture in which the middle of the actor is."""
    aspect_ratio = art.aspect_ratio(scene.actor)
    sprite_height_px = min(scene.size_fraction * height_px, MAX_SPRITE_WIDTH_FRACTION * width_px / aspect_ratio)
    stage = Stage(
        width_px=width_px,
        height_px=height_px,
        sprite_width_px=sprite_height_px * aspect_ratio,
        sprite_height_px=sprite_height_px,
        duration_s=max(duration_s, 1e-6),
    )
    across = pose_at(scene, stage, min(time_s, duration_s)).x_px / width_px
    return "left" if across < 1 / 3 else "middle" if across < 2 / 3 else "right"


def _short(scene: Scene, rng: np.random.Generator, noun: str, verbs: Sequence[str]) -> str:
    if scene.place == "underwater":
        verbs = tuple(verb for verb in verbs if not AIR_WORDS.intersection(verb.split()))
    colour = f"{ACTOR_COLOURS[scene.actor]} " if rng.random() < 0.3 else ""
    deed = _pick(rng, verbs)
    if scene.direction is not None:
        deed += f" {_pick(rng, DIRECTION_PHRASES[scene.direction])}"
    opening = _pick(rng, ("", "", "", "A video of ", "The video shows "))
    if opening == "A video of ":
        return f"{opening}{with_article(colour + noun)} that {deed}."
    text = f"{opening}{with_article(colour + noun)} {deed}"
    text = text.replace("The video shows", "The video shows how") if opening == "The video shows " else text
    return text[0].upper() + text[1:] + "."


@dataclass(frozen=True, kw_only=True)
class _FrameWords:
    """The words that the frames of one clip share."""

    opening: str
    subject: str
    state: str
    position_row: int
    place: str
    second_object: str
    weather: str
    order: int

    @classmethod
    def draw(cls, scene: Scene, rng: np.random.Generator, noun: str, places: Sequence[str]) -> "_FrameWords":
        adjectives: list[str] = []
        if scene.actor not in SIZELESS_ACTORS and rng.random() < 0.4:
            is_big, is_small = scene.size_fraction >= BIG_FROM_FRACTION, scene.size_fraction <= SMALL_UP_TO_FRACTION
            adjectives += ["big"] if is_big else ["small"] if is_small else []
        adjectives += [ACTOR_COLOURS[scene.actor]] if rng.random() < 0.7 else []
        second_object = ""
        if scene.second_object is not None:
            thing = with_article(_pick(rng, SECOND_OBJECT_NOUNS[scene.second_object]))
            second_object = f"with {thing} on the {scene.second_object_side} side"
            second_object += _pick(rng, ("", "", " behind it"))
        return cls(
            opening=_pick(rng, ("", "", "", "the image shows ", "in this picture, ")),
            subject=with_article(" ".join((*adjectives, noun))),
            state=_pick(rng, STATES),
            position_row=int(rng.integers(3)),
            place=_pick(rng, places),
            second_object=second_object,
            weather="" if scene.weather is None else _pick(rng, WEATHER_PHRASES[scene.weather]),
            order=int(rng.integers(3)),
        )

    def caption(self, scene: Scene, position: Position) -> str:
        where = POSITION_PHRASES[position][self.position_row]
        state = f" that {self.state}" if self.opening.startswith("the image") else f" {self.state}"
        extras = [extra for extra in (self.second_object, self.weather) if extra]
        if self.order == 0:
            text = f"{self.subject}{state} {where}, {self.place}"
        elif self.order == 1:
            text = f"{self.subject}{state} {self.place}, {where}"
        else:
            text = f"{self.subject}{state} {where} {self.place}"
        text = ", ".join((self.opening + text, *extras))
        return text[0].upper() + text[1:] + "."


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
