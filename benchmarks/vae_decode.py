"""VAE decode, published shape, 3 latent frames to 9 frames of 256x256, bfloat16."""

from collections.abc import Sequence

import torch

from benchmarks.harness import Result, alternate, main


@torch.no_grad()
def measure(rounds: int) -> Sequence[Result]:
    from benchmarks.models import autoencoders

    ours, shipped, tuned = autoencoders()
    latents = torch.randn(1, 16, 3, 32, 32).bfloat16()
    seconds = alternate(
        {
            "ours": lambda: ours.decode(latents),
            "shipped": lambda: shipped.decode(latents),
            "tuned": lambda: tuned.decode(latents.contiguous(memory_format=torch.channels_last_3d)),
        },
        rounds,
        warm_ups=0,
    )
    claim = "VAE decode, 3 latents to 9x256x256"
    return [
        Result(claim, "diffusers", seconds["ours"], seconds["shipped"], target=7.0),
        Result(claim, "diffusers, channels_last_3d", seconds["ours"], seconds["tuned"], target=2.0),
    ]


if __name__ == "__main__":
    main(measure)
