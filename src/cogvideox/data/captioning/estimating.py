"""What a captioning would ask, found out without asking or decoding."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from cogvideox.data.captioning.answer_log import Record, Records
from cogvideox.data.captioning.asking import LogAsker, known_length, place_of
from cogvideox.data.captioning.backends import WORDS_PER_ANSWER, dollars_of, expected_tokens
from cogvideox.data.captioning.clip_set import CaptionClip
from cogvideox.data.captioning.frame_choice import Wanted, timed_frames
from cogvideox.data.captioning.request import StageName
from cogvideox.data.captioning.stages import CaptionPlan, Question, caption_clip, choice_place

SIDE_SHARE = 0.5625
"""Of frames whose size is not known: 16:9."""
T = TypeVar("T")


class CountingAsker:
    """Counts what is not in the log, or asked again all the same, and goes on as if it were."""

    def __init__(
        self, clip: CaptionClip, records: Records, plan: CaptionPlan, again: Collection[tuple[StageName, str]] = ()
    ) -> None:
        self._clip, self._records, self._plan, self._again = clip, records, plan, again
        self.num_requests: Counter[str] = Counter()
        self.num_reused = self.num_frames_shown = 0
        self.dollars = 0.0

    def num_frames(self) -> int:
        """Return how many frames the clip has, as far as is known."""
        return known_length(self._clip, self._records)

    def content_frames(self, wanted: Wanted) -> tuple[int, ...]:
        """Return what was chosen, or as many frames as by time: more are not known without decoding."""
        record = self._records.get(choice_place(self._clip.digest, wanted))
        if record is not None:
            return tuple(int(index) for index in record.text.split())
        settings = wanted.content
        assert settings is not None
        return timed_frames(self.num_frames(), self._clip.fps, settings.every_s, settings.max_frames)

    def ask(self, question: Question) -> Record:
        """Return the answer in the log, or a plausible one."""
        place = place_of(question, self._clip.digest)
        stage = question.request.stage
        if (stage, question.part) not in self._again and (record := self._records.get(place)) is not None:
            self.num_reused += 1
            return record
        text = " ".join(f"{stage} word {number}" for number in range(WORDS_PER_ANSWER[stage] // 3)) + "."
        self.num_requests[stage] += 1
        self.num_frames_shown += len(question.indices)
        tokens = list(expected_tokens(question.request))
        wanted = self._plan.wanted(stage, self.num_frames(), self._clip.fps)
        if question.indices and wanted is not None:
            side = wanted.max_side_px / 28
            tokens[0] += round(len(question.indices) * side * side * SIDE_SHARE)
        self.dollars += dollars_of(self._plan.backend(stage), tokens[0], tokens[1])
        key, digest, part, try_index, inputs = place
        made = Record(key=key, digest=digest, part=part, try_index=try_index, inputs=inputs)
        return replace(made, text=text)

    def each(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what the calls return."""
        return [call() for call in calls]


def estimated(
    plan: CaptionPlan, clips: Iterable[CaptionClip], records_of: Callable[[CaptionClip], Records]
) -> dict[str, Any]:
    """Return the fields of `cogvideox.data.captioning.captioning.CaptionEstimate` that questions decide."""
    num_requests: Counter[str] = Counter()
    num_reused = num_frames = 0
    dollars = 0.0
    for clip in clips:
        records = records_of(clip)
        again = plan.again(caption_clip(clip, plan, LogAsker(clip, records, {})), retries_failed=False)
        asker = CountingAsker(clip, records, plan, again)
        caption_clip(clip, plan, asker)
        num_requests += asker.num_requests
        num_reused += asker.num_reused
        num_frames += asker.num_frames_shown
        dollars += asker.dollars
    requests = {stage: num_requests[stage] for stage in plan.keys}
    return {"num_requests": requests, "num_reused": num_reused, "num_frames": num_frames, "dollars": dollars}
