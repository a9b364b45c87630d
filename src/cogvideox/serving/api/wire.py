"""Jobs as clients get them."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cogvideox.serving.job import Job, Position
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.model_catalog import ModelCatalog, seconds_text
from cogvideox.serving.requests import asked_text
from cogvideox.serving.submission import pace
from cogvideox.serving.video_params import VideoParams, params_of

VIEW_S = 0.5
"""How old a look at the queue may be."""
POLL_AFTER_MS = 1000
FALLBACK_MESSAGES = {
    "canceled": "the video was canceled",
    "timeout": "it took too long",
    "worker_lost": "what made it stopped twice",
}
VARIANT_ROLES = {"video": "result", "thumbnail": "thumbnail", "spritesheet": "spritesheet", "preview": "preview"}
VARIANT_ROLES |= {"gif": "result"}


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """The queue at one moment."""

    positions: Mapping[str, Position]
    job_s: float
    """A typical job's time."""
    num_workers: int


class QueueWatch:
    """Looks at the queue, and not for every reader anew."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._view: QueueView | None = None
        self._seen_s = 0.0

    def look(self) -> QueueView:
        """Return the queue as it is, or was a moment ago."""
        with self._lock:
            if self._view is None or time.monotonic() - self._seen_s > VIEW_S:
                with self._store.database.reading() as transaction:
                    job_s, num_workers = pace(transaction)
                positions = self._store.positions()
                self._view = QueueView(positions=positions, job_s=job_s, num_workers=num_workers)
                self._seen_s = time.monotonic()
            return self._view


def video_json(job: Job, catalog: ModelCatalog, watch: QueueWatch) -> dict[str, Any]:
    """Return a job as a video of the API."""
    params = params_of(job.params)
    address = f"/v1/videos/{job.id}"
    is_ready = job.state == "completed"
    variants = [name for name, role in VARIANT_ROLES.items() if role in job.files and not job.is_expired]
    links = {"self": address, "content": f"{address}/content", "cancel": f"{address}/cancel"}
    links["events"] = f"{address}/events"
    if "preview" in variants:
        links["preview"] = f"{address}/content?variant=preview&version={job.files['preview'].sha256[:16]}"
    if "thumbnail" in variants:
        links["thumbnail"] = f"{address}/content?variant=thumbnail"
    return {
        "id": job.id,
        "object": "video",
        "model": catalog.public_name(job.model),
        "status": job.state,
        "progress": 100 if is_ready else min(job.progress, 99),
        "created_at": job.created_us // 10**6,
        "started_at": _seconds(job.started_us),
        "completed_at": _seconds(job.finished_us) if is_ready else None,
        "expires_at": _seconds(job.expires_us),
        "seconds": seconds_text(params.num_frames, params.fps),
        **asked_text(params),
        "seed": job.seed,
        "remixed_from_video_id": job.remixed_from,
        "error": _error(job),
        "stage": job.stage or None,
        "step": job.step,
        "num_steps": job.num_steps,
        "attempt": job.attempt,
        "is_canceling": job.is_cancel_requested and not job.is_terminal,
        "is_expired": job.is_expired,
        **_waiting(job, params, watch),
        "usage": _usage(job),
        "variants": variants,
        "has_preview": "preview" in variants,
        "warnings": [dict(warning) for warning in job.warnings],
        "links": links,
    }


def _seconds(time_us: int | None) -> int | None:
    return None if time_us is None else time_us // 10**6


def _error(job: Job) -> dict[str, str] | None:
    if job.error_code is None:
        return None
    message = job.error_message or FALLBACK_MESSAGES.get(job.error_code, "it did not work")
    return {"code": job.error_code, "message": message}


def _waiting(job: Job, params: VideoParams, watch: QueueWatch) -> dict[str, Any]:
    if job.is_terminal:
        return {"queue_position": None, "queue_eta_seconds": None, "eta_seconds": None}
    view = watch.look()
    if job.state == "queued":
        position = view.positions.get(job.id)
        wait_s = position.wait_s if position is not None else 0
        place = position.num_ahead if position is not None else 0
        return {"queue_position": place, "queue_eta_seconds": wait_s, "eta_seconds": round(wait_s + view.job_s)}
    begun = {"queue_position": None, "queue_eta_seconds": None}
    if job.progress < 1 or job.started_us is None:
        return begun | {"eta_seconds": round(view.job_s)}
    elapsed_s = max(time.time() - job.started_us / 1e6, 0)
    return begun | {"eta_seconds": round(elapsed_s * (100 - job.progress) / job.progress)}


def _usage(job: Job) -> dict[str, Any] | None:
    if job.state != "completed":
        return None
    parts = [job.facts.get(name) for name in ("seconds_text", "seconds_denoise", "seconds_vae", "seconds_encode")]
    return {"gpu_seconds": round(sum(part for part in parts if isinstance(part, int | float)), 3)}
