"""What the API does, apart from HTTP: requests become jobs."""

import logging
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from cogvideox.serving.api.access import Access, Caller
from cogvideox.serving.api.bodies import Body
from cogvideox.serving.api.content import answer_file, content_file
from cogvideox.serving.api.events import EventHub
from cogvideox.serving.api.gifs import GifShelf
from cogvideox.serving.api.metrics import Metrics
from cogvideox.serving.api.origins import Origin, decoded_origin, named_origin, origin_of_remix, origin_of_video
from cogvideox.serving.api.planning import Planner, plan_json
from cogvideox.serving.api.replays import made_before
from cogvideox.serving.api.settings import ApiSettings
from cogvideox.serving.api.storage import StorageWatch, full
from cogvideox.serving.api.wire import VARIANT_ROLES, QueueWatch, video_json
from cogvideox.serving.data_folder import join_folder
from cogvideox.serving.errors import ApiError
from cogvideox.serving.files import FileStore, Kept, StorageFullError
from cogvideox.serving.janitor import discard_refused
from cogvideox.serving.job import FileRef, IdempotencyConflictError, Job, NewJob, QueueFullError, Submitted
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.keys import KeyRing, kept_pepper
from cogvideox.serving.model_catalog import CatalogModel, ModelCatalog
from cogvideox.serving.requests import (
    Asked,
    Kind,
    Source,
    asked_text,
    complete,
    fingerprint,
    read_asked,
    read_prompt_facts,
)
from cogvideox.serving.uploads import BLOCK_BYTES
from cogvideox.serving.video_params import params_json, params_of

MAX_SEED_DRAWN = 2**31
"""Seeds that are drawn are short, for people."""
IDEMPOTENCY_HEADER, RETRY_HEADER = "idempotency-key", "x-stainless-retry-count"
READY_S = 0.5
"""Looking writes to the store, and anybody may ask."""
PLAN_KINDS = ("text", "image", "video")
NUM_LOOKS = 3
"""At a job whose file is gone: it may have another one by then."""

logger = logging.getLogger(__name__)


class Service:
    """The API's parts, and what requests do with them. All calls wait for disks; call them from threads."""

    def __init__(self, settings: ApiSettings) -> None:
        """Open everything.

        Raises:
            StoreError: the store or the data directory cannot be used.
            CheckpointError: a model is not there.
        """
        self.settings = settings
        self.catalog = ModelCatalog(settings.models)
        self.files = FileStore(settings.data_dir, floor=settings.floor)
        self.store = JobStore.open(settings.store_url, limits=settings.queue)
        try:
            join_folder(self.store.database, self.files.folder)
        except BaseException:
            self.store.close()
            raise
        database = self.store.database
        keys = KeyRing(database, kept_pepper(settings.data_dir, database)) if settings.requires_key else None
        self.storage = StorageWatch(self.files)
        self.gifs = GifShelf(self.files.folder, settings.inputs)
        self.access = Access(keys, settings.max_requests_per_minute)
        self.watch = QueueWatch(self.store)
        self.planner = Planner(self.store, settings.device_memory_bytes)
        self.hub = EventHub(self.store)
        self.metrics = Metrics(self.store, self.files, self.catalog)
        self._ready_lock = threading.Lock()
        self._ready: tuple[dict[str, Any], list[str]] = {}, []
        self._ready_at_s = -READY_S

    def close(self) -> None:
        """Close everything."""
        self.hub.close()
        self.access.close()
        self.store.close()

    def describe(self, job: Job) -> dict[str, Any]:
        """Return a job as a video of the API."""
        return video_json(job, self.catalog, self.watch)

    def job(self, job_id: str, caller: Caller) -> Job:
        """Return a caller's job. Raises ApiError if there is none."""
        job = self.store.get(job_id, owner=caller.owner)
        if job is None:
            raise ApiError("not_found", "video: there is none of this id", param="video_id")
        return job

    # Making videos

    def create(
        self, kind: Kind, body: Body, headers: Mapping[str, str], caller: Caller, remixed: str = ""
    ) -> Submitted:
        """Put a video into the queue, or return the one that the same request made before.

        Raises:
            ApiError: the request is refused; nothing is kept then.
        """
        limits = self.settings.inputs
        key = _idempotency_key(headers)
        asked = read_asked(body.fields, kind=kind, is_form=body.is_form, max_prompt_length=limits.max_prompt_length)
        is_retry = headers.get(RETRY_HEADER, "0") not in ("", "0")
        if body.uploads and key is None and not is_retry:  # else it may be there already
            self._check_queue(caller)
        with ExitStack() as stack:
            named = stack.enter_context(named_origin(kind, body, asked, remixed, self.settings))
            digest = self._digest(kind, asked, named)
            before = made_before(self.store, caller.owner, digest, key=key, is_retry=is_retry)
            if before is not None:
                return self._told(Submitted(job=before, is_replay=True), asked)
            source = None if named.video_id is None else self.job(named.video_id, caller)
            asked = asked if source is None or kind != "remix" else self._like(source, asked)
            model, warnings = self._model(asked)
            facts = read_prompt_facts(asked, model)
            if source is None:
                origin = stack.enter_context(decoded_origin(named, model, limits, self.files.folder))
            else:
                origin = origin_of_remix(source, model) if kind == "remix" else origin_of_video(source)
            params, notes = complete(asked, model, origin.source, is_lenient=self.settings.compatibility == "lenient")
            self.planner.check_memory(params, model)
            kept = self._keep(origin)
            new = NewJob(
                owner=caller.owner,
                model=model.worker_name,
                params=params_json(params),
                params_digest=digest,
                seed=secrets.randbelow(MAX_SEED_DRAWN) if asked.seed is None else asked.seed,
                num_steps=params.num_steps,
                files={} if kept is None else {params.task: kept.file},
                warnings=(*warnings, *facts.warnings, *notes),
                remixed_from=origin.remixed_from,
                retention_s=self.settings.retention_s,
            )
            submitted = self._submit(new, key, is_retry, kept)
            if submitted.is_replay:
                self._discard(kept)
        return self._told(submitted, asked)

    def _digest(self, kind: Kind, asked: Asked, named: Origin) -> str:
        """Return what is the same of a request that is sent again. A remix has its video's model, if it names none."""
        model = asked.model or "" if kind == "remix" else self._model(asked)[0].worker_name
        return fingerprint(asked, kind=kind, model=model, inputs={"source": named.digest})

    def _told(self, submitted: Submitted, asked: Asked) -> Submitted:
        """Tell the log of what a request made. Raises ApiError if that is deleted."""
        if submitted.job.is_deleted:
            raise ApiError("not_found", "the video that this request made is deleted; take a new Idempotency-Key")
        self._log(submitted, asked)
        return submitted

    def plan(self, body: Body, caller: Caller) -> dict[str, Any]:
        """Return what a video would take, without making it."""
        fields = dict(body.fields)
        task = fields.pop("input_kind", None) or "text"
        if task not in PLAN_KINDS:
            raise ApiError("invalid_param", "input_kind: expected text, image or video", param="input_kind")
        limits = self.settings.inputs
        asked = read_asked(fields, kind="create", is_form=body.is_form, max_prompt_length=limits.max_prompt_length)
        if body.uploads or asked.input_reference is not None:
            raise ApiError("invalid_param", "input_reference: a plan takes input_kind instead", param="input_reference")
        model, warnings = self._model(asked)
        facts = read_prompt_facts(asked, model)
        native = model.limits.native_num_frames
        source = None if task == "text" else Source(task=task, num_frames=native, fps=model.limits.native_fps)
        params, notes = complete(asked, model, source, is_lenient=self.settings.compatibility == "lenient")
        view = self.watch.look()
        num_ahead, num_workers = len(view.positions), view.num_workers
        wait_s = max((position.wait_s for position in view.positions.values()), default=0)
        effective = {"model": model.name, **asked_text(params)}
        planned = plan_json(self.planner.memory(params, model), facts.num_tokens, facts.max_tokens, effective)
        return planned | {
            "eta_seconds": self.planner.seconds(params, model),
            "queue_position": num_ahead,
            "queue_eta_seconds": round(wait_s + view.job_s) if num_ahead else 0,
            "num_workers": num_workers,
            "unknown_share": facts.unknown_share,
            "warnings": [*warnings, *facts.warnings, *notes],
        }

    def _model(self, asked: Asked) -> tuple[CatalogModel, list[dict[str, Any]]]:
        if asked.model is None:
            return self.catalog.default, []
        model = self.catalog.get(asked.model)
        if model is not None:
            return model, []
        default = self.catalog.default
        if self.settings.compatibility == "lenient":
            message = f"model: {asked.model!r} is not here; {default.name} was taken"
            return default, [{"code": "model_changed", "message": message, "param": "model"}]
        known = ", ".join(each.name for each in self.catalog)
        raise ApiError("invalid_param", f"model: expected one of {known}, got {asked.model!r}", param="model")

    def _like(self, before: Job, asked: Asked) -> Asked:
        """Return what a remix asks for: everything as before, but what it names."""
        params = params_of(before.params)
        same: dict[str, Any] = {
            "model": self.catalog.public_name(before.model),
            "size": (params.width_px, params.height_px),
            "num_inference_steps": params.num_steps,
            "guidance_scale": params.guidance_scale,
            "guidance_mode": params.guidance_mode,
            "sampler": params.sampler,
            "negative_prompt": params.negative_prompt,
            "fps": params.fps,
            "seed": before.seed,
        }
        if asked.seconds is None:
            same["num_frames"] = params.num_frames
        return replace(asked, **{name: value for name, value in same.items() if getattr(asked, name) is None})

    def _keep(self, origin: Origin) -> Kept | None:
        """Have the input on the disk. Raises ApiError if the disk is full or away, or it is gone."""
        num_bytes = 0 if origin.decoded is None else origin.decoded.file.seek(0, 2)
        self.storage.check_room(num_bytes)
        try:
            if origin.decoded is not None:
                file = origin.decoded.file
                file.seek(0)
                blocks = iter(lambda: file.read(BLOCK_BYTES), b"")
                return self.files.keep(blocks, media_type=origin.decoded.media_type)
            if origin.stored is not None:  # kept again, so that it stays when the other job goes
                try:
                    source = self.files.open(origin.stored)
                except FileNotFoundError:
                    raise self.missing(origin.stored, origin.remixed_from) from None
                with source as stored:
                    blocks = iter(lambda: stored.read(BLOCK_BYTES), b"")
                    return self.files.keep(blocks, media_type=origin.stored.media_type)
        except StorageFullError as error:
            raise full(str(error)) from None
        return None

    def missing(self, file: FileRef | None, job_id: str | None) -> ApiError:
        """Return the refusal of a file that should be there, and tell the operator. Raises ApiError if all are away."""
        self.storage.check()
        self.metrics.missing.inc()
        facts = {"job_id": job_id, "sha256": None if file is None else file.sha256}
        logger.error("a file of a job is missing: restore it into the data folder, or delete the job", extra=facts)
        return ApiError("video_expired", "video: its file is gone")

    def content(self, job_id: str, variant: str, headers: Mapping[str, str], caller: Caller) -> Any:
        """Return the answer to a request for a file of a caller's job. Raises ApiError if it is not there."""
        if variant not in VARIANT_ROLES:
            known = ", ".join(VARIANT_ROLES)
            raise ApiError("invalid_param", f"variant: expected one of {known}", param="variant")
        name = job_id if variant in ("video", "gif") else f"{job_id}_{variant}"
        file, told = None, None
        for _ in range(NUM_LOOKS):
            file = content_file(self.job(job_id, caller), variant, VARIANT_ROLES[variant])
            if file == told:
                break
            try:
                shown, open_file = file, partial(self.files.open, file)
                if variant == "gif":
                    shown, open_file = self.gifs.get(file, open_file)
                return answer_file(open_file, shown, name, headers)
            except FileNotFoundError:
                told = file  # it may have been replaced or released since the job was read
        if variant == "preview":
            raise ApiError("not_found", "variant: this preview was replaced by a newer one", param="variant")
        raise self.missing(file, job_id)

    def _submit(self, new: NewJob, key: str | None, is_retry: bool, kept: Kept | None) -> Submitted:
        try:
            return self.store.submit(new, idempotency_key=key, retry_of_recent=is_retry)
        except IdempotencyConflictError as error:
            self._discard(kept)
            raise ApiError("idempotency_key_reused", str(error), param="Idempotency-Key") from None
        except QueueFullError as error:
            self._discard(kept)
            raise _queue_full(error) from None

    def _discard(self, kept: Kept | None) -> None:
        if kept is not None:
            discard_refused(self.store, self.files, (kept,))

    def _check_queue(self, caller: Caller) -> None:
        try:
            self.store.check_room(caller.owner)
        except QueueFullError as error:
            raise _queue_full(error) from None

    def _log(self, submitted: Submitted, asked: Asked) -> None:
        job = submitted.job
        told: dict[str, Any] = {"job_id": job.id, "owner": job.owner, "is_replay": submitted.is_replay}
        told |= {"prompt_length": len(asked.prompt), "params_digest": job.params_digest[:16]}
        if self.settings.has_prompts_in_log:
            told["prompt"] = asked.prompt
        logger.info("accepted", extra=told)

    # Reading

    def page(self, query: Mapping[str, str], caller: Caller) -> dict[str, Any]:
        """Return a page of a caller's videos."""
        limit = query.get("limit", "20")
        if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= 100):
            raise ApiError("invalid_param", "limit: expected 1 to 100", param="limit")
        order = query.get("order", "desc")
        if order != "asc" and order != "desc":
            raise ApiError("invalid_param", "order: expected asc or desc", param="order")
        after = query.get("after")
        try:
            page = self.store.page(owner=caller.owner, after=after, limit=int(limit), order=order)
        except ValueError:
            raise ApiError("invalid_param", "after: expected the id of one of your videos", param="after") from None
        videos = [self.describe(job) for job in page.jobs]
        first, last = (videos[0]["id"], videos[-1]["id"]) if videos else (None, None)
        return {"object": "list", "data": videos, "first_id": first, "last_id": last, "has_more": page.has_more}

    def cancel(self, job_id: str, caller: Caller) -> Job:
        """Cancel a caller's job and return it; one that has ended stays as it is."""
        job = self.store.request_cancel(job_id, owner=caller.owner)
        if job is None:
            raise ApiError("not_found", "video: there is none of this id", param="video_id")
        return job

    def delete(self, job_id: str, caller: Caller) -> dict[str, Any]:
        """Delete a caller's job."""
        if not self.store.delete(job_id, owner=caller.owner):
            raise ApiError("not_found", "video: there is none of this id", param="video_id")
        return {"id": job_id, "object": "video.deleted", "deleted": True}

    def readiness(self) -> tuple[dict[str, Any], list[str]]:
        """Return how the server is, and why it cannot make videos; at most so old as probes are apart."""
        with self._ready_lock:
            if time.monotonic() - self._ready_at_s > READY_S:
                self._ready = self._look_ready()
                self._ready_at_s = time.monotonic()
            return self._ready

    def _look_ready(self) -> tuple[dict[str, Any], list[str]]:
        reasons = []
        try:
            self.store.check()
        except (OSError, ValueError) as error:
            is_moved = not self.store.database.is_in_place
            reasons.append(f"the job store {'was moved or replaced' if is_moved else 'does not answer'}")
            logger.error("not ready", extra={"reason": str(error)})
            return {}, reasons
        free_bytes = 0
        try:
            free_bytes = self.storage.free_bytes()
        except (ApiError, OSError):
            reasons.append("the disk that videos are kept on is not there")
        if free_bytes < 0:
            reasons.append("there is too little free space on the disk")
        num_workers = len(self.planner.workers())
        if num_workers == 0:
            reasons.append("no worker is ready")
        return {"status": "ready", "num_workers": num_workers, "free_bytes": max(free_bytes, 0)}, reasons


def _queue_full(error: QueueFullError) -> ApiError:
    headers = {"retry-after": str(error.retry_after_s)}
    if error.retry_after_s > 120:
        headers["x-should-retry"] = "false"
    return ApiError("queue_full", str(error), headers=headers)


def _idempotency_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get(IDEMPOTENCY_HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        expected = "Idempotency-Key: expected 1 to 255 printable characters of ASCII"
        raise ApiError("invalid_param", expected, param="Idempotency-Key")
    return key
