"""VAE encode, published shape, 9 frames of 256x256, bfloat16."""

from collections.abc import Sequence

import torch

from benchmarks.harness import Result, main
from benchmarks.vae_decode import compare


def measure(rounds: int) -> Sequence[Result]:
    video = (torch.rand(1, 3, 9, 256, 256) * 2 - 1).bfloat16()
    return compare("VAE encode, 9x256x256", "encode", video, (3.5, 2.0), rounds)


if __name__ == "__main__":
    main(measure)
