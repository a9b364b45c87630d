"""What a video would take, before it is in the queue."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from cogvideox.generation.memory_plan import (
    BYTES_OF_DTYPE,
    GIB,
    MemoryPlan,
    Placement,
    PlannedVideo,
    plan_memory,
    smaller_videos,
)
from cogvideox.machine import group_memory
from cogvideox.serving.errors import ApiError
from cogvideox.serving.job import Job, Worker
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.model_catalog import CatalogModel
from cogvideox.serving.submission import FRESH_S
from cogvideox.serving.video_params import VideoParams, params_of

DEFAULT_DTYPE = "bfloat16"
VIEW_S = 2.0
NUM_TIMED = 50


class Planner:
    """Knows the workers, and how long videos took."""

    def __init__(self, store: JobStore, device_memory_bytes: int | None) -> None:
        self._store = store
        self._device_memory_bytes = device_memory_bytes
        self._lock = threading.Lock()
        self._workers: tuple[Worker, ...] = ()
        self._timed: tuple[Job, ...] = ()
        self._seen_s = -VIEW_S

    def workers(self) -> tuple[Worker, ...]:
        """Return the workers that reported lately and take jobs."""
        self._look()
        return self._workers

    def memory(self, params: VideoParams, model: CatalogModel) -> MemoryPlan | None:
        """Return what a video takes of the memory of the worker with most room for it; None if nobody says how much
        that is.
        """
        workers = [worker for worker in self.workers() if model.worker_name in worker.models]
        allowed = self._device_memory_bytes
        own = allowed or self._own_memory_bytes(workers)
        plans: list[MemoryPlan] = []
        for facts in [worker.facts for worker in workers] or [{}]:
            told = facts.get("memory_bytes")
            available = min(told, allowed or told) if isinstance(told, int) and told > 0 else own
            if available is not None:
                dtype = facts["dtype"] if facts.get("dtype") in BYTES_OF_DTYPE else DEFAULT_DTYPE
                plans.append(plan_memory(_planned(params, model, dtype), _placement(facts), available))
        return max(plans, key=lambda plan: plan.available_bytes - plan.peak_bytes, default=None)

    def check_memory(self, params: VideoParams, model: CatalogModel) -> None:
        """Raise ApiError, with two that would fit, if no worker has the memory for a video."""
        plan = self.memory(params, model)
        if plan is None or plan.fits:
            return
        planned = _planned(params, model, DEFAULT_DTYPE)
        sizes = [
            f"size {width}x{height}"
            for width, height in model.sizes_px
            if plan_memory(
                replace(planned, width_px=width, height_px=height), plan.placement, plan.available_bytes
            ).fits
        ]
        shorter = [
            f"num_frames {flags.split()[-1]}"
            for flags in smaller_videos(planned, plan)
            if flags.startswith("--num-frames")
        ]
        advice = " or ".join([*shorter, *sizes, "a smaller model", "a worker with more memory"][:2])
        needed, available = plan.peak_bytes / GIB, plan.available_bytes / GIB
        raise ApiError(
            "exceeds_device_memory",
            f"this video needs {needed:.1f} GiB of memory, and {available:.1f} GiB are there; ask for {advice}",
            param="size",
        )

    def seconds(self, params: VideoParams, model: CatalogModel) -> int | None:
        """Return about how long a video takes, by those that were made; None before the first one."""
        self._look()
        rates = []
        for job in self._timed:
            if job.model == model.worker_name and job.started_us is not None and job.finished_us is not None:
                rates.append((job.finished_us - job.started_us) / 1e6 / _work(params_of(job.params)))
        return None if not rates else max(round(sorted(rates)[len(rates) // 2] * _work(params)), 1)

    def _own_memory_bytes(self, workers: list[Worker]) -> int | None:
        """Return this machine's memory if workers must be on it, and use it."""
        is_here = self._store.database.kind == "sqlite" and all(worker.device == "cpu" for worker in workers)
        if not is_here:
            return None
        group = group_memory()
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total if group is None else min(total, group.limit_bytes)

    def _look(self) -> None:
        with self._lock:
            if time.monotonic() - self._seen_s < VIEW_S:
                return
            workers = self._store.workers()
            self._workers = tuple(
                worker for worker in workers if worker.silent_s < FRESH_S and worker.state in ("ready", "busy")
            )
            page = self._store.page(limit=NUM_TIMED)
            self._timed = tuple(job for job in page.jobs if job.state == "completed")
            self._seen_s = time.monotonic()


def _placement(facts: Mapping[str, Any]) -> Placement:
    """Return how a worker has laid its model into memory, as it says; plainly if it does not say."""
    told = facts.get("placement")
    names = {field.name for field in fields(Placement)}
    return Placement(**told) if isinstance(told, dict) and told.keys() <= names else Placement()


def _planned(params: VideoParams, model: CatalogModel, dtype: str) -> PlannedVideo:
    return PlannedVideo(
        limits=model.limits,
        text_encoder=model.text_encoder,
        dtype=dtype,
        num_frames=params.num_frames,
        height_px=params.height_px,
        width_px=params.width_px,
        num_steps=params.num_steps,
        strength=1.0 if params.strength is None else params.strength,
        is_guided=params.guidance_scale > 1,
        has_picture=params.task != "text",
    )


def _work(params: VideoParams) -> float:
    """Return a measure of the work that a video is: its steps and pixels, and some steps' worth for its decoding."""
    steps = params.num_steps * (1.0 if params.strength is None else params.strength) + 5
    return steps * params.num_frames * params.height_px * params.width_px


def plan_json(
    plan: MemoryPlan | None, prompt_tokens: int, max_prompt_tokens: int, effective: dict[str, Any]
) -> dict[str, Any]:
    """Return a plan as clients get it, but for the queue."""
    return {
        "object": "video.plan",
        **effective,
        "prompt_tokens": prompt_tokens,
        "max_prompt_tokens": max_prompt_tokens,
        "is_truncated": prompt_tokens > max_prompt_tokens,
        "memory_bytes": None if plan is None else plan.peak_bytes,
        "available_memory_bytes": None if plan is None else plan.available_bytes,
        "fits": None if plan is None else plan.fits,
    }
