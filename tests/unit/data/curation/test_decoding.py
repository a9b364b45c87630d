"""The decoding process: what it gives of a file, how it writes clips, and that it breaks for one file alone."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cogvideox.data.curation import decoding
from cogvideox.data.curation.decoding import Decoder, DecodingError, DecodingLimits
from cogvideox.data.curation.operators import ViewName
from cogvideox.data.curation.wire import NO_PTS
from curation_corpus import counted, mean_difference, read_frames, write_video
from real_videos import real_video

VIEWS: frozenset[ViewName] = frozenset({"thumbs", "motion", "detail", "native", "changes"})
ROWS = (
    "times_s",
    "pts",
    "is_damaged",
    "thumbs",
    "motion",
    "motion_frames",
    "detail",
    "native",
    "detail_frames",
    "changes",
)


@pytest.fixture(scope="module")
def decoder():
    with Decoder(DecodingLimits()) as made:
        yield made


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("good") / "good.mp4", "libx264", counted(30), 24)


def read(decoder: Decoder, path: Path, views: frozenset[ViewName] = VIEWS) -> dict[str, Any]:
    """All that is said of a file, its frames joined."""
    facts, *middle, end = decoder.stream_views(path, views)
    assert facts.kind == "facts" and end.kind == "end" and {message.kind for message in middle} == {"frames"}
    found: dict[str, Any] = {"facts": facts.values, "end": end.values, "sizes": {}}
    for message in middle:
        found["sizes"][message.values["first"]] = (message.values["height_px"], message.values["width_px"])
    for name in ROWS:
        found[name] = np.concatenate([message.arrays[name] for message in middle if message.arrays[name].size] or [[]])
    return found


# What comes of a file


@pytest.mark.parametrize(
    ("fps", "num_frames", "size"), [(25, 60, (360, 656)), (10, 25, (208, 96)), (60, 90, (96, 128))]
)
def test_views_and_their_times(
    decoder: Decoder, tmp_path: Path, fps: int, num_frames: int, size: tuple[int, int]
) -> None:
    path = write_video(tmp_path / "video.mp4", "libx264", counted(num_frames, size=size), fps, {"crf": "10"})
    found, images = read(decoder, path), read_frames(path, num_frames, size)
    assert set(found["sizes"].values()) == {size} and found["end"]["num_frames"] == num_frames
    assert found["end"]["end_s"] == pytest.approx(num_frames / fps) and found["facts"]["nominal_fps"] == fps
    np.testing.assert_allclose(found["times_s"], np.arange(num_frames) / fps, atol=1e-3)
    assert found["thumbs"].shape == (num_frames, 27, 48, 3)
    small = read_frames(path, num_frames, (27, 48))
    assert mean_difference(found["thumbs"], np.stack(small)) < 1

    # Motion: every frame that begins a new eighth of a second, no more than there are.
    places, times_s = found["motion_frames"], np.arange(num_frames) / fps
    expected = [
        0,
        *(
            index
            for index in range(1, num_frames)
            if int(times_s[index] * 8 + 0.01) > int(times_s[index - 1] * 8 + 0.01)
        ),
    ]
    assert places.tolist() == expected
    assert len(places) == pytest.approx(min(fps, 8) * num_frames / fps, abs=1)
    height_px, width_px = found["motion"].shape[1:3]
    assert height_px % 8 == width_px % 8 == 0 and 0.8 < height_px * width_px / (320 * 180) < 1.2
    assert height_px / width_px == pytest.approx(size[0] / size[1], rel=0.06)

    # Detail: each half second, never enlarged; native: coded luma, its middle, on the grid of 8.
    assert found["detail_frames"].tolist() == [-(-half * fps // 2) for half in range(-(-2 * num_frames // fps))]
    scale = min(1, 640 / max(size))
    assert found["detail"].shape[1:] == (round(size[0] * scale), round(size[1] * scale), 3)
    sides = tuple(min(side, 384) for side in size)
    assert found["native"].shape == (len(found["detail"]), *sides)
    starts = [max(0, (side - 384) // 2 // 8 * 8) for side in size]
    with av.open(path) as container:
        lumas = [frame.to_ndarray()[: size[0]] for frame in container.decode(video=0)]
    for picture, place in zip(found["native"], found["detail_frames"], strict=True):
        cut = lumas[place][starts[0] : starts[0] + 384, starts[1] : starts[1] + 384]
        np.testing.assert_array_equal(picture, cut)
    for picture, place in zip(found["detail"], found["detail_frames"], strict=True):
        near = {
            by: mean_difference(images[place + by], resized(picture, size))
            for by in (-2, 0, 2)
            if 0 <= place + by < num_frames
        }
        assert min(near, key=near.__getitem__) == 0


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
    return frame.reformat(size[1], size[0], interpolation="AREA").to_ndarray()


def test_changes_are_nothing_only_for_the_same_frame(decoder: Decoder, tmp_path: Path) -> None:
    a, b = list(counted(2))
    one_pixel = a.copy()
    one_pixel[41, 1] = 255  # in a row that a coarse look would pass over
    sequence = [a, a, b, b, a, one_pixel, a]
    path = write_video(tmp_path / "video.mkv", "ffv1", sequence, 24)
    changes = read(decoder, path)["changes"]
    assert np.isnan(changes[0]) and (changes[[1, 3]] == 0).all() and (changes[[2, 4, 5, 6]] > 0).all()
    with av.open(path) as container:
        lumas = [frame.to_ndarray()[:96].astype(int) for frame in container.decode(video=0)]
    assert changes[2] == pytest.approx(np.abs(lumas[2] - lumas[1])[::4].mean(), rel=1e-5)
    assert changes[5] < 0.1


def test_only_what_is_wanted_is_made(decoder: Decoder, good: Path) -> None:
    found = read(decoder, good, frozenset({"thumbs"}))
    assert len(found["thumbs"]) == len(found["times_s"]) == 30
    assert all(
        len(found[name]) == 0 for name in ("motion", "motion_frames", "detail", "native", "detail_frames", "changes")
    )
    found = read(decoder, good, frozenset({"native"}))
    assert (
        len(found["native"]) == len(found["detail_frames"]) == 3 and len(found["detail"]) == len(found["thumbs"]) == 0
    )
    assert len(read(decoder, good, frozenset())["times_s"]) == 30


def test_limits_of_length_end_a_file_early(good: Path) -> None:
    for limits in (DecodingLimits(max_frames=10), DecodingLimits(max_duration_s=0.4)):
        with Decoder(limits) as made:
            found = read(made, good)
            assert found["end"]["num_frames"] == 10 and "limits" in found["end"]["limited"]
    with pytest.raises(ValueError, match="max_silence_s"):
        DecodingLimits(max_silence_s=0)
    with pytest.raises(ValueError, match="max_memory_mib"):
        DecodingLimits(max_memory_mib=100)


# Files that break the process

BROKEN = """
    import json, os, signal, sys, time
    sys.stdin.readline()
    from cogvideox.data.curation.decode_child import send
    import numpy as np
    out = os.fdopen(os.dup(1), "wb")
    facts = dict(kind="facts", container="x", codec="x", nominal_fps=24.0, promised_frames=0, promised_s=0.0)
    if {say!r} != "nothing":
        send(out, facts)
        n = np.zeros(24)
        rows = dict(times_s=n, pts=n.astype(np.int64), is_damaged=n > 1, changes=n.astype(np.float32))
        rows |= dict(motion_frames=np.zeros(0, np.int64), detail_frames=np.zeros(0, np.int64))
        rows |= {{name: np.zeros((0, 0, 0, 3), np.uint8) for name in ("thumbs", "motion", "detail", "native")}}
        send(out, dict(kind="frames", first=0, height_px=8, width_px=8), **rows)
    if {say!r} == "half":
        out.write(b"\\x40\\0\\0\\0{{\\"kind\\"")
        out.flush()
    {then}
"""


def broken_once(monkeypatch: pytest.MonkeyPatch, say: str, then: str) -> list[subprocess.Popen]:
    """Let the next decoding process be another program, and the ones after it what they are; return all of them."""
    started: list[subprocess.Popen] = []
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen:
        if not started:
            command = [sys.executable, "-c", textwrap.dedent(BROKEN).format(say=say, then=then)]
        started.append(real(command, **options))
        return started[-1]

    monkeypatch.setattr(decoding.subprocess, "Popen", start)
    return started


@pytest.mark.parametrize(
    ("say", "then", "reason"),
    [
        ("frames", "os.kill(os.getpid(), signal.SIGSEGV)", r"crashed \(signal 11\)"),
        ("nothing", "os.kill(os.getpid(), signal.SIGKILL)", r"crashed \(signal 9\)"),
        ("half", "sys.exit(3)", r"ended \(code 3\)"),
        ("frames", "time.sleep(60)", "hung: no frame in 3 s"),
        ("half", "time.sleep(60)", "hung: no frame in 3 s"),
        ("nothing", "out.write(b'Error: free(): ' * 9); out.flush(); time.sleep(60)", "hung: no frame in 3 s"),
        ("frames", "out.write(b'\\5\\0\\0\\0abcde'); out.flush(); time.sleep(60)", "gave no message that can be read"),
    ],
)
@pytest.mark.timeout(30)
def test_a_file_that_breaks_the_process_costs_only_itself(
    good: Path, monkeypatch: pytest.MonkeyPatch, say: str, then: str, reason: str
) -> None:
    started = broken_once(monkeypatch, say, then)
    with Decoder(DecodingLimits(max_silence_s=3 if "hung" in reason else 20)) as made:
        got: list[str] = []
        with pytest.raises(DecodingError, match=reason):
            for message in made.stream_views(good, VIEWS):
                got.append(message.kind)
        assert got == ([] if say == "nothing" else ["facts", "frames"])
        assert started[0].wait(5) is not None
        made.limits = DecodingLimits()  # the machine may be busy
        assert read(made, good)["end"]["num_frames"] == 30 and len(started) == 2
        assert read(made, good)["end"]["num_frames"] == 30 and len(started) == 2  # and serves on
    assert started[1].wait(5) is not None


def test_a_process_that_died_while_it_waited_is_started_anew(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen] = []
    real = subprocess.Popen
    monkeypatch.setattr(decoding.subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[-1])
    with Decoder(DecodingLimits()) as made:
        read(made, good)
        started[0].kill()
        started[0].wait()
        assert read(made, good)["end"]["num_frames"] == 30
        # Who stops listening in the middle gets the next file from its start.
        next(iter(made.stream_views(good, VIEWS)))
        assert read(made, good)["facts"]["container"].startswith("mov")


def test_what_needs_too_much_memory_says_so(good: Path, tmp_path: Path) -> None:
    large = tmp_path / "16k.mkv"
    with av.open(large, "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=24)
        stream.height, stream.width, stream.pix_fmt = 8640, 15360, "yuvj420p"
        grey = np.full((8640 * 3 // 2, 15360), 128, np.uint8)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "yuvj420p")))
        container.mux(stream.encode(None))
    with Decoder(DecodingLimits(max_memory_mib=512)) as small:
        with pytest.raises(DecodingError, match="memory"):
            read(small, large)
        assert read(small, good)["end"]["num_frames"] == 30
    with Decoder(DecodingLimits()) as made:
        assert read(made, large)["detail"].shape == (1, 360, 640, 3)


@pytest.mark.parametrize("content", [b"", b"text", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", bytes(5000)])
def test_what_is_no_video_says_so(decoder: Decoder, good: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    for path in (tmp_path / "a.mp4", tmp_path / "none.mp4"):
        with pytest.raises(DecodingError, match=r"video|No such file"):
            read(decoder, path)
    assert read(decoder, good)["end"]["num_frames"] == 30


def test_names_are_no_addresses(decoder: Decoder, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http:example.mp4", "concat:a.mp4", "-i.mp4", "a%03d.mp4", "a?b#c.mp4", "pipe:0"):
        (tmp_path / name).write_bytes(good.read_bytes())
        with Decoder(DecodingLimits()) as made:  # in this folder
            assert read(made, Path(name), frozenset())["end"]["num_frames"] == 30, name


# Clips


def clip_of(frames: dict[str, Any], start: int, end: int, out: Path, **options: Any) -> dict[str, Any]:
    times_s = [*frames["times_s"], frames["end"]["end_s"]]
    place = {
        "start_pts": int(frames["pts"][start]),
        "start_s": float(times_s[start]),
        "end_s": float(times_s[min(end, len(times_s) - 1)]),
    }
    how = {"fps": 24.0, "crf": 12, "preset": "ultrafast", "max_short_side_px": 0} | options
    return {"start_frame": start, "end_frame": end, "out": str(out)} | place | how


def failures(decoder: Decoder, path: Path, clips: list[dict[str, Any]]) -> dict[str, str]:
    """The clips that could not be written, and why."""
    return {out: reason for out, reason in decoder.transcode(path, clips) if reason}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("far.mp4", "libx264", {"bf": "3", "g": "50"}),
        ("far.mkv", "libx264", {"x264-params": "open-gop=1:keyint=30:bframes=3:scenecut=0"}),
        ("far.ts", "libx264", {"x264-params": "open-gop=1:keyint=30:bframes=3:scenecut=0"}),
        ("far.avi", "mpeg4", {"bf": "2", "g": "60", "qscale": "3"}),
        ("far.mpg", "mpeg2video", {"bf": "2", "g": "15", "qscale": "3"}),
        (
            "far.hevc.mkv",
            "libx265",
            {"preset": "ultrafast", "x265-params": "log-level=none:keyint=40:bframes=3:open-gop=1"},
        ),
        ("far.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0", "g": "64"}),
    ],
)
def test_clips_are_found_to_the_frame(
    decoder: Decoder, tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    """Beside each other, far from each other, at key frames and between them."""
    path = write_video(tmp_path / name, codec, counted(680, size=(64, 96)), 24, options)
    images, found = read_frames(path, 680, (64, 96)), read(decoder, path, frozenset())
    assert found["end"]["num_frames"] == len(images) == 680
    spans = [(0, 12), (12, 20), (37, 45), (330, 342), (600, 608), (608, 616)]
    clips = [clip_of(found, *span, tmp_path / f"{span[0]}.mp4") for span in spans]
    for clip in clips[4:]:
        clip["start_pts"] = clip["start_pts"] if clip["start_frame"] == 608 else NO_PTS  # its times do not find it
    assert failures(decoder, path, clips) == {}
    for (start, end), clip in zip(spans, clips, strict=True):
        shown = read_frames(Path(clip["out"]), 100, (64, 96))
        assert len(shown) == end - start
        for index, picture in enumerate(shown):
            first = max(0, start + index - 3)
            near = [mean_difference(picture, image) for image in images[first : start + index + 4]]
            assert first + int(np.argmin(near)) == start + index, (name, start, index, near)


def test_how_clips_are_written(decoder: Decoder, good: Path, tmp_path: Path) -> None:
    found = read(decoder, good, frozenset())
    clip = clip_of(found, 3, 27, tmp_path / "a.mp4", max_short_side_px=49)
    assert failures(decoder, good, [clip]) == {}
    with av.open(tmp_path / "a.mp4") as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.height, stream.width, stream.average_rate, stream.frames) == (48, 64, 24, 24)
    for spans in ([(0, 40)], [(0, 10), (60, 70), (5, 8)]):
        clips = [
            clip_of(found, min(start, 29), end, tmp_path / f"{end}.mp4") | {"start_frame": start}
            for start, end in spans
        ]
        failed = failures(decoder, good, clips)
        lacking = [str(tmp_path / f"{end}.mp4") for _, end in spans if end > 30]
        assert list(failed) == lacking and all("frames" in reason for reason in failed.values()), failed
    assert len(read_frames(tmp_path / "8.mp4", 99, (96, 128))) == 3
    clip = clip_of(found, 0, 5, tmp_path / "no folder" / "a.mp4")
    assert list(failures(decoder, good, [clip, clip_of(found, 5, 9, tmp_path / "b.mp4")])) == [clip["out"]]
    assert len(read_frames(tmp_path / "b.mp4", 99, (96, 128))) == 4


def test_clips_of_intra_coded_files_are_coded_as_others_are(decoder: Decoder, tmp_path: Path) -> None:
    """The encoder must not take over which frames the source's encoder made key frames."""
    path = write_video(tmp_path / "intra.mp4", "libx264", counted(40), 24, {"g": "1"})
    assert failures(decoder, path, [clip_of(read(decoder, path, frozenset()), 0, 40, tmp_path / "a.mp4")]) == {}
    with av.open(tmp_path / "a.mp4") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert len(packets) == 40 and [packet.is_keyframe for packet in packets] == [True] + [False] * 39


def test_clips_are_the_same_bytes_whatever_was_in_memory(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On processors with AVX-512, x264 reads beyond a buffer if the width is no multiple of 128 px, as of these."""
    images = read_frames(real_video("vtest.avi", tmp_path), 60, (240, 320), first=210)
    path = write_video(tmp_path / "video.mp4", "libx264", images, 24)
    made: set[bytes] = set()
    for value in ("0", "85", "170"):
        monkeypatch.setenv("MALLOC_PERTURB_", value)
        with Decoder(DecodingLimits()) as fresh:
            clip = clip_of(read(fresh, path, frozenset()), 0, 60, tmp_path / f"{value}.mp4", preset="veryfast", crf=18)
            assert failures(fresh, path, [clip]) == {}
        made.add((tmp_path / f"{value}.mp4").read_bytes())
    assert len(made) == 1
