import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXPipeline

from cogvideox import ExpertTransformer, VideoAutoencoder, VideoGenerator
from cogvideox.checkpoints.directory import find_checkpoint, write_model_index, write_scheduler
from cogvideox.errors import CheckpointError
from cogvideox.models.text_encoder import TextEncoder
from cogvideox.presets import PRESETS


@pytest.fixture
def copy(random_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_checkpoint, tmp_path / "model"))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


BREAKAGES = {
    "no model_index.json": (lambda d: (d / "model_index.json").unlink(), "model_index.json"),
    "broken json": (lambda d: (d / "model_index.json").write_text("{"), "not readable as JSON"),
    "no transformer folder": (lambda d: shutil.rmtree(d / "transformer"), "transformer/ folder is missing"),
    "no tokenizer folder": (lambda d: shutil.rmtree(d / "tokenizer"), "tokenizer/ folder is missing"),
    "empty text encoder": (lambda d: (d / "text_encoder" / "model.safetensors").unlink(), "no usable text encoder"),
    "no weights": (lambda d: (d / "vae" / "diffusion_pytorch_model.safetensors").unlink(), "missing weights"),
    "truncated": (lambda d: truncate(d / "transformer" / "diffusion_pytorch_model.safetensors"), "damaged weights"),
    "other shape": (lambda d: edit_json(d / "vae" / "config.json", latent_channels=8), "expects shape"),
    "other depth": (lambda d: edit_json(d / "transformer" / "config.json", num_layers=3), "missing"),
    "unknown field": (
        lambda d: edit_json(d / "vae" / "config.json", latent_chanels=8),
        "did you mean 'latent_channels'",
    ),
    "other scheduler": (lambda d: edit_json(d / "model_index.json", scheduler=["diffusers", "Euler"]), "'Euler'"),
    "other schedule": (
        lambda d: edit_json(d / "scheduler" / "scheduler_config.json", prediction_type="flow"),
        "prediction_type",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_damage_is_named_in_one_line(copy: Path, name: str) -> None:
    break_it, message = BREAKAGES[name]
    break_it(copy)
    with pytest.raises(CheckpointError, match=message) as caught:
        VideoGenerator.load(copy, dtype="float32")
    assert "\n" not in str(caught.value)


def test_unknown_name() -> None:
    with pytest.raises(CheckpointError, match="neither a checkpoint directory nor an embedded model"):
        find_checkpoint("no-such-model")


def test_parts_load_from_the_checkpoint_or_their_folder(random_checkpoint: Path) -> None:
    whole = VideoAutoencoder.load(random_checkpoint)
    part = VideoAutoencoder.load(random_checkpoint / "vae", dtype="bfloat16")
    assert part.dtype == torch.bfloat16 and part.config == whole.config
    assert ExpertTransformer.load(random_checkpoint / "transformer").config.num_layers == 2


def test_what_we_write_diffusers_reads(random_checkpoint: Path, tmp_path: Path) -> None:
    preset = PRESETS["tiny"]
    transformer = ExpertTransformer.load(random_checkpoint)
    transformer.save(tmp_path / "transformer")
    VideoAutoencoder.load(random_checkpoint).save(tmp_path / "vae")
    TextEncoder.load(random_checkpoint).save(tmp_path)
    write_scheduler(tmp_path, preset.noise_schedule, scheduler_class="CogVideoXDDIMScheduler")
    write_model_index(tmp_path, scheduler_class="CogVideoXDDIMScheduler")
    pipeline = CogVideoXPipeline.from_pretrained(tmp_path)
    theirs = pipeline.transformer.state_dict()
    for name, value in transformer.state_dict().items():
        assert torch.equal(theirs[name], value), name
    assert pipeline.scheduler.config.snr_shift_scale == 1.0
    assert not list(tmp_path.rglob("*.tmp"))


def test_sharded_weights(random_checkpoint: Path, tmp_path: Path) -> None:
    from diffusers import CogVideoXTransformer3DModel

    reference = CogVideoXTransformer3DModel.from_pretrained(random_checkpoint / "transformer")
    reference.save_pretrained(tmp_path, max_shard_size="2MB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = ExpertTransformer.load(tmp_path).state_dict()
    for name, value in reference.state_dict().items():
        assert torch.equal(loaded[name], value), name
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="missing weights"):
        ExpertTransformer.load(tmp_path)
