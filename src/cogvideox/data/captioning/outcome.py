"""What the driver of a captioning gives workers to do, what it takes from them, and what it comes to."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogvideox.chat.endpoint import EndpointSettingsError
from cogvideox.data.captioning.answer_log import bucket_of
from cogvideox.data.captioning.asking import Failures
from cogvideox.data.captioning.clip_set import CaptionClip
from cogvideox.data.captioning.gates import Stop
from cogvideox.data.captioning.stages import ClipCaptions
from cogvideox.data.captioning.worker import KNOWN_ERRORS, CaptionTask
from cogvideox.errors import FetchError

ContentKey = tuple[str, int, float]
"""`cogvideox.data.captioning.clip_set.CaptionClip.content_key`."""
MAX_TASKS = 64
"""Of a run on Ray: enough to spread them, and few enough to keep questions of many clips on their way."""
ERRORS: Mapping[str, type[Exception]] = {error.__name__: error for error in KNOWN_ERRORS}


@dataclass(frozen=True, kw_only=True)
class CaptionResult:
    """What a captioning came to."""

    folder: Path
    num_clips: int
    num_unreadable: int
    num_shorts: int
    num_frames: int
    """Frames with a caption."""
    num_summaries: int
    num_failed: int
    """Captions that there are not, and clips that cannot be read; the column ``error`` of the tables says why."""
    num_asked: int
    """Questions to models in this run."""
    num_reused: int
    """Answers that were there before."""
    num_input_tokens: int
    """Of all runs in the folder, as the next three."""
    num_output_tokens: int
    dollars: float
    is_estimated: bool
    """Whether tokens were counted here, because a server did not say."""
    num_train: int
    """Examples for students."""
    num_val: int
    seconds: float
    stopped: str = ""
    """Why it stopped before everything was asked: the budget is spent."""
    check_problem: str = ""
    """Why there are no figures of the summaries."""
    num_no_use: int = 0
    """Of those that failed: all answers were no use, and only ``retries_failed`` asks again."""
    usual_failure: str = ""
    """The most frequent reason why a clip that can be read lacks a caption."""
    num_given: int = 0
    """Clips that have other captions now, in a training set's tables or in text files beside videos."""
    num_own_texts: int = 0
    """Text files beside videos that were there before and are left as they are."""


@dataclass(frozen=True, kw_only=True)
class CaptionEstimate:
    """What a captioning would ask."""

    num_clips: int
    num_unreadable: int
    num_reused: int
    num_requests: Mapping[str, int]
    """By stage; at least so many, as bad answers are asked for again."""
    num_frames: int
    """Shown to models."""
    dollars: float
    """About so much; 0 without prices."""
    spent_dollars: float
    """So far."""


class Asked:
    """What workers said of their tasks."""

    def __init__(self) -> None:
        self.failures: dict[ContentKey, Failures] = {}
        self.num_asked = self.num_answered = 0
        self.stop: Stop | None = None
        self._type = ""

    def take(self, answer: Mapping[str, Any]) -> None:
        """Add what a worker says."""
        for digest, num_frames, fps, stage, part, text in answer["failures"]:
            self.failures.setdefault((digest, num_frames, fps), {})[stage, part] = text
        self.num_asked += answer["num_asked"]
        self.num_answered += answer["num_answered"]
        if answer["stop"] is not None and self.stop is None:
            self.stop = Stop(kind=answer["stop"]["kind"], message=answer["stop"]["message"])
            self._type = answer["stop"]["type"]

    def raise_if_hopeless(self, kinds: set[str], *, has_answers: bool) -> None:
        """Raise what ended the run, if it is more than the money.

        Args:
            kinds: of its backends.
            has_answers: whether there were answers before.
        """
        stop = self.stop
        if stop is not None and stop.kind == "settings":
            raise EndpointSettingsError(stop.message)
        if stop is not None and stop.kind == "gone":
            raise FetchError(stop.message)
        if stop is not None and stop.kind == "broken":
            raise ERRORS.get(self._type, RuntimeError)(stop.message)
        is_in_vain = self.num_asked and not self.num_answered and self.failures and not has_answers
        if is_in_vain and kinds <= {"endpoint", "merger"}:
            message = next(text for failures in self.failures.values() for text in failures.values())
            raise FetchError(f"no question was answered, the first: {message}")


def usual_failure(found: Iterable[ClipCaptions]) -> str:
    """Return the most frequent reason why there is no caption; empty if there are all."""
    reasons = Counter(row.error for captions in found for row in captions.rows if row.error)
    return min(reasons, key=lambda reason: (-reasons[reason], reason), default="")


def tasks_of(clips: Sequence[CaptionClip]) -> list[CaptionTask]:
    """Return tasks of about the same size, each of whole buckets: one worker has a bucket."""
    size = max(1, len(clips) // MAX_TASKS)
    tasks: list[CaptionTask] = []
    held: list[CaptionClip] = []
    ordered = sorted(clips, key=lambda clip: clip.content_key)
    for place, clip in enumerate(ordered):
        held.append(clip)
        is_end = place + 1 == len(ordered) or bucket_of(ordered[place + 1].digest) != bucket_of(clip.digest)
        if is_end and (len(held) >= size or place + 1 == len(ordered)):
            tasks.append(CaptionTask(clips=tuple(held)))
            held = []
    return tasks
