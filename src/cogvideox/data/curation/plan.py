"""What a curation will do: its operators in order, each with the key that its results are known by."""

import dataclasses
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cogvideox.data.curation import aesthetic, cues, faces, motion, quality, shots, text
from cogvideox.data.curation.operators import Column, Operator
from cogvideox.data.curation.policy import Rule
from cogvideox.data.curation.recipe import CurationRecipe, OperatorName
from cogvideox.data.curation.store import Types, operator_key

OPERATORS: dict[OperatorName, Callable[[CurationRecipe], Operator]] = {
    "motion": lambda recipe: motion.MotionOperator(recipe.motion),
    "quality": lambda _: quality.QualityOperator(),
    "faces": lambda _: faces.FaceOperator(),
    "text": lambda _: text.TextOperator(),
    "cues": lambda _: cues.CuesOperator(),
    "aesthetic": lambda recipe: aesthetic.AestheticOperator(recipe.aesthetic),
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
class CurationPlan:
    """All computations of a recipe: decoding, shots, operators on clips, previews, clip files."""

    recipe: CurationRecipe
    decoding_key: str
    shots_key: str
    shots: shots.ShotDetector
    operators: tuple[PlannedOperator, ...]
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
            operator = OPERATORS[name](recipe)
            settings = dataclasses.asdict(getattr(recipe, name)) if hasattr(recipe, name) else {}
            # Weights are known by their content, wherever they lie.
            settings = {field: value for field, value in settings.items() if not isinstance(value, Path)}
            key = operator_key(name, operator.version, settings, operator.weights(), shots_key)
            planned.append(PlannedOperator(key=key, operator=operator))
        previews = dataclasses.asdict(recipe.previews)
        clip_files = dataclasses.asdict(recipe.clips)
        plan = cls(
            recipe=recipe,
            decoding_key=decoding_key,
            shots_key=shots_key,
            shots=detector,
            operators=tuple(planned),
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
    def columns(self) -> dict[str, Column]:
        """All measured columns by ``<operator>.<name>``."""
        return {
            f"{planned.name}.{column.name}": column for planned in self.operators for column in planned.operator.columns
        }

    def describe(self) -> str:
        """Return the plan for a person to read."""
        lines = [f"inputs      {', '.join(self.recipe.inputs)}", "one decoding pass per file, in a limited process:"]
        lines += [f"  {'shots':10s}{self.shots_key}   from every frame at 48x27"]
        for planned in self.operators:
            views = ", ".join(sorted(planned.operator.views))
            names = ", ".join(column.name for column in planned.operator.columns)
            lines += [f"  {planned.name:10s}{planned.key}   from {views}", f"            {names}"]
        lines += [f"  {'previews':10s}{self.previews_key}"]
        lines += ["policy, over all clips (a clip is kept if some step of the training keeps it):"]
        lines += [f"  {_rule_text(rule)}" for rule in self.recipe.policy.rules] or ["  no rules: all are kept"]
        clips = self.recipe.clips
        size = f"short side at most {clips.max_short_side_px} px" if clips.max_short_side_px else "their own size"
        lines += [f"kept clips  {self.clip_files_key}: H.264, crf {clips.crf}, {clips.preset}, {size}"]
        lines += [f"shards      tar files of {self.recipe.max_shard_mib} MiB with index.parquet and policy.toml"]
        return "\n".join(lines)


def _rule_text(rule: Rule) -> str:
    kind = "" if rule.is_resolved else ", a quantile"
    moves = "".join(f", then {waypoint.bound:g} at step {waypoint.step}" for waypoint in rule.then)
    return f"{rule.column} {'at least' if rule.side == 'min' else 'at most'} {rule.bound_at(0):g}{kind}{moves}"
