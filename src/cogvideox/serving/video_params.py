"""What the API asks of a worker: the effective settings of one video, as they are stored with its job."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cogvideox.configs import GuidanceMode
from cogvideox.settings import build_dataclass

VideoTaskName = Literal["text", "image", "video"]
"""What a video starts from: its text alone, an image (file role ``image``) or a video (file role ``video``)."""


@dataclass(frozen=True, kw_only=True)
class VideoParams:
    """The settings of one video, all of them decided; its model and seed are beside them in the job."""

    prompt: str
    """As it was sent; 1 to 4,000 code points after normalisation (NFC)."""
    negative_prompt: str = ""
    task: VideoTaskName = "text"
    num_frames: int
    """A length that the model makes: 8k or 8k + 1."""
    height_px: int
    width_px: int
    fps: float
    """Playback only."""
    num_steps: int
    guidance_scale: float
    """At most 1 switches guidance off."""
    guidance_mode: GuidanceMode = "constant"
    sampler: str | None = None
    """None is the one that the checkpoint names."""
    strength: float | None = None
    """Share of the steps that a source video is made over with, 0 to 1; None for other tasks."""

    def __post_init__(self) -> None:
        if self.task not in get_args(VideoTaskName):
            raise ValueError(f"task: expected one of {', '.join(get_args(VideoTaskName))}, got {self.task!r}")
        if self.guidance_mode not in get_args(GuidanceMode):
            known = ", ".join(get_args(GuidanceMode))
            raise ValueError(f"guidance_mode: expected one of {known}, got {self.guidance_mode!r}")
        for name in ("num_frames", "height_px", "width_px", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps: expected more than 0, got {self.fps}")
        if not (math.isfinite(self.guidance_scale) and self.guidance_scale >= 0):
            raise ValueError(f"guidance_scale: expected a number of at least 0, got {self.guidance_scale}")
        if (self.strength is not None) != (self.task == "video"):
            raise ValueError(f"strength: expected a number for the task 'video' only, got {self.strength}")
        if self.strength is not None and not 0 <= self.strength <= 1:
            raise ValueError(f"strength: expected 0 to 1, got {self.strength}")


def params_json(params: VideoParams) -> dict[str, Any]:
    """Return settings as `cogvideox.serving.job.NewJob.params` has them."""
    return dataclasses.asdict(params)


def params_of(values: Mapping[str, Any]) -> VideoParams:
    """Return the settings of a job. Raises ValueError for what another version has stored and this one lacks."""
    return build_dataclass(VideoParams, values, where="params")
