"""``cogvideox jobs``: the videos of a server, from the command line."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cogvideox.cli.output import OK, SERVER_FAILED, print_json, print_table

if TYPE_CHECKING:
    from cogvideox.serving.client import Client

Flag = Annotated[bool, Parameter(negative="")]
MAX_PROMPT_SHOWN = 48


def list_jobs(*, server: str | None = None, limit: int = 20, json: Flag = False) -> int:
    """List the newest videos of a server.

    Parameters
    ----------
    server
        Its URL (default: COGVIDEOX_SERVER, OPENAI_BASE_URL, else http://127.0.0.1:8000); the key for it is taken from
        COGVIDEOX_API_KEY or OPENAI_API_KEY.
    limit
        How many.
    json
        End standard output with one JSON object.
    """
    if limit < 1:
        raise ValueError(f"--limit: expected at least 1, got {limit}")
    videos = list(_client(server).videos(limit))
    if json:
        print_json({"ok": True, "data": {"videos": videos}})
        return OK
    table = Table("id", "status", "progress", "made", "prompt", box=None)
    for video in videos:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(video["created_at"]))
        table.add_row(video["id"], _standing(video), f"{video['progress']} %", made, _brief(video["prompt"]))
    print_table(table)
    return OK


def show(video_id: str, *, server: str | None = None, json: Flag = False) -> int:
    """Say how a video stands.

    Parameters
    ----------
    video_id
        Of the video.
    server
        As for jobs list.
    json
        End standard output with one JSON object.
    """
    return _report(_client(server).get(video_id), json)


def wait(video_id: str, *, server: str | None = None, timeout: float | None = None, json: Flag = False) -> int:
    """Wait until a video has ended; the exit code is 6 if it failed.

    Parameters
    ----------
    video_id
        Of the video.
    server
        As for jobs list.
    timeout
        Seconds to wait at most (default: as long as it takes).
    json
        End standard output with one JSON object.
    """
    video = _client(server).wait(video_id, timeout_s=timeout)
    _report(video, json)
    return OK if video["status"] == "completed" else SERVER_FAILED


def watch(video_id: str, *, server: str | None = None, json: Flag = False) -> int:
    """Show each step of a video until it has ended; the exit code is 6 if it failed.

    Parameters
    ----------
    video_id
        Of the video.
    server
        As for jobs list.
    json
        End standard output with one JSON object.
    """
    video = follow(_client(server), video_id)
    _report(video, json)
    return OK if video["status"] == "completed" else SERVER_FAILED


def cancel(video_id: str, *, server: str | None = None, json: Flag = False) -> int:
    """Stop a video; one that has ended stays as it is.

    Parameters
    ----------
    video_id
        Of the video.
    server
        As for jobs list.
    json
        End standard output with one JSON object.
    """
    return _report(_client(server).cancel(video_id), json)


def get(
    video_id: str,
    *,
    out: Path | None = None,
    variant: Literal["video", "thumbnail", "spritesheet", "preview"] = "video",
    server: str | None = None,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Download a video.

    Parameters
    ----------
    video_id
        Of the video.
    out
        File to write (default: its id with .mp4, or .jpg for pictures).
    variant
        video, thumbnail, spritesheet or preview.
    server
        As for jobs list.
    force
        Replace an existing file.
    json
        End standard output with one JSON object.
    """
    target = out or Path(f"{video_id}{'.mp4' if variant == 'video' else f'_{variant}.jpg'}").name
    num_bytes = download(_client(server), video_id, Path(target), variant=variant, is_forced=force)
    if json:
        print_json({"ok": True, "data": {"id": video_id, "out": str(target), "num_bytes": num_bytes}})
    else:
        Console(highlight=False).print(f"{target}: {num_bytes} bytes", markup=False, soft_wrap=True)
    return OK


def remove(video_id: str, *, server: str | None = None, json: Flag = False) -> int:
    """Delete a video, and stop it if it is being made.

    Parameters
    ----------
    video_id
        Of the video.
    server
        As for jobs list.
    json
        End standard output with one JSON object.
    """
    deleted = _client(server).delete(video_id)
    if json:
        print_json({"ok": True, "data": deleted})
    else:
        Console(highlight=False).print(f"{video_id} is deleted", markup=False)
    return OK


def download(client: "Client", video_id: str, target: Path, *, variant: str = "video", is_forced: bool) -> int:
    """Write a video's file, at once or not at all; return how many bytes. Raises ValueError if it is there already."""
    from cogvideox.durable_files import replacing

    if target.exists() and not is_forced:
        raise ValueError(f"--out: {target} exists already; name another file, or replace it with --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        return client.download(video_id, file, variant=variant)


def follow(client: "Client", video_id: str) -> dict[str, Any]:
    """Show each step of a video on standard error; return it when it has ended."""
    from cogvideox.cli.output import StepProgress

    console = Console(stderr=True, highlight=False)
    told = ""
    with StepProgress("steps") as progress:

        def tell(video: dict[str, Any]) -> None:
            nonlocal told
            if video["status"] == "queued":
                place = video.get("queue_position")
                text = f"queued, {place} before it" if place else "queued, next"
            else:
                text = video.get("stage") or video["status"]
            if text != told:
                told = text
                console.print(text, markup=False)
            if video["status"] == "in_progress" and video.get("num_steps"):
                progress(video["step"], video["num_steps"])

        return client.wait(video_id, tell=tell)


def _client(server: str | None) -> "Client":
    from cogvideox.serving.client import Client, ServerAddress

    return Client(ServerAddress.found(server))


def _report(video: dict[str, Any], is_json: bool) -> int:
    if is_json:
        print_json({"ok": True, "data": video})
        return OK
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{video['id']}  {_standing(video)}  {video['progress']} %")
    console.print(f"prompt   {_brief(video['prompt'])}")
    length = f"{video.get('num_frames')} frames at {video.get('fps')} a second"
    console.print(f"video    {video['model']}, {video['size']}, {length}, seed {video.get('seed')}")
    for warning in video.get("warnings") or ():
        console.print(f"warning  {warning.get('message')}")
    if video.get("error"):
        console.print(f"error    {video['error']['message']} ({video['error']['code']})")
    return OK


def _standing(video: dict[str, Any]) -> str:
    if video["status"] == "failed" and (video.get("error") or {}).get("code") == "canceled":
        return "canceled"
    return "expired" if video.get("is_expired") else video["status"]


def _brief(prompt: str | None) -> str:
    text = " ".join((prompt or "").split())
    return text if len(text) <= MAX_PROMPT_SHOWN else f"{text[: MAX_PROMPT_SHOWN - 3]}..."
