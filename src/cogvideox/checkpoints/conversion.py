"""Conversion between SAT checkpoints and ours, both ways; without loss unless another dtype is asked for."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from cogvideox.checkpoints import sat, sat_files
from cogvideox.checkpoints.directory import CheckpointConfigs, find_checkpoint, read_configs
from cogvideox.checkpoints.lora import FILE_NAMES, METADATA_KEY, read_lora
from cogvideox.checkpoints.sat_configs import NUM_GROUPS, Variant, infer_autoencoder, infer_transformer
from cogvideox.checkpoints.sat_files import ALPHA_KEY, Format, Part
from cogvideox.component_files import (
    FORMAT_VERSION,
    find_variant,
    parse_dtype,
    read_config,
    read_json,
    read_weights,
    weight_files,
)
from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.errors import CheckpointError

DEFAULT_ALPHA = 1.0
"""Of an adapter in SAT where its YAML file says nothing, as in all published ones: updates count 1/rank."""

OnTensor = Callable[[int, int], None]
"""Called after each tensor with how many are done and how many there are."""


@dataclass(frozen=True, kw_only=True)
class ConvertedPart:
    """One part that was written."""

    part: Part
    folder: Path
    num_tensors: int
    size_bytes: int
    variant: Variant | None = None
    """Of a transformer from SAT."""
    lora_rank: int | None = None
    lora_alpha: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The arguments of `convert` that its steps share, read and checked."""

    part: Part | None
    variant: Variant | None
    dtype: torch.dtype | None
    base: CheckpointConfigs | None
    lora_alpha: float | None
    on_tensor: OnTensor


def convert(
    source: str | Path,
    out: str | Path,
    *,
    to: Format | None = None,
    part: Part | None = None,
    variant: Variant | None = None,
    dtype: str | None = None,
    base: str | Path | None = None,
    lora_alpha: float | None = None,
    force: bool = False,
    on_tensor: OnTensor = lambda num_done, num_all: None,
) -> list[ConvertedPart]:
    """Convert a SAT checkpoint to ours, or ours to SAT; nothing is left behind if it fails.

    Args:
        source: a SAT file, a SAT folder (with ``latest``, or with ``transformer/`` and ``vae/``), a checkpoint
            directory, embedded or published model, a component folder, or a LoRA.
        out: folder to write. From SAT it gets ``transformer/`` and ``vae/``, or a LoRA's file; to SAT it gets the files
            of the one part, or folders of these names.
        to: the format to write; None is the other one than the source's.
        part: None is all that the source holds.
        variant: of a SAT transformer, or of the one that a SAT autoencoder belongs to; None infers it.
        dtype: of what is written, by name; None keeps each tensor's.
        base: a complete checkpoint of a model of the same kind: ``out`` becomes complete with the parts that it has and
            the source has not.
        lora_alpha: of a SAT adapter; None is what its file says, or else `DEFAULT_ALPHA`.
        force: replace what is in the way in ``out``; the rest of it stays.
        on_tensor: progress.

    Raises:
        CheckpointError: the source is damaged, not of this kind, or needs code to run.
        ValueError: arguments contradict each other or the source, or ``out`` has contents.
        OSError: no space, or not writable.
    """
    source, out = Path(source), Path(out)
    if not source.exists() and not source.suffix:
        source = find_checkpoint(source)
    found = sat_files.find_source(source)
    if to == found.format:
        raise ValueError(f"--to: the source is in the format {found.format!r} already")
    if part is not None and None not in found.files and part not in found.files:
        raise ValueError(f"--part: the source holds {' and '.join(map(str, found.files))}, got {part!r}")
    for name, value in (("variant", variant), ("base", base), ("lora-alpha", lora_alpha)):
        if found.format == "diffusers" and value is not None:
            raise ValueError(f"--{name}: only for sources in SAT's format; this one says it itself")
    _check_out(out, force)
    settings = _Settings(
        part=part,
        variant=variant,
        dtype=None if dtype is None else parse_dtype(dtype),
        base=None if base is None else read_configs(base),
        lora_alpha=lora_alpha,
        on_tensor=on_tensor,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        result = Path(temporary) / "result"
        result.mkdir()
        step = _from_sat if found.format == "sat" else _to_sat
        converted = step(found, result, settings)
        _install(result, out, Path(temporary))
    return [replace(item, folder=out / item.folder.relative_to(result)) for item in converted]


def _check_out(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder, this is a file")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ValueError(f"{out}: not empty; --force replaces what is in the way in it")


def _install(result: Path, out: Path, temporary: Path) -> None:
    if not out.exists():
        result.rename(out)
        return
    for entry in sorted(result.iterdir(), key=lambda entry: (entry.is_file(), entry.name)):  # the index last
        target = out / entry.name
        if target.exists():
            target.rename(temporary / f"replaced-{entry.name}")
        entry.rename(target)


def _from_sat(found: sat_files.Source, result: Path, settings: _Settings) -> list[ConvertedPart]:
    converted: list[ConvertedPart] = []
    is_image_to_video: bool | None = None
    variant = settings.variant
    for expected, file in found.files.items():
        if settings.part is not None and expected not in (None, settings.part):
            continue
        state, rest = sat_files.read_pickle(file)
        actual = sat_files.part_of(state, file)
        wanted = settings.part or expected or actual
        if wanted != actual:
            raise ValueError(f"{file}: expected a {wanted}, this is a {actual}: --part {actual}")
        if actual == "lora":
            converted.append(_lora_from_sat(state, rest, file, result, settings))
        elif actual == "vae":
            converted.append(_autoencoder_from_sat(state, file, result, variant, settings))
        else:
            item, config = _transformer_from_sat(state, file, result, settings)
            converted.append(item)
            variant = item.variant
            is_image_to_video = config.in_channels == 2 * config.num_output_channels
    if settings.base is not None:
        _complete(result, settings.base, is_image_to_video)
    return converted


def _transformer_from_sat(
    state: dict[str, Tensor], file: Path, result: Path, settings: _Settings
) -> tuple[ConvertedPart, TransformerConfig]:
    weights = sat.weights_of("transformer", state)
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    constants = state.keys() - weights.keys()
    variant, config = infer_transformer(shapes, constants, file, variant=settings.variant, base=settings.base)
    weights = sat.without_sincos_table(weights, config, file)
    layout = sat.transformer_layout(config)
    folder = result / "transformer"
    _write_config(folder, "CogVideoXTransformer3DModel", config)
    size_bytes = sat_files.write_shards(
        _prepared(sat.from_sat(weights, layout, file), len(layout.places), file, settings), folder
    )
    item = ConvertedPart(
        part="transformer", folder=folder, num_tensors=len(layout.places), size_bytes=size_bytes, variant=variant
    )
    return item, config


def _autoencoder_from_sat(
    state: dict[str, Tensor], file: Path, result: Path, variant: Variant | None, settings: _Settings
) -> ConvertedPart:
    weights = sat.weights_of("vae", state)
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    config = infer_autoencoder(shapes, file, variant=variant, base=settings.base)
    layout = sat.autoencoder_layout(config)
    folder = result / "vae"
    _write_config(folder, "AutoencoderKLCogVideoX", config)
    size_bytes = sat_files.write_shards(
        _prepared(sat.from_sat(weights, layout, file), len(layout.places), file, settings), folder
    )
    return ConvertedPart(part="vae", folder=folder, num_tensors=len(layout.places), size_bytes=size_bytes)


def _lora_from_sat(
    state: dict[str, Tensor], rest: dict[str, object], file: Path, result: Path, settings: _Settings
) -> ConvertedPart:
    """Write an adapter; the transformer that it adapts, which SAT saves beside it, is left out."""
    if settings.base is not None or settings.variant is not None:
        raise ValueError(f"--base, --variant: {file} is a LoRA, which needs none")
    stored = rest.get(ALPHA_KEY, DEFAULT_ALPHA)
    alpha = settings.lora_alpha if settings.lora_alpha is not None else stored
    if not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
        raise ValueError(f"--lora-alpha: expected a positive number, got {alpha!r}")
    pairs = _pair_matrices({key: value for key, value in state.items() if sat.is_lora_key(key)}, file)
    ranks = {len(down) for down, _ in pairs.values()}
    if len(ranks) > 1:
        raise CheckpointError(f"{file}: expected one rank for all layers, got {', '.join(map(str, sorted(ranks)))}")
    rank = ranks.pop()
    named = [
        (f"transformer.{layer}.{name}.weight", value)
        for layer, pair in pairs.items()
        for name, value in zip(("lora_A", "lora_B"), pair, strict=True)
    ]
    for key, value in named:
        sat.check_values(key, value, file)
    tensors = {key: value.contiguous() for key, value in _prepared(named, len(named), file, settings)}
    # What peft needs to build it: without it, readers take alpha to be the rank, and the adapter counts rank times.
    config = {
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "target_modules": list(pairs),
        "rank_pattern": {},
        "alpha_pattern": {},
        "bias": "none",
    }
    header = json.dumps({f"transformer.{key}": value for key, value in config.items()})
    sat_files.write_safetensors(tensors, result / FILE_NAMES[0], {METADATA_KEY: header})
    size_bytes = sum(value.nbytes for value in tensors.values())
    return ConvertedPart(
        part="lora", folder=result, num_tensors=len(tensors), size_bytes=size_bytes, lora_rank=rank, lora_alpha=alpha
    )


def _pair_matrices(matrices: dict[str, Tensor], file: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the two matrices of each adapted layer, by our name of the layer, in order."""
    blocks = sorted({int(found[1]) for key in matrices if (found := re.search(r"\.layers\.(\d+)\.", key))})
    left = dict(matrices)
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for layer in (f"transformer_blocks.{block}.attn1.{name}" for block in blocks for name in sat.ADAPTED_LAYERS):
        keys = [sat.lora_key(layer, factor) for factor in ("matrix_A", "matrix_B")]
        present = [key for key in keys if key in left]
        if len(present) == 1:
            missing = next(key for key in keys if key not in left)
            raise CheckpointError(f"{file}: missing tensor {missing}")
        if present:
            down, up = (left.pop(key) for key in keys)
            is_update = down.ndim == up.ndim == 2 and len(down) == up.shape[1] and down.shape[1] == len(up)
            if not is_update or len(down) == 0:
                got = f"{tuple(down.shape)} and {tuple(up.shape)}"
                raise CheckpointError(f"{file}: {keys[0]}: expected (rank, width) and (width, rank), got {got}")
            pairs[layer] = (down, up)
    if left:
        raise CheckpointError(f"{file}: {len(left)} tensors are unknown, first {next(iter(left))}")
    return pairs


def _to_sat(found: sat_files.Source, result: Path, settings: _Settings) -> list[ConvertedPart]:
    chosen = {name: path for name, path in found.files.items() if settings.part in (None, name)}
    converted: list[ConvertedPart] = []
    for name, path in chosen.items():
        folder = result if len(chosen) == 1 else result / str(name)
        if name == "lora":
            converted.append(_lora_to_sat(path, folder, settings))
            continue
        if not path.is_dir():
            raise CheckpointError(f"{path}: no such folder")
        if name == "transformer":
            part_name: Part = "transformer"
            layout = sat.transformer_layout(read_config(path / "config.json", TransformerConfig))
        else:
            part_name = "vae"
            config = read_config(path / "config.json", AutoencoderConfig)
            if config.norm_num_groups != NUM_GROUPS:
                got = config.norm_num_groups
                raise CheckpointError(f"{path}/config.json: norm_num_groups: SAT has {NUM_GROUPS} always, got {got}")
            layout = sat.autoencoder_layout(config)
        files = weight_files(path, variant=find_variant(path))
        weights = {key: value for file in files for key, value in read_weights(file)}
        theirs = sat.to_sat(weights, layout, path)
        tensors = dict(_prepared(theirs, len(layout.sat_shapes()), path, settings))
        size_bytes = sat_files.write_pickle(part_name, tensors, folder)
        converted.append(ConvertedPart(part=part_name, folder=folder, num_tensors=len(tensors), size_bytes=size_bytes))
    return converted


def _lora_to_sat(file: Path, folder: Path, settings: _Settings) -> ConvertedPart:
    updates = read_lora(file, _config_around(file))
    scaled = {(len(update.down), round(update.scale * len(update.down), 9)) for update in updates.values()}
    if len(scaled) > 1:
        got = ", ".join(f"{rank} and {alpha:g}" for rank, alpha in sorted(scaled))
        raise CheckpointError(f"{file}: SAT has one rank and one alpha for all layers, these are {got}")
    (rank, alpha) = scaled.pop()
    named: list[tuple[str, Tensor]] = []
    for layer, update in updates.items():
        try:
            keys = [sat.lora_key(layer, factor) for factor in ("matrix_A", "matrix_B")]
        except KeyError:
            expected = ", ".join(sat.ADAPTED_LAYERS)
            raise CheckpointError(f"{file}: {layer}: SAT has adapters at {expected} only") from None
        named += zip(keys, (update.down, update.up), strict=True)
    for key, value in named:
        sat.check_values(key, value, file)
    tensors = dict(_prepared(named, len(named), file, settings))
    size_bytes = sat_files.write_pickle("lora", tensors, folder, lora_alpha=alpha)
    return ConvertedPart(
        part="lora", folder=folder, num_tensors=len(tensors), size_bytes=size_bytes, lora_rank=rank, lora_alpha=alpha
    )


def _config_around(file: Path) -> TransformerConfig:
    """Return a configuration with the layers that an adapter names, as wide as they are."""
    num_layers, width = 1, 0
    with safe_open(file, framework="pt") as reader:
        for key in reader.keys():  # noqa: SIM118 (not a dict)
            if found := re.search(r"transformer_blocks[._](\d+)[._]", key):
                num_layers = max(num_layers, int(found[1]) + 1)
                if re.search(r"attn1[._]to_q\W.*(lora_A|down)", key) or (width == 0 and re.search("lora_A|down", key)):
                    width = reader.get_slice(key).get_shape()[-1]
    try:
        return TransformerConfig(num_attention_heads=1, attention_head_dim=width, num_layers=num_layers)
    except ValueError as error:
        raise CheckpointError(f"{file}: not an adapter of such a transformer: {error}") from None


def _prepared(
    tensors: Iterable[tuple[str, Tensor]], num_all: int, where: Path, settings: _Settings
) -> Iterator[tuple[str, Tensor]]:
    for num_done, (key, value) in enumerate(tensors, 1):
        converted = value if settings.dtype is None else value.to(settings.dtype)
        if converted is not value:
            sat.check_values(f"{key} as {settings.dtype}", converted, where)
        yield key, converted
        settings.on_tensor(num_done, num_all)


def _write_config(folder: Path, class_name: str, config: TransformerConfig | AutoencoderConfig) -> None:
    folder.mkdir()
    header = {"_class_name": class_name, "_diffusers_version": FORMAT_VERSION}
    (folder / "config.json").write_text(json.dumps(header | config.to_json(), indent=2) + "\n", encoding="utf-8")


def _complete(result: Path, base: CheckpointConfigs, is_image_to_video: bool | None) -> None:
    """Add the components of the base that were not converted; None: its transformer was not."""
    for name in ("transformer", "vae", "text_encoder", "tokenizer", "scheduler"):
        if not (result / name).exists():
            shutil.copytree(base.directory / name, result / name)
    index = read_json(base.directory / "model_index.json")
    if is_image_to_video is not None:
        index["_class_name"] = "CogVideoXImageToVideoPipeline" if is_image_to_video else "CogVideoXPipeline"
    (result / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def describe(item: ConvertedPart) -> str:
    """Return one line on what was written, with what SAT's YAML file must say of a LoRA."""
    kind = f" ({item.variant})" if item.variant else ""
    scale = "" if item.lora_rank is None else f", r: {item.lora_rank}, lora_alpha: {item.lora_alpha:g}"
    return (
        f"{item.part}{kind}: {item.num_tensors} tensors, {item.size_bytes / 1e9:.3f} GB{scale} -> {item.folder}{os.sep}"
    )
