from pathlib import Path

import pytest
import torch
from torch import nn

from cogvideox.training.averaging import WeightAverage
from cogvideox.training.loop import RunSettings, set_learning_rate, train
from cogvideox.training.muon import Muon, orthogonalise


class LineStep:
    """Fits a line; small enough to compare runs bit for bit."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(3, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.average = WeightAverage(self.model, 0.9)
        self.seen: list[int] = []

    def make_batch(self, step: int) -> torch.Tensor:
        self.seen.append(step)
        return torch.randn(8, 3, generator=torch.Generator().manual_seed(step))

    def __call__(self, batch: torch.Tensor, learning_rate: float) -> dict[str, torch.Tensor]:
        set_learning_rate(self.optimizer, learning_rate)
        loss = (self.model(batch) - batch.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.average.update(self.model)
        return {"loss": loss.detach()}

    def write_samples(self, path: Path) -> dict[str, float]:
        return {"sampled": 1.0}

    def save_checkpoint(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "weights").write_text(str(self.model.weight.tolist()))

    def state_dict(self) -> dict:
        parts = ("model", "optimizer", "average")
        return {name: getattr(self, name).state_dict() for name in parts}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)


def settings(num_steps: int, **changes: object) -> RunSettings:
    defaults = {
        "batch_size": 8,
        "num_warmup_steps": 2,
        "sample_every_steps": 5,
        "log_every_steps": 5,
        "save_every_s": 0.0,
    }
    return RunSettings(num_steps=num_steps, **(defaults | changes))  # pyright: ignore[reportArgumentType]


def run(folder: Path, num_steps: int, stop_after: int | None = None, **changes) -> LineStep:
    from dataclasses import dataclass

    @dataclass
    class Recipe:
        name: str = "line"

    step_function = LineStep()

    def stop(step: int, scalars: dict[str, float]) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    try:
        train(step_function, settings(num_steps, **changes), folder, recipe=Recipe(), on_step=stop)
    except KeyboardInterrupt:
        assert stop_after is not None
    return step_function


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 20)
    run(tmp_path / "cut", 20, stop_after=7)
    resumed = run(tmp_path / "cut", 20)
    assert resumed.seen[0] == 6  # the state saved after step 6 is the last one; step 7 was never saved
    assert torch.equal(whole.model.weight, resumed.model.weight)
    assert torch.equal(whole.average.averages["weight"], resumed.average.averages["weight"])
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_finished_run_does_nothing_and_more_steps_go_on(tmp_path: Path) -> None:
    run(tmp_path, 10)
    assert run(tmp_path, 10).seen == []
    assert run(tmp_path, 12).seen == [10, 11]
    assert (tmp_path / "recipe.json").exists() and list((tmp_path / "tensorboard").iterdir())


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 5)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    saved["state"]["model"]["weight"] = torch.zeros(2, 7)
    torch.save(saved, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="does not fit this recipe"):
        run(tmp_path, 10)


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    class Broken(LineStep):
        def __call__(self, batch: torch.Tensor, learning_rate: float) -> dict[str, torch.Tensor]:
            return {"loss": torch.tensor(float("nan"))}

    from dataclasses import dataclass

    @dataclass
    class Recipe:
        name: str = "line"

    with pytest.raises(ValueError, match="loss is nan at step 5"):
        train(Broken(), settings(5), tmp_path, recipe=Recipe())


def test_learning_rate_warms_up_holds_and_decays() -> None:
    run_settings = settings(100, learning_rate=1.0, num_warmup_steps=10, decay_share=0.2)
    rates = [run_settings.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[50] == rates[79] == 1.0
    assert rates[90] == pytest.approx(0.5) and 0 < rates[99] <= 0.05


def test_average_follows_and_swaps() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.5)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(model)  # the first update's decay is 1 / 10
    torch.testing.assert_close(average.averages["weight"], start + 0.9)
    average.swap(model)
    torch.testing.assert_close(model.weight.detach(), start + 0.9)
    average.swap(model)
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
