"""What happens in one clip of the stage world: names, continuous parameters, sampling and the held-out split."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar, get_args

import numpy as np

Actor = Literal[
    "cat", "elephant", "pig", "horse", "turtle", "penguin", "dinosaur", "parrot",
    "whale", "octopus", "car", "taxi", "robot", "snowman", "pumpkin", "soccer ball",
]  # fmt: skip
Action = Literal["walks", "hops", "rolls", "flies", "jumps", "spins", "dances", "falls"]
Place = Literal["meadow", "beach", "desert", "snowy field", "city", "underwater", "sunset", "night"]
Direction = Literal["left", "right"]
SecondObject = Literal["tree", "house", "cactus", "balloon"]
Weather = Literal["rain", "snow"]
Split = Literal["train", "held_out", "any"]

ACTORS: tuple[Actor, ...] = get_args(Actor)
ACTIONS: tuple[Action, ...] = get_args(Action)
PLACES: tuple[Place, ...] = get_args(Place)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
SECOND_OBJECTS: tuple[SecondObject, ...] = get_args(SecondObject)
WEATHERS: tuple[Weather, ...] = get_args(Weather)
SPLITS: tuple[Split, ...] = get_args(Split)
TRAVELLING_ACTIONS: tuple[Action, ...] = ("walks", "hops", "rolls", "flies")

HELD_OUT_SHARE = 0.15
MIN_SIZE_FRACTION, MAX_SIZE_FRACTION = 0.40, 0.60
SECOND_OBJECT_PROBABILITY = 0.12
WEATHER_PROBABILITY = 0.1


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One scripted clip; equal scenes always render to equal pixels.

    Fractions of the frame run from 0 (left, top) to 1 (right, bottom); `*_slack` values in 0..1 choose a position
    within whatever room the sprite leaves, so a scene is valid for every actor and frame size.
    Raises ValueError for unknown names and for a direction that does not fit the action.
    """

    actor: Actor
    """Who acts."""
    action: Action
    """What the actor does, for the whole clip."""
    place: Place
    """The painted background."""
    direction: Direction | None = None
    """Where a travelling actor goes; None exactly for actions done in place."""
    facing: Direction = "right"
    """Which way the sprite looks; equals `direction` when there is one."""
    second_object: SecondObject | None = None
    """A smaller object that stands still behind the actor."""
    second_object_side: Direction = "left"
    """The half of the frame that holds the second object."""
    weather: Weather | None = None
    """Rain or snow in front of everything; never under water."""
    size_fraction: float = 0.5
    """Sprite height over frame height, 0.40 to 0.60; wide sprites are limited by the frame's width instead."""
    travel_fraction: float = 0.35
    """Distance covered in the clip over frame width: slow, so that four frames fit into one latent frame."""
    start_slack: float = 0.5
    """Where the path lies: 0 leftmost, 1 rightmost."""
    rate_hz: float = 0.65
    """Repetitions per second of the action's cycle."""
    phase_turns: float = 0.0
    """Where in its cycle the action starts, 0 to 1."""
    flight_slack: float = 0.5
    """Height of the air path: 0 lowest, 1 highest."""
    ground_fraction: float = 0.9
    """Where feet touch the ground."""
    horizon_fraction: float = 0.6
    """Where ground meets sky."""
    sun_fraction: float = 0.75
    """Horizontal position of sun, moon or light shafts."""
    cloud_fraction: float = 0.3
    """Horizontal position of the first cloud."""
    hill_phase_turns: float = 0.0
    """Shifts hills, dunes and buildings sideways."""
    tint_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Multiplies the painted background."""
    weather_seed: int = 0
    """Seeds the positions of flakes and streaks."""

    def __post_init__(self) -> None:
        _check_name("actor", self.actor, ACTORS)
        _check_name("action", self.action, ACTIONS)
        _check_name("place", self.place, PLACES)
        _check_name("facing", self.facing, DIRECTIONS)
        _check_name("second_object_side", self.second_object_side, DIRECTIONS)
        _check_name("second_object", self.second_object, (None, *SECOND_OBJECTS))
        _check_name("weather", self.weather, (None, *WEATHERS))
        if self.is_travelling:
            _check_name("direction", self.direction, DIRECTIONS)
            if self.facing != self.direction:
                raise ValueError(
                    f"facing: expected the direction {self.direction!r} of a travelling actor, got {self.facing!r}"
                )
        elif self.direction is not None:
            raise ValueError(
                f"direction: expected None, because {self.action!r} is done in place, got {self.direction!r}"
            )
        if self.place == "underwater" and (self.weather is not None or self.second_object is not None):
            raise ValueError(
                "place 'underwater' has no weather and no second object, "
                f"got weather={self.weather!r} and second_object={self.second_object!r}"
            )
        if not MIN_SIZE_FRACTION <= self.size_fraction <= MAX_SIZE_FRACTION:
            raise ValueError(
                f"size_fraction: expected {MIN_SIZE_FRACTION} to {MAX_SIZE_FRACTION}, got {self.size_fraction}"
            )

    @property
    def is_travelling(self) -> bool:
        """Whether the action moves the actor across the frame."""
        return self.action in TRAVELLING_ACTIONS

    @property
    def is_held_out(self) -> bool:
        """Whether the scene's triple of actor, action and place is kept out of training."""
        return is_held_out(self.actor, self.action, self.place)


def is_held_out(actor: Actor, action: Action, place: Place) -> bool:
    """Whether a triple is kept out of training; a fixed hash, so the split is the same on every machine."""
    digest = hashlib.sha256(f"stage-world-1|{actor}|{action}|{place}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def sample_scene(
    rng: np.random.Generator,
    *,
    split: Split = "train",
    actors: Sequence[Actor] = ACTORS,
    actor: Actor | None = None,
    action: Action | None = None,
    place: Place | None = None,
    direction: Direction | None = None,
    second_object: SecondObject | Literal["any", "none"] = "any",
    weather: Weather | Literal["any", "none"] = "any",
) -> Scene:
    """Draw a scene with every allowed (actor, action, place) triple equally likely.

    Given names are kept; a given `direction` limits the actions to travelling ones, a given second object or weather
    limits the places to those above water. `actors` limits who may appear, for art that does not hold everybody.
    Raises ValueError when nothing is left to draw from, for example a held-out triple with split="train".
    """
    _check_name("split", split, SPLITS)
    _check_name("direction", direction, (None, *DIRECTIONS))
    _check_name("second_object", second_object, ("any", "none", *SECOND_OBJECTS))
    _check_name("weather", weather, ("any", "none", *WEATHERS))
    wants_dry_place = second_object not in ("any", "none") or weather not in ("any", "none")
    triples = _allowed_triples(split, tuple(actors), actor, action, place, direction is not None, wants_dry_place)
    if not triples:
        raise ValueError(
            f"no scene of split {split!r} fits actor={actor!r}, action={action!r}, place={place!r}, "
            f"direction={direction!r}, second_object={second_object!r}, weather={weather!r}; "
            "use split='any' or fix fewer names"
        )
    chosen_actor, chosen_action, chosen_place = triples[rng.integers(len(triples))]
    side = DIRECTIONS[rng.integers(2)] if direction is None else direction
    is_dry = chosen_place != "underwater"
    return Scene(
        actor=chosen_actor,
        action=chosen_action,
        place=chosen_place,
        direction=side if chosen_action in TRAVELLING_ACTIONS else None,
        facing=side,
        second_object=_draw_optional(rng, second_object, SECOND_OBJECTS, SECOND_OBJECT_PROBABILITY * is_dry),
        second_object_side=DIRECTIONS[rng.integers(2)],
        weather=_draw_optional(rng, weather, WEATHERS, WEATHER_PROBABILITY * is_dry),
        size_fraction=rng.uniform(MIN_SIZE_FRACTION, MAX_SIZE_FRACTION),
        travel_fraction=rng.uniform(0.28, 0.40),
        start_slack=rng.uniform(0, 1),
        rate_hz=rng.uniform(0.55, 0.75),
        phase_turns=rng.uniform(0, 1),
        flight_slack=rng.uniform(0, 1),
        ground_fraction=rng.uniform(0.86, 0.93),
        horizon_fraction=rng.uniform(0.54, 0.64),
        sun_fraction=rng.uniform(0.15, 0.85),
        cloud_fraction=rng.uniform(0, 1),
        hill_phase_turns=rng.uniform(0, 1),
        tint_rgb=(rng.uniform(0.94, 1.04), rng.uniform(0.94, 1.04), rng.uniform(0.94, 1.04)),
        weather_seed=int(rng.integers(2**31)),
    )


@lru_cache(maxsize=4096)
def _allowed_triples(
    split: Split,
    actors: tuple[Actor, ...],
    actor: Actor | None,
    action: Action | None,
    place: Place | None,
    is_travelling: bool,
    is_dry: bool,
) -> tuple[tuple[Actor, Action, Place], ...]:
    for who in actors:
        _check_name("actors", who, ACTORS)
    _check_name("actor", actor, (None, *actors))
    _check_name("action", action, (None, *ACTIONS))
    _check_name("place", place, (None, *PLACES))
    triples: list[tuple[Actor, Action, Place]] = []
    for who, what, where in itertools.product(actors, ACTIONS, PLACES):
        is_wanted = actor in (None, who) and action in (None, what) and place in (None, where)
        is_in_split = split == "any" or is_held_out(who, what, where) == (split == "held_out")
        is_possible = (what in TRAVELLING_ACTIONS or not is_travelling) and (where != "underwater" or not is_dry)
        if is_wanted and is_in_split and is_possible:
            triples.append((who, what, where))
    return tuple(triples)


_Name = TypeVar("_Name", bound=str)


def _draw_optional(
    rng: np.random.Generator, wanted: _Name | Literal["any", "none"], names: tuple[_Name, ...], probability: float
) -> _Name | None:
    # Both draws always happen, so that fixing one name does not change the rest of a seeded scene.
    is_present, index = rng.random() < probability, int(rng.integers(len(names)))
    if wanted == "any":
        return names[index] if is_present else None
    return next((name for name in names if name == wanted), None)


def _check_name(argument: str, value: str | None, allowed: Sequence[str | None]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument}: expected one of {', '.join(map(str, allowed))}, got {value!r}")
