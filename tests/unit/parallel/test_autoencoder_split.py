"""A clip shared by processes: outputs and gradients against one process, chunks in turn and bands of rows."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from autoencoder_ranks import (
    CONFIG,
    FRAMES,
    TrainingCase,
    decode_under_autocast,
    infer,
    inference_cases,
    make_autoencoder,
    run_rank,
    stop_and_decode,
    train_alone,
    training_cases,
)
from cogvideox.configs import NormScope
from cogvideox.parallel.autoencoding import SplitName
from cogvideox.parallel.frame_split import split_evenly

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[int, list[dict[str, Any]]]:
    """Results of all cases, by the number of processes and by rank."""
    of_size: dict[int, list[dict[str, Any]]] = {}
    for size in FRAMES:
        folder: Path = tmp_path_factory.mktemp(f"ranks{size}")
        multiprocessing.spawn(run_rank, (size, folder), nprocs=size)  # pyright: ignore[reportPrivateImportUsage]
        of_size[size] = [torch.load(folder / f"{rank}.pt") for rank in range(size)]
    return of_size


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads gain nothing at these sizes, and wait long for each other beside other work."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)


CASES = [(size, case) for size in FRAMES for case in training_cases(size)]


@pytest.mark.parametrize("size, case", CASES, ids=[f"{size}: {case.name}" for size, case in CASES])
def test_parts_of_a_clip_have_its_outputs_and_gradients(size: int, case: TrainingCase, results) -> None:
    exact = train_alone(dataclasses.replace(case, dtype=torch.float64))
    alone = train_alone(case)
    largest = max(float(gradient.abs().max()) for gradient in exact["gradients"].values())
    shared = [of_rank[case.name] for of_rank in results[size]]

    def check(name: str, of_parts: torch.Tensor, rounded: torch.Tensor, exact: torch.Tensor, scale: float) -> None:
        error, rounding = (float((values - exact).abs().max()) / scale for values in (of_parts, rounded))
        # In float32 one process rounds too: gradients through norms of few values by up to 5e-5 of the largest.
        limit = 1e-9 if case.dtype == torch.float64 else max(1e-5, 2 * rounding)
        assert error <= limit, f"{name}: {error}, {rounding} in one process"

    for name in ("latents", "pixels", "video_gradient", "latents_in_place", "pixels_in_place"):
        original = name.removesuffix("_in_place")
        of_parts = torch.cat([part[name] for part in shared], dim=2)
        check(name, of_parts, alone[original], exact[original], max(float(exact[original].abs().max()), 1.0))
    for part in shared:
        assert part["gradients"].keys() == exact["gradients"].keys()
        for name, gradient in exact["gradients"].items():
            check(name, part["gradients"][name], alone["gradients"][name], gradient, largest)


@pytest.mark.parametrize(
    "size, num_frames, scope, split", [(size, *case) for size in FRAMES for case in inference_cases(size)]
)
def test_processes_code_a_video_as_one(size: int, num_frames: int, scope: NormScope, split: SplitName, results) -> None:
    expected = infer(make_autoencoder(dataclasses.replace(CONFIG, norm_scope=scope), torch.float64), num_frames)
    assert isinstance(expected, dict)
    for of_rank in results[size]:
        found = of_rank[f"{num_frames} {scope} {split}"]
        if size > 3 and split == "rows":
            assert "height: expected at least 4 latent rows of 8 each" in found
            continue
        if scope == "clip" and split == "frames":
            if num_frames < 1 + 4 * (size - 1):
                assert found == f"num_frames: expected at least {1 + 4 * (size - 1)} for {size} processes, got 1"
                continue
            del found["sizes"]  # a clip is one chunk, but its parts come one by one
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("split", ["frames", "rows"])
@pytest.mark.parametrize("size", FRAMES)
def test_what_was_stopped_leaves_nothing_behind(size: int, split: SplitName, results) -> None:
    expected = stop_and_decode(make_autoencoder(CONFIG, torch.float32))
    for of_rank in results[size]:
        torch.testing.assert_close(of_rank[f"stopped {split}"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("split", ["frames", "rows"])
@pytest.mark.parametrize("size", FRAMES)
def test_under_autocast(size: int, split: SplitName, results) -> None:
    expected = decode_under_autocast(make_autoencoder(CONFIG, torch.float32))
    for of_rank in results[size]:
        found = of_rank[f"autocast {split}"]
        assert found.dtype == expected.dtype
        assert float((found - expected).float().square().mean()) < 1e-3 * float(expected.float().square().mean())


@pytest.mark.parametrize("split", ["frames", "rows"])
@pytest.mark.parametrize("size", FRAMES)
def test_all_refuse_what_one_refuses(size: int, split: SplitName, results) -> None:
    for of_rank in results[size]:
        assert "height" in of_rank[f"wrong size {split}"]


@pytest.mark.parametrize(
    "num_frames, num_parts, multiple, expected",
    [(17, 2, 4, [9, 8]), (17, 3, 4, [5, 4, 8]), (16, 3, 4, [4, 4, 8]), (5, 2, 4, [1, 4]), (7, 3, 1, [2, 2, 3])],
)
def test_parts_are_even(num_frames: int, num_parts: int, multiple: int, expected: list[int]) -> None:
    assert split_evenly(num_frames, num_parts, multiple) == expected


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((18, 2, 4), r"num_frames: expected k \* 4 or k \* 4 \+ 1, got 18"),
        ((4, 2, 4), "num_frames: expected at least 8 for 2 processes, got 4"),
        ((1, 2, 4), "num_frames: expected at least 5 for 2 processes, got 1"),
    ],
)
def test_clips_that_cannot_be_cut(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_evenly(*arguments)
