"""Prompt to finished mp4 with the embedded model, whole process, beside the same through diffusers.

    .venv/bin/python benchmarks/prompt_to_mp4.py [rounds]

Both run alternating as fresh processes, in float32 on a CPU without native bfloat16; prints seconds and their ratio.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = "a cat walks to the right on a beach"
DIFFUSERS = """
import sys, torch
from diffusers import CogVideoXPipeline
from cogvideox.checkpoints.directory import EMBEDDED
from cogvideox.generation.generator import fastest_dtype
from cogvideox.media.video import Video
pipeline = CogVideoXPipeline.from_pretrained(EMBEDDED / "tiny", torch_dtype=fastest_dtype(torch.device("cpu")))
pipeline.set_progress_bar_config(disable=True)
output = pipeline(sys.argv[1], num_frames=17, height=64, width=96, num_inference_steps=50, guidance_scale=6.0,
                  generator=torch.Generator().manual_seed(0), max_sequence_length=32, output_type="np")
Video((output.frames[0] * 255).round().astype("uint8"), 8).save(sys.argv[2])
"""


def timed(command: list[str]) -> float:
    started_at_s = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started_at_s


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ours_s: list[float] = []
    theirs_s: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "clip.mp4")
        generate = [sys.executable, "-m", "cogvideox", "generate", PROMPT, "--seed", "0", "--out", out, "--force"]
        for _ in range(rounds):
            ours_s.append(timed(generate))
            theirs_s.append(timed([sys.executable, "-c", DIFFUSERS, PROMPT, out]))
    ours, theirs = statistics.median(ours_s), statistics.median(theirs_s)
    print(f"cogvideox {ours:.2f} s, diffusers {theirs:.2f} s, ratio {theirs / ours:.2f} (medians of {rounds})")


if __name__ == "__main__":
    main()
