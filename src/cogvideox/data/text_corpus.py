"""Sentences for training a small text encoder: tagged stage-world captions, and generic ones of a wider vocabulary.

A word is what stands between blanks, with its punctuation; tags and teacher vectors are per word in this sense.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from cogvideox.data.stage_world import HELD_OUT_SYNONYMS, Scene, Split, caption_scene, sample_scene
from cogvideox.data.stage_world.scene import ACTIONS, ACTORS, DIRECTIONS, PLACES, SECOND_OBJECTS, WEATHERS
from cogvideox.data.stage_world.vocabulary import (
    ACTION_VERBS,
    ACTOR_NOUNS,
    ACTOR_VERBS,
    DIRECTION_PHRASES,
    PLACE_PHRASES,
    SECOND_OBJECT_NOUNS,
    WEATHER_PHRASES,
)

CONCEPTS: dict[str, tuple[str, ...]] = {
    "actor": ACTORS,
    "action": ACTIONS,
    "place": PLACES,
    "direction": DIRECTIONS,
    "second object": SECOND_OBJECTS,
    "side": DIRECTIONS,
    "weather": WEATHERS,
}
"""What a caption can say, by kind; "side" is where the second object stands."""

UNTAGGED = "none"
TAGS: tuple[str, ...] = (UNTAGGED, *(f"{kind}={name}" for kind, names in CONCEPTS.items() for name in names))
"""All word tags; synonyms share one."""

PUNCTUATION = ".,;:!?"

DICTIONARY_LINE_WORDS = 10

EXTRA_SHARE = 0.25
"""Captions made to have a second object, and those made to have weather."""


@dataclass(frozen=True, kw_only=True)
class TaggedCaption:
    """A stage-world caption with the concept that each of its words names."""

    text: str
    tags: tuple[str, ...]
    """One of TAGS for each word."""

    def concept(self, kind: str) -> str:
        """Return the name the caption gives for a kind of CONCEPTS, or "none" when it says nothing about it."""
        prefix = f"{kind}="
        return next((tag.removeprefix(prefix) for tag in self.tags if tag.startswith(prefix)), UNTAGGED)


def split_words(text: str) -> list[str]:
    """Return the words of a text, lower-cased and without their punctuation."""
    return [word.strip(PUNCTUATION).lower() for word in text.split()]


def stage_captions(
    num_captions: int,
    seed: int | Sequence[int],
    *,
    split: Split = "train",
    use_held_out_synonyms: bool = False,
) -> list[TaggedCaption]:
    """Return varied captions of random scenes with their tags, the same for the same seed.

    Second objects and weather, rare in random scenes, are here in a third of the captions each.
    """
    rng = np.random.default_rng(seed)
    captions: list[TaggedCaption] = []
    for _ in range(num_captions):
        second_object = SECOND_OBJECTS[rng.integers(len(SECOND_OBJECTS))] if rng.random() < EXTRA_SHARE else "any"
        weather = WEATHERS[rng.integers(len(WEATHERS))] if rng.random() < EXTRA_SHARE else "any"
        scene = sample_scene(rng, split=split, second_object=second_object, weather=weather)
        text = caption_scene(scene, rng, use_held_out_synonyms=use_held_out_synonyms)
        captions.append(TaggedCaption(text=text, tags=tag_words(text, scene)))
    return captions


def tag_words(caption: str, scene: Scene) -> tuple[str, ...]:
    """Return the tag of each word of a caption of this scene.

    Raises ValueError when the caption does not name the scene's actor, action, place or direction.
    """
    words = split_words(caption)
    tags = [UNTAGGED] * len(words)
    for kind, name, phrases in _phrases_of(scene):
        found = max(
            ((len(phrase), start) for phrase in map(str.split, phrases) for start in _find(words, phrase)), default=None
        )
        if found is not None:
            length, start = found
            tags[start : start + length] = [f"{kind}={name}"] * length
        elif kind in ("actor", "action", "place", "direction"):
            raise ValueError(f"caption: expected words for the {kind} {name!r}, got {caption!r}")
    return tuple(tags)


def _phrases_of(scene: Scene) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield kind, name and all phrases for what a scene shows."""
    verbs = (*ACTION_VERBS[scene.action], *ACTOR_VERBS.get((scene.actor, scene.action), ()))
    yield "actor", scene.actor, (*ACTOR_NOUNS[scene.actor], *HELD_OUT_SYNONYMS[scene.actor])
    yield "action", scene.action, (*verbs, *HELD_OUT_SYNONYMS[scene.action])
    yield "place", scene.place, (*PLACE_PHRASES[scene.place], *HELD_OUT_SYNONYMS[scene.place])
    if scene.direction is not None:
        yield "direction", scene.direction, DIRECTION_PHRASES[scene.direction]
    if scene.second_object is not None:
        yield "second object", scene.second_object, SECOND_OBJECT_NOUNS[scene.second_object]
        yield "side", scene.second_object_side, (f"on the {scene.second_object_side} side",)
    if scene.weather is not None:
        yield "weather", scene.weather, WEATHER_PHRASES[scene.weather]


def _find(words: list[str], phrase: list[str]) -> Iterator[int]:
    return (start for start in range(len(words) - len(phrase) + 1) if words[start : start + len(phrase)] == phrase)


def generic_sentences(num_sentences: int, seed: int | Sequence[int], *, further_words: Sequence[str] = ()) -> list[str]:
    """Return sentences of a wider vocabulary in patterns like those of prompts, the same for the same seed.

    `further_words` are words of any class, for example a teacher's vocabulary; about half of the clauses use them.
    """
    rng = np.random.default_rng(seed)
    sentences: list[str] = []
    for _ in range(num_sentences):
        num_clauses = 1 if rng.random() < 0.5 else 2
        sentences.append(", ".join(_generic_clause(rng, further_words) for _ in range(num_clauses)))
    return sentences


def dictionary(further_words: Sequence[str] = ()) -> list[str]:
    """Return all single words of the generic sentences, each once: nouns, verbs and the further words."""
    nouns = [word for noun in emoji_nouns() for word in noun.split()]
    verbs = [word for verb in VERBS for word in (third_person(verb).split()[0], present_participle(verb).split()[0])]
    return list(dict.fromkeys((*nouns, *verbs, *ADJECTIVES, *further_words)))


def dictionary_lines(words: Sequence[str], num_lines: int, seed: int | Sequence[int]) -> list[str]:
    """Return lines of `DICTIONARY_LINE_WORDS` unconnected words; every word comes up before any is repeated."""
    rng = np.random.default_rng(seed)
    num_words = num_lines * DICTIONARY_LINE_WORDS
    rounds = [rng.permutation(len(words)) for _ in range(-(-num_words // len(words)))]
    order = np.concatenate(rounds)[:num_words].reshape(num_lines, DICTIONARY_LINE_WORDS)
    return [" ".join(words[int(index)] for index in line) for line in order]


def _generic_clause(rng: np.random.Generator, further_words: Sequence[str]) -> str:
    use_further = len(further_words) > 0 and rng.random() < 0.5
    patterns = WORD_PATTERNS if use_further else PROMPT_PATTERNS
    return " ".join(_fill(slot, rng, further_words) for slot in _pick(rng, patterns).split())


def _fill(slot: str, rng: np.random.Generator, further_words: Sequence[str]) -> str:
    match slot:
        case "NOUN":
            return _pick(rng, emoji_nouns())
        case "VERBS":
            return third_person(_pick(rng, VERBS))
        case "VERBING":
            return present_participle(_pick(rng, VERBS))
        case "ADJECTIVE":
            return _pick(rng, ADJECTIVES)
        case "ADVERB":
            return _pick(rng, ADVERBS)
        case "PLACE":
            return f"{_pick(rng, PREPOSITIONS)} {_pick(rng, PLACES_IN_GENERAL)}"
        case "WHEN":
            return _pick(rng, TIMES)
        case "WORD":
            return _pick(rng, further_words)
    return slot


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


@cache
def emoji_nouns() -> tuple[str, ...]:
    """Names of animals, people, vehicles, food and objects: those Unicode gives to its emoji, where they are short.

    Depends on the Unicode version of the Python in use only by names added later.
    """
    nouns: list[str] = []
    for first, last in EMOJI_RANGES:
        for code in range(first, last + 1):
            name = unicodedata.name(chr(code), "").lower().removesuffix(" face").removesuffix(" symbol")
            words = name.split()
            if 1 <= len(words) <= 2 and all(word.replace("-", "").isalpha() for word in words):
                nouns.append(name)
    return tuple(dict.fromkeys(nouns))


EMOJI_RANGES: tuple[tuple[int, int], ...] = (
    (0x1F300, 0x1F321),  # weather and sky
    (0x1F330, 0x1F37F),  # plants, food
    (0x1F380, 0x1F3F0),  # festivities, sport, buildings
    (0x1F400, 0x1F440),  # animals
    (0x1F451, 0x1F47D),  # clothes, people
    (0x1F4B0, 0x1F4F7),  # office, devices
    (0x1F525, 0x1F52E),  # tools
    (0x1F680, 0x1F6A4),  # vehicles
    (0x1F6B2, 0x1F6B6),
    (0x1F6F0, 0x1F6FC),
    (0x1F950, 0x1F9AE),  # food, animals
    (0x1F9C0, 0x1F9CB),
    (0x1F9D1, 0x1F9DF),  # people
    (0x1F9E0, 0x1F9FF),  # objects
    (0x1FA70, 0x1FA74),
    (0x1FA80, 0x1FA86),
    (0x1FA90, 0x1FAA8),
    (0x1FAB0, 0x1FABA),
    (0x1FAD0, 0x1FAD9),
)


def third_person(verb: str) -> str:
    """Return "walks" for "walk"; a particle after the verb stays. Regular verbs only."""
    head, *rest = verb.split()
    if head.endswith(("s", "sh", "ch", "x", "z", "o")):
        head += "es"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ies"
    else:
        head += "s"
    return " ".join((head, *rest))


def present_participle(verb: str) -> str:
    """Return "walking" for "walk"; a particle after the verb stays."""
    head, *rest = verb.split()
    if head.endswith("ie"):
        head = head[:-2] + "y"
    elif head.endswith("e") and not head.endswith("ee"):
        head = head[:-1]
    elif len(head) <= 4 and head[-1] in "bdgmnpt" and head[-2] in "aeiou" and head[-3] not in "aeiou":
        head += head[-1]
    return " ".join((head + "ing", *rest))


PROMPT_PATTERNS: tuple[str, ...] = (
    "a ADJECTIVE NOUN VERBS PLACE",
    "a NOUN VERBS ADVERB PLACE WHEN",
    "a NOUN is VERBING PLACE",
    "the ADJECTIVE NOUN VERBS near a NOUN PLACE",
    "PLACE a NOUN VERBS and a ADJECTIVE NOUN VERBS",
    "a NOUN and a NOUN are VERBING ADVERB PLACE",
    "WHEN a ADJECTIVE ADJECTIVE NOUN VERBS PLACE",
    "a video of a NOUN VERBING PLACE WHEN",
    "it VERBS and VERBS ADVERB",
    "a NOUN and a ADJECTIVE NOUN with a NOUN",
    "there is a NOUN PLACE",
    "something VERBS PLACE WHEN",
)

WORD_PATTERNS: tuple[str, ...] = (
    "a WORD and a WORD WORD PLACE",
    "the WORD WORD of a WORD",
    "a WORD and a WORD near the WORD",
    "there is a WORD",
    "it WORD and WORD",
    "a WORD NOUN WORD in the WORD",
    "something WORD on a WORD",
    "WORD WORD WORD and WORD WORD",
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


VERBS = _words("""
walk run march stroll wander hike stride stumble limp crawl creep climb jump hop skip bounce dive swim float drift sink
fly soar glide hover flutter flap roll tumble spin rotate turn twist swing sway rock dance waltz sing play juggle clap
wave nod bow kneel sit stand lie rest sleep dream wake yawn stretch shiver shake tremble vibrate wobble slide skate ski
surf sail row paddle drive ride race speed_up slow_down stop start wait hide chase follow escape flee fight wrestle box
kick throw catch toss pitch hit push pull drag lift carry drop fall collapse crash explode burst melt freeze burn glow
shine sparkle flicker blink stare look watch listen smell taste eat drink chew swallow bite lick cook bake fry boil cut
chop slice mix pour spill wash clean sweep dig plant grow bloom wither build break repair paint draw write read
count talk shout whisper laugh smile cry sneeze cough hug kiss greet meet gather travel arrive leave enter close
knock ring howl bark roar growl hiss chirp sniff scratch graze hunt land take_off launch ascend descend rise circle
bend stoop crouch lean balance march_past gallop trot prance hurry rush dash sprint jog
""")

ADJECTIVES = _words("""
red orange yellow green blue purple pink brown black white gray golden silver colorful bright dark pale shiny dull
big small large tiny huge tall short long wide narrow thick thin fat slim heavy light old young new ancient modern
fast slow quick lazy busy quiet loud calm angry happy sad cheerful lonely funny scary brave shy clever silly friendly
cute lovely beautiful ugly pretty elegant clean dirty wet dry hot cold warm cool frozen soft hard smooth rough fluffy
furry spotted striped round square flat curved sharp broken empty full open closed wooden metal plastic glass stone
wild tame hungry sleepy tired strong weak rich poor royal magic mysterious cartoon toy mechanical electric tropical
""")

ADVERBS = _words("""
slowly quickly quietly loudly gently happily sadly carefully gracefully suddenly again together alone forward backward
upward downward up down around away left right leftward rightward sideways to_the_left to_the_right from_left_to_right
from_right_to_left to_one_side straight_ahead in_circles back_and_forth up_and_down in_place for_a_while all_day
""")

PREPOSITIONS = _words("in on at near by under over behind in_front_of across through beside inside outside")

PLACES_IN_GENERAL = _words("""
a_forest the_woods a_jungle a_garden a_park a_meadow a_field a_farm a_hill a_mountain a_valley a_canyon a_cave a_cliff
a_river a_lake a_pond a_stream a_waterfall a_swamp an_island the_ocean the_sea the_beach a_bay a_harbor a_bridge a_road
a_street a_highway a_path a_village a_town the_city a_square a_market a_shop a_house a_kitchen a_bedroom a_bathroom
a_garage an_office a_school a_library a_museum a_church a_castle a_palace a_tower a_factory a_station an_airport
a_stadium a_playground a_theater a_restaurant a_hospital a_hotel a_tunnel a_desert the_sand the_grass the_snow the_ice
the_rain the_fog the_clouds the_sky space the_moon a_planet a_table a_chair a_bed a_box a_window a_door a_wall a_roof
a_fence a_tree a_bush a_rock a_river_bank a_snowy_mountain a_busy_road an_old_temple a_rice_field a_glacier a_volcano
""")

TIMES = _words("""
at_night at_noon at_dawn at_sunrise at_sunset in_the_morning in_the_evening in_the_afternoon in_summer in_winter
in_spring in_autumn on_a_sunny_day on_a_rainy_day on_a_cloudy_day in_the_dark in_bright_light under_the_stars
during_a_storm in_the_wind while_it_rains while_it_snows
""")
