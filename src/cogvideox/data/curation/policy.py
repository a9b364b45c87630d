"""Which clips a training run uses: bounds on measured columns, fixed, relative to the corpus, or moving with the steps.

A policy only marks clips; it is applied when they are sampled, so a threshold is changed without measuring anew. In a
file::

    [[policy.rules]]
    column = "motion.object_speed"
    min = 0.6

    [[policy.rules]]
    column = "aesthetic.score"
    min_quantile = 0.1                            # of the clips that have a score the lowest tenth goes
    then = [{ step = 20000, bound = 0.4 }]        # and more and more until step 20,000

Axes: N clips.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.component_files import write_atomically
from cogvideox.settings import build_dataclass

Side = Literal["min", "max"]
Missing = Literal["drop", "keep"]

POLICY_NAME = "policy.toml"
"""Of a training set, beside its index."""
BOUNDS = ("min", "max", "min_quantile", "max_quantile")
QUANTILE_STEP = 0.01
"""A quantile that moves becomes values at every percent of it; between them the value moves in a straight line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipScores:
    """What was measured of a corpus, column by column."""

    clip_ids: tuple[str, ...]
    durations_s: NDArray[np.float64]
    """(N,)"""
    values: Mapping[str, NDArray[np.float64]]
    """(N,) by ``<operator>.<column>``; NaN says that it could not be measured on this clip."""

    def __post_init__(self) -> None:
        shape = (len(self.clip_ids),)
        for name, array in [("durations_s", self.durations_s), *self.values.items()]:
            if array.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, one value for every clip, got {array.shape}")
            if np.isinf(array).any():
                raise ValueError(f"{name}: expected finite values or NaN, got infinity")

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the (N,) values of ``<operator>.<column>``. Raises ValueError if there are none of this name."""
        if name not in self.values:
            nearest = difflib.get_close_matches(name, self.values, n=1)
            hint = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ValueError(f"column {name!r}: not measured; {hint}known: {', '.join(sorted(self.values)) or 'none'}")
        return self.values[name]


@dataclass(frozen=True, kw_only=True)
class Waypoint:
    """Where a bound that moves has got to at a step of the training."""

    step: int
    bound: float
    """A value or a quantile, as the rule's own."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A bound on one column; a clip on the bound passes."""

    column: str
    """``<operator>.<column>``."""
    min: float | None = None
    """Exactly one of these four is given; it holds from step 0."""
    max: float | None = None
    min_quantile: float | None = None
    """0 to 1, of the values of all clips that have one, before any rule: 0.1 drops the lowest tenth."""
    max_quantile: float | None = None
    """0.9 drops the highest tenth."""
    then: tuple[Waypoint, ...] = ()
    """The bound goes in a straight line to each of these, and stays at the last. Steps rise."""
    missing: Missing = "drop"
    """What happens to a clip without a value."""
    label: str = ""
    """A name for people."""

    def __post_init__(self) -> None:
        given = [name for name in BOUNDS if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise ValueError(f"rule on {self.column!r}: expected exactly one of {', '.join(BOUNDS)}, got {got}")
        steps = [0, *(waypoint.step for waypoint in self.then)]
        if any(after <= before for before, after in pairwise(steps)):
            raise ValueError(f"then: expected rising steps after 0, got {steps[1:]}")
        for bound in (self._start, *(waypoint.bound for waypoint in self.then)):
            if not self.is_resolved and not 0 <= bound <= 1:
                raise ValueError(f"{given[0]}: expected 0 to 1, got {bound}")
            if math.isnan(bound) or (self.then and math.isinf(bound)):
                raise ValueError(f"{given[0]}: expected a number, got {bound}")

    @property
    def side(self) -> Side:
        """Whether values must not be below ("min") or above ("max") the bound."""
        return "max" if self.min is None and self.min_quantile is None else "min"

    @property
    def is_resolved(self) -> bool:
        """Whether the bound is a value and not a quantile."""
        return self.min_quantile is None and self.max_quantile is None

    @property
    def name(self) -> str:
        """The label, or else column and side."""
        return self.label or f"{self.column} {self.side}"

    @property
    def _start(self) -> float:
        return next(bound for name in BOUNDS if (bound := getattr(self, name)) is not None)

    def bounds_at(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the bound at each of these steps, in their shape."""
        at = [0, *(waypoint.step for waypoint in self.then)]
        return np.interp(steps, at, [self._start, *(waypoint.bound for waypoint in self.then)])

    def bound_at(self, step: int) -> float:
        """Return the bound at a step: a value, or a quantile if the rule is not resolved."""
        return float(self.bounds_at(np.asarray(step)))

    def passes(self, values: NDArray[np.float64], steps: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """Return which of these (N,) values pass, at one step or each at its own. Raises ValueError if not resolved."""
        if not self.is_resolved:
            raise ValueError(f"rule on {self.column!r}: its quantile needs a corpus; call Policy.resolve first")
        bounds = self.bounds_at(np.asarray(steps))
        within = values >= bounds if self.side == "min" else values <= bounds
        return within | np.isnan(values) if self.missing == "keep" else within

    def resolve(self, values: NDArray[np.float64]) -> "Rule":
        """Return this rule with values of this corpus in place of quantiles.

        A quantile of a column that has no value at all is no bound: all clips pass.
        """
        if self.is_resolved:
            return self
        known = np.sort(values[~np.isnan(values)])
        if not known.size:
            unbound = -math.inf if self.side == "min" else math.inf
            bound = {self.side: unbound, "missing": "keep"}
            return replace(self, min_quantile=None, max_quantile=None, then=(), **bound)
        steps = self._quantile_steps()
        start, *others = np.quantile(known, self.bounds_at(steps)).tolist()
        then = tuple(Waypoint(step=int(step), bound=bound) for step, bound in zip(steps[1:], others, strict=True))
        return replace(self, min_quantile=None, max_quantile=None, then=then, **{self.side: start})

    def _quantile_steps(self) -> NDArray[np.int64]:
        """Return 0, the waypoints' steps, and between two of them so many that the quantile moves a percent a time."""
        steps = [np.zeros(1, np.int64)]
        before = Waypoint(step=0, bound=self._start)
        for after in self.then:
            num_parts = max(1, math.ceil(abs(after.bound - before.bound) / QUANTILE_STEP - 1e-9))
            parts = before.step + (after.step - before.step) * np.arange(1, num_parts + 1) / num_parts
            steps.append(np.rint(parts).astype(np.int64))
            before = after
        return np.unique(np.concatenate(steps))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one rule says of one clip at one step."""

    rule: Rule
    value: float | None
    """None if the clip has none."""
    bound: float
    passes: bool
    margin: float | None
    """How far the value is inside of the bound, in the column's unit; negative if it is outside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DropReasons:
    """Why a policy drops clips at one step; all in the order of its rules."""

    first_failing: NDArray[np.int64]
    """(N,) index of the first rule that a clip fails, -1 if it is kept."""
    num_dropped_first: tuple[int, ...]
    """Clips that a rule is the first to drop; they add up to all dropped clips."""
    num_dropped_alone: tuple[int, ...]
    """Clips that a rule would drop if it were the only one."""
    num_dropped_only: tuple[int, ...]
    """Clips that no other rule drops: what leaving out this rule would win back."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Rules that a clip must all pass; without rules every clip is kept."""

    rules: tuple[Rule, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, each once, in the order of the rules."""
        return tuple(dict.fromkeys(rule.column for rule in self.rules))

    @property
    def is_resolved(self) -> bool:
        """Whether all bounds are values, so that clips are judged without a corpus."""
        return all(rule.is_resolved for rule in self.rules)

    def resolve(self, scores: ClipScores) -> "Policy":
        """Return this policy with values of this corpus in place of quantiles.

        Raises:
            ValueError: a rule's column is not measured; the message names the nearest and all known ones.
        """
        return Policy(rules=tuple(rule.resolve(scores.column(rule.column)) for rule in self.rules))

    def keeps(self, scores: ClipScores, step: int) -> NDArray[np.bool_]:
        """Return (N,) which clips the policy keeps at a step of the training.

        Raises:
            ValueError: a rule's column is not measured, or the policy is not resolved.
        """
        kept = np.ones(len(scores.clip_ids), np.bool_)
        for rule in self.rules:
            kept &= rule.passes(scores.column(rule.column), step)
        return kept

    def ever_keeps(self, scores: ClipScores) -> NDArray[np.bool_]:
        """Return (N,) whether there is a step, 0 or later, at which the policy keeps the clip; raises as `keeps` does.

        Exact: between two waypoints every rule passes a clip along a run of steps, and these runs are intersected.
        """
        steps = sorted({0} | {waypoint.step for rule in self.rules for waypoint in rule.then})
        kept = np.zeros(len(scores.clip_ids), np.bool_)
        for step in steps:
            kept |= self.keeps(scores, step)
        for first, last in pairwise(steps):
            open_rows = np.flatnonzero(~kept)
            for rule in self.rules:  # who fails at both ends of a straight line fails all along: most clips end here
                values = scores.column(rule.column)[open_rows]
                open_rows = open_rows[rule.passes(values, first) | rule.passes(values, last)]
            begins = np.full(open_rows.size, first)
            ends = np.full(open_rows.size, last)
            for rule in self.rules:
                begin, end = _passing_steps(rule, scores.column(rule.column)[open_rows], first, last)
                begins, ends = np.maximum(begins, begin), np.minimum(ends, end)
            kept[open_rows] = begins <= ends
        return kept

    def decide(self, scores: ClipScores, row: int, step: int) -> list[Outcome]:
        """Return what every rule says of the clip at ``row``; raises as `keeps` does."""
        outcomes = []
        for rule in self.rules:
            value = float(scores.column(rule.column)[row])
            bound = rule.bound_at(step)
            is_known = not math.isnan(value)
            margin = value - bound if rule.side == "min" else bound - value
            outcomes.append(
                Outcome(
                    rule=rule,
                    value=value if is_known else None,
                    bound=bound,
                    passes=bool(rule.passes(np.array([value]), step)[0]),
                    margin=margin if is_known else None,
                )
            )
        return outcomes

    def drop_reasons(self, scores: ClipScores, step: int) -> DropReasons:
        """Return which rule drops each clip first, and how many each rule drops; raises as `keeps` does."""
        num_clips, num_rules = len(scores.clip_ids), len(self.rules)
        fails = np.zeros((num_rules, num_clips), np.bool_)
        for index, rule in enumerate(self.rules):
            fails[index] = ~rule.passes(scores.column(rule.column), step)
        num_failed = fails.sum(axis=0)
        first = np.where(num_failed > 0, fails.argmax(axis=0), -1) if num_rules else np.full(num_clips, -1)
        return DropReasons(
            first_failing=first.astype(np.int64),
            num_dropped_first=tuple(int((first == index).sum()) for index in range(num_rules)),
            num_dropped_alone=tuple(int(row.sum()) for row in fails),
            num_dropped_only=tuple(int((row & (num_failed == 1)).sum()) for row in fails),
        )


def _passing_steps(
    rule: Rule, values: NDArray[np.float64], first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and last step, of those from ``first`` to ``last``, at which each value passes.

    Where there is none the first is after the last.

    The bound only rises or only falls between the two, so what passes is a run of steps at one of the ends, which is
    bisected with the same arithmetic that judges a clip.
    """
    at_first, at_last = rule.passes(values, first), rule.passes(values, last)
    low, high = np.full(values.size, first), np.full(values.size, last)
    while (high - low > 1).any():
        middle = (low + high) // 2
        is_as_first = rule.passes(values, middle) == at_first
        low, high = np.where(is_as_first, middle, low), np.where(is_as_first, high, middle)
    begins = np.where(at_first, first, np.where(at_last, high, last + 1))
    ends = np.where(at_last, last, np.where(at_first, low, last))
    return begins, ends


def read_policy(path: str | Path) -> Policy:
    """Read ``[[policy.rules]]`` of a TOML file; a recipe that holds them among other sections will do.

    Raises:
        ValueError: the file is missing or not TOML, has no rules, a key is unknown, or a value is not allowed.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"policy {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"policy {path}: not valid TOML: {error}") from None
    if "policy" not in values:
        raise ValueError(f"{path}: expected [[policy.rules]], got {', '.join(values) or 'an empty file'}")
    if not isinstance(values["policy"], Mapping):
        raise ValueError(f"{path}: policy: expected a section, got {values['policy']!r}")
    return build_dataclass(Policy, values["policy"], where=f"{path}: policy")


def write_policy(path: str | Path, policy: Policy) -> None:
    """Write a policy as `read_policy` reads it, whole or not at all."""
    write_atomically(Path(path), policy_toml(policy))


def policy_toml(policy: Policy) -> str:
    """Return a policy as the text of its file."""
    if not policy.rules:
        return "[policy]\nrules = []\n"
    return "\n".join("\n".join(_rule_lines(rule)) + "\n" for rule in policy.rules)


def _rule_lines(rule: Rule) -> Iterable[str]:
    yield "[[policy.rules]]"
    if rule.label:
        yield f"label = {_toml_string(rule.label)}"
    yield f"column = {_toml_string(rule.column)}"
    for name in BOUNDS:
        if (bound := getattr(rule, name)) is not None:
            yield f"{name} = {float(bound)!r}"
    if rule.then:
        yield "then = ["
        yield from (f"    {{ step = {waypoint.step}, bound = {float(waypoint.bound)!r} }}," for waypoint in rule.then)
        yield "]"
    if rule.missing != "drop":
        yield f"missing = {_toml_string(rule.missing)}"


def _toml_string(text: str) -> str:
    # JSON's escapes are TOML's, except that TOML also wants DEL escaped and knows no pairs of surrogates.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
