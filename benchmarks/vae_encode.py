"""VAE encode, published shape, 9 frames of 256x256, bfloat16."""

from collections.abc import Sequence

import torch

from benchmarks.harness import Result, alternate, main


@torch.no_grad()
def measure(rounds: int) -> Sequence[Result]:
    from benchmarks.models import autoencoders

    ours, shipped, tuned = autoencoders()
    video = (torch.rand(1, 3, 9, 256, 256) * 2 - 1).bfloat16()
    seconds = alternate(
        {
            "ours": lambda: ours.encode(video),
            "shipped": lambda: shipped.encode(video),
            "tuned": lambda: tuned.encode(video.contiguous(memory_format=torch.channels_last_3d)),
        },
        rounds,
        warm_ups=0,
    )
    claim = "VAE encode, 9x256x256"
    return [
        Result(claim, "diffusers", seconds["ours"], seconds["shipped"], target=3.5),
        Result(claim, "diffusers, channels_last_3d", seconds["ours"], seconds["tuned"], target=2.0),
    ]


if __name__ == "__main__":
    main(measure)
