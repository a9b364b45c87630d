"""The application: addresses, and what answers them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter

from cogvideox.serving.api.access import Caller, session_cookie
from cogvideox.serving.api.bodies import JSON_TYPE, Body, BodyReader, max_body_bytes, of_a_key, small, timed
from cogvideox.serving.api.events import StreamPlaces, event_stream
from cogvideox.serving.api.frontier import Frontier, header_values, told_bytes
from cogvideox.serving.api.openapi import openapi_text
from cogvideox.serving.api.prompts import PURPOSES, PromptRewriter
from cogvideox.serving.api.service import Service
from cogvideox.serving.api.settings import ApiSettings, InputLimits, limits_json
from cogvideox.serving.api.threads import in_thread
from cogvideox.serving.api.wire import POLL_AFTER_MS
from cogvideox.serving.errors import ApiError, describe
from cogvideox.serving.job import Job, Submitted
from cogvideox.serving.keys import MAX_KEY_LENGTH, Scope
from cogvideox.serving.libraries import fastapi
from cogvideox.serving.model_catalog import CatalogModel, capabilities
from cogvideox.serving.requests import Kind

PAGE = Path(__file__).parent.parent / "page"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".json": "application/json",
}
NUM_READERS = 12
"""Threads for what asks the store; those that take uploads have a limit of their own."""
MAX_WAITING = 16
"""Requests whose inputs wait to be decoded, or to be stored."""
MAX_UNUSED_BYTES = 2**16
"""Of a body where none is taken: some clients send one all the same."""
BUSY_RETRY_AFTER_S = 5
SYNC_S = 600.0
WHY_NO_EXTENSIONS = (
    "extensions: these models start from text or one picture, or make a whole video over; none goes on where a video "
    "ends. A model that starts from a picture takes its last frame as input_reference"
)
WHY_NO_CHARACTERS = "characters: these models know nobody by name; describe the character in the prompt"

Endpoint = Callable[[Any], Awaitable[Any]]


def create_app(settings: ApiSettings) -> Any:
    """Return the application (ASGI).

    Raises:
        StoreError: the store or the data directory cannot be used.
        CheckpointError: a model is not on this machine.
        MissingPackageError: an optional library is not installed.
    """
    web = fastapi()
    api = _Api(Service(settings))

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await api.in_thread(api.service.close)

    app = web.FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    for path, endpoints in api.routes().items():
        _add(app, path, endpoints)
    http_error = web.exceptions.HTTPException.__mro__[1]  # Starlette's own, which its router raises
    app.add_exception_handler(http_error, _refuse_address)
    app.add_middleware(Frontier, settings=settings, metrics=api.service.metrics)
    app.state.service = api.service
    return app


def _add(app: Any, path: str, endpoints: Mapping[str, Endpoint]) -> None:
    async def answer(request: Any) -> Any:
        request.scope["state"]["route"] = path
        method = "GET" if request.method == "HEAD" and "GET" in endpoints else request.method
        if (method != "POST" or path.endswith("/cancel")) and told_bytes(request.scope) > MAX_UNUSED_BYTES:
            raise ApiError("media_too_large", "body: this address takes none")
        return await endpoints[method](request)

    methods = [*endpoints, *(["HEAD"] if "GET" in endpoints else [])]
    app.router.add_route(path, answer, methods=methods)


async def _refuse_address(request: Any, error: Any) -> None:
    if error.status_code == 405:
        raise ApiError("method_not_allowed", "this address takes other methods", headers=error.headers)
    raise ApiError("not_found", "there is nothing at this address")


class _Api:
    """What answers each address."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._reading = CapacityLimiter(NUM_READERS)
        self._writing = CapacityLimiter(NUM_READERS)
        self._decoding = CapacityLimiter(service.settings.inputs.max_decoders)
        self._bodies = BodyReader(service.files.folder)
        self._streams = StreamPlaces(service.metrics.streams)
        chat, length = service.settings.chat, service.settings.inputs.max_prompt_length
        self._rewriter = None if chat is None else PromptRewriter(chat, service.catalog, max_prompt_length=length)
        self._page = {
            path.name: (path.read_bytes(), MEDIA_TYPES[path.suffix])
            for path in PAGE.glob("*")
            if path.suffix in MEDIA_TYPES
        }

    def routes(self) -> dict[str, dict[str, Endpoint]]:
        """Return what answers each address."""
        one = "/v1/videos/{video_id}"
        return {
            "/v1/videos": {"GET": self.list_videos, "POST": self.create},
            "/v1/videos/plan": {"POST": self.plan},
            "/v1/videos/sync": {"POST": self.create_and_wait},
            "/v1/videos/edits": {"POST": self.edit},
            "/v1/videos/extensions": {"POST": self.unsupported},
            "/v1/videos/characters": {"POST": self.unsupported},
            "/v1/videos/characters/{character_id}": {"GET": self.unsupported},
            one: {"GET": self.retrieve, "DELETE": self.delete},
            f"{one}/content": {"GET": self.content},
            f"{one}/remix": {"POST": self.remix},
            f"{one}/cancel": {"POST": self.cancel},
            f"{one}/events": {"GET": self.events},
            "/v1/prompts/rewrite": {"POST": self.rewrite_prompt},
            "/v1/models": {"GET": self.list_models},
            "/v1/models/{model:path}": {"GET": self.retrieve_model},
            "/v1/session": {"GET": self.session, "POST": self.enter, "DELETE": self.leave},
            "/livez": {"GET": self.livez},
            "/readyz": {"GET": self.readyz},
            "/metrics": {"GET": self.metrics},
            "/openapi.json": {"GET": self.openapi},
            "/": {"GET": self.page},
            "/page/{name}": {"GET": self.page},
        }

    async def in_thread(self, call: Callable[..., Any], *arguments: Any, limiter: CapacityLimiter | None = None) -> Any:
        """Call what waits for disks, without the loop waiting too."""
        return await in_thread(call, *arguments, limiter=limiter or self._reading)

    async def caller(self, request: Any, scope: Scope, *, takes: tuple[str, ...] | None = ()) -> Caller:
        """Return who sends a request.

        Args:
            request: as it came.
            scope: that the key is to have.
            takes: the parameters that its address may have; None is any.

        Raises:
            ApiError: that one may not do that, or there is no such parameter.
        """
        headers = header_values(request.scope)
        caller = await self.in_thread(self.service.access.caller, headers, scope)
        facts = {"owner": caller.owner, "key_id": caller.key_id}
        if video_id := request.path_params.get("video_id"):
            facts["job_id"] = video_id[:40]
        request.scope["state"]["facts"] = facts
        if takes is not None:
            _check_query(request, takes)
        return caller

    async def body(self, request: Any, limits: InputLimits | None = None) -> Body:
        """Read a body, to be closed. Raises ApiError if it is not what it should be."""
        headers, limits = header_values(request.scope), limits or self.service.settings.inputs
        num_bytes = told_bytes(request.scope)
        if sum(name == b"content-type" for name, _ in request.scope["headers"]) > 1:
            raise ApiError("unsupported_media_type", "Content-Type: expected one")
        kind = headers.get("content-type", "")
        if num_bytes > max_body_bytes(kind, limits):
            raise ApiError("media_too_large", f"body: expected at most {max_body_bytes(kind, limits)} bytes")
        if kind.lstrip().lower().startswith("multipart/"):
            await self.in_thread(self.service.storage.check_room)
        return await self._bodies.read(headers, timed(request.receive, limits, kind), limits)

    async def small_body(self, request: Any) -> Body:
        """Read a body that has no files. Raises ApiError if it is not what it should be."""
        return await self.body(request, small(self.service.settings.inputs))

    # Making videos

    async def create(self, request: Any) -> Any:
        """Answer POST /v1/videos."""
        return await self._make(request, "create")

    async def edit(self, request: Any) -> Any:
        """Answer POST /v1/videos/edits."""
        return await self._make(request, "edit")

    async def remix(self, request: Any) -> Any:
        """Answer POST /v1/videos/{video_id}/remix."""
        return await self._make(request, "remix", request.path_params["video_id"])

    async def _make(self, request: Any, kind: Kind, remixed: str = "") -> Any:
        _, submitted = await self._made(request, kind, remixed)
        job = submitted.job
        headers = {"openai-poll-after-ms": str(POLL_AFTER_MS), "location": f"/v1/videos/{job.id}"}
        if submitted.is_replay:
            headers["idempotent-replayed"] = "true"
        return await self._answer(job, headers)

    async def _made(self, request: Any, kind: Kind, remixed: str = "") -> tuple[Caller, Submitted]:
        caller = await self.caller(request, "generate")
        body = await (self.small_body(request) if kind == "remix" else self.body(request))
        has_media = bool(body.uploads) or "input_reference" in body.fields or "video" in body.fields
        try:
            limiter = _with_room(self._decoding if has_media else self._writing)
        except ApiError:
            body.close()
            raise
        headers = header_values(request.scope)
        making = self.in_thread(self.service.create, kind, body, headers, caller, remixed, limiter=limiter)
        # A client that goes meanwhile gets its video all the same: it may ask again for it.
        made = asyncio.ensure_future(making)
        made.add_done_callback(lambda _: body.close())
        try:
            submitted = await asyncio.shield(made)
        finally:
            del made, making  # a refusal holds this call, and they the refusal: a circle with the body in it
        request.scope["state"]["facts"] |= {"job_id": submitted.job.id}
        return caller, submitted

    async def create_and_wait(self, request: Any) -> Any:
        """Answer POST /v1/videos/sync: the video itself, when it is ready. A client that goes cancels what it began."""
        caller, submitted = await self._made(request, "create")
        job, is_replay = submitted.job, submitted.is_replay
        ended = await self._ended(request, job, caller, is_own=not is_replay)
        if ended is None:
            if not is_replay:
                await self.in_thread(self.service.cancel, job.id, caller)
            what = "goes on" if is_replay else "is canceled"
            headers = {"x-should-retry": "false"}
            raise ApiError("timeout", f"{job.id}: it was not ready in {SYNC_S:g} s and {what}", headers=headers)
        if ended.state == "failed":
            code, message = ended.error_code or "video_failed", ended.error_message or "it did not work"
            raise ApiError("video_failed", f"{code}: {message}", headers={"x-should-retry": "false"})
        answer = await self.in_thread(self.service.content, ended.id, "video", {}, caller)
        answer.headers["x-video-id"] = ended.id
        return answer

    async def _ended(self, request: Any, job: Job, caller: Caller, *, is_own: bool) -> Job | None:
        """Return a job when it has ended; None if that takes too long. Its own one ends with the client."""
        listener = self.service.hub.listen(job.id)
        try:
            await self.in_thread(self.service.hub.start)
            now = await self.in_thread(self.service.job, job.id, caller)
            end_s = asyncio.get_running_loop().time() + SYNC_S
            while not now.is_terminal and asyncio.get_running_loop().time() < end_s:
                if await request.is_disconnected():
                    if is_own:
                        await self.in_thread(self.service.cancel, job.id, caller)
                    raise ConnectionError("the client is gone")
                now = await listener.next(1.0) or now
            return now if now.is_terminal else None
        finally:
            self.service.hub.leave(listener)

    async def plan(self, request: Any) -> Any:
        """Answer POST /v1/videos/plan."""
        caller = await self.caller(request, "read")
        body = await self.small_body(request)
        try:
            return _json(await self.in_thread(self.service.plan, body, caller))
        finally:
            body.close()

    async def rewrite_prompt(self, request: Any) -> Any:
        """Answer POST /v1/prompts/rewrite."""
        await self.caller(request, "generate")
        if self._rewriter is None:
            told = "no language model is set up here; the server is started with one by --chat-url and --chat-model"
            raise ApiError("unsupported", told, headers={"x-should-retry": "false"})
        body = await self.small_body(request)
        body.close()
        if body.is_form:
            raise ApiError("unsupported_media_type", "Content-Type: expected application/json")
        return _json(await self._rewriter.rewrite(body.fields))

    async def unsupported(self, request: Any) -> Any:
        """Refuse what CogVideoX does not do."""
        await self.caller(request, "read")
        is_extension = request.url.path.endswith("/extensions")
        told = WHY_NO_EXTENSIONS if is_extension else WHY_NO_CHARACTERS
        raise ApiError("unsupported", told, headers={"x-should-retry": "false"})

    # Reading and ending

    async def list_videos(self, request: Any) -> Any:
        """Answer GET /v1/videos."""
        caller = await self.caller(request, "read", takes=("after", "limit", "order"))
        query = dict(request.query_params)
        return _json(await self.in_thread(self.service.page, query, caller))

    async def retrieve(self, request: Any) -> Any:
        """Answer GET /v1/videos/{video_id}."""
        caller = await self.caller(request, "read")
        job = await self.in_thread(self.service.job, request.path_params["video_id"], caller)
        return await self._answer(job, {} if job.is_terminal else {"openai-poll-after-ms": str(POLL_AFTER_MS)})

    async def delete(self, request: Any) -> Any:
        """Answer DELETE /v1/videos/{video_id}."""
        caller = await self.caller(request, "generate")
        return _json(await self.in_thread(self.service.delete, request.path_params["video_id"], caller))

    async def cancel(self, request: Any) -> Any:
        """Answer POST /v1/videos/{video_id}/cancel."""
        caller = await self.caller(request, "generate")
        return await self._answer(await self.in_thread(self.service.cancel, request.path_params["video_id"], caller))

    async def content(self, request: Any) -> Any:
        """Answer GET /v1/videos/{video_id}/content."""
        caller = await self.caller(request, "read", takes=("variant", "version"))
        variant = request.query_params.get("variant", "video")
        headers, job_id = header_values(request.scope), request.path_params["video_id"]
        limiter = _with_room(self._decoding) if variant == "gif" else None
        return await self.in_thread(self.service.content, job_id, variant, headers, caller, limiter=limiter)

    async def events(self, request: Any) -> Any:
        """Answer GET /v1/videos/{video_id}/events."""
        caller = await self.caller(request, "read")
        hub, job_id = self.service.hub, request.path_params["video_id"]
        await self.in_thread(self.service.job, job_id, caller)
        place = self._streams.enter(caller.owner if self.service.access.requires_key else None)
        listener = hub.listen(job_id)
        try:
            await self.in_thread(hub.start)
            first = await self.in_thread(self.service.job, job_id, caller)  # what changed before is in it
        except BaseException:
            hub.leave(listener)
            place.leave()
            raise
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}

        async def describe_job(job: Job) -> Any:
            return await self.in_thread(self.service.describe, job)

        async def is_allowed() -> bool:
            try:
                await self.in_thread(self.service.access.known_caller, header_values(request.scope), "read")
            except ApiError:
                return False
            return True

        def events() -> AsyncIterator[str]:
            return event_stream(listener, first, describe_job, is_allowed)

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            try:
                web = fastapi().responses
                if request.method == "HEAD":
                    await web.Response(None, 200, headers, "text/event-stream")(scope, receive, send)
                else:
                    await web.StreamingResponse(events(), 200, headers, "text/event-stream")(scope, receive, send)
            finally:  # also if the client is gone before anything is sent
                hub.leave(listener)
                place.leave()

        return answer

    async def list_models(self, request: Any) -> Any:
        """Answer GET /v1/models."""
        await self.caller(request, "read")
        return _json({"object": "list", "data": [self._describe(model) for model in self.service.catalog]})

    async def retrieve_model(self, request: Any) -> Any:
        """Answer GET /v1/models/{model}."""
        await self.caller(request, "read")
        model = self.service.catalog.get(request.path_params["model"])
        if model is None:
            raise ApiError("not_found", "model: there is none of this name", param="model")
        return _json(self._describe(model))

    def _describe(self, model: CatalogModel) -> dict[str, Any]:
        inputs = self.service.settings.inputs
        told = capabilities(model, inputs.max_prompt_length)
        told["prompt_rewriting"] = [] if self._rewriter is None else list(PURPOSES)
        told["limits"] = limits_json(self.service.settings)
        return {
            "id": model.name,
            "object": "model",
            "created": model.created_s,
            "owned_by": "local",
            "capabilities": told,
        }

    async def _answer(self, job: Job, headers: Mapping[str, str] | None = None) -> Any:
        return _json(await self.in_thread(self.service.describe, job), headers)

    # Sessions of the page

    async def session(self, request: Any) -> Any:
        """Answer GET /v1/session."""
        requires_key = self.service.access.requires_key
        try:
            caller = await self.caller(request, "read")
        except ApiError as error:
            if error.code not in ("unauthorized", "forbidden"):
                raise
            return _json({"object": "session", "requires_key": requires_key, "is_signed_in": False, "scopes": []})
        scopes = list(caller.scopes)
        return _json({"object": "session", "requires_key": requires_key, "is_signed_in": True, "scopes": scopes})

    async def enter(self, request: Any) -> Any:
        """Answer POST /v1/session: a browser keeps a key as a cookie that scripts do not see."""
        # Whoever asks for this has no key yet.
        if header_values(request.scope).get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
            raise ApiError("unsupported_media_type", f"Content-Type: expected {JSON_TYPE}")
        body = await self.body(request, of_a_key(self.service.settings.inputs))
        body.close()
        key = body.fields.get("key")
        if set(body.fields) != {"key"} or not isinstance(key, str) or len(key) > MAX_KEY_LENGTH:
            raise ApiError("invalid_param", "key: expected the text of a key", param="key")
        answer = {"object": "session", "requires_key": self.service.access.requires_key, "is_signed_in": True}
        if not self.service.access.requires_key:
            return _json(answer | {"scopes": []})
        caller = await self.in_thread(self.service.access.caller_of_key, key)
        cookie = session_cookie(key, is_secure=_is_secure(request))
        return _json(answer | {"scopes": list(caller.scopes)}, {"set-cookie": cookie})

    async def leave(self, request: Any) -> Any:
        """Answer DELETE /v1/session."""
        answer = {"object": "session", "requires_key": self.service.access.requires_key, "is_signed_in": False}
        cookie = session_cookie("", is_secure=_is_secure(request))
        return _json(answer | {"scopes": []}, {"set-cookie": cookie})

    # For those who run it

    async def livez(self, request: Any) -> Any:
        """Answer GET /livez: the loop runs."""
        return _json({"status": "alive"})

    async def readyz(self, request: Any) -> Any:
        """Answer GET /readyz: a video that is asked for now would be made."""
        told, reasons = await self.in_thread(self.service.readiness)
        if reasons:
            raise ApiError("not_ready", "; ".join(reasons), headers={"retry-after": "5"})
        return _json(told)

    async def metrics(self, request: Any) -> Any:
        """Answer GET /metrics."""
        await self.caller(request, "metrics", takes=None)
        content, kind = await self.in_thread(self.service.metrics.page)
        return fastapi().Response(content, media_type=kind)

    async def openapi(self, request: Any) -> Any:
        """Answer GET /openapi.json."""
        text = openapi_text(has_rewriting=self._rewriter is not None)
        return fastapi().Response(text, media_type="application/json")

    async def page(self, request: Any) -> Any:
        """Answer GET / and GET /page/{name}."""
        name = request.path_params.get("name", "index.html")
        if name not in self._page:
            raise ApiError("not_found", "there is nothing at this address")
        content, kind = self._page[name]
        return fastapi().Response(content, media_type=kind, headers={"cache-control": "no-cache"})


def _check_query(request: Any, known: tuple[str, ...]) -> None:
    """Raise ApiError if an address has unknown parameters, or some twice."""
    pairs = request.query_params.multi_items()
    for name, _ in pairs:
        if name not in known:
            raise ApiError("unknown_field", f"{describe(name)}: there is no such parameter", param=name)
    if len({name for name, _ in pairs}) != len(pairs):
        raise ApiError("invalid_param", "a parameter is there twice")


def _with_room(limiter: CapacityLimiter) -> CapacityLimiter:
    """Return a limiter. Raises ApiError if too many wait for it."""
    if limiter.statistics().tasks_waiting >= MAX_WAITING:
        headers = {"retry-after": str(BUSY_RETRY_AFTER_S)}
        raise ApiError("not_ready", "too many requests are being looked at; try again", headers=headers)
    return limiter


def _is_secure(request: Any) -> bool:
    """Whether a browser speaks https, with us or with a proxy before us."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def _json(value: Any, headers: Mapping[str, str] | None = None) -> Any:
    every = {"cache-control": "no-store", **(headers or {})}
    return fastapi().Response(json.dumps(value), media_type="application/json", headers=every)
