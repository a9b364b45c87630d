"""The process in which untrusted files are decoded: small, limited, and killed when it hangs. The one file of this
folder that uses PyAV.

It reads requests, a line of JSON each, from standard input and answers with messages on standard output (`send`), so a
file that crashes a decoder, or takes all memory, costs its own row and nothing else. Only files are opened: a playlist
that calls itself a video opens nothing.
"""

import argparse
import contextlib
import ctypes
import errno
import itertools
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import av
import av.error
import numpy as np
from av.logging import PANIC, set_level
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from cogvideox.data.curation.operators import (
    DETAIL_INTERVAL_S,
    DETAIL_LONG_SIDE_PX,
    MOTION_AREA_PX,
    MOTION_FPS,
    MOTION_MULTIPLE_PX,
    NATIVE_SIDE_PX,
    THUMB_HEIGHT_PX,
    THUMB_WIDTH_PX,
)
from cogvideox.data.curation.wire import DISK_ERRORS, MESSAGE_HEAD, NO_PTS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

FORMATS = (
    "3gp,amv,asf,av1,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,"
    "webm,wtv,y4m,yuv4mpegpipe"
)
"""Containers and bare streams of video. No playlists, pictures or text."""
FRAMES_PER_MESSAGE = 24
LONGEST_SILENCE_S = 2.0
"""Without a message, while frames come."""
BLOCK_PX = 8
MAX_DECODE_ERRORS = 2_000
LARGEST_GAP_S = 2.0
"""A longer one between two frames is a break: no clip goes over it."""
LEAST_FRAME_S = 0.001
"""Frames are not nearer to one another, so that a clip does not hold any number of them."""
JITTER_FRAMES = 4
"""A time that is so little before the last one is taken to be just after it."""
FALLBACK_FPS = Fraction(25)
PLAUSIBLE_FPS = (Fraction(1, 100), Fraction(1000))
KEYFRAME_INTERVAL = 48
FAR_FRAMES = 250
"""A clip that begins so many frames on is sought, not decoded up to."""
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer requests until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-memory-bytes", type=int, required=True)
    arguments = parser.parse_args()
    _limit(arguments.max_memory_bytes)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the messages
    set_level(PANIC)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["kind"] == "transcode":
                transcode(output, request)
            else:
                send_views(output, request)
        except (av.error.FFmpegError, ValueError, MemoryError, OSError, EOFError) as error:
            disk_error = error.errno if isinstance(error, _DiskError) else None
            send(output, {"kind": "error", "reason": _reason(error), "errno": disk_error})


class _DiskError(OSError):
    """What is written, and not what is read, has failed."""


def _limit(max_memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
        # A decoder that hangs must not outlive a parent that was killed.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return "needs more memory than the decoder may take"
    if isinstance(error, av.error.ArgumentError):
        return "not a video of a known container (a picture, a playlist, sound, or only a piece of a file?)"
    if isinstance(error, av.error.FFmpegError):
        return f"not a readable video ({error.strerror})"
    return str(error) or type(error).__name__


def send(output: BinaryIO, message: dict[str, Any], **arrays: NDArray[Any]) -> None:
    """Write a message: the length of its JSON, the JSON, and the arrays that it names."""
    described = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    head = json.dumps(message | {"arrays": described}).encode()
    output.write(MESSAGE_HEAD.pack(len(head)) + head)
    for array in arrays.values():
        output.write(np.ascontiguousarray(array).data)
    output.flush()


@contextlib.contextmanager
def _opened(path: str) -> "Iterator[tuple[InputContainer, VideoStream]]":
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "enable_drefs": "0"}
    # Not the bare name, which FFmpeg would read as an address if it has a colon in it.
    with av.open(f"file:{path}", "r", metadata_errors="replace", options=options) as container:
        videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not videos:
            raise ValueError("has no video stream")
        stream = videos[0]
        stream.thread_count = 1  # files are spread over processes
        yield container, stream


def _rate(stream: "VideoStream") -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and PLAUSIBLE_FPS[0] <= rate <= PLAUSIBLE_FPS[1]:
            return Fraction(rate)
    return FALLBACK_FPS


@dataclass
class _Clock:
    """Gives frames times that increase, and says where the file's own times break."""

    time_base: Fraction
    frame_s: float
    _last_s: float | None = None
    _shift_s: float = 0.0
    _last_stamps: dict[str, int] = field(default_factory=dict)
    _num_faults: dict[str, int] = field(default_factory=lambda: {"pts": 0, "dts": 0})

    def time_s(self, pts: int | None, dts: int | None) -> tuple[float, bool]:
        """Return the time of the next frame and whether it continues the last one."""
        stamp = self._stamp(pts, dts)
        if self._last_s is None:
            self._shift_s = 0.0 if stamp is None else -float(stamp * self.time_base)
            self._last_s = 0.0
            return 0.0, True
        expected_s = self._last_s + self.frame_s
        time_s = expected_s if stamp is None else float(stamp * self.time_base) + self._shift_s
        is_jitter = self._last_s - JITTER_FRAMES * self.frame_s < time_s <= self._last_s
        is_break = time_s > self._last_s + max(LARGEST_GAP_S, 4 * self.frame_s)
        is_break |= time_s <= self._last_s and not is_jitter
        if is_jitter:
            time_s = self._last_s
        if is_break:
            self._shift_s += expected_s - time_s
            time_s = expected_s
        self._last_s = time_s = max(time_s, self._last_s + LEAST_FRAME_S)
        return time_s, not is_break

    def _stamp(self, pts: int | None, dts: int | None) -> int | None:
        """Return the timestamp to go by: those of presentation, unless they have proved to be the more faulty ones.

        AVI files have only the other kind, and FFmpeg's guess then runs back at every B-frame.
        """
        for name, stamp in (("pts", pts), ("dts", dts)):
            if stamp is not None:
                self._num_faults[name] += int(stamp <= self._last_stamps.get(name, stamp - 1))
                self._last_stamps[name] = stamp
        goes_by_pts = self._num_faults["pts"] <= self._num_faults["dts"] or dts is None
        return pts if goes_by_pts and pts is not None else dts


@dataclass(frozen=True)
class Decoded:
    """A decoded frame."""

    index: int
    """Of all frames that the file gives, in order."""
    time_s: float
    is_damaged: bool
    """It is damaged, or does not continue the frame before."""
    frame: av.VideoFrame

    @property
    def pts(self) -> int:
        """In the file's own units, `NO_PTS` without."""
        return NO_PTS if self.frame.pts is None else self.frame.pts


def decode(container: "InputContainer", stream: "VideoStream", facts: dict[str, Any]) -> Iterator[Decoded]:
    """Yield every frame that can be had, past what is damaged; keep the errors on the way in ``facts``."""
    clock = _Clock(Fraction(stream.time_base or 1), float(1 / _rate(stream)))
    index = 0
    is_after_error = False
    facts["num_errors"] = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, EOFError) as error:
            facts["num_errors"] += 1
            facts["broken"] = _reason(error)
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except EOFError:
            return
        except av.error.FFmpegError as error:
            if getattr(error, "errno", None) == errno.ENOMEM:
                raise
            facts["num_errors"] += 1
            is_after_error = True
            if facts["num_errors"] > MAX_DECODE_ERRORS:
                facts["broken"] = "too many decoding errors"
                return
            continue
        for frame in frames:
            assert isinstance(frame, av.VideoFrame)
            time_s, is_continued = clock.time_s(frame.pts, frame.dts)
            is_damaged = is_after_error or frame.is_corrupt or not is_continued
            facts["num_errors"] += int(frame.is_corrupt)
            is_after_error = False
            yield Decoded(index, time_s, is_damaged, frame)
            index += 1


@dataclass(frozen=True)
class _Turn:
    """How a frame is shown: turned by right angles and mirrored, as its display matrix says (phones film any way)."""

    is_transposed: bool = False
    is_mirrored_y: bool = False
    is_mirrored_x: bool = False

    def of_size(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Return height and width after turning."""
        return (width_px, height_px) if self.is_transposed else (height_px, width_px)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.is_transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.is_mirrored_y else 1, :: -1 if self.is_mirrored_x else 1]


def _turn_of(frame: av.VideoFrame) -> _Turn:
    # Not frame.side_data, which refers back to its frame: hundreds of frames would wait for the garbage collector.
    data = SideDataContainer(frame).get("DISPLAYMATRIX")  # pyright: ignore[reportCallIssue]
    if data is None:
        return _Turn()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if a == 0 and d == 0:
        return _Turn(True, b < 0, c < 0)
    if b == 0 and c == 0:
        return _Turn(False, d < 0, a < 0)
    return _Turn()


def shown_size_px(frame: av.VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Return height and width of a frame as it is shown: upright, and with square pixels, which makes it wider."""
    if not frame.width or not frame.height:
        raise ValueError("has frames of no size")
    aspect = min(max(float(pixel_aspect or 1), 0.1), 10.0)
    return _turn_of(frame).of_size(frame.height, max(1, round(frame.width * aspect)))


ROW_NAMES = (
    "times_s", "pts", "is_damaged", "thumbs", "motion", "motion_frames", "detail", "native", "detail_frames", "changes",
)  # fmt: skip


@dataclass
class _Views:
    """Makes the views of frames that one request asks for, and gathers them into messages."""

    wanted: frozenset[str]
    size_px: tuple[int, int] = (0, 0)
    """Of the frames gathered, as they are shown."""
    next_motion_s: float = 0.0
    next_detail_s: float = 0.0
    rows: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in ROW_NAMES})
    _last_luma: NDArray[np.uint8] | None = None

    def add(self, decoded: Decoded, *, is_break: bool) -> None:
        frame, turn, rows = decoded.frame, _turn_of(decoded.frame), self.rows
        rows["times_s"].append(decoded.time_s)
        rows["pts"].append(decoded.pts)
        rows["is_damaged"].append(decoded.is_damaged or is_break)
        if "thumbs" in self.wanted:
            rows["thumbs"].append(_scaled(frame, turn, (THUMB_HEIGHT_PX, THUMB_WIDTH_PX)))
        if "motion" in self.wanted and decoded.time_s >= self.next_motion_s:
            self.next_motion_s = _next_on_grid(decoded.time_s, 1 / MOTION_FPS)
            rows["motion"].append(_scaled(frame, turn, motion_size_px(*self.size_px)))
            rows["motion_frames"].append(decoded.index)
        has_detail = bool(self.wanted & {"detail", "native"}) and decoded.time_s >= self.next_detail_s
        if has_detail:
            self.next_detail_s = _next_on_grid(decoded.time_s, DETAIL_INTERVAL_S)
            rows["detail_frames"].append(decoded.index)
        if has_detail and "detail" in self.wanted:
            rows["detail"].append(_scaled(frame, turn, detail_size_px(*self.size_px)))
        if "changes" in self.wanted or (has_detail and "native" in self.wanted):
            self._add_luma(_luma(frame), has_native=has_detail and "native" in self.wanted)

    def _add_luma(self, luma: NDArray[np.uint8], *, has_native: bool) -> None:
        if has_native:
            self.rows["native"].append(_middle(luma))
        if "changes" in self.wanted:
            self.rows["changes"].append(_change(self._last_luma, luma))
            self._last_luma = luma

    def take(self) -> dict[str, NDArray[Any]]:
        """Return what was gathered, of one size, and start anew."""
        types = {"times_s": np.float64, "pts": np.int64, "is_damaged": np.bool_, "changes": np.float32}
        types |= {"motion_frames": np.int64, "detail_frames": np.int64}
        arrays = {name: np.array(self.rows[name], kind) for name, kind in types.items()}
        for name in ("thumbs", "motion", "detail", "native"):
            pictures = self.rows[name]
            nothing = np.zeros((0, 0, 0) if name == "native" else (0, 0, 0, 3), np.uint8)
            arrays[name] = np.stack(pictures) if pictures else nothing
        self.rows = {name: [] for name in ROW_NAMES}
        return arrays


def _next_on_grid(time_s: float, step_s: float) -> float:
    """Return the next multiple of a step, a little early: times are rounded to the file's own units."""
    return (math.floor(time_s / step_s + 0.01) + 1) * step_s - 0.01 * step_s


def motion_size_px(height_px: int, width_px: int) -> tuple[int, int]:
    """Return the size at which motion is measured: one area for all, in the clip's proportions."""
    aspect = min(max(width_px / height_px, 1 / 8), 8)
    height = math.sqrt(MOTION_AREA_PX / aspect)
    sides = (round(side / MOTION_MULTIPLE_PX) * MOTION_MULTIPLE_PX for side in (height, height * aspect))
    return next(sides), next(sides)


def detail_size_px(height_px: int, width_px: int) -> tuple[int, int]:
    """Return the size of detail views: the longer side at most `DETAIL_LONG_SIDE_PX`, never enlarged."""
    scale = min(1.0, DETAIL_LONG_SIDE_PX / max(height_px, width_px))
    return max(1, round(height_px * scale)), max(1, round(width_px * scale))


def _scaled(frame: av.VideoFrame, turn: _Turn, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    height_px, width_px = size_px[::-1] if turn.is_transposed else size_px
    made = frame.reformat(width=width_px, height=height_px, format="rgb24", interpolation=Interpolation.AREA)
    return turn(np.asarray(made.to_ndarray(), np.uint8))


def _luma(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Return luma as coded (H, W)."""
    if frame.format.name.startswith(("yuv4", "yuvj4", "gray", "nv")) and frame.format.components[0].bits == 8:
        plane = frame.planes[0]
        return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    return np.asarray(frame.reformat(format="gray").to_ndarray(), np.uint8)


def _middle(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    starts = [max(0, (side - NATIVE_SIDE_PX) // 2 // BLOCK_PX * BLOCK_PX) for side in luma.shape]
    return luma[starts[0] : starts[0] + NATIVE_SIDE_PX, starts[1] : starts[1] + NATIVE_SIDE_PX].copy()


def _change(before: NDArray[np.uint8] | None, luma: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference, of every fourth row; 0 only if all rows are equal."""
    if before is None or before.shape != luma.shape:
        return math.nan
    if np.array_equal(before, luma):
        return 0.0
    a, b = before[::4], luma[::4]
    mean = float((np.maximum(a, b) - np.minimum(a, b)).mean())
    return max(mean, 1.0 / luma.size)


def send_views(output: BinaryIO, request: dict[str, Any]) -> None:
    """Decode a file once and send the views asked for, facts first and how it ended last."""
    views = _Views(frozenset(request["views"]))
    facts: dict[str, Any] = {"broken": ""}
    num_frames, end_s, coded_px, sent_at_s = 0, 0.0, (0, 0), time.monotonic()

    def send_frames() -> None:
        num_held = len(views.rows["times_s"])
        if num_held:
            height_px, width_px = views.size_px
            head = {"kind": "frames", "first": num_frames - num_held, "height_px": height_px, "width_px": width_px}
            send(output, head, **views.take())

    with _opened(request["path"]) as (container, stream):
        rate = _rate(stream)
        head = {"container": container.format.name, "codec": stream.codec_context.name, "nominal_fps": float(rate)}
        promised = {"promised_frames": int(stream.frames or 0), "promised_s": _promised_s(container, stream)}
        send(output, {"kind": "facts"} | promised | head)
        for decoded in decode(container, stream, facts):
            if decoded.time_s > request["max_duration_s"] or num_frames >= request["max_frames"]:
                facts["limited"] = f"only its first {decoded.time_s:.0f} s are read, because of decoding limits"
                break
            size_px = shown_size_px(decoded.frame, stream.sample_aspect_ratio)
            coded = (decoded.frame.width, decoded.frame.height)
            is_other_size = (size_px, coded) != (views.size_px, coded_px)
            is_due = time.monotonic() - sent_at_s > LONGEST_SILENCE_S
            if is_other_size or is_due or len(views.rows["times_s"]) >= FRAMES_PER_MESSAGE:
                send_frames()
                sent_at_s = time.monotonic()
            coded_px = coded
            views.size_px = size_px
            views.add(decoded, is_break=is_other_size and num_frames > 0)
            num_frames += 1
            end_s = decoded.time_s + float(1 / rate)
        send_frames()
    if not num_frames:
        raise ValueError(facts["broken"] or "has no frame that can be decoded")
    send(output, {"kind": "end", "num_frames": num_frames, "end_s": end_s} | facts)


def _promised_s(container: "InputContainer", stream: "VideoStream") -> float:
    """Return how long a file says that its pictures last, 0 if it does not."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Sound beside it may last longer.
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


def transcode(output: BinaryIO, request: dict[str, Any]) -> None:
    """Write clips of one file, each a video of its own, in one pass; send each one's name when it is done.

    A request has ``path`` and ``clips``: in order of ``start_frame``, with ``end_frame``, ``start_pts`` (`NO_PTS`:
    unknown), ``start_s``, ``end_s``, ``fps``, ``out`` and the encoder's ``crf``, ``preset`` and ``max_short_side_px``.
    """
    with _opened(request["path"]) as (container, stream):
        frames = _noticed(output, decode(container, stream, {}))
        next_index = 0
        for clip in request["clips"]:
            is_far = clip["start_frame"] - next_index > FAR_FRAMES and clip["start_pts"] != NO_PTS
            num_wanted = clip["end_frame"] - clip["start_frame"]
            try:
                if is_far or clip["start_frame"] < next_index:
                    frames = _noticed(output, _seek(container, stream, clip))
                    next_index = clip["start_frame"]
                num_skipped = clip["start_frame"] - next_index
                wanted = itertools.islice(frames, num_skipped, num_skipped + num_wanted)
                num_taken = _encode(wanted, clip, stream)
            except (av.error.FFmpegError, ValueError, OSError) as error:
                if getattr(error, "errno", None) in DISK_ERRORS:
                    raise _DiskError(error.errno, str(error)) from None  # pyright: ignore[reportAttributeAccessIssue]
                send(output, {"kind": "written", "out": clip["out"], "reason": _reason(error)})
                next_index = sys.maxsize  # the place is lost: the next clip is sought
                continue
            next_index = clip["end_frame"]
            reason = "" if num_taken == num_wanted else f"gave {num_taken} frames where it had {num_wanted}"
            send(output, {"kind": "written", "out": clip["out"], "reason": reason})
    send(output, {"kind": "end"})


def _noticed(output: BinaryIO, frames: Iterator[Decoded]) -> Iterator[Decoded]:
    """Pass frames on and send a sign of life now and then."""
    sent_at_s = time.monotonic()
    for decoded in frames:
        if time.monotonic() - sent_at_s > LONGEST_SILENCE_S:
            send(output, {"kind": "alive"})
            sent_at_s = time.monotonic()
        yield decoded


def _seek(container: "InputContainer", stream: "VideoStream", clip: dict[str, Any]) -> Iterator[Decoded]:
    """Return the frames from a clip's first on, by its timestamp if that finds it, else from the start of the file."""
    if clip["start_pts"] != NO_PTS:
        container.seek(clip["start_pts"], stream=stream, backward=True)
        frames = decode(container, stream, {})
        for decoded in frames:
            if decoded.pts == clip["start_pts"]:
                return itertools.chain([decoded], frames)
            if decoded.pts > clip["start_pts"]:
                break
    container.seek(0, stream=stream, backward=True, any_frame=False)
    return itertools.islice(decode(container, stream, {}), clip["start_frame"], None)


def _encode(frames: Iterator[Decoded], clip: dict[str, Any], source: "VideoStream") -> int:
    """Write one clip at a constant rate; return the number of source frames that it took."""
    num_taken, num_written, start_s = 0, 0, 0.0
    rate = Fraction(clip["fps"]).limit_denominator(1001)
    output: Any = None
    picture: Any = None
    size_px = (0, 0)

    def write_until(place: int) -> None:
        """Show the last frame until the next one's place: as long as it lasts, at a variable rate too."""
        nonlocal num_written
        while num_written < place and picture is not None:
            picture.pts, picture.time_base = num_written, 1 / rate
            container.mux(output.encode(picture))
            num_written += 1

    with av.open(f"file:{clip['out']}", "w", format="mp4") as container:
        for decoded in frames:
            if output is None:
                start_s = decoded.time_s
                size_px = _encoded_size_px(shown_size_px(decoded.frame, source.sample_aspect_ratio), clip)
                output = container.add_stream("libx264", rate=rate, options=_x264_options(clip))
                output.height, output.width = size_px
                output.pix_fmt = "yuv420p"
                output.thread_count = 1  # the same bytes on any number of cores
                for name in ("color_primaries", "color_trc", "colorspace"):
                    setattr(output.codec_context, name, getattr(source.codec_context, name))
                output.codec_context.color_range = ColorRange.MPEG
            num_taken += 1
            write_until(round((decoded.time_s - start_s) * rate))
            picture = _fitted(decoded.frame, size_px)
            picture.pict_type = PictureType.NONE  # else the source's keyframes are keyframes again
        if output is None:
            raise ValueError("has none of its frames")
        write_until(max(round((clip["end_s"] - clip["start_s"]) * rate), num_written + 1))
        container.mux(output.encode(None))
    return num_taken


def _x264_options(clip: dict[str, Any]) -> dict[str, str]:
    options = {"crf": str(clip["crf"]), "preset": clip["preset"], "g": str(KEYFRAME_INTERVAL)}
    if _has_avx512():
        # With AVX-512 what x264 writes at some sizes depends on what was in memory before.
        options["x264-params"] = "asm=AVX2"
    return options


@cache
def _has_avx512() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return " avx512" in file.read()
    except OSError:
        return False


def _encoded_size_px(shown: tuple[int, int], clip: dict[str, Any]) -> tuple[int, int]:
    """Return even height and width, reduced if the clip asks for it."""
    scale = min(1.0, clip["max_short_side_px"] / min(shown)) if clip["max_short_side_px"] else 1.0
    height_px, width_px = (max(2, round(side * scale) // 2 * 2) for side in shown)
    return height_px, width_px


def _fitted(frame: av.VideoFrame, size_px: tuple[int, int]) -> av.VideoFrame:
    """Return a frame as it is encoded: upright, 8 bits, of limited range, of the size."""
    turn = _turn_of(frame)
    height_px, width_px = turn.of_size(*size_px)
    is_full_range = frame.format.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG
    made = frame.reformat(
        width=width_px,
        height=height_px,
        format="yuv420p",
        interpolation=Interpolation.AREA,
        src_color_range=ColorRange.JPEG if is_full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
    )
    if turn == _Turn():
        return made
    planes = [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in made.planes
    ]
    # Plane by plane: by way of RGB the colours would be those of another standard.
    packed = np.concatenate([np.ascontiguousarray(turn(plane)).reshape(-1) for plane in planes])
    return av.VideoFrame.from_ndarray(packed.reshape(size_px[0] * 3 // 2, size_px[1]), "yuv420p")


if __name__ == "__main__":
    main()
