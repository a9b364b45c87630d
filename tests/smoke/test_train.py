"""`cogvideox train transformer` and `encode` as a user runs them: on a folder of clips, killed, resumed, misused."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cogvideox import Video
from training_runs import write_start

pytestmark = pytest.mark.slow

RECIPE = """
start = "{start}"
cache_dir = "{folder}/cache"
has_cached_text = true

[data]
folder = "{folder}/clips"

[[stages]]
num_steps = 12
learning_rate = 1e-3
schedule = "cosine"
height_px = 32
width_px = 48
max_duration_s = 1
image_share = 0.5
pack_tokens = 160
num_packs_per_step = 2

[[stages]]
num_steps = 12
learning_rate = 1e-3
height_px = 48
width_px = 64
max_duration_s = 2
pack_tokens = 320

[validation]
num_clips = 1

[samples]
num_prompts = 1
num_steps = 1

[run]
log_every_steps = 1
sample_every_steps = 10
save_every_steps = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, random_checkpoint: Path) -> Path:
    """A recipe, a start, and six clips, two pictures, a damaged clip and one without text."""
    folder = tmp_path_factory.mktemp("train")
    start = write_start(folder / "start", random_checkpoint)
    clips = folder / "clips"
    clips.mkdir()
    rng = np.random.default_rng(0)
    for index, (num_frames, height_px, width_px) in enumerate(
        [(20, 64, 96), (12, 48, 48), (33, 96, 64), (9, 64, 96), (17, 48, 80), (25, 64, 64)]
    ):
        shade = np.linspace(0, 200, num_frames, dtype=np.uint8)[:, None, None, None]
        noise = rng.integers(0, 55, (num_frames, height_px, width_px, 3), dtype=np.uint8)
        Video(shade + noise, fps=8).save(clips / f"{index}.mp4")
        (clips / f"{index}.txt").write_text(f"clip number {index}\nthe {index}th of the clips\n")
    for index in range(2):
        Image.fromarray(rng.integers(0, 255, (80, 64, 3), dtype=np.uint8)).save(clips / f"picture{index}.png")
        (clips / f"picture{index}.txt").write_text("a picture")
    (clips / "damaged.mp4").write_bytes(b"no video")
    (clips / "damaged.txt").write_text("a damaged clip")
    Image.new("RGB", (64, 64)).save(clips / "untold.png")
    (folder / "recipe.toml").write_text(RECIPE.format(start=start, folder=folder))
    return folder


def command(verb: str, folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "cogvideox", *verb.split(), str(folder / "recipe.toml"), *arguments]


def run(verb: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(verb, folder, *arguments), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def whole_run(folder: Path) -> Path:
    encoded = run("encode", folder)
    assert encoded.returncode == 0, encoded.stderr
    assert "damaged.mp4: left out" in encoded.stderr and "untold.png: left out" in encoded.stderr
    done = run("train transformer", folder, "--run-dir", str(folder / "whole"))
    assert done.returncode == 0, done.stderr
    assert "encoding" not in done.stderr
    return folder / "whole"


def last_state(run_dir: Path) -> dict:
    return torch.load(sorted((run_dir / "state").glob("*.pt"))[-1], weights_only=True)["state"]


def assert_equal(first, second, where: str = "state") -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_equal(*pair, f"{where}.{index}")
    else:
        assert first == second, where


def test_a_folder_of_clips_is_trained_on(whole_run: Path) -> None:
    lines = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 25))
    assert lines[-1]["stage"] == 1 and "validation_loss_t500" in lines[-1]
    assert lines[11]["learning_rate"] < 1e-4 < lines[12]["learning_rate"]
    assert (whole_run / "samples" / "step_0000024.png").exists() and list((whole_run / "samples").glob("*.mp4"))
    command = [sys.executable, "-m", "cogvideox", "generate", "a clip", "--model", str(whole_run / "checkpoint")]
    out = whole_run / "clip.mp4"
    size = ["--height", "48", "--width", "64", "--num-frames", "9", "--num-steps", "1", "--dtype", "float32"]
    subprocess.run([*command, *size, "--out", str(out)], check=True, capture_output=True)
    assert out.stat().st_size > 100


def test_a_killed_run_ends_with_the_same_weights(folder: Path, whole_run: Path) -> None:
    rng = random.Random(0)
    run_dir = folder / "killed"
    num_kills = 0
    for _ in range(40):
        process = subprocess.Popen(
            command("train transformer", folder, "--run-dir", str(run_dir)), stderr=subprocess.DEVNULL
        )
        if num_kills < 4:
            # From the moment it has begun: start-up takes most of such a short run.
            while process.poll() is None and not (run_dir / "lock").exists():
                time.sleep(0.05)
            time.sleep(rng.uniform(0.0, 0.4))  # all steps together take a second on a quiet machine
            process.send_signal(signal.SIGKILL)
            num_kills += process.wait() != 0
        if process.wait() == 0:
            break
    assert num_kills >= 2
    assert_equal(last_state(whole_run), last_state(run_dir))
    for name in ("metrics.jsonl", "checkpoint/transformer/diffusion_pytorch_model.safetensors"):
        assert (run_dir / name).read_bytes() == (whole_run / name).read_bytes()


def test_two_processes_train_as_one(folder: Path, whole_run: Path) -> None:
    run_dir = folder / "two"
    changes = ["--set", "num_balanced_ranks=2", "stages.1.num_packs_per_step=2", "run.sample_every_steps=100"]
    arguments = command("train transformer", folder, "--run-dir", str(run_dir), *changes)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, *arguments[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    alone = run("train transformer", folder, "--run-dir", str(folder / "one"), *changes)
    assert alone.returncode == 0, alone.stderr
    first, second = last_state(run_dir)["model"], last_state(folder / "one")["model"]
    assert max(float((value - second[name]).abs().max()) for name, value in first.items()) < 1e-4


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("data.folder=nowhere", 2, "nowhere"),
        ("stages.0.pack_tokens=20", 2, "stages[0]: pack_tokens: expected at least"),
        ("stages.5.num_steps=1", 2, "expected 0 to 1 where it says '5'"),
        ("stages.0.num_step=1", 2, "did you mean 'num_steps'?"),
        ("stages.0.positions=extrapolat", 2, "expected one of 'keep', 'extrapolate', 'interpolate'"),
        ("start=nowhere", 3, "nowhere"),
        ("samples.num_prompts=-1", 2, "num_prompts of 0 or more"),
        ("run.max_gradient_norm=0", 2, "max_gradient_norm: expected a positive number"),
        ("stages.1.min_short_side_px=1000", 2, "stages[1]: no clip is left"),
    ],
)
def test_bad_recipes_are_refused_before_the_first_step(folder: Path, tmp_path, change, code, message) -> None:
    done = run("train transformer", folder, "--run-dir", str(tmp_path / "run"), "--set", change)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    for device in ("cuda", "gpu"):
        done = run("train transformer", folder, "--device", device)
        assert done.returncode == 2, done.stderr
        assert "device: expected one of this machine's (cpu" in " ".join(done.stderr.split())
