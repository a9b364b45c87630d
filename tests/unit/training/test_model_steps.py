"""The autoencoder's and the transformer's training steps, small, on art drawn by our own code."""

import dataclasses
from pathlib import Path

import pytest
import torch

from cogvideox import VideoGenerator
from cogvideox.configs import AutoencoderConfig
from cogvideox.data.latent_cache import LatentCacheSettings, build_latent_cache
from cogvideox.data.stage_world import draw_simple_art
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.presets import PRESETS
from cogvideox.training.autoencoder_step import AutoencoderRecipe, AutoencoderStep
from cogvideox.training.loop import RunSettings
from cogvideox.training.transformer_step import TransformerRecipe, TransformerStep

pytestmark = pytest.mark.slow

ART = draw_simple_art()
RUN = RunSettings(num_steps=12, batch_size=2, learning_rate=2e-3, num_warmup_steps=1, average_decay=0.5)
CPU = torch.device("cpu")
SMALL = dataclasses.replace(
    PRESETS["tiny"],
    transformer=dataclasses.replace(
        PRESETS["tiny"].transformer, num_layers=1, num_attention_heads=1, text_embed_dim=48, max_text_seq_length=24
    ),
    autoencoder=AutoencoderConfig(block_out_channels=(4, 8, 8, 8), layers_per_block=1, norm_num_groups=2),
)


@pytest.fixture
def small_preset(monkeypatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", SMALL)


@pytest.mark.usefixtures("small_preset")
def test_autoencoder_learns_and_saves_what_it_learned(tmp_path: Path) -> None:
    recipe = AutoencoderRecipe(run=RUN, crop_px=32, num_image_steps=8, image_batch_every=2, num_images_per_clip=4)
    step = AutoencoderStep(recipe, CPU, ART)
    assert step.make_batch(0).shape == (8, 3, 1, 32, 32)
    assert step.make_batch(9).shape == (2, 3, 9, 32, 32)
    assert torch.equal(step.make_batch(9), step.make_batch(9))
    assert not torch.equal(step.make_batch(9), step.make_batch(11))
    batch = step.make_batch(9)
    errors = [float(step(batch, 5e-3)["l1"]) for _ in range(12)]
    assert errors[-1] < 0.9 * errors[0]
    scalars = step.write_samples(tmp_path / "sheet.png")
    assert scalars["held_out_psnr_db"] > 5 and (tmp_path / "sheet.png").stat().st_size > 1000
    step.save_checkpoint(tmp_path)
    saved = VideoAutoencoder.load(tmp_path)
    torch.testing.assert_close(saved.encoder.conv_in.conv.bias, step.average.averages["encoder.conv_in.conv.bias"])


def transformer_recipe(tmp_path: Path, checkpoint: Path) -> TransformerRecipe:
    VideoAutoencoder(SMALL.autoencoder).save(tmp_path / "vae")
    return TransformerRecipe(
        run=RUN,
        cache=LatentCacheSettings(num_clips=16),
        autoencoder=str(tmp_path),
        text_encoder=str(checkpoint),
        cache_dir=str(tmp_path / "cache"),
        num_image_steps=2,
    )


@pytest.mark.usefixtures("small_preset")
def test_transformer_learns_and_saves_a_whole_checkpoint(tmp_path: Path, random_checkpoint: Path, monkeypatch) -> None:
    monkeypatch.setattr("cogvideox.data.latent_cache.NUM_CLIPS_PER_SHARD", 8)
    step = TransformerStep(transformer_recipe(tmp_path, random_checkpoint), CPU, art=ART)
    assert abs(step.cache.mean_and_std()[1] * step.scaling_factor - 1) < 1e-3
    latents, captions, _ = step.make_batch(0)
    assert latents.shape == (6, 16, 1, 8, 12) and len(captions) == 6
    losses = []
    for index in range(25):
        latents, captions, _ = step.make_batch(5)
        losses.append(float(step((latents, captions, torch.Generator().manual_seed(index % 2)), 5e-3)["loss_clip"]))
    assert losses[-1] < 0.9 * losses[0]
    step.save_checkpoint(tmp_path / "model")
    generator = VideoGenerator.load(tmp_path / "model", dtype="float32")
    assert generator.autoencoder.config.scaling_factor == step.scaling_factor
    video = generator.text_to_video("a cat", num_frames=1, num_steps=2, height_px=32, width_px=32)
    assert video.frames.shape == (1, 32, 32, 3)
    restored = TransformerStep(step.recipe, CPU, art=ART)
    restored.load_state_dict(step.state_dict())
    assert torch.equal(restored.model.proj_out.weight, step.model.proj_out.weight)


@pytest.mark.usefixtures("small_preset")
def test_captions_are_dropped_at_the_asked_rate(tmp_path: Path, random_checkpoint: Path, monkeypatch) -> None:
    monkeypatch.setattr("cogvideox.data.latent_cache.NUM_CLIPS_PER_SHARD", 8)
    recipe = dataclasses.replace(transformer_recipe(tmp_path, random_checkpoint), caption_dropout=0.3)
    step = TransformerStep(recipe, CPU, art=ART)
    captions = [caption for index in range(200) for caption in step.make_batch(index)[1]]
    assert 0.22 < sum(not caption for caption in captions) / len(captions) < 0.38


def test_a_latent_cache_is_resumed_and_belongs_to_one_autoencoder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("cogvideox.data.latent_cache.NUM_CLIPS_PER_SHARD", 4)
    autoencoder = VideoAutoencoder(SMALL.autoencoder)
    first = build_latent_cache(tmp_path, LatentCacheSettings(num_clips=4, num_frames=9), autoencoder, ART)
    stamp = (tmp_path / "shard_00000.safetensors").stat().st_mtime_ns
    more = build_latent_cache(tmp_path, LatentCacheSettings(num_clips=6, num_frames=9), autoencoder, ART)
    assert (tmp_path / "shard_00000.safetensors").stat().st_mtime_ns == stamp
    assert more.latents.shape == (6, 16, 3, 8, 12) and torch.equal(more.latents[:4], first.latents)
    assert more.captions[:4] == first.captions and len(more.captions[5]) == 4
    with pytest.raises(ValueError, match="another autoencoder"):
        settings = LatentCacheSettings(num_clips=4, num_frames=9)
        build_latent_cache(tmp_path, settings, VideoAutoencoder(SMALL.autoencoder), ART)
