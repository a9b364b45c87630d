"""The models that an API offers, by what their configurations say; without weights and torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from cogvideox.checkpoints.directory import read_configs
from cogvideox.component_files import read_json
from cogvideox.configs import GuidanceMode, SamplerName
from cogvideox.generation.memory_plan import TextEncoderShape
from cogvideox.generation.model_limits import ModelLimits
from cogvideox.serving.token_counter import TokenCounter

MAX_STEPS = 200
MAX_GUIDANCE_SCALE = 20.0
MAX_FPS = 120.0
DEFAULT_NUM_STEPS = 50
DEFAULT_GUIDANCE_SCALE = 6.0


@dataclass(frozen=True, kw_only=True)
class CatalogModel:
    """A model as clients see it."""

    name: str
    """For clients; of a folder its own name, as clients are told nothing of places on the disk."""
    worker_name: str
    """What workers have it under."""
    limits: ModelLimits
    text_encoder: TextEncoderShape
    tokens: TokenCounter
    created_s: int
    """When its configuration was written, in seconds since 1970."""

    @property
    def sizes_px(self) -> tuple[tuple[int, int], ...]:
        """Widths and heights that it makes, the default first: its native shape, that one upright, and squares."""
        height_px, width_px = self.limits.default_size_px
        short, long = sorted((height_px, width_px))
        sizes = [(width_px, height_px), (height_px, width_px), (short, short), (long, long)]
        return tuple(dict.fromkeys(size for size in sizes if self._makes(*size)))

    def _makes(self, width_px: int, height_px: int) -> bool:
        try:
            self.limits.latent_shape(height_px=height_px, width_px=width_px)
        except ValueError:
            return False
        return True

    @property
    def input_kinds(self) -> tuple[str, ...]:
        """What a video may start from: ``text`` and ``video``, or ``image``."""
        return ("image",) if self.limits.takes_image else ("text", "video")

    @property
    def default_seconds(self) -> str:
        """Length of a video for which none is asked, in whole seconds."""
        return seconds_text(self.limits.native_num_frames, self.limits.native_fps)


def seconds_text(num_frames: int, fps: float) -> str:
    """Return a length as clients get it: whole seconds, at least one."""
    return str(max(round(num_frames / fps), 1))


class ModelCatalog:
    """Models by name."""

    def __init__(self, models: Sequence[str]) -> None:
        """Read the configurations of names and folders.

        Raises:
            CheckpointError: one is missing or damaged.
            ValueError: two have the same name.
        """
        described = [describe_model(model) for model in models]
        self._by_name = {model.name: model for model in described}
        if len(self._by_name) != len(described):
            raise ValueError("models: expected different names, got two of the same one")
        self._by_worker_name = {model.worker_name: model for model in described}
        self.default = described[0]

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def get(self, name: str) -> CatalogModel | None:
        """Return a model by the name that clients have for it."""
        return self._by_name.get(name)

    def public_name(self, worker_name: str) -> str:
        """Return what clients call a model of a job, which may not be offered any more."""
        known = self._by_worker_name.get(worker_name)
        return public_name(worker_name) if known is None else known.name


def public_name(model: str) -> str:
    """Return what clients call a model: a name as it is, a folder by its own name."""
    is_place = model.startswith((".", "/", "~")) or Path(model).is_dir()
    return os.path.basename(os.path.abspath(model)) if is_place else model


def describe_model(model: str) -> CatalogModel:
    """Return what is known of a model without its weights. Raises CheckpointError if it is not on this machine."""
    configs = read_configs(model)
    limits = ModelLimits(
        transformer=configs.transformer,
        autoencoder=configs.autoencoder,
        noise_schedule=configs.noise_schedule,
        default_sampler=configs.default_sampler,
    )
    values = read_json(configs.directory / "text_encoder" / "config.json")
    names = ("d_model", "d_ff", "d_kv", "num_heads", "num_layers", "vocab_size")
    is_gated = "gated" in str(values.get("feed_forward_proj", ""))
    shape = TextEncoderShape(**{name: int(values[name]) for name in names if name in values}, is_gated=is_gated)
    return CatalogModel(
        name=public_name(model),
        worker_name=model,
        limits=limits,
        text_encoder=shape,
        tokens=TokenCounter(configs.directory, configs.transformer.max_text_seq_length),
        created_s=int((configs.directory / "model_index.json").stat().st_mtime),
    )


def capabilities(model: CatalogModel, max_prompt_length: int) -> dict[str, Any]:
    """Return what a request may ask of a model, as ``GET /v1/models/{id}`` tells."""
    limits = model.limits
    max_steps = min(MAX_STEPS, limits.noise_schedule.num_train_timesteps)
    return {
        "sizes": [f"{width}x{height}" for width, height in model.sizes_px],
        "frames": {
            "default": limits.native_num_frames,
            "min": 1,
            "max": limits.native_num_frames,
            "multiple": 2 * limits.autoencoder.temporal_compression_ratio,
            "remainders": [0, 1],
        },
        "fps": {"default": limits.native_fps, "min": 1, "max": MAX_FPS},
        "seconds": {"default": model.default_seconds, "max": model.default_seconds},
        "steps": {"default": min(DEFAULT_NUM_STEPS, max_steps), "min": 1, "max": max_steps},
        "guidance_scale": {"default": DEFAULT_GUIDANCE_SCALE, "min": 0, "max": MAX_GUIDANCE_SCALE},
        "guidance_modes": list(get_args(GuidanceMode)),
        "samplers": {"default": limits.default_sampler, "known": list(get_args(SamplerName))},
        "max_prompt_tokens": model.tokens.max_tokens,
        "max_prompt_length": max_prompt_length,
        "prompt_languages": ["en"],
        "inputs": list(model.input_kinds),
    }
