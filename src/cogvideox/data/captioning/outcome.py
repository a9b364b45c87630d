"""What the driver of a captioning gives workers to do, and what it takes from them."""

from collections.abc import Mapping, Sequence
from typing import Any

from cogvideox.data.captioning.answer_log import bucket_of
from cogvideox.data.captioning.asking import Failures
from cogvideox.data.captioning.clip_set import CaptionClip
from cogvideox.data.captioning.gates import Stop
from cogvideox.data.captioning.worker import KNOWN_ERRORS, CaptionTask

ContentKey = tuple[str, int, float]
"""`cogvideox.data.captioning.clip_set.CaptionClip.content_key`."""
MAX_TASKS = 64
"""Of a run on Ray: enough to spread them, and few enough to keep questions of many clips on their way."""
ERRORS: Mapping[str, type[Exception]] = {error.__name__: error for error in KNOWN_ERRORS}


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

    def broken(self, stop: Stop) -> Exception:
        """Return what a worker raised, as far as it can be known here."""
        return ERRORS.get(self._type, RuntimeError)(stop.message)


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
