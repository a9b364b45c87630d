"""The whole way from clips to dense captions, in which no answer is paid for twice."""

import dataclasses
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cogvideox.component_files import write_atomically
from cogvideox.data.captioning.answer_log import AnswerLog, Records, bucket_of
from cogvideox.data.captioning.applying import Applied, apply_captions
from cogvideox.data.captioning.asking import NOT_ASKED, Failures, LogAsker
from cogvideox.data.captioning.backends import BackendOpener, Function, check_matcher, model_identities
from cogvideox.data.captioning.caption_tables import write_captions
from cogvideox.data.captioning.checking import write_checks
from cogvideox.data.captioning.clip_set import (
    TABLES_NAME,
    CaptionClip,
    ClipSet,
    OpenedDataset,
    captions_folder_of,
    open_dataset,
    read_clip_set,
)
from cogvideox.data.captioning.estimating import estimated
from cogvideox.data.captioning.exports import ExportCounts, export_training
from cogvideox.data.captioning.gates import Stop
from cogvideox.data.captioning.outcome import (
    Asked,
    CaptionEstimate,
    CaptionResult,
    ContentKey,
    tasks_of,
    usual_failure,
)
from cogvideox.data.captioning.recipe import CaptionRecipe
from cogvideox.data.captioning.reporting import ReportInput, write_report
from cogvideox.data.captioning.stages import CaptionPlan, ClipCaptions, caption_clip
from cogvideox.data.captioning.worker import CaptionSetup, CaptionTask, CaptionWorker
from cogvideox.data.curation.engine import EngineName, run_inline, run_ray
from cogvideox.data.curation.sources import Digests
from cogvideox.durable_files import locked
from cogvideox.settings import resolved_json

logger = logging.getLogger(__name__)

WORK_NAME, ANSWERS_NAME, CHECKS_NAME, RECIPE_NAME = "work", "answers", "checks", "recipe.json"
DIGESTS_NAME = "digests.json"

OnProgress = Callable[[str, int, int], None]


def caption(
    dataset: str | Path,
    recipe: CaptionRecipe,
    out: str | Path | None = None,
    *,
    functions: Mapping[str, Function] | None = None,
    engine: EngineName = "inline",
    ray_address: str | None = None,
    retries_failed: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> CaptionResult:
    """Caption all clips of a dataset; write tables and examples for students, and give the clips the captions.

    What was answered before, about the same content by the same model to the same question, is used again, whatever the
    files are called now. A run that was stopped at any moment goes on where it was.

    Args:
        dataset: a folder that `cogvideox curate` made, a training set, or a folder of videos and pictures.
        recipe: what to do.
        out: folder for the results and for the answers (``work/``), which are all that was paid for; by default
            ``captions`` beside a curation's tables, else in the dataset.
        functions: by the names of backends, in place of what the recipe says of them.
        engine: "inline": in this process, with as many questions at once as the backends take; "ray": on a cluster.
        ray_address: of a Ray cluster whose machines all see the dataset and the folder under these names.
        retries_failed: whether to ask again where answers were no use.
        on_progress: called with the name of the part, what is done of it, and all.

    Raises:
        EndpointSettingsError: an endpoint refuses its key, URL or model. What there is is written before.
        FetchError: an endpoint cannot be reached or seems to be gone; the same.
        MissingPackageError: a library is not installed.
        ValueError: there is no such dataset, the recipe cannot be carried out, or another process works in the folder.
        OSError: the folder cannot be written.
    """
    started_at_s = time.monotonic()
    out = _checked_out(dataset, out)
    opened = open_dataset(dataset)  # before anything is written: its name may be mistyped
    work = out / WORK_NAME
    try:
        work.mkdir(parents=True, exist_ok=True)
        with locked(work, f"another process captions in {out}: wait for it or choose another folder"):
            digests = Digests(work / DIGESTS_NAME)
            run = _Run.prepared(opened, digests, recipe, out, functions or {}, on_progress)
            return run.finished(engine, ray_address, retries_failed, started_at_s)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(out)) from error  # a full disk does not say where it is


def estimate(
    dataset: str | Path,
    recipe: CaptionRecipe,
    out: str | Path | None = None,
    *,
    functions: Mapping[str, Function] | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> CaptionEstimate:
    """Return what `caption` would ask, without asking. Raises ValueError or OSError as it does."""
    out = _checked_out(dataset, out)
    opened = open_dataset(dataset)
    with tempfile.TemporaryDirectory() as scratch:
        digests = Digests(out / WORK_NAME / DIGESTS_NAME)
        digests.path = Path(scratch) / DIGESTS_NAME  # nothing is written into the folder
        run = _Run.prepared(opened, digests, recipe, out, functions or {}, on_progress)
    counted = estimated(run.plan, run.first_of.values(), lambda clip: run.records(clip.digest))
    return CaptionEstimate(
        num_clips=len(run.clip_set.clips),
        num_unreadable=sum(bool(clip.reason) for clip in run.clip_set.clips),
        spent_dollars=run.spent().dollars,
        **counted,
    )


def _checked_out(dataset: str | Path, out: str | Path | None) -> Path:
    """Return the folder for results. Raises ValueError if it is that of a curation, whose files have the same names."""
    if out is None:
        return captions_folder_of(dataset)
    if (Path(out) / TABLES_NAME / "clips.parquet").exists():
        raise ValueError(
            f"out: {out}: expected a folder of its own, got that of a curation; for example {out}/captions"
        )
    return Path(out)


@dataclass(frozen=True, kw_only=True)
class _Spent:
    num_input_tokens: int
    num_output_tokens: int
    dollars: float
    is_estimated: bool

    def tiles(self) -> tuple[tuple[str, str, str], ...]:
        """Return what the report shows of it."""
        about = "counted here, because a server does not say" if self.is_estimated else ""
        tokens = f"{self.num_input_tokens:,} / {self.num_output_tokens:,}"
        cost = (("dollars", f"{self.dollars:,.2f}", "of all runs in this folder"),) if self.dollars else ()
        return (("tokens read / written", tokens, about), *cost)


@dataclass(kw_only=True)
class _Run:
    """One run over a dataset."""

    out: Path
    recipe: CaptionRecipe
    plan: CaptionPlan
    opener: BackendOpener
    clip_set: ClipSet
    log: AnswerLog
    on_progress: OnProgress
    _bucket: str = ""
    _records: Records = dataclasses.field(default_factory=dict)
    _known_keys: set[str] = dataclasses.field(default_factory=set)
    """Of all answers that were read."""

    @classmethod
    def prepared(
        cls,
        opened: OpenedDataset,
        digests: Digests,
        recipe: CaptionRecipe,
        out: Path,
        functions: Mapping[str, Function],
        on_progress: OnProgress,
    ) -> "_Run":
        unknown = set(functions) - {backend.name for backend in recipe.backends}
        if unknown:
            raise ValueError(f"functions: expected names of backends of the recipe, got {', '.join(sorted(unknown))}")
        opener = BackendOpener(recipe=recipe, functions=functions, folder=os.getcwd())
        plan = CaptionPlan.of(recipe, model_identities(recipe, functions))
        for name in dict.fromkeys(plan.backend(stage).name for stage in plan.keys):
            opener.check(name)
        if recipe.summary is not None and recipe.check.figures and recipe.check.match_model:
            check_matcher(Path(recipe.check.match_model).expanduser())
        clip_set = read_clip_set(opened, digests, on_progress=partial(on_progress, "reading"))
        return cls(
            out=out,
            recipe=recipe,
            plan=plan,
            opener=opener,
            clip_set=clip_set,
            log=AnswerLog(out / WORK_NAME / ANSWERS_NAME),
            on_progress=on_progress,
        )

    @property
    def first_of(self) -> dict[ContentKey, CaptionClip]:
        """Return one clip of each content, in the order of contents."""
        found: dict[ContentKey, CaptionClip] = {}
        for clip in self.clip_set.clips:
            if not clip.reason:
                found.setdefault(clip.content_key, clip)
        return dict(sorted(found.items()))

    def records(self, digest: str) -> Records:
        """Return what is known of a clip; fast if clips are asked for in the order of their digests."""
        bucket = bucket_of(digest)
        if bucket != self._bucket:
            self._bucket, self._records = bucket, self.log.read(bucket)
            self._known_keys |= {record.key for record in self._records.values() if not record.error}
        return self._records

    def spent(self) -> _Spent:
        """Return what all runs have spent."""
        records = [record for bucket in self.log.buckets() for record in self.log.all_of(bucket)]
        return _Spent(
            num_input_tokens=sum(record.num_input_tokens for record in records),
            num_output_tokens=sum(record.num_output_tokens for record in records),
            # In one order, so that the sum is the same to the last digit.
            dollars=sum(sorted(record.dollars for record in records)),
            is_estimated=any(record.is_estimated for record in records),
        )

    def replayed(
        self, failures: Mapping[ContentKey, Failures], otherwise: str
    ) -> tuple[dict[ContentKey, ClipCaptions], int]:
        """Return what the log says of each content, and the number of its answers that are used."""
        found: dict[ContentKey, ClipCaptions] = {}
        num_found = 0
        for key, clip in self.first_of.items():
            asker = LogAsker(clip, self.records(clip.digest), failures.get(key, {}), otherwise)
            found[key] = caption_clip(clip, self.plan, asker)
            num_found += asker.num_found
        self._bucket = ""
        return found, num_found

    def finished(
        self, engine: EngineName, ray_address: str | None, retries_failed: bool, started_at_s: float
    ) -> CaptionResult:
        captions, num_reused = self.replayed({}, NOT_ASKED)
        first_of = self.first_of
        todo = [
            first_of[key]
            for key, found in captions.items()
            if found.is_missing or self.plan.again(found, retries_failed=retries_failed)
        ]
        asked = Asked()
        interrupt: KeyboardInterrupt | None = None
        try:
            if todo:
                self._ask(todo, engine, ray_address, retries_failed, asked)
        except KeyboardInterrupt as error:
            interrupt = error
            asked.stop = Stop(kind="interrupted", message="not asked: the run was interrupted")
        otherwise = asked.stop.message if asked.stop is not None else NOT_ASKED
        captions, _ = self.replayed(asked.failures, otherwise)
        found = [(clip, captions.get(clip.content_key) or self._unreadable(clip)) for clip in self.clip_set.clips]
        exported = self._write(found)
        work = self.out / WORK_NAME
        spent = self.spent()
        stopped = asked.stop.message if asked.stop is not None else ""
        if interrupt is not None:
            self._report(found, [], spent, stopped, "the captions are not checked: the run was interrupted")
            raise interrupt
        checks, check_problem = write_checks(self.out, found, self.recipe, AnswerLog(work / CHECKS_NAME))
        given = Applied(num_changed=0)
        if self.recipe.gives_captions:
            given = apply_captions(self.clip_set, found, work / "written.json")
        self._report(found, checks, spent, stopped, check_problem)
        asked.raise_if_hopeless({backend.kind for backend in self.recipe.backends}, has_answers=num_reused > 0)
        rows = [row for _, clip_captions in found for row in clip_captions.rows]
        return CaptionResult(
            folder=self.out,
            num_clips=len(found),
            num_unreadable=sum(bool(clip.reason) for clip, _ in found),
            num_shorts=sum(bool(one.short and one.short.text) for _, one in found),
            num_frames=sum(bool(frame.caption.text) for _, one in found for frame in one.frames),
            num_summaries=sum(bool(one.summary and one.summary.text) for _, one in found),
            num_failed=sum(bool(row.error) for row in rows),
            num_asked=asked.num_asked,
            num_reused=num_reused,
            num_train=exported.num_train,
            num_val=exported.num_val,
            seconds=time.monotonic() - started_at_s,
            stopped=stopped,
            check_problem=check_problem,
            num_no_use=sum(bool(row.error) for clip, one in found if not clip.reason for *_, row in one.answered),
            usual_failure=usual_failure(one for clip, one in found if not clip.reason),
            num_given=given.num_changed,
            num_own_texts=given.num_own_texts,
            **dataclasses.asdict(spent),
        )

    def _unreadable(self, clip: CaptionClip) -> ClipCaptions:
        return caption_clip(clip, self.plan, LogAsker(clip, {}, {}))

    def _ask(
        self,
        clips: Sequence[CaptionClip],
        engine: EngineName,
        ray_address: str | None,
        retries_failed: bool,
        asked: Asked,
    ) -> None:
        max_dollars = None
        if self.recipe.max_dollars:
            max_dollars = max(self.recipe.max_dollars - self.spent().dollars, 0.0)
        setup = CaptionSetup(
            plan=self.plan,
            opener=self.opener,
            log_folder=str(self.log.folder.absolute()),
            max_dollars=max_dollars,
            retries_failed=retries_failed,
            answered=frozenset(
                self.plan.backend(stage).name for stage, key in self.plan.keys.items() if key in self._known_keys
            ),
        )
        progress = partial(self.on_progress, "captioning")
        if engine == "inline":
            num_done = 0

            def on_clip() -> None:
                nonlocal num_done
                num_done += 1
                progress(num_done, len(clips))

            make = partial(CaptionWorker, setup, on_clip=on_clip)
            answers = run_inline(make, [CaptionTask(clips=tuple(clips))], lambda *_: None)
        else:
            backends = [self.plan.backend(stage) for stage in self.plan.keys]
            for backend in backends:
                self.opener.open(backend.name).release()  # what cannot be right is said here, not by a far worker
            limits = [backend.num_at_once for backend in backends if backend.kind in ("endpoint", "function")]
            answers = run_ray(
                partial(CaptionWorker, setup),
                tasks_of(clips),
                progress,
                address=None if ray_address == "local" else ray_address,
                max_workers=min(limits) if limits else None,
                num_gpus=int(any(backend.device.startswith("cuda") for backend in backends)),
            )
        try:
            for answer in answers:
                asked.take(answer)
                if asked.stop is not None:
                    break
        finally:
            answers.close()

    def _report(
        self,
        found: Sequence[tuple[CaptionClip, ClipCaptions]],
        checks: Sequence[Mapping[str, Any]],
        spent: _Spent,
        *notes: str,
    ) -> None:
        report = ReportInput(
            found=found,
            checks=checks,
            settings=resolved_json(self.recipe),
            costs=spent.tiles(),
            notes=tuple(note for note in notes if note),
        )
        write_report(self.out, self.out / WORK_NAME / "report.txt", report)

    def _write(self, found: Sequence[tuple[CaptionClip, ClipCaptions]]) -> ExportCounts:
        """Write all results."""
        write_captions(self.out, [(clip.clip_id, clip.digest, captions) for clip, captions in found])
        write_atomically(self.out / RECIPE_NAME, resolved_json(self.recipe))
        if self.recipe.summary is None:
            return ExportCounts()
        teacher = self.recipe.backend(self.recipe.summary.backend)
        source = f"{teacher.kind} {teacher.model or teacher.function or teacher.name}"
        return export_training(self.out, found, self.recipe, dataset=self.clip_set.folder, source=source)
