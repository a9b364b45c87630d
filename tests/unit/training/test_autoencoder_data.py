"""What a VAE run sees: renders and videos of a folder, at drawn rates, cut in time and space."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autoencoder_training import ART, MODEL, make_recipe, make_stage, write_video
from cogvideox.configs import AutoencoderConfig
from cogvideox.data.clip_index import write_shards
from cogvideox.training import autoencoder_data
from cogvideox.training.autoencoder_data import AutoencoderData
from cogvideox.training.autoencoder_recipe import AutoencoderDataSettings, AutoencoderRecipe, AutoencoderStage

CONFIG = AutoencoderConfig.from_json(MODEL)


def make_data(recipe: AutoencoderRecipe) -> AutoencoderData:
    return AutoencoderData(recipe, CONFIG, ART)


def folder_recipe(folder: Path, *stages: AutoencoderStage, **changes) -> AutoencoderRecipe:
    settings = AutoencoderDataSettings(**({"folder": str(folder), "num_held_out": 1} | changes))
    return make_recipe(stages=stages or (make_stage(image_batch_every=0, image_batch_size=0),), data=settings)


def shades(pixels: torch.Tensor) -> list[list[int]]:
    """Return the frame number that the shade of every frame of (B, 3, T, H, W) stands for."""
    means = ((pixels + 1) * 127.5).mean((1, 3, 4))
    return (means / 10).round().int().tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Videos of 25 frames at 16 fps, 20 at 8 fps and 5 at 8 fps, two pictures, and files that cannot be read."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "long.mp4", 25, fps=16)
    for name in ("one", "two", "three"):
        write_video(folder / f"{name}.mp4", 20)
    write_video(folder / "short.mp4", 5)
    for index in range(2):
        Image.new("RGB", (40, 24), (10 * index,) * 3).save(folder / f"picture{index}.png")
    (folder / "damaged.mp4").write_bytes(b"no video")
    return folder


@pytest.mark.parametrize("rate", [8, 16])
def test_windows_have_the_rate_that_was_drawn(folder: Path, rate: int) -> None:
    stage = make_stage(num_frames=9, fps=(rate,), image_batch_every=0, image_batch_size=0, batch_size=4)
    data = make_data(folder_recipe(folder, stage))
    strides = set()
    for step in range(6):
        for frames in shades(data.batch(step).pixels):
            steps = set(np.diff(frames).tolist())
            assert len(steps) == 1
            strides |= steps
    # The video of 16 fps loses every second frame at 8; those of 8 fps keep their own rate at 16.
    assert strides == ({1, 2} if rate == 8 else {1})


def test_rates_are_drawn_from_the_set() -> None:
    """Renders of 8 and 16 fps: neighbouring frames differ half as much."""

    def motion(fps: tuple[int, ...]) -> list[float]:
        stage = make_stage(image_batch_every=0, image_batch_size=0, batch_size=8, fps=fps, height_px=64, width_px=96)
        pixels = make_data(make_recipe(stages=(stage,))).batch(0).pixels
        return pixels.diff(dim=2).abs().mean((1, 2, 3, 4)).tolist()

    slow, fast, mixed = motion((16,)), motion((8,)), motion((8, 16))
    assert sum(slow) < 0.75 * sum(fast)
    kinds = [min((slow[i], fast[i]), key=lambda value, own=own: abs(value - own)) for i, own in enumerate(mixed)]
    assert any(kind == slow[i] for i, kind in enumerate(kinds)) and any(kind == fast[i] for i, kind in enumerate(kinds))


def test_windows_start_at_random_and_are_cut_out_at_random(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gradient = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (48, 64, 3))
    Image.fromarray(gradient).save(tmp_path / "a.png")
    Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / "b.png")
    stage = make_stage(num_frames=1, batch_size=16, image_batch_every=0, image_batch_size=0)
    data = make_data(folder_recipe(tmp_path, stage))
    pixels = data.batch(0).pixels
    assert pixels.shape == (16, 3, 1, 32, 32)
    assert len({round(float(window.mean()), 4) for window in pixels}) > 5


def test_starts_in_time_vary(folder: Path) -> None:
    data = make_data(folder_recipe(folder))
    starts = {frames[0] for step in range(8) for frames in shades(data.batch(step).pixels)}
    assert len(starts) > 4 and max(starts) + 8 <= 19


def test_short_and_damaged_files_are_left_out(folder: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        data = make_data(folder_recipe(folder))
    assert caplog.text.count("damaged.mp4: left out") == 1
    assert "stages[0]: 3 of 7 videos left out: shorter than 9 frames at 8 fps" in caplog.text
    assert data.folder is not None and len(data.folder.held_out) == 1


def test_pictures_and_frames_of_videos_are_images(folder: Path) -> None:
    stage = make_stage(num_frames=1, batch_size=8, image_batch_every=0, image_batch_size=0)
    data = make_data(folder_recipe(folder, stage))
    numbers = {frame for step in range(6) for (frame,) in shades(data.batch(step).pixels)}
    assert len(numbers) > 6


def test_clips_kept_apart_are_never_trained_on(tmp_path: Path) -> None:
    for index in range(4):
        Image.new("RGB", (32, 32), (40 * index,) * 3).save(tmp_path / f"{index}.png")
    stage = make_stage(num_frames=1, batch_size=16, image_batch_every=0, image_batch_size=0)
    data = make_data(folder_recipe(tmp_path, stage, num_held_out=2))
    held_out = {frame for clip in data.held_out() for (frame,) in shades(clip[None])}
    trained = {frame for step in range(8) for (frame,) in shades(data.batch(step).pixels)}
    assert len(held_out) == 2 and len(trained) == 2 and not held_out & trained


def test_renders_and_videos_are_mixed(folder: Path) -> None:
    recipe = folder_recipe(folder, make_stage(image_batch_every=0, image_batch_size=0, batch_size=8), folder_share=0.5)
    pixels = torch.cat([make_data(recipe).batch(step).pixels for step in range(3)])
    is_plain = pixels.std((1, 3, 4)).mean(1) < 0.02
    assert 4 < int(is_plain.sum()) < 20


@pytest.mark.parametrize(
    ("short_side_px", "expected"), [(0, (96, 160)), (64, (64, 107)), (48, (48, 80)), (200, (96, 160))]
)
def test_videos_are_reduced_but_not_enlarged(tmp_path: Path, monkeypatch, short_side_px: int, expected) -> None:
    for index in range(2):
        Image.new("RGB", (160, 96)).save(tmp_path / f"{index}.png")
    stage = make_stage(num_frames=1, image_batch_every=0, image_batch_size=0, short_side_px=short_side_px)
    data = make_data(folder_recipe(tmp_path, stage))
    assert data.folder is not None
    assert data.folder._size_px(0, stage) == expected


def test_small_videos_are_enlarged_to_the_window(tmp_path: Path) -> None:
    for index in range(2):
        Image.new("RGB", (40, 20)).save(tmp_path / f"{index}.png")
    stage = make_stage(num_frames=1, image_batch_every=0, image_batch_size=0)
    data = make_data(folder_recipe(tmp_path, stage))
    assert data.folder is not None and data.folder._size_px(0, stage) == (32, 64)
    assert data.batch(0).pixels.shape[3:] == (32, 32)


def test_a_file_that_goes_bad_is_named_once_and_another_taken(tmp_path: Path, caplog) -> None:
    for index in range(4):
        write_video(tmp_path / f"{index}.mp4", 12)
    recipe = folder_recipe(tmp_path)
    data = make_data(recipe)
    assert data.folder is not None
    (bad,) = [row for row in range(4) if row not in data.folder.held_out][:1]
    (tmp_path / f"{bad}.mp4").write_bytes(b"gone")
    first = [data.batch(step).pixels for step in range(8)]
    assert caplog.text.count(f"{bad}.mp4: left out") == 1
    # That it is known to be bad makes no difference.
    again = [data.batch(step).pixels for step in range(8)]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    for path in tmp_path.iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(ValueError, match="20 files in a row could not be read"):
        data.batch(0)


def test_an_index_is_read_too(folder: Path, tmp_path: Path) -> None:
    clips = [(name, folder / f"{name}.mp4", ["a clip"], {}) for name in ("one", "two", "long")]
    write_shards(tmp_path / "set", clips)
    data = make_data(folder_recipe(tmp_path / "set"))
    frames = shades(data.batch(0).pixels)[0]
    assert set(np.diff(frames).tolist()) <= {1, 2} and len(frames) == 9


@pytest.mark.parametrize("num_processes", [2, 4])
def test_processes_divide_the_batch_of_one(num_processes: int) -> None:
    stages = (make_stage(batch_size=4, image_batch_size=16, num_steps=4),)
    data = make_data(make_recipe(stages=stages))
    for step in (0, 1):
        whole = data.batch(step)
        parts = [data.batch(step, rank=rank, size=num_processes) for rank in range(num_processes)]
        for field in ("pixels", "noise", "has_perceptual"):
            assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(whole, field))


def test_windows_with_more_foreground_are_preferred() -> None:
    def foreground(num_candidates: int) -> float:
        settings = AutoencoderDataSettings(num_crop_candidates=num_candidates)
        stage = make_stage(image_batch_every=0, image_batch_size=0, batch_size=16, height_px=24, width_px=24)
        pixels = make_data(make_recipe(stages=(stage,), data=settings)).batch(0).pixels
        return float((pixels - pixels.median(dim=2, keepdim=True).values).abs().mean())

    assert foreground(8) > 1.3 * foreground(1)


def test_held_out_renders_are_the_same_and_untrained() -> None:
    data = make_data(make_recipe())
    clips = data.held_out()
    assert len(clips) == 4 and all(clip.shape == (3, 17, 64, 96) for clip in clips)
    assert torch.equal(clips[0], make_data(make_recipe()).held_out()[0])


@pytest.mark.parametrize(
    ("changes", "stage", "message"),
    [
        ({"folder": "nowhere"}, {}, "no such folder: nowhere"),
        ({}, {"num_frames": 33}, r"stages\[0\]: none of the 7 videos of data.folder has 33 frames at 8 fps; shorten"),
        ({"num_held_out": 4}, {}, "data.num_held_out: expected fewer than the 4 videos"),
    ],
)
def test_folders_that_do_not_fit_are_refused(folder: Path, changes, stage, message: str) -> None:
    settings = AutoencoderDataSettings(**({"folder": str(folder), "num_held_out": 1} | changes))
    stages = (make_stage(**({"image_batch_every": 0, "image_batch_size": 0} | stage)),)
    with pytest.raises(ValueError, match=message):
        make_data(make_recipe(stages=stages, data=settings))


def test_no_art_is_fetched_for_a_folder_alone(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(autoencoder_data, "load_fluent_art", lambda: pytest.fail("fetched"))
    data = AutoencoderData(dataclasses.replace(folder_recipe(folder)), CONFIG)
    data.batch(0)
    data.held_out()
