"""The embedded model in diffusers: trained weights, the same seed, the same frames."""

import json

import numpy as np
import pytest
import torch
from diffusers import CogVideoXPipeline

from cogvideox import VideoGenerator
from cogvideox.checkpoints.directory import EMBEDDED

pytestmark = pytest.mark.slow

MAX_BYTES = 50_000_000


@pytest.mark.parametrize(
    ("prompt", "seed"), [("a cat walks to the right on a beach", 0), ("a robot spins around at night in the rain", 7)]
)
def test_diffusers_makes_our_frames(prompt: str, seed: int) -> None:
    directory = EMBEDDED / "tiny"
    config = json.loads((directory / "transformer" / "config.json").read_text())
    pipeline = CogVideoXPipeline.from_pretrained(directory, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(
        prompt,
        num_frames=17,
        height=64,
        width=96,
        num_inference_steps=12,
        guidance_scale=6.0,
        generator=torch.Generator().manual_seed(seed),
        max_sequence_length=config["max_text_seq_length"],
        output_type="np",
    )
    expected = (output.frames[0] * 255).round().astype(np.uint8)
    video = VideoGenerator.load("tiny", dtype="float32").text_to_video(prompt, num_steps=12, seed=seed)
    assert video.frames.shape == expected.shape
    assert np.abs(video.frames.astype(int) - expected).max() <= 2
    assert video.frames.std() > 10  # a picture, not a flat colour


def test_weights_are_small_bfloat16_safetensors() -> None:
    files = [path for path in (EMBEDDED / "tiny").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".ckpt", ".pkl")]
    from safetensors import safe_open

    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as reader:
                assert {reader.get_tensor(key).dtype for key in reader.keys()} == {torch.bfloat16}  # noqa: SIM118
