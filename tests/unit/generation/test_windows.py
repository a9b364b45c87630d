from pathlib import Path

import numpy as np
import pytest
import torch

from cogvideox import VideoGenerator
from cogvideox.generation.model_limits import window_starts
from cogvideox.generation.windows import WindowedPredict, repeat_noise
from random_checkpoint import write_random_checkpoint

SMALL = {"height_px": 32, "width_px": 32, "num_steps": 2}


@pytest.mark.parametrize("total", range(1, 40))
@pytest.mark.parametrize("window", [2, 5, 13])
def test_windows_cover_every_frame_and_overlap(total: int, window: int) -> None:
    starts = window_starts(total, window)
    covered = [sum(start <= frame < start + window for start in starts) for frame in range(total)]
    assert starts[0] == 0 and min(covered) >= 1
    if total > window:
        assert starts[-1] == total - window
        steps = np.diff(starts)
        assert steps.min() >= 1 and steps.max() <= max(window // 2, 1), "neighbours share half of a window"


def test_a_clip_of_one_window_is_predicted_as_it_is() -> None:
    latents = torch.randn(1, 4, 5, 2, 2)
    predict = WindowedPredict(lambda x, text, timestep: 2 * x, 5)
    assert torch.allclose(predict(latents, torch.zeros(1), torch.zeros(1)), 2 * latents)


def test_overlaps_are_averages_in_which_first_latents_hardly_count() -> None:
    calls = []

    def predict(x: torch.Tensor, text: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return torch.full_like(x, float(len(calls)))

    output = WindowedPredict(predict, 4)(torch.randn(1, 1, 6, 1, 1), torch.zeros(1), torch.zeros(1)).flatten()
    assert len(calls) == 2
    assert torch.equal(output[:2], torch.ones(2)) and torch.equal(output[4:], torch.full((2,), 2.0))
    assert 1 < output[2] < 1.01 and output[2] < output[3] < 2


def test_noise_of_later_windows_is_that_of_the_first_in_another_order() -> None:
    noise = torch.randn(2, 3, 12, 2, 2)
    repeated = repeat_noise(noise, 5)
    assert repeated.shape == noise.shape and torch.equal(repeated[:, :, :5], noise[:, :, :5])
    later = [frame for frame in range(5, 12)]
    for frame in later:
        assert any(torch.equal(repeated[:, :, frame], noise[:, :, source]) for source in range(1, 5))
    assert torch.equal(repeat_noise(noise, 20), noise)


@pytest.mark.parametrize("num_frames", [25, 40, 49])
@pytest.mark.parametrize("patch_size_t", [None, 2])
def test_long_clips(num_frames: int, patch_size_t: int | None, tmp_path: Path) -> None:
    changes = {"patch_size_t": patch_size_t, "patch_bias": patch_size_t is None, "sample_height": 8, "sample_width": 8}
    model = write_random_checkpoint(tmp_path, transformer_changes=changes)
    generator = VideoGenerator.load(model, dtype="float32")
    video = generator.text_to_video("a cat", num_frames=num_frames, window_frames=17, **SMALL)
    assert video.num_frames == num_frames
    again = generator.text_to_video("a cat", num_frames=num_frames, window_frames=17, **SMALL)
    assert np.array_equal(video.frames, again.frames)
    one = generator.text_to_video("a cat", num_frames=17, **SMALL).frames
    windowed = generator.text_to_video("a cat", num_frames=17, window_frames=17, **SMALL).frames
    assert np.abs(one.astype(int) - windowed).max() <= 1
    source = np.random.default_rng(0).integers(0, 256, (num_frames, 32, 32, 3), dtype=np.uint8)
    options = SMALL | {"num_frames": num_frames, "window_frames": 17}
    assert generator.video_to_video("a cat", source, **options).num_frames == num_frames


@pytest.mark.parametrize(("window_frames", "message"), [(1, "at least 8"), (13, "8k"), (-8, "8k")])
def test_wrong_windows(window_frames: int, message: str, random_checkpoint: Path) -> None:
    generator = VideoGenerator.load(random_checkpoint, dtype="float32")
    with pytest.raises(ValueError, match=message):
        generator.text_to_video("a cat", num_frames=25, window_frames=window_frames, **SMALL)


def test_the_last_image_is_seen_in_the_last_latent_frame(tmp_path: Path) -> None:
    model = write_random_checkpoint(
        tmp_path, transformer_changes={"in_channels": 32}, pipeline="CogVideoXImageToVideoPipeline"
    )
    generator = VideoGenerator.load(model, dtype="float32")
    first, last, other = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    size = SMALL | {"num_frames": 9}
    seen = []
    forward = generator.transformer.embed

    def spy(latents: torch.Tensor, text: torch.Tensor, image_latents: torch.Tensor | None = None):
        seen.append(latents[0, 16:])
        return forward(latents, text, image_latents)

    generator.transformer.embed = spy  # pyright: ignore[reportAttributeAccessIssue]
    generator.image_to_video("a cat", first, **size)
    generator.image_to_video("a cat", first, last_image=last, **size)
    generator.image_to_video("a cat", first, last_image=other, **size)
    without, with_last, with_other = seen[0], seen[2], seen[4]
    assert torch.equal(without[:, 1:], torch.zeros_like(without[:, 1:]))
    assert torch.equal(with_last[:, 0], without[:, 0]) and torch.equal(with_last[:, 1], without[:, 1])
    assert with_last[:, 2].abs().sum() > 0 and not torch.equal(with_last[:, 2], with_other[:, 2])
    with pytest.raises(ValueError, match="last_images: expected a video of more than one frame"):
        generator.image_to_video("a cat", first, last_image=last, **SMALL | {"num_frames": 1})
    with pytest.raises(ValueError, match="window_frames: expected None"):
        generator.image_to_video("a cat", first, window_frames=9, **size)
