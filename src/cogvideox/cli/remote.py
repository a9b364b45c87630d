"""``cogvideox generate --server``: the same request, for a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from cogvideox.cli.output import OK, print_json
from cogvideox.cli.results import default_name
from cogvideox.errors import ServerError

FIELDS = {
    "prompt": "prompt",
    "model": "model",
    "negative_prompt": "negative_prompt",
    "num_steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "guidance_mode": "guidance_mode",
    "sampler": "sampler",
    "strength": "strength",
    "seed": "seed",
    "fps": "fps",
    "num_frames": "num_frames",
    "width": "width",
    "height": "height",
}
"""Of requests to a server, by the names of settings here."""
INPUTS = ("image", "video")


def generate_there(
    server: str,
    given: Mapping[str, Any],
    local: Mapping[str, Any],
    out: str | None,
    *,
    is_forced: bool,
    wants_json: bool,
) -> int:
    """Have a server make a video, wait for it and download it.

    Args:
        server: its URL.
        given: settings by flag; None where nothing was given.
        local: other flags, which only this machine knows.
        out: the file to write.
        is_forced: an existing file is replaced.
        wants_json: standard output ends with one JSON object.

    Raises:
        ValueError: a flag is not for servers, or the file is there already.
        ServerError: the server refuses or cannot be reached, or the video failed.
    """
    from cogvideox.cli.jobs import download, follow
    from cogvideox.serving.client import Client, ServerAddress

    others = {f"--{name.replace('_', '-')}": value for name, value in given.items() if name not in (*FIELDS, *INPUTS)}
    wrong = [flag for flag, value in {**others, **local}.items() if value is not None and value != []]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: not with --server; how it makes videos is its own affair")
    if given.get("prompt") is None:
        raise ValueError("prompt: expected some text")
    if given.get("image") is not None and given.get("video") is not None:
        raise ValueError("--image and --video: give one of them, not both")
    if out is not None and Path(out).suffix != ".mp4":
        raise ValueError(f"--out: expected a file .mp4, which servers make, got {out!r}")
    target = None if out is None else Path(out)
    if target is not None and target.exists() and not is_forced:
        raise ValueError(f"--out: {target} exists already; name another file, or replace it with --force")
    fields = {FIELDS[name]: value for name, value in given.items() if name in FIELDS and value is not None}
    source = given.get("image") or given.get("video")
    client = Client(ServerAddress.found(server))
    video = client.create(fields, file=None if source is None else Path(source))
    console = Console(stderr=True, highlight=False)
    console.print(f"{video['id']}, seed {video.get('seed')}", markup=False)
    for warning in video.get("warnings") or ():
        console.print(f"warning: {warning.get('message')}", markup=False, soft_wrap=True)
    try:
        video = follow(client, video["id"])
    except KeyboardInterrupt:
        console.print(f"it goes on there; cogvideox jobs cancel {video['id']} --server {server} stops it", markup=False)
        raise
    if video["status"] != "completed":
        error = video.get("error") or {}
        raise ServerError(str(error.get("code")), f"{video['id']} failed: {error.get('message')} ({error.get('code')})")
    if target is None:
        target = Path("outputs") / default_name(str(given["prompt"]), str(video["seed"]))
    download(client, video["id"], target, is_forced=is_forced)
    if wants_json:
        print_json({"ok": True, "data": {"out": str(target), "video": video}})
    else:
        Console(highlight=False).print(str(target), markup=False, soft_wrap=True)
    return OK
