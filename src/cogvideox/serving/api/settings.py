"""How an API is set up."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from cogvideox.serving.files import DiskFloor
from cogvideox.serving.job import QueueLimits

Compatibility = Literal["strict", "lenient"]
"""What happens to sizes and models that are not ours, such as OpenAI's: they are refused, or the nearest is taken."""
KIB, MIB = 2**10, 2**20


@dataclass(frozen=True, kw_only=True)
class InputLimits:
    """How much a request may bring."""

    max_json_bytes: int = 256 * KIB
    max_data_url_json_bytes: int = 15 * MIB
    """Of a JSON body that holds an image as a data URL."""
    max_multipart_bytes: int = 64 * MIB
    max_parts: int = 20
    max_text_part_bytes: int = 32 * KIB
    max_prompt_length: int = 4000
    """In code points of the normal form C."""
    max_image_bytes: int = 10 * MIB
    max_image_pixels: int = 25_000_000
    max_image_side_px: int = 8192
    max_video_bytes: int = 50 * MIB
    max_video_s: float = 30.0
    max_video_side_px: int = 4096
    max_video_fps: float = 120.0
    max_silence_s: float = 10.0
    """Between two pieces of a body."""
    max_body_s: float = 120.0
    """For a whole body."""
    max_decode_s: float = 45.0
    """For a picture or video, of the clock on the wall."""
    max_decode_cpu_s: int = 30
    max_decode_bytes: int = 2 * 2**30
    """Memory of the process that decodes."""
    max_decoders: int = 2
    """Processes that decode at the same time."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """A language model that writes prompts anew, behind an OpenAI-compatible endpoint."""

    base_url: str
    """Such as ``http://localhost:11434/v1``."""
    model: str
    """Name that the endpoint knows it by."""
    api_key: str = field(default="", repr=False)
    """None is sent if it is empty."""

    def __post_init__(self) -> None:
        if "@" in self.base_url:  # not repeated: it may hold a password
            raise ValueError("base_url: expected no user or password in it; the key is a setting of its own")
        try:
            parts = urlsplit(self.base_url)
            is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port or brackets that are none
            is_usable = False
        if not is_usable:
            raise ValueError(f"base_url: expected a URL such as http://localhost:11434/v1, got {self.base_url!r}")
        if not self.model.strip():
            raise ValueError("model: expected the name of a language model, got none")
        if not all("!" <= character <= "~" for character in self.api_key):
            raise ValueError("api_key: expected printable ASCII without blanks (the value is not shown)")


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """What an API serves, to whom and within which limits."""

    store_url: str = field(repr=False)  # it may hold a password
    """``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``."""
    data_dir: Path
    """Of the files of all jobs."""
    models: tuple[str, ...] = ("tiny",)
    """Names or folders as workers have them; the first one is taken if none is asked for."""
    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    """Names that this server is called by beside its own ones."""
    requires_key: bool = False
    """Whether requests need a key; without, all jobs are one owner's."""
    max_requests_per_minute: int = 0
    """Of one key; 0 is no limit."""
    has_remote_fetch: bool = False
    """Whether images are fetched from addresses that clients name."""
    fetch_domains: tuple[str, ...] = ()
    """The only ones to fetch from; empty is any."""
    compatibility: Compatibility = "strict"
    queue: QueueLimits = field(default_factory=QueueLimits)
    inputs: InputLimits = field(default_factory=InputLimits)
    floor: DiskFloor = field(default_factory=DiskFloor)
    retention_s: int = 7 * 24 * 3600
    """How long files are kept after a job has ended."""
    device_memory_bytes: int | None = None
    """The most that a video may take, whatever workers say that they have; None is what they say."""
    has_prompts_in_log: bool = False
    chat: ChatSettings | None = None
    """Writes prompts anew for who asks for it; None has that refused."""

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models: expected at least one, got none")
        if self.compatibility not in get_args(Compatibility):
            known = ", ".join(get_args(Compatibility))
            raise ValueError(f"compatibility: expected one of {known}, got {self.compatibility!r}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: expected 0 to 65535, got {self.port}")
        for name, least in (("max_requests_per_minute", 0), ("retention_s", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.device_memory_bytes is not None and self.device_memory_bytes <= 0:
            raise ValueError(f"device_memory_bytes: expected more than 0, got {self.device_memory_bytes}")


def limits_json(settings: ApiSettings) -> dict[str, Any]:
    """Return the limits that clients are told of a server, as part of what a model can do (``GET /v1/models/{id}``)."""
    inputs, queue = settings.inputs, settings.queue
    return {
        "max_json_bytes": inputs.max_json_bytes,
        "max_data_url_json_bytes": inputs.max_data_url_json_bytes,
        "max_multipart_bytes": inputs.max_multipart_bytes,
        "max_parts": inputs.max_parts,
        "max_text_part_bytes": inputs.max_text_part_bytes,
        "max_image_bytes": inputs.max_image_bytes,
        "max_image_pixels": inputs.max_image_pixels,
        "max_image_side_px": inputs.max_image_side_px,
        "max_video_bytes": inputs.max_video_bytes,
        "max_video_seconds": inputs.max_video_s,
        "max_video_side_px": inputs.max_video_side_px,
        "max_video_fps": inputs.max_video_fps,
        "max_queued": queue.max_queued,
        "max_queued_per_key": queue.max_queued_per_owner,
        "max_running_per_key": queue.max_running_per_owner,
        "max_requests_per_minute": settings.max_requests_per_minute,
        "retention_seconds": settings.retention_s,
        "min_free_bytes": settings.floor.min_free_bytes,
        "min_free_share": settings.floor.min_free_share,
        "device_memory_bytes": settings.device_memory_bytes,
        "fetches_urls": settings.has_remote_fetch,
        "fetch_domains": list(settings.fetch_domains),
    }
