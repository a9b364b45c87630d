"""Decoding as a stream: memory that does not depend on the length, and first frames early; Linux.

Published shape, bfloat16, 128x192 px for memory, 64x96 for time. The peers are our own longer or shorter runs.
"""

import time
from collections.abc import Sequence

import torch

from benchmarks.harness import PEAK_MEMORY, Result, main, run_python

DECODE = """
import sys, torch
from benchmarks.models import autoencoders
model = autoencoders()[0]
latents = torch.randn(1, 16, (int(sys.argv[1]) + 3) // 4, 16, 24).bfloat16()
def consume(latents):
    for _ in model.decode_stream(latents):
        pass
with torch.no_grad():
    consume(latents[:, :, :3, :2, :2])
    print(peak_mib(lambda: consume(latents)))
"""


@torch.no_grad()
def measure(rounds: int) -> Sequence[Result]:
    del rounds
    long, short = (float(run_python(PEAK_MEMORY + DECODE, frames)) for frames in ("161", "49"))
    return [
        Result("decode stream, peak of 161 frames, 128x192", "peak of 49 frames", long, short, "MiB", 0.95),
        _first_frames(),
    ]


def _first_frames() -> Result:
    from benchmarks.models import autoencoders

    model = autoencoders()[0]
    latents = torch.randn(1, 16, 21, 8, 12).bfloat16()
    started_at_s = time.perf_counter()
    arrivals_s = [time.perf_counter() - started_at_s for _ in model.decode_stream(latents)]
    return Result("decode stream, first 9 of 81 frames", "all 81", arrivals_s[0], arrivals_s[-1], target=5.0)


if __name__ == "__main__":
    main(measure)
