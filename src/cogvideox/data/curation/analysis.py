"""One source, decoded once: its shots, and everything that is measured of them."""

import io
import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cogvideox.data.curation.decoding import Decoder, DecodingError, Message
from cogvideox.data.curation.judging import judge
from cogvideox.data.curation.operators import (
    THUMB_HEIGHT_PX,
    THUMB_WIDTH_PX,
    ClipView,
    Operator,
    RowOperator,
    ViewName,
    spread,
)
from cogvideox.data.curation.plan import (
    CLIP_TYPES,
    DECODING_TYPES,
    PREVIEW_TYPES,
    CurationPlan,
    operator_types,
)
from cogvideox.data.curation.recipe import PreviewSettings
from cogvideox.data.curation.shots import Span, SpanCutter, TransitionStream
from cogvideox.data.curation.store import Store
from cogvideox.data.curation.wire import NO_PTS
from cogvideox.errors import MissingPackageError

ID_LENGTH = 16
"""Digits of a source's SHA-256 in the ids of its clips."""
NOMINAL_RATE_TOLERANCE = 0.02
JPEG_QUALITY = 80
LOST = "could not be decoded again"
LEAST_OF_PROMISED = 0.9
"""A file that gives less of the frames or seconds that its header promises is damaged, or its header is."""

Rows = list[dict[str, Any]]


def clip_id_of(digest: str, span: Span) -> str:
    """Return the id of a clip: what the source holds, and where the clip lies in it."""
    return f"{digest[:ID_LENGTH]}_{span.start_frame:07d}_{span.end_frame:07d}"


def missing_parts(plan: CurationPlan, store: Store, digest: str) -> list[str]:
    """Return the keys of what is not yet computed of a source."""
    keys = [plan.decoding_key, plan.shots_key, *(planned.key for planned in plan.all_operators)]
    keys += [planned.key for planned in plan.row_operators]
    if plan.recipe.previews.num_pictures:
        keys.append(plan.previews_key)
    return [key for key in keys if not store.has(key, digest)]


def analyse(
    path: Path, digest: str, plan: CurationPlan, store: Store, decoder: Decoder, *, changed_ns: int | None = None
) -> str:
    """Compute what is missing of a source, in one decoding pass, and store it.

    Whatever the file is, every part is written: a file that is no video gets tables without rows, and its reason. Only
    of a file that is no longer the one that was read before nothing is stored.

    Args:
        path: of the file.
        digest: SHA-256 of its content.
        changed_ns: when the file was last changed before its content was read; None does not ask.
        plan: what to compute.
        store: what is there, and where the rest goes.
        decoder: used again for the next source.

    Returns:
        Why nothing could be stored; empty if all is there.

    Raises:
        MissingPackageError: an operator's library is not installed.
        OSError: the store cannot be written.
    """
    on_columns = {planned.key for planned in plan.column_operators}
    missing = [key for key in missing_parts(plan, store, digest) if key not in on_columns]
    reason = _analyse_frames(path, digest, plan, store, decoder, missing, changed_ns) if missing else ""
    if not reason:
        judge(plan, store, digest)
    return reason


def _analyse_frames(
    path: Path,
    digest: str,
    plan: CurationPlan,
    store: Store,
    decoder: Decoder,
    missing: list[str],
    changed_ns: int | None,
) -> str:
    results = _Results(plan, missing)
    views = set[ViewName]().union(
        *(operator.views for operator in (*results.operators.values(), *results.row_operators.values()))
    )
    if plan.previews_key in missing:
        views.add("detail")
    if plan.shots_key in missing:
        spans = _FoundSpans(plan.shots.stream(), plan.shots.cutter())
    else:
        rows = store.read(plan.shots_key, digest)
        spans = _KnownSpans(deque(Span(**{name: row[name] for name in SPAN_FIELDS}) for row in rows))
        if not rows and plan.decoding_key not in missing:
            _store(results, digest, store, None)
            return ""
    facts = _decode(path, digest, spans, results, decoder, spans.needed_views | views)
    try:
        if changed_ns is not None and path.stat().st_mtime_ns != changed_ns:
            return "changed while it was read"
    except OSError as error:
        return f"not readable ({error.strerror or error})"
    _store(results, digest, store, facts)
    return ""


SPAN_FIELDS = ("start_frame", "end_frame", "starts", "ends")


@dataclass
class _Results:
    """Rows of every table that is missing."""

    plan: CurationPlan
    missing: list[str]
    clips: Rows = field(default_factory=list)
    previews: Rows = field(default_factory=list)
    operators: dict[str, Operator] = field(init=False)
    row_operators: dict[str, RowOperator] = field(init=False)
    measured: dict[str, Rows] = field(init=False)

    def __post_init__(self) -> None:
        self.operators = {p.key: p.operator for p in self.plan.operators if p.key in self.missing}
        self.row_operators = {p.key: p.operator for p in self.plan.row_operators if p.key in self.missing}
        self.measured = {key: [] for key in (*self.operators, *self.row_operators)}

    def add(self, view: ClipView, row: dict[str, Any]) -> None:
        self.clips.append(row)
        for key, operator in self.operators.items():
            self.measured[key].append({"clip_id": view.clip_id} | _measure(operator, view))
        for key, operator in self.row_operators.items():
            self.measured[key] += _rows(operator, view)
        if self.plan.previews_key in self.missing:
            self.previews += _previews(view, self.plan.recipe.previews)

    def add_lost(self, clip_id: str) -> None:
        """Add a clip that was there once and can no longer be decoded."""
        for key, operator in self.operators.items():
            values = {column.name: math.nan for column in operator.columns}
            self.measured[key].append({"clip_id": clip_id} | values | {"error": LOST})
        for key, operator in self.row_operators.items():
            self.measured[key].append(_failed_row(operator, clip_id, LOST))


def _measure(operator: Operator, view: ClipView) -> dict[str, Any]:
    """Return an operator's values and what went wrong. A clip that breaks an operator must not end the run."""
    nothing = {column.name: math.nan for column in operator.columns}
    try:
        measured = operator.measure(view)
        values = {column.name: float(measured[column.name]) for column in operator.columns}
    except (MissingPackageError, MemoryError):
        raise
    except Exception as error:
        return nothing | {"error": f"{type(error).__name__}: {error}"}
    for column in operator.columns:
        value = values[column.name]
        if not (math.isnan(value) or column.low <= value <= column.high):
            return nothing | {"error": f"{column.name}: expected {column.low} to {column.high}, got {value}"}
    return values | {"error": ""}


def _rows(operator: RowOperator, view: ClipView) -> Rows:
    """Return an operator's rows; of a clip that breaks it one that says how."""
    try:
        return [row | {"error": ""} for row in operator.rows(view)]
    except (MissingPackageError, MemoryError):
        raise
    except Exception as error:
        return [_failed_row(operator, view.clip_id, f"{type(error).__name__}: {error}")]


def _failed_row(operator: RowOperator, clip_id: str, error: str) -> dict[str, Any]:
    return dict.fromkeys(operator.types) | {"clip_id": clip_id, "error": error}


def _previews(view: ClipView, settings: PreviewSettings) -> Rows:
    rows: Rows = []
    for number, index in enumerate(spread(len(view.detail), settings.num_pictures)):
        picture = Image.fromarray(view.detail[index])
        picture.thumbnail((settings.long_side_px, settings.long_side_px), Image.Resampling.BILINEAR)
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=JPEG_QUALITY)
        rows.append({"clip_id": view.clip_id, "number": number, "jpeg": content.getvalue()})
    return rows


@dataclass(eq=False)
class _Frames:
    """What was decoded and may still be needed."""

    first: int = 0
    """Index of the first frame held."""
    times_s: list[float] = field(default_factory=list)
    pts: list[int] = field(default_factory=list)
    sizes_px: list[tuple[int, int]] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    thumbs: deque[NDArray[np.uint8]] = field(default_factory=deque)
    motion: deque[tuple[int, NDArray[np.uint8]]] = field(default_factory=deque)
    detail: deque[tuple[int, NDArray[np.uint8]]] = field(default_factory=deque)
    native: deque[tuple[int, NDArray[np.uint8]]] = field(default_factory=deque)
    has_rising_pts: bool = True
    """So far every timestamp was there and above the one before: it finds its frame."""
    _last_pts: int = NO_PTS

    @property
    def end(self) -> int:
        """Index of the next frame to come."""
        return self.first + len(self.times_s)

    def add(self, message: Message, *, keeps_thumbs: bool) -> None:
        values, arrays = message.values, message.arrays
        self.times_s += arrays["times_s"].tolist()
        self.pts += arrays["pts"].tolist()
        pts = np.concatenate([[self._last_pts], arrays["pts"]])
        self.has_rising_pts &= bool((pts[1:] > pts[:-1]).all())
        self._last_pts = int(pts[-1])
        self.sizes_px += [(values["height_px"], values["width_px"])] * len(arrays["times_s"])
        self.changes += arrays["changes"].tolist()
        if keeps_thumbs:
            self.thumbs.extend(arrays["thumbs"])
        self.motion.extend(zip(arrays["motion_frames"].tolist(), arrays["motion"], strict=False))
        self.detail.extend(zip(arrays["detail_frames"].tolist(), arrays["detail"], strict=False))
        self.native.extend(zip(arrays["detail_frames"].tolist(), arrays["native"], strict=False))

    def forget_before(self, frame: int) -> None:
        num_dropped = min(max(0, frame - self.first), len(self.times_s))
        for values in (self.times_s, self.pts, self.sizes_px, self.changes):
            del values[:num_dropped]
        for _ in range(min(num_dropped, len(self.thumbs))):
            self.thumbs.popleft()
        self.first += num_dropped
        for pictures in (self.motion, self.detail, self.native):
            while pictures and pictures[0][0] < self.first:
                pictures.popleft()

    def view(self, span: Span, digest: str, facts: dict[str, Any]) -> tuple[ClipView, dict[str, Any]]:
        """Return a clip as operators see it, and its row."""
        start, end = span.start_frame - self.first, span.end_frame - self.first
        times_s = np.array(self.times_s[start:end])
        num_frames = len(times_s)
        fps = _rate(times_s, facts["nominal_fps"])
        end_s = self.times_s[end] if end < len(self.times_s) else float(times_s[-1]) + 1 / fps
        height_px, width_px = self.sizes_px[start]
        time_of = dict(zip(range(span.start_frame, span.end_frame), times_s.tolist(), strict=True))

        def within(pictures: deque[tuple[int, NDArray[np.uint8]]]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
            kept = [(time_of[index], picture) for index, picture in pictures if index in time_of]
            stacked = np.stack([picture for _, picture in kept]) if kept else np.zeros((0, 0, 0, 3), np.uint8)
            return stacked, np.array([time_s for time_s, _ in kept])

        motion, motion_times_s = within(self.motion)
        detail, detail_times_s = within(self.detail)
        native, native_times_s = within(self.native)
        clip_id = clip_id_of(digest, span)
        view = ClipView(
            clip_id=clip_id,
            height_px=height_px,
            width_px=width_px,
            fps=fps,
            num_frames=num_frames,
            start_s=float(times_s[0]),
            end_s=end_s,
            motion=motion,
            motion_times_s=motion_times_s,
            detail=detail,
            native=native,
            detail_times_s=detail_times_s if len(detail_times_s) else native_times_s,
            changes=np.array(self.changes[start:end], np.float32),
            thumbs=self._thumbs_of(start, end),
        )
        row = {
            "clip_id": clip_id,
            "sha256": digest,
            "start_frame": span.start_frame,
            "end_frame": span.end_frame,
            "start_s": view.start_s,
            "end_s": end_s,
            "start_pts": self.pts[start],
            "num_frames": num_frames,
            "fps": fps,
            "height_px": height_px,
            "width_px": width_px,
            "starts": span.starts,
            "ends": span.ends,
        }
        return view, row

    def _thumbs_of(self, start: int, end: int) -> NDArray[np.uint8]:
        if not self.thumbs:
            return np.zeros((0, THUMB_HEIGHT_PX, THUMB_WIDTH_PX, 3), np.uint8)
        return np.stack(list(itertools.islice(self.thumbs, start, end)))


def _rate(times_s: NDArray[np.float64], nominal_fps: float) -> float:
    """Return the frames per second of a clip: the file's own if its times agree with that."""
    if len(times_s) < 2 or times_s[-1] <= times_s[0]:
        return nominal_fps
    mean_fps = (len(times_s) - 1) / float(times_s[-1] - times_s[0])
    return nominal_fps if abs(mean_fps / nominal_fps - 1) <= NOMINAL_RATE_TOLERANCE else mean_fps


@dataclass(eq=False)
class _FoundSpans:
    """Finds the spans of clips while frames come."""

    transitions: TransitionStream
    cutter: SpanCutter
    needed_views: frozenset[ViewName] = frozenset({"thumbs"})
    _waiting: deque[tuple[float, bool]] = field(default_factory=deque)
    """Times and damage of the frames that the shot detector has not judged yet."""

    def push(self, message: Message, _: _Frames) -> list[Span]:
        self._waiting.extend(
            zip(message.arrays["times_s"].tolist(), message.arrays["is_damaged"].tolist(), strict=True)
        )
        return self._cut(self.transitions.push(message.arrays["thumbs"]))

    def finish(self, end_s: float) -> list[Span]:
        return self._cut(self.transitions.finish()) + self.cutter.finish(end_s)

    def _cut(self, probabilities: NDArray[np.float32]) -> list[Span]:
        judged = [self._waiting.popleft() for _ in range(len(probabilities))]
        if not judged:
            return []
        times_s, is_damaged = zip(*judged, strict=True)
        return self.cutter.push(probabilities, np.array(times_s), np.array(is_damaged))

    def first_needed(self, _: _Frames) -> int:
        return self.cutter.first_open_frame


@dataclass(eq=False)
class _KnownSpans:
    """Gives spans that were found before, as soon as all their frames are there."""

    spans: deque[Span]
    needed_views: frozenset[ViewName] = frozenset()

    def push(self, _: Message, frames: _Frames) -> list[Span]:
        ready: list[Span] = []
        while self.spans and self.spans[0].end_frame < frames.end:
            ready.append(self.spans.popleft())
        return ready

    def finish(self, _: float) -> list[Span]:
        return [self.spans.popleft() for _ in range(len(self.spans))]

    def first_needed(self, frames: _Frames) -> int:
        return self.spans[0].start_frame if self.spans else frames.end


def _decode(
    path: Path,
    digest: str,
    spans: _FoundSpans | _KnownSpans,
    results: _Results,
    decoder: Decoder,
    views: frozenset[ViewName],
) -> dict[str, Any]:
    """Decode a file and add its clips to the results; return its row."""
    frames = _Frames()
    facts: dict[str, Any] = {"nominal_fps": math.nan}
    end: dict[str, Any] = {}
    reason = ""
    measuring = (*results.operators.values(), *results.row_operators.values())
    keeps_thumbs = any("thumbs" in operator.views for operator in measuring)

    def add(found: list[Span]) -> None:
        for span in found:
            if span.end_frame > frames.end:
                results.add_lost(clip_id_of(digest, span))
            else:
                results.add(*frames.view(span, digest, facts))

    try:
        try:
            for message in decoder.stream_views(path, views):
                if message.kind == "facts":
                    facts |= message.values
                elif message.kind == "frames":
                    if not frames.end:
                        facts |= {name: message.values[name] for name in ("height_px", "width_px")}
                    frames.add(message, keeps_thumbs=keeps_thumbs)
                    add(spans.push(message, frames))
                    frames.forget_before(spans.first_needed(frames))
                else:
                    end = dict(message.values)
        except DecodingError as error:
            reason = str(error)
        end_s = end.get("end_s", frames.times_s[-1] + 1 / facts["nominal_fps"] if frames.times_s else 0.0)
        add(spans.finish(end_s))
    except (IndexError, ArithmeticError, ValueError) as error:
        # A file that is stranger than what was thought of must not end the run; what was found before is kept.
        reason, end_s = f"could not be analysed ({type(error).__name__}: {error})", 0.0
    if not frames.has_rising_pts:
        for row in results.clips:
            row["start_pts"] = NO_PTS
    return _source_row(digest, facts, end, reason, num_frames=frames.end, end_s=end_s)


def _source_row(
    digest: str, facts: dict[str, Any], end: dict[str, Any], reason: str, *, num_frames: int, end_s: float
) -> dict[str, Any]:
    num_errors, promised = end.get("num_errors", 0), facts.get("promised_frames", 0)
    damage = [reason, end.get("broken", "")]
    if num_errors:
        damage.append(f"{num_errors} decoding errors")
    # Of a file that is shown in part (an edit list) only the seconds say what is meant.
    promised_s = facts.get("promised_s", 0.0)
    if promised_s and end_s < promised_s * LEAST_OF_PROMISED and not end.get("limited"):
        damage.append(f"gives {end_s:.1f} of {promised_s:.1f} s that it promises")
    elif not promised_s and num_frames < promised * LEAST_OF_PROMISED and not end.get("limited"):
        damage.append(f"gives {num_frames} of {promised} frames that it promises")
    damage = [text for text in damage if text]
    status = "rejected" if not num_frames else "damaged" if damage else "ok"
    return {
        "sha256": digest,
        "status": status,
        "reason": "; ".join(damage) or end.get("limited", ""),
        "container": facts.get("container", ""),
        "codec": facts.get("codec", ""),
        "nominal_fps": facts["nominal_fps"],
        "promised_frames": promised,
        "num_frames": num_frames,
        "duration_s": end_s,
        "height_px": facts.get("height_px", 0),
        "width_px": facts.get("width_px", 0),
        "num_errors": num_errors,
    }


def _store(results: _Results, digest: str, store: Store, facts: dict[str, Any] | None) -> None:
    plan, missing = results.plan, results.missing
    for planned in plan.operators:
        if planned.key in missing:
            store.write(planned.key, digest, results.measured[planned.key], operator_types(planned.operator.columns))
    for planned in plan.row_operators:
        if planned.key in missing:
            types = dict(planned.operator.types) | {"error": "string"}
            store.write(planned.key, digest, results.measured[planned.key], types)
    if plan.previews_key in missing:
        store.write(plan.previews_key, digest, results.previews, PREVIEW_TYPES)
    if plan.shots_key in missing:
        store.write(plan.shots_key, digest, results.clips, CLIP_TYPES)
    if plan.decoding_key in missing and facts is not None:
        store.write(plan.decoding_key, digest, [facts], DECODING_TYPES)
