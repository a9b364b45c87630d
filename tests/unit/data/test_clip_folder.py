"""Folders of videos and pictures with text files beside them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cogvideox.data.clip_folder import FolderClips, open_clips
from cogvideox.data.clip_index import IndexedClips, write_shards
from cogvideox.data.clips import ClipShape
from cogvideox.media.video import read_video, write_video

SHAPE = ClipShape(num_frames=5, height_px=16, width_px=24, fps=8)


def write_clip(path: Path, text: str | None = "a clip\n", *, num_frames: int = 9, fps: float = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.full((num_frames, 32, 48, 3), 30, np.uint8)
    frames += np.arange(num_frames, dtype=np.uint8)[:, None, None, None] * 8
    write_video(path, [frames], fps=fps)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_clip(tmp_path / "fox.mp4", "a fox in snow\n\n  ein Fuchs im Schnee ❄ \n")
    write_clip(tmp_path / "films" / "2024.05" / "sea.webm", num_frames=17, fps=16)
    write_clip(tmp_path / "films" / "loop.gif")
    Image.new("RGB", (60, 40), (10, 200, 30)).save(tmp_path / "films" / "leaf.png")
    (tmp_path / "films" / "leaf.txt").write_text("\ufeffa leaf", encoding="utf-8")
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.new("RGB", (64, 32), (200, 10, 30)).save(tmp_path / "tower.JPG", exif=turned)
    (tmp_path / "tower.txt").write_text("a tower")
    return tmp_path


def test_what_is_in_a_folder(folder: Path) -> None:
    (folder / "README.md").write_text("no clip")
    write_clip(folder / ".trash" / "old.mp4")
    (folder / "._fox.mp4").write_bytes(b"a shadow of another system")
    clips = FolderClips(folder)
    table = clips.table
    assert table.clip_ids == ("films/2024.05/sea.webm", "films/leaf.png", "films/loop.gif", "fox.mp4", "tower.JPG")
    assert table.num_frames.tolist() == [17, 1, 9, 9, 1]
    assert list(zip(table.height_px, table.width_px, strict=True)) == [(32, 48), (40, 60), (32, 48), (32, 48), (64, 32)]
    assert table.fps.tolist() == [16, 0, 8, 8, 0]
    assert table.captions[1] == ("a leaf",) and table.captions[3] == ("a fox in snow", "ein Fuchs im Schnee ❄")
    assert clips.rejected == () and not table.scores and len(set(table.versions)) == len(table)


def test_clips_are_read_in_the_shape(folder: Path) -> None:
    clips = FolderClips(folder)
    np.testing.assert_array_equal(clips.read(3, SHAPE)[:, 8, 12], read_video(folder / "fox.mp4").frames[:5, 16, 24])
    # At half the rate, twice the change from frame to frame.
    assert np.diff(clips.read(0, SHAPE)[:, 8, 12, 0].astype(int)).min() > 12
    picture = ClipShape(num_frames=1, height_px=16, width_px=24, fps=0)
    assert clips.read(1, picture).shape == (1, 16, 24, 3) and clips.read(1, picture)[0, 8, 12].tolist() == [10, 200, 30]
    with pytest.raises(ValueError, match="got a picture"):
        clips.read(1, SHAPE)
    with pytest.raises(ValueError, match="expected at least 18 frames"):
        clips.read(3, ClipShape(num_frames=18, height_px=16, width_px=24, fps=8))


def test_files_that_are_no_clips_are_left_out_with_a_reason(folder: Path) -> None:
    write_clip(folder / "silent.mp4", None)
    write_clip(folder / "empty.mp4", " \n\n")
    write_clip(folder / "latin.mp4")
    (folder / "latin.txt").write_bytes("Füchse".encode("latin-1"))
    for name in ("noise.mp4", "noise.jpg"):
        (folder / name).write_bytes(b"noise" * 100)
    (folder / "noise.txt").write_text("noise")
    write_clip(folder / "half.mp4")
    (folder / "half.mp4").write_bytes((folder / "half.mp4").read_bytes()[:200])
    clips = FolderClips(folder)
    reasons = {rejected.clip_id: rejected.reason for rejected in clips.rejected}
    assert len(clips.table) == 5 and set(clips.table.clip_ids).isdisjoint(reasons)
    assert reasons.pop("silent.mp4") == "no text file silent.txt beside it"
    assert reasons.pop("empty.mp4") == "the text file empty.txt is empty"
    assert "latin.txt is not readable as UTF-8" in reasons.pop("latin.mp4")
    assert set(reasons) == {"noise.mp4", "noise.jpg", "half.mp4"}
    assert all("not a readable video" in reasons[name] for name in ("noise.mp4", "noise.jpg"))
    assert "no video stream" in reasons["half.mp4"]


def test_a_changed_file_is_another_version(folder: Path) -> None:
    before = FolderClips(folder).table.versions
    write_clip(folder / "fox.mp4", num_frames=10)
    after = FolderClips(folder).table.versions
    assert [first == second for first, second in zip(before, after, strict=True)] == [True, True, True, False, True]


def test_folders_without_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        FolderClips(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"fox\.mp4 and fox\.txt\), got none"):
        open_clips(tmp_path)
    write_clip(tmp_path / "a.mp4", None)
    with pytest.raises(ValueError, match=r"all 1 files are left out, the first is a\.mp4: no text file a\.txt"):
        open_clips(tmp_path)


def test_a_folder_is_opened_by_what_it_holds(folder: Path) -> None:
    clips = open_clips(folder)
    assert isinstance(clips, FolderClips)
    table = clips.table
    write_shards(
        folder / "shards",
        ((clip_id, folder / clip_id, texts, {}) for clip_id, texts in zip(table.clip_ids, table.captions, strict=True)),
    )
    indexed = open_clips(folder / "shards")
    assert isinstance(indexed, IndexedClips) and indexed.table.clip_ids == table.clip_ids
    for index, num_frames in enumerate(table.num_frames):
        shape = ClipShape(num_frames=min(int(num_frames), 5), height_px=16, width_px=24, fps=8)
        np.testing.assert_array_equal(indexed.read(index, shape), clips.read(index, shape))
