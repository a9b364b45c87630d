"""Filters of bad video as a user makes them: measured, labelled, trained, and used by the next curation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cogvideox.cli.main import main
from cogvideox.data.curation.store import read_table
from curation_corpus import write_video
from tiny_video_language_model import write_tiny_model

NUM_VIDEOS = 12
OPERATORS = '["quality", "cues"]'
TREES = ["least_positives=2", "trees.min_leaf_clips=1", "trees.num_trees=20", "test_share=0.3"]


def run(arguments: list[str], capsys) -> dict[str, Any]:
    """Run a command with --json and return its data."""
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--json"])
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return json.loads(captured.out.splitlines()[-1])["data"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages with lines in even files, moving grain in odd ones."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS):
        rng = np.random.default_rng(number)
        if number % 2 == 0:
            frame = np.full((96, 128, 3), int(rng.integers(200, 250)), np.uint8)
            for top in range(10, 84, int(rng.integers(10, 14))):
                frame[top : top + 4, 10 : int(rng.integers(70, 118))] = 20
            frames = [frame] * 25
        else:
            ground = np.kron(rng.integers(0, 255, (16, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            frames = [ground[16:112, 2 * index : 2 * index + 128] for index in range(25)]
        write_video(folder / f"{number:02d}.mp4", "libx264", frames, 10)
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = [f"{number:02d}.mp4,ann,2026-01-01T00:00:00Z,{1 - number % 2}" for number in range(NUM_VIDEOS)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["clip_id,annotator,time,screenshot", *rows]) + "\n")
    return path


def curate(videos: Path, out: Path, recipe: str, capsys) -> dict[str, Any]:
    file = out.with_suffix(".toml")
    file.write_text(f'inputs = ["{videos}"]\n{recipe}')
    return run(["curate", str(file), "--out", str(out), "--inline"], capsys)


def test_measured_labelled_trained_and_used(videos: Path, labels: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "curated"
    made = curate(videos, out, f"operators = {OPERATORS}\n", capsys)
    assert (made["num_clips"], made["num_computed"]) == (NUM_VIDEOS, NUM_VIDEOS)
    recipe = tmp_path / "filters.toml"
    recipe.write_text(f'curated = ["{out}"]\nlabels = ["{labels}"]\n')
    filters = tmp_path / "filters"
    trained = run(["train", "filters", str(recipe), "--out", str(filters), "--set", *TREES], capsys)
    assert trained["num_train"] + trained["num_test"] == NUM_VIDEOS
    assert trained["figures"]["screenshot"]["pr_auc"] == 1.0
    rules = '[[policy.rules]]\nlabel = "no screen"\ncolumn = "filters.has_screenshot"\nmax = 0\n'
    used = f'operators = ["quality", "cues", "filters"]\n[filters]\nmodel = "{filters}"\n{rules}'
    seen = [path.stat().st_mtime_ns for path in sorted(out.glob("work/quality-*/*/*.parquet"))]
    made = curate(videos, out, used, capsys)
    assert made["num_kept"] == NUM_VIDEOS // 2
    assert [path.stat().st_mtime_ns for path in sorted(out.glob("work/quality-*/*/*.parquet"))] == seen
    judged = {row["clip_id"]: row for row in read_table(out / "tables" / "filters.parquet")}
    names = {row["sha256"][:16]: row["source"] for row in read_table(out / "tables" / "sources.parquet")}
    for clip_id, row in judged.items():
        is_page = int(Path(names[clip_id.split("_")[0]]).stem) % 2 == 0
        assert (row["has_screenshot"] == 1) == is_page
        assert np.isnan(row["lecture"])
    shown = run(["curate", "explain", clip_id, "--out", str(out)], capsys)
    assert shown["values"]["filters.screenshot"] == pytest.approx(judged[clip_id]["screenshot"])
    # Another point on the same measures: only judging is done again.
    run(["train", "filters", str(recipe), "--out", str(filters), "--set", *TREES, "trees.num_trees=10"], capsys)
    made = curate(videos, out, used, capsys)
    assert made["num_computed"] == NUM_VIDEOS
    assert [path.stat().st_mtime_ns for path in sorted(out.glob("work/quality-*/*/*.parquet"))] == seen
    assert len(list(out.glob("work/filters-*"))) == 2


@pytest.mark.slow
def test_a_video_language_model_as_the_filter(videos: Path, labels: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "curated"
    curate(videos, out, f"operators = {OPERATORS}\n", capsys)
    model = write_tiny_model(tmp_path / "model", "llava")
    recipe = tmp_path / "filters.toml"
    recipe.write_text(
        f'curated = ["{out}"]\nlabels = ["{labels}"]\ntest_share = 0.2\ncalibration_share = 0.4\nleast_positives = 1\n'
        'frames_as = "images"\n[view]\nnum_frames = 2\nmax_side_px = 64\n'
        "[run]\nnum_steps = 30\nbatch_size = 3\nlearning_rate = 5e-3\n"
    )
    command = ["train", "filters", str(recipe), "--backbone", str(model), "--run-dir", str(tmp_path / "run")]
    trained = run([*command, "--out", str(tmp_path / "filters")], capsys)
    assert set(trained["figures"]) == {"screenshot"}
    assert "LoRA" in (tmp_path / "filters" / "README.md").read_text()
    used = f'operators = ["quality", "video_filters"]\n[video_filters]\nmodel = "{tmp_path / "filters"}"\n'
    made = curate(videos, out, used, capsys)
    assert made["num_errors"] == 0
    judged = read_table(out / "tables" / "video_filters.parquet")
    assert len(judged) == NUM_VIDEOS
    assert all(0 <= row["screenshot"] <= 1 for row in judged)
    with pytest.raises(SystemExit) as stop:
        main([*command[:4], str(tmp_path / "nowhere"), "--run-dir", str(tmp_path / "other")])
    assert stop.value.code == 2
    assert "nowhere" in capsys.readouterr().err
