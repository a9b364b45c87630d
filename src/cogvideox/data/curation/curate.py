"""The whole way from raw videos to a training set, and every step of it done only once."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.chat.caption_style import read_style, write_style
from cogvideox.component_files import write_atomically
from cogvideox.data.clip_index import INDEX_NAME, generated_captions, replace_captions, write_shards
from cogvideox.data.curation.analysis import missing_parts
from cogvideox.data.curation.copies import (
    COLUMNS,
    CONTAMINATION_COLUMN,
    DUPLICATES_NAME,
    TABLE_TYPES,
    EvaluationItem,
    find_copies,
)
from cogvideox.data.curation.copy_search import MeasuredRows, alike_among, contamination_of, copies_among
from cogvideox.data.curation.curation_report import write_curation_report
from cogvideox.data.curation.engine import EngineName, Task, Worker, run_inline, run_ray
from cogvideox.data.curation.plan import CurationPlan
from cogvideox.data.curation.policy import POLICY_NAME, ClipScores, Policy, policy_toml, write_policy
from cogvideox.data.curation.recipe import CurationRecipe, PreviewSettings
from cogvideox.data.curation.sources import Digests, Source, find_sources
from cogvideox.data.curation.store import Store, operator_key, write_table
from cogvideox.data.curation.tables import (
    DECISION_TYPES,
    TABLES_NAME,
    ClipColumns,
    Curation,
    gather,
    read_part,
    write_sources,
)
from cogvideox.durable_files import locked, newer_folder, recover_folder, replace_folder
from cogvideox.settings import resolved_json

logger = logging.getLogger(__name__)

WORK_NAME, DATASET_NAME, REPORT_NAME, RECIPE_NAME = "work", "dataset", "report.html", "recipe.json"
CONTENT_NAME = "content.txt"
"""In the training set: what it was made of, so that it is not written again when that has not changed."""
CAPTIONED_SHARE = 0.9
"""Of a source that a clip must be for the source's caption to be its own."""

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class CurationResult:
    """What a curation came to."""

    folder: Path
    num_sources: int
    num_rejected: int
    """Files that are no videos, or give no frame."""
    num_damaged: int
    """Files of which a part could be used."""
    num_computed: int
    """Sources on which something was computed now; the others were known."""
    num_clips: int
    num_kept: int
    clips_s: float
    kept_s: float
    num_failed: int
    """Kept clips that could not be written."""
    num_errors: int
    """Measurements that failed, of a clip (the tables say how) or a piece of an evaluation video (a warning does)."""


def curate(
    recipe: CurationRecipe,
    out: str | Path,
    *,
    engine: EngineName = "ray",
    ray_address: str | None = None,
    retries_failed: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> CurationResult:
    """Find, cut, measure and choose clips, and write a training set and a report of them.

    What was computed before, for the same content and settings, is used again, whatever the files are called now. A run
    that was stopped at any moment goes on where it was.

    Args:
        recipe: what to do.
        out: folder for tables, training set and report, and for the work (``work/``), which may be deleted.
        engine: Ray Data, or this process alone; both give the same bytes.
        ray_address: of a cluster whose machines all see the inputs and ``out`` under these names.
        retries_failed: look again at files that could not be decoded, and measure again what failed.
        on_progress: called with the name of the part, what is done of it, and all.

    Raises:
        MissingPackageError: a library or weights are not installed.
        ValueError: an input does not exist, the recipe cannot be carried out, or another process works in the folder.
        OSError: the folder cannot be written.
    """
    plan = CurationPlan.of(recipe)
    out = Path(out)
    store = Store(out / WORK_NAME)
    store.folder.mkdir(parents=True, exist_ok=True)
    with locked(store.folder, f"another process curates in {out}: wait for it or choose another folder"):
        return _curate(plan, out, store, engine, ray_address, retries_failed, on_progress)


def _curate(
    plan: CurationPlan,
    out: Path,
    store: Store,
    engine: EngineName,
    ray_address: str | None,
    retries_failed: bool,
    on_progress: OnProgress,
) -> CurationResult:
    recipe = plan.recipe
    sources = find_sources(
        recipe.inputs,
        Digests(store.folder / "digests.json"),
        left_out=out,
        max_file_gib=recipe.decoding.max_file_gib,
        on_progress=lambda *done: on_progress("reading", *done),
    )
    first_of = _first_of(sources)
    has_evaluation = bool(plan.row_operators and recipe.duplicates.evaluation)
    evaluation = _Evaluation.of(recipe, store, out) if has_evaluation else None
    if retries_failed:
        _forget_failed(plan, store, list(first_of))
        if evaluation is not None:
            _forget_failed(evaluation.plan, store, list(evaluation.first_of))
    tasks = [_task(source) for digest, source in first_of.items() if missing_parts(plan, store, digest)]
    gone = _run(plan, store, tasks, engine, ray_address, lambda *done: on_progress("measuring", *done))
    sources = [_unread(source, gone) for source in sources]
    paths = {digest: source for digest, source in first_of.items() if digest not in gone}

    # It says that all the others are there, so it goes first and comes last.
    (out / TABLES_NAME / "decisions.parquet").unlink(missing_ok=True)
    clips = gather(plan, store, list(paths), out / TABLES_NAME)
    if plan.row_operators:
        run = partial(_run, engine=engine, ray_address=ray_address)
        judged = evaluation and evaluation.measured(store, run, on_progress)
        table_path = out / TABLES_NAME / f"{DUPLICATES_NAME}.parquet"
        clips = _with_copies(plan, store, clips, list(paths), table_path, judged)
    policy = recipe.policy.resolve(clips.scores)
    write_policy(out / POLICY_NAME, policy)
    is_kept = policy.ever_keeps(clips.scores)
    to_write = _clips_to_write(plan, store, clips, is_kept, paths)
    failed = _run(plan, store, to_write, engine, ray_address, lambda *done: on_progress("writing clips", *done))
    decisions = decide(clips, policy, is_kept, failed)
    source_rows = write_sources(plan, store, sources, clips, out / TABLES_NAME / "sources.parquet")
    _write_dataset(out / DATASET_NAME, plan, store, clips, policy, decisions, sources, source_rows)
    write_atomically(out / RECIPE_NAME, resolved_json(recipe))
    curation = Curation(sources=source_rows, clips=clips, decisions=decisions, policy=policy)
    write_curation_report(out / REPORT_NAME, curation, plan, store)
    write_table(out / TABLES_NAME / "decisions.parquet", decisions, DECISION_TYPES)
    kept = np.array([row["is_kept"] for row in decisions], bool)
    return CurationResult(
        folder=out,
        num_sources=len(sources),
        num_rejected=sum(row["status"] == "rejected" for row in source_rows),
        num_damaged=sum(row["status"] == "damaged" for row in source_rows),
        num_computed=len(tasks),
        num_clips=len(clips.rows),
        num_kept=int(kept.sum()),
        clips_s=float(clips.scores.durations_s.sum()),
        kept_s=float(clips.scores.durations_s[kept].sum()),
        num_failed=len(failed),
        num_errors=clips.num_errors,
    )


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """Videos that must not be trained on, and how they are looked at."""

    plan: CurationPlan
    sources: list[Source]
    first_of: dict[str, Source]

    @classmethod
    def of(cls, recipe: CurationRecipe, store: Store, out: Path) -> "_Evaluation":
        settings = recipe.duplicates
        plan = CurationPlan.of(
            dataclasses.replace(
                recipe,
                inputs=settings.evaluation,
                operators=(DUPLICATES_NAME,),
                shots=dataclasses.replace(recipe.shots, min_duration_s=0.0),
                duplicates=dataclasses.replace(settings, evaluation=(), clip=None),
                previews=PreviewSettings(num_pictures=0),
                policy=Policy(),
            )
        )
        digests = Digests(store.folder / "digests.json")
        limits = {"left_out": out, "max_file_gib": recipe.decoding.max_file_gib}
        try:
            sources = find_sources(settings.evaluation, digests, **limits)
        except ValueError as error:
            raise ValueError(f"duplicates.evaluation: {str(error).removeprefix('inputs: ')}") from None
        return cls(plan=plan, sources=sources, first_of=_first_of(sources))

    def measured(
        self, store: Store, run: Callable[..., dict[str, str]], on_progress: OnProgress
    ) -> tuple[MeasuredRows, dict[str, EvaluationItem]]:
        """Measure what is missing; return the fingerprints of the videos, and what each of their pieces is."""
        plan, first_of = self.plan, self.first_of
        tasks = [_task(source) for digest, source in first_of.items() if missing_parts(plan, store, digest)]
        gone = run(plan, store, tasks, on_progress=lambda *done: on_progress("measuring evaluation videos", *done))
        digests = [digest for digest in first_of if digest not in gone]
        pieces = {digest: store.read(plan.shots_key, digest) for digest in digests}
        items = {
            row["clip_id"]: EvaluationItem(name=first_of[digest].name, start_s=row["start_s"])
            for digest, rows in pieces.items()
            for row in rows
        }
        unread = [source.name for source in self.sources if not source.digest or source.digest in gone]
        unread += [first_of[digest].name for digest, rows in pieces.items() if not rows]
        if unread:
            logger.warning("%d evaluation videos give no frames, the first: %s", len(unread), unread[0])
        measured = MeasuredRows(store, plan.row_operators[0], digests, items)
        for clip_id, error in sorted(measured.failed.items())[:1]:
            number, name = len(measured.failed), items[clip_id].name
            logger.warning("%d pieces of evaluation videos failed, the first of %s: %s", number, name, error)
        return measured, items


def _with_copies(
    plan: CurationPlan,
    store: Store,
    clips: ClipColumns,
    digests: Sequence[str],
    table_path: Path,
    evaluation: tuple[MeasuredRows, dict[str, EvaluationItem]] | None,
) -> ClipColumns:
    """Look for copies and for what evaluation videos show; write their table and return its columns with the others."""
    settings, ids = plan.recipe.duplicates, clips.scores.clip_ids
    measured = [MeasuredRows(store, planned, digests, ids) for planned in plan.row_operators]
    searches = [copies_among(store, measured[0], settings.matching)]
    searches += [alike_among(store, vectors, settings) for vectors in measured[1:]]
    contaminated = contamination_of(store, measured[0], evaluation[0], settings.matching) if evaluation else []
    seconds = {row.clip_id: row.matched_s for row in contaminated}
    scores = _with_values(clips.scores, {CONTAMINATION_COLUMN: [seconds.get(clip_id, 0.0) for clip_id in ids]})
    # A copy that the rules drop anyway must not cost the one that they would keep.
    own = {f"{DUPLICATES_NAME}.{column.name}" for column in COLUMNS} - {CONTAMINATION_COLUMN}
    others = Policy(rules=tuple(rule for rule in plan.recipe.policy.rules if rule.column not in own))
    is_wanted = others.resolve(scores).ever_keeps(scores)
    copies = find_copies(clips.rows, scores.values, is_wanted, searches, contaminated)
    for search in searches:
        search.save()
    failed = {
        clip_id: "; ".join(rows.failed[clip_id] for rows in measured if clip_id in rows.failed)
        for clip_id in {clip_id for rows in measured for clip_id in rows.failed}
    }
    rows = copies.table(ids, evaluation[1] if evaluation else {}, failed)
    write_table(table_path, rows, TABLE_TYPES)
    values = {f"{DUPLICATES_NAME}.{each.name}": [row[each.name] for row in rows] for each in COLUMNS}
    num_failed = sum(len(found.failed) for found in (*measured, *(evaluation[:1] if evaluation else ())))
    scores = _with_values(clips.scores, values)
    return dataclasses.replace(clips, scores=scores, num_errors=clips.num_errors + num_failed)


def _with_values(scores: ClipScores, values: Mapping[str, list[float]]) -> ClipScores:
    arrays = {name: np.array(column, np.float64) for name, column in values.items()}
    return dataclasses.replace(scores, values={**scores.values, **arrays})


def _first_of(sources: Sequence[Source]) -> dict[str, Source]:
    """Return one file of each content."""
    found: dict[str, Source] = {}
    for source in sources:
        if source.digest:
            found.setdefault(source.digest, source)
    return found


def _task(source: Source, clips: tuple[str, ...] = ()) -> Task:
    path = str(source.path.absolute())
    return Task(path=path, digest=source.digest, changed_ns=source.changed_ns, clips=clips)


def _unread(source: Source, gone: Mapping[str, str]) -> Source:
    """Return a source as one that cannot be read if it changed or went while it was measured."""
    reason = gone.get(source.digest, "") if source.digest else ""
    return dataclasses.replace(source, digest="", reason=reason) if reason else source


def _run(
    plan: CurationPlan,
    store: Store,
    tasks: Sequence[Task],
    engine: EngineName,
    ray_address: str | None,
    on_progress: Callable[[int, int], None],
) -> dict[str, str]:
    if not tasks:
        return {}
    make_worker = partial(Worker, plan, str(store.folder.absolute()))
    if engine == "inline":
        answers = run_inline(make_worker, tasks, on_progress)
    else:
        answers = run_ray(make_worker, tasks, on_progress, address=ray_address)
    failed: dict[str, str] = {}
    for answer in answers:
        failed |= answer
    return failed


def _forget_failed(plan: CurationPlan, store: Store, digests: Sequence[str]) -> None:
    """Forget files that could not be decoded whole, and measurements that failed."""
    measured = [planned.key for planned in (*plan.all_operators, *plan.row_operators)]
    for digest in digests:
        if store.has(plan.decoding_key, digest) and store.read(plan.decoding_key, digest)[0]["status"] != "ok":
            # They may be cut elsewhere now: what any recipe has measured of the old clips would stay for no clip.
            for folder in store.folder.iterdir():
                if folder.is_dir():
                    store.remove(folder.name, digest)
        for key in measured:
            if store.has(key, digest) and any(read_part(store, key, digest, {"error": "string"})["error"].to_pylist()):
                store.remove(key, digest)
        for planned in plan.column_operators:
            if not all(store.has(needed.key, digest) for needed in planned.needs):
                store.remove(planned.key, digest)


def _clips_to_write(
    plan: CurationPlan, store: Store, clips: ClipColumns, is_kept: NDArray[np.bool_], paths: Mapping[str, Source]
) -> list[Task]:
    """Return a task for every source with kept clips that are not yet files."""
    wanted: dict[str, list[str]] = {}
    for row, keeps in zip(clips.rows, is_kept, strict=True):
        if keeps and not store.path(plan.clip_files_key, row["clip_id"], ".mp4").exists():
            wanted.setdefault(row["sha256"], []).append(row["clip_id"])
    return [_task(paths[digest], tuple(ids)) for digest, ids in wanted.items()]


def decide(
    clips: ClipColumns, policy: Policy, is_kept: NDArray[np.bool_], failed: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return for every clip whether it is kept and, if not, the rule that drops it at step 0, or what went wrong."""
    first_failing = policy.drop_reasons(clips.scores, 0).first_failing
    rows: list[dict[str, Any]] = []
    for row, keeps, rule in zip(clips.rows, is_kept, first_failing, strict=True):
        clip_id = row["clip_id"]
        reason = "" if keeps else policy.rules[rule].name
        if clip_id in failed:
            keeps, reason = False, f"could not be written: {failed[clip_id]}"
        rows.append({"clip_id": clip_id, "is_kept": bool(keeps), "reason": reason})
    return rows


def _write_dataset(
    folder: Path,
    plan: CurationPlan,
    store: Store,
    clips: ClipColumns,
    policy: Policy,
    decisions: Sequence[Mapping[str, Any]],
    sources: Sequence[Source],
    source_rows: Sequence[Mapping[str, Any]],
) -> None:
    """Write the kept clips as a training set, in place of the one that is there, unless it is the same."""
    recover_folder(folder)
    lengths_s = {row["sha256"]: row["duration_s"] for row in source_rows}
    captions = _captions(clips, sources, lengths_s)
    values = clips.scores.values
    entries: list[tuple[str, Path, Sequence[str], Mapping[str, float]]] = []
    for index, (row, decision) in enumerate(zip(clips.rows, decisions, strict=True)):
        if decision["is_kept"]:
            scores = {name: float(values[name][index]) for name in values}
            path = store.path(plan.clip_files_key, row["clip_id"], ".mp4")
            entries.append((row["clip_id"], path, captions.get(row["clip_id"], ()), scores))
    described = [[clip_id, list(texts), scores] for clip_id, _, texts, scores in entries]
    content = operator_key("dataset", 1, {"clips": described, "policy": policy_toml(policy)}, (), plan.clip_files_key)
    content += f" {plan.recipe.max_shard_mib} MiB\n"
    if (folder / INDEX_NAME).is_file() and _read_text(folder / CONTENT_NAME) == content:
        return
    made = newer_folder(folder)
    made.mkdir(parents=True)
    if entries:
        write_shards(made, entries, max_shard_bytes=plan.recipe.max_shard_mib * 2**20)
        if (folder / INDEX_NAME).is_file():
            _keep_captions(folder, made)
    write_policy(made / POLICY_NAME, policy)
    (made / CONTENT_NAME).write_text(content)
    replace_folder(folder)


def _keep_captions(old: Path, new: Path) -> None:
    """Give the clips of a training set the captions that they were given in the one before."""
    replace_captions(new, generated_captions(old))
    if (style := read_style(old)) is not None:
        write_style(new, style)


def _captions(
    clips: ClipColumns, sources: Sequence[Source], lengths_s: Mapping[str, float]
) -> dict[str, tuple[str, ...]]:
    """Return the captions of clips that are nearly all of their source: those of longer ones describe more."""
    texts: dict[str, tuple[str, ...]] = {}
    for source in sources:
        if source.captions:
            texts.setdefault(source.digest, source.captions)
    return {
        row["clip_id"]: texts[row["sha256"]]
        for row in clips.rows
        if row["sha256"] in texts and row["end_s"] - row["start_s"] >= CAPTIONED_SHARE * lengths_s[row["sha256"]]
    }


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
