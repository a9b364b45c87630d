"""``cogvideox doctor``: whether this machine can serve, point by point, and how to mend what cannot."""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import BAD_CHECKPOINT, OK, print_json
from cogvideox.cli.serving_flags import (
    STORE_FILE_VARIABLE,
    Flag,
    StoreFlags,
    StorePlace,
    check_device,
    has_gpu_driver,
    is_torch_without_gpu,
)

if TYPE_CHECKING:
    from cogvideox.serving.database import Database

Verdict = Literal["ok", "warn", "fail"]
SERVE_PACKAGES = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "python_multipart", "prometheus_client")
GIB = 2**30
MIN_MEMORY_BYTES = 2 * GIB
MIN_OPEN_FILES = 4096
FIRST_SANE_YEAR = 2024
MAX_CLOCK_GAP_S = 5.0
UPLOADED = {"h264": ("h264",), "hevc": ("hevc",), "vp8": ("vp8", "libvpx"), "vp9": ("vp9", "libvpx-vp9")}
UPLOADED |= {"av1": ("libdav1d", "av1", "libaom-av1")}
"""Videos that clients may send, and the decoders for them."""
_PLACES = StoreFlags()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found at one point."""

    name: str
    verdict: Verdict
    text: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is to be served."""

    places: StoreFlags
    model: str
    device: str
    host: str
    port: int
    ray_address: str | None


def doctor(
    *,
    places: Annotated[StoreFlags, Parameter(name="*")] = _PLACES,
    model: str = "tiny",
    device: str = "cpu",
    host: str = "127.0.0.1",
    port: int = 8000,
    ray_address: str | None = None,
    json: Flag = False,
) -> int:
    """Look whether this machine can serve videos; the exit code is 3 if something fails.

    Parameters
    ----------
    places
        As for serve.
    model
        Model to be served.
    device
        Device to make videos on.
    host
        Address to be served at.
    port
        Port to be served at.
    ray_address
        Of a Ray cluster that places the workers (default: without Ray).
    json
        End standard output with one JSON object.
    """
    findings = []
    console = Console(highlight=False, soft_wrap=True, markup=False)
    plan = _Plan(places=places, model=model, device=device, host=host, port=port, ray_address=ray_address)
    for finding in _look(plan):
        findings.append(finding)
        if not json:
            fix = f"\n      -> {finding.fix}" if finding.fix else ""
            console.print(f"{finding.verdict:4}  {finding.name}: {finding.text}{fix}")
    is_sound = all(finding.verdict != "fail" for finding in findings)
    if json:
        rows = [{"name": row.name, "verdict": row.verdict, "text": row.text, "fix": row.fix} for row in findings]
        print_json({"ok": is_sound, "data": {"findings": rows}})
    return OK if is_sound else BAD_CHECKPOINT


def _look(plan: _Plan) -> Iterator[Finding]:
    yield (packages := _packages())
    if packages.verdict == "fail":  # nothing else could be looked at
        return
    place = plan.places.place()
    yield _tried("data directory", lambda: _folder(place.folder))
    yield _tried("disk", lambda: _disk(place.folder))
    yield _tried("permissions", lambda: _permissions(place.folder, plan.places))
    yield _tried("job store", lambda: _store(place))
    yield _tried("keys", lambda: _keys(place, plan.host))
    yield _tried("model", lambda: _model(plan.model))
    yield _tried("port", lambda: _port(plan.host, plan.port))
    yield _tried("decoder", _decoder)
    yield _tried("codecs", _codecs)
    yield _tried("h264 encoder", _encoder)
    yield _tried("memory", _memory)
    yield _tried("device", lambda: _device(plan.device))
    yield _tried("open files", _open_files)
    yield _tried("clock", lambda: _clock(place.url))
    if plan.ray_address is not None:
        address = plan.ray_address
        yield _tried("ray", lambda: _ray(address))


def _tried(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (ValueError, OSError, ImportError) as error:
        told, _, fix = " ".join(str(error).split()).partition("; ")
        for known in (name, "--device", "--host", "--port", "--ray-address"):
            told = told.removeprefix(f"{known}: ")
        return Finding(name=name, verdict="fail", text=told, fix=fix or "correct what was given; see --help")


def _packages() -> Finding:
    missing = [name for name in SERVE_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        return Finding(name="packages", verdict="fail", text=text, fix="pip install 'cogvideox[serve]'")
    return Finding(name="packages", verdict="ok", text=f"Python {sys.version.split()[0]}, all that serving needs")


def _folder(folder: Path) -> Finding:
    from cogvideox.serving.files import check_data_folder

    if folder.exists():
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder; choose another --data-dir")
        check_data_folder(folder)
        return Finding(name="data directory", verdict="ok", text=str(folder))
    place = _nearest(folder)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"{folder} cannot be made; choose another --data-dir")
    return Finding(name="data directory", verdict="ok", text=f"{folder} will be made")


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _disk(folder: Path) -> Finding:
    from cogvideox.serving.files import DiskFloor, room_bytes

    place = _nearest(folder)
    free = f"{shutil.disk_usage(place).free / GIB:.1f} GiB free"
    if room_bytes(place, DiskFloor()) < 0:
        raise ValueError(f"{free}, too little to take videos; make room, or ask for less with --min-free-gib")
    return Finding(name="disk", verdict="ok", text=free)


def _permissions(folder: Path, places: StoreFlags) -> Finding:
    """Look who can read prompts, videos, and the password of a database."""
    file = places.store_file or os.environ.get(STORE_FILE_VARIABLE)
    secret = [Path(file)] if file else []
    names = ("jobs.sqlite3", "pepper")
    watched = [path for path in (folder, *(folder / name for name in names), *secret) if path.exists()]
    is_open = folder.exists() and folder.stat().st_mode & 0o077
    # What is in a closed folder is closed.
    shown = [path for path in watched if path.stat().st_mode & 0o077 and (path in secret or is_open)]
    if shown:
        text = f"other users of this machine may read {', '.join(str(path) for path in shown)}"
        fix = f"chmod go= {' '.join(str(path) for path in shown)}"
        return Finding(name="permissions", verdict="warn", text=text, fix=fix)
    return Finding(name="permissions", verdict="ok", text="only this user reads jobs and videos")


def _store(place: StorePlace) -> Finding:
    from cogvideox.serving.database import is_store_there
    from cogvideox.serving.job_store import JobStore

    if not is_store_there(place.url):
        place.check_store(may_make=True)
        return Finding(name="job store", verdict="ok", text="will be made")
    store = JobStore.open(place.url)
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


def _keys(place: StorePlace, host: str) -> Finding:
    from cogvideox.serving.keys import KeyRing, read_pepper
    from cogvideox.serving.network import is_loopback

    has_key = False
    if (database := _opened(place.url)) is not None:
        try:
            has_key = KeyRing(database, read_pepper(place.folder, database)).has_valid_key()
        finally:
            database.close()
    if not has_key and not is_loopback(host):
        raise ValueError(f"there are none, and other machines reach {host}; make one with cogvideox keys new")
    return Finding(name="keys", verdict="ok", text="there are valid ones" if has_key else "none; needed by others only")


def _opened(url: str) -> "Database | None":
    """Return the database of a store; None if there is none, or it does not open, which is a point of its own."""
    from cogvideox.serving.database import Database, is_store_there
    from cogvideox.serving.job import StoreError

    try:
        return Database(url) if is_store_there(url) else None
    except StoreError:
        return None


def _model(model: str) -> Finding:
    from cogvideox.serving.model_catalog import describe_model

    described = describe_model(model)
    width_px, height_px = described.sizes_px[0]
    return Finding(name="model", verdict="ok", text=f"{described.name}, {width_px}x{height_px} px")


def _port(host: str, port: int) -> Finding:
    import urllib.request

    from cogvideox.serving.api import listen

    try:
        listen(host, port).close()
    except ValueError:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/livez", timeout=2) as answer:
                is_ours = b"alive" in answer.read(100)
        except (OSError, ValueError):
            is_ours = False
        if not is_ours:
            raise
        text = f"{host}:{port} is served by cogvideox already"
        return Finding(name="port", verdict="warn", text=text, fix="stop that one first, or name another port")
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
    inputs = InputLimits()
    limits = f"{inputs.max_decode_bytes / GIB:g} GiB and {inputs.max_decode_cpu_s} s"
    if has_network:
        text = f"works, within {limits}; this system does not let it give up the network"
        return Finding(name="decoder", verdict="warn", text=text, fix="allow user namespaces, if you can")
    return Finding(name="decoder", verdict="ok", text=f"works, within {limits}, without a network")


def _codecs() -> Finding:
    """Look which of the videos that clients may send can be read here."""
    import av.codec

    known = av.codec.codecs_available
    missing = [name for name, decoders in UPLOADED.items() if known.isdisjoint(decoders)]
    if missing:
        text = f"no decoder of {', '.join(missing)}: such videos are refused"
        return Finding(name="codecs", verdict="warn", text=text, fix="pip install --force-reinstall av")
    return Finding(name="codecs", verdict="ok", text=f"reads {', '.join(UPLOADED)}")


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


def _device(device: str) -> Finding:
    """Look for a GPU without torch, which takes seconds to import."""
    check_device(device)
    if device.startswith("cuda"):
        return Finding(name="device", verdict="ok", text=f"{device}: the driver of a GPU is there")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not has_gpu_driver():
        return Finding(name="device", verdict="ok", text=f"{cores} processors, no GPU; large models need one")
    if is_torch_without_gpu():
        text = "there is a GPU, but the torch that is installed is the one for CPUs"
        return Finding(name="device", verdict="warn", text=text, fix="install the torch for CUDA")
    return Finding(name="device", verdict="ok", text="the driver of a GPU is there; serve with --device cuda")


def _open_files() -> Finding:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < MIN_OPEN_FILES:
        text = f"at most {most} at once, which are {most // 2} clients"
        return Finding(name="open files", verdict="warn", text=text, fix=f"raise it (ulimit -n {MIN_OPEN_FILES})")
    return Finding(name="open files", verdict="ok", text="enough at once")


def _clock(url: str) -> Finding:
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if time.gmtime().tm_year < FIRST_SANE_YEAR:
        return Finding(name="clock", verdict="warn", text=f"it says {shown}", fix="set this machine's time")
    if url.startswith("sqlite"):
        return Finding(name="clock", verdict="ok", text=shown)
    gap_s = _clock_gap_s(url)
    if gap_s is None:
        return Finding(name="clock", verdict="warn", text=f"{shown}; the database's is not known", fix="see job store")
    if gap_s > MAX_CLOCK_GAP_S:
        text = f"{shown}, {gap_s:.0f} s off the database's, which decides"
        return Finding(name="clock", verdict="warn", text=text, fix="set both machines' time by the network")
    return Finding(name="clock", verdict="ok", text=f"{shown}, as the database's")


def _clock_gap_s(url: str) -> float | None:
    if (database := _opened(url)) is None:
        return None
    try:
        with database.reading() as transaction:
            return abs(transaction.now_us / 1e6 - time.time())
    finally:
        database.close()


def _ray(address: str) -> Finding:
    """Look for Ray and its cluster without joining it."""
    from cogvideox.serving.ray_workers import check_cluster

    if importlib.util.find_spec("ray") is None:
        raise ValueError("it is not installed; pip install ray")
    check_cluster(address)
    return Finding(name="ray", verdict="ok", text=f"{address}: there is a cluster, or one is made")
