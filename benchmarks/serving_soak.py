"""Soak: mixed requests for a long time; memory, files, threads and the store must not grow.

    python -m benchmarks.serving_soak              # 30 minutes
    python -m benchmarks.serving_soak --minutes 1  # to see that it works; --quick is the same
    python -m benchmarks.serving_soak --seed 3     # other requests

``cogvideox serve`` with a worker whose engine makes noise out of numbers. Videos are made, watched, downloaded whole
and in part, cancelled and deleted; lists, plans, pages and refused requests come between. What is measured is told as
its growth in an hour, by least squares over the last two thirds. Records of deleted videos stay for 30 days on purpose:
the store grows by those, and is told per video. Exit status 1 if something grew that should not, or answered wrongly.
"""

import argparse
import collections
import contextlib
import http.client
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving_chaos import form, small_video
from benchmarks.serving_tools import (
    Answer,
    Fleet,
    Role,
    exchange,
    fleet,
    folder_bytes,
    free_port,
    in_ms,
    slope,
    wait_until_ready,
)

ROLES: tuple[Role, ...] = ("supervisor", "api", "worker", "engine")
MAX_KEPT = 12
"""Videos that are not deleted."""
PAUSE_S = 0.05
NUM_SAMPLES = 120
WARM_SHARE = 1 / 3
"""Of the time: not counted."""
MAX_GROWTH: dict[str, float] = {"MiB": 8.0, "files": 4.0, "threads": 4.0}
"""From the first to the last quarter of what counts."""
MIB = 2**20
ODDS = ("/", "/livez", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/v1/videos?limit=5")
ALLOWED = (200, 206, 404, 409, 415, 429, 400, 410)


@dataclass
class Samples:
    """What was measured, by name."""

    times_s: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))

    def take(self, service: Fleet, data_dir: Path, elapsed_s: float) -> None:
        """Measure everything once."""
        self.times_s.append(elapsed_s)
        processes = service.processes()
        for role in ROLES:
            same = [process for process in processes if process.role == role]
            self.values[f"{role} MiB"].append(sum(each.status("VmRSS") for each in same) / MIB)
            self.values[f"{role} files"].append(sum(each.num_files() for each in same))
            self.values[f"{role} threads"].append(sum(each.status("Threads") for each in same))
        for name, suffix in (("store KiB", ""), ("WAL KiB", "-wal")):
            path = data_dir / f"jobs.sqlite3{suffix}"
            self.values[name].append(path.stat().st_size / 1024 if path.exists() else 0)
        for name in ("files", "work"):
            num_files, num_bytes = folder_bytes(data_dir / name)
            self.values[f"folder {name}"].append(num_files)
            self.values[f"folder {name} KiB"].append(num_bytes / 1024)

    def told(self) -> bool:
        """Print what was found; return whether nothing grew that should not."""
        first = next((i for i, time_s in enumerate(self.times_s) if time_s >= WARM_SHARE * self.times_s[-1]), 0)
        times_s, is_flat = self.times_s[first:], True
        for name, every in self.values.items():
            values = every[first:]
            quarter = max(len(values) // 4, 1)
            growth = sum(values[-quarter:]) / quarter - sum(values[:quarter]) / quarter
            limit = MAX_GROWTH.get(name.split()[-1]) if name.split()[0] in ROLES else None
            verdict = "" if limit is None else (" flat" if growth <= limit else " GROWS")
            is_flat &= verdict != " GROWS"
            start, end = values[0], values[-1]
            print(f"{name:22} {start:9.1f} -> {end:9.1f}  {slope(times_s, values):+10.1f} an hour{verdict}")
        return is_flat


class Mix:
    """Requests of all kinds, by chance."""

    def __init__(self, port: int, seed: int, upload: bytes) -> None:
        self.port, self.dice, self.upload = port, random.Random(seed), upload
        self.kept: list[str] = []
        self.num_made = 0
        self.statuses: collections.Counter[int] = collections.Counter()
        self.wrong: list[str] = []
        self.reads_s: list[float] = []
        self.acts: dict[Callable[[], None], float] = {
            self.make: 3.0,
            self.look: 10.0,
            self.listen: 1.0,
            self.download: 2.0,
            self.cancel: 0.3,
            self.delete: 1.0,
            self.odds: 3.0,
            self.refused: 2.0,
            self.upload_video: 0.1,
        }

    def one(self) -> None:
        """Send one request."""
        if len(self.kept) > MAX_KEPT:
            self.delete()
        self.dice.choices(list(self.acts), list(self.acts.values()))[0]()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request and note its answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = exchange(self.port, method, path, body, sent, timeout_s=30)
        self.statuses[answer.status] += 1
        if answer.status not in ALLOWED:
            self.wrong.append(f"{method} {path}: {answer.status} {answer.content[:200]!r}")
        return answer

    def make(self) -> None:
        """Ask for a video."""
        fields = {"prompt": f"noise {self.dice.random()}", "num_inference_steps": self.dice.randint(2, 20)}
        self._made(self.ask("POST", "/v1/videos", json.dumps(fields).encode(), content_type="application/json"))

    def upload_video(self) -> None:
        """Ask for a video made of another one."""
        body, kind = form({"prompt": "noise", "num_inference_steps": 4, "num_frames": 9}, self.upload)
        self._made(self.ask("POST", "/v1/videos", body, content_type=kind))

    def _made(self, answer: Answer) -> None:
        if answer.status == http.client.OK:
            self.kept.append(answer.json()["id"])
            self.num_made += 1

    def look(self) -> None:
        """Get a video, or the list."""
        begun_s = time.perf_counter()
        self.ask("GET", f"/v1/videos/{self.dice.choice(self.kept)}" if self.kept else "/v1/videos")
        self.reads_s.append(time.perf_counter() - begun_s)

    def listen(self) -> None:
        """Hear some events of a video, and go."""
        if not self.kept:
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/v1/videos/{self.dice.choice(self.kept)}/events")
            answer = connection.getresponse()
            self.statuses[answer.status] += 1
            for _ in range(self.dice.randint(1, 6)):
                if not answer.readline():
                    break
        finally:
            connection.close()

    def download(self) -> None:
        """Get a video's content, whole, in part, or a picture of it."""
        if self.kept:
            variant = self.dice.choice(("", "?variant=thumbnail", "?variant=spritesheet", "?variant=preview"))
            path = f"/v1/videos/{self.dice.choice(self.kept)}/content{variant}"
            self.ask("GET", path, range="bytes=0-99" if self.dice.random() < 0.3 else "bytes=0-")

    def cancel(self) -> None:
        """Stop a video."""
        if self.kept:
            self.ask("POST", f"/v1/videos/{self.dice.choice(self.kept)}/cancel")

    def delete(self) -> None:
        """Delete a video."""
        if self.kept:
            self.ask("DELETE", f"/v1/videos/{self.kept.pop(self.dice.randrange(len(self.kept)))}")

    def odds(self) -> None:
        """Get something else."""
        path = self.dice.choice(ODDS)
        self.ask("GET", path)

    def refused(self) -> None:
        """Send what is refused."""
        body = self.dice.choice((b"{", b"[]", b'{"prompt": ""}', b'{"prompt": "a", "size": "0x0"}', b"\xff" * 1000))
        self.ask("POST", "/v1/videos", body, content_type=self.dice.choice(("application/json", "text/plain")))
        self.ask("GET", f"/v1/videos/video_{self.dice.randrange(16**32):032x}")


def measure(service: Fleet, mix: Mix, data_dir: Path, minutes: float) -> Samples:
    """Send requests for so long."""
    samples, begun_s = Samples(), time.monotonic()
    next_s, every_s = 0.0, 60 * minutes / NUM_SAMPLES
    while (elapsed_s := time.monotonic() - begun_s) < 60 * minutes:
        if elapsed_s >= next_s:
            samples.take(service, data_dir, elapsed_s)
            next_s += every_s
        try:
            mix.one()
        except (OSError, http.client.HTTPException) as error:
            mix.wrong.append(f"no answer: {error!r}")
        time.sleep(mix.dice.uniform(0, 2 * PAUSE_S))
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    minutes = options.minutes or (1.0 if options.quick else 30.0)
    with tempfile.TemporaryDirectory(prefix="cogvideox-soak-") as name, fleet(Path(name)) as service:
        data_dir, port = Path(name) / "data", free_port()
        same = ("--data-dir", str(data_dir), "--engine", "fake", "--fake-step", "0.05", "--grace", "2")
        service.add("serve", *same, "--port", str(port))
        wait_until_ready(port)
        mix = Mix(port, options.seed, small_video(Path(name)))
        before = {process.pid for process in service.processes()}
        samples = measure(service, mix, data_dir, minutes)
        is_flat = samples.told()
        after = {process.pid for process in service.processes() if process.role != "decoder"}
        with contextlib.suppress(ZeroDivisionError):
            grown = samples.values["store KiB"][-1] - samples.values["store KiB"][0]
            print(f"store: {grown / mix.num_made:.1f} KiB for each of {mix.num_made} videos")
        statuses = ", ".join(f"{status} {number}" for status, number in sorted(mix.statuses.items()))
        print(f"seed {options.seed}, {minutes:g} min; answers {statuses}; reads {in_ms(mix.reads_s)}")
        print(f"the same processes: {'yes' if before == after else 'NO'}; wrong: {mix.wrong[:5] or 'none'}")
        codes = service.end(wait_s=20)
    return 0 if is_flat and not mix.wrong and before == after and codes == [0] else 1


if __name__ == "__main__":
    sys.exit(main())
