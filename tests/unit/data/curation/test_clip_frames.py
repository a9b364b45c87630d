"""Frames of curated clips: the right ones, decoded once, also of videos that have moved, and why some are missing."""

import shutil

import numpy as np
import pytest

from cogvideox.data.curation import clip_frames
from cogvideox.data.curation.clip_frames import CuratedClipFrames
from cogvideox.data.curation.curate import curate
from cogvideox.data.curation.recipe import CurationRecipe
from cogvideox.data.curation.shots import ShotSettings
from curation_corpus import rows_of, write_video

FPS, NUM_FRAMES, STEP = 10, 60, 3


def numbered() -> list[np.ndarray]:
    """Frames of one picture, with a square whose brightness says which they are."""
    blocks = np.random.default_rng(0).integers(60, 200, (12, 16, 3))
    picture = blocks.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
    frames = [picture.copy() for _ in range(NUM_FRAMES)]
    for index, frame in enumerate(frames):
        frame[:32, :32] = 30 + STEP * index
    return frames


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """A curated folder of one video that is cut into clips, and the folder of the video."""
    folder = tmp_path_factory.mktemp("curated")
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "long.mp4", "libx264", numbered(), FPS, {"crf": "8"})
    recipe = CurationRecipe(
        inputs=(str(folder / "videos"),), operators=("cues",), shots=ShotSettings(min_duration_s=1, max_duration_s=2)
    )
    curate(recipe, folder / "out", engine="inline")
    return folder / "out", folder / "videos"


def test_frames_are_of_the_clip_and_decoded_once(curated, tmp_path, monkeypatch):
    out, _ = curated
    rows = rows_of(out / "tables" / "clips.parquet")
    assert len(rows) >= 3
    read = CuratedClipFrames([out], tmp_path / "frames", num_frames=3, max_side_px=64)
    done = []
    assert read.prepare([row["clip_id"] for row in rows], on_progress=lambda *step: done.append(step)) == {}
    assert done == [(0, 1), (1, 1)]
    for row in rows:
        frames = read(row["clip_id"])
        assert frames.shape == (3, 48, 64, 3) and frames.dtype == np.uint8
        indices = np.round((frames[:, 4:12, 4:12].mean((1, 2, 3)) - 30) / STEP)
        assert row["start_frame"] <= indices[0] < indices[1] < indices[2] < row["end_frame"]
        assert abs(indices.mean() - (row["start_frame"] + row["end_frame"] - 1) / 2) <= 3

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(clip_frames, "Decoder", refuse)
    again = CuratedClipFrames([out], tmp_path / "frames", num_frames=3, max_side_px=64)
    assert again.prepare([row["clip_id"] for row in rows]) == {}
    with pytest.raises(ValueError, match="in none of the curated folders"):
        again.prepare(["nothing_0_1"])
    with pytest.raises(ValueError, match="not prepared"):
        CuratedClipFrames([out], tmp_path / "other", num_frames=3, max_side_px=64)(rows[0]["clip_id"])
    (again._path(rows[0]["clip_id"])).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        again(rows[0]["clip_id"])


def test_videos_may_have_moved_or_gone(curated, tmp_path):
    out, videos = curated
    clip_id = rows_of(out / "tables" / "clips.parquet")[0]["clip_id"]
    moved = shutil.copytree(videos, tmp_path / "moved")
    read = CuratedClipFrames([out], tmp_path / "a", num_frames=2, max_side_px=64, inputs=(str(moved),))
    assert read.prepare([clip_id]) == {}
    (moved / "long.mp4").write_bytes(b"other content")
    read = CuratedClipFrames([out], tmp_path / "b", num_frames=2, max_side_px=64, inputs=(str(moved),))
    assert read.prepare([clip_id]) == {clip_id: "its source is no longer there"}
