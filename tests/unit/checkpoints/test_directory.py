import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXPipeline
from safetensors.torch import load_file, save_file

from cogvideox import ExpertTransformer, VideoAutoencoder, VideoGenerator
from cogvideox.checkpoints.directory import find_checkpoint, read_configs, write_model_index, write_scheduler
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


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def fill_with_nan(weights: dict[str, torch.Tensor]) -> None:
    weights[sorted(weights)[3]].flatten()[0] = float("nan")


TRANSFORMER_FILE = "transformer/diffusion_pytorch_model.safetensors"
VAE_FILE = "vae/diffusion_pytorch_model.safetensors"
TEXT_FILE = "text_encoder/model.safetensors"
BREAKAGES = {
    "no model_index.json": (lambda d: (d / "model_index.json").unlink(), "model_index.json"),
    "broken json": (lambda d: (d / "model_index.json").write_text("{"), "not readable as JSON"),
    "no transformer folder": (lambda d: shutil.rmtree(d / "transformer"), "transformer/ folder is missing"),
    "no tokenizer folder": (lambda d: shutil.rmtree(d / "tokenizer"), "tokenizer/ folder is missing"),
    "empty text encoder": (lambda d: (d / TEXT_FILE).unlink(), f"{TEXT_FILE}: missing weights"),
    "truncated text encoder": (lambda d: truncate(d / TEXT_FILE), f"{TEXT_FILE}: damaged weights"),
    "NaN in the text encoder": (lambda d: edit_weights(d / TEXT_FILE, fill_with_nan), f"{TEXT_FILE}: weight .*NaN"),
    "text encoder without a layer": (
        lambda d: edit_weights(d / TEXT_FILE, lambda w: w.pop("encoder.block.1.layer.0.SelfAttention.q.weight")),
        f"{TEXT_FILE}: 1 weights are missing .*first encoder.block.1.layer.0.SelfAttention.q.weight",
    ),
    "text encoder of another width": (
        lambda d: edit_json(d / "text_encoder/config.json", d_ff=32),
        f"{TEXT_FILE}: weight encoder.block.0.layer.1.DenseReluDense.* expects shape",
    ),
    "text encoder config of a wrong type": (
        lambda d: edit_json(d / "text_encoder/config.json", num_layers="two"),
        "text_encoder: no usable text encoder",
    ),
    "text encoder config is a list": (lambda d: (d / "text_encoder/config.json").write_text("[]"), "JSON object"),
    "no vocabulary": (lambda d: (d / "tokenizer/tokenizer.json").unlink(), "neither spiece.model nor tokenizer.json"),
    "index without files": (
        lambda d: (d / f"{TRANSFORMER_FILE}.index.json").write_text('{"weight_map": {"a": 3}}'),
        "index.json: weight_map: expected the file",
    ),
    "index that leaves the folder": (
        lambda d: (d / f"{TRANSFORMER_FILE}.index.json").write_text('{"weight_map": {"a": "../vae/w.safetensors"}}'),
        "index.json: weight_map: expected the file",
    ),
    "other input channels": (
        lambda d: edit_json(d / "transformer/config.json", in_channels=24),
        "transformer/config.json: in_channels",
    ),
    "damaged tokenizer": (lambda d: (d / "tokenizer/tokenizer.json").write_text("no model"), "no usable tokenizer"),
    "NaN": (lambda d: edit_weights(d / VAE_FILE, fill_with_nan), f"{VAE_FILE}: weight .*: NaN or infinite"),
    "pickle": (
        lambda d: (d / TRANSFORMER_FILE).rename(d / "transformer/diffusion_pytorch_model.bin"),
        "diffusion_pytorch_model.bin is a pickle file",
    ),
    "an extra weight": (
        lambda d: edit_weights(d / VAE_FILE, lambda w: w.update(extra=torch.zeros(1))),
        f"{VAE_FILE}: unexpected weight extra",
    ),
    "a missing weight": (
        lambda d: edit_weights(d / TRANSFORMER_FILE, lambda w: w.pop("proj_out.bias")),
        f"{TRANSFORMER_FILE}: 1 weights are missing .* first proj_out.bias",
    ),
    "other latent channels": (
        lambda d: edit_json(d / "transformer/config.json", out_channels=8),
        "8 channels .*vae/config.json",
    ),
    "other text width": (lambda d: edit_json(d / "transformer/config.json", text_embed_dim=16), "text_embed_dim"),
    "no schedule": (lambda d: (d / "scheduler/scheduler_config.json").unlink(), "scheduler_config.json"),
    "no weights": (lambda d: (d / "vae" / "diffusion_pytorch_model.safetensors").unlink(), "missing weights"),
    "truncated": (lambda d: truncate(d / "transformer" / "diffusion_pytorch_model.safetensors"), "damaged weights"),
    "other shape": (lambda d: edit_json(d / "vae" / "config.json", layers_per_block=2), "are missing that"),
    "other depth": (
        lambda d: edit_json(d / "transformer" / "config.json", num_layers=3),
        "are missing that config.json asks for",
    ),
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


WRONG_VALUES = [
    ("transformer", "num_layers", 2.5),
    ("transformer", "num_layers", None),
    ("transformer", "time_embed_dim", -4),
    ("transformer", "sample_height", "60"),
    ("transformer", "sample_frames", None),
    ("transformer", "temporal_compression_ratio", 0),
    ("transformer", "activation_fn", "geglu"),
    ("vae", "norm_num_groups", 0),
    ("vae", "scaling_factor", "0.7"),
    ("vae", "scaling_factor", 0),
    ("vae", "scaling_factor", None),
    ("vae", "layers_per_block", -1),
    ("vae", "temporal_compression_ratio", 3),
    ("vae", "block_out_channels", [32, -32, 32, 32]),
    ("vae", "block_out_channels", "wide"),
    ("vae", "down_block_types", ["DownBlock"] * 4),
    ("scheduler", "beta_start", -1),
    ("scheduler", "beta_start", "a"),
    ("scheduler", "beta_end", float("nan")),
    ("scheduler", "num_train_timesteps", 0),
    ("scheduler", "trained_betas", [0.1]),
    ("scheduler", "timestep_spacing", "karras"),
]


@pytest.mark.parametrize(("component", "field", "value"), WRONG_VALUES)
def test_wrong_configuration_values_are_named(copy: Path, component: str, field: str, value: object) -> None:
    name = "scheduler_config.json" if component == "scheduler" else "config.json"
    edit_json(copy / component / name, **{field: value})
    with pytest.raises(CheckpointError, match=rf"{component}/{name}: .*{field}"):
        read_configs(copy)


def test_whole_numbers_may_be_written_as_floats(copy: Path) -> None:
    edit_json(copy / "vae" / "config.json", temporal_compression_ratio=4.0)
    assert read_configs(copy).autoencoder.temporal_compression_ratio == 4


def test_fields_of_other_schedulers_are_no_damage(copy: Path) -> None:
    edit_json(copy / "scheduler" / "scheduler_config.json", thresholding=False, variance_type="fixed")
    assert read_configs(copy).noise_schedule.prediction_type == "v_prediction"


def test_unknown_name() -> None:
    with pytest.raises(CheckpointError, match="neither a checkpoint directory, an embedded model"):
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


def test_saving_over_shards_leaves_none_of_them(random_checkpoint: Path, tmp_path: Path) -> None:
    from diffusers import CogVideoXTransformer3DModel

    reference = CogVideoXTransformer3DModel.from_pretrained(random_checkpoint / "transformer")
    reference.save_pretrained(tmp_path, max_shard_size="2MB")
    model = ExpertTransformer.load(tmp_path)
    torch.nn.init.zeros_(model.proj_out.weight)
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert not ExpertTransformer.load(tmp_path).proj_out.weight.any()


def test_a_transformer_saved_with_fused_projections(random_checkpoint: Path, tmp_path: Path) -> None:
    from diffusers import CogVideoXTransformer3DModel

    reference = CogVideoXTransformer3DModel.from_pretrained(random_checkpoint / "transformer")
    reference.fuse_qkv_projections()
    reference.save_pretrained(tmp_path)
    assert ExpertTransformer.load(tmp_path).config.num_layers == 2


def test_a_whole_checkpoint_of_one_variant(random_checkpoint: Path, tmp_path: Path) -> None:
    pipeline = CogVideoXPipeline.from_pretrained(random_checkpoint)
    pipeline.save_pretrained(tmp_path, variant="fp16")
    for variant in (None, "fp16"):
        generator = VideoGenerator.load(tmp_path, dtype="float32", variant=variant)
        assert torch.equal(generator.transformer.proj_out.weight, pipeline.transformer.proj_out.weight)
    with pytest.raises(CheckpointError, match="variant"):
        VideoGenerator.load(tmp_path, variant="bf16")


def test_tokens_that_the_encoder_does_not_know(copy: Path) -> None:
    edit_json(copy / "text_encoder" / "config.json", vocab_size=8)

    def cut(weights: dict[str, torch.Tensor]) -> None:
        for key in [key for key in weights if key.endswith(("shared.weight", "embed_tokens.weight"))]:
            weights[key] = weights[key][:8].clone()

    edit_weights(copy / TEXT_FILE, cut)
    generator = VideoGenerator.load(copy, dtype="float32")
    with pytest.raises(CheckpointError, match="the text encoder knows 8 tokens"):
        generator.text_to_video("the dog and the fox", num_frames=9, height_px=32, width_px=32, num_steps=1)


def test_variants(random_checkpoint: Path, tmp_path: Path) -> None:
    from diffusers import CogVideoXTransformer3DModel

    reference = CogVideoXTransformer3DModel.from_pretrained(random_checkpoint / "transformer")
    reference.save_pretrained(tmp_path, variant="fp16")
    weight = reference.state_dict()["proj_out.weight"]
    assert torch.equal(ExpertTransformer.load(tmp_path).state_dict()["proj_out.weight"], weight)  # the only one
    reference.half().save_pretrained(tmp_path, variant="half", max_shard_size="2MB")
    with pytest.raises(CheckpointError, match=r"only the variants fp16, half"):
        ExpertTransformer.load(tmp_path)
    loaded = ExpertTransformer.load(tmp_path, variant="half", dtype="float16").state_dict()
    assert torch.equal(loaded["proj_out.weight"], weight.half())
    with pytest.raises(CheckpointError, match="only the variants"):
        ExpertTransformer.load(tmp_path, variant="bf16")
