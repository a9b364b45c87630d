"""Whether the students of captions are right about clips of the stage world that were never trained.

The scenes are those whose actor, action and place are kept out of all training; each kind of clips is a row.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.captioning.merger import merge
from cogvideox.data.captioning.request import CaptionBackend, CaptionRequest
from cogvideox.data.captioning.small_summariser import SmallSummariser
from cogvideox.data.captioning.stage_captions import SceneCaptions, describe_scene
from cogvideox.data.captioning.stage_clips import FPS, HEIGHT_PX, NUM_FRAMES, WIDTH_PX, draw_scene
from cogvideox.data.captioning.video_captioner import SmallCaptioner
from cogvideox.data.stage_world import Art, Scene, render_scene
from cogvideox.evaluation.caption_facts import FACTS, REQUIRED_FRACTIONS, CaptionScores, score_captions
from cogvideox.evaluation.report import Report
from cogvideox.media.reading import read_frames
from cogvideox.media.writers import write_video

SEED_DOMAIN = 860_000_003
"""First entry of the seeds: these scenes are no training's."""
BATCH_SIZE = 32
MAX_FRAME_CAPTIONS = 5
MAX_LOSS = 0.02
"""How many facts fewer than its teacher a summariser may keep."""

Clip = tuple[NDArray[np.uint8], list[float]]
"""Frames (T, H, W, 3) and their times in seconds."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class CaptionEvaluation:
    """Scores by the kinds of inputs."""

    rows: Mapping[str, CaptionScores]
    texts_per_s: float
    """Captions a second, reading of files and rendering left out."""
    examples: tuple[str, ...]
    """Captions of the first row, the first few."""


def held_out_scenes(num_scenes: int, seed: int, art: Art) -> list[Scene]:
    """Return scenes that no training has seen. Raises ValueError for fewer than 2."""
    if num_scenes < 2:
        raise ValueError(f"num_clips: expected at least 2, got {num_scenes}")
    rng = np.random.default_rng((SEED_DOMAIN, seed))
    return [draw_scene(rng, "held_out", art) for _ in range(num_scenes)]


def evaluate_captioner(
    captioner: CaptionBackend, *, num_clips: int, seed: int, art: Art, on_progress: Progress = lambda done, of: None
) -> CaptionEvaluation:
    """Caption renders of held-out scenes: as they are, from H.264 files, larger and longer ones from such files; and
    score the first captions against other scenes, which is what guessing gives.
    """
    scenes = held_out_scenes(num_clips, seed, art)
    kinds: dict[str, Callable[[Scene], Clip]] = {
        "renders": lambda scene: _rendered(scene, art),
        "H.264 files": lambda scene: _from_file(scene, art),
        "3 s, 192x128 px": lambda scene: _from_file(scene, art, num_frames=49, fps=16, scale=2),
    }
    rows: dict[str, CaptionScores] = {}
    first_captions: list[str] = []
    asked_s = 0.0
    for number, (kind, make) in enumerate(kinds.items()):
        captions: list[str] = []
        for first in range(0, num_clips, BATCH_SIZE):
            clips = [make(scene) for scene in scenes[first : first + BATCH_SIZE]]
            started_at_s = time.monotonic()
            captions += _captions_of(captioner, clips)
            asked_s += time.monotonic() - started_at_s
            on_progress(number * num_clips + len(captions), len(kinds) * num_clips)
        rows[kind] = score_captions(captions, scenes)
        first_captions = first_captions or captions
    rows["captions shuffled"] = score_captions([*first_captions[1:], first_captions[0]], scenes)
    return CaptionEvaluation(
        rows=rows, texts_per_s=len(kinds) * num_clips / asked_s, examples=tuple(first_captions[:8])
    )


def evaluate_summariser(
    summariser: CaptionBackend, *, num_clips: int, seed: int, art: Art, on_progress: Progress = lambda done, of: None
) -> CaptionEvaluation:
    """Summarise captions of held-out scenes, in words of the training and in words that it never uses, beside the
    teacher.
    """
    scenes = held_out_scenes(num_clips, seed, art)
    rows: dict[str, CaptionScores] = {}
    examples: list[str] = []
    asked_s = 0.0
    for number, kind in enumerate(("", ", new words")):
        rng = np.random.default_rng((SEED_DOMAIN, seed, number + 1))
        given = [_described(scene, art, rng, use_held_out_synonyms=bool(kind)) for scene in scenes]
        texts: list[str] = []
        for first in range(0, num_clips, BATCH_SIZE):
            started_at_s = time.monotonic()
            texts += _summaries_of(summariser, given[first : first + BATCH_SIZE])
            asked_s += time.monotonic() - started_at_s
            on_progress(number * num_clips + len(texts), 2 * num_clips)
        rows[f"teacher{kind}"] = score_captions([merge(one.short, one.frames) for one in given], scenes)
        rows[f"student{kind}"] = score_captions(texts, scenes)
        examples = examples or texts[:8]
    return CaptionEvaluation(rows=rows, texts_per_s=2 * num_clips / asked_s, examples=tuple(examples))


def largest_loss(evaluation: CaptionEvaluation) -> float:
    """Return by how much a summariser's worst fact stays behind the teacher's, 0 to 1, in words of the training."""
    teacher, student = evaluation.rows["teacher"], evaluation.rows["student"]
    return max(
        (teacher.fractions[name] or 0.0) - (student.fractions[name] or 0.0)
        for name in FACTS
        if teacher.fractions[name] is not None
    )


def report_captions(evaluation: CaptionEvaluation, title: str, notes: Sequence[str]) -> Report:
    """Report the fractions of facts said rightly."""
    scores = evaluation.rows.values()
    rows = [(fact.replace("_", " "), *(_percent(one.fractions[fact]) for one in scores)) for fact in FACTS]
    rows += [
        ("all", *(_percent(one.all_right) for one in scores)),
        ("invented", *(_percent(max(filter(None, one.invented.values()), default=0.0)) for one in scores)),
    ]
    values: dict[str, Any] = {
        "rows": {name: _to_json(scores) for name, scores in evaluation.rows.items()},
        "texts_per_s": round(evaluation.texts_per_s, 2),
        "examples": list(evaluation.examples),
    }
    common = (
        "all: everything right and nothing invented; invented: the fact that is most often said of clips without it",
        f"{evaluation.texts_per_s:.1f} captions/s; {next(iter(scores)).num_clips} clips",
    )
    return Report(title, ("fact", *evaluation.rows), rows, (*notes, *common), values)


def required_note() -> str:
    """Say what a captioner must reach."""
    return "required: " + ", ".join(f"{name} {least:.0%}" for name, least in REQUIRED_FRACTIONS.items())


def _captions_of(captioner: CaptionBackend, clips: Sequence[Clip]) -> list[str]:
    if isinstance(captioner, SmallCaptioner):
        return [answer.text for answer in captioner.caption_clips(clips)]
    requests = (
        CaptionRequest(
            stage="summary",
            clip_id=str(number),
            prompt="Describe the video in detail.",
            frames=frames,
            times_s=tuple(times_s),
            duration_s=times_s[-1],
        )
        for number, (frames, times_s) in enumerate(clips)
    )
    return [captioner.caption(request).text for request in requests]


def _summaries_of(summariser: CaptionBackend, given: Sequence[SceneCaptions]) -> list[str]:
    if isinstance(summariser, SmallSummariser):
        return [answer.text for answer in summariser.summarise([(one.short, one.frames) for one in given])]
    requests = (
        CaptionRequest(stage="summary", clip_id=str(number), prompt="", short=one.short, frame_captions=one.frames)
        for number, one in enumerate(given)
    )
    return [summariser.caption(request).text for request in requests]


def _described(scene: Scene, art: Art, rng: np.random.Generator, *, use_held_out_synonyms: bool) -> SceneCaptions:
    duration_s = (NUM_FRAMES - 1) / FPS
    times_s = np.linspace(0, duration_s, int(rng.integers(1, MAX_FRAME_CAPTIONS + 1))).tolist()
    return describe_scene(
        scene, art, rng, times_s=times_s, duration_s=duration_s, use_held_out_synonyms=use_held_out_synonyms
    )


def _rendered(scene: Scene, art: Art, *, num_frames: int = NUM_FRAMES, fps: int = FPS, scale: int = 1) -> Clip:
    size = {"height_px": scale * HEIGHT_PX, "width_px": scale * WIDTH_PX}
    frames = render_scene(scene, art, num_frames=num_frames, fps=fps, **size)
    return frames, (np.arange(num_frames) / fps).tolist()


def _from_file(scene: Scene, art: Art, *, num_frames: int = NUM_FRAMES, fps: int = FPS, scale: int = 1) -> Clip:
    frames, times_s = _rendered(scene, art, num_frames=num_frames, fps=fps, scale=scale)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, [frames], fps=fps)
        return read_frames(path)[0], times_s


def _to_json(scores: CaptionScores) -> dict[str, Any]:
    return {
        "num_clips": scores.num_clips,
        "fractions": dict(scores.fractions),
        "nums": dict(scores.nums),
        "invented": dict(scores.invented),
        "all_right": scores.all_right,
    }


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"
