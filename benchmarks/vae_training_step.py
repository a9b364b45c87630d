"""VAE forward and backward pass, embedded model's shape, 4 clips of 9x48x48, bfloat16 autocast."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.harness import Result, alternate, main


def measure(rounds: int) -> Sequence[Result]:
    from diffusers import AutoencoderKLCogVideoX

    import benchmarks.models  # noqa: F401 (threads and seed)
    from cogvideox.models.autoencoder import VideoAutoencoder
    from cogvideox.presets import PRESETS

    config = PRESETS["tiny"].autoencoder
    ours = VideoAutoencoder(config).train()
    shipped = AutoencoderKLCogVideoX.from_config(config.to_json()).train()
    shipped.load_state_dict(ours.state_dict())
    video = torch.rand(4, 3, 9, 48, 48) * 2 - 1
    seconds = alternate(
        {
            "ours": _step(ours, lambda: ours.decode(ours.encode(video).mode()), video),
            "shipped": _step(shipped, lambda: shipped.decode(shipped.encode(video).latent_dist.mode()).sample, video),
        },
        rounds,
    )
    claim = "VAE training step, embedded shape, 4 x 9x48x48"
    return [Result(claim, "diffusers", seconds["ours"], seconds["shipped"], target=2.0)]


def _step(model: nn.Module, reconstruct: Callable[[], Tensor], video: Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            pixels = reconstruct()
        (pixels.float() - video).abs().mean().backward()
        model.zero_grad(set_to_none=True)

    return run


if __name__ == "__main__":
    main(measure, default_rounds=7)
