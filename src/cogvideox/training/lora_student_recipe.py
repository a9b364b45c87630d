"""How a model of transformers is fine-tuned to replace a teacher of captions: a section of the recipe of a student."""

from dataclasses import dataclass, field
from pathlib import Path

from cogvideox.data.filters.video_backbone import BackboneSettings, DtypeName, FramesChoice
from cogvideox.data.low_rank import LowRankSettings
from cogvideox.training.learning_rate import require_positive


@dataclass(frozen=True, kw_only=True)
class LoraStudentSettings:
    """A low-rank adapter of a language model, or of one that sees, learnt from what ``cogvideox caption`` exported."""

    data: tuple[Path, ...] = ()
    """``training/summariser.jsonl`` or ``enhancer.jsonl`` of captioned folders for a summariser, ``captioner.jsonl``
    for a captioner."""
    base: str = ""
    """A folder with a model as transformers saves it, or its name on the hub: with a chat template (LLaMA 2 Chat,
    Qwen), of T5's kind, or one that takes pictures or videos. A captioner needs one of the last."""
    revision: str | None = None
    """Of a model on the hub: a branch, a tag or a commit."""
    trusts_remote_code: bool = False
    """Run the code that comes with the model; only with a ``revision`` that is a commit."""
    dtype: DtypeName = "float32"
    """Of the frozen weights; what learns is float32."""
    has_autocast: bool = False
    """Compute in bfloat16 where that does no harm."""
    has_gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    adapter: LowRankSettings = field(default_factory=LowRankSettings)
    max_tokens: int = 4096
    """Question, frames and answer together; longer clips are left out, never cut."""
    prompt: str = ""
    """What a captioner is asked, in place of what the export says."""
    num_frames: int = 16
    """That a captioner is shown, spread over the clip, in the middles of equal parts."""
    max_side_px: int = 448
    """Frames with a longer side are reduced to it."""
    frames_as: FramesChoice = "auto"
    """"video" goes through the processor's video part, which needs torchvision; "images" shows the frames as several
    pictures; "auto" takes "video" where that works."""
    frame_cache_mib: int = 2048
    """Frames that are kept in memory, so that their videos are not decoded again."""
    num_val_clips: int = 64
    """Of other sources, that the loss is measured on."""
    num_shown: int = 4
    """Answers that are written at each occasion, beside those of the teacher."""
    max_shown_tokens: int = 256
    """Of these answers."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", tuple(Path(path).expanduser() for path in self.data))
        require_positive(self, "max_tokens", "num_frames", "max_side_px", "max_shown_tokens")
        for name in ("frame_cache_mib", "num_val_clips", "num_shown"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")

    @property
    def base_settings(self) -> BackboneSettings:
        """Which model. Raises ValueError if none is named."""
        if not self.base:
            raise ValueError(
                "lora.base: expected a folder with a model, or its name on the hub, got none: "
                "--set lora.base=Qwen/Qwen2.5-VL-3B-Instruct"
            )
        return BackboneSettings(
            source=self.base,
            revision=self.revision,
            frames_as=self.frames_as,
            trusts_remote_code=self.trusts_remote_code,
        )
