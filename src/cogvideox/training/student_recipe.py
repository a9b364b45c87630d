"""How the models are trained that replace the teachers of captions: one TOML file each, read by
`cogvideox.settings.read_recipe`.
"""

from dataclasses import dataclass, field
from typing import Literal

from cogvideox.training.learning_rate import require_positive
from cogvideox.training.loop import RunSettings
from cogvideox.training.lora_student_recipe import LoraStudentSettings

StudentForm = Literal["lora", "small"]
"""A low-rank adaptation of a model of transformers, or a small model from scratch on the stage world."""


@dataclass(frozen=True, kw_only=True)
class SmallTextSettings:
    """A T5 model from scratch, or the decoder of one."""

    width: int = 192
    num_encoder_layers: int = 2
    num_decoder_layers: int = 2
    num_heads: int = 4
    head_width: int = 48
    feed_forward_width: int = 512
    vocab_size: int = 272
    """Of the tokenizer, which is trained on captions of the kind that are learnt."""
    dropout: float = 0.0
    max_input_tokens: int = 320
    max_output_tokens: int = 144

    def __post_init__(self) -> None:
        for name in ("width", "num_encoder_layers", "num_decoder_layers", "num_heads", "head_width"):
            require_positive(self, name)
        require_positive(self, "feed_forward_width", "vocab_size", "max_input_tokens", "max_output_tokens")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 to below 1, got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class SmallVideoSettings:
    """A small video encoder from scratch, and how clips are spoilt to train it."""

    widths: tuple[int, int, int, int] = (16, 40, 80, 128)
    """Channels at 1/2, 1/4, 1/8 and 1/16 of the height and width."""
    num_layers: int = 2
    """Of the transformer over times and places."""
    num_frames: int = 17
    """Native length; clips are brought to it by their times, and their pictures to the size."""
    height_px: int = 64
    width_px: int = 96
    max_blur_factor: float = 2.5
    """Clips are scaled down by 1 to this factor and up again."""
    max_contrast_change: float = 0.2
    max_brightness_change: float = 0.12
    """Of a range of 2, from black to white."""
    max_noise: float = 0.06
    """Largest standard deviation of the noise, of a range of 2."""
    max_codec_step: float = 0.25
    """Coarsest rounding of the 8x8 blocks' frequencies, of a range of 2: what a video codec does to a picture."""
    captions_per_clip: int = 4
    """Wordings of each: texts take less time than clips, and more of them to learn."""
    recognition_weight: float = 1.0
    """Of naming actor, action, place and the others, which is learnt beside the captions; its mean over the kinds."""

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or min(self.widths) < 1:
            raise ValueError(f"widths: expected 4 positive numbers, got {self.widths!r}")
        require_positive(self, "num_layers", "num_frames", "captions_per_clip")
        for name in ("height_px", "width_px"):
            if getattr(self, name) < 16 or getattr(self, name) % 16:
                raise ValueError(f"{name}: expected a multiple of 16, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class SummariserRecipe:
    """A model that makes one dense caption of a short one and of captions of frames."""

    run: RunSettings
    form: StudentForm = "lora"
    lora: LoraStudentSettings = field(default_factory=LoraStudentSettings)
    """For the form "lora"."""
    small: SmallTextSettings = field(default_factory=SmallTextSettings)
    """For the form "small"."""
    generic_share: float = 0.3
    """For the form "small": captions of things that the stage world does not have, on which copying is learnt."""

    def __post_init__(self) -> None:
        if not 0 <= self.generic_share <= 1:
            raise ValueError(f"generic_share: expected 0 to 1, got {self.generic_share}")


@dataclass(frozen=True, kw_only=True)
class CaptionerRecipe:
    """A model that makes a dense caption of a clip's frames."""

    run: RunSettings
    form: StudentForm = "lora"
    lora: LoraStudentSettings = field(default_factory=LoraStudentSettings)
    """For the form "lora"."""
    small: SmallTextSettings = field(default_factory=SmallTextSettings)
    """For the form "small": its decoder."""
    video: SmallVideoSettings = field(default_factory=SmallVideoSettings)
    """For the form "small": its encoder."""
