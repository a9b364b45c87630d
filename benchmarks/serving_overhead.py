"""Overhead: how much longer a video takes through the server than in a process that has the model in memory.

    OMP_NUM_THREADS=2 python -m benchmarks.serving_overhead           # >= 60 s a side and round; quiet machine only
    OMP_NUM_THREADS=1 python -m benchmarks.serving_overhead --quick   # one short video a side, to see that it works

The embedded model, its own size and length, bfloat16 or float32 as both choose by themselves. Ours: from the request to
the last byte of the mp4, with queue, lease, progress, previews, checkpoints and pictures. Theirs: `VideoGenerator` in
this process, from the call to the saved mp4. Both are warm and take turns; frames are compared. A ratio of 1 is none.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import Result
from benchmarks.serving_invariants import video_facts
from benchmarks.serving_tools import Fleet, exchange, fleet, free_port, wait_until_ready
from cogvideox import VideoGenerator

PROMPT = "a cat walks to the right on a beach"
NUM_STEPS, QUICK_STEPS = 200, 4
STREAM_S = 600.0
SIDE_S = 60.0
TARGET_RATIO = 0.97
"""Theirs over ours: less than 3 % more."""


@dataclass
class Side:
    """What the videos of one side took, in seconds, by round."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Of all processes that had to do with it."""
    engine_s: float = 0.0
    """Of the last round: in the engine, as the server told."""


def through_server(port: int, num_steps: int, seeds: Sequence[int], folder: Path) -> float:
    """Make videos one after the other; return the seconds that they took in the engine."""
    engine_s = 0.0
    for seed in seeds:
        fields = {"prompt": PROMPT, "num_inference_steps": num_steps, "seed": seed}
        body, headers = json.dumps(fields).encode(), {"Content-Type": "application/json"}
        made = exchange(port, "POST", "/v1/videos", body, headers)
        if made.status != 200:
            raise RuntimeError(f"POST: {made.status} {made.content[:200]!r}")
        path = f"/v1/videos/{made.json()['id']}"
        exchange(port, "GET", f"{path}/events", timeout_s=STREAM_S)  # ends with the video
        video = exchange(port, "GET", path).json()
        if video["status"] != "completed":
            raise RuntimeError(f"{path}: {video['status']}, {video['error']}")
        (folder / f"ours-{seed}.mp4").write_bytes(exchange(port, "GET", f"{path}/content").content)
        engine_s += video["usage"]["gpu_seconds"]
    return engine_s


def in_process(generator: VideoGenerator, num_steps: int, seeds: Sequence[int], folder: Path) -> float:
    """Make the same videos here; return the seconds."""
    begun_s = time.perf_counter()
    for seed in seeds:
        video = generator.text_to_video(PROMPT, seed=seed, num_steps=num_steps)
        video.save(str(folder / f"theirs-{seed}.mp4"))
    return time.perf_counter() - begun_s


def timed(side: Side, work: Callable[[], float], cpu_s: Callable[[], float]) -> None:
    """Note what a round of a side takes."""
    begun_s, used_s = time.perf_counter(), cpu_s()
    side.engine_s = work()
    side.wall_s.append(time.perf_counter() - begun_s)
    side.cpu_s.append(cpu_s() - used_s)


def measure(service: Fleet, port: int, rounds: int, folder: Path, *, is_quick: bool, side_s: float) -> Result:
    """Take turns; return the medians. Raises RuntimeError if the frames differ."""
    generator = VideoGenerator.load("tiny", text_cache_dir=folder / "prompts")
    num_steps = QUICK_STEPS if is_quick else NUM_STEPS
    through_server(port, QUICK_STEPS, [0], folder)
    in_process(generator, QUICK_STEPS, [0], folder)
    num_videos = 1
    if not is_quick:
        num_videos = max(1, -int(-side_s // in_process(generator, num_steps, [0], folder)))
    seeds = range(num_videos)
    ours, theirs = Side(), Side()

    def server() -> None:
        work = lambda: through_server(port, num_steps, seeds, folder)  # noqa: E731
        timed(ours, work, lambda: sum(process.cpu_s() for process in service.processes()))

    def here() -> None:
        timed(theirs, lambda: in_process(generator, num_steps, seeds, folder), time.process_time)

    for number in range(rounds):
        for side in (server, here) if number % 2 == 0 else (here, server):
            side()
        shown = f"ours {ours.wall_s[-1]:.2f} s ({ours.engine_s:.2f} in the engine, {ours.cpu_s[-1]:.2f} of processors)"
        there = f"in this process {theirs.wall_s[-1]:.2f} s ({theirs.cpu_s[-1]:.2f} of processors)"
        print(f"round {number + 1}: {shown}, {there}", flush=True)
    for seed in seeds:
        digests = {video_facts(folder / f"{side}-{seed}.mp4")[4] for side in ("ours", "theirs")}
        if len(digests) != 1:
            raise RuntimeError(f"seed {seed}: the frames differ")
    claim = f"{num_videos} videos of {num_steps} steps through the server"
    ours_s, theirs_s = statistics.median(ours.wall_s), statistics.median(theirs.wall_s)
    return Result(claim, "warm process", ours_s, theirs_s, target=TARGET_RATIO)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--side-seconds", type=float, default=SIDE_S, help="at least so long a side and round")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    with tempfile.TemporaryDirectory(prefix="cogvideox-overhead-") as name, fleet(Path(name)) as service:
        port = free_port()
        service.add("serve", "--data-dir", f"{name}/data", "--port", str(port))
        wait_until_ready(port)
        result = measure(service, port, rounds, Path(name), is_quick=options.quick, side_s=options.side_seconds)
        print(f"{result}; {100 * (1 / result.ratio - 1):+.1f} %; equal frames")
        service.end(wait_s=45)
    return 0


if __name__ == "__main__":
    sys.exit(main())
