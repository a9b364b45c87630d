"""What Prometheus is told: requests as this process answers them, jobs, the queue and workers as the store has them.

Counters of jobs are the store's: they survive restarts, and each API process tells the same. Histograms of jobs are of
those that began or ended while this process ran.
"""

import collections
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cogvideox
from cogvideox.serving.files import FileStore
from cogvideox.serving.job import STATES, Job, Mark, StoreUnavailableError, Worker
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.libraries import prometheus_client, sqlalchemy
from cogvideox.serving.model_catalog import ModelCatalog
from cogvideox.serving.outbox import outbox_state
from cogvideox.serving.schema import jobs
from cogvideox.serving.submission import FRESH_S

HTTP_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0)
STORE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
JOB_BUCKETS_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
STEP_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
STAGES = ("text", "denoise", "vae", "encode")
USUAL_REASONS = ("completed", "released", "lease_lost", "canceled", "internal", "out_of_memory", "worker_lost")
"""Of ends of tries, told from the beginning: a counter that begins at one has no rise."""
MAX_REMEMBERED = 10_000
"""Jobs that were told, so that each is told once."""


class Metrics:
    """The numbers of one process."""

    def __init__(self, store: JobStore, files: FileStore, catalog: ModelCatalog) -> None:
        """Count from now on."""
        library = prometheus_client()
        self._store, self._catalog = store, catalog
        self._registry = registry = library.CollectorRegistry()
        self.requests = library.Counter(
            "cogvideox_http_requests", "Requests", ["method", "route", "status"], registry=registry
        )
        self.seconds = library.Histogram(
            "cogvideox_http_seconds", "Time to the last byte", ["route"], buckets=HTTP_BUCKETS_S, registry=registry
        )
        self.rejects = library.Counter("cogvideox_rejects", "Refusals", ["code"], registry=registry)
        self.streams = library.Gauge("cogvideox_event_streams", "Open event streams", registry=registry)
        self.missing = library.Counter(
            "cogvideox_missing_files", "Files of jobs that were asked for and are not on the disk", registry=registry
        )
        disk = library.Gauge("cogvideox_disk_free_bytes", "Until the floor is reached", registry=registry)
        disk.set_function(lambda: _free_bytes(files))
        self._latency = library.Histogram(
            "cogvideox_store_latency_seconds",
            "Of a look at the store for this page",
            buckets=STORE_BUCKETS_S,
            registry=registry,
        )
        self._is_up = library.Gauge("cogvideox_store_up", "Whether the store answers", registry=registry)
        version = library.Gauge("cogvideox_info", "Version", ["version"], registry=registry)
        version.labels(cogvideox.__version__).set(1)
        self._times = _JobTimes(store, registry)
        self._lock = threading.Lock()

    def page(self) -> tuple[bytes, str]:
        """Return all of it as text, and its type. Asks the store; without it, what this process knows by itself."""
        library: Any = prometheus_client()
        with self._lock:
            begun_s, families = time.monotonic(), ()
            try:
                families = tuple(self._of_the_store())
                self._times.look()
                self._is_up.set(1)
            except StoreUnavailableError:
                self._is_up.set(0)
            self._latency.observe(time.monotonic() - begun_s)
            told = library.CollectorRegistry()
            told.register(_Told(families))
            text = library.generate_latest(self._registry) + library.generate_latest(told)
        return text, library.CONTENT_TYPE_LATEST

    def _of_the_store(self) -> Iterator[Any]:
        core = prometheus_client().core
        counts, tallies = self._store.counts(), self._store.tallies()
        fresh = [worker for worker in self._store.workers() if worker.silent_s < FRESH_S]
        outbox = outbox_state(self._store.database)
        gauges = {
            "cogvideox_worker_up": ("Workers that report", counts.num_workers),
            "cogvideox_queue_oldest_seconds": ("How long the oldest job in the queue waits", self._oldest_s()),
            "cogvideox_outbox_oldest_seconds": ("How long the oldest event waits to be sent", outbox.oldest_s),
            "cogvideox_outbox_waiting": ("Events that wait to be sent", outbox.num_waiting),
        }
        for name, (text, value) in gauges.items():
            yield core.GaugeMetricFamily(name, text, value=value)
        counters = {
            "cogvideox_lease_lost": ("Leases that ran out", tallies.get("lease_lost", 0)),
            "cogvideox_resume": ("Tries that went on from the state of an earlier one", tallies.get("resumes", 0)),
            "cogvideox_outbox_given_up": ("Events that no target took", outbox.num_given_up),
        }
        for name, (text, value) in counters.items():
            yield core.CounterMetricFamily(name, text, value=value)
        stored = core.GaugeMetricFamily("cogvideox_jobs_stored", "Jobs that are not deleted", labels=["state"])
        for state in STATES:
            stored.add_metric([state], counts.by_state.get(state, 0))
        yield stored
        depth = core.GaugeMetricFamily("cogvideox_queue_depth", "Jobs that wait", labels=["priority"])
        for priority, number in sorted(({0: 0} | dict(counts.queued_by_priority)).items()):
            depth.add_metric([str(priority)], number)
        yield depth
        yield _attempts(tallies)
        yield self._ended(tallies)
        yield _memory(fresh)

    def _ended(self, tallies: Mapping[str, int]) -> Any:
        labels = ["model", "outcome", "code"]
        family = prometheus_client().core.CounterMetricFamily("cogvideox_jobs", "Jobs that ended", labels=labels)
        numbers: collections.Counter[tuple[str, str, str]] = collections.Counter()
        for model in self._catalog:
            numbers[model.name, "completed", ""] = numbers[model.name, "failed", "internal"] = 0
        for name, number in tallies.items():
            if name.startswith("jobs:"):
                _, outcome, code, model = name.split(":", 3)
                numbers[self._catalog.public_name(model), outcome, code] += number
        for told, number in sorted(numbers.items()):
            family.add_metric(told, number)
        return family

    def _oldest_s(self) -> float:
        sa = sqlalchemy()
        queued = sa.select(sa.func.min(jobs.c.created_us)).where(jobs.c.state == "queued")
        with self._store.database.reading() as transaction:
            oldest_us = transaction.connection.execute(queued).scalar_one()
            return 0.0 if oldest_us is None else max(transaction.now_us - oldest_us, 0) / 1e6


class _Told:
    """Gives families to a registry."""

    def __init__(self, families: Sequence[Any]) -> None:
        self._families = families

    def collect(self) -> Sequence[Any]:
        return self._families


class _JobTimes:
    """Times of jobs, of each once, as they are found in the store."""

    def __init__(self, store: JobStore, registry: Any) -> None:
        library = prometheus_client()
        self._store = store
        self._mark: Mark = store.change_mark()
        self._begun: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._ended: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._waits = library.Histogram(
            "cogvideox_queue_wait_seconds", "From a request to its first try", buckets=JOB_BUCKETS_S, registry=registry
        )
        self._stages = library.Histogram(
            "cogvideox_job_seconds",
            "Of completed jobs, by stage",
            ["stage"],
            buckets=JOB_BUCKETS_S,
            registry=registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._steps = library.Histogram(
            "cogvideox_step_seconds", "Of a step of a completed job", buckets=STEP_BUCKETS_S, registry=registry
        )

    def look(self) -> None:
        """Take in what has changed since the last time."""
        changes = self._store.changes(self._mark)
        self._mark = changes.mark
        for job in changes.jobs:
            if not job.is_expired:  # it ended long ago
                self._take(job)

    def _take(self, job: Job) -> None:
        if job.started_us is not None and _is_new(self._begun, job.id):
            self._waits.observe(max(job.started_us - job.created_us, 0) / 1e6)
        if job.state != "completed" or not _is_new(self._ended, job.id):
            return
        for stage in STAGES:
            if (seconds := _seconds(job.facts, f"seconds_{stage}")) is not None:
                self._stages.labels(stage).observe(seconds)
        if (seconds := _seconds(job.facts, "seconds_step")) is not None:
            self._steps.observe(seconds)


def _is_new(remembered: collections.OrderedDict[str, None], job_id: str) -> bool:
    if job_id in remembered:
        return False
    remembered[job_id] = None
    if len(remembered) > MAX_REMEMBERED:
        remembered.popitem(last=False)
    return True


def _free_bytes(files: FileStore) -> int:
    try:
        return files.free_bytes()
    except OSError:  # the disk is away
        return 0


def _seconds(facts: Mapping[str, Any], name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, int | float) and value >= 0 else None


def _attempts(tallies: Mapping[str, int]) -> Any:
    core = prometheus_client().core
    family = core.CounterMetricFamily("cogvideox_attempts", "Tries, by how they ended", labels=["reason"])
    numbers = dict.fromkeys(USUAL_REASONS, 0)
    numbers |= {name.partition(":")[2]: number for name, number in tallies.items() if name.startswith("attempts:")}
    for reason, number in sorted(numbers.items()):
        family.add_metric([reason], number)
    return family


def _memory(workers: Sequence[Worker]) -> Any:
    """Return the memory of devices that workers tell of: free, total."""
    core = prometheus_client().core
    family = core.GaugeMetricFamily("cogvideox_gpu_mem_bytes", "Of workers' devices", labels=["worker", "kind"])
    for worker in workers:
        told = worker.facts.get("device_memory_bytes")
        for kind, value in sorted(told.items()) if isinstance(told, Mapping) else ():
            if isinstance(value, int | float):
                family.add_metric([worker.id, str(kind)], value)
    return family
