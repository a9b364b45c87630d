"""The stage world: scripted 2-D scenes with exact captions, on which the embedded small model is trained."""

from cogvideox.data.stage_world.art import Art, draw_simple_art, load_fluent_art
from cogvideox.data.stage_world.captions import CaptionStyle, caption_scene
from cogvideox.data.stage_world.renderer import render_scene
from cogvideox.data.stage_world.scene import (
    ACTIONS,
    ACTORS,
    DIRECTIONS,
    PLACES,
    SECOND_OBJECTS,
    TRAVELLING_ACTIONS,
    WEATHERS,
    Action,
    Actor,
    Direction,
    Place,
    Scene,
    SecondObject,
    Split,
    Weather,
    is_held_out,
    sample_scene,
)
from cogvideox.data.stage_world.source import StageWorldClips, StageWorldSettings
from cogvideox.data.stage_world.vocabulary import HELD_OUT_SYNONYMS

__all__ = [
    "ACTIONS",
    "ACTORS",
    "DIRECTIONS",
    "HELD_OUT_SYNONYMS",
    "PLACES",
    "SECOND_OBJECTS",
    "TRAVELLING_ACTIONS",
    "WEATHERS",
    "Action",
    "Actor",
    "Art",
    "CaptionStyle",
    "Direction",
    "Place",
    "Scene",
    "SecondObject",
    "Split",
    "StageWorldClips",
    "StageWorldSettings",
    "Weather",
    "caption_scene",
    "draw_simple_art",
    "is_held_out",
    "load_fluent_art",
    "render_scene",
    "sample_scene",
]
