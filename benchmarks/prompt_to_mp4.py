"""Prompt to finished mp4 with the embedded model: whole process, and without imports; 17x64x96, 50 steps.

Both sides run alternating as fresh processes, in the fastest type of the machine.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Result, main, run_python

PROMPT = "a cat walks to the right on a beach"
OURS = """
import sys, time
from cogvideox import VideoGenerator
import cogvideox.generation.generator
started_at_s = time.perf_counter()
VideoGenerator.load("tiny").text_to_video(sys.argv[1]).save(sys.argv[2])
print(time.perf_counter() - started_at_s)
"""
DIFFUSERS = """
import sys, time, torch
from diffusers import CogVideoXPipeline
from cogvideox.checkpoints.directory import EMBEDDED
from cogvideox.machine import fastest_dtype
from cogvideox.media.video import Video
started_at_s = time.perf_counter()
pipeline = CogVideoXPipeline.from_pretrained(EMBEDDED / "tiny", torch_dtype=fastest_dtype(torch.device("cpu")))
pipeline.set_progress_bar_config(disable=True)
output = pipeline(sys.argv[1], num_frames=17, height=64, width=96, num_inference_steps=50, guidance_scale=6.0,
                  generator=torch.Generator().manual_seed(0), max_sequence_length=32, output_type="np")
Video((output.frames[0] * 255).round().astype("uint8"), 8).save(sys.argv[2])
print(time.perf_counter() - started_at_s)
"""
COMMAND = """
import subprocess, sys
subprocess.run([sys.executable, "-m", "cogvideox", "generate", sys.argv[1], "--seed", "0", "--out", sys.argv[2],
                "--force"], check=True, stdout=subprocess.DEVNULL)
print(0)
"""


def measure(rounds: int) -> Sequence[Result]:
    sources = {"command": COMMAND, "ours": OURS, "theirs": DIFFUSERS}
    whole: dict[str, list[float]] = {name: [] for name in sources}
    inside: dict[str, list[float]] = {name: [] for name in sources}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, source in sources.items():
                started_at_s = time.perf_counter()
                inside[name].append(float(run_python(source, PROMPT, str(Path(folder) / "clip.mp4"))))
                whole[name].append(time.perf_counter() - started_at_s)
    median = statistics.median
    return [
        Result(
            "prompt to mp4, without imports", "diffusers", median(inside["ours"]), median(inside["theirs"]), "s", 2.0
        ),
        Result(
            "prompt to mp4, whole process", "diffusers", median(whole["command"]), median(whole["theirs"]), "s", 1.3
        ),
    ]


if __name__ == "__main__":
    main(measure, default_rounds=5)
