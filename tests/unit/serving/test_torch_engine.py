"""The engine with the small model: what is killed goes on and ends alike, and previews show what comes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cogvideox import VideoGenerator
from cogvideox.checkpoints.directory import find_checkpoint
from cogvideox.cli.request import read_settings_file
from cogvideox.errors import CheckpointError
from cogvideox.generation.denoise import DenoiseState
from cogvideox.media.video import read_video
from cogvideox.serving.previews import LatentColours, save_preview
from cogvideox.serving.torch_engine import read_state, write_state
from cogvideox.serving.weight_digests import digests_of
from serving_workers import Bench, bench, kill_engine

PROMPT = "a red ball rolls to the right on a green field"


@pytest.fixture
def work(quick_folder: Path) -> Iterator[Bench]:
    with bench(quick_folder, engine="torch") as made:
        yield made


@pytest.fixture(scope="module")
def generator() -> Iterator[VideoGenerator]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield VideoGenerator.load("tiny")
    torch.set_num_threads(num_threads)


@pytest.mark.slow
def test_a_killed_engine_goes_on_at_its_step_and_ends_with_the_same_frames(
    work: Bench, generator: VideoGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other numbers of threads add up in another order
    size = {"height_px": 128, "width_px": 192, "num_frames": 17}
    job_id = work.submit(PROMPT, seed=7, num_steps=8, sampler="dpmpp-2m-sde", **size)
    worker = work.start()
    work.wait(job_id, lambda job: job.step >= 3)
    kill_engine(worker)
    job = work.wait(job_id)
    assert (job.state, job.attempt, job.num_crashes) == ("completed", 2, 1), job.error_message
    assert 3 <= job.facts["resumed_from_step"] < 8
    times_s = [job.facts[f"seconds_{stage}"] for stage in ("text", "denoise", "vae", "encode")]
    assert all(time_s > 0 for time_s in times_s) and job.finished_us is not None and job.started_us is not None
    assert sum(times_s) < (job.finished_us - job.started_us) / 1e6
    num_steps = 8 - job.facts["resumed_from_step"]
    assert 0 < job.facts["seconds_step"] * num_steps < 2 * job.facts["seconds_denoise"]
    path = tmp_path / "result.mp4"
    path.write_bytes(work.files.read(job.files["result"]))
    expected = generator.text_to_video(PROMPT, seed=7, num_steps=8, sampler="dpmpp-2m-sde", **size)
    expected.save(tmp_path / "expected.mp4")
    assert np.array_equal(read_video(path).frames, read_video(tmp_path / "expected.mp4").frames)
    settings = read_settings_file(path)  # for generate --like
    assert (settings["seed"], settings["prompt"], settings["num_steps"]) == (7, PROMPT, 8)


@pytest.mark.slow
def test_settings_that_the_model_cannot_do_are_the_users(work: Bench) -> None:
    ids = [work.submit("a fox", height_px=40), work.submit("a fox", sampler="none"), work.submit(" ")]
    ids += [work.submit("a fox", task="image"), work.submit("a fox", num_steps=5000)]
    work.start()
    jobs = [work.wait(job_id) for job_id in ids]
    assert {(job.error_code, job.attempt) for job in jobs} == {("invalid_param", 1)}
    names = [(job.error_message or "").partition(":")[0] for job in jobs]
    assert names == ["height_px", "sampler", "prompt", "model", "num_steps"], [job.error_message for job in jobs]


def test_a_state_of_another_run_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    state = DenoiseState(3, torch.randn(1, 4, 2, 4, 6), torch.randn(1, 4, 2, 4, 6), torch.arange(8).byte()[None])
    path = tmp_path / "state"
    write_state(path, state, "digest")
    same = read_state(path, "digest")
    assert same is not None and same.step_index == 3
    assert torch.equal(same.latents, state.latents)
    assert read_state(path, "another") is None
    path.write_bytes(path.read_bytes()[:-5])
    assert read_state(path, "digest") is None


def test_going_on_needs_a_state_of_the_same_shape(generator: VideoGenerator) -> None:
    states: list[DenoiseState] = []
    size = {"num_frames": 1, "height_px": 32, "width_px": 48}
    options = {"num_steps": 3, **size}
    whole = generator.text_to_latents([PROMPT], [1], on_state=lambda state, _: states.append(state), **options)
    rest = generator.text_to_latents([PROMPT], [1], start_state=states[1], **options)
    decoded = generator.text_to_latents([PROMPT], [1], start_state=states[2], **options)
    assert torch.equal(whole, rest) and torch.equal(whole, decoded)
    with pytest.raises(ValueError, match=r"start_state: expected one of this run"):
        generator.text_to_latents([PROMPT], [1], start_state=states[1], **options | {"height_px": 64})


def test_previews_have_the_colours_that_the_video_has(generator: VideoGenerator, tmp_path: Path) -> None:
    colours = LatentColours.of(generator.autoencoder, "d" * 64, tmp_path)
    assert colours.explained > 0.9
    assert torch.equal(LatentColours.of(generator.autoencoder, "d" * 64, tmp_path).weights, colours.weights)
    latents = generator.text_to_latents([PROMPT], [3], num_steps=10, num_frames=17)
    frames = np.concatenate(list(generator.decode_frames(latents)))
    shown = colours.frames(latents[0])
    assert shown.shape == (5, *(size // 8 for size in frames.shape[1:3]), 3)
    means = frames[0].reshape(shown.shape[1], 8, shown.shape[2], 8, 3).mean((1, 3))
    assert np.abs(means - shown[0]).mean() < 20
    save_preview(shown, tmp_path / "preview.webp", fps=2)
    with Image.open(tmp_path / "preview.webp") as image:
        assert (image.format, getattr(image, "n_frames", 1), max(image.size)) == ("WEBP", 5, 160)


def test_weights_that_rotted_on_the_disk_are_refused_by_name(tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(find_checkpoint("tiny"), copy)
    before = digests_of(copy, tmp_path / "cache")
    assert digests_of(copy, tmp_path / "cache") == before
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(CheckpointError, match=r"vae/diffusion_pytorch_model.safetensors: its content has changed"):
        digests_of(copy, tmp_path / "cache")
    os.utime(path)  # somebody wrote it: another model
    after = digests_of(copy, tmp_path / "cache")
    assert after["vae"] != before["vae"] and after["transformer"] == before["transformer"]
