"""Transformer forward, width of 2B, 1 layer, 17,776 tokens (49 frames of 480x720), bfloat16."""

from collections.abc import Sequence

import torch

from benchmarks.harness import Result, main
from benchmarks.transformer_forward import compare


@torch.no_grad()
def measure(rounds: int) -> Sequence[Result]:
    return compare("transformer forward, 2B width, 1 layer, 17,776 tokens", 1, 1, (13, 60, 90), rounds)


if __name__ == "__main__":
    main(measure)
