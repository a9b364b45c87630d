"""Clips of the stage world as files, and an oracle that captions them: a set to try the whole of captioning on.

``python -m cogvideox.data.captioning.stage_clips FOLDER --num-clips 40`` writes clips; recipes/caption-stage-world.toml
captions them. A clip's name says which scene it shows, so the oracle needs nothing but the name.
"""

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from cogvideox.data.captioning.request import CaptionRequest
from cogvideox.data.captioning.stage_captions import describe_scene
from cogvideox.data.stage_world import SECOND_OBJECTS, WEATHERS, Art, Scene, Split, load_fluent_art, sample_scene
from cogvideox.data.stage_world.renderer import render_scene
from cogvideox.data.stage_world.scene import SPLITS
from cogvideox.media.writers import write_video

SEED_DOMAIN = 870_000_003
"""First entry of the seeds of these clips."""
WORDS_SEED_DOMAIN = 870_000_017
EXTRA_SHARE = 0.3
"""Scenes that are made to have a second object, and those made to have weather: both are rare in random ones."""
NUM_FRAMES, FPS = 17, 8
HEIGHT_PX, WIDTH_PX = 64, 96
TRUTH_NAME = "truth.json"
_CLIP_NAME = re.compile(r"stage-(\w+?)-(\d+)-(\d+)(?:\.\w+)?$")


def draw_scene(rng: np.random.Generator, split: Split, art: Art) -> Scene:
    """Return a random scene that often has a second object or weather."""
    second_object: Any = SECOND_OBJECTS[rng.integers(len(SECOND_OBJECTS))] if rng.random() < EXTRA_SHARE else "any"
    weather: Any = WEATHERS[rng.integers(len(WEATHERS))] if rng.random() < EXTRA_SHARE else "any"
    return sample_scene(rng, split=split, actors=art.actors, second_object=second_object, weather=weather)


def write_stage_clips(
    folder: str | Path, num_clips: int, seed: int = 0, split: Split = "held_out", art: Art | None = None
) -> tuple[Scene, ...]:
    """Write clips as mp4 files, and ``truth.json`` with the fields of their scenes by their names; return the scenes.

    The same for the same seed. ``art`` is the Fluent set unless given. Raises ValueError for no clips.
    """
    if num_clips < 1:
        raise ValueError(f"num_clips: expected at least 1, got {num_clips}")
    folder, art = Path(folder), load_fluent_art() if art is None else art
    scenes: dict[str, Scene] = {}
    for index in range(num_clips):
        name = f"stage-{split}-{seed}-{index:05d}.mp4"
        scene = scene_of(name, art)
        frames = render_scene(scene, art, num_frames=NUM_FRAMES, height_px=HEIGHT_PX, width_px=WIDTH_PX, fps=FPS)
        write_video(folder / name, [frames], fps=FPS)
        scenes[name] = scene
    truth = {name: dataclasses.asdict(scene) for name, scene in scenes.items()}
    (folder / TRUTH_NAME).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return tuple(scenes.values())


def scene_of(clip_id: str, art: Art) -> Scene:
    """Return the scene of a clip that `write_stage_clips` wrote, from its name.

    Raises ValueError for another name.
    """
    split, seed, index = _named(clip_id)
    return draw_scene(np.random.default_rng((SEED_DOMAIN, SPLITS.index(split), seed, index)), split, art)


def describe(request: CaptionRequest) -> str:
    """Answer for the stages "short" and "frames" with what is true of a clip that `write_stage_clips` wrote.

    Raises ValueError for another clip and for another stage.
    """
    if request.stage not in ("short", "frames"):
        raise ValueError(f"the oracle knows short captions and those of frames, not those for {request.stage!r}")
    art = _art()
    scene = scene_of(request.clip_id, art)
    split, seed, index = _named(request.clip_id)
    captions = describe_scene(
        scene,
        art,
        np.random.default_rng((WORDS_SEED_DOMAIN, SPLITS.index(split), seed, index)),
        times_s=request.times_s[:1],
        duration_s=(NUM_FRAMES - 1) / FPS,
    )
    return captions.short if request.stage == "short" else captions.frames[0].text


def main(arguments: Sequence[str] | None = None) -> None:
    """Write clips as the command line asks."""
    parser = argparse.ArgumentParser(description="Write clips of the stage world with known truth.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-clips", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=SPLITS, default="held_out")
    given = parser.parse_args(arguments)
    write_stage_clips(given.folder, given.num_clips, given.seed, given.split)
    print(f"{given.num_clips} clips and their truth: {given.folder}")


@lru_cache(maxsize=1)
def _art() -> Art:
    return load_fluent_art()


def _named(clip_id: str) -> tuple[Split, int, int]:
    match = _CLIP_NAME.search(clip_id)
    if match is None or match[1] not in SPLITS:
        raise ValueError(f"clip {clip_id}: expected one that cogvideox.data.captioning.stage_clips wrote")
    return cast(Split, match[1]), int(match[2]), int(match[3])


if __name__ == "__main__":
    main()
