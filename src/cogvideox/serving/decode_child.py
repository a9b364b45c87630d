"""The process in which an untrusted picture or video is decoded: no names, no network, little memory and time.

Standard input is the file, standard output the file that it becomes (PNG, mp4), and the last line of standard error an
answer in JSON. The kind of file is decided before (`cogvideox.serving.uploads`), and no other decoder is tried.
The one file of this folder that uses PyAV.
"""

import argparse
import contextlib
import ctypes
import errno
import io
import itertools
import json
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
MAX_OUTPUT_BYTES = 256 * 2**20
FORMATS = {"mp4": "mov", "webm": "matroska"}
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9", "libaom-av1")
GIF_FPS, GIF_PX, NUM_PALETTE_FRAMES = 12.5, 480, 12
"""Of animations at most; more makes them as large as nobody wants them."""
DURATION_SLACK_S = 0.5
MAX_PACKETS = 200_000
INPUT_CODECS_TOLD = "h264, hevc, vp8, vp9 and av1"


class Refused(Exception):
    """What is wrong with a file, for its sender."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def main() -> None:
    """Decode one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("kind", "limits"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    limits = json.loads(arguments.limits)
    answers = os.fdopen(os.dup(2), "w")
    try:
        # Before the limits: libraries are loaded from files.
        decode = _DECODERS.get(arguments.kind, _picture)
        if decode is not _picture:
            import av  # noqa: F401
            import numpy as np  # noqa: F401
        if decode is not _video:
            import PIL.GifImagePlugin
            import PIL.JpegImagePlugin
            import PIL.MpoImagePlugin
            import PIL.PngImagePlugin
            import PIL.WebPImagePlugin  # noqa: F401
        has_network = _confine(limits)
        found = decode(arguments.kind, limits) | {"has_network": has_network}
    except Refused as refused:
        found = {"code": refused.code, "message": refused.message}
    except MemoryError:
        found = {"code": "media_decode_failed", "message": "it needs too much memory to decode"}
    except OSError as error:  # of what is written
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        told = "there is too little free space" if is_full else "what it becomes is too large"
        found = {"code": "storage_full" if is_full else "media_too_large", "message": told}
    answers.write(json.dumps(found) + "\n")
    answers.flush()


def _confine(limits: dict[str, Any]) -> bool:
    """Give up what decoding does not need; return whether there still is a network."""
    has_network = True
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["max_cpu_s"], limits["max_cpu_s"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        has_network = libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0  # not every system lets us
        resource.setrlimit(resource.RLIMIT_AS, (limits["max_memory_bytes"], limits["max_memory_bytes"]))
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    return has_network


def _picture(kind: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Write a picture as PNG, RGB and upright, and nothing else that was in it."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = limits["max_pixels"]
    content = sys.stdin.buffer
    try:
        with Image.open(content, formats=(kind.upper(),)) as opened:
            _check_picture(opened.width, opened.height, limits)
            # A telephone's JPEG may hold a second picture (MPO); a moving picture is refused.
            if kind != "jpeg" and getattr(opened, "n_frames", 1) != 1:
                raise Refused("media_decode_failed", "expected one picture, got an animation")
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            if upright.has_transparency_data:
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
            plain = Image.new("RGB", upright.size)
            plain.paste(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise Refused("media_decode_failed", f"it is no readable {kind.upper()}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused("media_too_large", f"expected at most {limits['max_pixels'] // 10**6} megapixels") from None
    except (OSError, SyntaxError, ValueError, EOFError):
        raise Refused("media_decode_failed", f"it is a damaged {kind.upper()}") from None
    plain.save(sys.stdout.buffer, format="PNG", compress_level=1)
    sys.stdout.buffer.flush()
    return {"media_type": "image/png", "num_frames": 1, "fps": 0.0, "width_px": plain.width, "height_px": plain.height}


def _check_picture(width_px: int, height_px: int, limits: dict[str, Any]) -> None:
    if max(width_px, height_px) > limits["max_side_px"] or width_px * height_px > limits["max_pixels"]:
        most = f"sides of {limits['max_side_px']} px and {limits['max_pixels'] // 10**6} megapixels"
        raise Refused("media_too_large", f"expected at most {most}, got {width_px}x{height_px}")


def _video(kind: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Write the first frames of a video as mp4, without sound."""
    import av
    import av.error
    from av.logging import PANIC, set_level

    set_level(PANIC)
    options = {"protocol_whitelist": "pipe", "enable_drefs": "0", "probesize": str(5 * 2**20)}
    try:
        with av.open(io.BufferedReader(sys.stdin.buffer.raw), "r", format=FORMATS[kind], options=options) as container:  # pyright: ignore[reportAttributeAccessIssue]
            return _transcode(container, limits)
    except av.error.FFmpegError as error:
        raise Refused("media_decode_failed", f"it is no readable video ({error.strerror})") from None
    except (EOFError, ValueError, OSError):
        raise Refused("media_decode_failed", "it is no readable video") from None


def _animation(_: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Write a video of ours as an endless GIF, smaller and with fewer frames if it is large."""
    import av.error

    try:
        pictures, stride, fps = _small_pictures(limits)
    except av.error.FFmpegError as error:
        raise Refused("media_decode_failed", f"it is no readable video ({error.strerror})") from None
    # A GIF counts in hundredths: each frame begins where the nearest one does, so that the whole is as long.
    begins = [round(100 * stride / fps * index) for index in range(len(pictures) + 1)]
    lengths_ms = [max(10 * (end - begin), 20) for begin, end in itertools.pairwise(begins)]
    made = io.BytesIO()
    options = {"save_all": True, "append_images": pictures[1:], "loop": 0, "duration": lengths_ms, "optimize": False}
    pictures[0].save(made, "GIF", **options)
    sys.stdout.buffer.write(made.getbuffer())
    sys.stdout.buffer.flush()
    return {"num_frames": len(pictures), "fps": fps}


def _small_pictures(limits: dict[str, Any]) -> tuple[list[Any], int, float]:
    """Return frames with one palette, every which one of the video that is, and the video's rate."""
    import av
    from PIL import Image

    with av.open(io.BufferedReader(sys.stdin.buffer.raw), "r", format="mov") as container:  # pyright: ignore[reportAttributeAccessIssue]
        fps = float(container.streams.video[0].average_rate or 8)
        stride = max(round(fps / GIF_FPS), 1)
        pictures = []
        for frame in itertools.islice(container.decode(video=0), 0, limits["max_frames"] * stride, stride):
            scale = min(GIF_PX / max(frame.width, frame.height), 1.0)
            width_px, height_px = (max(round(side * scale), 1) for side in (frame.width, frame.height))
            pictures.append(frame.to_image(width=width_px, height=height_px))
    if not pictures:
        raise Refused("media_decode_failed", "it has no frames")
    samples = pictures[:: -(-len(pictures) // NUM_PALETTE_FRAMES)]
    column = Image.new("RGB", (samples[0].width, sum(sample.height for sample in samples)))
    for index, sample in enumerate(samples):
        column.paste(sample, (0, index * sample.height))
    palette = column.quantize(256, Image.Quantize.MEDIANCUT)
    shown = [picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures]
    return shown, stride, fps


def _transcode(container: Any, limits: dict[str, Any]) -> dict[str, Any]:
    from av.stream import Disposition

    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        raise Refused("media_decode_failed", "it has no video stream")
    stream = videos[0]
    if stream.codec_context.name not in CODECS:
        raise Refused("unsupported_media_type", f"its video is {stream.codec_context.name}, not {INPUT_CODECS_TOLD}")
    fps = _checked_stream(container, stream, limits)
    stream.thread_count = 1
    frames = []
    for packet in itertools.islice(container.demux(stream), MAX_PACKETS):
        for frame in packet.decode():
            frames.append(_fitted(frame, limits))
            if len(frames) == limits["max_frames"]:
                return _write(frames, fps)
    if not frames:
        raise Refused("media_decode_failed", "it has no frames")
    return _write(frames, fps)


def _checked_stream(container: Any, stream: Any, limits: dict[str, Any]) -> float:
    """Return the rate of a stream. Raises Refused if it is too large, long or fast."""
    width_px, height_px = stream.codec_context.width, stream.codec_context.height
    if max(width_px, height_px) > limits["max_side_px"]:
        most = limits["max_side_px"]
        raise Refused("media_too_large", f"expected sides of at most {most} px, got {width_px}x{height_px}")
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    fps = 25.0 if rate is None or rate <= 0 else float(rate)
    if fps > limits["max_fps"]:
        raise Refused("media_too_large", f"expected at most {limits['max_fps']:g} frames a second, got {fps:g}")
    lengths_s = []
    if container.duration:
        lengths_s.append(container.duration / 10**6)
    if stream.duration and stream.time_base:
        lengths_s.append(float(stream.duration * stream.time_base))
    if lengths_s and max(lengths_s) > limits["max_seconds"] + DURATION_SLACK_S:
        raise Refused("media_too_large", f"expected at most {limits['max_seconds']:g} s, got {max(lengths_s):g} s")
    return max(fps, 1.0)


def _fitted(frame: Any, limits: dict[str, Any]) -> "np.ndarray":
    """Return a frame that still covers the size of the video to be made, with even sides."""
    from av.video.reformatter import Interpolation

    if max(frame.width, frame.height) > limits["max_side_px"]:
        raise Refused("media_too_large", f"expected sides of at most {limits['max_side_px']} px")
    scale = min(max(limits["cover_px"][0] / frame.height, limits["cover_px"][1] / frame.width), 1.0)
    height_px, width_px = (max(round(side * scale / 2) * 2, 2) for side in (frame.height, frame.width))
    array = frame.to_ndarray(format="rgb24", width=width_px, height=height_px, interpolation=Interpolation.LANCZOS)
    turns = -round(getattr(frame, "rotation", 0) / 90) % 4
    if turns:  # telephones film any way
        import numpy as np

        array = np.ascontiguousarray(np.rot90(array, -turns))
    return array


def _write(frames: "list[np.ndarray]", fps: float) -> dict[str, Any]:
    import av
    import numpy as np

    height_px, width_px = frames[0].shape[:2]
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=_rate(fps))
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.options = {"crf": "6", "preset": "veryfast", "threads": "1"}
        for array in frames:
            if array.shape[:2] != (height_px, width_px):
                raise Refused("media_decode_failed", "its frames are not all of one size")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")))
        container.mux(stream.encode(None))
    sys.stdout.buffer.write(made.getbuffer())
    sys.stdout.buffer.flush()
    facts = {"num_frames": len(frames), "fps": fps, "width_px": width_px, "height_px": height_px}
    return {"media_type": "video/mp4"} | facts


def _rate(fps: float) -> Any:
    from fractions import Fraction

    return Fraction(fps).limit_denominator(1001)


_DECODERS = {"mp4": _video, "webm": _video, "gif": _animation}

if __name__ == "__main__":
    main()
