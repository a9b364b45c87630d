"""Peak memory of whole generations at full size: 9 frames of 256x384, 2 steps, bfloat16; Linux.

Writes 2B and 5B checkpoints with random weights and a text encoder of T5-XXL's shape (25 GB, removed at the end) and
generates from each in a fresh process. Not part of `benchmarks.all`: it takes a quarter of an hour.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import PEAK_MEMORY, Result, main, run_python

SHARD_BYTES = 5 * 10**9
LIMIT_GIB = 13.0
INT8_LIMIT_GIB = 8.0
OURS = """
import sys
from cogvideox import VideoGenerator
generator = VideoGenerator.load(sys.argv[1], dtype="bfloat16", quantization=sys.argv[2] if sys.argv[2:] else None)
generator.text_to_video("a cat", num_frames=9, height_px=256, width_px=384, num_steps=2)
print(_status("VmHWM") / 1024)
"""
DIFFUSERS = """
import sys, torch
from diffusers import CogVideoXPipeline
pipeline = CogVideoXPipeline.from_pretrained(sys.argv[1], torch_dtype=torch.bfloat16)
pipeline("a cat", num_frames=9, height=256, width=384, num_inference_steps=2)
print(_status("VmHWM") / 1024)
"""


def measure(rounds: int) -> Sequence[Result]:
    del rounds
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        small, large = (write_checkpoint(name, Path(folder)) for name in ("2b", "5b"))
        gib = {name: float(run_python(PEAK_MEMORY + OURS, str(path))) for name, path in (("2b", small), ("5b", large))}
        int8_gib = float(run_python(PEAK_MEMORY + OURS, str(large), "int8"))
        theirs = float(run_python(PEAK_MEMORY + DIFFUSERS, str(small)))
    size = "9x256x384, 2 steps, whole process"
    return [
        Result(f"peak memory, 5B, {size}", "the limit", gib["5b"], LIMIT_GIB, "GiB", target=1.0),
        Result(f"peak memory, 5B, int8, {size}", "the limit", int8_gib, INT8_LIMIT_GIB, "GiB", target=1.0),
        Result(f"peak memory, 2B, {size}", "diffusers", gib["2b"], theirs, "GiB"),
    ]


def write_checkpoint(name: str, folder: Path) -> Path:
    """Write a published shape with random weights; both names share one text encoder by a link."""
    import torch
    from transformers import T5Config, T5EncoderModel

    from cogvideox.checkpoints.directory import EMBEDDED, write_model_index, write_scheduler
    from cogvideox.models.autoencoder import VideoAutoencoder
    from cogvideox.models.transformer import ExpertTransformer
    from cogvideox.presets import PRESETS

    preset, directory = PRESETS[name], folder / name
    directory.mkdir()
    with torch.device("meta"):
        transformer, autoencoder = ExpertTransformer(preset.transformer), VideoAutoencoder(preset.autoencoder)
    for part, model, class_name in (
        ("transformer", transformer, "CogVideoXTransformer3DModel"),
        ("vae", autoencoder, "AutoencoderKLCogVideoX"),
    ):
        _write_random(model.state_dict(), directory / part, "diffusion_pytorch_model")
        config = {"_class_name": class_name} | model.config.to_json()
        (directory / part / "config.json").write_text(json.dumps(config))
    text_encoder = folder / "text_encoder"
    if not text_encoder.exists():
        config = T5Config(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, vocab_size=32128)
        config.feed_forward_proj, config.is_gated_act, config.dense_act_fn = "gated-gelu", True, "gelu_new"
        with torch.device("meta"):
            model = T5EncoderModel(config)
        weights = {key: value for key, value in model.state_dict().items() if key != "encoder.embed_tokens.weight"}
        _write_random(weights, text_encoder, "model")
        config.save_pretrained(text_encoder)
    (directory / "text_encoder").symlink_to(text_encoder)
    shutil.copytree(EMBEDDED / "tiny" / "tokenizer", directory / "tokenizer")
    write_model_index(directory, scheduler_class=preset.scheduler_class)
    write_scheduler(directory, preset.noise_schedule, scheduler_class=preset.scheduler_class)
    return directory


def _write_random(weights: dict, folder: Path, stem: str) -> None:
    """Write bfloat16 numbers of deviation 0.02 in shards, as published files have them."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    numbers = (torch.randn(2**26) * 0.02).bfloat16()
    shards: list[dict] = [{}]
    for key, value in weights.items():
        if sum(2 * held.numel() for held in shards[-1].values()) > SHARD_BYTES:
            shards.append({})
        shards[-1][key] = value
    names = [f"{stem}-{index + 1:05d}-of-{len(shards):05d}.safetensors" for index in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        repeats = {key: -(-value.numel() // len(numbers)) for key, value in shard.items()}
        filled = {
            key: numbers.repeat(repeats[key])[: value.numel()].view(value.shape).clone() for key, value in shard.items()
        }
        save_file(filled, folder / name, metadata={"format": "pt"})
    weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    sys.exit(main(measure, default_rounds=1))
