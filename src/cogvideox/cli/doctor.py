"""``cogvideox doctor``: whether this machine can serve, point by point, and how to mend what cannot."""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import BAD_CHECKPOINT, OK, print_json

Verdict = Literal["ok", "warn", "fail"]
SERVE_PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "python_multipart", "prometheus_client")
GIB = 2**30
MIN_MEMORY_BYTES = 2 * GIB
FIRST_SANE_YEAR = 2024


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found at one point."""

    name: str
    verdict: Verdict
    text: str
    fix: str = ""


def doctor(
    *,
    store: str | None = None,
    data_dir: Path | None = None,
    model: str = "tiny",
    host: str = "127.0.0.1",
    port: int = 8000,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Look whether this machine can serve videos; the exit code is 3 if something fails.

    Parameters
    ----------
    store
        URL of the store of jobs (default: SQLite in --data-dir).
    data_dir
        Folder of the server (default: of this user).
    model
        Model to be served.
    host
        Address to be served at.
    port
        Port to be served at.
    json
        End standard output with one JSON object.
    """
    from cogvideox.serving.data_folder import default_data_folder, store_url

    folder = (data_dir or default_data_folder()).absolute()
    url = store or store_url(folder)
    findings = []
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for finding in _look(folder, url, model, host, port):
        findings.append(finding)
        if not json:
            fix = f"\n      -> {finding.fix}" if finding.fix else ""
            console.print(f"{finding.verdict:4}  {finding.name}: {finding.text}{fix}")
    is_sound = all(finding.verdict != "fail" for finding in findings)
    if json:
        rows = [{"name": row.name, "verdict": row.verdict, "text": row.text, "fix": row.fix} for row in findings]
        print_json({"ok": is_sound, "data": {"findings": rows}})
    return OK if is_sound else BAD_CHECKPOINT


def _look(folder: Path, url: str, model: str, host: str, port: int) -> Iterator[Finding]:
    yield _packages()
    yield _tried("data directory", lambda: _folder(folder))
    yield _tried("job store", lambda: _store(url))
    yield _tried("model", lambda: _model(model))
    yield _tried("port", lambda: _port(host, port))
    yield _tried("decoder", _decoder)
    yield _tried("h264 encoder", _encoder)
    yield _memory()
    yield _device()
    yield _clock()


def _tried(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (ValueError, OSError, ImportError) as error:
        told, _, fix = " ".join(str(error).split()).partition("; ")
        return Finding(name=name, verdict="fail", text=told, fix=fix)


def _packages() -> Finding:
    missing = [name for name in SERVE_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        return Finding(name="packages", verdict="fail", text=text, fix="pip install 'cogvideox[serve]'")
    return Finding(name="packages", verdict="ok", text=f"Python {sys.version.split()[0]}, all that serving needs")


def _folder(folder: Path) -> Finding:
    from cogvideox.serving.files import FileStore

    place = next(path for path in (folder, *folder.parents) if path.exists())
    if place != folder:
        if not os.access(place, os.W_OK | os.X_OK):
            raise ValueError(f"{folder} cannot be made; choose another --data-dir")
        return Finding(name="data directory", verdict="ok", text=f"{folder} will be made")
    free_bytes = FileStore(folder).free_bytes()
    free = f"{shutil.disk_usage(folder).free / GIB:.1f} GiB free"
    if free_bytes < 0:
        raise ValueError(f"{folder}: {free}, too little to take videos; make room")
    return Finding(name="data directory", verdict="ok", text=f"{folder}, {free}")


def _store(url: str) -> Finding:
    from cogvideox.serving.job_store import JobStore

    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.exists():
        return Finding(name="job store", verdict="ok", text="will be made")
    store = JobStore.open(url)
    try:
        begun_s = time.monotonic()
        store.check()
        took_ms = 1000 * (time.monotonic() - begun_s)
        counts = store.counts()
    finally:
        store.close()
    jobs = sum(counts.by_state.values())
    text = f"{store.database.name}: {jobs} jobs, {counts.num_workers} workers, a write takes {took_ms:.0f} ms"
    if took_ms > 500:
        return Finding(name="job store", verdict="warn", text=text, fix="use a faster disk for it")
    return Finding(name="job store", verdict="ok", text=text)


def _model(model: str) -> Finding:
    from cogvideox.serving.model_catalog import describe_model

    described = describe_model(model)
    width_px, height_px = described.sizes_px[0]
    return Finding(name="model", verdict="ok", text=f"{described.name}, {width_px}x{height_px} px")


def _port(host: str, port: int) -> Finding:
    from cogvideox.serving.api import listen

    listen(host, port).close()
    return Finding(name="port", verdict="ok", text=f"{host}:{port} is free")


def _decoder() -> Finding:
    """Decode a picture of one pixel as those of clients are decoded."""
    import io
    import tempfile

    from PIL import Image

    from cogvideox.serving.api.settings import InputLimits
    from cogvideox.serving.errors import ApiError
    from cogvideox.serving.uploads import decoded

    picture = io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "PNG")
    picture.seek(0)
    try:
        folder = Path(tempfile.gettempdir())
        with decoded(picture, "png", InputLimits(), folder, max_frames=1, cover_px=(1, 1), param="picture") as made:
            has_network = made.has_network
    except ApiError as error:
        raise ValueError(f"{error.message}; see whether Python can start processes here") from None
    if has_network:
        text = "works, with limits of memory and time; this system does not let it give up the network"
        return Finding(name="decoder", verdict="warn", text=text, fix="allow user namespaces, if you can")
    return Finding(name="decoder", verdict="ok", text="works, with limits of memory and time and without a network")


def _encoder() -> Finding:
    import tempfile

    import numpy as np

    from cogvideox.media.writers import write_video

    with tempfile.TemporaryDirectory() as folder:
        write_video(Path(folder) / "one.mp4", [np.zeros((1, 16, 16, 3), np.uint8)], fps=8)
    return Finding(name="h264 encoder", verdict="ok", text="works")


def _memory() -> Finding:
    from cogvideox.cli.plan import available_bytes

    free = available_bytes("cpu")
    text = f"{free / GIB:.1f} GiB free"
    if free < MIN_MEMORY_BYTES:
        return Finding(name="memory", verdict="warn", text=text, fix="cogvideox plan says what a video takes")
    return Finding(name="memory", verdict="ok", text=text)


def _device() -> Finding:
    """Look for a GPU without torch, which takes seconds to import."""
    has_gpu = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    if not has_gpu:
        cores = os.cpu_count() or 1
        return Finding(name="device", verdict="ok", text=f"{cores} processors, no NVIDIA GPU; large models need one")
    return Finding(name="device", verdict="ok", text="an NVIDIA driver is there; serve with --device cuda")


def _clock() -> Finding:
    year = time.gmtime().tm_year
    if year < FIRST_SANE_YEAR:
        return Finding(name="clock", verdict="warn", text=f"it says {year}", fix="set this machine's time")
    return Finding(name="clock", verdict="ok", text=time.strftime("%Y-%m-%d %H:%M:%S %Z"))
