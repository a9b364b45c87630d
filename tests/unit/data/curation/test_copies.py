"""What copies come to in a curation: which clip stays, what tables say, and what the policy can ask."""

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cogvideox.data.curation import fingerprints as made
from cogvideox.data.curation.copies import COLUMNS, CopySearchSettings, EvaluationItem, find_copies
from cogvideox.data.curation.copy_search import MeasuredRows
from cogvideox.data.curation.curate import curate
from cogvideox.data.curation.duplicates import (
    ComparedPairs,
    compare_candidates,
    find_contamination,
    fingerprint_likeness,
)
from cogvideox.data.curation.fingerprints import Fingerprints, picture_hashes
from cogvideox.data.curation.policy import Policy, Rule
from cogvideox.data.curation.recipe import CurationRecipe, PreviewSettings
from cogvideox.data.curation.semantic import compare_vectors, vector_likeness
from cogvideox.data.curation.shots import ShotDetector, ShotSettings
from cogvideox.data.curation.store import read_table
from cogvideox.data.curation.tables import read_curation
from curation_corpus import changed_files, published, read_frames, write_video
from real_videos import real_video

SETTINGS = CopySearchSettings()


def fingerprints(clip_id: str, seed: int = 0) -> list[dict]:
    """Three seconds of pictures that move."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(128, 40, (16, 60))
    rows = []
    for number in range(12):
        picture = np.clip(ground[:, 2 * number : 2 * number + 24], 0, 255).astype(np.uint8)
        hashes = picture_hashes(picture[None].astype(np.float64)).view(np.int64)
        common = {"clip_id": clip_id, "number": number, "time_s": 0.125 + 0.25 * number}
        rows.append(common | {"hash": int(hashes[0]), "information": 40.0, "picture": picture.tobytes()})
    return rows


def clip(clip_id: str, height_px: int = 100) -> dict:
    return {"clip_id": clip_id, "height_px": height_px, "width_px": 160, "start_s": 0.0, "end_s": 3.0}


def compared(rows: list[dict]) -> ComparedPairs:
    prints = Fingerprints.from_rows(rows)
    pairs = compare_candidates(prints, SETTINGS.matching)
    return ComparedPairs(pairs, fingerprint_likeness(prints, SETTINGS.matching))


def best_of(clips: list[dict], is_wanted: list[bool], rows: list[dict], values: dict | None = None) -> dict[str, str]:
    found = find_copies(clips, values or {}, np.array(is_wanted), [compared(rows)], [])
    return {name: copy.best_clip_id for name, copy in found.duplicates.items()}


def test_the_larger_copy_stays_unless_the_rules_drop_it_anyway() -> None:
    clips = [clip("a", 100), clip("b", 200), clip("c", 100)]
    rows = fingerprints("a") + fingerprints("b") + fingerprints("c", seed=1)
    assert best_of(clips, [True] * 3, rows) == {"a": "b"}
    assert best_of(clips, [True, False, True], rows) == {"b": "a"}


def test_of_copies_of_one_size_the_sharper_stays() -> None:
    values = {"quality.detail_sharpness": np.array([0.1, 0.2]), "quality.blockiness": np.array([0.0, 0.5])}
    rows = fingerprints("a") + fingerprints("b")
    assert best_of([clip("a"), clip("b")], [True] * 2, rows, values) == {"a": "b"}


def test_pairs_with_clips_that_are_no_more_do_not_count() -> None:
    rows = fingerprints("a") + fingerprints("b") + fingerprints("old")
    assert best_of([clip("a"), clip("b")], [True] * 2, rows) == {"b": "a"}


def test_vectors_find_clips_that_mean_the_same_and_zeros_find_nothing() -> None:
    vectors = {"a": [1.0, 0, 0], "b": [0.99, 0.01, 0], "c": [0, 1.0, 0], "d": [0, 0, 0], "e": [0, 0, 0]}
    given = list(vectors), np.array(list(vectors.values()), np.float32), SETTINGS.min_cosine
    pairs = ComparedPairs(compare_vectors(*given), vector_likeness(*given))
    found = find_copies([clip(name) for name in vectors], {}, np.ones(5, bool), [compared([]), pairs], [])
    assert {name: (copy.best_clip_id, copy.kind) for name, copy in found.duplicates.items()} == {"b": ("a", "semantic")}


def test_tables_have_every_column_and_say_where_evaluation_videos_are_seen() -> None:
    clips = [clip("a"), clip("b", 200), clip("c")]
    rows = fingerprints("a") + fingerprints("b")
    evaluation = Fingerprints.from_rows(fingerprints("item"))
    contaminated = find_contamination(Fingerprints.from_rows(rows), evaluation, SETTINGS.matching)
    found = find_copies(clips, {}, np.ones(3, bool), [compared(rows)], contaminated)
    items = {"item": EvaluationItem(name="judge.mp4", start_s=10.0)}
    table = {row["clip_id"]: row for row in found.table(["a", "b", "c"], items, {"c": "fingerprints: strange"})}
    assert all(column.name in row for row in table.values() for column in COLUMNS)
    assert (table["a"]["is_copy"], table["a"]["best_clip_id"], table["b"]["is_copy"]) == (1.0, "b", 0.0)
    assert table["a"]["matched_s"] == pytest.approx(3.0, abs=0.3)
    assert math.isnan(table["b"]["similarity"])
    assert table["b"]["evaluation"] == "judge.mp4 10.0 to 13.0 s, seen at 0.0 to 3.0 s of the clip"
    assert (table["b"]["evaluation_s"], table["c"]["evaluation_s"]) == (pytest.approx(3.0, abs=0.3), 0.0)
    assert [table[name]["error"] for name in "abc"] == ["", "", "fingerprints: strange"]


FPS = 10
WITHOUT_COPIES = Policy(
    rules=(Rule(column="duplicates.is_copy", max=0.0), Rule(column="duplicates.evaluation_s", max=0.0))
)


def film(num_frames: int, seed: int = 0) -> list[np.ndarray]:
    """Blots that move over a textured ground, never twice in the same way."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 190, (6, 8, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    frames = [ground.copy() for _ in range(num_frames)]
    for index, frame in enumerate(frames):
        for blot in range(4):
            angle = 0.17 * index * (1 + blot / 2.7) + 7 * seed + blot
            top, left = int(36 + 34 * math.cos(1.3 * angle + blot)), int(52 + 50 * math.sin(angle))
            frame[top : top + 24, left : left + 24] = (60 * blot, 250 - 60 * blot, 30)
    return frames


@pytest.fixture
def cuts_at(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """In place of the network, which takes longer than all the rest: these frames are the last before a cut."""
    chosen: set[int] = set()

    class Stream:
        def __init__(self) -> None:
            self.num = 0

        def push(self, thumbs: np.ndarray) -> np.ndarray:
            places = range(self.num, self.num + len(thumbs))
            self.num += len(thumbs)
            return np.array([[float(place in chosen), 0.0] for place in places], np.float32)

        def finish(self) -> np.ndarray:
            return np.zeros((0, 2), np.float32)

    monkeypatch.setattr(ShotDetector, "stream", lambda _: Stream())
    return chosen


def recipe_of(folder: Path, policy: Policy = WITHOUT_COPIES, **settings: Any) -> CurationRecipe:
    return CurationRecipe(
        inputs=(str(folder),),
        operators=("quality", "duplicates"),
        shots=ShotSettings(min_duration_s=2.0, trim_frames=0),
        duplicates=CopySearchSettings(**settings),
        policy=policy,
        previews=PreviewSettings(num_pictures=0),
    )


def table_of(out: Path) -> dict[str, dict[str, Any]]:
    """Rows of the table of copies by the name of the file."""
    name_of = {row["sha256"][:16]: Path(row["source"]).name for row in read_table(out / "tables" / "sources.parquet")}
    rows = read_table(out / "tables" / "duplicates.parquet")
    return {name_of[row["clip_id"].split("_")[0]]: row for row in rows}


def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    made = tmp_path / "videos", tmp_path / "evaluation"
    for folder in made:
        folder.mkdir()
    return *made, tmp_path / "out"


def test_a_contaminated_clip_does_not_take_its_clean_copy_with_it(tmp_path: Path, cuts_at: set[int]) -> None:
    videos, evaluation, out = folders(tmp_path)
    frames = film(100)
    write_video(videos / "long.mp4", "libx264", frames, FPS)
    write_video(videos / "trimmed.mp4", "libx264", frames[50:], FPS, {"crf": "30"})
    write_video(evaluation / "judged.mp4", "libx264", frames[15:40], FPS, {"crf": "26"})
    result = curate(recipe_of(videos, evaluation=(str(evaluation),)), out, engine="inline")
    assert (result.num_clips, result.num_kept, result.num_errors) == (2, 1, 0)
    table = table_of(out)
    assert table["trimmed.mp4"]["is_copy"] == 0 and table["trimmed.mp4"]["evaluation_s"] == 0
    assert (table["long.mp4"]["is_copy"], table["long.mp4"]["best_clip_id"]) == (1, table["trimmed.mp4"]["clip_id"])
    shown = re.fullmatch(
        r"evaluation/judged.mp4 (.+) to (.+) s, seen at (.+) to (.+) s of the clip", table["long.mp4"]["evaluation"]
    )
    assert shown and [float(each) for each in shown.groups()] == pytest.approx([0, 2.5, 1.5, 4], abs=0.3)
    # Without a rule on it, it is the better one.
    copies_alone = Policy(rules=WITHOUT_COPIES.rules[:1])
    curate(recipe_of(videos, copies_alone, evaluation=(str(evaluation),)), out, engine="inline")
    assert table_of(out)["trimmed.mp4"]["best_clip_id"] == table["long.mp4"]["clip_id"]


def test_another_policy_searches_nothing_and_another_clip_does(
    tmp_path: Path, cuts_at: set[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    videos, evaluation, out = folders(tmp_path)
    frames = film(60)
    write_video(videos / "long.mp4", "libx264", frames, FPS)
    write_video(videos / "trimmed.mp4", "libx264", frames[20:55], FPS, {"crf": "30"})
    write_video(evaluation / "judged.mp4", "libx264", frames[:25], FPS, {"crf": "26"})
    recipe = recipe_of(videos, evaluation=(str(evaluation),))
    curate(recipe, out, engine="inline")
    first, before = table_of(out), published(out)
    with monkeypatch.context() as patch:
        patch.setattr(MeasuredRows, "fingerprints", property(lambda _: pytest.fail("fingerprints were read")))
        curate(recipe, out, engine="inline")
        assert not changed_files(before, published(out))
        curate(dataclasses.replace(recipe, policy=Policy()), out, engine="inline")
        assert table_of(out)["trimmed.mp4"]["best_clip_id"] == first["long.mp4"]["clip_id"] != ""
        curate(recipe, out, engine="inline")
        assert str(table_of(out)) == str(first)  # NaN is the same as NaN
    kept = [path for name in ("copies", "contamination") for path in (out / "work").glob(f"{name}-*/*/*.parquet")]
    assert len(kept) == 2
    kept[0].write_bytes(b"damaged")
    curate(recipe, out, engine="inline")
    assert "it is searched again" in caplog.text and not changed_files(before, published(out))
    write_video(videos / "small.mp4", "libx264", [frame[::2, ::2] for frame in frames[25:]], FPS)
    curate(recipe, out, engine="inline")
    assert table_of(out)["small.mp4"]["is_copy"] == 1
    names = ("copies", "contamination")
    assert [len(list((out / "work").glob(f"{name}-*/*/*.parquet"))) for name in names] == [1, 1]


def test_failed_fingerprints_are_counted_told_and_made_again_if_asked(
    tmp_path: Path, cuts_at: set[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    videos, evaluation, out = folders(tmp_path)
    frames = film(40)
    write_video(videos / "a.mp4", "libx264", frames, FPS)
    write_video(videos / "b.mp4", "libx264", frames, FPS, {"crf": "30"})
    write_video(evaluation / "judged.mp4", "libx264", frames[:25], FPS)
    recipe = recipe_of(videos, evaluation=(str(evaluation),))

    def fail(*_: object) -> list[dict]:
        raise ValueError("strange")

    with monkeypatch.context() as patch:
        patch.setattr(made, "measure", fail)
        assert curate(recipe, out, engine="inline").num_errors == 3
    assert {row["error"] for row in table_of(out).values()} == {"fingerprints: ValueError: strange"}
    assert "1 pieces of evaluation videos failed, the first of evaluation/judged.mp4" in caplog.text
    again = curate(recipe, out, engine="inline")
    assert (again.num_errors, again.num_computed, again.num_kept) == (3, 0, 2)
    result = curate(recipe, out, engine="inline", retries_failed=True)
    table = table_of(out)
    assert (result.num_errors, result.num_computed, result.num_kept) == (0, 2, 0)
    assert {row["error"] for row in table.values()} == {""}
    assert all(row["evaluation_s"] > 2 for row in table.values()) and sum(row["is_copy"] for row in table.values()) == 1


def test_a_damaged_file_that_is_cut_anew_gets_new_fingerprints(tmp_path: Path, cuts_at: set[int]) -> None:
    videos, evaluation, out = folders(tmp_path)
    whole = write_video(tmp_path / "whole.mkv", "libx264", film(120), FPS, {"g": "10"})
    for folder, share in ((videos, 0.7), (evaluation, 0.6)):
        (folder / "part.mkv").write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    recipe = recipe_of(videos, Policy(), evaluation=(str(evaluation),))
    cuts_at.add(29)
    assert curate(recipe, out, engine="inline").num_damaged == 1
    before = {row["clip_id"] for row in read_table(out / "tables" / "duplicates.parquet")}
    cuts_at.clear()
    cuts_at.add(39)
    # Parts of an operator that this recipe does not have must not come back with it.
    alone = dataclasses.replace(recipe, operators=("duplicates",))
    curate(alone, out, engine="inline", retries_failed=True)
    result = curate(recipe, out, engine="inline")
    rows = read_table(out / "tables" / "duplicates.parquet")
    assert len(rows) == result.num_clips == 2 and not before & {row["clip_id"] for row in rows}
    assert all(row["evaluation_s"] >= 1.5 for row in rows) and len({row["evaluation"] for row in rows}) == 2
    measured = {row["clip_id"] for row in read_table(out / "tables" / "quality.parquet")}
    assert measured == {row["clip_id"] for row in rows}
    parts = [row for path in (out / "work").glob("fingerprints-*/*/*.parquet") for row in read_table(path)]
    assert {row["clip_id"] for row in parts} >= {row["clip_id"] for row in rows}
    assert not {row["clip_id"] for row in parts} & before


@pytest.mark.slow
def test_curate_keeps_one_of_copies_and_nothing_of_evaluation_videos(tmp_path: Path) -> None:
    """Of a clip encoded three times one stays; what is in the evaluation folder goes, and other moments stay."""
    frames = read_frames(real_video("vtest.avi", tmp_path), 90, (144, 192))
    later = read_frames(real_video("vtest.avi", tmp_path), 60, (144, 192), first=300)
    videos, evaluation = tmp_path / "videos", tmp_path / "evaluation"
    videos.mkdir()
    evaluation.mkdir()
    write_video(videos / "best.mp4", "libx264", frames, 10, {"crf": "12"})
    write_video(videos / "small.mp4", "libx264", [frame[::2, ::2] for frame in frames], 10, {"crf": "30"})
    write_video(videos / "trimmed.avi", "mpeg4", frames[20:80], 10, {"qscale": "5"})
    write_video(videos / "later.mp4", "libx264", later, 10)
    wall = read_frames(real_video("bikes.mp4", tmp_path), 60, (136, 320))
    write_video(videos / "judged.mp4", "libx264", wall, 10)
    write_video(evaluation / "judged.mp4", "mpeg4", [frame[4:-4, 8:-8] for frame in wall[10:45]], 10, {"qscale": "4"})
    rules = Policy(rules=(Rule(column="duplicates.is_copy", max=0.0), Rule(column="duplicates.evaluation_s", max=0.0)))
    recipe = CurationRecipe(
        inputs=(str(videos),),
        operators=("quality", "duplicates"),
        shots=ShotSettings(min_duration_s=2.0),
        duplicates=CopySearchSettings(evaluation=(str(evaluation),)),
        policy=rules,
    )
    result = curate(recipe, tmp_path / "out", engine="inline")
    curation = read_curation(tmp_path / "out")
    source_of = {row["sha256"]: row["source"] for row in curation.sources}
    kept = {
        source_of[row["sha256"]]
        for row, decision in zip(curation.clips.rows, curation.decisions, strict=True)
        if decision["is_kept"]
    }
    assert kept == {"videos/best.mp4", "videos/later.mp4"}
    rows = {row["clip_id"]: row for row in read_table(tmp_path / "out" / "tables" / "duplicates.parquet")}
    named = {row["evaluation"].split()[0] for row in rows.values() if row["evaluation"]}
    assert named == {"evaluation/judged.mp4"}
    assert result.num_kept == len(kept)
    with pytest.raises(ValueError, match=r"duplicates.evaluation: no such file or folder"):
        lost = dataclasses.replace(recipe, duplicates=CopySearchSettings(evaluation=(str(tmp_path / "none"),)))
        curate(lost, tmp_path / "out", engine="inline")
