"""Clips are brought to another rate, length and size, in memory and while they are read."""

from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.clips import ClipShape, check_unique, fit_clip, read_fitted
from cogvideox.media.video import read_video, write_video


def numbered(num_frames: int, height_px: int = 16, width_px: int = 24) -> np.ndarray:
    """Frames whose brightness is their number."""
    numbers = np.arange(num_frames, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(numbers, (num_frames, height_px, width_px, 3))


@pytest.mark.parametrize(
    ("fps", "shape_fps", "expected"),
    [
        (8, 8, [0, 1, 2, 3, 4]),
        (16, 8, [0, 2, 4, 6, 8]),
        (24, 8, [0, 3, 6, 9, 12]),
        (30, 8, [0, 4, 8, 11, 15]),
        (4, 8, [0, 1, 1, 2, 2]),
        (23.976, 24, [0, 1, 2, 3, 4]),
    ],
)
def test_frames_are_the_nearest_ones_at_the_rate(fps: float, shape_fps: float, expected: list[int]) -> None:
    shape = ClipShape(num_frames=5, height_px=16, width_px=24, fps=shape_fps)
    frames = numbered(expected[-1] + 1)
    assert fit_clip(frames, fps, shape)[:, 0, 0, 0].tolist() == expected
    with pytest.raises(ValueError, match=f"at least {expected[-1] + 1} frames for 5 at"):
        fit_clip(frames[:-1], fps, shape)


def test_clips_are_cut_and_cropped_without_distortion() -> None:
    frames = np.zeros((9, 32, 64, 3), np.uint8)
    frames[:, :, 16:48] = 200  # the middle square
    fitted = fit_clip(frames, 8, ClipShape(num_frames=5, height_px=16, width_px=16, fps=8))
    assert fitted.shape == (5, 16, 16, 3) and (fitted[:, :, 1:-1] > 180).all()


def test_the_shape_of_a_picture_is_the_first_frame() -> None:
    shape = ClipShape(num_frames=1, height_px=16, width_px=24, fps=0)
    assert fit_clip(numbered(5), 8, shape).shape == (1, 16, 24, 3)
    assert fit_clip(numbered(1), 0, shape)[0, 0, 0, 0] == 0
    with pytest.raises(ValueError, match="expected a video for 5 frames, got a picture"):
        fit_clip(numbered(1), 0, ClipShape(num_frames=5, height_px=16, width_px=24, fps=8))


@pytest.mark.parametrize("shape_fps", [4, 8, 12])
@pytest.mark.parametrize("is_content", [False, True])
def test_a_file_is_read_as_its_frames_are_fitted(tmp_path: Path, shape_fps: float, is_content: bool) -> None:
    path = tmp_path / "a.mp4"
    rng = np.random.default_rng(0)
    write_video(path, [rng.integers(0, 256, (13, 32, 48, 3), dtype=np.uint8)], fps=8)
    shape = ClipShape(num_frames=7, height_px=16, width_px=16, fps=shape_fps)
    content = path.read_bytes() if is_content else None
    fitted = read_fitted(Path("none") if is_content else path, 8, shape, content=content)
    np.testing.assert_array_equal(fitted, fit_clip(read_video(path).frames, 8, shape))
    with pytest.raises(ValueError, match="got 13 at 8 fps"):
        read_fitted(path, 8, ClipShape(num_frames=14, height_px=16, width_px=16, fps=8))


def test_two_clips_of_one_name_are_refused() -> None:
    check_unique((), "here")
    check_unique(("a", "b"), "here")
    with pytest.raises(ValueError, match=r"here: clip_id: .*'b' 2 times"):
        check_unique(("a", "b", "b"), "here")
