"""Whether a student may take its teacher's place: by clips that were kept apart, against the teacher's inputs."""

import json
from pathlib import Path

import pytest

from cogvideox.cli.caption_compare import compare as command
from cogvideox.data.captioning.caption_tables import CLIP_TYPES, FRAME_TYPES
from cogvideox.data.captioning.comparison import COMPARED, compare
from cogvideox.data.captioning.lexicon import load_lexicon
from cogvideox.data.curation.store import write_table
from cogvideox.errors import FetchError
from real_videos import give_up

GOOD = "A brown dog runs along a beach. A child throws a ball."
ROW = {"sha256": "", "error": "", "problem": "", "rejected": "", "model": "m", "num_words": 5, "num_tries": 1}
ROW |= {"num_input_tokens": 1, "num_output_tokens": 1}


@pytest.fixture(scope="module", autouse=True)
def _wordnet() -> None:
    try:
        load_lexicon()
    except FetchError as error:
        give_up(str(error))


def captioning(folder: Path, summaries: dict[str, str], digests: dict[str, str] | None = None) -> Path:
    """Write a captioning of clips that all show the same; every second source is kept apart."""
    names = sorted(summaries)
    digests = digests or {}
    frames = ("A brown dog runs along a beach.", "A child throws a ball.")
    write_table(
        folder / "tables/short.parquet", [ROW | {"clip_id": n, "text": "A dog plays."} for n in names], CLIP_TYPES
    )
    write_table(
        folder / "tables/frames.parquet",
        [
            ROW | {"clip_id": name, "text": text, "frame": index, "time_s": 2.0 * index}
            for name in names
            for index, text in enumerate(frames)
        ],
        FRAME_TYPES,
    )
    rows = [
        ROW | {"clip_id": n, "sha256": digests.get(n, ""), "text": text, "error": "" if text else "failed"}
        for n, text in summaries.items()
    ]
    write_table(folder / "tables/summary.parquet", rows, CLIP_TYPES)
    (folder / "training").mkdir()
    lines = [{"id": n, "source": f"s{i // 2}", "split": ("train", "val")[i // 2 % 2]} for i, n in enumerate(names)]
    (folder / "training/captioner.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def clips(text: str, num: int = 24) -> dict[str, str]:
    return {f"clip{index:02}": text for index in range(num)}


def test_an_equal_student_is_accepted(tmp_path: Path) -> None:
    found = compare(captioning(tmp_path / "a", clips(GOOD)), captioning(tmp_path / "b", clips(GOOD)))
    assert found.verdict == "accepted" and found.num_clips == 12 and found.num_sources == 6
    assert {figure.name for figure in found.figures} == set(COMPARED)
    assert all(figure.num_ties == figure.num_clips for figure in found.figures)
    assert "accepted" in found.to_text() and json.dumps(found.to_json())


def test_a_student_that_invents_is_rejected_for_it(tmp_path: Path) -> None:
    teacher = captioning(tmp_path / "a", clips(GOOD))
    student = captioning(tmp_path / "b", clips(f"{GOOD[:-1]} next to a helicopter."))
    found = compare(teacher, student, split="all")
    rejected = {figure.name for figure in found.figures if figure.verdict == "rejected"}
    assert found.verdict == "rejected" and rejected == {"novel_nouns", "grounding"}
    assert compare(student, teacher, split="all").verdict == "accepted"


def test_missing_summaries_count_against_the_student_and_few_clips_decide_nothing(tmp_path: Path) -> None:
    teacher = captioning(tmp_path / "a", clips(GOOD))
    missing = clips(GOOD) | {"clip02": ""}
    found = compare(teacher, captioning(tmp_path / "b", missing))
    (figure,) = [figure for figure in found.figures if figure.name == "has_summary"]
    assert figure.num_losses == 1 and figure.verdict == "undecided" and found.verdict == "undecided"


@pytest.mark.parametrize("text", [GOOD, f"{GOOD[:-1]} next to a helicopter."])
def test_few_sources_decide_nothing(tmp_path: Path, text: str) -> None:
    few = captioning(tmp_path / "a", clips(GOOD, 8)), captioning(tmp_path / "b", clips(text, 8))
    found = compare(*few, split="all")
    assert found.num_sources == 4 and {figure.verdict for figure in found.figures} == {"undecided"}
    assert found.verdict == "undecided" and "fewer than 5 sources" in found.to_text()
    (tmp_path / "a/training/captioner.jsonl").unlink()  # each clip is its own source then
    assert compare(*few, split="all").verdict != "undecided"


def test_clips_are_matched_by_content(tmp_path: Path) -> None:
    digests = {name: f"{index:064x}" for index, name in enumerate(clips(GOOD))}
    renamed = {f"other{index}": digest for index, digest in enumerate(digests.values())}
    teacher = captioning(tmp_path / "a", clips(GOOD), digests)
    student = captioning(tmp_path / "b", dict.fromkeys(renamed, GOOD), renamed)
    found = compare(teacher, student)
    assert found.verdict == "accepted" and found.num_clips == 12 and found.num_left_out == 0
    others = {name: f"{index + 100:064x}" for index, name in enumerate(digests)}
    with pytest.raises(ValueError, match="none of 24"):
        compare(teacher, captioning(tmp_path / "c", clips(GOOD), others))
    same = captioning(tmp_path / "d", clips(GOOD), dict.fromkeys(digests, "f" * 64))
    assert compare(same, same, split="all").num_sources == 1  # one content in many places


def test_clips_that_the_student_lacks_are_counted_and_keep_it_from_being_accepted(tmp_path: Path) -> None:
    teacher = captioning(tmp_path / "a", clips(GOOD))
    part = {name: text for name, text in clips(GOOD).items() if name != "clip02"}
    found = compare(teacher, captioning(tmp_path / "b", part))
    assert found.num_clips == 11 and found.num_left_out == 1 and found.verdict == "undecided"
    assert "1 of 12 clips are left out" in found.to_text() and found.to_json()["num_left_out"] == 1
    assert compare(teacher, tmp_path / "b", margin=0.1).verdict == "accepted"


def test_names_with_unusual_line_ends_are_read(tmp_path: Path) -> None:
    texts = {f"a\u2028b\x85{name}": text for name, text in clips(GOOD).items()}
    teacher = captioning(tmp_path / "a", texts)
    path = teacher / "training/captioner.jsonl"
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert compare(teacher, teacher).num_clips == 12


def test_folders_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    teacher = captioning(tmp_path / "a", clips(GOOD))
    with pytest.raises(ValueError, match="none of 24"):
        compare(teacher, captioning(tmp_path / "b", {"other": GOOD}))
    with pytest.raises(ValueError, match="kept apart"):
        compare(captioning(tmp_path / "c", {"clip00": GOOD}), teacher)
    with pytest.raises(ValueError, match="margin"):
        compare(teacher, teacher, margin=2)
    with pytest.raises(ValueError, match="max_words"):
        compare(teacher, teacher, max_words=0)


def test_the_command_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = captioning(tmp_path / "a", clips(GOOD))
    assert command(teacher, teacher) == 0
    assert "grounding" in capsys.readouterr().out
    assert command(teacher, teacher, json=True) == 0
    assert json.loads(capsys.readouterr().out)["data"]["verdict"] == "accepted"
