import gc
import json
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cogvideox.media.reading import map_frames, probe_video, read_frames, stream_frames, survey_video
from cogvideox.media.video import Video, read_video

CORNER = np.zeros((64, 96, 3), np.uint8)
CORNER[:32, :48] = (200, 60, 30)
CORNER[:16, :96] = (40, 180, 60)


def pictures(num_frames: int) -> list[Image.Image]:
    return [Image.fromarray(np.full((16, 24, 3), (20 * index, 100, 50), np.uint8)) for index in range(num_frames)]


@pytest.mark.parametrize(("suffix", "duration_ms"), [("gif", 120), ("webp", 125), ("png", 125)])
def test_animations(tmp_path: Path, suffix: str, duration_ms: int) -> None:
    first, *others = pictures(6)
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(path, save_all=True, append_images=others, duration=duration_ms, **options)
    video = read_video(path)
    assert video.frames.shape == (6, 16, 24, 3) and video.fps == pytest.approx(1000 / duration_ms)
    assert np.abs(video.frames[:, 0, 0, 0].astype(int) - [0, 20, 40, 60, 80, 100]).max() <= 3
    assert read_video(path, max_frames=2).num_frames == 2


@pytest.mark.parametrize("suffix", ["gif", "webp", "mp4", "folder"])
def test_facts_are_those_of_the_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a" if suffix == "folder" else f"a.{suffix}")
    first, *others = pictures(6)
    if suffix == "webp":
        first.save(path, save_all=True, append_images=others, duration=[100, 50, 50, 100, 100, 100])
    else:
        Video(np.stack([np.asarray(picture) for picture in (first, *others)]), 12).save(path)
    for max_frames in (None, 2, 9):
        video, facts = read_video(path, max_frames=max_frames), probe_video(path, max_frames=max_frames)
        assert (facts.num_frames, facts.height_px, facts.width_px) == video.frames.shape[:3]
        assert facts.fps == video.fps
    with pytest.raises(ValueError, match="no such video file"):
        probe_video(tmp_path / "absent.mp4")


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_transparency_of_animations_is_black(tmp_path: Path, suffix: str) -> None:
    clear = [Image.new("RGBA", (16, 16), (255, 255, 255, 0)) for _ in range(2)]
    clear[1].putpixel((3, 3), (255, 0, 0, 255))
    clear[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=clear[1:], duration=100)
    assert not read_video(tmp_path / f"a.{suffix}").frames[0].any()


def test_folders_of_frames(tmp_path: Path) -> None:
    for index, picture in enumerate(pictures(11)):
        picture.save(tmp_path / f"shot {index}.{'png' if index % 2 else 'JPG'}")
    (tmp_path / "notes.txt").write_text("not a frame")
    video = read_video(tmp_path)
    assert video.fps == 8
    assert np.abs(video.frames[:, 0, 0, 0].astype(int) - 20 * np.arange(11)).max() <= 4, "10 comes after 9"
    (tmp_path / "video.json").write_text(json.dumps({"fps": 12.5}))
    assert read_video(tmp_path, max_frames=3).fps == 12.5
    Image.new("RGB", (8, 8)).save(tmp_path / "shot 99.png")
    with pytest.raises(ValueError, match="not all of one size"):
        read_video(tmp_path)


def test_what_is_no_folder_of_frames(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no PNG or JPEG frames"):
        read_video(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for text, message in (("{", "JSON"), ("[]", "JSON object"), ('{"fps": "fast"}', "number"), ('{"fps": 0}', "fps")):
        (tmp_path / "video.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_video(tmp_path)


@pytest.mark.parametrize("angle", [0, 90, 180, -90])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_films_of_phones_are_turned_upright(tmp_path: Path, angle: int, is_mirrored: bool) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(angle, hflip=is_mirrored)
        for picture in [av.VideoFrame.from_ndarray(CORNER, format="rgb24")] * 3:
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    stored = CORNER[:, ::-1] if is_mirrored and angle == 0 else CORNER
    expected = np.rot90(stored, angle // 90)
    if is_mirrored and angle != 0:  # a mirror after the turn
        expected = expected[:, ::-1]
    frames = read_video(tmp_path / "a.mp4").frames
    assert frames.shape == (3, *expected.shape)
    assert np.abs(frames[1].astype(int) - expected).mean() < 4


def test_huge_frames_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    gif = b"GIF89a" + struct.pack("<HHBBB", 20_000, 6_000, 0x80, 0, 0) + bytes(6)
    gif += b"\x2c" + struct.pack("<HHHHB", 0, 0, 20_000, 6_000, 0) + b"\x02\x02\x4c\x01\x00\x3b"
    (tmp_path / "a.gif").write_bytes(gif)
    with pytest.raises(ValueError, match="at most 100,000,000 pixels a frame, got 20000x6000"):
        read_video(tmp_path / "a.gif")
    (tmp_path / "frames").mkdir()
    Image.new("1", (20_000, 6_000)).save(tmp_path / "frames" / "1.png")
    with pytest.raises(ValueError, match="at most 100,000,000 pixels"):
        read_video(tmp_path / "frames")


def test_damaged_animations(tmp_path: Path) -> None:
    for name in ("a.webp", "a.gif", "a.png"):
        (tmp_path / name).write_bytes(b"RIFF nothing")
        with pytest.raises(ValueError, match="not a readable video"):
            read_video(tmp_path / name)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "jpg", "mp4", "webm", "folder"])
def test_a_survey_and_a_file_s_content_agree_with_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a" if suffix == "folder" else f"a.{suffix}")
    first, *others = pictures(6)
    if suffix in ("webp", "png"):
        first.save(path, save_all=True, append_images=others, duration=[100, 50, 50, 100, 100, 100])
    elif suffix == "jpg":
        first.save(path)
    else:
        Video(np.stack([np.asarray(picture) for picture in (first, *others)]), 12).save(path)
    assert survey_video(path) == probe_video(path)
    if suffix != "folder":
        frames, fps = map_frames("elsewhere", lambda frame: frame, max_frames=4, content=path.read_bytes())
        expected, expected_fps = read_frames(path, max_frames=4)
        assert fps == expected_fps and len(frames) == (1 if suffix == "jpg" else 4)
        np.testing.assert_array_equal(np.stack(frames), expected)


def test_a_survey_does_not_count_what_is_cut_off(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Video(rng.integers(0, 256, (17, 32, 48, 3), dtype=np.uint8), 8).save(tmp_path / "a.mp4")
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    assert 4 < survey_video(tmp_path / "a.mp4").num_frames < 14
    for damaged in (b"noise" * 100, b""):
        (tmp_path / "a.mp4").write_bytes(damaged)
        with pytest.raises(ValueError, match="not a readable video"):
            survey_video(tmp_path / "a.mp4")
        with pytest.raises(ValueError, match="elsewhere is not a readable video"):
            map_frames("elsewhere", lambda frame: frame, content=damaged)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    picture = pictures(1)[0]
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_video(tmp_path / "a.jpg").frames.shape == (1, 24, 16, 3)
    # Two pictures in one file, as cameras write them: the second is no frame.
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture])
    assert read_video(tmp_path / "a.jpg").num_frames == 1


@pytest.mark.parametrize("suffix", ["gif", "webp", "mp4", "folder"])
def test_a_stream_is_the_frames_one_at_a_time(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a" if suffix == "folder" else f"a.{suffix}")
    if suffix == "webp":
        first, *others = pictures(30)
        first.save(path, save_all=True, append_images=others, duration=100)
    else:
        Video(np.stack([np.asarray(picture) for picture in pictures(30)]), 12).save(path)
    expected, fps = read_frames(path, max_frames=25)
    stream = stream_frames(path, max_frames=25)
    gc.collect()
    gc.disable()
    try:
        for frame in expected:
            np.testing.assert_array_equal(next(stream), frame)
        num_decoded = sum(type(value) is av.VideoFrame for value in gc.get_objects())
    finally:
        gc.enable()
    assert num_decoded <= 4, "decoded frames are let go at once, not when the garbage collector comes"
    with pytest.raises(StopIteration) as end:
        next(stream)
    assert end.value.value == fps
    stopped = stream_frames(path)
    next(stopped)
    stopped.close()
