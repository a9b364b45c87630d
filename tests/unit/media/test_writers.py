import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cogvideox.media.file_settings import read_settings
from cogvideox.media.outputs import OUTPUT_SUFFIXES, check_output_path
from cogvideox.media.video import Video, read_video, write_video

KINDS = [("clip.mp4", None), ("clip.mp4", "h265"), ("clip.webm", None), ("clip.gif", None), ("clip", None)]
LONG_SETTINGS = json.dumps({"prompt": "눈 속의 여우 🦊\n" * 700, "seed": 7, "fps": 8}, ensure_ascii=False, indent=1)


def waves(num_frames: int, height: int = 64, width: int = 96) -> np.ndarray:
    t, y, x = np.ogrid[:num_frames, :height, :width]
    phases = (x / 20 + t / 5 + 0 * y, y / 15 - t / 7 + 0 * x, (x + y) / 25 + t / 9)
    return np.stack([128 + 100 * np.sin(phase) for phase in phases], -1).astype(np.uint8)


def noise(num_frames: int, height: int, width: int, block: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (num_frames, height // block, width // block, 3))
    return coarse.astype(np.uint8).repeat(block, 1).repeat(block, 2)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = ((first.astype(float) - second) ** 2).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


def contents(path: Path) -> dict[str, bytes]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize(("name", "codec"), KINDS)
@pytest.mark.parametrize("fps", [7.5, 23.976, 16])
def test_every_kind_comes_back(tmp_path: Path, name: str, codec, fps: float) -> None:
    frames = waves(33)
    chunks = (frames[start : start + 4] for start in range(0, 33, 4))
    assert write_video(tmp_path / name, chunks, fps=fps, codec=codec, settings=LONG_SETTINGS) == 33
    back = read_video(tmp_path / name)
    assert back.frames.shape == frames.shape
    assert back.fps == pytest.approx(fps, rel=0.01 if name == "clip.gif" else 1e-9)
    assert psnr(back.frames, frames) > (25 if name == "clip.gif" else 38)
    assert read_settings(tmp_path / name) == LONG_SETTINGS
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert read_video(tmp_path / name, max_frames=3).frames.shape[0] == 3


@pytest.mark.parametrize(("name", "codec"), KINDS)
@pytest.mark.parametrize("num_frames", [1, 2, 161])
def test_lengths(tmp_path: Path, name: str, codec, num_frames: int) -> None:
    frames = waves(num_frames, 32, 48)
    write_video(tmp_path / name, [frames], fps=8, codec=codec)
    back = read_video(tmp_path / name)
    assert (back.num_frames, back.fps) == (num_frames, 8)
    assert psnr(back.frames, frames) > 25
    assert read_settings(tmp_path / name) is None


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_equal_frames_give_equal_bytes(tmp_path: Path, name: str, codec) -> None:
    rng = np.random.default_rng(0)
    for frames in (waves(9), waves(2, 48, 48), noise(9, 64, 64, 2), noise(9, 32, 32, 4)):
        seen = set()
        for _ in range(5):
            _used_memory = [rng.integers(0, 255, rng.integers(1, 20_000), dtype=np.uint8) for _ in range(50)]
            write_video(tmp_path / name, [frames], fps=8, codec=codec, settings="{}")
            seen.add(tuple(contents(tmp_path / name).items()))
        assert len(seen) == 1


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_an_error_in_the_middle_leaves_what_was_there(tmp_path: Path, name: str, codec) -> None:
    def broken():
        yield waves(9)
        raise RuntimeError("decoder failed")

    with pytest.raises(RuntimeError, match="decoder failed"):
        write_video(tmp_path / name, broken(), fps=8, codec=codec)
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / name, [waves(3)], fps=8, codec=codec)
    before = contents(tmp_path / name)
    with pytest.raises(RuntimeError, match="decoder failed"):
        write_video(tmp_path / name, broken(), fps=8, codec=codec)
    assert contents(tmp_path / name) == before
    write_video(tmp_path / name, [waves(2)], fps=8, codec=codec)
    assert read_video(tmp_path / name).num_frames == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["clip.webm", "clip.gif", "clip"])
def test_odd_sizes(tmp_path: Path, name: str) -> None:
    frames = waves(5, 51, 71)
    write_video(tmp_path / name, [frames], fps=8)
    assert psnr(read_video(tmp_path / name).frames, frames) > 25


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_saturated_colours_stay(tmp_path: Path, name: str, codec) -> None:
    colours = [(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)]
    frames = np.tile(np.array(colours, np.uint8)[None, None].repeat(16, axis=2), (9, 64, 1, 1))
    write_video(tmp_path / name, [frames], fps=8, codec=codec)
    centres = read_video(tmp_path / name).frames[:, 32, 8::16].astype(int)
    assert np.abs(centres - colours).max() <= 3


@pytest.mark.parametrize(("name", "codec"), KINDS[:3])
def test_files_say_how_their_colours_were_made_and_start_fast(tmp_path: Path, name: str, codec) -> None:
    write_video(tmp_path / name, [waves(9)], fps=8, codec=codec, settings=LONG_SETTINGS)
    with av.open(str(tmp_path / name)) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
        assert tags == (6, 1, 1, 1), "BT.601 matrix, limited range, BT.709 primaries and transfer"
        assert context.name == (codec or {"clip.mp4": "h264", "clip.webm": "vp9"}[name]).replace("h265", "hevc")
        assert next(container.decode(video=0)).time == 0
        if codec == "h265":
            assert context.codec_tag == "hvc1"
    data = (tmp_path / name).read_bytes()
    if name == "clip.mp4":
        assert data.index(b"moov") < data.index(b"mdat")


def test_delays_of_a_gif_add_up_and_it_never_ends(tmp_path: Path) -> None:
    for fps, duration_ms in ((7.5, 21470), (23.976, 6720), (16, 10060)):
        write_video(tmp_path / "clip.gif", [waves(161, 16, 16)], fps=fps)
        with Image.open(tmp_path / "clip.gif") as image:
            assert image.info["loop"] == 0
            total = 0
            for index in range(image.n_frames):
                image.seek(index)
                total += image.info["duration"]
        assert total == pytest.approx(duration_ms, abs=10)


def test_what_stands_still_in_a_gif_does_not_flicker(tmp_path: Path) -> None:
    frames = waves(1).repeat(9, 0)
    for index in range(9):
        frames[index, 40:60, 8 * index : 8 * index + 20] = (220, 160, 40)
    write_video(tmp_path / "clip.gif", [frames], fps=8)
    assert (np.ptp(read_video(tmp_path / "clip.gif").frames[:, :38], axis=0) == 0).all()


def test_each_frame_of_a_folder_has_the_settings(tmp_path: Path) -> None:
    write_video(f"{tmp_path}/clip.v2/", [waves(3)], fps=7.5, settings=LONG_SETTINGS)
    folder = tmp_path / "clip.v2"
    names = ["frame_00000.png", "frame_00001.png", "frame_00002.png", "video.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert read_settings(folder / "frame_00002.png") == LONG_SETTINGS
    assert json.loads((folder / "video.json").read_text("utf-8")) == {
        "fps": 7.5,
        "num_frames": 3,
        "settings": LONG_SETTINGS,
    }
    assert read_video(folder).fps == 7.5


def test_only_folders_of_frames_are_replaced(tmp_path: Path) -> None:
    write_video(tmp_path / "clip", [waves(9)], fps=8)
    (tmp_path / "link").symlink_to(tmp_path / "clip")
    write_video(tmp_path / "link", [waves(3)], fps=8)
    assert (tmp_path / "link").is_symlink() and read_video(tmp_path / "clip").num_frames == 3
    (tmp_path / "clip" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"other files than frames, such as notes\.txt"):
        write_video(tmp_path / "clip", [waves(1)], fps=8)
    assert (tmp_path / "clip" / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        check_output_path(tmp_path / "file")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        check_output_path(tmp_path / "folder.mp4")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("a.avi", {}, r"ending in .mp4, .webm or .gif, or a folder for PNG frames .*got 'a.avi'"),
        ("a fox v1.5", {}, "ending in"),
        ("..", {}, "ending in"),
        ("", {}, "ending in"),
        ("a.mp4", {"codec": "vp9"}, "expected h264 or h265 for 'a.mp4', got 'vp9'"),
        ("a.webm", {"codec": "h264"}, "expected vp9"),
        ("a.gif", {"codec": "h264"}, "expected none"),
        ("a.mp4", {"codec": "av1"}, "expected one of h264, h265, vp9"),
        ("a.mp4", {"height_px": 63, "width_px": 64}, "even height and width, got 63x64"),
        ("a.mp4", {"height_px": 16, "width_px": 64, "codec": "h265"}, "at least 32 px"),
        ("a.mp4", {"fps": float("nan")}, "fps"),
        ("a.gif", {"fps": 60}, "at most 50 frames"),
    ],
)
def test_impossible_outputs_are_refused_early(name: str, values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_output_path(name, **values)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.gif", "clip"])
def test_saving_goes_by_the_name(tmp_path: Path, name: str) -> None:
    Video(waves(3), 8).save(str(tmp_path / name))
    assert (tmp_path / name).is_dir() == (name == "clip") and read_video(tmp_path / name).num_frames == 3


def test_legal_names() -> None:
    kinds = {"a.mp4": "mp4", "A.MP4": "mp4", "a.webm": "webm", "a.gif": "gif", "a": "frames", "a.b/": "frames"}
    assert {name: check_output_path(name) for name in kinds} == kinds
    assert OUTPUT_SUFFIXES == (".mp4", ".webm", ".gif")
    assert check_output_path("a.webm", height_px=51, width_px=71) == "webm"


@pytest.mark.parametrize("name", ["clip.webm", "clip.gif", "clip"])
def test_wrong_frames_leave_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / name, [], fps=8)
    with pytest.raises(ValueError, match="first frame's size"):
        write_video(tmp_path / name, [waves(1), waves(1, 32)], fps=8)
    assert list(tmp_path.iterdir()) == []


def test_settings_of_what_has_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such video file"):
        read_settings(tmp_path / "none.mp4")
    for name in ("a.mp4", "a.gif", "a.png"):
        (tmp_path / name).write_text("text")
        with pytest.raises(ValueError, match="not a readable"):
            read_settings(tmp_path / name)
    assert read_settings(tmp_path) is None


def test_names_and_settings_are_looked_at_without_torch() -> None:
    code = "import sys, cogvideox.media.outputs, cogvideox.media.file_settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
