import json
import signal
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from cogvideox.training.averaging import WeightAverage
from cogvideox.training.loop import LoopSettings, train
from cogvideox.training.muon import Muon, orthogonalise
from cogvideox.training.states import StateStore
from small_run import LineStep, Recipe, newest_state, run, settings


def logged_steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 20)
    run(tmp_path / "cut", 20, stop_after=7, save_every_s=1e9)
    resumed = run(tmp_path / "cut", 20)
    assert resumed.seen[0] == 7
    assert torch.equal(whole.model.weight, resumed.model.weight)
    assert torch.equal(whole.average.averages["weight"], resumed.average.averages["weight"])
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_finished_run_does_nothing_and_more_steps_go_on(tmp_path: Path) -> None:
    run(tmp_path, 10)
    assert run(tmp_path, 10).seen == []
    assert run(tmp_path, 12).seen == [10, 11]
    assert (tmp_path / "recipe.json").exists() and list((tmp_path / "tensorboard").iterdir())


def test_a_finished_run_without_its_checkpoint_writes_it(tmp_path: Path) -> None:
    class Full(LineStep):
        def save_checkpoint(self, directory: Path) -> None:
            directory.mkdir()
            (directory / "half").touch()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"its checkpoint could not be written \(No space left on device\)"):
        run(tmp_path, 4, step=Full())
    assert not list(tmp_path.glob("checkpoint*"))
    assert run(tmp_path, 4).seen == []
    assert (tmp_path / "checkpoint" / "second").exists()


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 5)
    with pytest.raises(ValueError, match="does not fit this recipe"):
        run(tmp_path, 10, step=LineStep(width=4))


def test_a_changed_recipe_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, 5)
    run(tmp_path, 6)
    assert not caplog.messages
    run(tmp_path, 7, batch_size=9, learning_rate=0.5)
    assert caplog.messages[0].endswith("has changed since this run began: run.batch_size, run.learning_rate")
    assert json.loads((tmp_path / "recipe.json").read_text())["run"]["batch_size"] == 9


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    class Broken(LineStep):
        def __call__(self, batch: torch.Tensor, learning_rate: float) -> dict[str, torch.Tensor]:
            return {"loss": torch.tensor(float("nan"))}

    class Guarded(Broken):
        def __call__(self, batch: torch.Tensor, learning_rate: float) -> dict[str, torch.Tensor]:
            return super().__call__(batch, learning_rate) | {"num_skipped": torch.tensor(1)}

    with pytest.raises(ValueError, match="loss is nan at step 5"):
        run(tmp_path / "plain", 5, step=Broken())
    run(tmp_path / "guarded", 5, step=Guarded())
    values = json.loads((tmp_path / "guarded" / "metrics.jsonl").read_text())
    assert values["loss"] is None and values["num_skipped"] == 1


def test_settings_without_a_schedule_need_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_steps, learning_rate_at"):
        train(LineStep(), LoopSettings(), tmp_path, recipe=Recipe(settings(1)))
    rates: list[float] = []

    def rate(step: int) -> float:
        rates.append(step / 10)
        return rates[-1]

    train(LineStep(), LoopSettings(), tmp_path, recipe=Recipe(settings(1)), num_steps=3, learning_rate_at=rate)
    assert rates == [0, 0.1, 0.2] and logged_steps(tmp_path) == [3]


@pytest.mark.parametrize("field", ["log_every_steps", "num_kept_states", "save_every_steps"])
def test_settings_out_of_range(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        settings(1, **{field: -1})


@pytest.fixture
def heeds_interruptions():
    """Python's own handler, also where these tests run in the background, to which shells forbid SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interruptions")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_completes_the_step_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    class Interrupted(LineStep):
        def make_batch(self, step: int) -> torch.Tensor:
            if step == 7:
                signal.raise_signal(number)
            return super().make_batch(step)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 20, step=Interrupted(), save_every_s=1e9)
    assert signal.getsignal(number) == before
    assert newest_state(tmp_path)["step"] == 8 and len(StateStore(tmp_path / "state", 2).committed_steps()) == 1


@pytest.mark.usefixtures("heeds_interruptions")
def test_a_second_interruption_is_at_once(tmp_path: Path) -> None:
    class Impatient(LineStep):
        def make_batch(self, step: int) -> torch.Tensor:
            if step == 7:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return super().make_batch(step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 20, step=Impatient(), save_every_steps=3, save_every_s=1e9)
    assert newest_state(tmp_path)["step"] == 6


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    refusals: list[str] = []

    def train_too(done: int) -> None:
        with pytest.raises(ValueError, match="another process trains in") as raised:
            run(tmp_path, 3)
        refusals.append(str(raised.value))

    run(tmp_path, 2, on_step=train_too)
    assert len(refusals) == 2
    run(tmp_path, 3)


def test_resumed_steps_are_logged_once(tmp_path: Path) -> None:
    def die(done: int) -> None:
        if done == 12:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, 20, save_every_steps=5, save_every_s=1e9, log_every_steps=1, on_step=die)
    assert logged_steps(tmp_path) == list(range(1, 13))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "lo')
    run(tmp_path, 20, log_every_steps=1)
    run(tmp_path / "whole", 20, log_every_steps=1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == list(range(1, 21))


def test_saves_follow_steps(tmp_path: Path) -> None:
    saved: list[int] = []

    class Watched(LineStep):
        def state_dict(self) -> dict:
            saved.append(len(self.seen))
            return super().state_dict()

    run(tmp_path, 10, step=Watched(), save_every_steps=4, save_every_s=1e9)
    assert saved == [4, 8, 10]


def test_average_follows_and_swaps() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.5)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(model)  # the first update's decay is 1 / 10
    torch.testing.assert_close(average.averages["weight"], start + 0.9)
    with pytest.raises(OSError), average.swapped(model):
        torch.testing.assert_close(model.weight.detach(), start + 0.9)
        raise OSError
    torch.testing.assert_close(model.weight.detach(), start + 1.0)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_orthogonalised_updates_have_equal_singular_values(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.6 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert (
        torch.nn.functional.cosine_similarity(orthogonalise(matrix).flatten(), (left @ right).flatten(), dim=0) > 0.95
    )


def test_orthogonalising_a_stack_equals_one_by_one() -> None:
    stack = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalise(stack), torch.stack([orthogonalise(matrix) for matrix in stack]))


def test_muon_solves_a_linear_problem() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(4, 6))
    wanted = torch.randn(4, 6)
    optimizer = Muon([weight], learning_rate=0.1)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimizer.zero_grad()
        (weight - wanted).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(weight.detach(), wanted, atol=0.05, rtol=0)
