from pathlib import Path

import av
import numpy as np
import pytest
import torch

from cogvideox import Video
from cogvideox.media.geometry import check_size, longest_clip, num_latent_frames, shortest_clip
from cogvideox.media.video import read_video, to_frames, to_tensor, write_video


def moving_square(num_frames: int = 17) -> np.ndarray:
    frames = np.full((num_frames, 64, 96, 3), (40, 90, 160), np.uint8)
    for index in range(num_frames):
        frames[index, 20:44, 4 + 3 * index : 28 + 3 * index] = (220, 160, 40)
    return frames


def test_saved_video_is_h264_yuv420p_faststart_and_looks_the_same(tmp_path: Path) -> None:
    frames = moving_square()
    Video(frames, 8).save(tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    data = (tmp_path / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    back = read_video(tmp_path / "clip.mp4")
    assert back.fps == 8 and back.frames.shape == frames.shape
    assert np.abs(back.frames.astype(int) - frames).mean() < 4
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_chunks_and_whole_give_the_same_file(tmp_path: Path) -> None:
    frames = moving_square()
    assert write_video(tmp_path / "a.mp4", iter([frames]), fps=8) == 17
    assert write_video(tmp_path / "b.mp4", iter([frames[:9], frames[9:]]), fps=8) == 17
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_equal_frames_give_equal_files_whatever_is_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (9, 8, 8, 3)).astype(np.uint8)
    frames = coarse.repeat(4, axis=1).repeat(4, axis=2)
    files = set()
    for _ in range(40):
        _used_memory = [rng.integers(0, 255, rng.integers(1, 20_000), dtype=np.uint8) for _ in range(50)]
        write_video(tmp_path / "clip.mp4", iter([frames]), fps=8)
        files.add((tmp_path / "clip.mp4").read_bytes())
    assert len(files) == 1


def test_an_error_while_writing_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"old")

    def broken():
        yield moving_square(9)
        raise RuntimeError("decoder failed")

    with pytest.raises(RuntimeError, match="decoder failed"):
        write_video(tmp_path / "clip.mp4", broken(), fps=8)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "chunks", "fps", "message"),
    [
        ("clip.avi", [moving_square(1)], 8, "ending in .mp4"),
        ("clip.mp4", [], 8, "no frames"),
        ("clip.mp4", [moving_square(1)], 0, "fps"),
        ("clip.mp4", [moving_square(1)[:, :63]], 8, "even"),
        ("clip.mp4", [moving_square(1), moving_square(1)[:, :32]], 8, "first frame's size"),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_written(tmp_path: Path, name, chunks, fps, message) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, iter(chunks), fps=fps)
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(ValueError, match="not a readable video"):
        read_video(tmp_path / "text.mp4")
    with pytest.raises(ValueError, match="no such video file"):
        read_video(tmp_path / "absent.mp4")


def test_frames_are_checked() -> None:
    with pytest.raises(ValueError, match="uint8"):
        Video(np.zeros((3, 4, 4, 3), np.float32), 8)
    assert Video(moving_square(16), 8).duration_s == 2


def test_tensors_and_frames_round_trip() -> None:
    frames = moving_square(3)
    tensor = to_tensor(frames)
    assert tensor.shape == (3, 3, 64, 96) and tensor.min() >= -1 and tensor.max() <= 1
    assert np.array_equal(to_frames(tensor), frames)
    assert to_frames(torch.full((2, 3, 1, 2, 2), 7.0)).max() == 255


@pytest.mark.parametrize(("num_frames", "expected"), [(1, 1), (8, 2), (9, 3), (16, 4), (17, 5), (49, 13), (81, 21)])
def test_latent_frames(num_frames: int, expected: int) -> None:
    assert num_latent_frames(num_frames, 4) == expected


@pytest.mark.parametrize(("num_frames", "hint"), [(13, "9 or 17"), (0, "try 1"), (-3, "try 1"), (2, "1 or 9")])
def test_impossible_lengths_name_the_nearest(num_frames: int, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        num_latent_frames(num_frames, 4)


def test_sizes_name_the_nearest() -> None:
    check_size(height_px=64, width_px=96, multiple_px=16)
    with pytest.raises(ValueError, match=r"width_px.*the nearest is 96"):
        check_size(height_px=64, width_px=97, multiple_px=16)


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_the_nearest_legal_lengths(ratio: int) -> None:
    legal = [length for length in range(1, 100) if length % (2 * ratio) in (0, 1)]
    for length in range(1, 60):
        assert shortest_clip(length, ratio) == min(other for other in legal if other >= length)
        assert longest_clip(length, ratio) == max(other for other in legal if other <= length)
        num_latent_frames(shortest_clip(length, ratio), ratio)
