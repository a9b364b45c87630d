"""Curations of what is strange but not hostile: pieces of files, slow films, files that go, results as inputs."""

import contextlib
import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cogvideox.cli import main
from cogvideox.data.clip_folder import open_clips
from cogvideox.data.curation import analysis
from cogvideox.data.curation.curate import CurationResult, curate
from cogvideox.data.curation.motion import MotionOperator
from cogvideox.data.curation.policy import Policy, Rule
from cogvideox.data.curation.recipe import CurationRecipe
from cogvideox.data.curation.shots import ShotSettings
from cogvideox.data.curation.tables import Curation, read_curation
from curation_corpus import counted, read_frames, write_video

pytestmark = pytest.mark.slow
MPEG4 = {"qscale": "3", "g": "12"}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def run(inputs: Path, out: Path, **changes: Any) -> tuple[CurationResult, Curation]:
    recipe = CurationRecipe(inputs=(str(inputs),), operators=("motion",), **changes)
    return curate(recipe, out, engine="inline"), read_curation(out)


def write_timed(
    path: Path, images: Iterator[np.ndarray], times_s: list[float], pix_fmt: str = "yuv420p", codec: str = "libx264"
) -> Path:
    """Encode frames each of which is shown from its own time on."""
    with av.open(path, "w") as container:
        stream: Any = None
        for image, time_s in zip(images, times_s, strict=False):
            if stream is None:
                stream = container.add_stream(codec, rate=25, options={"crf": "12", "preset": "ultrafast"})
                stream.height, stream.width, stream.pix_fmt = image.shape[0], image.shape[1], pix_fmt
                stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_pieces_of_files_are_rows(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    whole = write_video(tmp_path / "whole.mkv", "mpeg4", counted(40), 10, MPEG4).read_bytes()
    for size in (1, 30, 64, 100, 200, 400, 1000):
        (videos / f"{size:04d}.mkv").write_bytes(whole[:size])
    result, curation = run(videos, tmp_path / "out")
    assert (result.num_sources, result.num_rejected, result.num_clips) == (7, 7, 0)
    assert all(source["reason"] for source in curation.sources)
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("frame_s", [1.9, 5.0, 20.0])
def test_slow_films_give_clips_or_none_but_end(tmp_path: Path, frame_s: float) -> None:
    (tmp_path / "videos").mkdir()
    write_timed(tmp_path / "videos" / "slow.mkv", counted(60), [index * frame_s for index in range(60)])
    result, curation = run(tmp_path / "videos", tmp_path / "out")
    assert result.num_rejected == 0 and curation.sources[0]["num_frames"] == 60
    for row in curation.clips.rows:
        assert row["num_frames"] == row["end_frame"] - row["start_frame"] >= 1


def test_the_folder_of_results_is_no_input(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", "mpeg4", counted(40), 10, MPEG4)
    for _ in range(2):
        result, curation = run(tmp_path, tmp_path / "curated")
        assert [source["source"] for source in curation.sources] == [f"{tmp_path.name}/a.avi"]
    assert result.num_computed == 0


def test_a_file_that_goes_is_a_row_and_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, num_still in (("a.avi", 0), ("b.avi", 5)):
        write_video(videos / name, "mpeg4", counted(40, num_still=num_still), 10, MPEG4)
    decode, hidden = analysis._decode, tmp_path / "b.avi"

    def hiding(path: Path, *rest: Any) -> Any:
        if path.name == "b.avi":
            path.rename(hidden)
        return decode(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(analysis, "_decode", hiding)
        first, curation = run(videos, tmp_path / "out")
    reasons = {source["source"]: source["reason"] for source in curation.sources}
    assert "No such file" in reasons["videos/b.avi"] and not reasons["videos/a.avi"]
    assert first.num_clips == 1
    hidden.rename(videos / "b.avi")
    second, _ = run(videos, tmp_path / "out")
    assert (second.num_computed, second.num_clips, second.num_rejected) == (1, 2, 0)


def test_what_cannot_be_analysed_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.avi", "mpeg4", counted(40), 10, MPEG4)

    def fail(*_: object) -> None:
        raise IndexError("strange")

    monkeypatch.setattr(analysis._Frames, "view", fail)
    result, curation = run(tmp_path / "videos", tmp_path / "out")
    assert "could not be analysed (IndexError: strange)" in curation.sources[0]["reason"]
    assert result.num_clips == 0


def test_failed_measurements_are_counted_and_made_again_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.avi", "mpeg4", counted(40), 10, MPEG4)
    recipe = CurationRecipe(inputs=str(tmp_path / "videos"), operators=("motion",))  # pyright: ignore[reportArgumentType]

    def fail(*_: object) -> dict[str, float]:
        raise ValueError("strange")

    with monkeypatch.context() as patch:
        patch.setattr(MotionOperator, "measure", fail)
        assert curate(recipe, tmp_path / "out", engine="inline").num_errors == 1
    assert curate(recipe, tmp_path / "out", engine="inline").num_errors == 1
    assert curate(recipe, tmp_path / "out", engine="inline", retries_failed=True).num_errors == 0
    with monkeypatch.context() as patch:
        patch.setattr(MotionOperator, "measure", lambda *_: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            curate(recipe, tmp_path / "other", engine="inline")


def test_a_gap_shows_the_frame_before_it(tmp_path: Path) -> None:
    """Black until 1.5 s, then white: so it is in the clip."""
    (tmp_path / "videos").mkdir()
    shades = [0, 0, *[200] * 40]
    images = (np.full((96, 128, 3), shade, np.uint8) for shade in shades)
    times_s = [0.0, 0.04, *[1.5 + index * 0.04 for index in range(40)]]
    write_timed(tmp_path / "videos" / "gap.mkv", images, times_s)
    shots = ShotSettings(threshold=0.99, min_duration_s=1.0)
    run(tmp_path / "videos", tmp_path / "out", shots=shots)
    clips = open_clips(tmp_path / "out" / "dataset", needs_captions=False)
    (num_frames,), (fps,) = clips.table.num_frames, clips.table.fps
    assert num_frames / fps == pytest.approx(1.5 + 40 * 0.04, abs=1.5 / fps)
    frames = clips.read_frames(0, np.arange(num_frames), (96, 128))
    is_white = frames.mean(axis=(1, 2, 3)) > 100
    assert is_white.argmax() / fps == pytest.approx(1.5, abs=1.5 / fps) and is_white[is_white.argmax() :].all()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p"])
def test_clips_have_the_brightness_of_their_sources(tmp_path: Path, pix_fmt: str) -> None:
    (tmp_path / "videos").mkdir()
    ramp = np.linspace(10, 245, 128).round().astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (96, 128, 3)).copy()
    codec = "mjpeg" if pix_fmt == "yuvj420p" else "libx264"
    path = write_timed(
        tmp_path / "videos" / "ramp.mkv", (image for _ in range(60)), [i / 20 for i in range(60)], pix_fmt, codec
    )
    run(tmp_path / "videos", tmp_path / "out")
    clips = open_clips(tmp_path / "out" / "dataset", needs_captions=False)
    made = clips.read_frames(0, np.array([20]), (96, 128))[0].astype(float)
    source = read_frames(path, 1, (96, 128), first=20)[0].astype(float)
    assert np.abs(made - source).mean() < 2.5 and np.abs(made - image).mean() < 4


def test_any_name_may_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    videos = tmp_path / 'in \U0001f600 "quoted" é'
    videos.mkdir()
    write_video(tmp_path / "a.avi", "mpeg4", counted(40), 10, MPEG4).rename(videos / "a.avi")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('inputs = ["nowhere"]\noperators = ["motion"]\n')
    arguments = ["curate", str(recipe), "--inputs", str(videos), "--out", str(tmp_path / "out"), "--inline", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    data = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["data"]
    assert ended.value.code == 0 and data["num_clips"] == 1 and data["num_errors"] == 0


def test_wrong_requests_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"operators: expected any of motion, .*, got 'foo'"):
        CurationRecipe(inputs=("a",), operators=("foo",))  # pyright: ignore[reportArgumentType]
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.avi", "mpeg4", counted(20), 10, MPEG4)
    recipe = CurationRecipe(inputs=(tmp_path / "videos",), operators=("motion",))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"--ray-address: nobody answers at 127\.0\.0\.1:1"):
        curate(recipe, tmp_path / "out", ray_address="127.0.0.1:1")
    with pytest.raises(ValueError, match=r"inputs: no such file or folder: .*~no-such-user"):
        curate(CurationRecipe(inputs=("~no-such-user/x",)), tmp_path / "out", engine="inline")


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.avi", "mpeg4", counted(40), 10, MPEG4)
    with monkeypatch.context() as patch, contextlib.suppress(OSError):
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        run(tmp_path / "videos", tmp_path / "out")
        raise AssertionError("the disk was full")
    result, _ = run(tmp_path / "videos", tmp_path / "out")
    assert result.num_kept == 1


def test_a_source_without_values_does_not_end_a_policy_of_quantiles(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    image = np.full((96, 128, 3), 90, np.uint8)
    write_video(tmp_path / "videos" / "a.avi", "mpeg4", (image for _ in range(40)), 10, MPEG4)
    policy = Policy(rules=(Rule(column="motion.camera_fit", min_quantile=0.5),))
    result, _ = run(tmp_path / "videos", tmp_path / "out", policy=policy)
    assert (result.num_clips, result.num_kept) == (1, 1)
