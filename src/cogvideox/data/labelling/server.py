"""The labelling page as a web application, and the server that runs it."""

import dataclasses
import ipaddress
import logging
import math
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from cogvideox.data.labelling.answer import check_annotator
from cogvideox.data.labelling.guard import Guard
from cogvideox.data.labelling.labels import LABELS
from cogvideox.data.labelling.session import NUM_AHEAD, Labelling
from cogvideox.data.labelling.shelf import ClipShelf, Playable
from cogvideox.data.libraries import fastapi, uvicorn

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
PAGE_FILES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
CHUNK_BYTES = 2**18
MAX_HELD = 64


def make_app(
    labelling: Labelling, shelf: ClipShelf, *, annotator: str = "", host: str = "127.0.0.1", token: str = ""
) -> Any:
    """Return the application (ASGI).

    Args:
        labelling: what is asked and answered.
        shelf: gives the videos.
        annotator: name that the page begins with; it asks if there is none.
        host: that the server listens on.
        token: that other machines' browsers must bring; none is asked for if it is empty.

    Raises:
        MissingPackageError: fastapi is not installed.
        ValueError: the annotator's name is not allowed.
    """
    web = fastapi()
    if annotator:
        check_annotator(annotator)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        shelf.close()

    app = web.FastAPI(openapi_url=None, lifespan=lifespan)
    app.add_exception_handler(ValueError, lambda _, error: _refusal(422, str(error)))
    app.add_exception_handler(OSError, lambda _, error: _refusal(507, f"not written: {error.strerror or error}"))
    _add_page(app)
    _add_questions(app, labelling, annotator)
    _add_videos(app, labelling, shelf)
    return Guard(app, host=host, token=token, folder_key=labelling.folder_key)


def _refusal(status: int, message: str) -> Any:
    return fastapi().responses.JSONResponse({"error": message}, status)


def _add_page(app: Any) -> None:
    for address, name in PAGE_FILES.items():
        content, media_type = (PAGE / name).read_bytes(), MEDIA_TYPES[Path(name).suffix]

        def page(content: bytes = content, media_type: str = media_type) -> Any:
            headers = {"cache-control": "no-cache"}
            return fastapi().Response(content, media_type=media_type, headers=headers)

        app.add_api_route(address, _without_parameters(page), methods=["GET", "HEAD"])


def _without_parameters(call: Any) -> Any:
    return lambda: call()


def _add_questions(app: Any, labelling: Labelling, annotator: str) -> None:
    @app.get("/api/start")
    def start() -> Any:
        return {
            "dataset": labelling.dataset.folder.absolute().name,
            "folder_key": labelling.folder_key,
            "num_clips": len(labelling.dataset.clips),
            "order": labelling.settings.order,
            "annotator": annotator,
            "annotators": labelling.annotators(),
            "labels": [dataclasses.asdict(label) for label in LABELS.values()],
        }

    @app.get("/api/items")
    def items(annotator: str, held: str = "", num: int = NUM_AHEAD) -> Any:
        return labelling.items(annotator, set(held.split(",")[:MAX_HELD]) - {""}, num)

    @app.post("/api/answer")
    def answer(body: Annotated[dict[str, Any], fastapi().Body()]) -> Any:
        known = {"annotator": str, "item": str, "labels": dict, "seconds": int | float, "note": str}
        for name, kind in known.items():
            if not isinstance(body.get(name), kind):
                raise ValueError(f"{name}: expected {getattr(kind, '__name__', 'a number')}, got {body.get(name)!r}")
        progress = labelling.record(*(body[name] for name in known))
        return {"saved": True, "progress": progress}

    @app.post("/api/pass")
    def pass_over(body: Annotated[dict[str, Any], fastapi().Body()]) -> Any:
        labelling.pass_over(str(body.get("annotator")), str(body.get("item")))
        return {"saved": True}

    @app.get("/api/agreement")
    def agreement() -> Any:
        return plain(dataclasses.asdict(labelling.agreement()))


def plain(value: Any) -> Any:
    """Return a value as JSON has it: NaN becomes null."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _add_videos(app: Any, labelling: Labelling, shelf: ClipShelf) -> None:
    @app.get("/api/clip/{video}")
    def clip(video: str) -> Any:
        """Say why a clip cannot be shown, or that it is not all: a video element does not tell."""
        try:
            playable = shelf.playable(_clip_id(labelling, video))
        except ValueError as error:
            return {"reason": str(error), "is_beginning": False}
        return {"reason": "", "is_beginning": playable.is_beginning}

    @app.api_route("/video/{video}", methods=["GET", "HEAD"])
    def show(video: str, range: Annotated[str, fastapi().Header()] = "") -> Any:  # the header's name
        return _ranged(shelf.playable(_clip_id(labelling, video)), range)


def _clip_id(labelling: Labelling, video: str) -> str:
    if video not in labelling.clip_by_video:
        raise ValueError("video: not in this dataset; reload the page")
    return labelling.clip_by_video[video]


def parse_range(header: str, size_bytes: int) -> tuple[int, int] | None:
    """Return the first byte, and the one after the last, that a Range header asks for (RFC 9110, section 14).

    The whole if it asks for several ranges, or for something else; None if there is no such byte.
    """
    unit, _, spans = header.partition("=")
    first, dash, last = spans.strip().partition("-")
    are_numbers = all(not part or (part.isascii() and part.isdigit()) for part in (first, last))
    is_one_range = unit.strip().lower() == "bytes" and dash == "-" and are_numbers and (first or last)
    if not is_one_range or (first and last and int(last) < int(first)):
        return 0, size_bytes
    if not first:
        return (max(0, size_bytes - int(last)), size_bytes) if int(last) and size_bytes else None
    end = min(int(last) + 1, size_bytes) if last else size_bytes
    return (int(first), end) if int(first) < size_bytes else None


def _ranged(playable: Playable, header: str) -> Any:
    web = fastapi()
    size_bytes = playable.size_bytes
    span = parse_range(header, size_bytes)
    if span is None:
        return web.Response(status_code=416, headers={"content-range": f"bytes */{size_bytes}"})
    start, end = span
    headers = {"accept-ranges": "bytes", "content-length": str(end - start), "cache-control": "private, max-age=600"}
    is_part = (start, end) != (0, size_bytes) or header.startswith("bytes=0-")
    if is_part:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    pieces = _pieces(playable, start, end)
    return web.responses.StreamingResponse(pieces, 206 if is_part else 200, headers, "video/mp4")


def _pieces(playable: Playable, start: int, end: int) -> Iterator[bytes]:
    with playable.path.open("rb") as file:
        file.seek(playable.offset_bytes + start)
        left_bytes = end - start
        while left_bytes and (content := file.read(min(CHUNK_BYTES, left_bytes))):
            left_bytes -= len(content)
            yield content


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket on this port, on any free one for 0.

    Raises:
        ValueError: the host is not of this machine, or the port is taken; the message says what to do.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port: expected 0 to 65535, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(f"--host: {host!r} is no address of this machine ({error.strerror or error})") from None
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(64)
    except OSError as error:
        made.close()
        raise ValueError(
            f"--port: {host}:{port} cannot be used ({error.strerror or error}); stop what uses it, name another port, "
            "or take any free one with --port 0"
        ) from None
    return made


def serve(app: Any, listener: socket.socket) -> None:
    """Answer requests until the process is interrupted."""
    web = uvicorn()
    config = web.Config(
        app, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=2, ws="none"
    )
    web.Server(config).run(sockets=[listener])
