"""Peak memory of VAE decode above the weights, published shape, 17 frames of 320x480, bfloat16; Linux."""

from collections.abc import Sequence

from benchmarks.harness import PEAK_MEMORY, Result, main, run_python

DECODE = """
import sys, torch
from benchmarks.models import autoencoders
ours, shipped, _ = autoencoders()
model = ours if sys.argv[1] == "ours" else shipped
del ours, shipped, _
latents = torch.randn(1, 16, 5, 40, 60).bfloat16()
with torch.no_grad():
    model.decode(latents[:, :, :3, :2, :2])  # what is loaded at the first call is not the clip's
    print(peak_mib(lambda: model.decode(latents)))
"""


def measure(rounds: int) -> Sequence[Result]:
    del rounds  # a peak hardly varies
    ours, theirs = (float(run_python(PEAK_MEMORY + DECODE, who)) for who in ("ours", "theirs"))
    return [Result("VAE decode, 17x320x480, peak memory above the weights", "diffusers", ours, theirs, "MiB", 3.0)]


if __name__ == "__main__":
    main(measure)
