"""The stages of captioning one clip, written once: for asking models, and for reading what they answered before.

The `Asker` decides which of both it is. So tables are always what the logged answers say, whoever asked for them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from cogvideox.data.captioning.acceptance import Judged, judge_answer, salvaged
from cogvideox.data.captioning.answer_log import Record
from cogvideox.data.captioning.clip_captions import CaptionRow, ClipCaptions, FrameRow
from cogvideox.data.captioning.clip_set import CaptionClip
from cogvideox.data.captioning.frame_choice import Wanted, choice_of, spread_frames, timed_frames
from cogvideox.data.captioning.prompts import (
    COGVLM2,
    RULES,
    frame_prompt,
    judge_prompt,
    short_prompt,
    summary_prompt,
    video_prompt,
)
from cogvideox.data.captioning.recipe import BackendSettings, CaptionRecipe
from cogvideox.data.captioning.request import CaptionRequest, StageName, TimedCaption
from cogvideox.data.curation.store import operator_key

VERSION = 1
"""Of how models are asked."""
NUM_TRIES = 2
"""Of the short caption and of those of frames, if an answer is no use."""
ONE_TRY = ("merger", "student")
"""They would say the same again."""
MAX_REJECTED_CHARACTERS = 2000
"""Of an answer that was no use, shown again with the complaint."""
DECODING_KEY = "decoding-1"
"""Of what had to be decoded to be known."""
LENGTH_PART, CHOICE_PART = "length", "choice"

T = TypeVar("T")


class Unanswered(Exception):
    """There is no answer to a question; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about one clip, and what its answer is known by."""

    key: str
    part: str
    try_index: int
    backend: str
    request: CaptionRequest
    """Without its frames."""
    indices: tuple[int, ...]
    """Of the frames that belong to it."""

    @property
    def inputs(self) -> str:
        """Return the SHA-256 of all that is asked, the name of the clip left out."""
        asked = self.request
        captions = [[caption.time_s, caption.text] for caption in asked.frame_captions]
        values: list[Any] = [asked.prompt, asked.rules, self.indices, asked.times_s, asked.duration_s]
        values += [asked.short, captions, asked.rejected, asked.complaint]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


class Asker(Protocol):
    """Where answers come from."""

    def num_frames(self) -> int:
        """Return how many frames the clip has, as far as is known. Raises Unanswered."""
        ...

    def content_frames(self, wanted: Wanted) -> tuple[int, ...]:
        """Return the frames that are chosen by content. Raises Unanswered."""
        ...

    def ask(self, question: Question) -> Record:
        """Return the answer. Raises Unanswered."""
        ...

    def each(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what the calls return, which may be made at the same time."""
        ...


@dataclass(frozen=True, kw_only=True)
class CaptionPlan:
    """A recipe, and what the answers of its models are known by."""

    recipe: CaptionRecipe
    keys: Mapping[StageName, str]

    @classmethod
    def of(cls, recipe: CaptionRecipe, models: Mapping[str, str]) -> "CaptionPlan":
        """Return the plan of a recipe; ``models`` says, by the names of backends, which model each is."""
        named = _backends(recipe)
        sides = {
            "short": recipe.short.max_side_px if recipe.short else 0,
            "frames": recipe.frames.max_side_px if recipe.frames else 0,
            "summary": recipe.summary.max_side_px if recipe.summary and recipe.summary.reads != "captions" else 0,
            "judge": recipe.check.max_side_px,
        }
        keys: dict[StageName, str] = {
            stage: operator_key(stage, VERSION, {"model": models[backend], "max_side_px": sides[stage]}, ())
            for stage, backend in named.items()
        }
        return cls(recipe=recipe, keys=keys)

    def backend(self, stage: StageName) -> BackendSettings:
        """Return the backend of a stage."""
        return self.recipe.backend(_backends(self.recipe)[stage])

    def again(self, captions: ClipCaptions, *, retries_failed: bool) -> list[tuple[StageName, str]]:
        """Return the stages and parts that are asked again though they were answered: those for which the tokens did
        not suffice if there are more now, and if it is wanted all of which no answer was of use.
        """
        return [
            (stage, part)
            for stage, part, row in captions.answered
            if (retries_failed and row.error) or 0 < row.cut_at_tokens < self.backend(stage).max_tokens
        ]

    def wanted(self, stage: StageName, num_frames: int, fps: float) -> Wanted | None:
        """Return the frames that a stage shows, of a clip of this length; None for none."""
        recipe = self.recipe
        if stage == "frames" and recipe.frames is not None:
            settings = recipe.frames
            if settings.choice == "content" and num_frames > 1 and fps:
                return Wanted(max_side_px=settings.max_side_px, content=settings)
            indices = timed_frames(num_frames, fps, settings.every_s, settings.max_frames)
            return Wanted(max_side_px=settings.max_side_px, indices=indices)
        if stage == "summary" and (recipe.summary is None or recipe.summary.reads == "captions"):
            return None
        settings = {"short": recipe.short, "summary": recipe.summary, "judge": recipe.check}[stage]
        if settings is None:
            return None
        indices = spread_frames(num_frames, settings.num_frames) if fps else (0,)
        return Wanted(max_side_px=settings.max_side_px, indices=indices)


def _backends(recipe: CaptionRecipe) -> dict[StageName, str]:
    """Return the names of the backends of all stages, in their order."""
    named: dict[StageName, str] = {}
    if recipe.short is not None:
        named["short"] = recipe.short.backend
    if recipe.frames is not None:
        named["frames"] = recipe.frames.backend
    if recipe.summary is not None:
        named["summary"] = recipe.summary.backend
        if recipe.check.judge:
            named["judge"] = recipe.check.judge
    return named


def choice_place(digest: str, wanted: Wanted) -> tuple[str, str, str, int, str]:
    """Return where the log keeps which frames were chosen by content."""
    assert wanted.content is not None
    return DECODING_KEY, digest, CHOICE_PART, 0, choice_of(wanted.content)


def length_place(digest: str) -> tuple[str, str, str, int, str]:
    """Return where the log keeps the length of a clip that is not as long as it says."""
    return DECODING_KEY, digest, LENGTH_PART, 0, ""


def caption_clip(clip: CaptionClip, plan: CaptionPlan, asker: Asker) -> ClipCaptions:
    """Return what there is to know of a clip, asking for whatever can be asked."""
    recipe = plan.recipe
    if clip.reason:
        failed = CaptionRow(error=clip.reason)
        return _all_failed(plan, failed)
    try:
        num_frames = asker.num_frames()
    except Unanswered as error:
        return _all_failed(plan, CaptionRow(error=str(error), is_missing=True))
    one = _OneClip(clip=clip, plan=plan, asker=asker, num_frames=num_frames)
    calls: list[Callable[[], Any]] = [one.short] if recipe.short is not None else []
    frames: list[tuple[int, float]] = []
    unknown: tuple[FrameRow, ...] = ()
    if recipe.frames is not None:
        try:
            frames = [(index, one.time_s(index)) for index in one.indices("frames")]
        except Unanswered as error:
            row = CaptionRow(error=str(error), is_missing=True)
            unknown = (FrameRow(index=-1, time_s=0.0, caption=row),)
    calls += [lambda index=index, time_s=time_s: one.frame(index, time_s) for index, time_s in frames]
    rows = asker.each(calls)
    short = rows.pop(0) if recipe.short is not None else None
    found = ClipCaptions(short=short, frames=tuple(rows) + unknown)
    if recipe.summary is None:
        return found
    found = replace(found, summary=one.summary(found))
    return replace(found, judge=one.judge(found)) if recipe.check.judge else found


def _all_failed(plan: CaptionPlan, row: CaptionRow) -> ClipCaptions:
    recipe = plan.recipe
    return ClipCaptions(
        short=row if recipe.short else None,
        frames=(FrameRow(index=-1, time_s=0.0, caption=row),) if recipe.frames else (),
        summary=row if recipe.summary else None,
        judge=row if recipe.summary and recipe.check.judge else None,
    )


@dataclass(frozen=True, kw_only=True)
class _OneClip:
    clip: CaptionClip
    plan: CaptionPlan
    asker: Asker
    num_frames: int

    @property
    def is_still(self) -> bool:
        return self.num_frames == 1 or self.clip.fps == 0

    @property
    def duration_s(self) -> float:
        return 0.0 if self.is_still else self.num_frames / self.clip.fps

    def time_s(self, index: int) -> float:
        return index / self.clip.fps if self.clip.fps else 0.0

    def indices(self, stage: StageName) -> tuple[int, ...]:
        wanted = self.plan.wanted(stage, self.num_frames, self.clip.fps)
        if wanted is None:
            return ()
        return wanted.indices if wanted.content is None else self.asker.content_frames(wanted)

    def short(self) -> CaptionRow:
        settings = self.plan.recipe.short
        assert settings is not None
        indices = self.indices("short")
        prompt = short_prompt(
            settings.prompt, num_frames=len(indices), duration_s=self.duration_s, max_words=settings.max_words
        )
        return self._asked("short", "", prompt, indices, settings.max_words, NUM_TRIES)

    def frame(self, index: int, time_s: float) -> FrameRow:
        settings = self.plan.recipe.frames
        assert settings is not None
        prompt = frame_prompt(settings.prompt, max_words=settings.max_words)
        row = self._asked("frames", str(index), prompt, (index,), settings.max_words, NUM_TRIES)
        return FrameRow(index=index, time_s=time_s, caption=row)

    def summary(self, found: ClipCaptions) -> CaptionRow:
        settings = self.plan.recipe.summary
        assert settings is not None
        indices = self.indices("summary")
        inputs: dict[str, Any] = {"short": "", "captions": ()}
        if settings.reads != "video":
            rows = [row for row in (found.short, *(frame.caption for frame in found.frames)) if row is not None]
            missing = [row.error for row in rows if row.is_missing]
            if missing:
                return CaptionRow(error=f"{len(missing)} of its inputs are missing: {missing[0]}", is_missing=True)
            captions = [TimedCaption(time_s=row.time_s, text=row.caption.text) for row in found.frames]
            inputs["captions"] = tuple(caption for caption in captions if caption.text)
            inputs["short"] = found.short.text if found.short is not None else ""
            if settings.reads == "captions" and not (inputs["captions"] or inputs["short"]):
                return CaptionRow(error=f"there is nothing to make it of: {rows[0].error}")
        if settings.reads == "captions":
            prompt = summary_prompt(settings.prompt, max_words=settings.max_words, **inputs)
        else:
            times_s = [self.time_s(index) for index in indices]
            known = {"times_s": times_s, "duration_s": self.duration_s, "max_words": settings.max_words}
            is_cogvlm2 = self.plan.backend("summary").kind == "cogvlm2"
            own = settings.prompt or (COGVLM2 if is_cogvlm2 else "")
            prompt = video_prompt(own, **known, **inputs)
        given = {"short": inputs["short"], "frame_captions": inputs["captions"]}
        return self._asked("summary", "", prompt, indices, settings.max_words, settings.num_tries, **given)

    def judge(self, found: ClipCaptions) -> CaptionRow:
        summary = found.summary
        assert summary is not None
        if not summary.text:
            return CaptionRow(error="there is no summary", is_missing=summary.is_missing)
        indices = self.indices("judge")
        prompt = judge_prompt(summary.text, num_frames=len(indices))
        question = self._question("judge", "", prompt, indices)
        try:
            record = self.asker.ask(question)
        except Unanswered as error:
            return CaptionRow(error=str(error), is_missing=True)
        text = record.text.strip()
        return _counted(CaptionRow(text=text, error=record.error if text else record.error or "empty"), [record])

    def _question(self, stage: StageName, part: str, prompt: str, indices: tuple[int, ...], **given: Any) -> Question:
        request = CaptionRequest(
            stage=stage,
            clip_id=self.clip.clip_id,
            prompt=prompt,
            rules="" if stage == "judge" else RULES,
            times_s=tuple(self.time_s(index) for index in indices),
            duration_s=self.duration_s,
            **given,
        )
        backend = self.plan.backend(stage).name
        key = self.plan.keys[stage]
        return Question(key=key, part=part, try_index=0, backend=backend, request=request, indices=indices)

    def _asked(
        self,
        stage: StageName,
        part: str,
        prompt: str,
        indices: tuple[int, ...],
        max_words: int,
        num_tries: int,
        **given: Any,
    ) -> CaptionRow:
        """Ask until an answer is good, or there were so many tries; then take the best that there is."""
        question = self._question(stage, part, prompt, indices, **given)
        num_tries = 1 if self.plan.backend(stage).kind in ONE_TRY else num_tries
        records: list[Record] = []
        tried: list[Judged] = []
        end = ""
        for try_index in range(num_tries):
            try:
                record = self.asker.ask(question)
            except Unanswered as error:
                # Asked again by the next run, which goes on with this try.
                return _counted(CaptionRow(error=str(error), rejected=_said(tried), is_missing=True), records)
            records.append(record)
            if record.error:
                end = record.error
                break
            judged = judge_answer(
                record.answer, max_words=max_words, forbids_medium=stage == "summary", inputs=question.request.inputs
            )
            if not judged.problem:
                return _counted(CaptionRow(text=judged.text, rejected=_said(tried)), records)
            tried.append(judged)
            rejected = record.text[:MAX_REJECTED_CHARACTERS]
            request = replace(question.request, rejected=rejected, complaint=judged.complaint)
            question = replace(question, try_index=try_index + 1, request=request)
        for judged in reversed(tried):
            if (best := salvaged(judged, max_words)) is not None:
                return _counted(CaptionRow(text=best.text, problem=best.problem, rejected=_said(tried)), records)
        return _counted(CaptionRow(error=end or f"no use: {_said(tried)}", rejected=_said(tried)), records)


def _said(tried: Sequence[Judged]) -> str:
    return ", ".join(judged.problem for judged in tried)


def _counted(row: CaptionRow, records: Sequence[Record]) -> CaptionRow:
    cut_at_tokens = max((record.max_tokens for record in records if record.is_cut), default=0)
    return replace(
        row,
        cut_at_tokens=cut_at_tokens if row.error or row.problem else 0,
        model=records[-1].model if records else "",
        num_tries=len(records),
        num_input_tokens=sum(record.num_input_tokens for record in records),
        num_output_tokens=sum(record.num_output_tokens for record in records),
    )
