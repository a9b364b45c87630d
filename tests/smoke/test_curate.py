"""`cogvideox curate` as a user runs it: on videos, on what is none, killed, continued, changed, asked, misused."""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cogvideox.chat.caption_style import CaptionStyle, read_style, write_style
from cogvideox.cli import main
from cogvideox.data.clip_folder import open_clips
from cogvideox.data.clip_index import generated_captions, replace_captions
from cogvideox.data.clips import ClipShape
from cogvideox.data.curation import curate as curate_module
from cogvideox.data.curation.recipe import CurationRecipe
from cogvideox.settings import read_recipe
from curation_corpus import (
    CODECS,
    WALKERS_FPS,
    Forks,
    changed_files,
    children_of,
    counted,
    is_running,
    mean_difference,
    progress_of,
    published,
    read_frames,
    rows_of,
    times_of,
    wait_until,
    write_video,
)
from hostile_videos import RAW_NAME, write_hostile_videos
from real_videos import real_video

RECIPE = Path(__file__).parents[2] / "recipes" / "curate.toml"
SIZE = (144, 192)
SETTINGS = """
inputs = ["videos"]
operators = ["motion", "cues"]
[shots]
max_duration_s = 4
[[policy.rules]]
label = "something moves"
column = "motion.peak_speed"
min = 0.5
"""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of processes that are started
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def run(arguments: list[str], capsys, folder: Path = Path()) -> tuple[int, str, str]:
    capsys.readouterr()
    with contextlib.chdir(folder), pytest.raises(SystemExit) as caught:
        main(arguments)
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


COMMAND = ["curate", "recipe.toml", "--out", "out", "--inline"]


@dataclass(frozen=True)
class Curated:
    """A folder of videos, a recipe and what a curation made of them."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.toml"

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def curate(self) -> None:
        with contextlib.chdir(self.folder), pytest.raises(SystemExit) as caught:
            main(COMMAND)
        assert caught.value.code == 0

    def curate_again(self, capsys, *more: str) -> dict[str, Any]:
        """Return what the command says at its end."""
        code, out, err = run([*COMMAND, *more, "--json"], capsys, self.folder)
        assert code == 0, err
        return json.loads(out.splitlines()[-1])["data"]

    def sources(self) -> dict[str, dict[str, Any]]:
        return {row["source"].removeprefix("videos/"): row for row in rows_of(self.out / "tables" / "sources.parquet")}

    def clips(self) -> list[dict[str, Any]]:
        """All clips with what was decided."""
        decisions = {row["clip_id"]: row for row in rows_of(self.out / "tables" / "decisions.parquet")}
        return [row | decisions[row["clip_id"]] for row in rows_of(self.out / "tables" / "clips.parquet")]

    def clips_of(self, name: str) -> list[dict[str, Any]]:
        digest = self.sources()[name]["sha256"]
        return [clip for clip in self.clips() if clip["sha256"] == digest]

    def copy(self, folder: Path) -> "Curated":
        """Copy it, with the times of its files, to change it."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Curated(folder)


@pytest.fixture(scope="module")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_video("vtest.avi", tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def curated(walkers: Path, tmp_path_factory: pytest.TempPathFactory) -> Curated:
    """Ordinary videos, with little measured."""
    made = Curated(tmp_path_factory.mktemp("curated"))
    made.videos.mkdir()
    people = read_frames(walkers, 40, (288, 384))
    for name, (codec, options) in CODECS.items():
        write_video(made.videos / f"people_{name}", codec, people, WALKERS_FPS, options)
    noise = np.random.default_rng(0).normal(0, 2, (40, *people[0].shape))
    frozen = [np.clip(people[0] + grain, 0, 255).astype(np.uint8) for grain in noise]
    write_video(made.videos / "frozen.mp4", "libx264", frozen, WALKERS_FPS)
    long = read_frames(walkers, 85, SIZE, first=200)
    write_video(made.videos / RAW_NAME, "libx264", long, WALKERS_FPS, {"crf": "12"})
    (made.videos / RAW_NAME).with_suffix(".txt").write_text("Of a video that becomes two clips\n")
    (made.videos / "people_h264.txt").write_text(" People walk by. \n\nA square from above\n", encoding="utf-8")
    (made.videos / "broken.mp4").write_bytes(b"no video" * 100)
    made.recipe.write_text(SETTINGS)
    made.curate()
    return made


@pytest.fixture(scope="module")
def hostile(walkers: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Curated, dict[str, str]]:
    """Files that are broken, lie, or are no videos; with them, what is expected of each."""
    folder = tmp_path_factory.mktemp("hostile")
    clip = write_video(folder / "clip.mp4", "libx264", read_frames(walkers, 30, SIZE), WALKERS_FPS)
    expected = write_hostile_videos(folder / "videos", clip)
    made = Curated(folder)
    made.recipe.write_text('inputs = ["videos"]\noperators = ["motion"]\n[shots]\nmin_duration_s = 0.4\n')
    made.curate()
    return made, dict(expected)


# Hostile files


@pytest.mark.timeout(180)
def test_every_hostile_file_is_a_row_with_its_reason(hostile: tuple[Curated, dict[str, str]]) -> None:
    made, expected = hostile
    sources = made.sources()
    names = {os.fsencode(name).decode("utf-8", "backslashreplace"): name for name in expected}
    is_folder = {shown for shown, name in names.items() if (made.videos / name).is_dir()}
    assert is_folder == {"folder.mp4", "link_to_folder.mp4"}
    assert set(sources) == set(names) - is_folder  # each once: the link back to the folder is not followed
    assert list(sources) == sorted(sources)
    allowed = {"clips": ("ok", "damaged"), "damaged": ("damaged",), "rejected": ("rejected",)}
    wrong = {
        name: (row["status"], row["reason"])
        for name, row in sources.items()
        if row["status"] not in allowed[expected[names[name]]] or (row["status"] != "ok" and not row["reason"])
    }
    assert not wrong
    rejected = [row for row in sources.values() if row["status"] == "rejected"]
    assert all(row["num_clips"] == row["num_frames"] == 0 for row in rejected) and len(rejected) > 20
    assert "Traceback" not in str(sources) and "code 1" not in str(sources)  # no bug of ours is a reason


def test_what_hostile_files_give(hostile: tuple[Curated, dict[str, str]]) -> None:
    made, _ = hostile
    sources = made.sources()
    assert sources["same_1.mp4"]["sha256"] == sources["same_2.mp4"]["sha256"]
    clips = made.clips()
    assert len(made.clips_of("same_1.mp4")) == 1 and len({clip["clip_id"] for clip in clips}) == len(clips)
    assert all(clip["is_kept"] for clip in clips) and all(clip["end_s"] - clip["start_s"] >= 0.4 for clip in clips)
    unreadable = [row for row in rows_of(made.out / "tables" / "motion.parquet") if row["error"]]
    assert not unreadable
    # A break in time or size is never within a clip, nor is the frame after it.
    for name in ("gap_of_hours.mkv", "size_changes.ts", "size_changes.h264"):
        assert [(clip["start_frame"], clip["end_frame"]) for clip in made.clips_of(name)] == [(0, 24), (25, 48)], name
    first, second = made.clips_of("size_changes.ts")
    assert (first["height_px"], first["width_px"]) == (96, 128) and (second["height_px"], second["width_px"]) == (
        160,
        96,
    )
    assert sources["8k.mp4"]["width_px"] == 7680 and sources["two_videos.mp4"]["height_px"] == 96
    # Headers that promise hours are not believed.
    assert all(row["duration_s"] < 10 for row in sources.values())


def test_playlists_open_nothing(hostile: tuple[Curated, dict[str, str]]) -> None:
    made, _ = hostile
    sources = made.sources()
    for name in (
        "playlist_passwd.mp4",
        "playlist_local.mp4",
        "playlist.m3u8",
        "concat.mp4",
        "manifest.mp4",
        "html.mp4",
    ):
        assert (sources[name]["status"], sources[name]["num_frames"], sources[name]["codec"]) == ("rejected", 0, "")
    assert sources["segment.ts"]["num_clips"] == 1
    secret = Path("/etc/passwd").read_bytes().splitlines()[0]
    assert not [name for name, content in published(made.out).items() if secret in content]


def test_the_report_of_hostile_names_is_only_text(hostile: tuple[Curated, dict[str, str]]) -> None:
    page = (hostile[0].out / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "script&gt;alert(1)" in page or "script\\u003ealert(1)" in page or "u003cscript" in page.lower()


# The training set


def read_clip(made: Curated, clip_id: str) -> np.ndarray:
    clips = open_clips(made.out / "dataset", needs_captions=False)
    index, table = clips.table.clip_ids.index(clip_id), clips.table
    num_frames, size = int(table.num_frames[index]), (int(table.height_px[index]), int(table.width_px[index]))
    return clips.read_frames(index, np.arange(num_frames), size)


def test_people_before_a_fixed_camera_are_kept_whatever_the_codec(curated: Curated) -> None:
    speeds = {row["clip_id"]: row["peak_speed"] for row in rows_of(curated.out / "tables" / "motion.parquet")}
    found: dict[str, float] = {}
    for name in CODECS:
        (clip,) = curated.clips_of(f"people_{name}")
        assert clip["is_kept"] and clip["num_frames"] == 40, (name, clip)
        found[name] = speeds[clip["clip_id"]]
    (frozen,) = curated.clips_of("frozen.mp4")
    assert not frozen["is_kept"] and frozen["reason"] == "something moves"
    # Not by a hair: they are far apart, and the codec is not what is measured.
    assert min(found.values()) > 4 * speeds[frozen["clip_id"]] and max(found.values()) < 1.5 * min(found.values()), (
        found
    )


def test_the_recipe_that_users_start_from_keeps_people_and_drops_a_still(curated: Curated, tmp_path: Path) -> None:
    """All that is measured, and every rule."""
    made = Curated(tmp_path)
    made.videos.mkdir()
    names = [*(f"people_{name}" for name in CODECS), "frozen.mp4"]
    for name in names:
        (made.videos / name).symlink_to(curated.videos / name)
    shutil.copy(RECIPE, made.recipe)
    made.curate()
    decided = {name: [(clip["is_kept"], clip["reason"]) for clip in made.clips_of(name)] for name in names}
    assert decided == {name: [(True, "")] for name in names} | {"frozen.mp4": [(False, "something moves")]}
    for family in ("motion", "quality", "faces", "text", "cues", "aesthetic"):
        assert not [row["error"] for row in rows_of(made.out / "tables" / f"{family}.parquet") if row["error"]]


def test_the_trainer_reads_the_training_set(curated: Curated) -> None:
    clips = open_clips(curated.out / "dataset", needs_captions=False)
    kept = {clip["clip_id"]: clip for clip in curated.clips() if clip["is_kept"]}
    assert set(clips.table.clip_ids) == set(kept) and len(kept) == 7
    speeds = {row["clip_id"]: row["peak_speed"] for row in rows_of(curated.out / "tables" / "motion.parquet")}
    for index, clip_id in enumerate(clips.table.clip_ids):
        row, table = kept[clip_id], clips.table
        assert (table.num_frames[index], table.fps[index]) == (row["num_frames"], WALKERS_FPS)
        assert (table.height_px[index], table.width_px[index]) == (row["height_px"], row["width_px"])
        assert table.scores["motion.peak_speed"][index] == speeds[clip_id]
    assert set(clips.table.scores) >= {"motion.peak_speed", "motion.object_speed"}
    assert (curated.out / "dataset" / "policy.toml").read_bytes() == (curated.out / "policy.toml").read_bytes()
    (single,) = curated.clips_of("people_h264.mp4")
    captioned = open_clips(curated.out / "dataset")
    assert captioned.table.clip_ids == (single["clip_id"],)  # the caption of the other tells of both its clips
    assert captioned.table.captions == (("People walk by.", "A square from above"),)
    read = captioned.read(0, ClipShape(num_frames=9, height_px=48, width_px=64, fps=WALKERS_FPS))
    assert read.shape == (9, 48, 64, 3)


def test_a_clip_shows_the_frames_of_its_span(curated: Curated) -> None:
    source = np.stack(read_frames(curated.videos / RAW_NAME, 85, SIZE))
    clips = curated.clips_of(os.fsencode(RAW_NAME).decode("utf-8", "backslashreplace"))
    assert [(clip["start_frame"], clip["end_frame"]) for clip in clips] == [(0, 40), (40, 80)]
    for clip in clips:
        shown, start = read_clip(curated, clip["clip_id"]), clip["start_frame"]
        assert shown.shape == (40, *SIZE, 3)
        assert mean_difference(shown, source[start : start + 40]) < 3
        wrong = [mean_difference(shown[3:37], source[start + 3 + by : start + 37 + by]) for by in (-1, 1)]
        right = mean_difference(shown[3:37], source[start + 3 : start + 37])
        assert min(wrong) > right * 1.2, (right, wrong)
        second_off = source[start + 10 : start + 45] if start else source[10:45]
        assert mean_difference(shown[:35], second_off) > 2 * mean_difference(shown[:35], source[start : start + 35])


def test_a_clip_far_into_a_file_is_found_to_the_frame(tmp_path: Path) -> None:
    """Clips before it are dropped, so that their frames are passed over."""
    made = Curated(tmp_path)
    made.videos.mkdir()
    options = {"x264-params": "open-gop=1:keyint=30:bframes=3:scenecut=0"}
    write_video(made.videos / "far.ts", "libx264", counted(365, num_still=325), 24, options)
    images = read_frames(made.videos / "far.ts", 365, (96, 128))
    made.recipe.write_text(
        'inputs = ["videos"]\noperators = ["motion"]\npreviews.num_pictures = 0\n[shots]\nmin_duration_s = 1\n'
        'max_duration_s = 2\n[[policy.rules]]\ncolumn = "motion.peak_speed"\nmin = 2.0\n'
    )
    made.curate()
    (kept,) = [clip for clip in made.clips() if clip["is_kept"]]
    shown, start = read_clip(made, kept["clip_id"]), kept["start_frame"]
    assert start > 250 and len(shown) == kept["num_frames"] == len(images) - start
    moving = [index for index in range(len(shown)) if start + index > 326]
    assert len(moving) > 15
    for index in moving:
        near = [mean_difference(shown[index], images[place]) for place in range(325, 365)]
        assert int(np.argmin(near)) + 325 == start + index and min(near) < 4


def test_turned_and_stretched_pictures_come_out_as_they_are_shown(hostile: tuple[Curated, dict[str, str]]) -> None:
    made, _ = hostile
    (turned,) = made.clips_of("rotated.mp4")
    coded = np.stack(read_frames(made.videos / "rotated.mp4", 24, (96, 128)))  # as coded
    shown = read_clip(made, turned["clip_id"])
    assert shown.shape == (24, 128, 96, 3)
    assert mean_difference(shown, np.rot90(coded, -1, (1, 2))) < 4 < mean_difference(shown, np.rot90(coded, 1, (1, 2)))
    (wide,) = made.clips_of("wide_pixels.mp4")
    shown = read_clip(made, wide["clip_id"])
    assert shown.shape == (24, 96, 256, 3) and wide["width_px"] == 256
    coded = np.stack(read_frames(made.videos / "wide_pixels.mp4", 24, (96, 128)))
    assert mean_difference(shown[:, :, ::2], coded) < 8


def test_a_variable_rate_becomes_a_constant_one_of_the_same_length(hostile: tuple[Curated, dict[str, str]]) -> None:
    made, _ = hostile
    (clip,) = made.clips_of("variable_rate.mkv")
    clips = open_clips(made.out / "dataset", needs_captions=False)
    index = clips.table.clip_ids.index(clip["clip_id"])
    duration_s = float(clips.table.num_frames[index] / clips.table.fps[index])
    assert clip["end_s"] - clip["start_s"] == pytest.approx(duration_s, abs=0.15)
    steps_ms = np.random.default_rng(0).integers(5, 120, 48).cumsum()  # as hostile_videos makes it
    assert duration_s == pytest.approx((steps_ms[-1] - steps_ms[0]) / 1000, abs=0.15)
    shown = read_clip(made, clip["clip_id"])
    source = read_frames(made.videos / "variable_rate.mkv", 48, (96, 128))
    times_s = (steps_ms - steps_ms[0]) / 1000
    for place in (10, 20, 35):
        at_s = place / float(clips.table.fps[index])
        near = [mean_difference(shown[place], picture) for picture in source]
        assert abs(times_s[int(np.argmin(near))] - at_s) < 0.12, place


# Nothing is done twice


def run_json(command: list[str], capsys) -> dict[str, Any]:
    code, out, err = run([*command, "--json"], capsys)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["data"]


def families(made: Curated) -> dict[str, dict[str, int]]:
    """The times of the parts, by what computed them."""
    found: dict[str, dict[str, int]] = {}
    for name, time_ns in times_of(made.out / "work").items():
        found.setdefault(name.split("/")[0].rsplit("-", 1)[0], {})[name] = time_ns
    return found


def test_nothing_is_computed_twice(curated: Curated, tmp_path: Path, capsys) -> None:
    made = curated.copy(tmp_path / "a")
    before, parts, set_times = published(made.out), times_of(made.out / "work"), times_of(made.out / "dataset")
    data = made.curate_again(capsys)
    assert data["num_computed"] == 0 and (data["num_sources"], data["num_rejected"]) == (8, 1)
    assert not changed_files(before, published(made.out))
    assert times_of(made.out / "work") == parts and times_of(made.out / "dataset") == set_times

    # Moved and renamed.
    (made.videos / "new folder").mkdir()
    (made.videos / "people_vp9.webm").rename(made.videos / "new folder" / "people.webm")
    made.videos.rename(made.folder / "elsewhere")
    made.videos.symlink_to("elsewhere")
    assert made.curate_again(capsys)["num_computed"] == 0 and times_of(made.out / "work") == parts
    assert "new folder/people.webm" in made.sources() and "people_vp9.webm" not in made.sources()

    # One more.
    write_video(made.videos / "more.mp4", "libx264", counted(60), 24)
    assert made.curate_again(capsys)["num_computed"] == 1
    more = times_of(made.out / "work")
    new = [name for name in more if name not in parts]
    assert {name: more[name] for name in parts} == parts
    assert len([name for name in new if name.endswith(".parquet")]) == 5, new  # decoding shots motion cues previews
    assert len(made.clips_of("more.mp4")) == 1

    # Settings of one operator: neither shots nor the other's values, nor files of clips.
    old = families(made)
    data = made.curate_again(capsys, "--set", "motion.min_object_speed=2.5")
    now = families(made)
    assert data["num_computed"] == 9 and {name for name in now if now[name] != old[name]} == {"motion"}
    assert len(now["motion"]) == len(old["motion"]) + 9 and not set(old["motion"].items()) - set(now["motion"].items())


def test_another_policy_measures_nothing_and_writes_only_the_clips_that_it_adds(
    curated: Curated, tmp_path: Path, capsys
) -> None:
    made = curated.copy(tmp_path / "a")
    old, kept = families(made), {clip["clip_id"] for clip in made.clips() if clip["is_kept"]}
    data = made.curate_again(capsys, "--set", "policy.rules.0.min=0")
    now = families(made)
    assert data["num_computed"] == 0 and data["num_kept"] == data["num_clips"] == len(kept) + 1
    assert {name for name in now if now[name] != old[name]} == {"clip-files"}
    added = set(now["clip-files"]) - set(old["clip-files"])
    (frozen,) = made.clips_of("frozen.mp4")
    assert [Path(name).stem for name in added] == [frozen["clip_id"]]
    assert not set(old["clip-files"].items()) - set(now["clip-files"].items())
    assert set(open_clips(made.out / "dataset", needs_captions=False).table.clip_ids) == kept | {frozen["clip_id"]}
    # None is kept: the training set says so, rather than that the old one stays.
    data = made.curate_again(capsys, "--set", "policy.rules.0.min=1000")
    assert data["num_kept"] == 0 and data["num_clips"] == len(kept) + 1
    assert not list((made.out / "dataset").glob("*.tar")) and families(made) == now
    assert all(clip["reason"] == "something moves" for clip in made.clips())
    # And back: nothing is written anew but the tables.
    assert made.curate_again(capsys)["num_kept"] == len(kept) and families(made) == now
    assert not changed_files(published(curated.out), published(made.out))


def test_captions_stay_with_their_clips_when_others_join_them(curated: Curated, tmp_path: Path, capsys) -> None:
    made = curated.copy(tmp_path / "a")
    clip_id = next(clip["clip_id"] for clip in made.clips() if clip["is_kept"])
    given = {clip_id: [("short", "it moves"), ("dense", "It moves, and how.")]}
    replace_captions(made.out / "dataset", given)
    write_style(made.out / "dataset", CaptionStyle(max_words=4))
    num_clips = len(generated_captions(made.out / "dataset"))
    made.curate_again(capsys, "--set", "policy.rules.0.min=0")
    assert num_clips == 1 and generated_captions(made.out / "dataset") == given
    assert read_style(made.out / "dataset") == CaptionStyle(max_words=4)


def test_what_a_recipe_no_longer_measures_is_no_longer_there(curated: Curated, tmp_path: Path, capsys) -> None:
    made = curated.copy(tmp_path / "a")
    (made.videos / "people_av1.mkv").unlink()  # so that tables of before have other rows
    made.curate_again(capsys, "--set", 'operators=["motion"]')
    clip_id = made.clips_of("frozen.mp4")[0]["clip_id"]
    code, out, err = run(["curate", "explain", clip_id, "--out", str(made.out), "--json"], capsys)
    assert code == 0, err
    assert not [name for name in json.loads(out.splitlines()[-1])["data"]["values"] if name.startswith("cues.")]


@pytest.mark.parametrize("family", ["decoding", "shots", "motion", "previews"])
def test_a_damaged_part_is_told_and_made_anew(curated: Curated, tmp_path: Path, capsys, family: str) -> None:
    made = curated.copy(tmp_path / "a")
    digest = made.sources()["people_mpeg4.avi"]["sha256"]
    (part,) = (made.out / "work").glob(f"{family}-*/*/{digest}.parquet")
    part.write_bytes(part.read_bytes()[:100])
    code, _, err = run(COMMAND, capsys, made.folder)
    assert (
        code == 2 and str(part.relative_to(made.folder)) in err and "run curate again" in err and "Traceback" not in err
    ), err
    assert made.curate_again(capsys)["num_computed"] == 1
    assert not changed_files(published(curated.out), published(made.out))


def test_files_of_the_same_name_in_two_folders_are_both_there(tmp_path: Path, capsys) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "videos").mkdir(parents=True)
        write_video(tmp_path / folder / "videos" / "clip.mp4", "libx264", counted(30 if folder == "a" else 40), 24)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('inputs = ["videos"]\noperators = []\nshots.min_duration_s = 1\n')
    inputs = [str(tmp_path / folder / "videos") for folder in ("a", "b")]
    data = run_json(["curate", str(recipe), "--inline", "--inputs", *inputs, "--out", str(tmp_path / "out")], capsys)
    assert (data["num_sources"], data["num_clips"]) == (2, 2)
    assert len({row["source"] for row in rows_of(tmp_path / "out" / "tables" / "sources.parquet")}) == 2


def test_what_failed_is_looked_at_again_only_if_asked(curated: Curated, tmp_path: Path, capsys) -> None:
    made = curated.copy(tmp_path / "a")
    digest = made.sources()["broken.mp4"]["sha256"]
    parts = times_of(made.out / "work")
    assert made.curate_again(capsys)["num_computed"] == 0
    assert made.curate_again(capsys, "--retry-failed")["num_computed"] == 1
    now = times_of(made.out / "work")
    changed = {name for name in now if now[name] != parts.get(name)}
    assert len(changed) == 5 and {Path(name).stem for name in changed} == {digest}
    assert not changed_files(published(curated.out), published(made.out))


def test_two_do_not_work_in_one_folder(curated: Curated, capsys) -> None:
    before = published(curated.out)
    with (curated.out / "work" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, _, err = run(COMMAND, capsys, curated.folder)
    assert code == 2 and "another process" in err and not changed_files(before, published(curated.out))


# Killed


@pytest.fixture(scope="module")
def forks():
    made = Forks()
    yield made
    made.stop()


def test_killed_at_any_moment_and_continued(curated: Curated, forks: Forks, tmp_path: Path) -> None:
    random_moments = random.Random()
    num_sources, num_kept = 8, 7
    out, log = tmp_path / "out", tmp_path / "log"
    moments = [("measuring", 0), ("measuring", 1), ("measuring", 2), ("measuring", 1), ("writing clips", 1)]
    moments += [("writing clips", 2)]
    num_reported = 0
    for name, num_done in moments:
        start = len(progress_of(log))
        process_id = forks.start(curated.recipe, out, log, folder=str(curated.folder))
        wait_for_progress(process_id, log, start, name, num_done)
        decoders = children_of(process_id)
        wait_s = random_moments.uniform(0, 0.4) if name == "measuring" else random_moments.uniform(0, 0.05)
        time.sleep(wait_s)
        os.kill(process_id, signal.SIGKILL)  # the one process: its decoder dies with it
        assert forks.wait() == -signal.SIGKILL, (name, num_done, wait_s)
        wait_for_end(decoders)
        # What was told is there, and of what was not told at most one source is begun.
        steps = progress_of(log)[start:]
        measured = [step for step in steps if step[0] == "measuring"]
        num_reported += len(measured)
        assert all(total == num_sources - num_reported + len(measured) for _, _, total in measured), measured
        complete, begun = parts_of(out, num_families=5)
        assert len(complete) >= num_reported and len(complete) + len(begun) <= num_reported + 1, (complete, begun)
        num_reported = len(complete)
    # Then at the moments when results are put in place: tables, training set, report, decisions.
    for place in ("tables/sources.parquet", "dataset", "report.html", "tables/decisions.parquet"):
        code = forks.run(curated.recipe, out, log, folder=str(curated.folder), die_before=str(out / place))
        assert code == -signal.SIGKILL, place
    start = len(progress_of(log))
    assert forks.run(curated.recipe, out, log, folder=str(curated.folder)) == 0
    assert not [step for step in progress_of(log)[start:] if step[0] != "reading"]
    assert len(list((out / "work").glob("clip-files-*/*/[0-9a-f]*.mp4"))) == num_kept
    assert not changed_files(published(curated.out), published(out))


def wait_for_progress(process_id: int, log: Path, start: int, name: str, num_done: int) -> None:
    """Wait until a curation has done so much of a part, and has a decoder."""

    def is_there() -> bool:
        assert is_running(process_id), f"the curation ended before {num_done} of {name}: {progress_of(log)[start:]}"
        num_steps = len([step for step in progress_of(log)[start:] if step[0] == name])
        return num_steps >= num_done and bool(children_of(process_id))

    wait_until(is_there, 60, f"{num_done} of {name}")


def wait_for_end(process_ids: list[int]) -> None:
    wait_until(lambda: not any(map(is_running, process_ids)), 5, f"decoders {process_ids} end with their parent")


def parts_of(out: Path, num_families: int) -> tuple[set[str], set[str]]:
    """Return the sources of which all parts are there, and those of which only some are."""
    found: dict[str, int] = {}
    for part in (out / "work").glob("*/*/[0-9a-f]*.parquet"):
        found[part.stem] = found.get(part.stem, 0) + 1
    complete = {digest for digest, count in found.items() if count == num_families}
    return complete, set(found) - complete


def test_killed_while_a_changed_result_takes_its_place(curated: Curated, forks: Forks, tmp_path: Path, capsys) -> None:
    made, log = curated.copy(tmp_path / "a"), tmp_path / "log"
    (made.videos / "people_av1.mkv").unlink()
    options: dict[str, Any] = {"folder": str(made.folder), "overrides": ["policy.rules.0.min=0"]}
    assert forks.run(made.recipe, tmp_path / "fresh", log, **options) == 0

    (frozen,) = curated.clips_of("frozen.mp4")

    def answer(out: Path) -> tuple[int, str]:
        code, told, err = run(["curate", "explain", frozen["clip_id"], "--out", str(out), "--json"], capsys)
        return code, err if code else told

    right = [answer(curated.out), answer(tmp_path / "fresh")]
    assert [code for code, _ in right] == [0, 0] and right[0] != right[1]
    for place in ("tables/motion.parquet", "policy.toml", "dataset", "tables/decisions.parquet"):
        assert forks.run(made.recipe, made.out, log, die_before=str(made.out / place), **options) < 0
        # A part of it is new: it is said that it is not finished, or what is told is right.
        code, told = answer(made.out)
        assert (code, told) in right or (code == 2 and "no finished curation" in told), (place, told)
    assert forks.run(made.recipe, made.out, log, **options) == 0
    assert not changed_files(published(tmp_path / "fresh"), published(made.out))


def test_ray_data_is_told_where_files_are_whatever_folder_its_workers_are_in(
    curated: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Path] = []

    def refuse(make_worker: Any, tasks: list[Any], *_: object, **__: object) -> None:
        told.extend([Path(make_worker.args[1]), *(Path(task.path) for task in tasks)])
        raise ValueError("enough")

    monkeypatch.setattr(curate_module, "run_ray", refuse)
    monkeypatch.chdir(curated.folder)
    with pytest.raises(ValueError, match="enough"):
        curate_module.curate(read_recipe("recipe.toml", CurationRecipe), os.path.relpath(tmp_path / "out"))
    assert len(told) == 9 and not [path for path in told if not path.is_absolute()]


@pytest.mark.slow
def test_ray_data_gives_the_same_bytes(curated: Curated, tmp_path: Path, capsys) -> None:
    pytest.importorskip("ray")
    code, out, err = run(["curate", "recipe.toml", "--out", str(tmp_path / "out")], capsys, curated.folder)
    assert code == 0 and "7 of 8 files give video" in out, (out, err)
    assert not changed_files(published(curated.out), published(tmp_path / "out"))


# Questions


def test_explain_tells_where_a_clip_comes_from_and_why(curated: Curated, capsys) -> None:
    (frozen,) = curated.clips_of("frozen.mp4")
    place = ["--out", str(curated.out)]
    code, out, _ = run(["curate", "explain", frozen["clip_id"][:12], *place], capsys)
    assert code == 0 and "dropped" in out and "videos/frozen.mp4" in out and "something moves" in out
    assert "0.00 to 4.00 s, 40 frames" in out and "384x288" in out and "cues." in out
    data = run_json(["curate", "explain", frozen["clip_id"], *place], capsys)
    (rule,) = data["rules"]
    assert data["is_kept"] is False and rule["bound"] == 0.5 and rule["passes"] is False
    assert rule["value"] == data["values"]["motion.peak_speed"] < 0.5
    code, _, err = run(["curate", "explain", "nosuchclip", *place], capsys)
    assert code == 2 and "nosuchclip" in err and "8 clips" in err
    code, _, err = run(["curate", "explain", "", *place], capsys)
    assert code == 2 and "8 ids" in err
    two = curated.clips_of(os.fsencode(RAW_NAME).decode("utf-8", "backslashreplace"))
    code, _, err = run(["curate", "explain", two[0]["clip_id"][:16], *place], capsys)
    assert code == 2 and two[0]["clip_id"] in err and two[1]["clip_id"] in err


def test_sweep_tells_what_a_threshold_costs(curated: Curated, tmp_path: Path, capsys) -> None:
    place = ["--out", str(curated.out)]
    plot = tmp_path / "plot.svg"
    data = run_json(["curate", "sweep", "motion.peak_speed", *place, "--plot", str(plot)], capsys)
    kept = [row["num_kept"] for row in data["rows"]]
    assert max(kept) == 8 and kept == sorted(kept, reverse=True) and "<svg" in plot.read_text()
    code, _, err = run(["curate", "sweep", "motion.peak_sped", *place], capsys)
    assert code == 2 and "motion.peak_speed" in err and "did you mean" in err
    assert not list(curated.out.glob("sweep_*"))  # nothing is written for a column that is not there


def test_describe_tells_the_plan_and_does_nothing(curated: Curated, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(["curate", "describe", str(curated.recipe), "--inputs", "somewhere"], capsys)
    assert code == 0, err
    for word in (
        "somewhere",
        "shots",
        "motion",
        "cues",
        "peak_speed at least 0.5",
        "crf 18",
        "dataset",
        "index.parquet",
    ):
        assert word in out or word == "dataset", word
    keys = {part.name for part in (curated.out / "work").iterdir() if part.is_dir()}
    assert all(key in out for key in keys if not key.startswith("decoding")), (keys, out)
    assert not list(tmp_path.iterdir())
    changed = run(["curate", "describe", str(curated.recipe), "--set", "shots.threshold=0.4"], capsys)[1]
    assert not [key for key in keys if key in changed and key.startswith(("shots", "motion"))]


def test_errors_say_what_to_do(curated: Curated, tmp_path: Path, capsys) -> None:
    recipe, videos = str(curated.recipe), str(curated.videos)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "notes.txt").write_text("no recipe")
    out = ["--out", str(tmp_path / "out")]
    good = ["curate", recipe, "--inline", *out, "--inputs", videos]
    cases = [
        (["curate", str(tmp_path / "none.toml"), *out], ("none.toml", "No such file")),
        (["curate", str(tmp_path / "notes.txt"), *out], ("notes.txt", "TOML")),
        ([*good, "--set", "shots.min_durations_s=1"], ("min_durations_s", "shots")),
        ([*good, "--set", "shots.threshold=2"], ("threshold", "less than 1", "2")),
        ([*good, "--set", 'operators=["motoin"]'], ("motoin", "motion")),
        ([*good, "--set", 'policy.rules.0.column="motion.peak_sped"'], ("motion.peak_sped", "motion.peak_speed")),
        ([*good, "--set", 'policy.rules.0.column="faces.count"'], ("faces.count",)),
        ([*good, "--ray-address", "127.0.0.1:1"], ("--ray-address", "--inline")),
        ([*good[:-1], str(tmp_path / "gone")], ("inputs", str(tmp_path / "gone"))),
        ([*good[:-1], str(tmp_path / "nothing")], ("inputs", "none", str(tmp_path / "nothing"))),
        (["curate", "explain", "a", "--out", str(tmp_path)], (str(tmp_path), "no finished curation", "curate RECIPE")),
        (["curate", "sweep", "motion.peak_speed", "--out", str(tmp_path)], ("no finished curation",)),
        (["curate", "explain", "a", "--out", str(curated.out), "--step", "-1"], ("--step",)),
    ]
    for arguments, words in cases:
        code, _, err = run(arguments, capsys)
        assert code == 2 and "Traceback" not in err, (arguments, code, err)
        assert all(word in err for word in words), (arguments, words, err)
    assert not (tmp_path / "out" / "dataset").exists()
