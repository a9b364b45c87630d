"""`cogvideox train autoencoder` as a user runs it: on a folder of videos, killed, with two processes, misused."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import autoencoder_training
from autoencoder_training import difference, last_state, newest_step, recipe_to_kill, run_in_loop, write_video
from cogvideox.cli.main import main
from cogvideox.models.autoencoder import VideoAutoencoder

pytestmark = pytest.mark.slow

RECIPE = """
[model]
block_out_channels = [4, 8, 8, 8]
layers_per_block = 1
norm_num_groups = 2

[data]
folder = "{folder}/clips"
num_held_out = 1

[loss]
perceptual = "pyramid"

[gan]
start_step = 2
gradient_penalty = 1.0
discriminator = {{ num_channels = 4, num_3d_blocks = 1, num_2d_blocks = 1 }}

[[stages]]
num_steps = 4
learning_rate = 1e-3
num_frames = 9
height_px = 32
width_px = 48
batch_size = 2
image_batch_every = 3
image_batch_size = 4

[[stages]]
num_steps = 3
learning_rate = 1e-3
num_frames = 17
height_px = 32
width_px = 32
batch_size = 2
fps = [8, 16]

[run]
log_every_steps = 1
sample_every_steps = 4
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other at every small layer are slow beside other work."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A recipe, and five videos, two pictures and a damaged file without captions."""
    folder = tmp_path_factory.mktemp("train")
    clips = folder / "clips"
    clips.mkdir()
    for index, num_frames in enumerate((20, 25, 18, 24, 9)):
        write_video(clips / f"{index}.mp4", num_frames)
    for index in range(2):
        Image.new("RGB", (64, 48), (80 * index, 30, 60)).save(clips / f"picture{index}.png")
    (clips / "damaged.mp4").write_bytes(b"no video")
    (folder / "recipe.toml").write_text(RECIPE.format(folder=folder))
    return folder


def run(folder: Path, *arguments: str) -> int:
    """Run the command in this process; return its exit code."""
    with pytest.raises(SystemExit) as raised:
        main(["train", "autoencoder", str(folder / "recipe.toml"), *arguments])
    assert isinstance(raised.value.code, int)
    return raised.value.code


@pytest.fixture(scope="module")
def whole_run(folder: Path) -> Path:
    assert run(folder, "--run-dir", str(folder / "whole")) == 0
    return folder / "whole"


def test_a_folder_without_captions_is_trained_on(whole_run: Path) -> None:
    lines = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == [0, 0, 0, 0, 1, 1, 1]
    assert ["gan_generator" in line for line in lines] == [False, False, True, True, True, True, True]
    names = {"l1", "perceptual", "kl", "adaptive_weight", "gradient_norm", "psnr_db", "num_skipped", "held_out_psnr_db"}
    assert names <= lines[3].keys() and lines[-1]["num_skipped"] == 0
    assert (whole_run / "samples" / "step_0000007.png").exists()
    assert sorted(path.name for path in (whole_run / "checkpoint").iterdir()) == ["vae"]
    model = VideoAutoencoder.load(whole_run / "checkpoint")
    assert model.decode(model.encode(torch.zeros(1, 3, 9, 32, 32)).mode()).shape == (1, 3, 9, 32, 32)


def test_a_finished_run_is_made_longer_by_a_stage_of_more_steps(folder: Path, whole_run: Path, capsys) -> None:
    assert run(folder, "--run-dir", str(whole_run), "--set", "stages.1.num_steps=4") == 0
    printed = capsys.readouterr().err
    assert "step 8/8" in printed and "step 7/8" not in printed
    assert printed.count("damaged.mp4: left out") == 1


def test_two_processes_train_as_one(folder: Path) -> None:
    changes = ["--set", "stages.0.num_steps=3", "stages.1.num_steps=1", "run.sample_every_steps=100"]
    changes += ["stages.0.learning_rate=1e-4", "stages.1.learning_rate=1e-4", "gan.learning_rate=1e-4"]
    arguments = ["-m", "cogvideox", "train", "autoencoder", str(folder / "recipe.toml")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, *arguments, "--run-dir", str(folder / "two"), *changes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert run(folder, "--run-dir", str(folder / "one"), *changes) == 0
    together, alone = last_state(folder / "two"), last_state(folder / "one")
    assert difference(together["model"], alone["model"]) < 1e-5
    assert difference(together["adversary"]["discriminator"], alone["adversary"]["discriminator"]) < 1e-5


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    script = [sys.executable, autoencoder_training.__file__, str(tmp_path / "killed")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exit_code, steps = json.loads(done.stdout)
    assert exit_code == 0 and len({step for step in steps if 0 < step < 16}) >= 3, steps
    run_in_loop(tmp_path / "whole", recipe_to_kill(is_killed=False))
    assert newest_step(tmp_path / "whole") == newest_step(tmp_path / "killed") == 16
    assert difference(last_state(tmp_path / "whole"), last_state(tmp_path / "killed")) == 0
    weights = "checkpoint/vae/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (tmp_path / "killed" / weights).read_bytes()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("stages.0.num_frames=13", 2, "stages[0]: num_frames: expected 8k or 8k + 1, got 13; try 9 or 17"),
        ("stages.1.width_px=36", 2, "stages[1]: width_px: expected a multiple of 8"),
        ("data.folder=nowhere", 2, "no such folder: nowhere"),
        ("stages.1.num_frames=33", 2, "stages[1]: none of the 7 videos of data.folder has 33 frames"),
        ("gan.start_step=7", 2, "gan.start_step: expected less than 7"),
        ("gan.start_steps=1", 2, "did you mean 'start_step'?"),
        ("loss.perceptual=lpips", 2, "lpips_backbone: expected a file"),
        ("loss.perceptual=vgg", 2, "expected one of 'pyramid', 'lpips', 'none'"),
        ("model.latent_chanels=8", 2, "did you mean 'latent_channels'?"),
        ("stages.1.num_context_parallel_ranks=2", 2, "expected a divisor of the 1 processes"),
        ("start=nowhere", 3, "nowhere"),
    ],
)
def test_bad_recipes_are_refused_before_the_first_step(folder: Path, tmp_path, capsys, change, code, message) -> None:
    assert run(folder, "--run-dir", str(tmp_path / "run"), "--set", change) == code
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed and "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_missing_weights_of_lpips_are_named(folder: Path, tmp_path, capsys) -> None:
    files = [f"loss.lpips_{name}={tmp_path}/{name}.pth" for name in ("backbone", "heads")]
    assert run(folder, "--run-dir", str(tmp_path / "run"), "--set", "loss.perceptual=lpips", *files) == 3
    assert "backbone.pth: no such file" in " ".join(capsys.readouterr().err.split())
