"""A LoRA teaches the embedded model an actor that it has never seen, from twelve clips.

Renders the clips, lets the model add one of its own of each old actor, so that it keeps them (prior preservation,
DreamBooth, arXiv 2208.12242), and trains ``recipes/lora-tiny.toml`` on all by the public command. Then it generates,
with and without the adapter from the same seeds, the new actor doing in places what it does there in none of the clips,
and old actors, and counts the clips that show what their prompts say. Action, place and direction are judged as in
`cogvideox evaluate`; who acts is named by a linear head on the judge's features, fitted to renders of all seventeen
actors. Renders of the same prompts stand beside the two models: the most that can be counted. It takes a quarter of an
hour and is not part of `benchmarks.all`.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.harness import NUM_THREADS, machine
from cogvideox import Video, VideoGenerator
from cogvideox.data.stage_world import (
    ACTIONS,
    ACTORS,
    PLACES,
    Actor,
    Art,
    Scene,
    caption_scene,
    load_fluent_art,
    render_scene,
    sample_scene,
)
from cogvideox.data.stage_world.art import FLUENT_FILES
from cogvideox.data.stage_world.vocabulary import ACTOR_COLOURS, ACTOR_NOUNS
from cogvideox.evaluation.judge import Judge
from cogvideox.evaluation.prompt_following import Prompt, read_prompts, render_prompts, score_prompt_following
from cogvideox.media.contact_sheet import save_contact_sheet

RECIPE = Path(__file__).parents[1] / "recipes" / "lora-tiny.toml"
NEW_ACTOR, NEW_PICTURE, NEW_COLOUR = "panda", ("1f43c", False), "black and white"
STAND_IN: Actor = "pumpkin"
"""Whose part the new actor plays, gait included."""
NUM_WORDINGS = 4
NUM_OLD_PROMPTS = 48
BATCH_SIZE = 12
SEED = 7
NUM_RENDERS, NUM_NEW_RENDERS, NUM_CHECKED = 40, 320, 12
"""Of each old actor and of the new one, to fit the head to; and to check it, of the new one three times as many."""
NUM_FITTING_STEPS = 300
ROWS_SHOWN = {"new": (0, 3, 6, 9, 12, 15, 18, 21), "old": (0, 2, 4, 6)}
"""Every third prompt and the first of old actors; nothing is picked."""
Clip = NDArray[np.uint8]


def measure(folder: Path, overrides: Sequence[str]) -> None:
    torch.set_num_threads(NUM_THREADS)
    with new_actor() as new_art:
        prompts, renders = render_new(folder / "clips", new_art)
    old_art = load_fluent_art()
    generator = VideoGenerator.load("tiny")
    generate_old(folder / "clips", generator)
    seconds = train(folder, overrides)
    judge = SeventeenActors(old_art, new_art)
    old_prompts = read_prompts()[:NUM_OLD_PROMPTS]
    clips = {"new": {"renders": renders}, "old": {"renders": render_prompts(old_prompts, old_art)}}
    for name in ("without", "with"):
        if name == "with":
            generator.load_lora(folder / "run" / "checkpoint")
        clips["new"][name] = generate(generator, prompts)
        clips["old"][name] = generate(generator, old_prompts)
    print(f"{machine()}: trained in {seconds:.0f} s, encoding included")
    for name, made in judge.accuracies.items():
        print(f"the judge on fresh renders, {name}: {made:.3f}")
    for kind, asked in (("new", prompts), ("old", old_prompts)):
        for name, videos in clips[kind].items():
            print(f"{len(asked)} prompts of {kind} actors, {name:8s}: {judge.score(videos, asked)}")
    write_sheet(folder / "sheet.png", {"new": prompts, "old": old_prompts}, clips)


@contextmanager
def new_actor() -> Iterator[Art]:
    """Let the new actor play the stand-in's part, in pictures and in words."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict(FLUENT_FILES, {STAND_IN: NEW_PICTURE}))
        stack.enter_context(patch.dict(ACTOR_NOUNS, {STAND_IN: (NEW_ACTOR,)}))
        stack.enter_context(patch.dict(ACTOR_COLOURS, {STAND_IN: NEW_COLOUR}))
        yield load_fluent_art()


def render_new(folder: Path, art: Art) -> tuple[list[Prompt], list[Clip]]:
    """Write the training clips; return prompts of other pairs of action and place, and renders of them.

    Action n is trained in place n, every other one also in place n + 4, and asked for in places n + 1, 2 and 3.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, scene in enumerate([*_scenes([0]), *_scenes([4])[::2]]):
        rng = np.random.default_rng((SEED, index))
        wordings = dict.fromkeys(caption_scene(scene, rng) for _ in range(NUM_WORDINGS))
        Video(render_scene(scene, art), 8.0).save(folder / f"{index:02d}.mp4")
        (folder / f"{index:02d}.txt").write_text("\n".join(wordings) + "\n")
    rng = np.random.default_rng(SEED)
    scenes = _scenes([1, 2, 3])
    prompts = [
        Prompt(prompt=caption_scene(s, rng), actor=s.actor, action=s.action, place=s.place, direction=s.direction)
        for s in scenes
    ]
    return prompts, [render_scene(scene, art) for scene in scenes]


def generate_old(folder: Path, generator: VideoGenerator) -> None:
    """Add the model's own clip of each old actor to the training clips."""
    captions: list[str] = []
    for index, actor in enumerate(ACTORS):
        rng = np.random.default_rng((SEED, 1, index))
        captions.append(caption_scene(sample_scene(rng, actor=actor, second_object="none", weather="none"), rng))
    videos = generator.text_to_videos(captions, range(1000, 1000 + len(captions)))
    for index, (caption, video) in enumerate(zip(captions, videos, strict=True)):
        video.save(folder / f"old_{index:02d}.mp4")
        (folder / f"old_{index:02d}.txt").write_text(caption + "\n")


def _scenes(offsets: Sequence[int]) -> list[Scene]:
    """Return each action once for each offset, in the place so many after its own."""
    rng = np.random.default_rng((SEED, *offsets))
    return [
        sample_scene(
            rng,
            split="any",
            actor=STAND_IN,
            action=action,
            place=PLACES[(index + offset) % len(PLACES)],
            second_object="none",
            weather="none",
        )
        for offset in offsets
        for index, action in enumerate(ACTIONS)
    ]


def train(folder: Path, overrides: Sequence[str]) -> float:
    """Train the adapter, or go on with it; return the seconds."""
    command = [sys.executable, "-m", "cogvideox", "train", "transformer", str(RECIPE), "--run-dir", folder / "run"]
    settings = [f"data.folder={folder / 'clips'}", f"cache_dir={folder / 'latents'}", *overrides]
    started_at_s = time.perf_counter()
    subprocess.run([*command, "--set", *settings], check=True)
    return time.perf_counter() - started_at_s


def generate(generator: VideoGenerator, prompts: Sequence[Prompt]) -> list[Clip]:
    """Generate a clip of each prompt; the seed is its place."""
    videos: list[Video] = []
    for first in range(0, len(prompts), BATCH_SIZE):
        texts = [prompt.prompt for prompt in prompts[first : first + BATCH_SIZE]]
        videos += generator.text_to_videos(texts, range(first, first + len(texts)))
    return [video.frames for video in videos]


class SeventeenActors:
    """The judge, with a head that knows the new actor too."""

    def __init__(self, old_art: Art, new_art: Art) -> None:
        self.judge = Judge.load().eval()
        self._features: list[Tensor] = []
        self.judge.actor_head.register_forward_pre_hook(lambda head, inputs: self._features.append(inputs[0]))
        features, labels = self._render(old_art, new_art, NUM_RENDERS, NUM_NEW_RENDERS, seed=1)
        self._mean, self._std = features.mean(0), features.std(0) + 1e-3
        torch.manual_seed(0)
        self._head = nn.Linear(features.shape[1], len(ACTORS) + 1)
        self._fit((features - self._mean) / self._std, labels)
        features, labels = self._render(old_art, new_art, NUM_CHECKED, 3 * NUM_CHECKED, seed=2)
        named, is_new = self._name(features), labels == len(ACTORS)
        self.accuracies = {
            "old actors named": float((named == labels)[~is_new].float().mean()),
            "old actors taken for the new one": float((named == len(ACTORS))[~is_new].float().mean()),
            "the new actor named": float((named == labels)[is_new].float().mean()),
        }

    def score(self, videos: Sequence[Clip], prompts: Sequence[Prompt]) -> str:
        """Return how many clips show what their prompts ask for."""
        names = (*ACTORS, NEW_ACTOR)
        actors = [names[index] for index in self._name(self._look(videos)).tolist()]
        is_new = prompts[0].actor == STAND_IN and NEW_ACTOR in prompts[0].prompt
        num_right = sum(
            seen == (NEW_ACTOR if is_new else asked.actor) for seen, asked in zip(actors, prompts, strict=True)
        )
        others = score_prompt_following(videos, prompts, self.judge)
        return (
            f"actor {num_right / len(prompts):.2f}, action {others.action:.2f}, place {others.place:.2f}, "
            f"direction {others.direction:.2f}; clips of a {NEW_ACTOR}: {actors.count(NEW_ACTOR)}"
        )

    def _render(self, old_art: Art, new_art: Art, num_old: int, num_new: int, seed: int) -> tuple[Tensor, Tensor]:
        videos: list[Clip] = []
        labels = [label for label in range(len(ACTORS)) for _ in range(num_old)] + [len(ACTORS)] * num_new
        for index, label in enumerate(labels):
            is_new = label == len(ACTORS)
            rng = np.random.default_rng((SEED, seed, index))
            scene = sample_scene(rng, split="any", actor=STAND_IN if is_new else ACTORS[label])
            videos.append(render_scene(scene, new_art if is_new else old_art))
        return self._look(videos), torch.tensor(labels)

    def _look(self, videos: Sequence[Clip]) -> Tensor:
        self._features.clear()
        self.judge.predict(videos)
        return torch.cat(self._features)

    def _name(self, features: Tensor) -> Tensor:
        with torch.no_grad():
            return self._head((features - self._mean) / self._std).argmax(dim=1)

    def _fit(self, features: Tensor, labels: Tensor) -> None:
        weight = 1 / torch.bincount(labels).clamp(max=2 * NUM_RENDERS).float()
        optimizer = torch.optim.AdamW(self._head.parameters(), lr=1e-2)
        for _ in range(NUM_FITTING_STEPS):
            loss = nn.functional.cross_entropy(self._head(features), labels, weight, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def write_sheet(path: Path, prompts: dict[str, list[Prompt]], clips: dict[str, dict[str, list[Clip]]]) -> None:
    """Write frames of some clips in pairs: without the adapter on the left, with it on the right."""
    rows, titles = [], []
    for kind, shown in ROWS_SHOWN.items():
        for index in shown:
            rows.append(np.concatenate([clips[kind]["without"][index], clips[kind]["with"][index]], axis=2))
            titles.append(prompts[kind][index].prompt)
    save_contact_sheet(path, rows, num_columns=4, titles=titles, scale=2)
    print(f"pairs of frames without and with the adapter: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/lora-new-actor"), help="folder of clips, run and sheet"
    )
    parser.add_argument("--set", nargs="*", default=[], dest="overrides", help="values of the recipe")
    arguments = parser.parse_args()
    measure(arguments.work, arguments.overrides)


if __name__ == "__main__":
    main()
