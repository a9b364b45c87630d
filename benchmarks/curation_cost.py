"""CPU-seconds for a kept clip when one in five is kept: one decoding pass and late transcoding against other orders.

All orders do the same work with the same parts of ours: cut the real videos that packages ship into shots, measure
motion, quality and cues, keep the fifth of the clips that moves fastest, write it in H.264. "Stage by stage, transcoded
first" is the order of NeMo Curator: every clip is transcoded before anything is measured, and every stage decodes what
it needs again from the transcoded clips. CPU-seconds are those of the process and its decoding process together, user
and system; each order runs in a process of its own. Only the order differs, so this says nothing of the two systems'
decoders or models.

At last the whole recipe, all six operators: clips for an hour of one core, and where the time goes.
"""

import argparse
import dataclasses
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.curation_videos import decoded_frames, find_videos, print_table, quieten
from benchmarks.harness import Result, machine

if TYPE_CHECKING:
    from cogvideox.data.curation.operators import ClipView, Column, Operator, ViewName
    from cogvideox.data.curation.plan import CurationPlan
    from cogvideox.data.curation.recipe import CurationRecipe

OPERATORS = ("motion", "quality", "cues")
ALL_OPERATORS = (*OPERATORS, "faces", "text", "aesthetic")
KEPT_SHARE = 0.2
MIN_CLIP_S, MAX_CLIP_S = 2.0, 4.0
TARGET = 3.0
ORDERS = {
    "one pass, transcoded last": (True, False),
    "stage by stage, transcoded first": (False, True),
    "one pass, transcoded first": (True, True),
    "stage by stage, transcoded last": (False, False),
}
"""Whether one decoding pass feeds all, and whether all clips are transcoded before anything is measured or chosen."""
FACTS = ("clips", "kept", "frames", "cpu_s", "network_s")
OURS, CURATOR, ONLY_ONE_PASS, ONLY_LATE = ORDERS


def recipe_of(operators: Sequence[str]) -> "CurationRecipe":
    """Return a recipe that measures with these operators; without pictures for the report, which no order needs."""
    from cogvideox.data.curation.recipe import CurationRecipe, PreviewSettings
    from cogvideox.data.curation.shots import ShotSettings

    shots = ShotSettings(min_duration_s=MIN_CLIP_S, max_duration_s=MAX_CLIP_S)
    chosen: Any = tuple(operators)
    return CurationRecipe(inputs=("-",), operators=chosen, shots=shots, previews=PreviewSettings(num_pictures=0))


def run_order(videos: Sequence[Path], folder: Path, *, decodes_once: bool, transcodes_first: bool) -> dict[str, float]:
    """Curate in one order; return CPU-seconds by part, clips, kept clips and decoded frames."""
    from cogvideox.data.curation.plan import CurationPlan

    plan = CurationPlan.of(recipe_of(OPERATORS))
    split = CurationPlan.of(recipe_of(()))
    stages = [CurationPlan.of(recipe_of([name])) for name in OPERATORS]
    work = _Work(folder, {_sha256(video.read_bytes()): video for video in videos})
    network_s = 0.0
    if decodes_once:
        work.analyse(plan, work.sources)
    else:
        own_s = time.process_time()
        work.analyse(split, work.sources)
        network_s = time.process_time() - own_s
    work.lap("one pass" if decodes_once else "shots")
    if transcodes_first:
        work.transcode(plan, work.clip_ids(plan))
        work.lap("transcoding")
    measured = work.sources
    if not decodes_once:
        measured = work.transcoded_clips(plan) if transcodes_first else work.sources
        for stage in stages:
            work.analyse(stage, measured)
            work.lap(stage.operators[0].name)
    kept = work.kept_clips(plan, measured)
    if not transcodes_first:
        work.transcode(plan, kept)
        work.lap("transcoding")
    facts = {"clips": len(work.clip_ids(plan)), "kept": len(kept), "frames": work.num_frames}
    return facts | {"cpu_s": sum(work.laps.values()), "network_s": network_s} | work.laps


class _Work:
    """Tasks of a curation in any order, and what they cost."""

    def __init__(self, folder: Path, sources: dict[str, Path]) -> None:
        from cogvideox.data.curation.store import Store

        self.store = Store(folder)
        self.sources = sources
        self.num_frames = 0
        self.laps: dict[str, float] = {}
        self._ids: dict[str, str] = {}
        self._last_s = cpu_s()

    def lap(self, name: str) -> None:
        """Put what was spent since the last call to this account."""
        now_s = cpu_s()
        self.laps[name] = self.laps.get(name, 0.0) + now_s - self._last_s
        self._last_s = now_s

    def clip_ids(self, plan: "CurationPlan") -> list[str]:
        """Return all clips."""
        return [row["clip_id"] for digest in self.sources for row in self.store.read(plan.shots_key, digest)]

    def analyse(self, plan: "CurationPlan", files: dict[str, Path]) -> None:
        """Compute what a plan lacks of some files, by digest."""
        from cogvideox.data.curation.engine import Task

        self._do(plan, [Task(path=str(path), digest=digest) for digest, path in files.items()])
        self.num_frames += sum(self.store.read(plan.decoding_key, digest)[0]["num_frames"] for digest in files)

    def transcode(self, plan: "CurationPlan", clip_ids: Sequence[str]) -> None:
        """Write clips."""
        from cogvideox.data.curation.engine import Task

        tasks = []
        for digest, path in self.sources.items():
            rows = [row for row in self.store.read(plan.shots_key, digest) if row["clip_id"] in clip_ids]
            if rows:
                tasks.append(Task(path=str(path), digest=digest, clips=tuple(row["clip_id"] for row in rows)))
                self.num_frames += _frames_read(rows)
        self._do(plan, tasks)

    def transcoded_clips(self, plan: "CurationPlan") -> dict[str, Path]:
        """Return the files of all clips, and note that each is one clip from its first to its last frame."""
        from cogvideox.data.curation.plan import CLIP_TYPES

        files: dict[str, Path] = {}
        for digest in self.sources:
            for row in self.store.read(plan.shots_key, digest):
                path = self.store.path(plan.clip_files_key, row["clip_id"], ".mp4")
                clip_digest = _sha256(row["clip_id"].encode())
                whole = row | {"start_frame": 0, "end_frame": row["num_frames"]}
                self.store.write(plan.shots_key, clip_digest, [whole], CLIP_TYPES)
                files[clip_digest] = path
                self._ids[clip_digest] = row["clip_id"]
        return files

    def kept_clips(self, plan: "CurationPlan", measured: Iterable[str]) -> list[str]:
        """Return the clips that the policy keeps, from what was measured of these digests."""
        from cogvideox.data.curation.policy import Rule

        key = next(planned.key for planned in plan.operators if planned.name == "motion")
        ids, speeds = [], []
        for digest in measured:
            for row in self.store.read(key, digest):
                ids.append(self._ids.get(digest, row["clip_id"]))
                speeds.append(row["peak_speed"])
        values = np.array(speeds, np.float64)
        rule = Rule(column="motion.peak_speed", min_quantile=1 - KEPT_SHARE).resolve(values)
        return [clip_id for clip_id, keeps in zip(ids, rule.passes(values, 0), strict=True) if keeps]

    def _do(self, plan: "CurationPlan", tasks: Sequence[Any]) -> None:
        from cogvideox.data.curation.engine import Worker

        worker = Worker(plan, str(self.store.folder))
        try:
            for task in tasks:
                failed = worker(task)
                assert not failed, failed
        finally:
            worker.stop()  # and its decoding process is counted


def _frames_read(rows: Iterable[dict[str, Any]]) -> int:
    """Return the frames that are decoded to write clips: what lies between two is too, unless it is far."""
    from cogvideox.data.curation.decode_child import FAR_FRAMES

    num_frames, place = 0, 0
    for row in sorted(rows, key=lambda row: row["start_frame"]):
        start = row["start_frame"] if row["start_frame"] - place > FAR_FRAMES else place
        num_frames += row["end_frame"] - start
        place = row["end_frame"]
    return num_frames


def enlarge(path: Path, short_side_px: int, folder: Path) -> Path:
    """Write a video with this short side, in H.264: few packages ship large ones.

    It has no detail of its own, and so costs less to encode than a filmed one.
    """
    import av
    from av.video.frame import PictureType

    target = folder / f"{path.stem}_{short_side_px}.mp4"
    with av.open(path) as container, av.open(target, "w") as out:
        rate = Fraction(container.streams.video[0].average_rate or 25).limit_denominator(1001)
        stream: Any = None
        for index, frame in enumerate(decoded_frames(container)):
            scale = short_side_px / min(frame.width, frame.height)
            width_px, height_px = (round(side * scale) // 2 * 2 for side in (frame.width, frame.height))
            if stream is None:
                stream = out.add_stream("libx264", rate=rate, options={"preset": "fast", "crf": "18"})
                stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
            large = frame.reformat(width=width_px, height=height_px, format="yuv420p", interpolation="BICUBIC")
            large.pts, large.time_base, large.pict_type = index, 1 / rate, PictureType.NONE
            out.mux(stream.encode(large))
        out.mux(stream.encode(None))
    return target


def cpu_s() -> float:
    """Return the CPU-seconds of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class Timed:
    """An operator that counts its CPU-seconds."""

    def __init__(self, operator: "Operator") -> None:
        self.name: str = operator.name
        self.version: int = operator.version
        self.columns: tuple[Column, ...] = operator.columns
        self.views: frozenset[ViewName] = operator.views
        self.spent_s = 0.0
        self._operator = operator

    def weights(self) -> tuple[str, ...]:
        """Return the operator's."""
        return self._operator.weights()

    def measure(self, clip: "ClipView") -> dict[str, float]:
        """Return the operator's values."""
        started_at_s = time.process_time()
        try:
            return self._operator.measure(clip)
        finally:
            self.spent_s += time.process_time() - started_at_s


def run_recipe(videos: Sequence[Path], folder: Path) -> dict[str, float]:
    """Measure with all six operators and write all clips; return CPU-seconds by part, clips and their seconds."""
    from cogvideox.data.curation.plan import CurationPlan

    plan = CurationPlan.of(recipe_of(ALL_OPERATORS))
    timed = [Timed(planned.operator) for planned in plan.operators]
    operators = tuple(
        dataclasses.replace(planned, operator=one) for planned, one in zip(plan.operators, timed, strict=True)
    )
    plan = dataclasses.replace(plan, operators=operators)
    digests = {_sha256(video.read_bytes()): video for video in videos}
    first = dict(list(digests.items())[:1])
    _Work(folder / "warm-up", first).analyse(plan, first)
    for one in timed:
        one.spent_s = 0.0
    work = _Work(folder / "work", digests)
    own_s = time.process_time()
    work.analyse(plan, digests)
    own_s = time.process_time() - own_s
    work.lap("all")
    rows = [row for digest in digests for row in work.store.read(plan.shots_key, digest)]
    work.transcode(plan, [row["clip_id"] for row in rows])
    work.lap("transcoding")
    by_operator = {one.name: one.spent_s for one in timed}
    parts = {"decoding and views": work.laps["all"] - own_s, "shots, and the rest": own_s - sum(by_operator.values())}
    seconds = sum(row["end_s"] - row["start_s"] for row in rows)
    facts = {"clips": len(rows), "clips_s": seconds, "measuring": work.laps["all"], "writing": work.laps["transcoding"]}
    return facts | parts | by_operator


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def run_apart(what: str, videos: Sequence[Path]) -> dict[str, float]:
    """Run an order, or the recipe, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.curation_cost", "--run", what, "--videos", *map(str, videos)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def measure(videos: Sequence[Path], rounds: int, size: str) -> list[Result]:
    """Print the table of the orders; return the claims."""
    runs: dict[str, list[dict[str, float]]] = {order: [] for order in ORDERS}
    for _ in range(rounds):
        for order in ORDERS:
            runs[order].append(run_apart(order, videos))
    first = runs[OURS][0]
    by_kept = {order: statistics.median(run["cpu_s"] / run["kept"] for run in found) for order, found in runs.items()}
    network = statistics.median(run["network_s"] / run["kept"] for run in [*runs[CURATOR], *runs[ONLY_LATE]])
    print(f"\n## {size}: {first['clips']:.0f} clips of {len(videos)} videos, {first['kept']:.0f} kept\n")
    rows = []
    for order, found in runs.items():
        parts = [name for name in found[0] if name not in FACTS]
        spent = ", ".join(f"{name} {statistics.median(run[name] for run in found):.1f}" for name in parts)
        ratios = [by_kept[order] / by_kept[OURS], (by_kept[order] - network) / (by_kept[OURS] - network)]
        figures = [f"{by_kept[order]:.2f}", *(f"{ratio:.2f}" for ratio in ratios), f"{found[0]['frames']:.0f}"]
        rows.append([order, *figures, spent])
    header = ["order", "CPU-s per kept clip", "of ours", "without the network", "frames decoded", "CPU-s by part"]
    print_table(header, rows)
    print(
        f"\nThe network that finds shots takes {network:.2f} CPU-s per kept clip, the same in every order: "
        '"without the network" leaves it out.\n'
        f"Against {CURATOR}: late transcoding alone costs {by_kept[CURATOR] / by_kept[ONLY_LATE]:.2f} times less, "
        f"one decoding pass alone {by_kept[CURATOR] / by_kept[ONLY_ONE_PASS]:.2f} times less."
    )
    claim = f"CPU-seconds per kept clip, 20 % kept, {size}"
    ours, theirs = (by_kept[order] - network for order in (OURS, CURATOR))
    return [
        Result(claim, CURATOR, by_kept[OURS], by_kept[CURATOR], "CPU-s", TARGET),
        Result(f"{claim}, without the network that finds shots", CURATOR, ours, theirs, "CPU-s", TARGET),
    ]


def print_recipe(videos: Sequence[Path], size: str) -> None:
    """Print what the whole recipe costs."""
    spent = run_apart("recipe", videos)
    clips, clips_s = spent["clips"], spent["clips_s"]
    print(f"\n## {size}, all six operators: {clips:.0f} clips of {clips_s / clips:.1f} s on average\n")
    parts = [name for name in spent if name not in ("clips", "clips_s", "measuring", "writing")]
    rows = [
        [name, f"{1000 * spent[name] / clips_s:.1f}", f"{spent[name] / spent['measuring']:.0%}"]
        for name in sorted(parts, key=lambda name: -spent[name])
    ]
    rows.append(["all of measuring", f"{1000 * spent['measuring'] / clips_s:.1f}", "100%"])
    rows.append(["writing a clip", f"{1000 * spent['writing'] / clips_s:.1f}", ""])
    print_table(["part", "CPU-ms per second of video", "of measuring"], rows)
    per_clip_s = spent["measuring"] / clips
    with_fifth_s = per_clip_s + KEPT_SHARE * spent["writing"] / clips
    print(
        f"\n{3600 / per_clip_s:,.0f} clips measured for an hour of one core, "
        f"{3600 / with_fifth_s:,.0f} with a fifth of them written"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--videos", type=Path, nargs="*", default=(), help="files and folders, in place of the packages'"
    )
    parser.add_argument("--small", action="store_true", help="three videos, to see that it works")
    parser.add_argument(
        "--short-sides", type=int, nargs="*", default=(0, 1080), help="px; videos are enlarged to it, 0 leaves them"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", choices=(*ORDERS, "recipe"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quieten()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = find_videos(arguments.videos, folder)
        if arguments.run == "recipe":
            print(json.dumps(run_recipe(videos, folder)))
            return
        if arguments.run:
            decodes_once, transcodes_first = ORDERS[arguments.run]
            print(json.dumps(run_order(videos, folder, decodes_once=decodes_once, transcodes_first=transcodes_first)))
            return
        if arguments.small:
            videos = videos[-3:]
        results = []
        for short_side_px in arguments.short_sides:
            size = f"short side {short_side_px} px" if short_side_px else "own size"
            sized = [enlarge(video, short_side_px, folder) for video in videos] if short_side_px else videos
            results += measure(sized, arguments.rounds, size)
            print_recipe(sized, size)
        print(f"\n{machine()}")
        for result in results:
            reached = result.target is not None and result.ratio >= result.target
            print(f"{result}: {'reached' if reached else 'MISSED'}")
        if arguments.json:
            print(
                json.dumps({"date": date.today().isoformat(), "results": [dataclasses.asdict(one) for one in results]})
            )


if __name__ == "__main__":
    main()
