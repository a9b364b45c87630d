"""A whole checkpoint: ``model_index.json`` and one folder per component, in the diffusers layout; without torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cogvideox.checkpoints import hub
from cogvideox.component_files import (
    FORMAT_VERSION,
    TEXT_WEIGHTS_NAME,
    WEIGHTS_NAME,
    find_variant,
    read_config,
    read_json,
    weight_files,
    write_atomically,
)
from cogvideox.configs import AutoencoderConfig, NoiseScheduleConfig, TransformerConfig
from cogvideox.errors import CheckpointError

SchedulerClass = Literal["CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"]
SAMPLER_OF_SCHEDULER: dict[SchedulerClass, str] = {
    "CogVideoXDDIMScheduler": "ddim",
    "CogVideoXDPMScheduler": "dpm-published",
}
"""The sampler that a checkpoint asks for by the scheduler class in its ``model_index.json``."""

EMBEDDED = Path(__file__).parent.parent / "weights"
"""Checkpoints inside the package, one folder each."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfigs:
    """What a checkpoint says of itself, read without any weights."""

    directory: Path
    transformer: TransformerConfig
    autoencoder: AutoencoderConfig
    noise_schedule: NoiseScheduleConfig
    default_sampler: str
    weight_bytes: int
    """Of all weight files."""


def find_checkpoint(model: str | Path) -> Path:
    """Return the directory of a path, an embedded or published model's name, or a hub id.

    Raises:
        CheckpointError: there is no such directory, or the name's weights are not on this machine.
    """
    path = Path(model)
    if path.is_dir():
        return path
    embedded = EMBEDDED / str(model)
    if (embedded / "model_index.json").is_file():
        return embedded
    pulled = hub.find_local(str(model))
    if pulled is not None:
        return pulled
    if hub.repository_of(str(model)) is not None:
        what = "is not on this machine;" if str(model) in hub.PUBLISHED else "is no directory here; if it is a hub id,"
        raise CheckpointError(f"model: {str(model)!r} {what} cogvideox models pull {model}")
    known = sorted(folder.name for folder in EMBEDDED.iterdir() if (folder / "model_index.json").is_file())
    raise CheckpointError(
        f"model: {str(model)!r} is neither a checkpoint directory, an embedded model ({', '.join(known) or 'none'}), a "
        f"published one ({', '.join(hub.PUBLISHED)}) nor a hub id (org/name)"
    )


def read_configs(model: str | Path, variant: str | None = None) -> CheckpointConfigs:
    """Read what a checkpoint directory or embedded model says of itself, and see that its weights are there.

    Raises:
        CheckpointError: it is missing, its files are damaged, or its parts do not fit each other.
    """
    directory = find_checkpoint(model)
    index = read_json(directory / "model_index.json")
    scheduler_class = _class_name(index, "scheduler", directory)
    if scheduler_class not in SAMPLER_OF_SCHEDULER:
        expected = " or ".join(SAMPLER_OF_SCHEDULER)
        raise CheckpointError(f"{directory}/model_index.json: scheduler: expected {expected}, got {scheduler_class!r}")
    for component in ("transformer", "vae", "text_encoder", "tokenizer"):
        _class_name(index, component, directory)
        if not (directory / component).is_dir():
            raise CheckpointError(f"{directory}: the {component}/ folder is missing; download the checkpoint again")
    transformer = read_config(directory / "transformer" / "config.json", TransformerConfig)
    autoencoder = read_config(directory / "vae" / "config.json", AutoencoderConfig)
    if transformer.num_output_channels != autoencoder.latent_channels:
        raise CheckpointError(
            f"{directory}: the transformer makes latents of {transformer.num_output_channels} channels "
            f"(transformer/config.json), the autoencoder decodes {autoencoder.latent_channels} (vae/config.json)"
        )
    if transformer.in_channels not in (autoencoder.latent_channels, 2 * autoencoder.latent_channels):
        raise CheckpointError(
            f"{directory}/transformer/config.json: in_channels: expected the autoencoder's latent channels "
            f"({autoencoder.latent_channels}) or, for image-to-video, twice as many, got {transformer.in_channels}"
        )
    text_width = read_json(directory / "text_encoder" / "config.json").get("d_model")
    if text_width != transformer.text_embed_dim:
        raise CheckpointError(
            f"{directory}: the text encoder makes {text_width} channels (text_encoder/config.json: d_model), the "
            f"transformer reads {transformer.text_embed_dim} (transformer/config.json: text_embed_dim)"
        )
    names = {"transformer": WEIGHTS_NAME, "vae": WEIGHTS_NAME, "text_encoder": TEXT_WEIGHTS_NAME}
    variants = {name: find_variant(directory / name, weights, variant) for name, weights in names.items()}
    if variant is not None and variant not in variants.values():
        raise CheckpointError(f"{directory}: no component has weights of the variant {variant!r}")
    files = [
        path for name, weights in names.items() for path in weight_files(directory / name, weights, variants[name])
    ]
    return CheckpointConfigs(
        directory=directory,
        transformer=transformer,
        autoencoder=autoencoder,
        noise_schedule=read_config(directory / "scheduler" / "scheduler_config.json", NoiseScheduleConfig),
        default_sampler=SAMPLER_OF_SCHEDULER[scheduler_class],
        weight_bytes=sum(path.stat().st_size for path in files),
    )


def _class_name(index: dict[str, object], component: str, directory: Path) -> str:
    entry = index.get(component)
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)):
        raise CheckpointError(f"{directory}/model_index.json: no {component!r} entry of the form [library, class]")
    return entry[1]


def write_model_index(directory: Path, *, scheduler_class: SchedulerClass, is_image_to_video: bool = False) -> None:
    """Write ``model_index.json`` for a text-to-video or an image-to-video model."""
    index = {
        "_class_name": "CogVideoXImageToVideoPipeline" if is_image_to_video else "CogVideoXPipeline",
        "_diffusers_version": FORMAT_VERSION,
        "scheduler": ["diffusers", scheduler_class],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
    }
    write_atomically(directory / "model_index.json", json.dumps(index, indent=2) + "\n")


def write_scheduler(directory: Path, config: NoiseScheduleConfig, *, scheduler_class: SchedulerClass) -> None:
    """Write ``scheduler/scheduler_config.json``."""
    folder = directory / "scheduler"
    folder.mkdir(parents=True, exist_ok=True)
    header = {"_class_name": scheduler_class, "_diffusers_version": FORMAT_VERSION}
    write_atomically(folder / "scheduler_config.json", json.dumps(header | config.to_json(), indent=2) + "\n")
