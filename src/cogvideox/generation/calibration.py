"""How fast this machine is: measured once per device and dtype, in a process of its own, and kept."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cogvideox
from cogvideox.component_files import write_atomically
from cogvideox.generation.memory_plan import Calibration
from cogvideox.machine import cache_folder

TIMEOUT_S = 180
"""With the compiler's time for the attention kernel."""
RETRY_S = 24 * 3600
"""A measurement that failed is not tried again before."""
NUM_RETRIES = 2
WIDTH = 768
FEW, MANY = (30, 30), (48, 72)
"""Rows and columns of tokens, both enough for the attention that large videos have."""
FORM = 2
"""Of what is measured: what was kept of another form is measured anew."""


def cache_file() -> Path:
    """Return where calibrations are kept."""
    return cache_folder() / "calibration.json"


def read_calibration(device: str, dtype: str) -> Calibration | None:
    """Return what was measured here before, or None."""
    try:
        values = _read_cache()[_key(device, dtype)]
        return Calibration(**{name: float(values[name]) for name in ("linear", "attention", "convolution")})
    except (ValueError, KeyError, TypeError):
        return None


def is_measurable(device: str, dtype: str) -> bool:
    """Whether to try: not for float64, which only tests of exactness use, and not within a day of a failure.

    Another version of cogvideox or torch, or another number of processors, is tried at once.
    """
    if dtype == "float64":
        return False
    try:
        failed_at_s = float(_read_cache()[_key(device, dtype)][_failure()])
    except (ValueError, KeyError, TypeError):
        return True
    return not 0 <= time.time() - failed_at_s < RETRY_S


def calibrate(device: str, dtype: str) -> Calibration | None:
    """Measure in another process, which takes some seconds, and keep the result; None if it cannot be measured."""
    if not is_measurable(device, dtype):
        return None
    command = [sys.executable, "-m", "cogvideox.generation.calibration", device, dtype]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        calibration = Calibration(**json.loads(result.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, TypeError):
        _keep(device, dtype, {_failure(): time.time()})
        return None
    _keep(device, dtype, asdict(calibration))
    return calibration


def _read_cache() -> dict[str, Any]:
    try:
        values = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _keep(device: str, dtype: str, values: dict[str, float]) -> None:
    path = cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(_read_cache() | {_key(device, dtype): values}, indent=2) + "\n")
    except OSError:
        pass  # an estimate is not worth an error


def _failure() -> str:
    return f"failed_at_s of {cogvideox.__version__}"


def _key(device: str, dtype: str) -> str:
    return f"{device} {dtype} form {FORM} torch {version('torch')} {os.cpu_count()} processors"


def measure(device: str, dtype: str) -> Calibration:
    """Measure our own layers at the width of a small model; uses torch."""
    import torch

    from cogvideox.configs import AutoencoderConfig, TransformerConfig
    from cogvideox.generation.memory_plan import PlannedVideo, TextEncoderShape, decoder_operations
    from cogvideox.generation.model_limits import ModelLimits
    from cogvideox.models.autoencoder import VideoAutoencoder
    from cogvideox.models.transformer import ExpertTransformer
    from cogvideox.presets import PRESETS

    place = {"device": torch.device(device), "dtype": getattr(torch, dtype)}

    def run_transformer(num_layers: int, rows: int, columns: int) -> float:
        config = TransformerConfig(
            num_layers=num_layers, num_attention_heads=WIDTH // 64, use_rotary_positional_embeddings=True
        )
        model = ExpertTransformer(config).to(**place)
        latents = torch.randn(1, config.in_channels, 1, 2 * rows, 2 * columns).to(**place)
        text = torch.randn(1, config.max_text_seq_length, config.text_embed_dim).to(**place)
        return _fastest(lambda: model(latents, text, torch.ones(1, device=device)), device)

    def time_two_layers() -> tuple[float, float]:
        # The difference of two depths leaves out the first and last layers.
        small, large = (
            run_transformer(3, rows, columns) - run_transformer(1, rows, columns) for rows, columns in (FEW, MANY)
        )
        return small, large

    with torch.no_grad():
        small, large = time_two_layers()
        for _ in range(NUM_RETRIES):
            if not 0 < small < large:  # another process came between
                small, large = time_two_layers()
        text_tokens = TransformerConfig().max_text_seq_length
        few, many = (rows * columns + text_tokens for rows, columns in (FEW, MANY))
        # small = a few + b few^2, large = a many + b many^2, over two layers
        per_pair = max((large / many - small / few) / (many - few), 1e-15)
        per_token = max(small / few - per_pair * few, 0.2 * small / few)
        preset = PRESETS["2b"]
        autoencoder = VideoAutoencoder(AutoencoderConfig()).to(**place)
        latents = torch.randn(1, 16, 3, 8, 8).to(**place)
        seconds = _fastest(lambda: autoencoder.decode(latents), device)
    limits = ModelLimits(
        transformer=preset.transformer,
        autoencoder=preset.autoencoder,
        noise_schedule=preset.noise_schedule,
        default_sampler="ddim",
    )
    video = PlannedVideo(
        limits=limits,
        text_encoder=TextEncoderShape(),
        dtype=dtype,
        num_frames=9,
        height_px=64,
        width_px=64,
        num_steps=1,
    )
    linear = 2 * 2 * 12 * WIDTH**2 / per_token
    return Calibration(
        linear=linear,
        # On a busy machine the difference of two times may come out as nothing; no attention is that fast.
        attention=min(2 * 4 * WIDTH / per_pair, 2 * linear),
        convolution=decoder_operations(video) / seconds,
    )


def _fastest(call: Callable[[], object], device: str) -> float:
    import torch

    times = []
    for _ in range(2):
        started_at_s = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started_at_s)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1], sys.argv[2]))))
