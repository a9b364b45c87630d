"""LoRA adapters against diffusers: the same files give the same frames, fused and live."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import CogVideoXPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from cogvideox import VideoGenerator
from cogvideox.errors import CheckpointError
from random_checkpoint import TEXT_TOKENS

pytestmark = pytest.mark.slow

PROMPT = "the dog and the fox"
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def load_reference(directory: Path) -> CogVideoXPipeline:
    pipeline = CogVideoXPipeline.from_pretrained(directory, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_adapter(directory: Path, folder: Path, *, seed: int, has_metadata: bool = True, **config) -> Path:
    """Write a random adapter as diffusers' training scripts do."""
    pipeline = load_reference(directory)
    pipeline.transformer.add_adapter(LoraConfig(init_lora_weights=False, **config))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in pipeline.transformer.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    layers = get_peft_model_state_dict(pipeline.transformer)
    metadata = pipeline.transformer.peft_config["default"].to_dict() if has_metadata else None
    pipeline.save_lora_weights(folder, transformer_lora_layers=layers, transformer_lora_adapter_metadata=metadata)
    return folder


def reference_frames(pipeline: CogVideoXPipeline) -> np.ndarray:
    output = pipeline(
        PROMPT,
        num_frames=9,
        height=32,
        width=48,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
        max_sequence_length=TEXT_TOKENS,
        output_type="np",
    )
    return (output.frames[0] * 255).round().astype(int)


def our_frames(generator: VideoGenerator) -> np.ndarray:
    size = {"num_frames": 9, "height_px": 32, "width_px": 48, "num_steps": 2}
    return generator.text_to_video(PROMPT, seed=3, **size).frames.astype(int)


def assert_same(frames: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(frames - expected).max() <= 1


@pytest.mark.parametrize("name", [None, "style"])
@pytest.mark.parametrize(
    ("has_metadata", "config"),
    [
        (True, {"r": 4, "lora_alpha": 8, "target_modules": ATTENTION}),
        (False, {"r": 4, "lora_alpha": 8, "target_modules": ATTENTION}),
        (True, {"r": 4, "lora_alpha": 2, "target_modules": ["to_q", "ff.net.0.proj", "ff.net.2", "proj_out"]}),
        (True, {"r": 4, "lora_alpha": 2, "target_modules": ATTENTION, "rank_pattern": {"to_k": 2}}),
        (True, {"r": 4, "target_modules": ATTENTION, "alpha_pattern": {"transformer_blocks.1.attn1.to_v": 20}}),
    ],
)
def test_one_adapter(random_checkpoint: Path, tmp_path: Path, name, has_metadata: bool, config: dict) -> None:
    folder = write_adapter(random_checkpoint, tmp_path, seed=1, has_metadata=has_metadata, **config)
    pipeline = load_reference(random_checkpoint)
    plain = reference_frames(pipeline)
    pipeline.load_lora_weights(folder)
    expected = reference_frames(pipeline)
    assert np.abs(plain - expected).mean() > 1, "the adapter must matter"
    generator = VideoGenerator.load(random_checkpoint, dtype="float32")
    generator.load_lora(folder, name=name)
    assert_same(our_frames(generator), expected)
    if name is not None:
        with pytest.raises(ValueError, match="'style' already"):
            generator.load_lora(folder, name=name)
        generator.weight_lora(name, 0.0)
        assert_same(our_frames(generator), plain)


@pytest.mark.parametrize("is_staged", [False, True])
@pytest.mark.parametrize("names", [(None, None), ("a", "b"), (None, "b"), ("a", None)])
def test_two_adapters_with_weights(random_checkpoint: Path, tmp_path: Path, names, is_staged: bool) -> None:
    folders = [
        write_adapter(random_checkpoint, tmp_path / str(seed), seed=seed, r=rank, target_modules=targets)
        for seed, rank, targets in ((1, 4, ATTENTION), (2, 2, ["to_q", "ff.net.2"]))
    ]
    pipeline = load_reference(random_checkpoint)
    for folder, adapter in zip(folders, "ab", strict=True):
        pipeline.load_lora_weights(folder, adapter_name=adapter)
    pipeline.set_adapters(["a", "b"], [0.7, -0.4])
    generator = VideoGenerator.load(random_checkpoint, dtype="float32", is_staged=is_staged)
    for folder, name, weight in zip(folders, names, (0.7, -0.4), strict=True):
        generator.load_lora(folder, weight=weight, name=name)
    assert_same(our_frames(generator), reference_frames(pipeline))


def kohya(key: str) -> str:
    name, _, part = key.removeprefix("transformer.").rpartition(".lora_")
    return f"lora_unet__{name.replace('.', '_')}.lora_" + {"A.weight": "down.weight", "B.weight": "up.weight"}[part]


DIALECTS = {
    "kohya": kohya,
    "sat export": lambda key: key.removeprefix("transformer."),
    "peft": lambda key: f"base_model.model.{key.removeprefix('transformer.')}",
    "old diffusers": lambda key: key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_other_dialects(random_checkpoint: Path, tmp_path: Path, dialect: str) -> None:
    folder = write_adapter(random_checkpoint, tmp_path, seed=1, has_metadata=False, r=4, target_modules=ATTENTION)
    tensors = load_file(folder / "pytorch_lora_weights.safetensors")
    renamed = {DIALECTS[dialect](key): tensor for key, tensor in tensors.items()}
    if dialect == "kohya":
        renamed |= {key.replace("lora_down.weight", "alpha"): torch.tensor(2.0) for key in renamed if "down" in key}
    save_file(renamed, tmp_path / "other.safetensors")
    frames = []
    for path, weight in ((folder, 0.5 if dialect == "kohya" else 1.0), (tmp_path / "other.safetensors", 1.0)):
        generator = VideoGenerator.load(random_checkpoint, dtype="float32")
        generator.load_lora(path, weight=weight)
        frames.append(our_frames(generator))
    assert_same(*frames)


def damage(tensors: dict, what: str) -> dict:
    key = "transformer.transformer_blocks.1.attn1.to_k.lora_A.weight"
    down = tensors[key]
    return {
        "target": {key.replace("attn1", "attn7"): down, key.replace("attn1", "attn7").replace("_A", "_B"): down.T},
        "rank": tensors | {key: down[:2].contiguous()},
        "size": tensors | {key: down[:, :-1].contiguous()},
        "half": {name: tensor for name, tensor in tensors.items() if name != key},
        "foreign": tensors | {"transformer.transformer_blocks.1.attn1.to_k.lora_magnitude_vector": down[0]},
        "empty": {},
    }[what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("target", r"transformer_blocks\.1\.attn7\.to_k.*no such linear layer"),
        ("rank", r"transformer_blocks\.1\.attn1\.to_k.*ranks differ"),
        ("size", r"transformer_blocks\.1\.attn1\.to_k.*made for a 256x255 weight, this one is 256x256"),
        ("half", r"transformer_blocks\.1\.attn1\.to_k.*down matrix is missing"),
        ("foreign", "lora_magnitude_vector.*not a tensor of a LoRA"),
        ("empty", "no tensors"),
    ],
)
@pytest.mark.parametrize("name", [None, "style"])
def test_what_does_not_fit_is_named_and_changes_nothing(
    random_checkpoint: Path, tmp_path: Path, what: str, message: str, name: str | None
) -> None:
    folder = write_adapter(random_checkpoint, tmp_path, seed=1, has_metadata=False, r=4, target_modules=ATTENTION)
    tensors = load_file(folder / "pytorch_lora_weights.safetensors")
    save_file({k: v.contiguous().clone() for k, v in damage(tensors, what).items()}, tmp_path / "bad.safetensors")
    generator = VideoGenerator.load(random_checkpoint, dtype="float32")
    before = {key: value.clone() for key, value in generator.transformer.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        generator.load_lora(tmp_path / "bad.safetensors", name=name)
    after = generator.transformer.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], before[key]) for key in before)


def test_files_that_are_no_adapters(random_checkpoint: Path, tmp_path: Path) -> None:
    generator = VideoGenerator.load(random_checkpoint, dtype="float32")
    (tmp_path / "text.safetensors").write_text("text")
    (tmp_path / "old.bin").write_bytes(b"")
    for name, message in (("text.safetensors", "not a readable"), ("old.bin", "pickled"), ("none", "no such file")):
        with pytest.raises(CheckpointError, match=message):
            generator.load_lora(tmp_path / name)
    with pytest.raises(ValueError, match="finite"):
        generator.load_lora(tmp_path, weight=float("nan"))
    with pytest.raises(ValueError, match="none was loaded"):
        generator.weight_lora("style", 1.0)


def test_peft_folder_with_its_own_alpha(random_checkpoint: Path, tmp_path: Path) -> None:
    folder = write_adapter(random_checkpoint, tmp_path, seed=1, has_metadata=False, r=4, target_modules=ATTENTION)
    tensors = load_file(folder / "pytorch_lora_weights.safetensors")
    peft_folder = tmp_path / "peft"
    peft_folder.mkdir()
    renamed = {DIALECTS["peft"](key): tensor for key, tensor in tensors.items()}
    save_file(renamed, peft_folder / "adapter_model.safetensors")
    (peft_folder / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 2}))
    frames = []
    for path, weight in ((folder, 0.5), (peft_folder, 1.0)):
        generator = VideoGenerator.load(random_checkpoint, dtype="float32")
        generator.load_lora(path, weight=weight)
        frames.append(our_frames(generator))
    assert_same(*frames)


@pytest.mark.parametrize("damage", ["NaN", "metadata", "alpha", "rank 0"])
def test_damaged_adapters_are_refused(damage: str, tmp_path: Path, random_checkpoint: Path) -> None:
    name = "transformer.transformer_blocks.0.attn1.to_q"
    rank = 0 if damage == "rank 0" else 4
    tensors = {f"{name}.lora_A.weight": torch.ones(rank, 256), f"{name}.lora_B.weight": torch.ones(256, rank)}
    if damage == "NaN":
        tensors[f"{name}.lora_A.weight"][0, 0] = torch.nan
    if damage == "alpha":
        tensors[f"{name}.alpha"] = torch.ones(2)
    save_file(tensors, tmp_path / "a.safetensors", {"lora_adapter_metadata": "[1]"} if damage == "metadata" else None)
    generator = VideoGenerator.load(random_checkpoint, dtype="float32")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: "):
        generator.load_lora(tmp_path / "a.safetensors")
