"""Clips of all kinds of datasets become mp4 that browsers play, and what cannot be shown says why."""

import hashlib
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from cogvideox.data.clip_index import write_shards
from cogvideox.data.curation.plan import CLIP_TYPES
from cogvideox.data.curation.store import write_table
from cogvideox.data.labelling.dataset import labels_folder_of, open_dataset
from cogvideox.data.labelling.shelf import ClipShelf, Playable
from curation_corpus import counted, mean_difference, write_video


def frames(playable: Playable, folder: Path) -> list[np.ndarray]:
    file = folder / "shown.mp4"
    content = playable.path.read_bytes()[playable.offset_bytes :][: playable.size_bytes]
    file.write_bytes(content)
    with av.open(file) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_folder_of_videos(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    (folder / "sub" / ".hidden").mkdir(parents=True)
    write_video(folder / "a.mp4", "libx264", counted(12), 24)
    write_video(folder / "sub" / "b.webm", "libvpx-vp9", counted(12), 24, {"deadline": "realtime", "cpu-used": "8"})
    write_video(
        folder / "hevc.mp4", "libx265", counted(12), 24, {"preset": "ultrafast", "x265-params": "log-level=none"}
    )
    (folder / "bad.mp4").write_bytes(b"no video" * 99)
    (folder / "notes.txt").write_text("no clip")
    shutil.copy(folder / "a.mp4", folder / "sub" / ".hidden" / "c.mp4")
    dataset = open_dataset(folder)
    assert list(dataset.clips) == ["a.mp4", "bad.mp4", "hevc.mp4", "sub/b.webm"]
    shelf = ClipShelf(dataset, tmp_path / "cache")
    try:
        assert shelf.playable("a.mp4") == Playable(
            path=folder / "a.mp4", offset_bytes=0, size_bytes=(folder / "a.mp4").stat().st_size
        )
        for name in ("hevc.mp4", "sub/b.webm"):
            shown = frames(shelf.playable(name), tmp_path)
            pairs = zip(shown, counted(12), strict=True)
            assert max(mean_difference(one, other) for one, other in pairs) < 6
            assert shelf.playable(name).path.parent == tmp_path / "cache"
        for _ in range(2):
            with pytest.raises(ValueError, match=r"Invalid|no video"):
                shelf.playable("bad.mp4")
        before = shelf.playable("hevc.mp4").path
        write_video(folder / "hevc.mp4", "libx265", counted(6), 24, {"x265-params": "log-level=none"})
        assert shelf.playable("hevc.mp4").path != before and len(frames(shelf.playable("hevc.mp4"), tmp_path)) == 6
    finally:
        shelf.close()
    assert not list((tmp_path / "cache").glob(".making-*"))


def test_a_part_of_a_video_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogvideox.data.labelling.shelf.MAX_SHOWN_S", 0.5)
    folder = tmp_path / "videos"
    folder.mkdir()
    options = {"deadline": "realtime", "cpu-used": "8"}
    write_video(folder / "long.webm", "libvpx-vp9", counted(20), 24, options)
    write_video(folder / "as_long.webm", "libvpx-vp9", counted(12), 24, options)
    write_video(folder / "whole.mp4", "libx264", counted(20), 24)
    dataset = open_dataset(folder)
    for _ in range(2):  # the second one finds the copies
        shelf = ClipShelf(dataset, tmp_path / "cache")
        try:
            said = {name: shelf.playable(name).is_beginning for name in dataset.clips}
            assert said == {"as_long.webm": False, "long.webm": True, "whole.mp4": False}
            assert len(frames(shelf.playable("long.webm"), tmp_path)) in (12, 13)
            assert len(frames(shelf.playable("as_long.webm"), tmp_path)) == 12
        finally:
            shelf.close()


def curated(folder: Path, source: Path) -> str:
    """Write the tables of a curation with one clip, of frames 10 to 22; return its id."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    clip_id = f"{digest[:16]}_0000010_0000022"
    row = {"clip_id": clip_id, "sha256": digest, "start_frame": 10, "end_frame": 22, "start_s": 10 / 24}
    row |= {"end_s": 22 / 24, "start_pts": -(2**63), "num_frames": 12, "fps": 24.0, "height_px": 96, "width_px": 128}
    write_table(folder / "tables" / "clips.parquet", [row | {"starts": "cut", "ends": "cut"}], CLIP_TYPES)
    sources = [{"source": f"videos/{source.name}", "sha256": digest}]
    write_table(folder / "tables" / "sources.parquet", sources, {"source": "string", "sha256": "string"})
    values = [{"clip_id": clip_id, "area": 0.25, "error": ""}]
    types = {"clip_id": "string", "area": "float64", "error": "string"}
    write_table(folder / "tables" / "text.parquet", values, types)
    (folder / "recipe.json").write_text('{"inputs": ["videos"]}')
    return clip_id


def test_a_dropped_clip_is_cut_from_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    source = write_video(tmp_path / "videos" / "a.mkv", "libx264", counted(30), 24)
    folder = tmp_path / "curated"
    clip_id = curated(folder, source)
    monkeypatch.chdir("/")  # the recipe's inputs are found beside the folder of results
    bad = folder / "work" / "clip-files-0123" / clip_id[:2] / f"{clip_id}.mp4"
    bad.parent.mkdir(parents=True)
    small = [frame[:32, :32] for frame in counted(12)]
    write_video(bad, "libx264", small, 24, {"crf": "40"})  # of a run that wrote its clips small and compressed
    dataset = open_dataset(folder)
    assert dataset.clips[clip_id].source == "videos/a.mkv" and dataset.values["text.area"].tolist() == [0.25]
    shelf = ClipShelf(dataset, tmp_path / "cache")
    try:
        shown = frames(shelf.playable(clip_id), tmp_path)
        pairs = zip(shown, list(counted(30))[10:22], strict=True)
        assert max(mean_difference(one, other) for one, other in pairs) < 3
        shelf.playable(clip_id).path.unlink()
        write_video(source, "libx264", counted(20), 24)
        with pytest.raises(ValueError, match=r"videos/a\.mkv is not where it was"):
            shelf.playable(clip_id)
    finally:
        shelf.close()


def test_a_training_set_by_offset(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", "libx264", counted(12), 24)
    write_video(tmp_path / "b.webm", "libvpx-vp9", counted(12), 24, {"deadline": "realtime", "cpu-used": "8"})
    folder = tmp_path / "curated" / "dataset"
    clips = [("a" * 16 + "_0_9", tmp_path / "a.mp4", (), {"text.area": 0.5}), ("b", tmp_path / "b.webm", (), {})]
    write_shards(folder, clips)
    dataset = open_dataset(folder)
    shelf = ClipShelf(dataset, tmp_path / "cache")
    try:
        direct = shelf.playable("a" * 16 + "_0_9")
        assert direct.path.suffix == ".tar" and direct.offset_bytes > 0
        assert len(frames(direct, tmp_path)) == len(frames(shelf.playable("b"), tmp_path)) == 12
    finally:
        shelf.close()
    assert dataset.clips["a" * 16 + "_0_9"].source == "a" * 16 and dataset.values["text.area"][0] == 0.5
    assert labels_folder_of(folder) == folder / "labels"
    curated(tmp_path / "curated", tmp_path / "a.mp4")  # whose runs write the training set anew
    assert labels_folder_of(folder) == tmp_path / "curated" / "labels"


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        open_dataset(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"cogvideox curate made.*index\.parquet.*\.mp4"):
        open_dataset(tmp_path)
    write_table(tmp_path / "tables" / "clips.parquet", [], CLIP_TYPES)
    with pytest.raises(ValueError, match="curation without any"):
        open_dataset(tmp_path)
    (tmp_path / "tables" / "clips.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match="not readable as a table"):
        open_dataset(tmp_path)
