"""Flags that serve, worker, keys and doctor have in common, and what they come to."""

import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qsl

from cyclopts import Parameter

if TYPE_CHECKING:
    from cogvideox.serving.api.settings import ChatSettings, InputLimits
    from cogvideox.serving.files import DiskFloor
    from cogvideox.serving.job import QueueLimits
    from cogvideox.serving.worker import WorkerSettings

Flag = Annotated[bool, Parameter(negative="")]
Texts = Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)]
Hidden = Parameter(show=False)
"""For tests of what is around an engine."""

STORE_VARIABLE, STORE_FILE_VARIABLE = "COGVIDEOX_STORE", "COGVIDEOX_STORE_FILE"
CHAT_KEY_VARIABLE = "COGVIDEOX_CHAT_KEY"
DAY_S = 24 * 3600
MIB, GIB = 2**20, 2**30
MAX_DAYS = 36_500
GPU_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Of drivers: NVIDIA's, in Windows' Linux, and AMD's, whose devices torch calls cuda too."""


@dataclass(frozen=True, kw_only=True)
class StorePlace:
    """Where a service has its jobs and files."""

    url: str = field(repr=False)  # it may hold a password
    folder: Path

    def check_store(self, *, may_make: bool) -> None:
        """Look for the store before it is opened, which makes one that is not there.

        Args:
            may_make: one may be made, unless the folder has the files of one that is gone. Whoever only looks into a
                store would make one of a name that was misspelt.

        Raises:
            StoreError: it is not there.
        """
        from cogvideox.serving.data_folder import check_store_kept
        from cogvideox.serving.database import is_store_there
        from cogvideox.serving.job import StoreError

        check_store_kept(self.url, self.folder)
        if not may_make and not is_store_there(self.url):
            path = self.url.removeprefix("sqlite:///")
            raise StoreError(f"job store: there is none at {path}; correct --data-dir, or begin one: cogvideox serve")


@dataclass(frozen=True, kw_only=True)
class StoreFlags:
    """Where jobs and files are."""

    data_dir: Path | None = None
    """Folder for jobs and videos (default: cogvideox in the data folder of this user)."""
    store: str | None = None
    """postgresql://USER@HOST/NAME, for several hosts (default: COGVIDEOX_STORE, else SQLite in --data-dir)."""
    store_file: Path | None = None
    """File that holds that URL, which may have a password there (default: COGVIDEOX_STORE_FILE)."""

    def place(self, *, needs_shared_folder: bool = False) -> StorePlace:
        """Return the URL of the store and the folder.

        Args:
            needs_shared_folder: others keep the files of the jobs: without SQLite there is no folder by default.

        Raises:
            ValueError: the flags say too much, too little, or a secret.
        """
        from cogvideox.serving.data_folder import default_data_folder, store_url

        folder = (self.data_dir or default_data_folder()).absolute()
        url = self._url()
        if needs_shared_folder and self.data_dir is None and url is not None and not url.startswith("sqlite"):
            raise ValueError(
                "--data-dir: expected the folder in which the server keeps its files, as this machine sees it, got "
                "none; jobs of a store for several hosts have their pictures and videos there"
            )
        return StorePlace(url=url or store_url(folder), folder=folder)

    def _url(self) -> str | None:
        if self.store is not None and self.store_file is not None:
            raise ValueError("--store and --store-file: give one of them, not both")
        if self.store is not None:
            if has_password(self.store):
                raise ValueError(
                    "--store: all users of this machine see a password there; put the URL into the environment as "
                    f"{STORE_VARIABLE}, or into a file for --store-file"
                )
            return self.store
        if self.store_file is not None:
            return _url_in(self.store_file, "--store-file")
        if url := os.environ.get(STORE_VARIABLE):
            return url
        if path := os.environ.get(STORE_FILE_VARIABLE):
            return _url_in(Path(path), STORE_FILE_VARIABLE)
        return None


@dataclass(frozen=True, kw_only=True)
class WorkerFlags:
    """What makes videos."""

    model: str = "tiny"
    """Embedded or pulled model, or checkpoint directory."""
    device: str = "cpu"
    """cpu, cuda, cuda:N or mps."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16."""
    grace: float = 30.0
    """Seconds for running videos to end when the service ends; the others go on at the next start."""
    engine: Annotated[Literal["torch", "fake"], Hidden] = "torch"
    """torch; fake makes no videos, it tries what is around an engine."""
    fake_step: Annotated[float, Hidden] = 0.05
    """Seconds of its steps."""
    lease: Annotated[float, Hidden] = 60.0
    """Seconds without a sign of life after which a job goes to another worker."""
    stall: Annotated[float, Hidden] = 60.0
    """Seconds without progress after which an engine is killed."""

    def __post_init__(self) -> None:
        check_range("--grace", self.grace, least=0)
        for name in ("fake_step", "lease", "stall"):
            check_range(f"--{name.replace('_', '-')}", getattr(self, name), least=0)
        dtypes = ("auto", "float32", "bfloat16", "float16")
        if self.dtype not in dtypes:
            raise ValueError(f"--dtype: expected one of {', '.join(dtypes)}, got {self.dtype!r}")

    def settings(
        self, place: StorePlace, limits: "QueueLimits", *, worker_id: str = "", is_here: bool = True
    ) -> "WorkerSettings":
        """Return what a worker is told.

        Args:
            place: of the store and the files.
            limits: of the queue.
            worker_id: its name; by default made of host and process.
            is_here: it runs on this machine, whose devices are looked at.

        Raises:
            CheckpointError: the model is not on this machine.
            ValueError: the device is not.
        """
        from cogvideox.checkpoints.directory import read_configs
        from cogvideox.serving.engine_protocol import EngineSettings
        from cogvideox.serving.worker import WorkerSettings

        read_configs(self.model)
        check_device(self.device, is_here=is_here)
        engine = EngineSettings(
            engine=self.engine,
            model=self.model,
            device=self.device,
            dtype=self.dtype,
            cache_folder=place.folder / "cache",
            fake_step_s=self.fake_step,
        )
        return WorkerSettings(
            store=place.url,
            data_dir=place.folder,
            engine=engine,
            worker_id=worker_id,
            grace_s=self.grace,
            lease_s=self.lease,
            min_stall_s=self.stall,
            limits=limits,
        )


@dataclass(frozen=True, kw_only=True)
class QueueFlags:
    """How much is taken, and how long it is kept."""

    max_queued: int = 100
    """Videos that wait; 0 is no limit."""
    max_queued_per_key: int = 10
    """Of one key's; 0 is no limit."""
    max_running_per_key: int = 0
    """Of one key's that are made at the same time; 0 is no limit. Workers started elsewhere need it too."""
    max_requests_per_minute: int = 0
    """Of one key; 0 is no limit."""
    keep_days: float = 7.0
    """How long videos are kept after they have ended."""
    min_free_gib: float | None = None
    """Free space on the disk below which nothing is taken (default: 2, or 5 % of the disk if that is more)."""
    device_memory_gib: float | None = None
    """Refuse videos that take more (default: what workers say that they have)."""

    def __post_init__(self) -> None:
        for name in ("max_queued", "max_queued_per_key", "max_running_per_key", "max_requests_per_minute"):
            check_range(f"--{name.replace('_', '-')}", getattr(self, name), least=0)
        check_range("--keep-days", self.keep_days, least=1 / DAY_S, most=MAX_DAYS)
        if self.min_free_gib is not None:
            check_range("--min-free-gib", self.min_free_gib, least=0)
        if self.device_memory_gib is not None:
            check_range("--device-memory-gib", self.device_memory_gib, least=1 / 1024)

    @property
    def limits(self) -> "QueueLimits":
        """Of the queue."""
        from cogvideox.serving.job import QueueLimits

        return QueueLimits(
            max_queued=self.max_queued,
            max_queued_per_owner=self.max_queued_per_key,
            max_running_per_owner=self.max_running_per_key,
        )

    @property
    def retention_s(self) -> int:
        """How long files are kept."""
        return max(round(self.keep_days * DAY_S), 1)

    @property
    def floor(self) -> "DiskFloor":
        """Space that stays free."""
        from cogvideox.serving.files import DiskFloor

        if self.min_free_gib is None:
            return DiskFloor()
        return DiskFloor(min_free_bytes=round(self.min_free_gib * GIB), min_free_share=0)

    @property
    def device_memory_bytes(self) -> int | None:
        """Memory that a video may take."""
        return None if self.device_memory_gib is None else round(self.device_memory_gib * GIB)


@dataclass(frozen=True, kw_only=True)
class InputFlags:
    """What requests may bring."""

    max_prompt: int = 4000
    """Characters of a prompt."""
    max_image_mb: float = 10.0
    """Size of a picture, in MiB."""
    max_video_mb: float = 50.0
    """Size of a video, in MiB."""
    input_limit: Texts = None
    """Any other limit, as NAME=NUMBER: max_image_pixels, max_image_side_px, max_video_s, max_video_side_px,
    max_video_fps, max_parts, max_body_s, max_decoders, max_decode_bytes, ..."""
    allow_fetch: Texts = None
    """Fetch pictures that requests name by https URL: from these domains, from any if none is named (default: off)."""
    lenient: Flag = False
    """Take OpenAI's sizes and model names for the nearest ones here."""

    def __post_init__(self) -> None:
        check_range("--max-prompt", self.max_prompt, least=1, most=1_000_000)
        for name in ("max_image_mb", "max_video_mb"):
            check_range(f"--{name.replace('_', '-')}", getattr(self, name), least=0.001, most=10_000)
        for domain in self.allow_fetch or ():
            if "/" in domain or ":" in domain or "." not in domain.strip("."):
                raise ValueError(f"--allow-fetch: expected domains such as images.example.com, got {domain!r}")

    @property
    def limits(self) -> "InputLimits":
        """Of all parts of a request: whole bodies have room for what they may hold."""
        from cogvideox.serving.api.settings import InputLimits

        usual = InputLimits()
        others = _numbers(self.input_limit or (), usual)
        image_bytes, video_bytes = round(self.max_image_mb * MIB), round(self.max_video_mb * MIB)
        texts_bytes = 8 * self.max_prompt  # a prompt and a negative one, as UTF-8
        values: dict[str, Any] = {
            "max_prompt_length": self.max_prompt,
            "max_image_bytes": image_bytes,
            "max_video_bytes": video_bytes,
            "max_json_bytes": max(usual.max_json_bytes, 3 * texts_bytes),  # with escapes
            "max_data_url_json_bytes": max(usual.max_data_url_json_bytes, image_bytes * 4 // 3 + usual.max_json_bytes),
            "max_multipart_bytes": max(usual.max_multipart_bytes, image_bytes + MIB, video_bytes + MIB),
            "max_text_part_bytes": max(usual.max_text_part_bytes, texts_bytes),
        }
        return InputLimits(**{**values, **others})


@dataclass(frozen=True, kw_only=True)
class AccessFlags:
    """Who gets in, and what is noted of them."""

    require_key: Flag = False
    """Ask for keys on this machine too."""
    insecure_no_auth: Flag = False
    """Let anybody in who reaches the address."""
    allowed_host: Texts = None
    """Names that the page is called by, behind a proxy say."""
    log_prompts: Flag = False
    """Write prompts into the log, not only their lengths and digests."""

    def __post_init__(self) -> None:
        if self.require_key and self.insecure_no_auth:
            raise ValueError("--require-key and --insecure-no-auth: give one of them, not both")
        for name in self.allowed_host or ():
            if "/" in name or not name.strip():
                raise ValueError(f"--allowed-host: expected names such as videos.example.com, got {name!r}")


@dataclass(frozen=True, kw_only=True)
class ChatFlags:
    """A language model that writes prompts anew and translates them."""

    chat_url: str | None = None
    """OpenAI-compatible URL, such as http://localhost:11434/v1; its key is taken from COGVIDEOX_CHAT_KEY."""
    chat_model: str | None = None
    """Name of the language model there."""

    def settings(self) -> "ChatSettings | None":
        """Return what the API is told. Raises ValueError if the flags are no use."""
        from cogvideox.serving.api.settings import ChatSettings

        if self.chat_url is None and self.chat_model is None:
            return None
        if self.chat_url is None or self.chat_model is None:
            raise ValueError("--chat-url and --chat-model: give both, or none")
        try:
            key = os.environ.get(CHAT_KEY_VARIABLE, "")
            return ChatSettings(base_url=self.chat_url, model=self.chat_model, api_key=key)
        except ValueError as error:
            names = {"base_url": "--chat-url", "model": "--chat-model", "api_key": CHAT_KEY_VARIABLE}
            name, _, told = str(error).partition(":")
            raise ValueError(f"{names.get(name, name)}:{told}") from None


def check_range(flag: str, value: Any, *, least: float, most: float = math.inf) -> None:
    """Raise ValueError unless a number is finite and within a range."""
    if not math.isfinite(value) or not least <= value <= most:
        begin = "more than 0" if 0 < least < 0.01 else f"at least {least}"
        end = "" if most == math.inf else f" and at most {most}"
        raise ValueError(f"{flag}: expected {begin}{end}, got {value}")


def check_device(device: str, *, is_here: bool = True) -> None:
    """Raise ValueError unless a device may be there; without torch, which takes seconds to import."""
    kind, _, number = device.partition(":")
    is_number = number.isascii() and number.isdigit()
    if kind not in ("cpu", "cuda", "mps") or (":" in device and not (kind == "cuda" and is_number)):
        raise ValueError(f"--device: expected cpu, cuda, cuda:N or mps, got {device!r}")
    if not is_here:
        return
    if kind == "mps" and sys.platform != "darwin":
        raise ValueError("--device: mps is of Apple's machines; this one has cpu, and cuda with a GPU")
    if kind == "cuda" and not has_gpu_driver():
        raise ValueError("--device: there is no driver of a GPU on this machine; install it, or take --device cpu")
    if kind == "cuda" and is_torch_without_gpu():
        raise ValueError("--device: the torch that is installed is the one for CPUs; install the one for CUDA")


def has_gpu_driver() -> bool:
    """Whether the driver of a GPU is there that torch calls cuda."""
    return any(Path(name).exists() for name in GPU_FILES) or shutil.which("nvidia-smi") is not None


def is_torch_without_gpu() -> bool:
    """Whether torch is installed in a form that knows no GPU."""
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def has_password(url: str) -> bool:
    """Whether a URL of a database holds a password."""
    _, _, rest = url.partition("://")
    login, at, _ = rest.rpartition("@")
    names = [name.lower() for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)]
    return (bool(at) and ":" in login) or any("password" in name for name in names)


def _numbers(texts: Sequence[str], usual: "InputLimits") -> dict[str, int | float]:
    """Return limits out of texts NAME=NUMBER. Raises ValueError for others."""
    numbers: dict[str, int | float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        known = getattr(usual, name, None) if name.startswith("max_") else None
        if known is None:
            names = ", ".join(each.name for each in fields(usual))
            raise ValueError(f"--input-limit: expected NAME=NUMBER with one of {names}, got {text!r}")
        try:
            numbers[name] = int(number) if isinstance(known, int) else float(number)
        except ValueError:
            raise ValueError(f"--input-limit: expected a number for {name}, got {number!r}") from None
        check_range(f"--input-limit: {name}", numbers[name], least=0.001)
    return numbers


def _url_in(path: Path, flag: str) -> str:
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"{flag}: {path}: {reason}; name a file with the URL of the store") from None
    if len(lines) != 1:
        raise ValueError(f"{flag}: {path}: expected one line with the URL of the store, got {len(lines)}")
    return lines[0]
