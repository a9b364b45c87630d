"""From the start of a process to the first transformer step of `cogvideox generate`, embedded model."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Result, main, run_python

GENERATE = """
import sys, time
from cogvideox.models.transformer import ExpertTransformer
def started(*arguments, **options):
    print(time.time(), flush=True)
    sys.exit(0)
ExpertTransformer.run_blocks = started
from cogvideox.cli import main
main(["generate", "a cat walks to the right on a beach", "--seed", "0", "--out", sys.argv[1], "--force"])
"""
LIMIT_S = 6.0


def measure(rounds: int) -> Sequence[Result]:
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            started_at_s = time.time()
            seconds.append(float(run_python(GENERATE, str(Path(folder) / "clip.mp4"))) - started_at_s)
    return [Result("start of process to first step", "the limit", statistics.median(seconds), LIMIT_S, target=1.0)]


if __name__ == "__main__":
    main(measure, default_rounds=5)
