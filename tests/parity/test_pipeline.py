"""Whole pipelines against diffusers: the same checkpoint, prompt and seed give the same frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import CogVideoXPipeline

from cogvideox import VideoGenerator
from random_checkpoint import TEXT_TOKENS, write_random_checkpoint

pytestmark = pytest.mark.slow


def reference_frames(directory: Path, prompt: str, *, max_tokens: int, seed: int, **arguments) -> np.ndarray:
    pipeline = CogVideoXPipeline.from_pretrained(directory, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(
        prompt,
        generator=torch.Generator().manual_seed(seed),
        max_sequence_length=max_tokens,
        output_type="np",
        **arguments,
    )
    return (output.frames[0] * 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("num_frames", "height", "width", "scale", "dynamic"),
    [(17, 32, 48, 6.0, False), (9, 32, 32, 1.0, False), (1, 48, 32, 3.0, False), (8, 32, 48, 6.0, True)],
)
def test_frames_match(random_checkpoint: Path, num_frames, height, width, scale, dynamic) -> None:
    expected = reference_frames(
        random_checkpoint,
        "a fox on a hill at night",
        max_tokens=TEXT_TOKENS,
        seed=11,
        num_frames=num_frames,
        height=height,
        width=width,
        num_inference_steps=5,
        guidance_scale=scale,
        use_dynamic_cfg=dynamic,
    )
    video = VideoGenerator.load(random_checkpoint, dtype="float32").text_to_video(
        "a fox on a hill at night",
        seed=11,
        num_frames=num_frames,
        height_px=height,
        width_px=width,
        num_steps=5,
        guidance_scale=scale,
        guidance_mode="published" if dynamic else "constant",
    )
    assert video.frames.shape == expected.shape == (num_frames, height, width, 3)
    assert np.abs(video.frames.astype(int) - expected).max() <= 1
    assert expected.std() > 5  # not a constant picture


SIN_COS = {"use_rotary_positional_embeddings": False}
TEMPORAL_PATCHES = {"patch_size_t": 2, "patch_bias": False, "sample_height": 30, "sample_width": 30}
VARIANTS = {
    "2b": {"transformer_changes": SIN_COS, "snr_shift_scale": 3.0},
    "5b": {"scheduler": "CogVideoXDPMScheduler"},
    "1.5": {"transformer_changes": TEMPORAL_PATCHES, "scheduler": "CogVideoXDPMScheduler"},
    "1.5 ddim": {"transformer_changes": TEMPORAL_PATCHES},
    "class defaults": {
        "transformer_changes": SIN_COS,
        "prediction_type": "epsilon",
        "timestep_spacing": "leading",
        "rescale_betas_zero_snr": False,
    },
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("variant"), **VARIANTS[request.param])


@pytest.mark.parametrize(
    ("num_frames", "height", "width", "num_steps"), [(17, 32, 48, 7), (9, 64, 32, 2), (1, 32, 32, 3)], ids=str
)
def test_frames_of_every_variant_match(variant: Path, num_frames: int, height: int, width: int, num_steps: int) -> None:
    size = {"num_frames": num_frames, "height": height, "width": width, "num_inference_steps": num_steps}
    expected = reference_frames(variant, "the dog and the fox", max_tokens=TEXT_TOKENS, seed=4, **size)
    video = VideoGenerator.load(variant, dtype="float32").text_to_video(
        "the dog and the fox", seed=4, num_frames=num_frames, height_px=height, width_px=width, num_steps=num_steps
    )
    assert video.frames.shape == expected.shape == (num_frames, height, width, 3)
    assert np.abs(video.frames.astype(int) - expected).max() <= 1
    assert expected.std() > 5


def test_a_native_length_that_decodes_to_another_one(tmp_path: Path) -> None:
    directory = write_random_checkpoint(tmp_path, transformer_changes={"sample_frames": 13})
    expected = reference_frames(directory, "snow", max_tokens=TEXT_TOKENS, seed=1, num_inference_steps=1)
    video = VideoGenerator.load(directory, dtype="float32").text_to_video("snow", seed=1, num_steps=1)
    assert video.frames.shape == expected.shape == (16, 32, 48, 3)
    assert np.abs(video.frames.astype(int) - expected).max() <= 1


def test_negative_prompt_and_batches(random_checkpoint: Path) -> None:
    arguments = {"num_frames": 9, "num_inference_steps": 3, "height": 32, "width": 48, "negative_prompt": "snow"}
    generator = VideoGenerator.load(random_checkpoint, dtype="float32")
    prompts, seeds = ["a cat", "the dog and the fox"], [1, 2]
    videos = generator.text_to_videos(
        prompts, seeds, num_frames=9, num_steps=3, height_px=32, width_px=48, negative_prompt="snow"
    )
    for prompt, seed, video in zip(prompts, seeds, videos, strict=True):
        expected = reference_frames(random_checkpoint, prompt, max_tokens=TEXT_TOKENS, seed=seed, **arguments)
        assert np.abs(video.frames.astype(int) - expected).max() <= 1
