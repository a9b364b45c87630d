"""VAE decode, published shape, 3 latent frames to 9 frames of 256x256, bfloat16."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from benchmarks.harness import Result, alternate, main


@torch.no_grad()
def compare(
    claim: str, verb: Literal["decode", "encode"], x: Tensor, targets: tuple[float, float], rounds: int
) -> list[Result]:
    """Measure beside diffusers as it comes (first target), and with everything channels last (second target)."""
    from benchmarks.models import autoencoders

    ours, shipped, tuned = (getattr(model, verb) for model in autoencoders())
    seconds = alternate(
        {
            "ours": lambda: ours(x),
            "shipped": lambda: shipped(x),
            "tuned": lambda: tuned(x.contiguous(memory_format=torch.channels_last_3d)),
        },
        rounds,
        warm_ups=0,
    )
    return [
        Result(claim, "diffusers", seconds["ours"], seconds["shipped"], target=targets[0]),
        Result(claim, "diffusers, channels_last_3d", seconds["ours"], seconds["tuned"], target=targets[1]),
    ]


def measure(rounds: int) -> Sequence[Result]:
    latents = torch.randn(1, 16, 3, 32, 32).bfloat16()
    return compare("VAE decode, 3 latents to 9x256x256", "decode", latents, (7.0, 2.0), rounds)


if __name__ == "__main__":
    main(measure)
