"""What the API does, apart from HTTP: requests become jobs."""

import io
import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any

from cogvideox.serving.api.access import Access, Caller
from cogvideox.serving.api.bodies import Body
from cogvideox.serving.api.content import answer_file, content_file
from cogvideox.serving.api.events import EventHub
from cogvideox.serving.api.gifs import GifShelf
from cogvideox.serving.api.metrics import Metrics
from cogvideox.serving.api.planning import Planner, plan_json
from cogvideox.serving.api.settings import ApiSettings
from cogvideox.serving.api.wire import VARIANT_ROLES, QueueWatch, video_json
from cogvideox.serving.data_folder import join_folder
from cogvideox.serving.errors import ApiError
from cogvideox.serving.fetching import fetch
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
from cogvideox.serving.uploads import BLOCK_BYTES, Decoded, check_upload, data_url_content, decoded
from cogvideox.serving.video_params import params_json, params_of

MAX_SEED_DRAWN = 2**31
"""Seeds that are drawn are short, for people."""
IDEMPOTENCY_HEADER, RETRY_HEADER = "idempotency-key", "x-stainless-retry-count"
READY_S = 0.5
"""Looking writes to the store, and anybody may ask."""
PLAN_KINDS = ("text", "image", "video")
SOURCE_FIELDS: dict[Kind, str] = {"create": "input_reference", "edit": "video", "remix": ""}

NUM_LOOKS = 3
"""At a job whose file is gone: it may have another one by then."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the video of a request starts from."""

    source: Source | None = None
    digest: str = ""
    """Of what the client sent."""
    decoded: Decoded | None = None
    stored: FileRef | None = None
    """A file of another job."""
    remixed_from: str | None = None


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
        keys = KeyRing(self.store.database, kept_pepper(settings.data_dir)) if settings.requires_key else None
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
        before = self.job(remixed, caller) if kind == "remix" else None
        asked = asked if before is None else self._like(before, asked)
        model, warnings = self._model(asked)
        facts = read_prompt_facts(asked, model)
        is_retry = headers.get(RETRY_HEADER, "0") not in ("", "0")
        if body.uploads and key is None and not is_retry:  # else it may be there already
            self._check_queue(caller)
        with ExitStack() as stack:
            origin = stack.enter_context(self._origin(kind, body, asked, model, caller, before))
            params, notes = complete(asked, model, origin.source, is_lenient=self.settings.compatibility == "lenient")
            self.planner.check_memory(params, model)
            digest = fingerprint(asked, kind=kind, model=model.worker_name, inputs={"source": origin.digest})
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

    @contextmanager
    def _origin(
        self, kind: Kind, body: Body, asked: Asked, model: CatalogModel, caller: Caller, before: Job | None
    ) -> Iterator[Origin]:
        """Give what a video starts from."""
        name = SOURCE_FIELDS[kind]
        if before is not None:
            self._check_no_uploads(body, "")
            yield self._origin_of_remix(before, model)
            return
        self._check_no_uploads(body, name)
        reference = asked.video if kind == "edit" else asked.input_reference
        if reference is not None and body.uploads:
            raise ApiError("invalid_param", f"{name}: expected one input, got two", param=name)
        if reference is not None and reference.video_id is not None:
            job = self.job(reference.video_id, caller)
            yield self._origin_of_video(job, job.id)
            return
        file, num_bytes = self._uploaded(name, body, None if reference is None else reference.image_url)
        if file is None:
            if kind == "edit":
                raise ApiError("invalid_param", "video: expected a file, or an object with an id", param="video")
            yield Origin()
            return
        with file, self._decoded(name, file, num_bytes, model) as origin:
            yield origin

    def _check_no_uploads(self, body: Body, known: str) -> None:
        for name in body.uploads:
            if name != known:
                raise ApiError("unknown_field", f"{name[:40]!r}: no file is expected of this name", param=name)

    def _uploaded(self, name: str, body: Body, url: str | None) -> tuple[IO[bytes] | None, int]:
        """Return the file of a request, sent with it or named by an address."""
        if upload := body.uploads.get(name):
            return upload.file, upload.num_bytes
        if url is None:
            return None, 0
        if url[:5].lower() == "data:":
            content = data_url_content(url, self.settings.inputs, param=name)
        else:
            settings = self.settings
            content = fetch(
                url,
                is_allowed=settings.has_remote_fetch,
                domains=settings.fetch_domains,
                max_bytes=settings.inputs.max_image_bytes,
                param=name,
            )
        return io.BytesIO(content), len(content)

    @contextmanager
    def _decoded(self, name: str, file: IO[bytes], num_bytes: int, model: CatalogModel) -> Iterator[Origin]:
        limits = self.settings.inputs
        kind, digest = check_upload(file, num_bytes, limits, param=name)
        frames, sides_px = model.limits.native_num_frames, model.limits.default_size_px
        cover_px = (max(sides_px), max(sides_px))
        folder = self.files.folder
        with decoded(file, kind, limits, folder, max_frames=frames, cover_px=cover_px, param=name) as made:
            source = Source(task=made.kind, num_frames=made.num_frames, fps=made.fps)
            yield Origin(source=source, digest=digest, decoded=made)

    def _origin_of_remix(self, before: Job, model: CatalogModel) -> Origin:
        """Return what a remix starts from: the video itself, or what that one started from."""
        task = params_of(before.params).task
        if task == "text" and "video" in model.input_kinds:
            return self._origin_of_video(before, before.id)
        if before.is_expired:
            raise ApiError("video_expired", "video: what it was made from is gone")
        if task == "text":
            return Origin(digest=before.id, remixed_from=before.id)
        params = params_of(before.params)
        source = Source(task=task, num_frames=params.num_frames, fps=params.fps)
        return Origin(source=source, digest=before.id, stored=before.files[task], remixed_from=before.id)

    def _origin_of_video(self, job: Job, digest: str) -> Origin:
        file = content_file(job, "video", "result")
        params = params_of(job.params)
        source = Source(task="video", num_frames=params.num_frames, fps=params.fps)
        return Origin(source=source, digest=digest, stored=file, remixed_from=job.id)

    def _keep(self, origin: Origin) -> Kept | None:
        """Have the input on the disk. Raises ApiError if the disk is full, or it is gone."""
        num_bytes = 0 if origin.decoded is None else origin.decoded.file.seek(0, 2)
        try:
            self.files.check_room(num_bytes)
            if origin.decoded is not None:
                file = origin.decoded.file
                file.seek(0)
                blocks = iter(lambda: file.read(BLOCK_BYTES), b"")
                return self.files.keep(blocks, media_type=origin.decoded.media_type)
            if origin.stored is not None:  # kept again, so that it stays when the other job goes
                with self.files.open(origin.stored) as stored:
                    blocks = iter(lambda: stored.read(BLOCK_BYTES), b"")
                    return self.files.keep(blocks, media_type=origin.stored.media_type)
        except StorageFullError as error:
            raise ApiError("storage_full", str(error), headers={"retry-after": "60"}) from None
        except FileNotFoundError:
            raise self.missing(origin.stored, origin.remixed_from) from None
        return None

    def missing(self, file: FileRef | None, job_id: str | None) -> ApiError:
        """Return the refusal of a file that should be there, and tell the operator."""
        self.metrics.missing.inc()
        facts = {"job_id": job_id, "sha256": None if file is None else file.sha256}
        logger.error("a file of a job is missing: restore it into the data folder, or delete the job", extra=facts)
        return ApiError("video_expired", "video: its file is gone")

    def content(self, job_id: str, variant: str, headers: Mapping[str, str], caller: Caller) -> Any:
        """Return the answer to a request for a file of a caller's job. Raises ApiError if it is not there."""
        if variant not in VARIANT_ROLES:
            known = ", ".join(VARIANT_ROLES)
            raise ApiError("invalid_param", f"variant: expected one of {known}", param="variant")
        name = job_id if variant == "video" else f"{job_id}_{variant}"
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
            reasons.append("the job store does not answer")
            logger.error("not ready", extra={"reason": str(error)})
            return {}, reasons
        free_bytes = self.files.free_bytes()
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
