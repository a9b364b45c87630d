"""What an annotator is asked: nothing twice but hidden repeats, first what nobody has answered, and on after a stop."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.filters.filter_model import FilterModel, LabelFilter
from cogvideox.data.filters.trees import Trees
from cogvideox.data.labelling.answer import Answer
from cogvideox.data.labelling.answers import AnswerLog, consensus, read_answers
from cogvideox.data.labelling.dataset import LabelClip, LabelDataset
from cogvideox.data.labelling.labels import LABELS
from cogvideox.data.labelling.sampling import QueueSettings
from cogvideox.data.labelling.session import Labelling

CLEAN = dict.fromkeys(LABELS, False)


@pytest.fixture
def dataset(tmp_path: Path) -> LabelDataset:
    ids = [f"{number:03d}.mp4" for number in range(60)]
    return LabelDataset(
        folder=tmp_path,
        labels_folder=tmp_path / "labels",
        clips={clip_id: LabelClip(clip_id=clip_id, source=clip_id, file=tmp_path / clip_id) for clip_id in ids},
        values={"text.area": np.arange(60.0)},
        source_rows=[{"source": clip_id, "sha256": clip_id} for clip_id in ids],
        digest_of={clip_id: clip_id for clip_id in ids},
    )


def opened(dataset: LabelDataset, **values) -> Labelling:
    return Labelling(dataset, dataset.labels_folder, QueueSettings(order="random", **values))


def answer_all(labelling: Labelling, annotator: str, num_clips: int = 10**6) -> list[str]:
    """Answer what comes, one at a time, as clean; return the clips in order."""
    shown: list[str] = []
    while len(shown) < num_clips and (items := labelling.items(annotator, set())["items"]):
        assert items[0]["labels"] == {}
        labelling.record(annotator, items[0]["item"], CLEAN, 1.0, "")
        shown.append(items[0]["clip"])
    return shown


def test_every_clip_is_asked_once_and_repeats_much_later(dataset: LabelDataset) -> None:
    shown = answer_all(opened(dataset), "ann")
    assert sorted(set(shown)) == sorted(dataset.clips) and len(shown) == 63
    for clip_id in (clip_id for clip_id in set(shown) if shown.count(clip_id) == 2):
        first = shown.index(clip_id)
        assert shown.index(clip_id, first + 1) - first > 20
    lines = [json.loads(line) for line in (dataset.labels_folder / "ann.jsonl").read_text().splitlines()]
    assert [line["clip_id"] for line in lines] == shown and sum(line["repeat"] for line in lines) == 3
    assert opened(dataset).items("ann", set())["items"] == []
    progress = opened(dataset).items("ann", set())["progress"]
    assert (progress.num_done, progress.num_all, progress.clips_per_hour) == (63, 63, 3600)


def test_it_goes_on_where_it_stopped(dataset: LabelDataset, tmp_path: Path) -> None:
    whole = answer_all(opened(dataset), "ann")
    shutil.rmtree(dataset.labels_folder)
    parts: list[str] = []
    while part := answer_all(opened(dataset), "ann", 7):
        parts += part
    assert parts == whole
    labelling = opened(dataset)
    shutil.rmtree(dataset.labels_folder)
    labelling = opened(dataset)
    item = labelling.items("ann", set())["items"][0]
    labelling.record("ann", item["item"], {"text": True}, 2.0, "title")
    again = opened(dataset).items("ann", set())
    assert again["items"][0]["item"] == item["item"] and again["items"][0]["labels"] == {"text": True}
    assert again["history"] == [] and again["items"][0]["note"] == "title"


def test_what_others_answered_comes_last_unless_it_is_shared(dataset: LabelDataset) -> None:
    labelling = opened(dataset, overlap_share=0.2, repeat_share=0)
    anns = answer_all(labelling, "ann", 30)
    bens = answer_all(labelling, "ben")
    shared = set(anns) & set(bens[: len(bens) - 30 + 12])
    early = bens[:36]
    assert len(set(anns) & set(early)) == len([clip_id for clip_id in anns if clip_id in early]) <= 12
    assert set(dataset.clips) - set(anns) <= set(early) | shared and sorted(bens) == sorted(dataset.clips)
    agreement = labelling.agreement()
    assert agreement.num_shared == 30 and agreement.labels[0].agreement == 1


def test_what_changes_nothing_is_not_written_and_items_are_not_given_twice(dataset: LabelDataset) -> None:
    labelling = opened(dataset)
    items = labelling.items("ann", set())["items"]
    assert len(items) == 4
    for seconds in (1.0, 2.0):
        labelling.record("ann", items[0]["item"], CLEAN, seconds, "")
    labelling.record("ann", items[0]["item"], CLEAN | {"text": None}, 3.0, "")
    lines = (dataset.labels_folder / "ann.jsonl").read_text().splitlines()
    assert [json.loads(line)["seconds"] for line in lines] == [1.0, 3.0]
    held = {item["item"] for item in items}
    more = labelling.items("ann", held, 2)["items"]
    assert len(more) == 2 and not held & {item["item"] for item in more}
    labelling.pass_over("ann", items[1]["item"])
    assert [item["item"] for item in labelling.items("ann", set())["items"]][:2] == [items[2]["item"], items[3]["item"]]
    rest = answer_all(labelling, "ann")
    assert items[1]["clip"] in rest[-4:]
    assert labelling.items("ann", set())["history"][-1]["clip"] == rest[-1]


def test_what_is_refused(dataset: LabelDataset) -> None:
    labelling = opened(dataset)
    item = labelling.items("ann", set())["items"][0]["item"]
    for labels, seconds, word in (({"txt": True}, 0, "text"), ({"text": 1}, 0, "null"), ({}, 1e6, "seconds")):
        with pytest.raises(ValueError, match=word):
            labelling.record("ann", item, labels, seconds, "")
    with pytest.raises(ValueError, match="reload"):
        labelling.record("ann", "nothing", CLEAN, 0, "")
    with pytest.raises(ValueError, match="annotator"):
        labelling.items("../ann", set())
    assert not list(dataset.labels_folder.iterdir())
    with pytest.raises(ValueError, match="probabilities"):
        Labelling(dataset, dataset.labels_folder, QueueSettings(order="uncertain"))
    (dataset.folder / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        Labelling(dataset, dataset.folder / "file", QueueSettings())


def test_an_answer_counts_though_another_file_has_a_later_one(dataset: LabelDataset) -> None:
    clip_id = "007.mp4"
    old = Answer(clip_id=clip_id, annotator="ann", time="2999-06-01", labels=CLEAN)
    dataset.labels_folder.mkdir()
    AnswerLog(dataset.labels_folder, "ann").append([old])
    (dataset.labels_folder / "ann.jsonl").rename(dataset.labels_folder / "team.jsonl")
    labelling = opened(dataset)
    (item,) = labelling.items("ann", set())["history"]
    labelling.record("ann", item["item"], CLEAN | {"text": True}, 1.0, "")
    assert consensus(read_answers(dataset.labels_folder))[clip_id]["text"] is True


def filter_model(threshold: float) -> FilterModel:
    leaf, number = np.array([0], np.int32), np.zeros(1)  # what it says is not asked
    trees = Trees(
        columns=np.array([-1], np.int32),
        thresholds=number,
        missing_left=np.zeros(1, bool),
        left=leaf,
        right=leaf,
        values=number,
        roots=leaf,
        baseline=number,
    )
    found = LabelFilter(trees=trees, slope=1.0, offset=0.0, threshold=threshold)
    return FilterModel(columns=("text.area",), versions={"text": 1}, filters={"text": found})


def test_uncertain_is_near_the_threshold_of_the_filters(
    dataset: LabelDataset, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = dataclasses.replace(dataset, values={"filters.text": np.linspace(0, 1, 60)})
    settings = {"overlap_share": 0, "repeat_share": 0, "random_share": 0}

    def first() -> str:
        made = Labelling(measured, measured.labels_folder, QueueSettings(order="uncertain", **settings))
        return made.items("ann", set())["items"][0]["clip"]

    filter_model(0.9).save(dataset.folder / "own")
    filter_model(0.2).save(dataset.folder / "package")
    monkeypatch.setattr("cogvideox.data.labelling.dataset.EMBEDDED", dataset.folder / "package")
    recipe = dataset.folder / "recipe.json"
    recipe.write_text(json.dumps({"filters": {"model": str(dataset.folder / "own")}}))
    assert first() == "053.mp4"
    recipe.write_text(json.dumps({"filters": {"model": f"{dataset.folder.name}/own"}}))  # beside the results
    assert first() == "053.mp4"
    recipe.write_text(json.dumps({"filters": {"model": None}}))
    assert first() == "012.mp4"
    recipe.write_text(json.dumps({"filters": {"model": "gone"}}))
    with caplog.at_level(logging.WARNING):
        assert first() in ("029.mp4", "030.mp4")
    assert "0.5 is used" in caplog.text and "gone" in caplog.text
