"""What clips and students are given, by runs of which some fail; and what is looked at before anything is asked."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from caption_functions import SENTENCE, Model, make_clip, recipe_of, run
from cogvideox.chat.endpoint import EndpointSettingsError
from cogvideox.chat.turns import Answer
from cogvideox.data.caption_mixture import CaptionKind
from cogvideox.data.captioning import answer_log
from cogvideox.data.captioning.caption_tables import read_captions
from cogvideox.data.captioning.captioning import caption, estimate
from cogvideox.data.captioning.clip_set import CaptionClip
from cogvideox.data.captioning.exports import joined_sources
from cogvideox.data.captioning.recipe import BackendSettings, CheckSettings, ShortSettings, SummarySettings
from cogvideox.data.captioning.request import CaptionRequest
from cogvideox.data.clip_folder import open_clips
from cogvideox.data.clip_index import generated_captions, write_shards

REFUSED = "I'm sorry, but I can't describe this."


def says(text: str) -> Callable[[CaptionRequest], str]:
    return lambda request: f"{SENTENCE} {text} {request.stage}."


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(3):
        make_clip(folder / f"{number}.mp4", 10, seed=10 * number)
    return folder


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def examples(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    lines = (folder / "training" / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    return {example["id"]: example for example in map(json.loads, filter(None, lines))}


def again(name: str) -> dict[str, Any]:
    """Return stages that ask anew."""
    return {
        "short": ShortSettings(backend="model", prompt=f"Say it {name}."),
        "summary": SummarySettings(backend="model", prompt=f"Say it {name}."),
    }


def test_a_training_set_keeps_captions_that_a_later_run_has_none_in_place_of(clips: Path, tmp_path: Path) -> None:
    entries = [(path.name, path, ["own"], {}) for path in sorted(clips.iterdir())]
    folder = tmp_path / "set"
    write_shards(folder, entries)
    model = Model(says("first"))
    out = run(folder, model, recipe_of(frames=None)).folder
    dense, short = f"{SENTENCE} first summary.", f"{SENTENCE} first short."
    first: dict[str, list[tuple[CaptionKind, str]]] = {
        path.name: [("dense", dense), ("short", short)] for path in sorted(clips.iterdir())
    }
    assert generated_captions(folder) == first
    before = examples(out, "captioner"), examples(out, "summariser")
    model.answer = lambda request: REFUSED if request.stage == "summary" else says("later")(request)
    result = run(folder, model, recipe_of(frames=None, **again("anew")))
    assert result.num_summaries == 0 and result.num_no_use == 3 and "a refusal" in result.usual_failure
    later: dict[str, list[tuple[CaptionKind, str]]] = {
        name: [("dense", dense), ("short", f"{SENTENCE} later short.")] for name in first
    }
    assert generated_captions(folder) == later
    assert (examples(out, "captioner"), examples(out, "summariser")) == before
    assert (result.num_train + result.num_val) == 3
    run(folder, Model(says("third")), recipe_of(frames=None, summary=None, short=again("thrice")["short"]))
    assert {text for pairs in generated_captions(folder).values() for _, text in pairs} == {
        dense,
        f"{SENTENCE} third short.",
    }
    model.answer = says("good")
    run(folder, model, recipe_of(frames=None, **again("at last")))
    assert dict(generated_captions(folder)["0.mp4"]) == {
        "dense": f"{SENTENCE} good summary.",
        "short": f"{SENTENCE} good short.",
    }
    assert {one["text"] for one in examples(out, "captioner").values()} == {f"{SENTENCE} good summary."}


def test_text_files_keep_lines_that_a_later_run_has_none_in_place_of(clips: Path) -> None:
    (clips / "2.txt").write_text("my own words\n")
    model = Model(says("first"))
    result = run(clips, model, recipe_of(frames=None))
    assert (result.num_given, result.num_own_texts) == (2, 1)
    text = clips / "0.txt"
    assert text.read_text() == f"{SENTENCE} first summary.\n{SENTENCE} first short.\n"
    model.answer = lambda request: REFUSED if request.stage == "summary" else says("later")(request)
    run(clips, model, recipe_of(frames=None, **again("anew")))
    assert text.read_text() == f"{SENTENCE} first summary.\n{SENTENCE} later short.\n"
    run(clips, Model(says("third")), recipe_of(frames=None, summary=None, short=again("thrice")["short"]))
    assert text.read_text() == f"{SENTENCE} first summary.\n{SENTENCE} third short.\n"
    text.write_text("changed by hand\n")
    result = run(clips, Model(says("fourth")), recipe_of(frames=None, **again("once more")))
    assert (result.num_given, result.num_own_texts) == (1, 2)
    assert text.read_text() == "changed by hand\n" and (clips / "2.txt").read_text() == "my own words\n"


def test_sources_with_a_clip_in_common_are_on_one_side(tmp_path: Path) -> None:
    pairs = [("a", "1"), ("b", "2"), ("c", "3"), ("b", "1"), ("c", "4"), ("d", "4"), ("e", ""), ("f", "")]
    made = [CaptionClip(clip_id=str(n), source=source, digest=digest) for n, (source, digest) in enumerate(pairs)]
    assert joined_sources(made) == {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e", "f": "f"}
    assert joined_sources(made[::-1]) == joined_sources(made)
    for number in range(12):
        (folder := tmp_path / "clips" / str(number)).mkdir(parents=True)
        make_clip(folder / "one.mp4", 10, seed=10 * number)
    for number in range(0, 12, 3):
        shutil.copy(tmp_path / "clips" / str(number) / "one.mp4", tmp_path / "clips" / str(number + 2) / "copy.mp4")
    out = run(tmp_path / "clips", Model(), recipe_of(frames=None, val_share=0.5)).folder
    sides: dict[str, set[str]] = {}
    for example in examples(out, "captioner").values():
        sides.setdefault(example["sha256"], set()).add(example["split"])
    assert max(map(len, sides.values())) == 1 and {"train", "val"} == set().union(*sides.values())


def test_what_a_model_had_too_few_tokens_for_is_asked_again_when_it_has_more(clips: Path) -> None:
    def answer(request: CaptionRequest) -> Any:
        if request.stage == "summary" and request.clip_id != "0.mp4":
            return Answer("A white square glides over dark ground and then it", is_cut=True)
        return says("told")(request)

    def allowed(max_tokens: int) -> Any:
        recipe = recipe_of(frames=None)
        return replace(recipe, backends=(replace(recipe.backends[0], max_tokens=max_tokens),))

    model = Model(answer)
    run(clips, model, allowed(50))
    assert model.stages() == {"short": 3, "summary": 1 + 2 * 3}
    run(clips, model, allowed(50))
    run(clips, model, allowed(20))
    assert model.stages() == {}
    assert estimate(clips, allowed(60), functions={"model": model}).num_requests == {"short": 0, "summary": 2}
    run(clips, model, allowed(60))  # and what was answered well is not paid for again
    assert model.stages() == {"summary": 2 * 3}
    model.answer = says("told")
    result = run(clips, model, allowed(100))
    assert model.stages() == {"summary": 2} and result.num_summaries == 3
    assert {row["problem"] + row["error"] for row in read_captions(result.folder).summary} == {""}
    run(clips, model, allowed(200))
    assert model.stages() == {}


def test_a_dataset_that_there_is_not_is_not_made_and_a_dry_run_writes_nothing(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    for name, expected in (("nosuch", "no such folder"), ("empty", "expected videos or pictures")):
        with pytest.raises(ValueError, match=expected):
            run(tmp_path / name, Model(), recipe_of())
    found = estimate(clips, recipe_of(), functions={"model": Model()})
    assert found.num_requests["short"] == 3 and tree(tmp_path) == before


def test_settings_that_cannot_be_right_are_found_before_anything_is_asked(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "bert"}')
    good = recipe_of(frames=None)
    judged = {
        "there is none": BackendSettings(name="judge", kind="function", function="json:nothing"),
        "cannot be imported": BackendSettings(name="judge", kind="function", function=f"{tmp_path}/mine.py:judge"),
        "student.json": BackendSettings(name="judge", kind="student", model=str(tmp_path / "odd")),
        "expected a URL": BackendSettings(name="judge", kind="endpoint", url="here", model="m"),
    }
    wrong = {
        message: replace(good, backends=(*good.backends, judge), check=CheckSettings(figures=False, judge="judge"))
        for message, judge in judged.items()
    }
    wrong["got none in /nosuch"] = replace(good, check=CheckSettings(match_model="/nosuch"))
    wrong["of type bert"] = replace(good, check=CheckSettings(match_model=str(tmp_path / "odd")))
    model = Model()
    for message, recipe in wrong.items():
        for call in (caption, estimate):
            with pytest.raises(ValueError, match=message):
                call(clips, recipe, functions={"model": model})
    assert not model.requests


def test_a_key_that_is_refused_now_does_not_end_a_run_that_had_answers(clips: Path) -> None:
    model = Model(says("first"))
    run(clips, model, recipe_of(frames=None))

    refused: list[str] = []

    def answer(request: CaptionRequest) -> str:
        refused.append(request.clip_id)
        if request.clip_id == refused[0]:
            raise EndpointSettingsError("the key is refused")
        return says("anew")(request)

    class Refusing:
        source, concurrency = "there", 1

        def caption(self, request: CaptionRequest) -> Answer:
            return Answer(answer(request))

        def release(self) -> None: ...

    recipe = recipe_of(frames=None, **again("anew"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cogvideox.data.captioning.backends.BackendOpener.open", lambda *_: Refusing())
        result = run(clips, model, recipe)
    assert (result.num_failed, result.num_shorts) == (2, 2) and not result.stopped


def test_a_function_that_ends_the_program_is_a_row(clips: Path) -> None:
    def answer(request: CaptionRequest) -> str:
        if request.clip_id == "1.mp4":
            raise SystemExit(3)
        return says("told")(request)

    result = run(clips, Model(answer), recipe_of(frames=None))
    assert result.num_summaries == 2 and "SystemExit" in result.usual_failure


def test_a_full_disk_says_where(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(answer_log.os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left.*captions"):
            run(clips, Model(), recipe_of())
    with pytest.raises(OSError, match=r"No space left.*\.jsonl"), monkeypatch.context() as patch:
        writer = answer_log.AnswerLog(clips.parent / "log").write_to("ab")
        patch.setattr(answer_log.os, "fsync", full)
        writer.add(answer_log.Record(key="k", digest="ab"))


def test_an_interrupted_run_has_a_report(clips: Path) -> None:
    model = Model(says("told"))
    run(clips, model, recipe_of(frames=None))
    report = clips / "captions" / "report.html"
    report.unlink()

    def interrupt(name: str, *_: int) -> None:
        if name == "captioning":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(clips, model, recipe_of(frames=None, **again("anew")), on_progress=interrupt)
    assert "interrupted" in report.read_text()


@pytest.mark.skipif(os.name != "posix", reason="names are texts")
def test_a_clip_whose_name_is_no_text_is_found_by_its_example(clips: Path) -> None:
    raw = os.fsencode(clips) + b"/caf\xe9.mp4"
    os.rename(os.fsencode(clips / "0.mp4"), raw)
    out = run(clips, Model(), recipe_of(frames=None)).folder
    ids = set(open_clips(clips, needs_captions=False).table.clip_ids)
    assert set(examples(out, "captioner")) == ids
    assert "caf\\xe9.mp4" in examples(out, "summariser")
    run(clips, Model(), recipe_of(frames=None))


@pytest.mark.parametrize("max_dollars", [float("nan"), float("inf"), -1.0])
def test_a_budget_that_is_none(max_dollars: float) -> None:
    with pytest.raises(ValueError, match="max_dollars: expected 0 or more"):
        recipe_of(max_dollars=max_dollars)
