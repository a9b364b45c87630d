"""Chaos: a service whose processes are killed and stopped at random, clients that try again, and what must hold then.

    python -m benchmarks.serving_chaos --quick                      # 100 jobs, 30 kills, SQLite
    python -m benchmarks.serving_chaos --quick --store postgresql   # the same, and the database restarts too
    python -m benchmarks.serving_chaos --store postgresql --seed 7  # 500 jobs, 150 kills

``cogvideox serve`` with one worker and ``cogvideox worker``, both with an engine that makes noise out of numbers, are
started again when they end, as the system does it for services. Three clients with a key each make, cancel and delete
videos, send requests again and try to see each other's. Any process gets SIGKILL, or SIGSTOP and later SIGCONT. At the
end everything is checked in the store, by a history that the database itself wrote, on the disk and frame by frame.
The seed decides who does what in which order; how it meets the timing of the machine is another matter. Exit status 1
if anything was violated.
"""

import argparse
import collections
import contextlib
import http.client
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_invariants import Findings, Told, check_everything, install_audit, live_jobs
from benchmarks.serving_tools import (
    STORE_KINDS,
    Answer,
    Fleet,
    Process,
    Role,
    StoreKind,
    exchange,
    fleet,
    free_port,
    store_of,
    wait_until_ready,
)
from cogvideox.media.writers import write_video
from cogvideox.serving.files import FileStore
from cogvideox.serving.job import StoreUnavailableError
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.keys import KeyRing, kept_pepper

LEASE_S, STALL_S, GRACE_S = 6.0, 6.0, 4.0
STEP_S = 0.12
NUM_CLIENTS = 3
MAX_OWN_LIVE = 6
"""Videos of a client that have not ended; of ten that a key may have in the queue."""
KILL_ROLES: dict[Role, float] = {"worker": 3.0, "engine": 3.0, "api": 3.0, "supervisor": 1.5, "decoder": 1.0}
STOP_ROLES: dict[Role, float] = {"worker": 3.0, "engine": 2.0, "api": 1.5, "supervisor": 0.5}
STOP_SHARE, ALL_SHARE = 0.25, 0.05
"""Of faults: stops instead of kills, and kills of everything at once."""
PAUSE_S = (0.3, 3.0)
"""Between two faults."""
NUM_KILLS_PER_RESTART = 10
UPLOAD_FRAMES = 9
HASTY_SHARE, HASTY_S = 0.08, 0.03
"""Of requests for videos: those whose client does not wait for the answer, and sends them again."""
SETTLE_S = 300.0
"""Without faults, and without a change in the store."""
RETRY_S, TIMEOUT_S = 240.0, 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.3, 4.0
OK_STATUSES = (200, 404, 409, 410, 422)
RETRIED = (408, 429, 503)


@dataclass
class Run:
    """What all threads share."""

    port: int
    num_jobs: int
    num_kills: int
    keys: Mapping[str, str]
    """Of the API, by owner."""
    upload: bytes
    told: Told = field(default_factory=Told)
    answers: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    num_replays: int = 0
    num_thefts: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)
    """There are no more faults."""

    @property
    def kills(self) -> int:
        """How many kills there were."""
        return sum(number for name, number in self.faults.items() if name.startswith("kill"))

    @property
    def needs_more(self) -> bool:
        """Whether clients go on: there are not enough jobs, or faults still come."""
        return len(self.told.owners) < self.num_jobs or not self.is_over.is_set()

    def violated(self, what: str) -> None:
        """Note a violation."""
        with self.lock:
            self.told.violations.append(what)


class Client(threading.Thread):
    """Makes videos, as a program with a client library would."""

    def __init__(self, run: Run, owner: str, seed: int) -> None:
        super().__init__(daemon=True, name=owner)
        self.shared, self.owner, self.dice = run, owner, random.Random(seed)
        self.live: list[str] = []
        self.ended: list[str] = []
        self.sent: list[tuple[str, bytes, dict[str, str]]] = []
        self.number = 0

    def run(self) -> None:
        """Make videos until there are enough of them and of faults."""
        try:
            while self.shared.needs_more or self.live:
                if self.shared.needs_more and len(self.live) < MAX_OWN_LIVE:
                    self.make()
                self.disturb()
                self.look()
                time.sleep(self.dice.uniform(0.05, 0.4))
        except Exception as error:
            self.shared.violated(f"client {self.owner}: {type(error).__name__}: {error}")
            raise

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        first_timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """Send a request until it is answered for good. I8: no other 5xx than 503."""
        sent = {"Authorization": f"Bearer {self.shared.keys[self.owner]}", **(headers or {})}
        end_s, wait_s, timeout_s = time.monotonic() + RETRY_S, FIRST_WAIT_S, first_timeout_s
        while True:
            told_s = 0.0
            try:
                answer = exchange(self.shared.port, method, path, body, sent, timeout_s=timeout_s)
                name = f"{answer.status} {answer.code}".strip()
                told_s = float(answer.headers.get("retry-after", 0))
            except (OSError, http.client.HTTPException):
                answer, name = None, "none"
            with self.shared.lock:
                self.shared.answers[name] += 1
            if answer is not None and answer.status not in RETRIED:
                if answer.status not in OK_STATUSES:
                    self.shared.violated(f"I8: {method} {path}: {name}: {answer.content[:200]!r}")
                return answer
            if answer is not None and answer.status == 503 and not told_s and method != "GET":
                self.shared.violated(f"I8: {method} {path}: 503 without Retry-After")
            if time.monotonic() > end_s:
                raise TimeoutError(f"{method} {path}: {name} for {RETRY_S:.0f} s")
            timeout_s = TIMEOUT_S
            time.sleep(self.dice.uniform(0.5, 1) * max(wait_s, min(told_s, LONGEST_WAIT_S)))
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def make(self) -> None:
        """Ask for a video."""
        self.number += 1
        key = f"{self.owner}-{self.number}"
        # Some are equal: their files are the same on the disk.
        fields: dict[str, Any] = {"prompt": f"noise of {self.owner}", "seed": self.dice.randrange(20)}
        fields |= {"num_inference_steps": self.dice.choice((8, 15, 24)), "num_frames": self.dice.choice((9, 17))}
        fields |= {"size": self.dice.choice(("96x64", "64x64"))}
        body, headers = json.dumps(fields).encode(), {"Idempotency-Key": key, "Content-Type": "application/json"}
        if self.dice.random() < 0.06:
            body, kind = form(fields | {"num_frames": UPLOAD_FRAMES}, self.shared.upload)
            headers["Content-Type"] = kind
        timeout_s = HASTY_S if self.dice.random() < HASTY_SHARE else TIMEOUT_S
        made = self.ask("POST", "/v1/videos", body, headers, timeout_s)
        if made.status != 200:
            self.shared.violated(f"POST: {made.status} {made.content[:200]!r}")
            return
        video_id = made.json()["id"]
        with self.shared.lock:
            self.shared.num_replays += made.headers.get("idempotent-replayed") == "true"
            self.shared.told.ids_by_key[key] = video_id
            self.shared.told.owners[video_id] = self.owner
        self.live.append(video_id)
        self.sent.append((key, body, headers))

    def disturb(self) -> None:
        """Cancel, delete, send again, and try to see what is others'."""
        chance = self.dice.random()
        if chance < 0.012 and self.live:
            video_id = self.dice.choice(self.live)
            with self.shared.lock:
                self.shared.told.canceled.add(video_id)
            self.ask("POST", f"/v1/videos/{video_id}/cancel")
        elif chance < 0.022 and (self.live or self.ended):
            self.delete(self.dice.choice(self.live + self.ended))
        elif chance < 0.05 and self.sent:
            self.send_again(*self.dice.choice(self.sent))
        elif chance < 0.09:
            self.steal()

    def delete(self, video_id: str) -> None:
        """Delete a video."""
        with self.shared.lock:
            self.shared.told.deleted.add(video_id)
        answer = self.ask("DELETE", f"/v1/videos/{video_id}")
        if answer.status not in (200, 404):  # 404 if the first answer was lost
            self.shared.violated(f"DELETE: {answer.status}")
        for where in (self.live, self.ended):
            if video_id in where:
                where.remove(video_id)

    def send_again(self, key: str, body: bytes, headers: Mapping[str, str]) -> None:
        """I6: the same request means the same video; the same key with another one is refused."""
        is_other = self.dice.random() < 0.3 and headers["Content-Type"] == "application/json"
        if is_other:
            body = json.dumps(json.loads(body) | {"prompt": "something else"}).encode()
        answer = self.ask("POST", "/v1/videos", body, headers)
        expected = self.shared.told.ids_by_key[key]
        if is_other:
            is_right = answer.status == 422
        elif expected in self.shared.told.deleted:
            is_right = answer.status == 404
        else:
            is_right = answer.status == 200 and answer.json()["id"] == expected
        if not is_right:
            self.shared.violated(f"I6: {key} again: {answer.status} {answer.content[:200]!r}")

    def steal(self) -> None:
        """I7: what belongs to others is not there."""
        with self.shared.lock:
            others = [video_id for video_id, owner in self.shared.told.owners.items() if owner != self.owner]
        if not others:
            return
        path = f"/v1/videos/{self.dice.choice(others)}"
        tries = (("GET", path), ("GET", f"{path}/content"), ("POST", f"{path}/cancel"), ("DELETE", path))
        method, path = self.dice.choice((*tries, ("GET", f"{path}/events")))
        self.shared.num_thefts += 1
        if (status := self.ask(method, path).status) != 404:
            self.shared.violated(f"I7: {method} {path} of another owner: {status}")

    def look(self) -> None:
        """See how some videos are; what has ended stays as it was told first."""
        for video_id in self.dice.sample(self.live, min(3, len(self.live))):
            answer = self.ask("GET", f"/v1/videos/{video_id}")
            if answer.status != 200:
                self.shared.violated(f"I1: {video_id} was accepted: {answer.status}")
                self.live.remove(video_id)
                continue
            video = answer.json()
            if video["status"] in ("completed", "failed"):
                told = (video["status"], video["completed_at"], (video["error"] or {}).get("code"))
                with self.shared.lock:
                    self.shared.told.ends[video_id] = told
                self.live.remove(video_id)
                self.ended.append(video_id)
                if video["status"] == "completed" and self.dice.random() < 0.2:
                    self.download(video_id)

    def download(self, video_id: str) -> None:
        """Get a video itself."""
        answer = self.ask("GET", f"/v1/videos/{video_id}/content")
        if answer.status != 200 or answer.content[4:8] != b"ftyp":
            self.shared.violated(f"I3: {video_id}: content: {answer.status} {answer.content[:100]!r}")


def form(fields: Mapping[str, Any], content: bytes) -> tuple[bytes, str]:
    """Return a form with a video, and its type."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()
    ]
    head = '--edge\r\nContent-Disposition: form-data; name="input_reference"; filename="a.mp4"\r\n'
    body = "\r\n".join([*parts, head + "Content-Type: video/mp4\r\n\r\n"]).encode() + content + b"\r\n--edge--\r\n"
    return body, "multipart/form-data; boundary=edge"


class Chaos:
    """Kills and stops processes of a fleet until there were enough kills."""

    def __init__(self, run: Run, service: Fleet, database: Any, seed: int) -> None:
        self.shared, self.service, self.database, self.dice = run, service, database, random.Random(seed)
        self.stopped: list[tuple[float, Process]] = []

    def play(self) -> None:
        """Do it all."""
        next_s, num_restarts = time.monotonic(), 0
        while self.shared.kills < self.shared.num_kills or self.stopped:
            self.service.look()
            self.wake()
            if time.monotonic() >= next_s and self.shared.kills < self.shared.num_kills:
                if self.database is not None and self.shared.kills // NUM_KILLS_PER_RESTART > num_restarts:
                    num_restarts += 1
                    self.restart_database()
                else:
                    self.fault()
                next_s = time.monotonic() + self.dice.uniform(*PAUSE_S)
            time.sleep(0.1)
        self.shared.is_over.set()

    def fault(self) -> None:
        """Kill or stop something."""
        processes = self.service.processes()
        chance = self.dice.random()
        if chance < ALL_SHARE and processes:
            for process in processes:
                process.signal(signal.SIGKILL)
            self.shared.faults["kill all"] += 1
            return
        is_stop = chance < ALL_SHARE + STOP_SHARE
        weights = STOP_ROLES if is_stop else KILL_ROLES
        stopped = {process.pid for _, process in self.stopped}
        candidates = [each for each in processes if each.role in weights and not (is_stop and each.pid in stopped)]
        if not candidates:
            return
        # By role first: there are more workers than supervisors.
        roles: list[Role] = [role for role in weights if any(each.role == role for each in candidates)]
        role = self.dice.choices(roles, [weights[each] for each in roles])[0]
        candidates = sorted((each for each in candidates if each.role == role), key=lambda each: each.pid)
        process = self.dice.choice(candidates)
        if not is_stop:
            self.shared.faults[f"kill {role}"] += process.signal(signal.SIGKILL)
        elif process.signal(signal.SIGSTOP):
            is_long = self.dice.random() < 0.5
            lasts_s = self.dice.uniform(LEASE_S + 1, LEASE_S + 5) if is_long else self.dice.uniform(0.3, 3)
            self.stopped.append((time.monotonic() + lasts_s, process))
            self.shared.faults[f"stop {role}"] += 1

    def wake(self) -> None:
        """Let what was stopped go on when its time has come."""
        due = [each for each in self.stopped if time.monotonic() >= each[0]]
        for entry in due:
            entry[1].signal(signal.SIGCONT)
            self.stopped.remove(entry)

    def restart_database(self) -> None:
        """Stop the database, and start it a little later."""
        self.database.stop()
        time.sleep(self.dice.uniform(0.5, 4))
        self.database.start()
        self.shared.faults["restart database"] += 1


def prepare(store: JobStore, folder: Path) -> dict[str, str]:
    """Make the keys of the clients; return them by owner."""
    ring = KeyRing(store.database, kept_pepper(folder, store.database))
    return {name: ring.new(name, owner=name)[1] for name in [f"client{number}" for number in range(NUM_CLIENTS)]}


def small_video(folder: Path) -> bytes:
    """Return an mp4 to send."""
    frames = np.random.default_rng(0).integers(0, 255, (UPLOAD_FRAMES, 64, 96, 3), dtype=np.uint8)
    write_video(folder / "upload.mp4", [frames], fps=8.0)
    return (folder / "upload.mp4").read_bytes()


def settle(store: JobStore, service: Fleet, clients: list[Client]) -> list[str]:
    """Wait until all jobs have ended and clients know; return what is wrong."""
    end_s = time.monotonic() + SETTLE_S
    num_live, mark = -1, store.change_mark()
    while time.monotonic() < end_s:
        service.look()
        with contextlib.suppress(StoreUnavailableError):
            num_live = live_jobs(store)
            if not num_live and not any(client.is_alive() for client in clients):
                return []
            if (now := store.change_mark()) != mark:  # clients may still have jobs to make
                mark, end_s = now, time.monotonic() + SETTLE_S
        time.sleep(0.3)
    return [f"I1: {num_live} jobs have not ended, and nothing happens for {SETTLE_S:.0f} s without faults"]


def end_service(service: Fleet) -> list[str]:
    """End the service in order; return what is wrong."""
    codes = service.end(wait_s=GRACE_S + 30)
    left = service.kill()
    wrong = [f"end: exit codes {codes}"] if any(codes) or None in codes else []
    return wrong + ([f"end: processes are left: {[each.role for each in left]}"] if left else [])


def measure(kind: StoreKind, num_jobs: int, num_kills: int, seed: int, folder: Path) -> tuple[Run, Findings]:
    """Run it all."""
    with store_of(kind, folder) as (url, database), fleet(folder) as service:
        data_dir = folder / "data"
        files = FileStore(data_dir)
        store = JobStore.open(url)
        install_audit(store)
        run = Run(free_port(), num_jobs, num_kills, prepare(store, data_dir), small_video(folder))
        same = ("--data-dir", str(data_dir), "--store", url, "--engine", "fake", "--fake-step", str(STEP_S))
        same += ("--lease", str(LEASE_S), "--stall", str(STALL_S), "--grace", str(GRACE_S))
        service.add("serve", *same, "--port", str(run.port), "--workers", "1", "--require-key")
        wait_until_ready(run.port)
        service.add("worker", *same)
        clients = [Client(run, owner, seed * 1000 + number) for number, owner in enumerate(run.keys)]
        for client in clients:
            client.start()
        Chaos(run, service, database, seed).play()
        wrong = settle(store, service, clients)
        wrong += end_service(service)
        findings = check_everything(store, files, run.told)
        findings.violations += wrong
        store.close()
    return run, findings


def report(run: Run, found: Findings, started_s: float) -> None:
    def shown(counter: Mapping[str, int]) -> str:
        return ", ".join(f"{name} {number}" for name, number in sorted(counter.items()))

    minutes, told = (time.monotonic() - started_s) / 60, run.told
    print(f"{len(told.owners)} jobs, {run.kills} kills in {minutes:.1f} min; faults: {shown(run.faults)}")
    asked = f"{len(told.canceled)} cancels, {len(told.deleted)} deletes"
    print(f"ends: {shown(found.ends)}; {asked} asked; {found.num_claims} tries, {found.num_crashes} deaths of workers")
    tries = f"{found.num_retried} completed after more than one try, {found.num_resumed} of all went on from a state"
    print(f"{tries}; {found.num_videos} different videos decoded; {found.num_orphans} files unnamed before the sweep")
    print(f"answers: {shown(run.answers)}; {run.num_replays} replays, {run.num_thefts} tries to see others' videos")
    for violation in found.violations[:40]:
        print(f"VIOLATED {violation}")
    broken = {violation.split(":")[0] for violation in found.violations}
    print("invariants: " + ", ".join(f"I{n} {'BROKEN' if f'I{n}' in broken else 'holds'}" for n in range(1, 10)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 jobs and 30 kills instead of 500 and 150")
    parser.add_argument("--store", choices=STORE_KINDS, default="sqlite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--keep", action="store_true", help="keep the folder: data, log")
    options = parser.parse_args()
    num_jobs = options.jobs or (100 if options.quick else 500)
    num_kills = options.kills if options.kills is not None else (30 if options.quick else 150)
    folder = Path(tempfile.mkdtemp(prefix="cogvideox-chaos-"))
    print(f"chaos on {options.store}, seed {options.seed}", flush=True)
    started_s = time.monotonic()
    run, findings = measure(options.store, num_jobs, num_kills, options.seed, folder)
    report(run, findings, started_s)
    if options.keep or findings.violations:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if findings.violations else 0


if __name__ == "__main__":
    sys.exit(main())
