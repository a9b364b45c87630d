"""Small random checkpoints as the official training code (SAT) writes them, from the modules in its sources by hand."""

import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HEAD = 16
WIDTH = 2 * HEAD
TIME = 24
TEXT = 40
LATENTS = 16
ENGINE = "model.diffusion_model."
VARIANTS = ("2b", "5b", "5b-i2v", "1.5-5b", "1.5-5b-i2v")


def linear(name: str, num_out: int, *num_in: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (num_out, *num_in), f"{name}.bias": (num_out,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def transformer_shapes(variant: str, num_layers: int = 2, width: int = WIDTH) -> dict[str, tuple[int, ...]]:
    """DiffusionTransformer: sat's BaseTransformer, time_embed, and one mixin per concern."""
    num_in = 2 * LATENTS if variant.endswith("i2v") else LATENTS
    is_1_5 = variant.startswith("1.5")
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(num_layers):
        name = f"transformer.layers.{layer}"
        shapes |= norm(f"{name}.input_layernorm", width)
        shapes |= linear(f"{name}.attention.query_key_value", 3 * width, width)
        shapes |= linear(f"{name}.attention.dense", width, width)
        shapes |= norm(f"{name}.post_attention_layernorm", width)
        shapes |= linear(f"{name}.mlp.dense_h_to_4h", 4 * width, width)
        shapes |= linear(f"{name}.mlp.dense_4h_to_h", width, 4 * width)
        shapes |= linear(f"mixins.adaln_layer.adaLN_modulations.{layer}.1", 12 * width, TIME)
        shapes |= norm(f"mixins.adaln_layer.query_layernorm_list.{layer}", HEAD)
        shapes |= norm(f"mixins.adaln_layer.key_layernorm_list.{layer}", HEAD)
    shapes |= norm("transformer.final_layernorm", width)
    shapes |= linear("time_embed.0", TIME, width) | linear("time_embed.2", TIME, TIME)
    if variant == "1.5-5b-i2v":
        shapes |= linear("ofs_embed.0", TIME, TIME) | linear("ofs_embed.2", TIME, TIME)
    if is_1_5:
        shapes |= linear("mixins.patch_embed.proj", width, num_in * 2 * 2 * 2)
    else:
        shapes |= linear("mixins.patch_embed.proj", width, num_in, 2, 2)
    shapes |= linear("mixins.patch_embed.text_proj", width, TEXT)
    if variant == "5b-i2v":
        shapes["mixins.pos_embed.pos_embedding"] = (1, 226 + 13 * 30 * 45, width)
    shapes |= norm("mixins.final_layer.norm_final", width)
    shapes |= linear("mixins.final_layer.linear", LATENTS * 4 * (2 if is_1_5 else 1), width)
    shapes |= linear("mixins.final_layer.adaLN_modulation.1", 2 * width, TIME)
    return shapes


def residual_block(name: str, num_in: int, num_out: int, latents: int | None) -> dict[str, tuple[int, ...]]:
    """ContextParallelResnetBlock3D; its norms in the decoder are SpatialNorm3D."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, width in ((1, num_in), (2, num_out)):
        shapes |= spatial_norm(f"{name}.norm{index}", width, latents)
        shapes |= linear(f"{name}.conv{index}.conv", num_out, width, 3, 3, 3)
    if num_in != num_out:
        shapes |= linear(f"{name}.nin_shortcut", num_out, num_in, 1, 1, 1)
    return shapes


def spatial_norm(name: str, width: int, latents: int | None) -> dict[str, tuple[int, ...]]:
    if latents is None:
        return norm(name, width)
    shapes = norm(f"{name}.norm_layer", width)
    return (
        shapes
        | linear(f"{name}.conv_y.conv", width, latents, 1, 1, 1)
        | linear(f"{name}.conv_b.conv", width, latents, 1, 1, 1)
    )


def autoencoder_shapes(widths: tuple[int, ...] = (32, 64, 64, 96), num_blocks: int = 1) -> dict[str, tuple[int, ...]]:
    """ContextParallelEncoder3D and ContextParallelDecoder3D: both count stages from the pixels."""
    last = len(widths) - 1
    shapes = linear("encoder.conv_in.conv", widths[0], 3, 3, 3, 3)
    num_in = widths[0]
    for stage, width in enumerate(widths):
        for block in range(num_blocks):
            shapes |= residual_block(f"encoder.down.{stage}.block.{block}", num_in, width, None)
            num_in = width
        if stage != last:
            shapes |= linear(f"encoder.down.{stage}.downsample.conv", width, width, 3, 3)
    for block in (1, 2):
        shapes |= residual_block(f"encoder.mid.block_{block}", widths[-1], widths[-1], None)
    shapes |= norm("encoder.norm_out", widths[-1]) | linear("encoder.conv_out.conv", 2 * LATENTS, widths[-1], 3, 3, 3)
    shapes |= linear("decoder.conv_in.conv", widths[-1], LATENTS, 3, 3, 3)
    for block in (1, 2):
        shapes |= residual_block(f"decoder.mid.block_{block}", widths[-1], widths[-1], LATENTS)
    num_in = widths[-1]
    for stage in reversed(range(len(widths))):
        for block in range(num_blocks + 1):
            shapes |= residual_block(f"decoder.up.{stage}.block.{block}", num_in, widths[stage], LATENTS)
            num_in = widths[stage]
        if stage != 0:
            shapes |= linear(f"decoder.up.{stage}.upsample.conv", num_in, num_in, 3, 3)
    shapes |= spatial_norm("decoder.norm_out", widths[0], LATENTS)
    return shapes | linear("decoder.conv_out.conv", 3, widths[0], 3, 3, 3)


def lora_shapes(num_layers: int, width: int, rank: int) -> dict[str, tuple[int, ...]]:
    """LoraLinear of sat.model.finetune.lora2, in place of two layers of each attention."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(num_layers):
        for module, num_parts in (("query_key_value", 3), ("dense", 1)):
            name = f"transformer.layers.{layer}.attention.{module}"
            shapes |= linear(f"{name}.original", num_parts * width, width)
            for part in range(num_parts):
                shapes[f"{name}.matrix_A.{part}"] = (rank, width)
                shapes[f"{name}.matrix_B.{part}"] = (width, rank)
    return shapes


def random_state(
    shapes: dict[str, tuple[int, ...]], *, seed: int = 0, prefix: str = ENGINE, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {prefix + key: (torch.randn(shape, generator=generator) * 0.1).to(dtype) for key, shape in shapes.items()}


def constants(variant: str) -> dict[str, Tensor]:
    """Tensors of full checkpoints that are no weights of the transformer."""
    left_out = {
        "conditioner.embedders.0.transformer.shared.weight": torch.randn(5, 4),
        "conditioner.embedders.0.transformer.encoder.embed_tokens.weight": torch.randn(5, 4),
        "first_stage_model.encoder.conv_in.conv.weight": torch.randn(4, 3, 3, 3, 3),
        f"{ENGINE}transformer.position_embeddings.weight": torch.randn(3, WIDTH),
    }
    if variant in ("5b", "5b-i2v"):
        for name in ("freqs_sin", "freqs_cos"):
            left_out[f"{ENGINE}mixins.pos_embed.{name}"] = torch.randn(6, HEAD)
    return left_out


def write_transformer(folder: Path, state: dict[str, Tensor], iteration: str = "1000") -> Path:
    """As deepspeed does, with the random states beside the weights."""
    (folder / iteration).mkdir(parents=True)
    (folder / "latest").write_text(iteration)
    extra = {
        "np_rng_state": np.random.get_state(),
        "random_rng_state": random.getstate(),
        "torch_rng_state": torch.get_rng_state(),
        "iteration": int(iteration),
        "param_shapes": [{"a": torch.Size([1, 2])}],
    }
    torch.save({"module": state, **extra}, folder / iteration / "mp_rank_00_model_states.pt")
    return folder


def read_transformer(folder: Path) -> dict[str, Tensor]:
    iteration = (folder / "latest").read_text()
    return torch.load(folder / iteration / "mp_rank_00_model_states.pt", weights_only=True)["module"]


def write_autoencoder(file: Path, state: dict[str, Tensor]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state | {"loss.discriminator.weight": torch.randn(3)}}, file)
    return file


def same_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert value.dtype == right[key].dtype and value.shape == right[key].shape, key
        assert torch.equal(value.contiguous().view(torch.uint8), right[key].contiguous().view(torch.uint8)), key
