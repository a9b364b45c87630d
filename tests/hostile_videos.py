"""Video files that are broken, lie, or are none, made from one real clip and from rendered frames."""

import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from PIL import Image

Expected = Literal["clips", "damaged", "rejected"]
"""Decodes to its end and may give clips; decodes in part or with errors; gives no clip at all."""

RATE = 24
ROTATED = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
HUNDRED_HOURS_S = 360_000
LONG_NAME = "n" * 196 + ".mp4"
RAW_NAME = os.fsdecode(b"raw\xff\xe9bytes.mp4")
HOSTILE_NAMES = ("two\nlines.mp4", 'it\'s "quoted".mp4', "<script>alert(1)<!--.mp4", LONG_NAME, "-rf.mp4", RAW_NAME)
SKY, SEED = (90, 140, 200), 0

CODEC_OPTIONS = {"libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}}

Timed = tuple[np.ndarray, int]
"""A frame (H, W, 3) uint8 and its time in 1/1000 s."""


def write_hostile_videos(folder: Path, clip: Path) -> dict[str, Expected]:
    """Write them into a folder and return what is expected of each, by file name.

    Names may hold bytes that are not UTF-8, as `os.fsdecode` gives them. Some are no files: a FIFO, links, a directory.
    ``segment.ts`` is what the playlists name and is an ordinary video.

    Args:
        folder: is made if it does not exist.
        clip: a short H.264 video in an mp4 file, a few seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, Expected] = {}
    for write in (_cut, _lying, _timed, _shaped, _coded, _streams, _not_videos, _not_files, _named):
        expected |= write(folder, clip)
    return expected


def frames(num_frames: int = 24, height_px: int = 96, width_px: int = 128) -> Iterator[Timed]:
    """Yield a disc that moves over a still, textured ground."""
    random = np.random.default_rng(SEED)
    ground = np.full((height_px, width_px, 3), SKY, np.uint8) + random.integers(
        0, 40, (height_px, width_px, 1), np.uint8
    )
    y, x = np.ogrid[:height_px, :width_px]
    for index in range(num_frames):
        centre = width_px * (0.2 + 0.6 * index / max(num_frames - 1, 1))
        disc = (x - centre) ** 2 + (y - height_px / 2) ** 2 < (height_px / 4) ** 2
        yield np.where(disc[..., None], np.array((230, 90, 40), np.uint8), ground), index * 1000 // RATE


def encode(
    path: Path,
    codec: str,
    timed: Iterable[Timed],
    *,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    file_options: dict[str, str] | None = None,
    keep: Callable[[int], bool] = lambda index: True,
) -> Path:
    """Encode frames into a file; ``keep`` chooses the packets that are written."""
    with av.open(path, "w", options=file_options or {}) as container:
        stream: Any = None
        index = 0
        for image, time_ms in timed:
            if stream is None:
                stream = container.add_stream(codec, rate=RATE, options=options or {})
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pixel_format
                stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            for packet in stream.encode(frame):
                if keep(index):
                    container.mux(packet)
                index += 1
        for packet in stream.encode(None):
            if keep(index):
                container.mux(packet)
            index += 1
    return path


def _remux(source: Path, target: Path, file_options: dict[str, str]) -> bytes:
    with av.open(source) as container, av.open(target, "w", options=file_options) as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return target.read_bytes()


def _all(names: Iterable[str], expected: Expected) -> dict[str, Expected]:
    return dict.fromkeys(names, expected)


def _flip(data: bytes) -> bytes:
    """Turn over one byte of each 401 in the middle part."""
    array = np.frombuffer(data, np.uint8).copy()
    array[len(array) // 3 : 2 * len(array) // 3 : 401] ^= 0xFF
    return array.tobytes()


def _cut(folder: Path, clip: Path) -> dict[str, Expected]:
    """Files that were copied or stored badly."""
    fast = _remux(clip, folder / "cut_index_first.mp4", {"movflags": "faststart"})
    (folder / "cut_index_first.mp4").write_bytes(fast[: len(fast) // 2])
    late = _remux(clip, folder / "cut_index_last.mp4", {})
    (folder / "cut_index_last.mp4").write_bytes(late[: len(late) // 2])
    matroska = _remux(clip, folder / "cut.mkv", {})
    (folder / "cut.mkv").write_bytes(matroska[: len(matroska) // 2])
    (folder / "flipped_h264.mkv").write_bytes(_flip(matroska))
    part4 = encode(folder / "flipped_mpeg4.avi", "mpeg4", frames(48))
    part4.write_bytes(_flip(part4.read_bytes()))
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "header_only.mp4").write_bytes(fast[: struct.unpack(">I", fast[:4])[0]])
    with av.open(folder / "no_frames.mp4", "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        container.start_encoding()
    encode(
        folder / "no_keyframe_first.ts",
        "libx264",
        frames(48),
        options={"g": "24", "bf": "0", "sc_threshold": "0", "forced-idr": "1"},
        keep=lambda index: index > 0,
    )
    return {
        "cut_index_first.mp4": "damaged",
        "cut_index_last.mp4": "rejected",
        "cut.mkv": "damaged",
        "flipped_h264.mkv": "damaged",
        "flipped_mpeg4.avi": "damaged",
        "empty.mp4": "rejected",
        "header_only.mp4": "rejected",
        "no_frames.mp4": "rejected",
        "no_keyframe_first.ts": "clips",  # decoders begin at the next one and say nothing
    }


def _lying(folder: Path, clip: Path) -> dict[str, Expected]:
    """Headers that say something else than the frames."""
    data = bytearray(encode(folder / "lying_duration.mkv", "libx264", frames()).read_bytes())
    struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, HUNDRED_HOURS_S * 1000.0)
    (folder / "lying_duration.mkv").write_bytes(data)
    data = bytearray(encode(folder / "lying_index.mp4", "libx264", frames()).read_bytes())
    for box, at in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24), (b"elst", 12), (b"stts", 12), (b"stsz", 12)):
        struct.pack_into(">I", data, data.index(box) + at, 100_000_000)
    (folder / "lying_index.mp4").write_bytes(data)
    data = bytearray(encode(folder / "lying_frame_count.avi", "mpeg4", frames()).read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 1_000_000)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 1_000_000)
    (folder / "lying_frame_count.avi").write_bytes(data)
    rotated = bytearray(encode(folder / "rotated.mp4", "libx264", frames()).read_bytes())
    at = rotated.index(b"tkhd") + 44
    rotated[at : at + len(ROTATED)] = ROTATED
    (folder / "rotated.mp4").write_bytes(rotated)
    encode(folder / "wide_pixels.mp4", "libx264", frames(), options={"aspect": "2/1"})
    names = ("lying_duration.mkv", "lying_frame_count.avi", "rotated.mp4", "wide_pixels.mp4")
    return _all(["lying_index.mp4"], "rejected") | _all(names, "clips")


def _timed(folder: Path, clip: Path) -> dict[str, Expected]:
    """Times that do not go on evenly."""
    steps_ms = np.random.default_rng(SEED).integers(5, 120, 48).cumsum().tolist()
    uneven = [(image, time_ms) for (image, _), time_ms in zip(frames(48), steps_ms, strict=True)]
    encode(folder / "variable_rate.mkv", "libx264", uneven)
    gap = [
        (image, time_ms + (5 * 3600 * 1000 if index >= 24 else 0)) for index, (image, time_ms) in enumerate(frames(48))
    ]
    encode(folder / "gap_of_hours.mkv", "libx264", gap)
    part = encode(folder / "segment.ts", "libx264", frames(36)).read_bytes()
    (folder / "times_jump_back.ts").write_bytes(part + part)
    return _all(("variable_rate.mkv", "gap_of_hours.mkv", "segment.ts", "times_jump_back.ts"), "clips")


def _shaped(folder: Path, clip: Path) -> dict[str, Expected]:
    """Sizes that code forgets."""
    encode(folder / "two_px.mkv", "ffv1", frames(24, 2, 2))
    encode(folder / "one_frame.mp4", "libx264", frames(1))
    encode(folder / "odd_size.mp4", "libx264", frames(24, 47, 63), pixel_format="yuv444p")
    encode(folder / "one_row.mkv", "ffv1", frames(24, 1, 320), pixel_format="yuv444p")
    large_frames = ((image.repeat(40, 0).repeat(40, 1), time_ms) for image, time_ms in frames(2, 108, 192))
    encode(folder / "8k.mp4", "mpeg4", large_frames, options={"qscale": "20"})
    small = encode(folder / "small.h264", "libx264", frames(24))
    large = encode(folder / "large.h264", "libx264", frames(24, 160, 96))
    (folder / "size_changes.h264").write_bytes(small.read_bytes() + large.read_bytes())
    parts = [encode(folder / "part.ts", "libx264", frames(24, *size)).read_bytes() for size in ((96, 128), (160, 96))]
    (folder / "size_changes.ts").write_bytes(b"".join(parts))
    for part in (small, large, folder / "part.ts"):
        part.unlink()
    names = ("two_px.mkv", "one_frame.mp4", "odd_size.mp4", "one_row.mkv", "8k.mp4", "size_changes.h264")
    return _all((*names, "size_changes.ts"), "clips")


def _coded(folder: Path, clip: Path) -> dict[str, Expected]:
    """Formats of pixels other than 8-bit 4:2:0."""
    kinds = (
        ("ten_bit.mp4", "libx264", "yuv420p10le"),
        ("gray.mkv", "ffv1", "gray"),
        ("gray_16_bit.mkv", "ffv1", "gray16le"),
        ("rgb.mkv", "ffv1", "bgr0"),
        ("rgb_h264.mp4", "libx264rgb", "rgb24"),
        ("alpha_qtrle.mov", "qtrle", "argb"),
        ("alpha_prores.mov", "prores_ks", "yuva444p10le"),
        ("alpha_vp9.webm", "libvpx-vp9", "yuva420p"),
        ("animated.gif", "gif", "rgb8"),
    )
    for name, codec, pixel_format in kinds:
        options = CODEC_OPTIONS.get(codec, {})
        encode(folder / name, codec, frames(12, 64, 96), pixel_format=pixel_format, options=options)

    encode(folder / "interlaced.ts", "libx264", frames(), options={"x264-params": "tff=1"})
    return _all((*(name for name, _, _ in kinds), "interlaced.ts"), "clips")


def _tone(container: Any, codec: str) -> None:
    stream = container.add_stream(codec, rate=44_100)
    stream.layout = "mono"
    wave = (np.sin(np.arange(44_100) / 20) * 8000).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
    frame.sample_rate = 44_100
    for packet in [*stream.encode(frame), *stream.encode(None)]:
        container.mux(packet)


def _streams(folder: Path, clip: Path) -> dict[str, Expected]:
    """More or other streams than one of video."""
    for name, codec in (("audio_only.mp4", "aac"), ("audio_only.mp3", "libmp3lame")):
        with av.open(folder / name, "w") as container:
            _tone(container, codec)
    picture = next(iter(frames(1)))[0]
    Image.fromarray(picture).save(folder / "cover.jpg")
    cover = (folder / "cover.jpg").read_bytes()
    (folder / "cover.jpg").unlink()
    body = b"\x00image/jpeg\x00\x03\x00" + cover
    tag = b"APIC" + struct.pack(">IH", len(body), 0) + body
    size = bytes((len(tag) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    sound = (folder / "audio_only.mp3").read_bytes()
    (folder / "cover_and_audio.mp3").write_bytes(b"ID3\x03\x00\x00" + size + tag + sound)
    with av.open(folder / "two_videos.mp4", "w") as container:
        streams: list[Any] = []
        for height_px, width_px in ((96, 128), (48, 64)):
            stream: Any = container.add_stream("libx264", rate=RATE)
            stream.height, stream.width, stream.pix_fmt = height_px, width_px, "yuv420p"
            streams.append(stream)
        for stream in streams:
            for image, _ in frames(24, stream.height, stream.width):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    rejected = ("audio_only.mp4", "audio_only.mp3", "cover_and_audio.mp3")
    return _all(rejected, "rejected") | _all(["two_videos.mp4"], "clips")


def _not_videos(folder: Path, clip: Path) -> dict[str, Expected]:
    """Other things under the name of a video; none may be opened, least of all what it names."""
    picture = next(iter(frames(1)))[0]
    for name, kind in (("png.mp4", "PNG"), ("jpeg.mp4", "JPEG")):
        Image.fromarray(picture).save(folder / name, format=kind)
    with zipfile.ZipFile(folder / "zip.mp4", "w") as archive:
        archive.writestr("clip.txt", "text")
    segment = folder / "segment.ts"
    texts = {
        "text.mp4": "Once upon a time there was a text.\n" * 100,
        "html.mp4": "<!DOCTYPE html><html><body><video src='file:///etc/passwd'></video></body></html>\n",
        "playlist_passwd.mp4": _playlist("file:///etc/passwd"),
        "playlist_local.mp4": _playlist("segment.ts"),
        "playlist.m3u8": _playlist(segment.as_uri()),
        "concat.mp4": "ffconcat version 1.0\nfile segment.ts\n",
        "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "manifest.mp4": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        f'bandwidth="1"><BaseURL>{segment.as_uri()}</BaseURL></Representation></AdaptationSet></Period></MPD>\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    with open(folder / "zeros_2_gb.mp4", "wb") as file:
        file.truncate(2 << 30)
    return _all(("png.mp4", "jpeg.mp4", "zip.mp4", *texts, "zeros_2_gb.mp4"), "rejected")


def _playlist(target: str) -> str:
    lines = ("#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXTINF:2.0,", target, "#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _not_files(folder: Path, clip: Path) -> dict[str, Expected]:
    """Entries of a directory that cannot be read as a file, or block who tries."""
    os.mkfifo(folder / "fifo.mp4")
    (folder / "broken_link.mp4").symlink_to("nowhere.mp4")
    (folder / "link_loop.mp4").symlink_to("link_loop.mp4")
    (folder / "link_to_folder.mp4").symlink_to(".")
    (folder / "folder.mp4").mkdir()
    unreadable = folder / "unreadable.mp4"
    unreadable.write_bytes(_distinct(clip.read_bytes(), 99))
    unreadable.chmod(0)
    names = ("fifo.mp4", "broken_link.mp4", "link_loop.mp4", "link_to_folder.mp4", "folder.mp4")
    may_read_all = os.access(unreadable, os.R_OK)  # root
    return _all(names, "rejected") | _all([unreadable.name], "clips" if may_read_all else "rejected")


def _named(folder: Path, clip: Path) -> dict[str, Expected]:
    """Good videos with names that break commands, tables and pages, each of its own content, and one of them twice."""
    data = clip.read_bytes()
    for index, name in enumerate(HOSTILE_NAMES):
        (folder / name).write_bytes(_distinct(data, index))
    for name in ("same_1.mp4", "same_2.mp4"):
        shutil.copyfile(clip, folder / name)
    return _all((*HOSTILE_NAMES, "same_1.mp4", "same_2.mp4"), "clips")


def _distinct(data: bytes, number: int) -> bytes:
    """Return an mp4 file with a box at its end that readers pass over."""
    return data + struct.pack(">I4sI", 12, b"free", number)
