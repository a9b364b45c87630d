"""Where the answers about one clip come from: the log, and the models if there is none in it yet."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cogvideox.chat.endpoint import EndpointFailedError, EndpointRefusedError, EndpointSettingsError
from cogvideox.chat.pacing import StoppedError
from cogvideox.chat.turns import Answer
from cogvideox.data.captioning.answer_log import Record, Records
from cogvideox.data.captioning.backends import FunctionError, dollars_of, estimated_tokens, expected_tokens
from cogvideox.data.captioning.clip_set import CaptionClip, without_folder
from cogvideox.data.captioning.frame_choice import Wanted, decode
from cogvideox.data.captioning.gates import Budget, DaemonPool, Gate, Stop, StopFlag
from cogvideox.data.captioning.request import CaptionRequest, StageName
from cogvideox.data.captioning.stages import (
    CaptionPlan,
    ClipCaptions,
    Question,
    Unanswered,
    caption_clip,
    choice_place,
    length_place,
)
from cogvideox.errors import CheckpointError, DoesNotFitError, FetchError

NOT_ASKED = "not asked yet"
BUDGET_SPENT = "not asked: the budget is spent (max_dollars)"
STAGES: tuple[StageName, ...] = ("short", "frames", "summary", "judge")
SPENT_KEY = "spent-1"
"""Of tokens that were counted for a question without an answer."""
CLIP_FAILURE = ("clip", "")
"""Among failures: the clip cannot be decoded."""

Failures = dict[tuple[str, str], str]
"""By stage and part, why a question was not answered."""
T = TypeVar("T")


class LogAsker:
    """Answers from the log only."""

    def __init__(
        self, clip: CaptionClip, records: Records, failures: Mapping[tuple[str, str], str], otherwise: str = NOT_ASKED
    ) -> None:
        """Take what there is; ``otherwise`` is said of what is neither in the log nor among the failures."""
        self._clip, self._records = clip, records
        self._failures, self._otherwise = failures, otherwise
        self.num_found = 0
        self.missing: set[StageName] = set()
        """Stages with questions that are not answered."""
        self.has_no_choice = False
        """Whether the clip has to be decoded to know which frames there are."""

    def num_frames(self) -> int:
        """Return the length that was found, else the one that the dataset says."""
        return known_length(self._clip, self._records)

    def content_frames(self, wanted: Wanted) -> tuple[int, ...]:
        """Return what was chosen. Raises Unanswered if nothing was."""
        record = self._records.get(choice_place(self._clip.digest, wanted))
        if record is None:
            self.has_no_choice = True
            raise Unanswered(self._failures.get(CLIP_FAILURE, self._otherwise))
        return tuple(int(index) for index in record.text.split())

    def ask(self, question: Question) -> Record:
        """Return the answer in the log. Raises Unanswered."""
        record = self._records.get(place_of(question, self._clip.digest))
        if record is None:
            self.missing.add(question.request.stage)
            failed = self._failures.get((question.request.stage, question.part)) or self._failures.get(CLIP_FAILURE)
            raise Unanswered(failed or self._otherwise)
        self.num_found += 1
        return record

    def each(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what the calls return."""
        return [call() for call in calls]


def known_length(clip: CaptionClip, records: Records) -> int:
    """Return how many frames a clip has, as far as is known."""
    record = records.get(length_place(clip.digest))
    return int(record.text) if record is not None else clip.num_frames


def place_of(question: Question, digest: str) -> tuple[str, str, str, int, str]:
    """Return where the log keeps the answer to a question about a clip."""
    return question.key, digest, question.part, question.try_index, question.inputs


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What all askers of a worker share."""

    plan: CaptionPlan
    gates: Mapping[str, Gate]
    """By the names of backends: those that may be asked now."""
    pool: DaemonPool
    budget: Budget
    stop: StopFlag


@dataclass(kw_only=True)
class LiveAsker:
    """Answers from the log, else from models; new ones are in the log before they count."""

    clip: CaptionClip
    records: Records
    add: Callable[[Record], None]
    """Writes a record to the disk."""
    desk: Desk
    forgotten: frozenset[tuple[StageName, str]] = frozenset()
    """Stages and parts that are asked again, whatever is in the log."""
    on_forgotten: Callable[[], None] = lambda: None
    """Called when frames are let go."""
    failures: Failures = field(default_factory=dict)
    _frames: dict[str, dict[int, NDArray[np.uint8]]] = field(default_factory=dict)

    def replayed(self) -> tuple[ClipCaptions, LogAsker]:
        """Return what the log says of the clip."""
        asker = LogAsker(self.clip, self.records, {})
        return caption_clip(self.clip, self.desk.plan, asker), asker

    def num_frames(self) -> int:
        """Return how many frames the clip has, as far as is known."""
        return known_length(self.clip, self.records)

    def content_frames(self, wanted: Wanted) -> tuple[int, ...]:
        """Return what was chosen, now or earlier. Raises Unanswered if the clip cannot be decoded."""
        if choice_place(self.clip.digest, wanted) not in self.records:
            self.decode(("frames",))
        return tuple(int(index) for index in self.records[choice_place(self.clip.digest, wanted)].text.split())

    def each(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what the calls return, several of which are made at the same time."""
        return self.desk.pool.each(calls) if len(calls) > 1 else [call() for call in calls]

    def ask(self, question: Question) -> Record:
        """Return the answer. Raises Unanswered, with the reason among the failures unless everything is stopped."""
        stage, place = question.request.stage, place_of(question, self.clip.digest)
        if (stage, question.part) not in self.forgotten and (record := self.records.get(place)) is not None:
            return record
        gate = self.desk.gates.get(question.backend)
        if gate is None:
            raise Unanswered(NOT_ASKED)
        if stage == "summary" and not question.indices and "judge" not in self.desk.plan.keys:
            self.forget_frames()  # nothing comes after it
        with gate.place():
            self._check_running()
            request = replace(question.request, frames=self._shown(stage, question.indices))
            expected_dollars = dollars_of(gate.settings, *expected_tokens(request))
            with self.desk.budget.question(expected_dollars) as may_ask:
                if not may_ask:
                    self.desk.stop.set(Stop(kind="budget", message=BUDGET_SPENT))
                self._check_running()
                record = self._asked(gate, question, request)
        self.records[place] = record
        return record

    def decode(self, stages: Sequence[StageName]) -> None:
        """Decode the clip once for these stages. Raises Unanswered if it is not readable."""
        self._check_running()
        try:
            self._decode(stages)
        except (ValueError, OSError) as error:
            message = without_folder(str(error), str(Path(self.clip.path).parent))
            self.failures[CLIP_FAILURE] = message
            raise Unanswered(message) from None

    def forget_frames(self) -> None:
        """Free the memory that frames take."""
        self._frames = {}
        self.on_forgotten()

    def _decode(self, stages: Sequence[StageName]) -> None:
        while True:
            num_frames = self.num_frames()
            found = {stage: self.desk.plan.wanted(stage, num_frames, self.clip.fps) for stage in stages}
            wanted: dict[str, Wanted] = {stage: one for stage, one in found.items() if one is not None}
            if not wanted:
                return
            for stage, one in wanted.items():
                if one.content is not None and choice_place(self.clip.digest, one) in self.records:
                    chosen = self.content_frames(one)
                    wanted[stage] = Wanted(max_side_px=one.max_side_px, indices=chosen)
            decoded = decode(self.clip.stream, self.clip.fps, wanted)
            last = max((one.indices[-1] for one in wanted.values() if one.indices), default=0)
            if last < decoded.num_frames:
                break
            # It is shorter than it says: frames are chosen anew, of those that there are.
            place = length_place(self.clip.digest)
            self._note(place, str(decoded.num_frames))
        for stage, one in wanted.items():
            frames = decoded.frames[stage]
            if one.content is not None:
                self._note(choice_place(self.clip.digest, one), " ".join(map(str, sorted(frames))))
            self._frames[stage] = frames

    def _note(self, place: tuple[str, str, str, int, str], text: str) -> None:
        key, digest, part, try_index, inputs = place
        record = Record(key=key, digest=digest, part=part, try_index=try_index, inputs=inputs, text=text)
        self.add(record)
        self.records[place] = record

    def _shown(self, stage: StageName, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Return the frames of a question (T, H, W, 3)."""
        if not indices:
            return np.zeros((0, 0, 0, 3), np.uint8)
        if not all(index in self._frames.get(stage, {}) for index in indices):
            self.decode((stage,))
        return np.stack([self._frames[stage][index] for index in indices])

    def _check_running(self) -> None:
        stop = self.desk.stop.stop
        if stop is not None:
            raise Unanswered(stop.message)

    def _asked(self, gate: Gate, question: Question, request: CaptionRequest) -> Record:
        started_at_s = time.monotonic()
        gate.asks()
        answer, refusal = Answer(""), ""
        try:
            answer = gate.backend.caption(request)
        except StoppedError:
            stop = self.desk.stop.stop
            raise Unanswered(stop.message if stop is not None else NOT_ASKED) from None
        except EndpointSettingsError as error:
            self._fails(gate, error, is_settings=True)
            raise self._failed(question, str(error)) from None
        except EndpointFailedError as error:
            self._pay_for_nothing(gate, question, error)
            self._fails(gate, error)
            raise self._failed(question, str(error)) from None
        except FetchError as error:
            self._fails(gate, error)
            raise self._failed(question, str(error)) from None
        except FunctionError as error:
            raise self._failed(question, str(error)) from None
        except CheckpointError as error:
            raise self._broken(error) from error
        except DoesNotFitError as error:
            if not gate.num_answered:  # nothing will fit
                raise self._broken(error) from error
            raise self._failed(question, str(error)) from None
        except EndpointRefusedError as error:
            refusal = str(error)
            answer = Answer("", error.is_cut, error.num_input_tokens, error.num_output_tokens)
        except ValueError as error:
            refusal = str(error) or type(error).__name__
        except Exception as error:  # it will not go away: the whole run ends with it
            raise self._broken(error) from error
        gate.succeeds()
        return self._logged(gate, question, request, answer, refusal, time.monotonic() - started_at_s)

    def _logged(
        self,
        gate: Gate,
        question: Question,
        request: CaptionRequest,
        answer: Answer,
        refusal: str,
        seconds: float,
    ) -> Record:
        tokens = (answer.num_input_tokens, answer.num_output_tokens)
        is_estimated = gate.settings.kind == "endpoint" and not any(tokens) and not refusal
        if is_estimated:
            tokens = estimated_tokens(request, answer)
        key, digest, part, try_index, inputs = place_of(question, self.clip.digest)
        record = Record(
            key=key,
            digest=digest,
            part=part,
            try_index=try_index,
            inputs=inputs,
            # Half a character of a server's would fit into no table.
            text=answer.text.encode("utf-8", "replace").decode(),
            is_cut=answer.is_cut,
            error=" ".join(refusal.split()),
            num_input_tokens=tokens[0],
            num_output_tokens=tokens[1],
            is_estimated=is_estimated,
            dollars=dollars_of(gate.settings, *tokens),
            seconds=round(seconds, 3),
            max_tokens=gate.settings.max_tokens,
            model=gate.settings.model or gate.settings.function or gate.settings.name,
        )
        self._added(record)
        return record

    def _fails(self, gate: Gate, error: Exception, *, is_settings: bool = False) -> None:
        gate.fails(str(error), clip=self.clip.digest, is_settings=is_settings)

    def _pay_for_nothing(self, gate: Gate, question: Question, error: EndpointFailedError) -> None:
        tokens = (error.num_input_tokens, error.num_output_tokens)
        if any(tokens):
            inputs = place_of(question, self.clip.digest)[-1]
            record = Record(key=SPENT_KEY, digest=self.clip.digest, part=question.part, inputs=inputs)
            dollars = dollars_of(gate.settings, *tokens)
            spent = {"num_input_tokens": tokens[0], "num_output_tokens": tokens[1], "dollars": dollars}
            self._added(replace(record, **spent))

    def _added(self, record: Record) -> None:
        try:
            self.add(record)
        except OSError as error:
            raise self._broken(error) from error
        self.desk.budget.pay(record.dollars)

    def _failed(self, question: Question, message: str) -> Unanswered:
        message = " ".join(message.split())
        self.failures[question.request.stage, question.part] = message
        return Unanswered(message)

    def _broken(self, error: BaseException) -> Unanswered:
        message = " ".join(str(error).split()) or type(error).__name__
        self.desk.stop.set(Stop(kind="broken", message=message, error=error))
        return Unanswered(message)
