import json
import threading
from pathlib import Path

import pytest
import torch

from cogvideox.training import states
from cogvideox.training.states import DamagedStateError, StateStore, copy_to_cpu
from small_run import LineStep, newest_state, run


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def remove(path: Path) -> None:
    path.unlink()


def spoil_mark(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


DAMAGES = {
    flip_a_byte: "checksum",
    cut_off: "expected .* bytes, got",
    remove: "No such file",
    spoil_mark: "not readable",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_state_costs_the_steps_since_the_one_before(
    tmp_path: Path, damage, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(tmp_path / "whole", 12)
    run(tmp_path / "cut", 12, stop_after=7)
    damage(tmp_path / "cut" / "state" / "step_0000007.pt")
    resumed = run(tmp_path / "cut", 12)
    assert resumed.seen[0] == 6 and torch.equal(resumed.model.weight, whole.model.weight)
    assert len(caplog.messages) == 1 and "step_0000007" in caplog.messages[0]
    caplog.clear()
    run(tmp_path / "cut", 12)
    assert not caplog.messages


def test_a_run_with_only_damaged_states_does_not_start_again(tmp_path: Path) -> None:
    run(tmp_path, 6)
    for path in (tmp_path / "state").glob("*.pt"):
        flip_a_byte(path)
    with pytest.raises(ValueError, match="none of its saved states is readable"):
        run(tmp_path, 12)
    assert len(list((tmp_path / "state").glob("*.pt"))) == 2


@pytest.mark.parametrize(("damage", "message"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_named(tmp_path: Path, damage, message: str) -> None:
    store = StateStore(tmp_path, 2)
    store.save(3, 1.5, {"weight": torch.arange(100.0)})
    assert store.wait() is None
    assert store.read(3)["elapsed_s"] == 1.5 and torch.equal(store.read(3)["state"]["weight"], torch.arange(100.0))
    damage(store.path(3))
    with pytest.raises(DamagedStateError, match=message):
        store.read(3)


def test_only_the_newest_states_are_kept_and_damaged_later_ones_go(tmp_path: Path) -> None:
    store = StateStore(tmp_path, 2)
    for step in (1, 2, 3, 9):
        store.save(step, 0.0, {})
    store.wait()
    assert store.committed_steps() == [3, 9]
    store.save(4, 0.0, {})
    store.wait()
    assert store.committed_steps() == [3, 4] and len(list(tmp_path.iterdir())) == 4


def test_a_state_without_its_mark_is_not_taken(tmp_path: Path) -> None:
    store = StateStore(tmp_path, 2)
    store.save(1, 0.0, {})
    store.wait()
    store.path(2).write_bytes(store.path(1).read_bytes())
    newest = store.read_newest()
    assert newest is not None and newest["step"] == 1


def test_later_steps_do_not_change_what_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, save = threading.Event(), torch.save

    def save_late(*arguments) -> None:
        assert may_write.wait(30)
        save(*arguments)

    monkeypatch.setattr(states.torch, "save", save_late)
    step, store = LineStep(), StateStore(tmp_path, 2)
    step(step.make_batch(0), 0.1)
    wanted = copy_to_cpu(step.state_dict())
    store.save(1, 0.0, step.state_dict())
    for index in range(1, 5):
        step(step.make_batch(index), 0.1)
    may_write.set()
    assert store.wait() is None
    saved = store.read(1)["state"]
    assert not torch.equal(saved["model"]["weight"], step.model.weight)
    torch.testing.assert_close(saved, wanted, rtol=0, atol=0)


def test_an_error_that_is_no_full_disk_is_raised(tmp_path: Path) -> None:
    store = StateStore(tmp_path, 2)
    store.save(1, 0.0, {"lock": lambda: None})
    with pytest.raises(Exception, match="pickle"):
        store.wait()


def test_copies_share_no_memory_and_tied_tensors_stay_tied() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    state = {"a": weight.detach(), "b": [weight.detach(), weight.detach()[1:]], "c": (weight, 3)}
    made = copy_to_cpu(state)
    with torch.no_grad():
        weight.zero_()
    assert made["a"].sum() == 16 and made["b"][1].sum() == 12 and made["c"][0].sum() == 16 and made["c"][1] == 3
    assert made["a"].data_ptr() == made["b"][0].data_ptr() and not made["c"][0].requires_grad
    state = torch.nn.BatchNorm2d(2).state_dict()
    assert copy_to_cpu(state)._metadata == state._metadata


def test_the_mark_tells_what_was_written(tmp_path: Path) -> None:
    run(tmp_path, 5)
    mark = json.loads((tmp_path / "state" / "step_0000005.json").read_text())
    assert set(mark) == {"step", "elapsed_s", "bytes", "crc32"} and newest_state(tmp_path)["step"] == mark["step"] == 5
