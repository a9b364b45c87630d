"""What the small students of captions learn on the stage world: scenes, their captions, and the teacher's summaries."""

import numpy as np

from cogvideox.data.captioning.merger import merge
from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.captioning.stage_captions import POSITION_PHRASES, SceneCaptions, describe_scene
from cogvideox.data.stage_world import Art, Scene
from cogvideox.data.text_corpus import generic_sentences

MAX_FRAME_CAPTIONS = 5


def draw_captions(
    scene: Scene,
    art: Art,
    rng: np.random.Generator,
    duration_s: float,
    num_frames: int | None = None,
    *,
    has_one_style: bool = False,
) -> SceneCaptions:
    """Return captions of a scene and of its frames, the first at its beginning; without a number 1 to
    `MAX_FRAME_CAPTIONS`. ``has_one_style`` as for `describe_scene`.
    """
    if num_frames is None:
        num_frames = int(rng.integers(1, MAX_FRAME_CAPTIONS + 1))
    times_s = np.linspace(0, duration_s, num_frames) if num_frames > 1 else [0.0]
    return describe_scene(
        scene,
        art,
        rng,
        times_s=[float(time_s) for time_s in times_s],
        duration_s=duration_s,
        has_one_style=has_one_style,
    )


def summary_of(captions: SceneCaptions, max_words: int = 100) -> str:
    """Return what the teacher makes of them."""
    return merge(captions.short, captions.frames, max_words)


def draw_generic_captions(rng: np.random.Generator, num_frames: int) -> SceneCaptions:
    """Return captions of things that the stage world does not have, of the same build: what is learnt on them is to
    copy.
    """
    short, subject, place, extra = generic_sentences(4, rng.integers(2**31, size=2).tolist())
    subject, place, extra = (text.split(",")[0] for text in (subject, place, extra))
    rows = [phrases for phrases in POSITION_PHRASES.values()]
    row = int(rng.integers(len(rows[0])))
    where = [rows[index][row] for index in np.sort(rng.integers(len(rows), size=num_frames))]
    if rng.random() < 0.5:
        where.reverse()
    has_extra = rng.random() < 0.5
    texts = [f"{subject} {phrase}, {place}" + (f", with {extra}" if has_extra else "") for phrase in where]
    times_s = np.linspace(0, 2.0, num_frames)
    frames = (
        TimedCaption(time_s=float(time_s), text=text[0].upper() + text[1:] + ".")
        for time_s, text in zip(times_s, texts, strict=True)
    )
    return SceneCaptions(short=short[0].upper() + short[1:] + ".", frames=tuple(frames))
