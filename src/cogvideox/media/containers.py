"""Encoding and decoding of mp4, webm and gif files. The one file that uses PyAV.

Frames are (T, H, W, 3) uint8 RGB.
"""

import io
import itertools
import math
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, cast

import av
import av.error
import av.filter
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from cogvideox.media.outputs import VideoCodec, check_output_path
from cogvideox.media.pictures import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

BT601_MATRIX = 6
"""AVCOL_SPC_SMPTE170M: what frames are converted with, at every size. Readers that ignore the tag assume it too."""

GIF_TIME_BASE = Fraction(1, 100)
"""Delays of a gif are whole hundredths of a second."""

PALETTE_PIXELS = 2**15
"""About so many pixels of each frame decide the palette, in so many levels a channel: a search through all colours of
all pixels takes several times as long, for nearly the same palette."""

PALETTE_LEVELS = (np.arange(256) // 4 * 255 // 63).astype(np.uint8)
"""64 levels, black and white among them."""

DITHER = "dither=bayer:bayer_scale=2:diff_mode=rectangle"
"""A pattern fixed to the screen, and only where something moved: error diffusion would boil, at 1.3 times the size."""

MAX_RATE_DENOMINATOR = 1001


@dataclass(frozen=True, kw_only=True)
class _Encoder:
    """One of FFmpeg's encoders with the options that give a good picture and the same bytes every time."""

    name: str
    container: str
    options: dict[str, str]
    muxer_options: dict[str, str]
    tag: str | None = None
    num_reordered: int | None = None
    """Frames that packets may be out of order by, if their decoding times have to be written here."""


ENCODERS: dict[VideoCodec, _Encoder] = {
    "h264": _Encoder(
        name="libx264",
        container="mp4",
        # Macroblock trees read memory that x264 never wrote: equal small frames then give unequal files.
        options={"crf": "16", "preset": "medium", "x264-params": "mbtree=0"},
        muxer_options={"movflags": "+faststart"},
    ),
    "h265": _Encoder(
        name="libx265",
        container="mp4",
        # cutree writes beyond its memory at some sizes (48x48, 96x48). The parameters after it avoid decisions on
        # memory that x265 never wrote. Without a pool the bytes do not depend on the number of cores, and a busy
        # machine does not wait for the slowest row of every frame (5 times as long).
        options={
            "crf": "18",
            "preset": "medium",
            "x265-params": "log-level=none:pools=none:frame-threads=1:cutree=0:scenecut=0:b-adapt=0:weightp=0:ctu=16",
        },
        muxer_options={"movflags": "+faststart"},
        tag="hvc1",  # Apple's players refuse hev1
        # x265 takes them from memory that it never wrote if a clip is shorter than its delay.
        num_reordered=2,
    ),
    "vp9": _Encoder(
        name="libvpx-vp9",
        container="webm",
        options={"crf": "20", "b": "0", "cpu-used": "2", "row-mt": "1"},
        muxer_options={"fflags": "+bitexact"},  # else the file has a random identifier
    ),
}


class VideoWriter:
    """Encodes frames as they come. Use `write_video`, which also makes the result appear at once."""

    def __init__(self, path: Path, *, fps: float, codec: VideoCodec = "h264", settings: str | None = None) -> None:
        self.num_frames = 0
        self._path = path
        self._rate = _rate_of(fps)
        self._codec: VideoCodec = codec
        self._settings = settings
        self._num_packets = 0
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, frames: np.ndarray) -> None:
        """Append (T, H, W, 3) uint8 frames. Raises ValueError if the size is odd or differs from the first one's."""
        for frame in frames:
            stream = self._open(frame.shape)
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
            picture.pts, picture.time_base = self.num_frames, 1 / self._rate
            self._encode(stream, picture)
            self.num_frames += 1

    def _encode(self, stream: "VideoStream", picture: av.VideoFrame | None) -> None:
        assert self._container is not None
        num_reordered = ENCODERS[self._codec].num_reordered
        for packet in stream.encode(picture):
            if num_reordered is not None:
                packet.dts = self._num_packets - num_reordered
            self._num_packets += 1
            self._container.mux(packet)

    def _open(self, shape: tuple[int, ...]) -> "VideoStream":
        if self._stream is not None:
            check_same_size((self._stream.height, self._stream.width), shape)
            return self._stream
        height, width = shape[:2]
        check_output_path(self._path, codec=self._codec, height_px=height, width_px=width)
        encoder = ENCODERS[self._codec]
        container = av.open(str(self._path), "w", format=encoder.container, options=encoder.muxer_options)
        self._container = container
        if self._settings is not None:
            container.metadata["comment"] = self._settings
        stream = cast("VideoStream", container.add_stream(encoder.name, rate=self._rate))
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = dict(encoder.options)
        context = stream.codec_context
        context.colorspace, context.color_range = BT601_MATRIX, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        if encoder.tag is not None:
            context.codec_tag = encoder.tag
        self._stream = stream
        return stream

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._container is not None:
            if error is None and self._stream is not None:
                self._encode(self._stream, None)
            self._container.close()
        if error is None and self.num_frames == 0:
            raise ValueError("chunks: no frames to write")


class GifWriter:
    """Makes a gif with one palette for all frames, which are kept in a nameless file until the last one is known."""

    def __init__(self, path: Path, *, fps: float, settings: str | None = None) -> None:
        self.num_frames = 0
        self._path = path
        self._fps = fps
        self._settings = settings
        self._shape: tuple[int, ...] | None = None
        self._spool: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed by __exit__)
        self._palette: av.filter.Graph | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, frames: np.ndarray) -> None:
        """Append (T, H, W, 3) uint8 frames. Raises ValueError if the size differs from the first one's."""
        for frame in frames:
            shape: tuple[int, ...] = frame.shape
            self._shape = self._shape or shape
            check_same_size(self._shape, shape)
            stride = max(1, math.isqrt(frame.shape[0] * frame.shape[1] // PALETTE_PIXELS))
            sample = PALETTE_LEVELS[frame[::stride, ::stride]]
            if self._palette is None:
                self._palette = _palette_graph(*sample.shape[:2])
            self._palette.push(_timed(sample, self.num_frames))
            with suppress(av.error.BlockingIOError):  # asked for its result a graph takes the frame, else it keeps all
                self._palette.pull()
            self._spool.write(frame.tobytes())
            self.num_frames += 1

    def _frames(self) -> Iterator[np.ndarray]:
        assert self._shape is not None
        self._spool.seek(0)
        for _ in range(self.num_frames):
            yield np.frombuffer(self._spool.read(math.prod(self._shape)), np.uint8).reshape(self._shape)

    def _finish(self) -> None:
        assert self._shape is not None and self._palette is not None
        self._palette.push(None)
        height, width = self._shape[:2]
        graph, palette = _dither_graph(height, width), cast("av.VideoFrame", self._palette.pull())
        palette.pts, palette.time_base = 0, GIF_TIME_BASE
        graph.push(palette, at=1)
        graph.push(None, at=1)
        ends = [round(index * 100 / self._fps) for index in range(self.num_frames + 1)]
        options = {"final_delay": str(ends[-1] - ends[-2])}
        with tempfile.TemporaryFile(dir=self._path.parent) as file:
            with av.open(file, "w", format="gif", options=options) as container:
                stream = container.add_stream("gif", rate=100)
                stream.height, stream.width, stream.pix_fmt = height, width, "pal8"
                for index, frame in enumerate(self._frames()):
                    graph.push(_timed(frame, ends[index]), at=0)
                    for picture in _ready(graph):
                        container.mux(stream.encode(picture))
                graph.push(None, at=0)
                for picture in _ready(graph):
                    container.mux(stream.encode(picture))
                container.mux(stream.encode(None))
            file.seek(0)
            with self._path.open("wb") as target:
                _copy_gif(file, target, self._settings)

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._spool:
            if error is not None:
                return
            if self.num_frames == 0:
                raise ValueError("chunks: no frames to write")
            self._finish()


def check_same_size(expected: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a frame (H, W, 3) has the first frame's height and width."""
    if expected[:2] != shape[:2]:
        raise ValueError(f"frames: expected the first frame's size {expected[:2]}, got {shape[:2]}")


def _rate_of(fps: float) -> Fraction:
    return max(Fraction(fps).limit_denominator(MAX_RATE_DENOMINATOR), Fraction(1, MAX_RATE_DENOMINATOR))


def _timed(frame: np.ndarray, pts: int) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture.pts, picture.time_base = pts, GIF_TIME_BASE
    return picture


def _palette_graph(height: int, width: int) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=GIF_TIME_BASE)
    graph.link_nodes(source, graph.add("palettegen"), graph.add("buffersink")).configure()
    return graph


def _dither_graph(height: int, width: int) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        name="frames", width=width, height=height, format=av.VideoFormat("rgb24"), time_base=GIF_TIME_BASE
    )
    palette = graph.add_buffer(
        name="palette", width=16, height=16, format=av.VideoFormat("bgra"), time_base=GIF_TIME_BASE
    )
    dither = graph.add("paletteuse", DITHER)
    source.link_to(dither, 0, 0)
    palette.link_to(dither, 0, 1)
    dither.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield cast("av.VideoFrame", graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _copy_gif(source: IO[bytes], target: IO[bytes], comment: str | None) -> None:
    """Copy a gif, with a comment before its first picture if there is one: FFmpeg cannot write it."""
    header = source.read(13)
    num_colours = 2 ** ((header[10] & 7) + 1) if header[10] & 0x80 else 0
    target.write(header + source.read(3 * num_colours))
    if comment is not None:
        target.write(b"\x21\xfe")
        data = comment.encode()
        for start in range(0, len(data), 255):
            block = data[start : start + 255]
            target.write(bytes([len(block)]) + block)
        target.write(b"\x00")
    shutil.copyfileobj(source, target)


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> "Iterator[InputContainer]":
    try:
        file = str(path) if content is None else io.BytesIO(content)
        with av.open(file, "r", metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as error:
        raise ValueError(f"path: {path} is not a readable video ({error.strerror})") from None


def stream_file(
    path: Path, *, max_frames: int | None, content: bytes | None = None
) -> Generator[np.ndarray, None, Fraction]:
    """Yield a file's first frames, each (H, W, 3) and turned as is meant, and return the rate.

    With ``content``, that is decoded, and ``path`` only names it. Raises ValueError if it is no video, has no frames,
    or its frames are too large.
    """
    num_frames = 0
    with _opened(path, content) as container:
        stream = _video_stream(path, container)
        _check_pixels(path, stream.width, stream.height)
        for frame in itertools.islice(container.decode(stream), max_frames):
            _check_pixels(path, frame.width, frame.height)
            num_frames += 1
            yield _upright(_to_rgb(frame), frame)
        rate = stream.average_rate or stream.guessed_rate
        if (
            container.format.name == "gif" and stream.frames and stream.duration
        ):  # its average is 25/3 where 8 was meant
            duration_s = stream.duration * GIF_TIME_BASE
            rate = rate_of_delays(stream.frames, duration_s, precision_s=GIF_TIME_BASE)
    if not num_frames or rate is None:
        raise ValueError(f"path: {path} has no frames")
    return rate


def count_frames(path: Path) -> int:
    """Return how many frames a file has, without decoding them. Raises ValueError if it is no video."""
    with _opened(path) as container:
        packets = container.demux(_video_stream(path, container))
        return sum(packet.size > 0 and not packet.is_discard for packet in packets)


def _video_stream(path: Path, container: "InputContainer") -> "VideoStream":
    if not container.streams.video:
        raise ValueError(f"path: {path} has no video stream")
    return container.streams.video[0]


def rate_of_delays(num_frames: int, duration_s: Fraction, *, precision_s: Fraction) -> Fraction:
    """Return the simplest rate with which so many frames last so long, to half the precision."""
    longest, shortest = duration_s + precision_s / 2, max(duration_s - precision_s / 2, precision_s / 2)
    lowest, highest = num_frames / longest, num_frames / shortest
    for denominator in range(1, MAX_RATE_DENOMINATOR + 1):
        candidate = Fraction(math.ceil(lowest * denominator), denominator)
        if candidate <= highest:
            return candidate
    return num_frames / duration_s


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"path: {path}: expected at most {MAX_PIXELS:,} pixels a frame, got {width}x{height}")


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Return (H, W, 3); what is transparent becomes black, as in pictures."""
    if not any(component.is_alpha for component in frame.format.components):
        return frame.to_ndarray(format="rgb24")
    rgba = frame.to_ndarray(format="rgba").astype(np.uint16)
    return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)


def _upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turn and mirror a frame as the display matrix of its file says (phones film in any position)."""
    # Not frame.side_data, which refers back to its frame: hundreds of frames would wait for the garbage collector.
    data = SideDataContainer(frame).get("DISPLAYMATRIX")  # pyright: ignore[reportCallIssue]
    if data is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()  # (x, y) is shown at (a x + c y, b x + d y)
    if a == 0 and d == 0:
        pixels, x_scale, y_scale = pixels.swapaxes(0, 1), c, b
    elif b == 0 and c == 0:
        x_scale, y_scale = a, d
    else:
        return pixels
    return np.ascontiguousarray(pixels[:: -1 if y_scale < 0 else 1, :: -1 if x_scale < 0 else 1])


def read_comment(path: Path) -> str | None:
    """Return the comment of a file, if it has one. Raises ValueError if it is no video."""
    with _opened(path) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    return tags.get("comment")
