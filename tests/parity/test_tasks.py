"""Image-to-video and video-to-video against diffusers' pipelines: the same checkpoint, pictures and seed."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from cogvideox import VideoGenerator
from random_checkpoint import TEXT_TOKENS, write_random_checkpoint

pytestmark = pytest.mark.slow

PROMPT = "the dog and the fox"
IMAGE_TO_VIDEO = {"in_channels": 32}
TEMPORAL_PATCHES = {"patch_size_t": 2, "patch_bias": False, "sample_height": 30, "sample_width": 30}
IMAGE_MODELS = {
    "5b-i2v": {"transformer_changes": IMAGE_TO_VIDEO | {"use_learned_positional_embeddings": True}},
    "5b-i2v dpm, other lengths": {
        "transformer_changes": IMAGE_TO_VIDEO | {"use_learned_positional_embeddings": True, "sample_frames": 9},
        "scheduler": "CogVideoXDPMScheduler",
    },
    "1.5-5b-i2v": {
        "transformer_changes": IMAGE_TO_VIDEO | TEMPORAL_PATCHES | {"ofs_embed_dim": 32},
        "autoencoder_changes": {"invert_scale_latents": True},
    },
    "rotary only": {"transformer_changes": IMAGE_TO_VIDEO},
}
VIDEO_MODELS = {
    "2b": {"transformer_changes": {"use_rotary_positional_embeddings": False}, "snr_shift_scale": 3.0},
    "5b": {"scheduler": "CogVideoXDPMScheduler"},
    "1.5": {"transformer_changes": TEMPORAL_PATCHES, "autoencoder_changes": {"invert_scale_latents": True}},
}


@pytest.fixture(scope="module", params=IMAGE_MODELS)
def image_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = IMAGE_MODELS[request.param] | {"pipeline": "CogVideoXImageToVideoPipeline"}
    return write_random_checkpoint(tmp_path_factory.mktemp("image"), **settings)


@pytest.fixture(scope="module", params=VIDEO_MODELS)
def video_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("video"), **VIDEO_MODELS[request.param])


def pictures(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def reference(pipeline_name: str, directory: Path, *arguments, seeds: list[int], **keywords) -> np.ndarray:
    pipeline = getattr(diffusers, pipeline_name).from_pretrained(directory, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    keywords |= {"max_sequence_length": TEXT_TOKENS, "output_type": "np"}
    frames = pipeline(*arguments, generator=generators if len(seeds) > 1 else generators[0], **keywords).frames
    return (frames * 255).round().astype(int)


def assert_same(videos, expected: np.ndarray) -> None:
    frames = np.stack([video.frames for video in videos]).astype(int)
    assert frames.shape == expected.shape
    assert np.abs(frames - expected).max() <= 1
    assert expected.std() > 5


@pytest.mark.parametrize(("num_frames", "num_steps"), [(17, 3), (9, 2), (8, 2), (1, 2)])
def test_image_to_video(image_model: Path, num_frames: int, num_steps: int) -> None:
    image = pictures(32, 48)
    expected = reference(
        "CogVideoXImageToVideoPipeline",
        image_model,
        Image.fromarray(image),
        PROMPT,
        seeds=[3],
        num_frames=num_frames,
        height=32,
        width=48,
        num_inference_steps=num_steps,
    )
    generator = VideoGenerator.load(image_model, dtype="float32")
    size = {"num_frames": num_frames, "height_px": 32, "width_px": 48, "num_steps": num_steps}
    assert_same([generator.image_to_video(PROMPT, image, seed=3, **size)], expected)
    other = generator.image_to_video(PROMPT, pictures(32, 48, seed=1), seed=3, **size)
    assert np.abs(other.frames - expected[0]).max() > 5, "the image must matter"


def test_portrait_image_to_video(tmp_path: Path) -> None:
    changes = IMAGE_TO_VIDEO | TEMPORAL_PATCHES | {"ofs_embed_dim": 32}
    model = write_random_checkpoint(
        tmp_path, transformer_changes=changes, pipeline="CogVideoXImageToVideoPipeline", snr_shift_scale=1.0
    )
    image = pictures(64, 32)
    size = {"num_frames": 17, "height": 64, "width": 32, "num_inference_steps": 3, "use_dynamic_cfg": True}
    arguments = (Image.fromarray(image), PROMPT)
    expected = reference("CogVideoXImageToVideoPipeline", model, *arguments, seeds=[1], **size)
    video = VideoGenerator.load(model, dtype="float32").image_to_video(
        PROMPT, image, seed=1, num_frames=17, height_px=64, width_px=32, num_steps=3, guidance_mode="published"
    )
    assert_same([video], expected)


def test_a_batch_of_images_is_what_each_gives_alone(tmp_path: Path) -> None:
    """diffusers crashes on two prompts with two images and one generator each."""
    model = write_random_checkpoint(
        tmp_path, transformer_changes=IMAGE_TO_VIDEO, pipeline="CogVideoXImageToVideoPipeline"
    )
    generator = VideoGenerator.load(model, dtype="float32")
    images = [pictures(32, 48, seed=seed) for seed in (1, 2)]
    size = {"num_frames": 9, "height_px": 32, "width_px": 48, "num_steps": 2}
    videos = generator.image_to_videos([PROMPT, "a cat"], images, [5, 6], **size)
    for prompt, image, seed, video in zip([PROMPT, "a cat"], images, [5, 6], videos, strict=True):
        arguments = (Image.fromarray(image), prompt)
        keywords = {"num_frames": 9, "height": 32, "width": 48, "num_inference_steps": 2}
        expected = reference("CogVideoXImageToVideoPipeline", model, *arguments, seeds=[seed], **keywords)
        assert_same([video], expected)


@pytest.mark.parametrize(
    ("num_frames", "num_steps", "strength", "scale"),
    [(17, 3, 0.8, 6.0), (9, 4, 0.5, 1.0), (8, 2, 1.0, 6.0), (16, 7, 0.3, 3.0)],
)
def test_video_to_video(video_model: Path, num_frames: int, num_steps: int, strength: float, scale: float) -> None:
    source = pictures(num_frames, 32, 48)
    arguments = ([Image.fromarray(frame) for frame in source], PROMPT)
    keywords = {"height": 32, "width": 48, "strength": strength, "guidance_scale": scale}
    keywords["num_inference_steps"] = num_steps
    generator = VideoGenerator.load(video_model, dtype="float32")
    size = {"num_frames": num_frames, "height_px": 32, "width_px": 48, "num_steps": num_steps}
    video = generator.video_to_video(PROMPT, source, strength=strength, seed=3, guidance_scale=scale, **size)
    if generator.limits.num_padding_frames((num_frames - 1) // 4 + 1):
        with pytest.raises(ValueError, match="latent frames"):
            reference("CogVideoXVideoToVideoPipeline", video_model, *arguments, seeds=[3], **keywords)
        assert video.frames.shape == (num_frames, 32, 48, 3)
        return
    assert_same([video], reference("CogVideoXVideoToVideoPipeline", video_model, *arguments, seeds=[3], **keywords))
