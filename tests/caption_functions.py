"""Python functions in place of models that caption, and clips for them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cogvideox.data.captioning import captioning
from cogvideox.data.captioning.recipe import (
    BackendSettings,
    CaptionRecipe,
    CheckSettings,
    FrameSettings,
    ShortSettings,
    SummarySettings,
)
from cogvideox.data.captioning.request import CaptionRequest
from cogvideox.media.writers import write_video

SENTENCE = "A white square glides over dark ground"


@dataclass
class Model:
    """Answers as told, and keeps what it was asked."""

    answer: Callable[[CaptionRequest], Any] = lambda request: f"{SENTENCE} number {request.stage}."
    requests: list[CaptionRequest] = field(default_factory=list)
    max_running: int = 0
    running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: CaptionRequest) -> Any:
        with self.lock:
            self.requests.append(request)
            self.running += 1
            self.max_running = max(self.max_running, self.running)
        try:
            return self.answer(request)
        finally:
            with self.lock:
                self.running -= 1

    def stages(self) -> dict[str, int]:
        names = [request.stage for request in self.requests]
        self.requests.clear()
        return {name: names.count(name) for name in dict.fromkeys(sorted(names))}


def recipe_of(**changes: Any) -> CaptionRecipe:
    stages: dict[str, Any] = {
        "short": ShortSettings(backend="model", num_frames=3),
        "frames": FrameSettings(backend="model", every_s=1.0),
        "summary": SummarySettings(backend="model"),
        "check": CheckSettings(figures=False),
    }
    backend = BackendSettings(name="model", kind="function", function="a:b", concurrency=changes.pop("concurrency", 4))
    return CaptionRecipe(backends=(backend,), **(stages | changes))


def make_clip(path: Path, num_frames: int = 20, *, step: int = 1, seed: int = 0) -> Path:
    frames = np.full((num_frames, 48, 64, 3), 20 + seed, np.uint8)
    for index in range(num_frames):
        left = (index * step) % 50
        frames[index, 16:30, left : left + 14] = 250
    write_video(path, iter([frames]), fps=8)
    return path


def run(clips: Path, model: Model, recipe: CaptionRecipe, **options: Any) -> captioning.CaptionResult:
    return captioning.caption(clips, recipe, functions={"model": model}, **options)
