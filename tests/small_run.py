"""A training run that takes milliseconds, to be interrupted, killed and shared between processes.

As a command it is such a run in a process of its own: ``python small_run.py ACTION RUN_DIR``.
"""

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from cogvideox.parallel.world import World
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.loop import ALONE, RunSettings, train


@dataclass(frozen=True)
class Recipe:
    run: RunSettings
    name: str = "line"


class LineStep:
    """Fits a sum with noise of the global generator; every process has its own batches and all the same weights."""

    def __init__(self, world: World = ALONE, width: int = 3) -> None:
        torch.manual_seed(0)
        self.world = world
        self.width = width
        self.model = nn.Linear(width, width)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.average = WeightAverage(self.model, 0.9)
        self.seen: list[int] = []

    def make_batch(self, step: int) -> torch.Tensor:
        self.seen.append(step)
        generator = torch.Generator().manual_seed(step * self.world.size + self.world.rank)
        return torch.randn(8, self.width, generator=generator)

    def __call__(self, batch: torch.Tensor, learning_rate: float) -> dict[str, torch.Tensor]:
        set_learning_rate(self.optimizer, learning_rate)
        noise = 0.01 * torch.randn(batch.shape)
        loss = (self.model(batch + noise) - batch.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        if self.world.size > 1:
            for parameter in self.model.parameters():
                distributed.all_reduce(parameter.grad)
        self.optimizer.step()
        self.average.update(self.model)
        return {"loss": loss.detach()}

    def write_samples(self, path: Path) -> dict[str, float]:
        if self.world.is_main:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("sample")
        return {"sampled": 1.0}

    def save_checkpoint(self, directory: Path) -> None:
        if self.world.is_main:
            directory.mkdir(parents=True)
            for name in ("first", "second"):
                (directory / name).write_text(str(self.average.averages["weight"][0].tolist()))

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "average")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)


def settings(num_steps: int, **changes: Any) -> RunSettings:
    defaults: dict[str, Any] = {"batch_size": 8, "num_warmup_steps": 2, "sample_every_steps": 5, "log_every_steps": 5}
    return RunSettings(num_steps=num_steps, **(defaults | {"save_every_s": 0.0} | changes))


def run(
    folder: Path,
    num_steps: int,
    *,
    step: LineStep | None = None,
    stop_after: int | None = None,
    on_step: Callable[[int], None] = lambda done: None,
    **changes: Any,
) -> LineStep:
    """Train; ``stop_after`` so many steps as Ctrl-C would, or when a signal does (-1)."""
    step = LineStep() if step is None else step

    def watch(done: int, _: dict[str, float]) -> None:
        on_step(done)
        if done == stop_after:
            raise KeyboardInterrupt

    run_settings = settings(num_steps, **changes)
    try:
        train(step, run_settings, folder, recipe=Recipe(run_settings), world=step.world, on_step=watch)
    except KeyboardInterrupt:
        if stop_after is None:
            raise
    return step


def newest_state(folder: Path) -> dict[str, Any]:
    return torch.load(max((folder / "state").glob("*.pt")), weights_only=True)


def limit_file_size(num_bytes: int) -> None:
    """Let every longer file fail part-way, as a full disk does; Python ignores the signal that comes with it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))


NUM_BIG_STEPS = 400
NUM_KILLS = 20


def _big_run(folder: Path, *, is_killed: bool) -> None:
    """Train with a state of 4 MB; the run that is killed saves often and lasts longer than all kills together."""
    torch.set_num_threads(1)
    run(
        folder,
        NUM_BIG_STEPS,
        step=LineStep(width=512),
        save_every_steps=2 if is_killed else 0,
        save_every_s=1e9,
        sample_every_steps=7,
        log_every_steps=1,
        on_step=lambda done: time.sleep(0.01 * is_killed),
    )


def _run_with_kills(folder: Path) -> None:
    """Kill the run at random moments, then let it end; print what the kills found."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as other:  # imports what a first step does, so that the forks start at once
        run(Path(other), 1)
    rng = random.Random(0)
    num_amid_writing = num_half_checkpoints = 0
    for _ in range(NUM_KILLS):
        pid = _fork_big_run(folder)
        time.sleep(rng.uniform(0.03, 0.35))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        num_amid_writing += bool([*folder.glob("state/*.tmp"), *folder.glob("checkpoint.[no]*")])
        checkpoint = folder / "checkpoint"
        if checkpoint.exists():
            num_half_checkpoints += (checkpoint / "first").read_text() != (checkpoint / "second").read_text()
    exit_code = os.waitstatus_to_exitcode(os.waitpid(_fork_big_run(folder), 0)[1])
    print(json.dumps([exit_code, num_amid_writing, num_half_checkpoints]))


def _fork_big_run(folder: Path) -> int:
    pid = os.fork()
    if pid == 0:
        _big_run(folder, is_killed=True)
        os._exit(0)
    return pid


def _run_on_full_disks(folder: Path) -> None:
    """Train with a disk that takes no state between steps 6 and 14, then with one that takes none after step 6."""

    limits = {6: 2**16, 14: resource.RLIM_INFINITY}

    def limit(done: int) -> None:
        if done in limits:
            limit_file_size(limits[done])

    run(folder / "passing", 20, step=LineStep(width=256), on_step=limit)
    del limits[14]
    try:
        run(folder / "lasting", 20, step=LineStep(width=256), on_step=limit)
    except OSError as error:
        print(error)


def _run_in_a_group(folder: Path, rank: int) -> None:
    """Train in two processes, once without a stop and once with a SIGTERM to the second one."""
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    world = World(rank, 2)

    class Stopped(LineStep):
        def make_batch(self, step: int) -> torch.Tensor:
            if step == 7 and rank == 1:
                signal.raise_signal(signal.SIGTERM)
            return super().make_batch(step)

    whole = run(folder / ("whole" if rank == 0 else "unused"), 20, step=LineStep(world))
    run(folder / "cut", 20, step=Stopped(world), stop_after=-1, save_every_s=1e9)
    resumed = run(folder / "cut", 20, step=LineStep(world))
    seen, states = resumed.seen, [whole.state_dict(), resumed.state_dict()]
    torch.save({"seen": seen, "states": states}, folder / f"rank_{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    action, run_dir, *rest = sys.argv[1:]
    if action == "whole":
        _big_run(Path(run_dir), is_killed=False)
    elif action == "kills":
        _run_with_kills(Path(run_dir))
    elif action == "full":
        _run_on_full_disks(Path(run_dir))
    elif action == "group":
        _run_in_a_group(Path(run_dir), int(rest[0]))
