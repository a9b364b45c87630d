"""Students of all forms are opened by what their folders say of themselves."""

import json
from pathlib import Path

import pytest

from cogvideox.data.captioning import students
from cogvideox.data.captioning.recipe import BackendSettings
from cogvideox.data.captioning.small_summariser import SmallSummariser
from cogvideox.data.captioning.students import LoraStudentCard, find_student, open_student, spread_places
from cogvideox.data.captioning.video_captioner import SmallCaptioner

SETTINGS = BackendSettings(name="s", kind="student")


def write_card(folder: Path, **values) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "student.json").write_text(json.dumps({"format": 1, "form": "lora", "task": "captioner"} | values))
    return folder


def test_each_form_is_loaded_by_its_own_code(tmp_path, monkeypatch):
    loaded = []
    for kind in (SmallSummariser, SmallCaptioner):
        monkeypatch.setattr(kind, "load", lambda folder, kind=kind: loaded.append((kind, folder)))
    summariser = write_card(tmp_path / "a", form="small-summariser")
    captioner = write_card(tmp_path / "b", form="small-captioner")
    monkeypatch.setattr(students, "PACKAGED", {"summariser": summariser, "captioner": captioner})
    open_student(summariser, SETTINGS, task="captioner")
    open_student("", SETTINGS, task="summariser")
    open_student(None, SETTINGS, task="captioner")
    assert loaded == [(SmallSummariser, summariser), (SmallSummariser, summariser), (SmallCaptioner, captioner)]


def test_what_is_no_student_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"student\.json: No such file.*cogvideox train captioner or summariser"):
        open_student(tmp_path, SETTINGS)
    for values in ({"format": 2}, {"form": "other"}):
        with pytest.raises(ValueError, match=r"expected format 1 and a form of lora, small-summariser"):
            open_student(write_card(tmp_path, **values), SETTINGS)
    with pytest.raises(ValueError, match=r"damaged .*train it again"):
        open_student(write_card(tmp_path), SETTINGS)
    (tmp_path / "student.json").write_text("{")
    with pytest.raises(ValueError, match=r"student\.json: damaged"):
        open_student(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="expected prompt, num_frames and max_side_px of a captioner"):
        LoraStudentCard(task="captioner", base="x")


def test_a_base_with_code_of_its_own_is_not_run_unasked(tmp_path):
    for name in students.ADAPTER_NAMES:
        (tmp_path / name).write_text("x")
    digests = {name: students.file_digest(tmp_path / name) for name in students.ADAPTER_NAMES}
    card = {"base": "some/model", "base_revision": "0" * 40, "trusts_remote_code": True}
    shown = {"prompt": "What ?", "num_frames": 4, "max_side_px": 64}
    folder = write_card(tmp_path, sha256=digests, **card, **shown)
    with pytest.raises(ValueError, match=r"comes with code of its own \(some/model at 0{40}\)"):
        open_student(folder, SETTINGS)
    trusting = BackendSettings(name="s", kind="student", trusts_remote_code=True)
    assert open_student(folder, trusting).source.endswith(f"@{digests[students.ADAPTER_NAMES[0]][:12]}")


def test_frames_are_spread():
    assert spread_places(9, 3) == [1, 4, 7] and spread_places(2, 4) == [0, 0, 1, 1] and spread_places(1, 2) == [0, 0]


def test_a_run_folder_is_enough(tmp_path: Path) -> None:
    place = tmp_path / "run" / "checkpoint" / "captioner"
    place.mkdir(parents=True)
    (place / "student.json").write_text("{}")
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoint", place):
        assert find_student(folder) == place
    with pytest.raises(ValueError, match=r"expected a run folder of cogvideox train"):
        open_student(str(tmp_path), BackendSettings(name="s", kind="student", model=str(tmp_path)))
