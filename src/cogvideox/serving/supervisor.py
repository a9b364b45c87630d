"""The whole service in one command: the API, workers and the janitor, started again when they end.

The supervisor itself opens the port, so that no request is refused while the API starts again; it does nothing else
that could fail. Whatever is killed, jobs are in the store. A process that is there but shows no sign of life is killed.
"""

import dataclasses
import http.client
import logging
import math
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from cogvideox.serving.api.settings import ApiSettings
from cogvideox.serving.data_folder import check_store_kept, join_folder
from cogvideox.serving.dead_workers import PLACE, give_back_jobs_of_dead_workers, process_facts
from cogvideox.serving.files import FileStore, only_supervisor
from cogvideox.serving.janitor import Retention, Swept, sweep
from cogvideox.serving.job import Reaped, StoreError, StoreUnavailableError
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.keys import kept_pepper
from cogvideox.serving.process_ties import start_process
from cogvideox.serving.webhook_sender import Sender
from cogvideox.serving.worker import WorkerSettings

log = logging.getLogger(__name__)

LOOK_S = 0.2
REAP_S = 2.0
SWEEP_S = 60.0
SETTLED_S = 30.0
"""A process that lived for this long is started again at once."""
MAX_BACKOFF_S = 30.0
MAX_KILLED_BACKOFF_S = 2.0
"""Of a process that a signal ended: the next one may well live."""
AWAY_BACKOFF_S = 2.0
"""While the file of the store is not in its place."""
API_GRACE_S = 5.0
KILL_S = 10.0
"""After its grace a process is killed."""
MIN_MISSES = 4
"""Looks in a row at which a process showed no sign of life, before it is taken for hanging."""
FIRST_S = 120.0
"""For the first sign of life: a busy machine starts processes slowly."""
WORKER_PATIENCE = 2.0
"""How many times as long as the API a worker may be silent; its lease has lapsed then."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What a service consists of."""

    api: ApiSettings
    worker: WorkerSettings
    num_workers: int = 1
    """On this machine; more can join from anywhere."""
    retention: Retention = dataclasses.field(default_factory=Retention)
    hang_s: float = 40.0
    """An API that answered nothing for so long is killed and started again; a worker after twice that time."""

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise ValueError(f"num_workers: expected at least 0, got {self.num_workers}")
        if self.hang_s <= 0:
            raise ValueError(f"hang_s: expected more than 0, got {self.hang_s}")


class Service:
    """A process that is kept running."""

    def __init__(
        self, name: str, start: Callable[[], subprocess.Popen], grace_s: float, *, hang_s: float = math.inf
    ) -> None:
        """Say how it is started, how long it may take to end, and how long it may show no sign of life."""
        self.name = name
        self._start = start
        self._grace_s = grace_s
        self._hang_s = hang_s
        self._is_known = False
        """It has shown a sign of life."""
        self._well_s = 0.0
        self._num_misses = 0
        self._process: subprocess.Popen | None = None
        self._started_s = 0.0
        self._start_at_s = 0.0
        self._num_deaths = 0
        self._kill_at_s: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The number of the process."""
        process = self._process
        return None if process is None else process.pid

    def note(self, pid: int | None, *, is_well: bool) -> None:
        """Note whether process ``pid`` showed a sign of life when somebody looked."""
        if pid is None or pid != self.pid:  # it has ended since
            return
        if is_well:
            self._is_known, self._well_s, self._num_misses = True, time.monotonic(), 0
        else:
            self._num_misses += 1

    def forgive(self) -> None:
        """Forget that it showed no sign of life: nobody could have seen any."""
        self._well_s, self._num_misses = time.monotonic(), 0

    def _is_hanging(self, now_s: float) -> bool:
        patience_s = self._hang_s if self._is_known else max(self._hang_s, FIRST_S)
        return self.is_running and self._num_misses >= MIN_MISSES and now_s - self._well_s > patience_s

    def look(self) -> None:
        """Start the process if it is not there and its time has come; kill it if it hangs."""
        now_s = time.monotonic()
        if self._process is not None and self._is_hanging(now_s):
            log.error("%s shows no sign of life: killed", self.name, extra={"silent_s": round(now_s - self._well_s, 1)})
            self.forgive()
            self._process.kill()  # it ends even if it is stopped
        if self._process is not None and not self.is_running:
            code = self._process.returncode
            self._forget()
            self._num_deaths = 1 if now_s - self._started_s > SETTLED_S else self._num_deaths + 1
            longest_s = MAX_KILLED_BACKOFF_S if code < 0 else MAX_BACKOFF_S
            wait_s = min(0.5 * 2.0 ** (self._num_deaths - 1), longest_s) if self._num_deaths > 1 else 0.0
            self._start_at_s = now_s + wait_s
            log.error("%s ended, starts again", self.name, extra={"exit_code": code, "wait_s": wait_s})
        if self._process is None and now_s >= self._start_at_s:
            try:
                self._process, self._started_s = self._start(), now_s
                self._is_known = False
                self.forgive()
            except OSError as error:  # no memory for another process, say
                is_away = isinstance(error, StoreUnavailableError)
                self._start_at_s = now_s + (AWAY_BACKOFF_S if is_away else MAX_BACKOFF_S)
                log.error("%s cannot start: %s", self.name, error)

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGTERM)
            self._kill_at_s = self._kill_at_s or time.monotonic() + self._grace_s + KILL_S

    def kill_if_late(self) -> None:
        """Kill it if it has not ended in time."""
        if self._process is not None and self._kill_at_s is not None and time.monotonic() > self._kill_at_s:
            log.error("%s does not end: killed", self.name)
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def _forget(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        self._process = None


class Supervisor:
    """Keeps the service running until it is told to stop."""

    def __init__(self, settings: ServiceSettings, listener: socket.socket) -> None:
        """Plan the processes; `run` starts them."""
        self.settings = settings
        self._listener = listener
        self._store: JobStore | None = None
        self._num_signals = 0
        self._is_ending = threading.Event()
        api, worker = _plain(settings.api), _plain(settings.worker)
        self._api = Service("api", lambda: self._start_api(api), API_GRACE_S, hang_s=settings.hang_s)
        grace_s, self._worker_hang_s = settings.worker.grace_s, WORKER_PATIENCE * settings.hang_s

        def start_worker() -> subprocess.Popen:
            self._check_in_place()
            return start_process("cogvideox.serving.worker_main", worker)

        self._workers = [
            Service(f"worker {number}", start_worker, grace_s, hang_s=self._worker_hang_s)
            for number in range(1, settings.num_workers + 1)
        ]

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT; a second one does not wait for jobs.

        Args:
            on_ready: called when the API answers.

        Raises:
            StoreError: the store, the data directory or its keys cannot be used, or another process serves it.
        """
        files = FileStore(self.settings.api.data_dir)
        with only_supervisor(self.settings.api.data_dir):
            store = self._opened_store(files)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            janitor = threading.Thread(target=self._clear_away, args=(store, files), daemon=True)
            janitor.start()
            threading.Thread(target=self._watch_api, daemon=True).start()
            sender = threading.Thread(target=Sender(store.database).run, args=(self._is_ending,), daemon=True)
            sender.start()
            try:
                self._keep_running(on_ready)
                self._end()
            finally:
                self._is_ending.set()
                for service in (*self._workers, self._api):
                    service.kill()
                janitor.join(timeout=10)
                sender.join(timeout=10)
                store.close()

    def _opened_store(self, files: FileStore) -> JobStore:
        api = self.settings.api
        check_store_kept(api.store_url, files.folder)
        store = JobStore.open(api.store_url, limits=api.queue)
        try:
            join_folder(store.database, files.folder)
            if api.requires_key:
                kept_pepper(files.folder, store.database)
        except BaseException:
            store.close()
            raise
        self._store = store
        return store

    def _on_signal(self, _: int, __: FrameType | None) -> None:
        self._num_signals += 1

    def _keep_running(self, on_ready: Callable[[], None]) -> None:
        is_told = False
        while not self._num_signals:
            for service in (self._api, *self._workers):
                service.look()
            if not is_told and self._status(timeout_s=1.0) == http.client.OK:
                is_told = True
                on_ready()
            time.sleep(LOOK_S)

    def _end(self) -> None:
        """Let workers end first: the API tells meanwhile what becomes of the jobs."""
        num_seen = 0
        while any(worker.is_running for worker in self._workers):
            if self._num_signals > num_seen:
                num_seen = self._num_signals
                for worker in self._workers:
                    worker.ask_to_end()
            for worker in self._workers:
                worker.kill_if_late()
            self._api.look()
            time.sleep(LOOK_S)
        self._api.ask_to_end()
        while self._api.is_running:
            self._api.kill_if_late()
            time.sleep(LOOK_S / 4)

    def _check_in_place(self) -> None:
        """Raise StoreUnavailableError rather than start a process that would begin a new store in the place of ours."""
        assert self._store is not None
        self._store.database.check_in_place()

    def _start_api(self, settings: Mapping[str, Any]) -> subprocess.Popen:
        self._check_in_place()
        descriptor = self._listener.fileno()
        values = {"settings": settings, "descriptor": descriptor}
        return start_process("cogvideox.serving.api_main", values, descriptors=(descriptor,))

    def _watch_api(self) -> None:
        """See whether the API answers, until the service ends. Any answer will do: a busy one refuses requests."""
        timeout_s = self.settings.hang_s / MIN_MISSES
        while not self._is_ending.wait(timeout_s / 4):
            pid = self._api.pid
            if pid is not None:
                self._api.note(pid, is_well=self._status(timeout_s=timeout_s) is not None)

    def _watch_workers(self, store: JobStore) -> None:
        """See whether the workers of this service report to the store."""
        own = {PLACE: None, **process_facts()}[PLACE], socket.gethostname()
        silent_s = {
            worker.pid: worker.silent_s for worker in store.workers() if (worker.facts.get(PLACE), worker.host) == own
        }
        for service in self._workers:
            pid = service.pid
            service.note(pid, is_well=silent_s.get(pid or 0, math.inf) < self._worker_hang_s)

    def _status(self, *, timeout_s: float) -> int | None:
        """Return the status with which the API answers; None if it does not answer in time."""
        host, port = self._listener.getsockname()[:2]
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(host), str(host))
        connection = http.client.HTTPConnection(here, port, timeout=timeout_s)
        try:
            connection.request("GET", "/livez", headers={"host": f"localhost:{port}"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _clear_away(self, store: JobStore, files: FileStore) -> None:
        """Take back jobs of workers that are gone, and remove what nobody needs, until the service ends."""
        swept_s = time.monotonic()
        while not self._is_ending.wait(REAP_S):
            _try("jobs of dead workers", lambda: _tell_taken_back(give_back_jobs_of_dead_workers(store)))
            _try("jobs without a lease", lambda: _tell_taken_back(store.reap()))
            if not _try("workers", lambda: self._watch_workers(store)):
                for service in self._workers:
                    service.forgive()
            if time.monotonic() - swept_s > SWEEP_S:
                _try("sweep", lambda: _tell_swept(sweep(store, files, self.settings.retention)))
                swept_s = time.monotonic()


def _try(what: str, step: Callable[[], None]) -> bool:
    """Take a step of the janitor; whatever goes wrong, the others are taken, and this one again later."""
    try:
        step()
    except (StoreError, StoreUnavailableError, OSError) as error:
        log.warning("janitor: %s: %s", what, error)
    except Exception:
        log.exception("janitor: %s", what)
    else:
        return True
    return False


def _tell_taken_back(jobs: tuple[Reaped, ...]) -> None:
    for job in jobs:
        values = {"job_id": job.job_id, "outcome": job.outcome, "code": job.error_code}
        log.warning("job taken back", extra=values)


def _tell_swept(swept: Swept) -> None:
    log.info("swept", extra=dataclasses.asdict(swept))


def _plain(settings: Any) -> dict[str, Any]:
    return dataclasses.asdict(settings)
