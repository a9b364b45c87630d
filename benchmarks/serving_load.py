"""Load: how quickly the API answers beside 100 open event streams, idle and with a worker, and what overload gets.

    python -m benchmarks.serving_load           # 30 s for each figure; on a quiet machine only
    python -m benchmarks.serving_load --quick   # 4 s each, to see that it works

``cogvideox serve`` with an engine that makes noise out of numbers. Requests come at a fixed rate, whether those before
were answered or not, and each time counts from when its request was due. What sends them runs on the same machine.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving_tools import Fleet, fleet, folder_bytes, free_port, in_ms, percentile, wait_until_ready

READ_RATE, MAKE_RATE = 150.0, 30.0
"""Requests a second."""
NUM_STREAMS = 100
NUM_QUEUED = 8
"""Of ten that one owner may have in the queue."""
NUM_CONNECTIONS = 40
NUM_GREEDY = 64
"""Connections that send requests without a pause."""
RECOVERY_S = 5.0
FIELDS = {"prompt": "noise", "num_inference_steps": 20, "num_frames": 9}
REFUSALS = (429, 503)
MIB = 2**20


@dataclass
class Connection:
    """A connection that is kept open."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: bytes = b"") -> asyncio.StreamReader:
        """Send a request; return what the answer is read from. Raises OSError."""
        # The server closes what is idle for long, as every server does.
        if self.reader is not None and self.reader.at_eof():
            self.close()
        if self.writer is None or self.writer.is_closing():
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader is not None
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost:{self.port}\r\ncontent-type: application/json\r\n"
        self.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return self.reader

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and content of an answer; status 0 if there was none."""
        try:
            reader = await self.send(method, path, body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            num_bytes = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
            content = await reader.readexactly(num_bytes)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0, b""
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), content

    def close(self) -> None:
        """Close it; the next request opens it again."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


@dataclass
class Timed:
    """Times of requests and what they were answered."""

    seconds: list[float] = field(default_factory=list)
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)


class Load:
    """What is asked of one service."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.pool: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for _ in range(NUM_CONNECTIONS):
            self.pool.put_nowait(Connection(port))
        self.ids: collections.deque[str] = collections.deque(maxlen=NUM_QUEUED)
        self.num_events = 0

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request by a connection that is free."""
        connection = await self.pool.get()
        try:
            return await connection.ask(method, path, body)
        finally:
            self.pool.put_nowait(connection)

    async def make(self) -> tuple[int, str]:
        """Ask for a video; return status and id."""
        status, content = await self.ask("POST", "/v1/videos", json.dumps(FIELDS).encode())
        return status, json.loads(content)["id"] if status == 200 else ""

    async def fill(self) -> None:
        """Have some videos in the queue, or being made."""
        while True:
            status, video_id = await self.make()
            if status != 200:
                return
            self.ids.append(video_id)
            if len(self.ids) == NUM_QUEUED:
                return

    async def keep_full(self) -> None:
        """Make videos as others end."""
        while True:
            status, video_id = await self.make()
            if status == 200:
                self.ids.append(video_id)
            await asyncio.sleep(0.3)

    async def listen(self, number: int) -> None:
        """Listen to one video after the other."""
        while True:
            connection = Connection(self.port)
            with contextlib.suppress(OSError):
                reader = await connection.send("GET", f"/v1/videos/{self.ids[number % len(self.ids)]}/events")
                while line := await reader.readline():
                    self.num_events += line.startswith(b"event:")
                    if line == b"0\r\n":
                        break
            connection.close()
            await asyncio.sleep(0.2)

    async def at_rate(self, rate: float, lasts_s: float, request: Callable[[int], object]) -> Timed:
        """Send requests at a fixed rate; each returns its status."""
        timed, begun_s, tasks = Timed(), time.perf_counter(), []

        async def one(number: int, due_s: float) -> None:
            status = await request(number)  # pyright: ignore[reportGeneralTypeIssues]
            timed.seconds.append(time.perf_counter() - due_s)
            timed.statuses[status] += 1

        for number in range(round(rate * lasts_s)):
            due_s = begun_s + number / rate
            await asyncio.sleep(max(due_s - time.perf_counter(), 0))
            tasks.append(asyncio.create_task(one(number, due_s)))
        await asyncio.gather(*tasks)
        return timed

    async def read(self, number: int) -> int:
        """Get a video; return the status."""
        return (await self.ask("GET", f"/v1/videos/{self.ids[number % len(self.ids)]}"))[0]

    async def overload(self, lasts_s: float) -> Timed:
        """Send requests for videos without a pause."""
        timed, end_s = Timed(), time.perf_counter() + lasts_s

        async def greedy() -> None:
            connection = Connection(self.port)
            while (begun_s := time.perf_counter()) < end_s:
                status, _ = await connection.ask("POST", "/v1/videos", json.dumps(FIELDS).encode())
                timed.seconds.append(time.perf_counter() - begun_s)
                timed.statuses[status] += 1
            connection.close()

        await asyncio.gather(*(greedy() for _ in range(NUM_GREEDY)))
        return timed

    @contextlib.asynccontextmanager
    async def streams(self, *more: object) -> AsyncIterator[None]:
        """Have event streams open, and do more beside."""
        tasks = [asyncio.create_task(self.listen(number)) for number in range(NUM_STREAMS)]
        tasks += [asyncio.create_task(each) for each in more]  # pyright: ignore[reportArgumentType]
        await asyncio.sleep(2)
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def told(name: str, timed: Timed, limit_ms: float | None = None, allowed: tuple[int, ...] = (200,)) -> bool:
    """Print a figure; return whether only what is allowed was answered."""
    p99_ms = 1000 * percentile(timed.seconds, 0.99)
    verdict = "" if limit_ms is None else f"; p99 < {limit_ms:.0f} ms: {'yes' if p99_ms < limit_ms else 'NO'}"
    is_right = set(timed.statuses) <= set(allowed)
    statuses = ", ".join(f"{status or 'none'} {number}" for status, number in sorted(timed.statuses.items()))
    print(f"{name}: {in_ms(timed.seconds)}{verdict}; answers {statuses}{'' if is_right else ' WRONG'}", flush=True)
    return is_right


async def measure(load: Load, service: Fleet, worker: tuple[str, ...], lasts_s: float) -> bool:
    """Measure everything; return whether all answers were right."""
    await load.fill()
    api = service.of("api")[0]
    idle_bytes = api.status("VmRSS")
    async with load.streams():
        name = f"GET one video, {READ_RATE:.0f}/s, {NUM_STREAMS} streams, no worker"
        is_right = told(name, await load.at_rate(READ_RATE, lasts_s, load.read), 50)

    async def make_and_delete(_: int) -> int:
        status, video_id = await load.make()
        if video_id:
            asyncio.get_running_loop().create_task(load.ask("DELETE", f"/v1/videos/{video_id}"))
        return status

    made = await load.at_rate(MAKE_RATE, lasts_s, make_and_delete)
    is_right &= told(f"POST without a file, {MAKE_RATE:.0f}/s, each deleted", made, 150, (200, 429))
    greedy = await load.overload(lasts_s)
    is_right &= told(f"POST from {NUM_GREEDY} connections without a pause", greedy, None, (200, *REFUSALS))
    after = await load.at_rate(READ_RATE / 2, RECOVERY_S, load.read)
    is_right &= told(f"GET in the {RECOVERY_S:.0f} s after", after)
    full_bytes = api.status("VmRSS")
    service.add(*worker)
    while not service.of("engine"):
        await asyncio.sleep(0.2)
    async with load.streams(load.keep_full()):
        name = f"GET one video, {READ_RATE:.0f}/s, {NUM_STREAMS} streams, with a worker"
        is_right &= told(name, await load.at_rate(READ_RATE, lasts_s, load.read), 150)
    peak_bytes = api.status("VmHWM")
    print(
        f"memory of the API: {idle_bytes / MIB:.0f} MiB idle, {full_bytes / MIB:.0f} after overload, peak "
        f"{peak_bytes / MIB:.0f}; {load.num_events} events were heard; {folder_bytes(service.folder)[0]} files"
    )
    is_alive = service.of("api") == [api]
    print(f"the API is the same process: {'yes' if is_alive else 'NO'}")
    return is_right and is_alive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    lasts_s = options.seconds or (4.0 if options.quick else 30.0)
    with tempfile.TemporaryDirectory(prefix="cogvideox-load-") as name, fleet(Path(name)) as service:
        port = free_port()
        same = ("--data-dir", f"{name}/data", "--engine", "fake", "--fake-step", "0.05", "--grace", "1")
        service.add("serve", *same, "--port", str(port), "--workers", "0")
        wait_until_ready(port, path="/livez")
        is_right = asyncio.run(measure(Load(port), service, ("worker", *same), lasts_s))
        service.end(wait_s=20)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
