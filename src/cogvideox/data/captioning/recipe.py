"""What a captioning is made of: one TOML file, read by `cogvideox.settings.read_recipe`."""

from dataclasses import dataclass, field
from typing import Literal

from cogvideox.data.filters.video_backbone import DtypeName, FramesChoice

BackendKind = Literal["endpoint", "transformers", "cogvlm2", "student", "function", "merger"]

ENDPOINT_CONCURRENCY = 8


@dataclass(frozen=True, kw_only=True)
class BackendSettings:
    """A model that stages name."""

    name: str
    kind: BackendKind
    """"endpoint": OpenAI-compatible (``url``, ``model``). "transformers": an image-text or a language model
    (``model``). "cogvlm2": a CogVLM2-Caption model (``model``). "student": what ``cogvideox train captioner`` or
    ``summariser`` made (``model``; without, the one in the package). "function": Python (``function``). "merger": no
    model, puts the inputs of a summary together."""
    model: str = ""
    """Name that an endpoint knows, a folder, or the name of a model on the hub; of a function whatever tells its
    versions apart: with another one, it is asked again."""
    url: str = ""
    """Of an endpoint, such as "http://localhost:8000/v1"."""
    function: str = ""
    """"file.py:name" or "package.module:name", called with a `cogvideox.data.captioning.request.CaptionRequest`;
    returns a text."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds an endpoint's key."""
    concurrency: int = 0
    """Requests at once, of all processes together; 0 for 8 to an endpoint and 1 to a function, which may be called from
    several threads if there are more."""
    max_requests_per_minute: int = 0
    """To an endpoint, of all processes together; 0 for no limit."""
    max_tokens_per_minute: int = 0
    """Read and written by an endpoint; 0 for no limit."""
    num_tries: int = 5
    """Of a request to an endpoint that is busy, broken or silent."""
    timeout_s: float = 120.0
    """For one answer of an endpoint; if it streams, between two pieces of one."""
    streams: bool = False
    """Take an endpoint's answer piece by piece."""
    max_tokens: int = 1024
    """Of one answer."""
    temperature: float = 0.0
    """0 takes the likeliest words."""
    dollars_per_million_input_tokens: float = 0.0
    dollars_per_million_output_tokens: float = 0.0
    device: str = "cpu"
    """Of a model on this machine."""
    dtype: DtypeName = "bfloat16"
    frames_as: FramesChoice = "auto"
    """How a model of transformers is shown frames (`cogvideox.data.filters.video_backbone.BackboneSettings`)."""
    revision: str | None = None
    """Of a model on the hub."""
    trusts_remote_code: bool = False
    """Run the code that comes with a model."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("backends: expected a name for each, got none")
        if self.kind == "endpoint" and not (self.url and self.model):
            raise ValueError(f"backends {self.name}: expected url and model for an endpoint")
        if self.kind in ("transformers", "cogvlm2") and not self.model:
            raise ValueError(f"backends {self.name}: model: expected a folder or a name on the hub, got none")
        if self.kind == "function" and not self.function:
            raise ValueError(f'backends {self.name}: function: expected "file.py:name", got none')
        if self.concurrency < 0:
            raise ValueError(f"backends {self.name}: concurrency: expected 0 or more, got {self.concurrency}")
        for name in ("num_tries", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"backends {self.name}: {name}: expected at least 1, got {getattr(self, name)}")
        for name in (
            "max_requests_per_minute",
            "max_tokens_per_minute",
            "temperature",
            "dollars_per_million_input_tokens",
            "dollars_per_million_output_tokens",
        ):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"backends {self.name}: {name}: expected 0 or more, got {getattr(self, name)}")
        if not 0 < self.timeout_s < float("inf"):
            raise ValueError(f"backends {self.name}: timeout_s: expected more than 0, got {self.timeout_s}")

    @property
    def num_at_once(self) -> int:
        """Return how many requests it is worth making at once."""
        return self.concurrency or (ENDPOINT_CONCURRENCY if self.kind == "endpoint" else 1)


@dataclass(frozen=True, kw_only=True)
class ShortSettings:
    """One sentence about the whole clip."""

    backend: str
    num_frames: int = 8
    """Shown to the model, spread over the clip."""
    max_side_px: int = 512
    """Frames are reduced to it."""
    max_words: int = 40
    prompt: str = ""
    """In place of ours."""

    def __post_init__(self) -> None:
        for name in ("num_frames", "max_side_px", "max_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"short.{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """What single frames show."""

    backend: str
    choice: Literal["time", "content"] = "time"
    """"time": a frame every ``every_s``. "content": the first, and one whenever the picture has changed by
    ``min_change`` since the last one that was taken, but at the latest after 5 times ``every_s``."""
    every_s: float = 2.0
    min_change: float = 0.12
    """0 to 1, of the difference between reduced pictures."""
    max_frames: int = 24
    """Of a clip; spread over it if there would be more."""
    max_side_px: int = 768
    max_words: int = 100
    prompt: str = ""
    """In place of ours."""

    def __post_init__(self) -> None:
        for name in ("max_frames", "max_side_px", "max_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"frames.{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 < self.every_s < float("inf"):
            raise ValueError(f"frames.every_s: expected more than 0, got {self.every_s}")
        if not 0 < self.min_change < 1:
            raise ValueError(f"frames.min_change: expected between 0 and 1, got {self.min_change}")


@dataclass(frozen=True, kw_only=True)
class SummarySettings:
    """The dense caption."""

    backend: str
    reads: Literal["captions", "video", "both"] = "captions"
    """What it is made of: the short caption and those of frames, the frames of the clip itself, or both."""
    max_words: int = 100
    num_frames: int = 24
    """Of the clip, if it reads the video."""
    max_side_px: int = 512
    num_tries: int = 3
    """Times that it is asked if the answer is not as it should be: too long, cut off, a refusal, not English, with a
    lead-in."""
    prompt: str = ""
    """In place of ours."""

    def __post_init__(self) -> None:
        for name in ("max_words", "num_frames", "max_side_px", "num_tries"):
            if getattr(self, name) < 1:
                raise ValueError(f"summary.{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """What is measured of captions."""

    figures: bool = True
    """Measure what needs no model: whether the inputs bear out a summary, its order, length and language."""
    match_model: str = ""
    """Folder of a CLIP or SigLIP model of transformers that says how well a caption fits its frames; none without."""
    judge: str = ""
    """Backend that is asked what in a summary the frames do not show; none without."""
    num_frames: int = 8
    """Shown to them."""
    max_side_px: int = 512

    def __post_init__(self) -> None:
        for name in ("num_frames", "max_side_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"check.{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class CaptionRecipe:
    """From clips to dense captions. A stage that is left out is not made."""

    backends: tuple[BackendSettings, ...]
    short: ShortSettings | None = None
    frames: FrameSettings | None = None
    summary: SummarySettings | None = None
    check: CheckSettings = field(default_factory=CheckSettings)
    max_dollars: float = 0.0
    """The run stops asking when so much is spent, earlier runs in the folder included; 0 for no limit."""
    gives_captions: bool = True
    """Give the dataset's clips the captions: in the tables of a training set, beside the clips' own, or in text files
    beside the videos of a plain folder that have none."""
    val_share: float = 0.1
    """Of the sources, kept apart in what is exported to train students."""

    def __post_init__(self) -> None:
        names = [backend.name for backend in self.backends]
        if len(set(names)) != len(names):
            raise ValueError(f"backends: expected different names, got {', '.join(names)}")
        stages = {"short": self.short, "frames": self.frames, "summary": self.summary}
        if not any(stages.values()):
            raise ValueError("expected at least one of the stages [short], [frames] and [summary]")
        wanted = {f"{name}.backend": stage.backend for name, stage in stages.items() if stage is not None}
        wanted |= {"check.judge": self.check.judge} if self.check.judge else {}
        for where, name in wanted.items():
            if name not in names:
                raise ValueError(f"{where}: expected the name of one of backends ({', '.join(names)}), got {name!r}")
        kinds = {backend.name: backend.kind for backend in self.backends}
        for where, name in wanted.items():
            if kinds[name] == "merger" and where != "summary.backend":
                raise ValueError(f"{where}: expected a model, got {name!r}, which only puts captions together")
        if self.summary is not None and self.summary.reads != "video" and self.short is None and self.frames is None:
            raise ValueError('summary.reads: expected "video", because there are no stages [short] and [frames]')
        if not 0 <= self.max_dollars < float("inf"):
            raise ValueError(f"max_dollars: expected 0 or more, got {self.max_dollars}")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share: expected 0 to below 1, got {self.val_share}")

    def backend(self, name: str) -> BackendSettings:
        """Return the settings of a backend by its name."""
        return next(backend for backend in self.backends if backend.name == name)
