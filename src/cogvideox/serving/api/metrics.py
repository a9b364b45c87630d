"""What Prometheus is told: requests as this process answers them, the queue and workers as the store has them."""

import time
from typing import Any

import cogvideox
from cogvideox.serving.files import FileStore
from cogvideox.serving.job import STATES
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.libraries import prometheus_client

HTTP_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0)


class Metrics:
    """The numbers of one process."""

    def __init__(self, store: JobStore, files: FileStore) -> None:
        library = prometheus_client()
        self._store, self._files = store, files
        self._registry = registry = library.CollectorRegistry()
        self.requests = library.Counter(
            "cogvideox_http_requests", "Requests", ["method", "route", "status"], registry=registry
        )
        self.seconds = library.Histogram(
            "cogvideox_http_seconds", "Time to the last byte", ["route"], buckets=HTTP_BUCKETS_S, registry=registry
        )
        self.rejects = library.Counter("cogvideox_rejects", "Refusals", ["code"], registry=registry)
        self.streams = library.Gauge("cogvideox_event_streams", "Open event streams", registry=registry)
        self._jobs = library.Gauge("cogvideox_jobs", "Jobs that are not deleted", ["state"], registry=registry)
        self._depth = library.Gauge("cogvideox_queue_depth", "Jobs that wait", ["priority"], registry=registry)
        self._workers = library.Gauge("cogvideox_worker_up", "Workers that report", registry=registry)
        self._disk = library.Gauge("cogvideox_disk_free_bytes", "Until the floor is reached", registry=registry)
        self._latency = library.Gauge(
            "cogvideox_store_latency_seconds", "Of a look at the store, just now", registry=registry
        )
        version = library.Gauge("cogvideox_info", "Version", ["version"], registry=registry)
        version.labels(cogvideox.__version__).set(1)

    def page(self) -> tuple[bytes, str]:
        """Return all of it as text, and its type. Asks the store."""
        begun_s = time.monotonic()
        counts = self._store.counts()
        self._latency.set(time.monotonic() - begun_s)
        for state in STATES:
            self._jobs.labels(state).set(counts.by_state.get(state, 0))
        self._depth.clear()
        self._depth.labels("0").set(0)
        for priority, number in counts.queued_by_priority.items():
            self._depth.labels(str(priority)).set(number)
        self._workers.set(counts.num_workers)
        self._disk.set(self._files.free_bytes())
        library: Any = prometheus_client()
        return library.generate_latest(self._registry), library.CONTENT_TYPE_LATEST
