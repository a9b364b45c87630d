"""Sets of made videos: what they are made from, what is said of them, and that a stopped run goes on."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cogvideox.data.clip_index import write_shards
from cogvideox.data.labelling.answers import read_answers
from cogvideox.data.labelling.labels import LABELS
from cogvideox.data.negatives.making import FAMILIES, MakingRecipe, make_set
from cogvideox.media.video import read_video, write_video

NAMES = ("good.plain", "good.subtitled", "static.slides", "text.meme")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of eight sources, eight photographs and two people, all of noise of a colour of their own."""
    folder = tmp_path_factory.mktemp("material")
    rng = np.random.default_rng(0)
    entries = []
    for source in range(8):
        ground = np.kron(rng.integers(0, 255, (20, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        frames = np.stack([ground[:96, shift : shift + 128] for shift in range(24)])
        path = folder / f"{source}.mp4"
        write_video(path, iter([frames]), fps=10)
        entries.append((f"{source:016x}_0000000_0000024", path, (), {}))
    write_shards(folder / "clips", entries)
    for number in range(10):
        picture = np.kron(rng.integers(0, 255, (9, 12, 3)), np.ones((16, 16, 1))).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{'photo' if number < 8 else 'speaker'}_{number}.png")
    return folder


def recipe_of(material: Path, **more: object) -> MakingRecipe:
    known = {"clips": material / "clips", "num_each": 2, "num_good_each": 2, "num_groups": 2, "duration_s": 2.0}
    files = {"pictures": (str(material / "photo_*.png"),), "speakers": (str(material / "speaker_*.png"),)}
    return MakingRecipe(**(known | files | {"families": NAMES} | more))


def test_videos_and_what_is_true_of_them(material: Path, tmp_path: Path) -> None:
    assert make_set(recipe_of(material), tmp_path) == 8
    answers = {answer.clip_id: answer for answer in read_answers(tmp_path / "labels.jsonl")}
    assert len(answers) == 8
    videos = sorted((tmp_path / "videos").glob("*.mp4")) + sorted((tmp_path / "videos").glob("*.webm"))
    assert {f"videos/{path.name}" for path in videos} == set(answers)
    for name, answer in answers.items():
        family = FAMILIES[answer.note]
        assert name.startswith(f"videos/{family.name}_")
        assert {label for label, value in answer.labels.items() if value} == {family.label, *family.also} - {None}
        assert {label for label, value in answer.labels.items() if value is None} == family.unsure
        assert set(answer.labels) == set(LABELS)
    assert {answer.source for answer in answers.values()} == {"group0", "group1"}
    assert read_video(videos[0]).duration_s == pytest.approx(2.0, abs=0.2)
    made = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    assert {row["family"] for row in made} == set(NAMES)
    assert all(row["parameters"] for row in made)


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(material: Path, tmp_path: Path) -> None:
    recipe = recipe_of(material)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    make_set(recipe, whole)

    def stop(num_done: int, _: int) -> None:
        if num_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_set(recipe, stopped, stop)
    half = sorted(stopped.glob("videos/*.json"))[-1]
    half.unlink()  # it was being written
    times = {path: path.stat().st_mtime_ns for path in stopped.glob("videos/*.json")}
    make_set(recipe, stopped)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(stopped) for path in stopped.rglob("*") if path.is_file())
    assert all((whole / path).read_bytes() == (stopped / path).read_bytes() for path in files)


def test_what_is_made_of_something_else_is_made_anew(material: Path, tmp_path: Path) -> None:
    """Another number of groups gives a video other material, and its answer another source."""
    make_set(recipe_of(material), tmp_path / "two")
    make_set(recipe_of(material, num_groups=1), tmp_path / "one")
    make_set(recipe_of(material, num_groups=1), tmp_path / "two")
    for name in ("labels.jsonl", "made.jsonl", *(f"videos/{family}_001.json" for family in NAMES)):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"families": ("static.slide",)}, "did you mean 'static.slides'"),
        ({"pictures": ("nowhere/*.png",)}, "nowhere/.*no such file"),
        ({"num_groups": 5}, "expected at least 3 for each of 5 groups"),
        ({"clips": Path("nowhere")}, "index.parquet"),
        ({"duration_s": 1.0}, "duration_s: expected 2 to 30"),
    ],
)
def test_errors_say_what_to_do(material: Path, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_set(recipe_of(material, **change), tmp_path / "made")


def test_every_family_is_named_after_its_label_and_has_a_meaning() -> None:
    assert {family.label for family in FAMILIES.values()} == {None, *LABELS}
    for name, family in FAMILIES.items():
        assert name == family.name
        assert name.split(".")[0] == (family.label or "good")
        assert family.meaning.endswith(".")
        assert family.label not in family.unsure
    for label in LABELS:
        assert sum(family.label == label for family in FAMILIES.values()) >= 8
