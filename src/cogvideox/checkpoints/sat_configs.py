"""Which model a SAT file holds, from the shapes of its tensors: SAT's configuration is in a YAML file elsewhere."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cogvideox.checkpoints.directory import CheckpointConfigs
from cogvideox.checkpoints.sat import POSITIONS, PREFIX, Shape
from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.errors import CheckpointError
from cogvideox.presets import PRESETS

Variant = Literal["2b", "5b", "5b-i2v", "1.5-5b", "1.5-5b-i2v"]

NUM_GROUPS = 32
"""Of every group normalization in SAT's autoencoder, whatever its width."""


def infer_transformer(
    shapes: Mapping[str, Shape],
    constants: Collection[str],
    where: Path,
    *,
    variant: Variant | None = None,
    base: CheckpointConfigs | None = None,
) -> tuple[Variant, TransformerConfig]:
    """Return a transformer's variant and configuration.

    Widths, heads, layers, channels, patches, and whether there are learned positions and an offset embedding are read
    from the shapes. Native size, text length and interpolation scales cannot be: they are those of ``base`` or else of
    the variant's published model.

    Args:
        shapes: of the file's tensors.
        constants: names of the file's tensors that are no weights.
        where: the file.
        variant: None is inferred too.
        base: of a model of the same kind.

    Raises:
        CheckpointError: tensors are missing, or do not make a configuration.
        ValueError: the variant cannot be told from the shapes, or it or the base is another one than the file's.
    """
    proj = PREFIX + "mixins.patch_embed.proj.weight"
    width = _size(shapes, proj, 0, where)
    is_1_5 = len(shapes[proj]) == 2
    published = PRESETS["1.5-5b"].transformer
    patch_size = published.patch_size if is_1_5 else _size(shapes, proj, 2, where)
    patch_size_t = published.patch_size_t if is_1_5 else None
    patch_area = patch_size**2 * (patch_size_t or 1)
    num_in, num_out = (
        _size(shapes, proj, 1, where),
        _size(shapes, PREFIX + "mixins.final_layer.linear.weight", 0, where),
    )
    head_dim = _size(shapes, PREFIX + "mixins.adaln_layer.query_layernorm_list.0.weight", 0, where)
    ofs_key = PREFIX + "ofs_embed.0.weight"
    fields: dict[str, Any] = {
        "num_attention_heads": _divide(width, head_dim, "width, of heads", where),
        "attention_head_dim": head_dim,
        "num_layers": _count(shapes, PREFIX + "transformer.layers.", where),
        "in_channels": _divide(num_in, patch_area, "input of patch_embed, of latents in a patch", where)
        if is_1_5
        else num_in,
        "out_channels": _divide(num_out, patch_area, "output of final_layer, of latents in a patch", where),
        "time_embed_dim": _size(shapes, PREFIX + "time_embed.0.weight", 0, where),
        "text_embed_dim": _size(shapes, PREFIX + "mixins.patch_embed.text_proj.weight", 1, where),
        "ofs_embed_dim": _size(shapes, ofs_key, 1, where) if ofs_key in shapes else None,
        "patch_size": patch_size,
        "patch_size_t": patch_size_t,
    }
    is_image_to_video = fields["in_channels"] == 2 * fields["out_channels"]
    found = _tell_variant(shapes, constants, is_1_5, is_image_to_video, variant, base)
    if found is None:
        raise ValueError(f"{where}: 2b and 5b models of this size have the same tensors: say which with --variant")
    if variant not in (None, found):
        raise ValueError(f"--variant: {where} is of the kind {found}, got {variant!r}")
    preset = PRESETS[found].transformer
    fields["use_rotary_positional_embeddings"] = preset.use_rotary_positional_embeddings
    fields["use_learned_positional_embeddings"] = preset.use_rotary_positional_embeddings and POSITIONS in shapes
    fields["patch_bias"] = preset.patch_bias
    try:
        config = replace(preset if base is None else base.transformer, **fields)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
    if base is not None:
        _check_base(config, base)
    return found, config


def _tell_variant(
    shapes: Mapping[str, Shape],
    constants: Collection[str],
    is_1_5: bool,
    is_image_to_video: bool,
    variant: Variant | None,
    base: CheckpointConfigs | None,
) -> Variant | None:
    if is_1_5:
        return "1.5-5b-i2v" if is_image_to_video else "1.5-5b"
    if is_image_to_video:
        return "5b-i2v"
    if any("freqs_" in key for key in constants):
        return "5b"  # tables of the rotary positions, which 2b has not
    if variant in ("2b", "5b"):
        return variant
    if POSITIONS in shapes:
        return "2b"
    if base is not None:
        return "5b" if base.transformer.use_rotary_positional_embeddings else "2b"
    width = shapes[PREFIX + "mixins.patch_embed.proj.weight"][0]
    return next((name for name in ("2b", "5b") if PRESETS[name].transformer.width == width), None)


def _check_base(config: TransformerConfig, base: CheckpointConfigs) -> None:
    for field in ("patch_size_t", "use_rotary_positional_embeddings", "text_embed_dim", "out_channels"):
        expected, got = getattr(config, field), getattr(base.transformer, field)
        if expected != got:
            raise ValueError(
                f"--base: {base.directory} is of another kind of model: {field}: expected {expected}, got {got}"
            )


def infer_autoencoder(
    shapes: Mapping[str, Shape],
    where: Path,
    *,
    variant: Variant | None = None,
    base: CheckpointConfigs | None = None,
) -> AutoencoderConfig:
    """Return an autoencoder's configuration.

    Channels and layers are read from the shapes. Scaling factor, native size and compression in time cannot be: they
    are those of the variant's published model or else of ``base``.

    Args:
        shapes: of the file's tensors.
        where: the file.
        variant: of the transformer that the latents are for.
        base: of a model with the same autoencoder.

    Raises:
        CheckpointError: tensors are missing, or do not make a configuration.
        ValueError: neither variant nor base is given, or they contradict each other.
    """
    if variant is None and base is None:
        raise ValueError(
            f"{where}: the scaling factor of an autoencoder is not in its file: say what it is for with --variant"
        )
    template = PRESETS[variant].autoencoder if base is None and variant is not None else None
    if base is not None:
        template = base.autoencoder
        published = template if variant is None else PRESETS[variant].autoencoder
        for field in ("scaling_factor", "invert_scale_latents"):
            if getattr(template, field) != getattr(published, field):
                expected, got = getattr(published, field), getattr(template, field)
                raise ValueError(f"--base: {base.directory}: {field}: expected {variant}'s {expected}, got {got}")
    assert template is not None
    num_stages = _count(shapes, "encoder.down.", where)
    stages = [f"encoder.down.{stage}.block.0.conv1.conv.weight" for stage in range(num_stages)]
    fields: dict[str, Any] = {
        "block_out_channels": tuple(_size(shapes, stage, 0, where) for stage in stages),
        "down_block_types": ("CogVideoXDownBlock3D",) * num_stages,
        "up_block_types": ("CogVideoXUpBlock3D",) * num_stages,
        "layers_per_block": _count(shapes, "encoder.down.0.block.", where),
        "in_channels": _size(shapes, "encoder.conv_in.conv.weight", 1, where),
        "out_channels": _size(shapes, "decoder.conv_out.conv.weight", 0, where),
        "latent_channels": _size(shapes, "decoder.conv_in.conv.weight", 1, where),
        "norm_num_groups": NUM_GROUPS,
    }
    try:
        return replace(template, **fields)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None


def _size(shapes: Mapping[str, Shape], key: str, axis: int, where: Path) -> int:
    shape = shapes.get(key)
    if shape is None:
        raise CheckpointError(f"{where}: missing tensor {key}")
    if len(shape) <= axis or shape[axis] == 0:
        raise CheckpointError(f"{where}: {key}: expected a size at axis {axis}, got shape {shape}")
    return shape[axis]


def _count(shapes: Mapping[str, Shape], prefix: str, where: Path) -> int:
    numbers = {int(found[1]) for key in shapes if (found := re.match(rf"{re.escape(prefix)}(\d+)\.", key))}
    if not numbers or numbers != set(range(len(numbers))):
        raise CheckpointError(f"{where}: {prefix}N: expected N from 0 on without gaps, got {sorted(numbers)}")
    return len(numbers)


def _divide(number: int, divisor: int, what: str, where: Path) -> int:
    if number % divisor:
        raise CheckpointError(f"{where}: {what}: expected a multiple of {divisor}, got {number}")
    return number // divisor
