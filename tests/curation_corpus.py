"""Small videos to curate, folders compared byte by byte, and curations that are killed.

As a program it is a process in which all is imported, which runs curations in forks of itself: so a test that kills
many of them does not wait for imports. It reads a line of JSON for each and answers with two lines: the process id, and
how it ended.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet

WALKERS_FPS = 10
"""Of vtest.avi: a fixed camera, and people who walk by."""
CODECS = {
    "h264.mp4": ("libx264", {}),
    "mpeg4.avi": ("mpeg4", {"qscale": "4"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"}),
    "hevc.mkv": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    "av1.mkv": ("libsvtav1", {"preset": "12", "crf": "35"}),
}


def read_frames(path: Path, num_frames: int, size: tuple[int, int], *, first: int = 0) -> list[np.ndarray]:
    """Return frames (H, W, 3) of a video, reduced to height and width."""
    with av.open(path) as container:
        decoded = islice(container.decode(video=0), first, first + num_frames)
        return [frame.reformat(size[1], size[0], "rgb24", interpolation="AREA").to_ndarray() for frame in decoded]


def write_video(
    path: Path, codec: str, images: Iterable[np.ndarray], fps: int, options: dict[str, str] | None = None
) -> Path:
    """Encode frames (H, W, 3) at a constant rate."""
    with av.open(path, "w") as container:
        stream: Any = None
        for index, image in enumerate(images):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options=options or {})
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def counted(num_frames: int, *, num_still: int = 0, size: tuple[int, int] = (96, 128)) -> Iterator[np.ndarray]:
    """Yield frames that are all different: a square that walks over a still, textured ground, after standing still.

    Neighbours differ by a few levels in the mean, so that a frame is told from those beside it.
    """
    height_px, width_px = size
    ground = np.random.default_rng(0).integers(60, 120, (height_px // 8, width_px // 8, 3), np.uint8)
    ground = ground.repeat(8, 0).repeat(8, 1)
    for index in range(num_frames):
        image = ground.copy()
        moved = max(0, index - num_still) * 4
        x, y = moved % (width_px - 32), moved // (width_px - 32) * 8 % (height_px - 32)
        image[y : y + 32, x : x + 32] = (230, 200, 40)
        yield image


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean absolute difference of two pictures or clips, in levels."""
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pyarrow.parquet.ParquetFile(path).read().to_pylist()


def published(out: Path) -> dict[str, bytes]:
    """Return the content of every file of a curation outside ``work/``, hidden ones too."""
    files = (file for file in sorted(out.rglob("*")) if file.is_file() and file.relative_to(out).parts[0] != "work")
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


def changed_files(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Return the names of files that are not the same: for a message that can be read."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def times_of(folder: Path) -> dict[str, int]:
    """Return when each file was written, in ns; but not those that every run may write."""
    return {
        file.relative_to(folder).as_posix(): file.stat().st_mtime_ns
        for file in folder.rglob("*")
        if file.is_file() and file.name not in ("digests.json", "lock")
    }


class Forks:
    """Curations in processes of their own, without waiting for imports."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answer()

    def start(self, recipe: Path, out: Path, log: Path, **options: Any) -> int:
        """Start a curation and return its process id; ``log`` gets a line for every step of its progress.

        Options: ``folder``: where it runs; ``overrides`` of the recipe; ``die_before``: it kills itself before a file
        takes this place.
        """
        request = {"recipe": str(recipe), "out": str(out), "log": str(log)} | options
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def wait(self) -> int:
        """Wait for the one that was started; return its exit code, negative: a signal."""
        return int(self._answer())

    def run(self, recipe: Path, out: Path, log: Path, **options: Any) -> int:
        self.start(recipe, out, log, **options)
        return self.wait()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks has ended"
        return line


def progress_of(log: Path) -> list[tuple[str, int, int]]:
    """Return what a curation has told of its progress: name of the part, done, all."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(name, int(done), int(total)) for name, done, total in (line.split("|") for line in lines)]


def wait_until(condition: Any, timeout_s: float, what: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not in {timeout_s:g} s"
        time.sleep(0.01)


def children_of(process_id: int) -> list[int]:
    return [int(name) for name in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def is_running(process_id: int) -> bool:
    """Whether a process is there and not only waits to be taken note of."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _serve() -> None:
    import torch

    torch.set_num_threads(1)
    from cogvideox.data.curation import curate as _  # noqa: F401
    from cogvideox.data.libraries import opencv, pyarrow

    opencv(), pyarrow()
    print("ready", flush=True)
    for line in sys.stdin:
        process_id = os.fork()
        if not process_id:
            _run(json.loads(line))
        print(process_id, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]), flush=True)


def _run(request: dict[str, Any]) -> None:
    """Curate, and end this fork."""
    from cogvideox.data.curation.curate import curate
    from cogvideox.data.curation.recipe import CurationRecipe
    from cogvideox.settings import read_recipe

    code = 1
    try:
        os.chdir(request["folder"])
        recipe = read_recipe(Path(request["recipe"]), CurationRecipe, request.get("overrides", []))
        if "die_before" in request:
            _die_before(Path(request["die_before"]))
        with open(request["log"], "a", buffering=1) as log:
            curate(
                recipe,
                request["out"],
                engine="inline",
                on_progress=lambda name, done, total: print(name, done, total, sep="|", file=log),
            )
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _die_before(path: Path) -> None:
    for name in ("replace", "rename"):
        move = getattr(os, name)

        def move_or_die(source: Any, target: Any, move: Any = move) -> None:
            if Path(target) == path:
                os.kill(os.getpid(), signal.SIGKILL)
            move(source, target)

        setattr(os, name, move_or_die)


if __name__ == "__main__":
    _serve()
