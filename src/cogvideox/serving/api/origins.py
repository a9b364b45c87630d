"""What the videos of requests start from: nothing, a file that is sent or named by an address, or another video."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from cogvideox.serving.api.bodies import Body
from cogvideox.serving.api.content import content_file
from cogvideox.serving.api.settings import ApiSettings, InputLimits
from cogvideox.serving.errors import ApiError
from cogvideox.serving.fetching import fetch
from cogvideox.serving.job import FileRef, Job
from cogvideox.serving.model_catalog import CatalogModel
from cogvideox.serving.requests import Asked, Kind, Source, check_task
from cogvideox.serving.uploads import PICTURES, Decoded, MediaKind, check_upload, data_url_content, decoded
from cogvideox.serving.video_params import params_of

SOURCE_FIELDS: dict[Kind, str] = {"create": "input_reference", "edit": "video", "remix": ""}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A file of a client, by its first bytes."""

    file: IO[bytes]
    kind: MediaKind
    name: str
    """Of the field."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the video of a request starts from."""

    digest: str = ""
    """Of what the client sent: a file's SHA-256, or the id of a video."""
    video_id: str | None = None
    """A video that is named; it may be gone."""
    sent: Sent | None = None
    """A file that nobody has looked into yet."""
    source: Source | None = None
    decoded: Decoded | None = None
    stored: FileRef | None = None
    """A file of another job."""
    remixed_from: str | None = None


@contextmanager
def named_origin(kind: Kind, body: Body, asked: Asked, remixed: str, settings: ApiSettings) -> Iterator[Origin]:
    """Give what a request names, without asking for other videos and without looking into files.

    Args:
        kind: of request.
        body: with its files.
        asked: its fields.
        remixed: id of the video of a remix.
        settings: limits, and whether addresses are fetched.

    Raises:
        ApiError: it is nothing that is taken.
    """
    name = SOURCE_FIELDS[kind]
    for given in body.uploads:
        if not name or given != name:
            raise ApiError("unknown_field", f"{given[:40]!r}: no file is expected of this name", param=given)
    reference = asked.video if kind == "edit" else asked.input_reference
    if reference is not None and body.uploads:
        raise ApiError("invalid_param", f"{name}: expected one input, got two", param=name)
    video_id = remixed if kind == "remix" else None if reference is None else reference.video_id
    if video_id is not None:
        yield Origin(digest=video_id, video_id=video_id)
        return
    file, num_bytes = _uploaded(name, body, None if reference is None else reference.image_url, settings)
    if file is None:
        if kind == "edit":
            raise ApiError("invalid_param", "video: expected a file, or an object with an id", param="video")
        yield Origin()
        return
    with file:
        media, digest = check_upload(file, num_bytes, settings.inputs, param=name)
        yield Origin(digest=digest, sent=Sent(file=file, kind=media, name=name))


def _uploaded(name: str, body: Body, url: str | None, settings: ApiSettings) -> tuple[IO[bytes] | None, int]:
    """Return the file of a request, sent with it or named by an address."""
    if upload := body.uploads.get(name):
        return upload.file, upload.num_bytes
    if url is None:
        return None, 0
    if url[:5].lower() == "data:":
        content = data_url_content(url, settings.inputs, param=name)
    else:
        content = fetch(
            url,
            is_allowed=settings.has_remote_fetch,
            domains=settings.fetch_domains,
            max_bytes=settings.inputs.max_image_bytes,
            param=name,
        )
    return io.BytesIO(content), len(content)


@contextmanager
def decoded_origin(origin: Origin, model: CatalogModel, limits: InputLimits, folder: Path) -> Iterator[Origin]:
    """Give an origin with its file decoded, if it has one.

    Args:
        origin: as `named_origin` gives it.
        model: that is to start from it.
        limits: of inputs.
        folder: for nameless files.

    Raises:
        ApiError: the model does not start from such a file, or it is damaged or over a limit.
    """
    sent = origin.sent
    if sent is None:
        yield origin
        return
    check_task("image" if sent.kind in PICTURES else "video", model)  # before anything is decoded for nothing
    frames, sides_px = model.limits.native_num_frames, model.limits.default_size_px
    cover_px = (max(sides_px), max(sides_px))
    with decoded(sent.file, sent.kind, limits, folder, max_frames=frames, cover_px=cover_px, param=sent.name) as made:
        source = Source(task=made.kind, num_frames=made.num_frames, fps=made.fps)
        yield replace(origin, source=source, decoded=made)


def origin_of_video(job: Job) -> Origin:
    """Return an origin that is another job's video. Raises ApiError if that is not there, or not yet."""
    params = params_of(job.params)
    source = Source(task="video", num_frames=params.num_frames, fps=params.fps)
    return Origin(digest=job.id, source=source, stored=content_file(job, "video", "result"), remixed_from=job.id)


def origin_of_remix(before: Job, model: CatalogModel) -> Origin:
    """Return what a remix starts from: the video itself, or what that one started from. Raises ApiError if that is
    gone.
    """
    params = params_of(before.params)
    if params.task == "text" and "video" in model.input_kinds:
        return origin_of_video(before)
    if before.is_expired:
        raise ApiError("video_expired", "video: what it was made from is gone")
    if params.task == "text":
        return Origin(digest=before.id, remixed_from=before.id)
    source = Source(task=params.task, num_frames=params.num_frames, fps=params.fps)
    return Origin(digest=before.id, source=source, stored=before.files[params.task], remixed_from=before.id)
