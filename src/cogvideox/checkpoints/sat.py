"""Names and shapes of CogVideoX weights in SAT (SwissArmyTransformer, the official training code), and ours.

Nearly every weight is the same tensor under another name. The exceptions are in SAT one tensor for several of ours, of
equal blocks of rows: query, key and value; and the twelve modulation vectors of a block, which we keep as two times
six (shift, scale and gate for video and for text, of attention and of the MLP). Nothing is computed, so that both
directions together change no bit. Sources: SAT's own modules, and diffusers' convert_cogvideox_to_diffusers.py.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cogvideox.component_files import BLOCK_ELEMENTS
from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.errors import CheckpointError
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.positions import sincos_table
from cogvideox.models.transformer import ExpertTransformer

PREFIX = "model.diffusion_model."
"""Of the transformer's weights in the state of SAT's training engine."""
OTHER_NETWORKS = ("conditioner.", "first_stage_model.")
"""Of its frozen text encoder and autoencoder, which fine-tuned checkpoints hold too; left out."""
CONSTANTS = ("embed_tokens", "freqs_sin", "freqs_cos", "position_embedding")
"""Parts of names of tensors that are computed, or that no layer reads; left out."""
LOSS = "loss"
"""How the names of an autoencoder's discriminator and perceptual loss begin; left out."""
POSITIONS = PREFIX + "mixins.pos_embed.pos_embedding"
"""The additive positions: learned (5b-i2v), or a table of sines and cosines that may be there or not (2b)."""

_OUTSIDE_BLOCKS = {
    "patch_embed.proj": "mixins.patch_embed.proj",
    "patch_embed.text_proj": "mixins.patch_embed.text_proj",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "ofs_embedding.linear_1": "ofs_embed.0",
    "ofs_embedding.linear_2": "ofs_embed.2",
    "norm_final": "transformer.final_layernorm",
    "norm_out.norm": "mixins.final_layer.norm_final",
    "norm_out.linear": "mixins.final_layer.adaLN_modulation.1",
    "proj_out": "mixins.final_layer.linear",
}
_IN_BLOCKS = {
    "norm1.norm": "transformer.layers.{block}.input_layernorm",
    "norm2.norm": "transformer.layers.{block}.post_attention_layernorm",
    "attn1.norm_q": "mixins.adaln_layer.query_layernorm_list.{block}",
    "attn1.norm_k": "mixins.adaln_layer.key_layernorm_list.{block}",
    "attn1.to_out.0": "transformer.layers.{block}.attention.dense",
    "ff.net.0.proj": "transformer.layers.{block}.mlp.dense_h_to_4h",
    "ff.net.2": "transformer.layers.{block}.mlp.dense_4h_to_h",
}
_QUERY_KEY_VALUE = "transformer.layers.{block}.attention.query_key_value"
_MODULATION = "mixins.adaln_layer.adaLN_modulations.{block}.1"
_JOINED = {
    "attn1.to_q": (_QUERY_KEY_VALUE, (0,), 3),
    "attn1.to_k": (_QUERY_KEY_VALUE, (1,), 3),
    "attn1.to_v": (_QUERY_KEY_VALUE, (2,), 3),
    # In SAT: attention and MLP of the video, then attention and MLP of the text.
    "norm1.linear": (_MODULATION, (0, 1, 2, 6, 7, 8), 12),
    "norm2.linear": (_MODULATION, (3, 4, 5, 9, 10, 11), 12),
}
_AUTOENCODER_WORDS = {
    ".down_blocks.": ".down.",
    ".resnets.": ".block.",
    ".downsamplers.0.": ".downsample.",
    ".upsamplers.0.": ".upsample.",
    ".conv_shortcut.": ".nin_shortcut.",
}
_ADAPTED = {
    "to_q": "query_key_value.{factor}.0",
    "to_k": "query_key_value.{factor}.1",
    "to_v": "query_key_value.{factor}.2",
    "to_out.0": "dense.{factor}.0",
}
ADAPTED_LAYERS = tuple(_ADAPTED)
"""Layers of a block's that SAT's LoRA adapts: by our names, below ``transformer_blocks.N.attn1.``."""
_MATRIX = re.compile(r"matrix_[AB]\.\d+$")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where SAT keeps a weight: in a tensor of its own, or in some of the equal blocks of rows of a shared one."""

    key: str
    blocks: tuple[int, ...] = (0,)
    num_blocks: int = 1

    def shape(self, ours: Shape) -> Shape:
        """Return the shape of SAT's tensor."""
        return ours[0] * self.num_blocks // len(self.blocks), *ours[1:]


@dataclass(frozen=True)
class Layout:
    """Every weight of a network: its shape, and its place in a SAT file."""

    places: dict[str, Place]
    shapes: dict[str, Shape]

    def sat_shapes(self) -> dict[str, Shape]:
        """Return the shapes of SAT's tensors."""
        return {place.key: place.shape(self.shapes[key]) for key, place in self.places.items()}


def transformer_layout(config: TransformerConfig) -> Layout:
    """Return the places of a transformer's weights."""
    with torch.device("meta"):
        weights = ExpertTransformer(config).state_dict()
    places = {key: _transformer_place(key) for key in weights}
    return Layout(places, {key: tuple(value.shape) for key, value in weights.items()})


def _transformer_place(key: str) -> Place:
    if key == "patch_embed.pos_embedding":
        return Place(POSITIONS)
    module, _, parameter = key.rpartition(".")
    if module in _OUTSIDE_BLOCKS:
        return Place(f"{PREFIX}{_OUTSIDE_BLOCKS[module]}.{parameter}")
    _, block, module = module.split(".", 2)
    theirs, blocks, num_blocks = _JOINED[module] if module in _JOINED else (_IN_BLOCKS[module], (0,), 1)
    return Place(f"{PREFIX}{theirs.format(block=block)}.{parameter}", blocks, num_blocks)


def autoencoder_layout(config: AutoencoderConfig) -> Layout:
    """Return the places of an autoencoder's weights."""
    with torch.device("meta"):
        weights = VideoAutoencoder(config).state_dict()
    last_stage = len(config.block_out_channels) - 1
    places = {key: Place(_autoencoder_key(key, last_stage)) for key in weights}
    return Layout(places, {key: tuple(value.shape) for key, value in weights.items()})


def _autoencoder_key(key: str, last_stage: int) -> str:
    key = re.sub(r"\.mid_block\.resnets\.(\d+)\.", lambda found: f".mid.block_{int(found[1]) + 1}.", key)
    # SAT counts the decoder's stages from the pixels, as the encoder's.
    key = re.sub(r"\.up_blocks\.(\d+)\.", lambda found: f".up.{last_stage - int(found[1])}.", key)
    for ours, theirs in _AUTOENCODER_WORDS.items():
        key = key.replace(ours, theirs)
    return key


def lora_key(layer: str, factor: str) -> str:
    """Return SAT's name of an adapter's matrix, ``matrix_A`` (rank, in) or ``matrix_B`` (out, rank).

    Raises:
        KeyError: SAT has no adapters at this layer.
    """
    found = re.fullmatch(r"transformer_blocks\.(\d+)\.attn1\.(.+)", layer)
    if found is None:
        raise KeyError(layer)
    return f"{PREFIX}transformer.layers.{found[1]}.attention.{_ADAPTED[found[2]].format(factor=factor)}"


def is_lora_key(key: str) -> bool:
    """Return whether a tensor of a SAT file is an adapter's matrix."""
    return _MATRIX.search(key) is not None


def weights_of(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without what no part needs: other networks, constants, losses."""
    if part == "vae":
        return {key: value for key, value in state.items() if not key.startswith(LOSS)}
    return {
        key: value
        for key, value in state.items()
        if not key.startswith(OTHER_NETWORKS) and not any(word in key for word in CONSTANTS)
    }


def without_sincos_table(state: dict[str, Tensor], config: TransformerConfig, where: Path) -> dict[str, Tensor]:
    """Return a transformer's state without the table of a model whose positions are computed.

    Raises:
        CheckpointError: it is another table than the configuration's.
    """
    if config.use_rotary_positional_embeddings or POSITIONS not in state:
        return state
    expected = sincos_table(config, config.native_grid_THW, torch.device("cpu"), torch.float32)
    table = state[POSITIONS].float()
    shape = (1, config.max_text_seq_length + len(expected), config.width)
    if table.shape != shape:
        raise CheckpointError(f"{where}: {POSITIONS}: expected shape {shape}, got {tuple(table.shape)}")
    text, video = table[0].split([config.max_text_seq_length, len(expected)])
    # The coarsest stored numbers, bfloat16 near 1, are 2^-8 apart.
    if text.any() or not torch.allclose(video, expected, rtol=0, atol=0.01):
        raise CheckpointError(f"{where}: {POSITIONS}: not the sines and cosines that this model adds to its tokens")
    return {key: value for key, value in state.items() if key != POSITIONS}


def check_shapes(got: Mapping[str, Shape], expected: Mapping[str, Shape], where: Path) -> None:
    """See that a file holds exactly the tensors it should.

    Raises:
        CheckpointError: one is missing, unknown or of another shape.
    """
    for what, keys in (
        ("missing", [key for key in expected if key not in got]),
        ("unknown", [key for key in got if key not in expected]),
    ):
        if keys:
            raise CheckpointError(f"{where}: {len(keys)} tensors are {what}, first {keys[0]}")
    for key, shape in expected.items():
        if got[key] != shape:
            raise CheckpointError(f"{where}: {key}: expected shape {shape}, got {got[key]}")


def check_values(key: str, value: Tensor, where: Path) -> None:
    """See that a tensor is of finite floating-point numbers. Raises CheckpointError."""
    if not value.is_floating_point():
        raise CheckpointError(f"{where}: {key}: expected floating-point numbers, got {value.dtype}")
    if value.element_size() > 1 and not all(
        torch.isfinite(part).all() for part in value.flatten().split(BLOCK_ELEMENTS)
    ):
        raise CheckpointError(f"{where}: {key}: NaN or infinite values")


def from_sat(state: Mapping[str, Tensor], layout: Layout, where: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield our weights, each as it is asked for.

    Raises:
        CheckpointError: the state is not of this layout, or a tensor has NaN or infinite values.
    """
    check_shapes({key: tuple(value.shape) for key, value in state.items()}, layout.sat_shapes(), where)
    for key, place in layout.places.items():
        value = state[place.key]
        check_values(place.key, value, where)
        if place.num_blocks == 1:
            yield key, value
            continue
        blocks = value.chunk(place.num_blocks)
        picked = [blocks[index] for index in place.blocks]
        yield key, picked[0] if len(picked) == 1 else torch.cat(picked)


def to_sat(weights: Mapping[str, Tensor], layout: Layout, where: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield SAT's tensors, each as it is asked for.

    Raises:
        CheckpointError: the weights are not of this layout, or those of one tensor have several dtypes.
    """
    check_shapes({key: tuple(value.shape) for key, value in weights.items()}, layout.shapes, where)
    parts: dict[str, list[str]] = {}
    for key, place in layout.places.items():
        parts.setdefault(place.key, []).append(key)
    for theirs, keys in parts.items():
        if len(keys) == 1:
            yield theirs, weights[keys[0]]
            continue
        blocks: dict[int, Tensor] = {}
        for key in keys:
            indices = layout.places[key].blocks
            blocks |= dict(zip(indices, weights[key].chunk(len(indices)), strict=True))
        if len({block.dtype for block in blocks.values()}) > 1:
            raise CheckpointError(f"{where}: {', '.join(keys)}: one tensor in SAT, but of several dtypes here")
        yield theirs, torch.cat([blocks[index] for index in sorted(blocks)])
