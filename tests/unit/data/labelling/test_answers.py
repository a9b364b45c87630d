"""Files of answers: what is written comes back, what a crash cut is left out, what is wrong is named."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvideox.data.labelling.answer import Answer, check_annotator
from cogvideox.data.labelling.answer_table import guarded, read_csv, to_csv, unguarded
from cogvideox.data.labelling.answers import AnswerLog, consensus, read_answers, resolve
from cogvideox.data.labelling.exchange import export_answers, import_answers, to_jsonl
from cogvideox.data.labelling.labels import LABELS

TIMES = ("2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-02-01", "2026-01-31T12:00:00.250Z")


def answer(clip_id: str = "a", annotator: str = "ann", minute: int = 0, **values) -> Answer:
    return Answer(clip_id=clip_id, annotator=annotator, time=f"2026-01-31T12:{minute:02d}:00Z", **values)


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["=1+1", "'=1", "''", "'", "+1", "-", "@x", "\t=", "\r\n", "a\u2028b", '"', "a,b", "'tis", " =1"]
)
answers = st.builds(
    Answer,
    clip_id=texts.filter(bool),
    source=texts,
    annotator=st.sampled_from(["ann", "ben_2", "Ça-va", "a.b"]),
    time=st.sampled_from(TIMES),
    labels=st.dictionaries(st.sampled_from(list(LABELS)), st.sampled_from([True, False, None])),
    seconds=st.floats(0, 1e6),
    repeat=st.booleans(),
    note=texts,
)


@settings(max_examples=50)
@given(st.lists(answers, max_size=4))
def test_what_is_written_comes_back(tmp_path_factory, said: list[Answer]) -> None:
    folder = tmp_path_factory.mktemp("a")
    for name, text in (("a.csv", to_csv(said)), ("a.jsonl", to_jsonl(said))):
        (folder / name).write_bytes(text.encode())
        assert read_answers(folder / name) == said


@given(texts)
def test_no_cell_is_a_formula(text: str) -> None:
    assert unguarded(guarded(text)) == text and not guarded(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_cells_of_other_programs_are_taken_as_they_are(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_bytes(
        b'\xef\xbb\xbfannotator,clip_id,time,text,static,note\r\nann,a,2026-01-31T12:00:00Z,1,?,"\'tis, ""so"""\r\n\r\n'
    )
    (found,) = read_csv(table)
    assert found.labels == {"text": True, "static": None} and found.note == '\'tis, "so"' and not found.is_done


def test_a_cut_line_is_left_out_and_the_next_begins_afresh(tmp_path: Path, caplog) -> None:
    log = AnswerLog(tmp_path, "ann")
    log.append([answer("a"), answer("b")])
    content = log.path.read_bytes()
    log.path.write_bytes(content[:-20])
    log.append([answer("c")])
    with caplog.at_level(logging.WARNING):
        assert [found.clip_id for found in read_answers(tmp_path)] == ["a", "c"]
    assert "line 2" in caplog.text and str(log.path) in caplog.text
    log.path.write_bytes(content.rstrip(b"\n"))  # the line itself is whole
    log.append([answer("c")])
    assert [found.clip_id for found in read_answers(tmp_path)] == ["a", "b", "c"]
    log.path.write_bytes(content + b"\0" * 40)
    assert len(read_answers(tmp_path)) == 2


@pytest.mark.parametrize(
    "there",
    ["2999-06-01", "2999-06-01T00:00:00.123456Z", "2999-06-01T12:00:00-11:00", "9999-12-31T23:59:59.999999-05:00"],
)
def test_a_new_answer_is_later_than_all_that_are_there(tmp_path: Path, there: str) -> None:
    log = AnswerLog(tmp_path, "ann")
    for value in (False, True):  # the second one comes while the log is in use, as an import does
        old = Answer(clip_id="a", annotator="ann", time=there, labels={"text": value})
        AnswerLog(tmp_path, "ann").append([old])
        for new in (not value, value, not value):
            log.append([Answer(clip_id="a", annotator="ann", time=log.now(), labels={"text": new})])
            assert consensus(read_answers(tmp_path)) == {"a": {"text": new}}
    log.path.write_bytes(b"\xef\xbb\xbf" + to_jsonl([old]).rstrip("\n").encode())  # as another program leaves it
    log = AnswerLog(tmp_path, "ann")
    log.append([Answer(clip_id="a", annotator="ann", time=log.now(), labels={"text": False})])
    assert consensus(read_answers(tmp_path)) == {"a": {"text": False}}
    with log.path.open("ab") as file:
        file.write(b'{"time": "no time"}\n[]\n\xff\n{"time": "9999-12-31T23:')  # damaged lines do not count
    assert AnswerLog(tmp_path, "ann").now() == log.now()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": {"lecure": True}}, ("lecure", "did you mean 'lecture'")),
        ({"labels": {"text": 1}}, ("labels.text", "true, false or null")),
        ({"labels": []}, ("labels", "object")),
        ({"annotator": "../x"}, ("annotator", "'../x'")),
        ({"time": "yesterday"}, ("time", "ISO 8601", "yesterday")),
        ({"seconds": -1}, ("seconds", "0 or more")),
        ({"seconds": float("nan")}, ("seconds",)),
        ({"repeat": "no"}, ("repeat", "true or false")),
        ({"clip_id": ""}, ("clip_id",)),
        ({"clip_id": "\ud800"}, ("clip_id", "Unicode")),
        ({"sorce": "x"}, ("sorce", "did you mean 'source'")),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, change: dict, words: tuple[str, ...]) -> None:
    good = {"clip_id": "a", "annotator": "ann", "time": TIMES[0], "labels": {}}
    file = tmp_path / "in.jsonl"
    file.write_text(f"{json.dumps(good)}\n\n{json.dumps(good | change)}\n")
    with pytest.raises(ValueError) as caught:
        import_answers(file, tmp_path / "labels")
    assert all(word in str(caught.value) for word in (*words, "line 3", "in.jsonl")), caught.value
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("clip_id,annotator,time,lecure\na,ann,2026-01-31,1\n", ("line 1", "lecure", "lecture")),
        ("clip_id,annotator,time,text\na,ann,2026-01-31,1\n\nb,ann,2026-01-31,2\n", ("line 4", "text", "'2'")),
        ('clip_id,annotator,time,note\na,ann,2026-01-31,"two\nlines"\nb,ann,2026-01-31\n', ("line 4", "4 cells")),
        ("clip_id,annotator\na,ann\n", ("line 1", "time")),
        ("", ("columns",)),
        ("clip_id,annotator,time\n", ("at least one answer",)),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: str, words: tuple[str, ...]) -> None:
    (tmp_path / "in.csv").write_text(rows)
    with pytest.raises(ValueError) as caught:
        import_answers(tmp_path / "in.csv", tmp_path / "labels")
    assert all(word in str(caught.value) for word in words), caught.value


def test_import_adds_what_is_new_and_export_gives_all(tmp_path: Path) -> None:
    said = [answer("a", labels={"text": True}), answer("a", "ben"), answer("=b", note="-x", seconds=1.5)]
    (tmp_path / "in.csv").write_text(to_csv(said))
    assert import_answers(tmp_path / "in.csv", tmp_path / "labels") == (3, 0)
    assert import_answers(tmp_path / "in.csv", tmp_path / "labels") == (0, 3)
    for name in ("out.csv", "out.jsonl"):
        assert export_answers(tmp_path / "labels", tmp_path / name) == 3
        assert sorted(read_answers(tmp_path / name), key=repr) == sorted(said, key=repr)
    with pytest.raises(ValueError, match=r"\.jsonl or \.csv"):
        export_answers(tmp_path / "labels", tmp_path / "out.xls")


def test_majority_of_last_answers() -> None:
    said = [
        answer("a", "ann", 1, labels={"text": True, "static": True, "editing": True, "lecture": None}),
        answer("a", "ann", 2, labels={"text": False, "static": True, "lecture": None}),
        answer("a", "ben", 0, labels={"text": False, "static": False, "lecture": True}),
        answer("a", "cid", 0, labels={"text": True, "static": None}),
        answer("b", "ann", 0, labels={"text": None}),
        answer("a", "cid", 9, labels={"text": False}, repeat=True),  # a second look replaces what it judges
    ]
    # static: ann for, ben against, cid unsure; editing was taken back by ann.
    assert consensus(said) == {"a": {"text": False, "lecture": True}}
    assert consensus(reversed(said)) == consensus(said)


def test_an_answer_for_a_source_is_one_for_each_of_its_clips(caplog) -> None:
    one, two = "1" * 64, "1" * 15 + "2" * 49
    clips = [{"clip_id": f"{one[:16]}_0_9", "sha256": one}, {"clip_id": f"{one[:16]}_9_20", "sha256": one}]
    clips += [{"clip_id": f"{two[:16]}_0_9", "sha256": two}]
    sources = [{"source": "v/a.mp4", "sha256": one}, {"source": "w/a.mp4", "sha256": two}]
    sources += [{"source": "v/copy.mp4", "sha256": one}, {"source": "v/bad.mp4", "sha256": ""}]

    def ids(name: str) -> list[str]:
        return [found.clip_id for found in resolve([answer(name)], clips, sources)]

    first = [clip["clip_id"] for clip in clips[:2]]
    assert ids("v/a.mp4") == ids("copy.mp4") == ids(one) == ids(one[:16]) == first
    assert ids(two) == ids("w/a.mp4") == [clips[2]["clip_id"]] and ids(first[1]) == [first[1]]
    assert resolve([answer(first[0])], clips, sources)[0].source == one
    assert resolve([answer(first[0], source="v/a.mp4")], clips, sources)[0].source == "v/a.mp4"
    with pytest.raises(ValueError, match="2 sources of different content"):
        ids("a.mp4")
    with caplog.at_level(logging.WARNING):
        assert ids("gone.mp4") == ids("bad.mp4") == []
    assert "gone.mp4" in caplog.text


BAD_NAMES = ["", ".", "..", "a/b", "a\\b", ".a", "-a", "a.", "CON", "nul.txt", "a b", "x" * 65, "a\n", "e\u0301"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_no_files_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="annotator"):
        check_annotator(name)
