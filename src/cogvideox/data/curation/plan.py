"""What a curation will do: its operators in order, each with the key that its results are known by."""

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogvideox.data.curation import (
    aesthetic,
    composition,
    copies,
    cues,
    faces,
    filters,
    motion,
    quality,
    shots,
    text,
    video_filters,
)
from cogvideox.data.curation.operators import Column, ColumnOperator, Operator, RowOperator
from cogvideox.data.curation.policy import Rule
from cogvideox.data.curation.recipe import CurationRecipe, OperatorName
from cogvideox.data.curation.store import Types, operator_key

OPERATORS: dict[OperatorName, Callable[[CurationRecipe], Operator]] = {
    "motion": lambda recipe: motion.MotionOperator(recipe.motion),
    "quality": lambda _: quality.QualityOperator(),
    "faces": lambda _: faces.FaceOperator(),
    "text": lambda _: text.TextOperator(),
    "cues": lambda _: cues.CuesOperator(),
    "composition": lambda _: composition.CompositionOperator(),
    "aesthetic": lambda recipe: aesthetic.AestheticOperator(recipe.aesthetic),
    "video_filters": lambda recipe: video_filters.VideoFilterOperator(recipe.video_filters),
}
COLUMN_OPERATORS: dict[OperatorName, Callable[[CurationRecipe], ColumnOperator]] = {
    "filters": lambda recipe: filters.FilterOperator(recipe.filters),
}

DECODING_VERSION = 2
PREVIEW_VERSION = 1
CLIP_FILE_VERSION = 2

DECODING_TYPES: Types = {
    "sha256": "string",
    "status": "string",
    "reason": "string",
    "container": "string",
    "codec": "string",
    "nominal_fps": "float64",
    "promised_frames": "int64",
    "num_frames": "int64",
    "duration_s": "float64",
    "height_px": "int64",
    "width_px": "int64",
    "num_errors": "int64",
}
CLIP_TYPES: Types = {
    "clip_id": "string",
    "sha256": "string",
    "start_frame": "int64",
    "end_frame": "int64",
    "start_s": "float64",
    "end_s": "float64",
    "start_pts": "int64",
    "num_frames": "int64",
    "fps": "float64",
    "height_px": "int64",
    "width_px": "int64",
    "starts": "string",
    "ends": "string",
}
PREVIEW_TYPES: Types = {"clip_id": "string", "number": "int64", "jpeg": "binary"}


def operator_types(columns: tuple[Column, ...]) -> Types:
    """Return the columns of an operator's table."""
    return {"clip_id": "string"} | {column.name: "float64" for column in columns} | {"error": "string"}


@dataclass(frozen=True, kw_only=True)
class PlannedOperator:
    """An operator and what its results are known by."""

    key: str
    operator: Operator

    @property
    def name(self) -> str:
        """The operator's."""
        return self.operator.name


@dataclass(frozen=True, kw_only=True)
class PlannedColumnOperator:
    """An operator on columns, what its results are known by, and the operators whose columns it needs."""

    key: str
    operator: ColumnOperator
    needs: tuple[PlannedOperator, ...]

    @property
    def name(self) -> str:
        """The operator's."""
        return self.operator.name


@dataclass(frozen=True, kw_only=True)
class PlannedRowOperator:
    """An operator that gives rows, and what they are known by."""

    key: str
    operator: RowOperator


@dataclass(frozen=True, kw_only=True)
class CurationPlan:
    """All computations of a recipe: decoding, shots, operators on clips, previews, clip files."""

    recipe: CurationRecipe
    decoding_key: str
    shots_key: str
    shots: shots.ShotDetector
    operators: tuple[PlannedOperator, ...]
    """Those that see frames."""
    column_operators: tuple[PlannedColumnOperator, ...]
    row_operators: tuple[PlannedRowOperator, ...]
    """What copies are sought by."""
    previews_key: str
    clip_files_key: str

    @classmethod
    def of(cls, recipe: CurationRecipe) -> "CurationPlan":
        """Plan a recipe.

        Raises:
            MissingPackageError: an operator's library or weights are not installed.
            ValueError: an operator cannot work with its settings, or the policy asks for a column that none gives.
        """
        limits = recipe.decoding
        read = {"max_duration_s": limits.max_duration_s, "max_frames": limits.max_frames}
        decoding_key = operator_key("decoding", DECODING_VERSION, read, ())
        detector = shots.ShotDetector(recipe.shots)
        shots_key = operator_key(
            detector.name, detector.version, dataclasses.asdict(recipe.shots), detector.weights(), decoding_key
        )
        planned: list[PlannedOperator] = []
        for name in recipe.operators:
            if name in OPERATORS:
                operator = OPERATORS[name](recipe)
                key = _operator_key(recipe, name, operator, shots_key)
                planned.append(PlannedOperator(key=key, operator=operator))
        on_columns: list[PlannedColumnOperator] = []
        for name in recipe.operators:
            if name in COLUMN_OPERATORS:
                judge = COLUMN_OPERATORS[name](recipe)
                needs = _needs(judge, planned)
                key = _operator_key(recipe, name, judge, *(each.key for each in needs))
                on_columns.append(PlannedColumnOperator(key=key, operator=judge, needs=needs))
        previews = dataclasses.asdict(recipe.previews)
        clip_files = dataclasses.asdict(recipe.clips)
        plan = cls(
            recipe=recipe,
            decoding_key=decoding_key,
            shots_key=shots_key,
            shots=detector,
            operators=tuple(planned),
            column_operators=tuple(on_columns),
            row_operators=_row_operators(recipe, shots_key) if copies.DUPLICATES_NAME in recipe.operators else (),
            previews_key=operator_key("previews", PREVIEW_VERSION, previews, (), shots_key),
            clip_files_key=operator_key("clip-files", CLIP_FILE_VERSION, clip_files, (), shots_key),
        )
        for column in recipe.policy.columns:
            if column not in plan.columns:
                nearest = difflib.get_close_matches(column, plan.columns, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(plan.columns)}"
                raise ValueError(f"policy.rules: expected a column that the operators measure, got {column!r}; {hint}")
        return plan

    @property
    def all_operators(self) -> tuple[PlannedOperator | PlannedColumnOperator, ...]:
        """Those that see frames, then those on columns."""
        return (*self.operators, *self.column_operators)

    @property
    def columns(self) -> dict[str, Column]:
        """All measured columns by ``<operator>.<name>``."""
        measured = {
            f"{planned.name}.{column.name}": column
            for planned in self.all_operators
            for column in planned.operator.columns
        }
        if self.row_operators:
            measured |= {f"{copies.DUPLICATES_NAME}.{column.name}": column for column in copies.COLUMNS}
        return measured

    def describe(self) -> str:
        """Return the plan for a person to read."""
        lines = [f"inputs      {', '.join(self.recipe.inputs)}", "one decoding pass per file, in a limited process:"]
        lines += [f"  {'shots':10s}{self.shots_key}   from every frame at 48x27"]
        for planned in self.operators:
            views = ", ".join(sorted(planned.operator.views))
            names = ", ".join(column.name for column in planned.operator.columns)
            lines += [f"  {planned.name:10s}{planned.key}   from {views}", f"            {names}"]
        lines += [f"  {'previews':10s}{self.previews_key}"]
        for planned in self.column_operators:
            above = ", ".join(each.name for each in planned.needs)
            names = ", ".join(column.name for column in planned.operator.columns)
            lines += [f"  {planned.name:10s}{planned.key}   from what {above} measured", f"            {names}"]
        for planned in self.row_operators:
            views = ", ".join(sorted(planned.operator.views))
            lines += [f"  {planned.operator.name:10s} {planned.key}   from {views}, to find copies"]
        lines += ["policy, over all clips (a clip is kept if some step of the training keeps it):"]
        lines += [f"  {_rule_text(rule)}" for rule in self.recipe.policy.rules] or ["  no rules: all are kept"]
        clips = self.recipe.clips
        size = f"short side at most {clips.max_short_side_px} px" if clips.max_short_side_px else "their own size"
        lines += [f"kept clips  {self.clip_files_key}: H.264, crf {clips.crf}, {clips.preset}, {size}"]
        lines += [f"shards      tar files of {self.recipe.max_shard_mib} MiB with index.parquet and policy.toml"]
        return "\n".join(lines)


def _operator_key(recipe: CurationRecipe, name: OperatorName, operator: Operator | ColumnOperator, *above: str) -> str:
    settings = dataclasses.asdict(getattr(recipe, name)) if hasattr(recipe, name) else {}
    # Weights are known by their content, wherever they lie.
    settings = {field: value for field, value in settings.items() if not isinstance(value, Path)}
    return operator_key(name, operator.version, settings, operator.weights(), *above)


def _row_operators(recipe: CurationRecipe, shots_key: str) -> tuple[PlannedRowOperator, ...]:
    settings = recipe.duplicates
    made: list[tuple[RowOperator, dict[str, Any]]] = [
        (copies.FingerprintMaker(settings.fingerprints), dataclasses.asdict(settings.fingerprints))
    ]
    if settings.clip is not None:
        vectors = copies.VectorMaker(settings.clip, settings.num_frames, settings.device)
        made.append((vectors, {"num_frames": settings.num_frames}))
    return tuple(
        PlannedRowOperator(
            key=operator_key(operator.name, operator.version, values, operator.weights(), shots_key), operator=operator
        )
        for operator, values in made
    )


def _needs(operator: ColumnOperator, planned: Sequence[PlannedOperator]) -> tuple[PlannedOperator, ...]:
    """Return the operators that measure an operator's inputs."""
    known = {f"{each.name}.{column.name}" for each in planned for column in each.operator.columns}
    unknown = [name for name in operator.inputs if name not in known]
    if unknown:
        raise ValueError(
            f"operators: {operator.name} judges by {unknown[0]!r}, which none of the others measures; "
            f"add its operator, or leave {operator.name!r} out"
        )
    wanted = {name.partition(".")[0] for name in operator.inputs}
    needs = tuple(each for each in planned if each.name in wanted)
    for each in needs:
        version = operator.input_versions.get(each.name, each.operator.version)
        if version != each.operator.version:
            raise ValueError(
                f"operators: {operator.name} was made for version {version} of {each.name!r}, and this is version "
                f"{each.operator.version}; make it anew, or leave {operator.name!r} out"
            )
    return needs


def _rule_text(rule: Rule) -> str:
    kind = "" if rule.is_resolved else ", a quantile"
    moves = "".join(f", then {waypoint.bound:g} at step {waypoint.step}" for waypoint in rule.then)
    return f"{rule.column} {'at least' if rule.side == 'min' else 'at most'} {rule.bound_at(0):g}{kind}{moves}"
