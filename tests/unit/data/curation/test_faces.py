import math
from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.curation import faces
from cogvideox.data.curation.faces import FaceOperator, find_faces
from cogvideox.data.curation.operators import ClipView
from cogvideox.media.video import read_video
from real_videos import real_video


def view(frames: np.ndarray) -> ClipView:
    """A clip of which operators see these frames."""
    empty = np.zeros((0,))
    return ClipView(
        clip_id="clip",
        height_px=frames.shape[1],
        width_px=frames.shape[2],
        fps=2.0,
        num_frames=len(frames),
        start_s=0.0,
        end_s=len(frames) / 2,
        motion=np.zeros((0, 8, 8, 3), np.uint8),
        motion_times_s=empty,
        detail=frames,
        native=np.zeros((0, 8, 8), np.uint8),
        detail_times_s=np.arange(len(frames)) / 2,
        changes=np.zeros((0,), np.float32),
        thumbs=np.zeros((0, 27, 48, 3), np.uint8),
    )


def measure(name: str, folder: Path, frames: slice) -> dict[str, float]:
    video = read_video(real_video(name, folder), max_frames=frames.stop).frames[frames]
    values = FaceOperator().measure(view(video))
    assert set(values) == {column.name for column in FaceOperator.columns}
    for column in FaceOperator.columns:
        assert math.isnan(values[column.name]) or column.low <= values[column.name] <= column.high, column.name
    return values


def test_talking_head(tmp_path: Path):
    values = measure("carphone_pristine.mp4", tmp_path, slice(0, 120, 12))
    assert values["max_score"] > 0.83
    assert values["face_share"] == 1.0
    assert values["num_faces"] == pytest.approx(1, abs=0.3)
    assert 0.04 < values["largest_area"] < 0.3
    assert values["stability"] > 0.5
    assert values["off_centre"] < 0.4


def test_close_ups_of_a_cartoon(tmp_path: Path):
    values = measure("Megamind.avi", tmp_path, slice(30, 95, 6))
    assert values["max_score"] > 0.7
    assert values["face_share"] > 0.7
    assert values["stability"] > 0.2


@pytest.mark.parametrize("name", ["vtest.avi", "bigbuckbunny.mp4", "box.mp4.gz", "cup.mp4.gz", "world.mp4", "a.mp4"])
def test_no_faces(tmp_path: Path, name: str):
    values = measure(name, tmp_path, slice(0, 110, 12))
    assert values["max_score"] < 0.45
    assert (values["num_faces"], values["face_share"], values["largest_area"]) == (0.0, 0.0, 0.0)
    assert math.isnan(values["stability"]) and math.isnan(values["off_centre"])


def test_boxes_follow_the_picture(tmp_path: Path):
    frame = read_video(real_video("carphone_pristine.mp4", tmp_path), max_frames=1).frames[0]
    _, (box,) = find_faces(frame)
    mirrored = find_faces(np.ascontiguousarray(frame[:, ::-1]))[1][0]
    np.testing.assert_allclose(mirrored[[0, 2]], frame.shape[1] - box[[2, 0]], atol=6)
    np.testing.assert_allclose(mirrored[[1, 3]], box[[1, 3]], atol=6)
    # Where it is in a wider and higher picture, whose sides are no multiples of 32.
    wide = np.zeros((201, 331, 3), np.uint8)
    wide[40 : 40 + frame.shape[0], 120 : 120 + frame.shape[1]] = frame
    _, (moved,) = find_faces(wide)
    np.testing.assert_allclose(moved[:4] - [120, 40, 120, 40], box[:4], atol=8)


def test_stability_falls_when_the_face_jumps(tmp_path: Path):
    frame = read_video(real_video("carphone_pristine.mp4", tmp_path), max_frames=1).frames[0]
    still = np.zeros((2, 144, 400, 3), np.uint8)
    still[:, :, :176] = frame
    jumping = still.copy()
    jumping[1] = np.roll(still[1], 200, 1)
    assert FaceOperator().measure(view(still))["stability"] == 1.0
    assert FaceOperator().measure(view(jumping))["stability"] == 0.0


@pytest.mark.parametrize("shape", [(1, 2, 2, 3), (1, 1, 640, 3), (1, 640, 1, 3)])
def test_tiny_and_thin_frames(shape):
    values = FaceOperator().measure(view(np.zeros(shape, np.uint8)))
    assert values["num_faces"] == 0.0


def test_clip_without_frames_cannot_be_measured():
    values = FaceOperator().measure(view(np.zeros((0, 4, 4, 3), np.uint8)))
    assert all(math.isnan(value) for value in values.values())


def test_weights_are_named():
    (digest,) = FaceOperator().weights()
    assert len(digest) == 64
    assert faces._weights_sha256.cache_info().currsize == 1
