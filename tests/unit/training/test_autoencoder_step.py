"""The autoencoder's training step, small, on art drawn by our own code."""

import dataclasses
from pathlib import Path

import pytest
import torch

from cogvideox.configs import AutoencoderConfig
from cogvideox.data.stage_world import draw_simple_art
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.presets import PRESETS
from cogvideox.training.autoencoder_step import AutoencoderRecipe, AutoencoderStep
from cogvideox.training.loop import RunSettings

pytestmark = pytest.mark.slow

ART = draw_simple_art()
RUN = RunSettings(num_steps=12, batch_size=2, learning_rate=2e-3, num_warmup_steps=1, average_decay=0.5)
CPU = torch.device("cpu")
SMALL = dataclasses.replace(
    PRESETS["tiny"],
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
