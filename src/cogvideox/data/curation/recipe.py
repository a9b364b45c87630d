"""What a curation is made of: one TOML file, read by `cogvideox.settings.read_recipe`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from cogvideox.data.curation.aesthetic import AestheticSettings
from cogvideox.data.curation.copies import CopySearchSettings
from cogvideox.data.curation.decoding import DecodingLimits
from cogvideox.data.curation.filters import FilterSettings
from cogvideox.data.curation.motion import MotionSettings
from cogvideox.data.curation.policy import Policy
from cogvideox.data.curation.shots import ShotSettings
from cogvideox.data.curation.video_filters import VideoFilterSettings

OperatorName = Literal[
    "motion", "quality", "faces", "text", "cues", "composition", "aesthetic", "filters", "duplicates", "video_filters"
]


@dataclass(frozen=True, kw_only=True)
class ClipFileSettings:
    """How kept clips are written: H.264 in mp4, upright, with square pixels and a constant rate, without sound."""

    crf: int = 18
    """0 (exact) to 51 (worst)."""
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        "veryfast"
    )
    max_short_side_px: int = 0
    """Clips with a longer short side are reduced to it; 0 keeps their size."""

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf: expected 0 to 51, got {self.crf}")
        if self.max_short_side_px < 0:
            raise ValueError(f"max_short_side_px: expected 0 or more, got {self.max_short_side_px}")


@dataclass(frozen=True, kw_only=True)
class PreviewSettings:
    """Small pictures of every clip, for the report."""

    num_pictures: int = 3
    """0 to 8; none without."""
    long_side_px: int = 192

    def __post_init__(self) -> None:
        if not 0 <= self.num_pictures <= 8:
            raise ValueError(f"num_pictures: expected 0 to 8, got {self.num_pictures}")
        if not 16 <= self.long_side_px <= 640:
            raise ValueError(f"long_side_px: expected 16 to 640, got {self.long_side_px}")


@dataclass(frozen=True, kw_only=True)
class CurationRecipe:
    """From raw videos to a training set."""

    inputs: tuple[str, ...]
    """Folders, searched with all below them, and files; ~ is the home folder. In Python one may be given alone."""
    operators: tuple[OperatorName, ...] = (
        "motion",
        "quality",
        "faces",
        "text",
        "cues",
        "composition",
        "aesthetic",
        "filters",
        "duplicates",
    )
    """What is measured of every clip. ``filters`` judges by what the others measured, ``duplicates`` compares clips;
    ``video_filters``, for which there are no weights in the package, looks at frames."""
    decoding: DecodingLimits = field(default_factory=DecodingLimits)
    shots: ShotSettings = field(default_factory=ShotSettings)
    motion: MotionSettings = field(default_factory=MotionSettings)
    aesthetic: AestheticSettings = field(default_factory=AestheticSettings)
    filters: FilterSettings = field(default_factory=FilterSettings)
    video_filters: VideoFilterSettings = field(default_factory=VideoFilterSettings)
    duplicates: CopySearchSettings = field(default_factory=CopySearchSettings)
    previews: PreviewSettings = field(default_factory=PreviewSettings)
    policy: Policy = field(default_factory=Policy)
    clips: ClipFileSettings = field(default_factory=ClipFileSettings)
    max_shard_mib: int = 1024

    def __post_init__(self) -> None:
        paths = (self.inputs,) if isinstance(self.inputs, str | Path) else self.inputs
        object.__setattr__(self, "inputs", tuple(str(path) for path in paths))
        if not self.inputs:
            raise ValueError("inputs: expected at least one folder or file, got none")
        unknown = [name for name in self.operators if name not in get_args(OperatorName)]
        if unknown:
            raise ValueError(f"operators: expected any of {', '.join(get_args(OperatorName))}, got {unknown[0]!r}")
        if len(set(self.operators)) != len(self.operators):
            raise ValueError(f"operators: expected each once, got {', '.join(self.operators)}")
        if self.max_shard_mib < 1:
            raise ValueError(f"max_shard_mib: expected at least 1, got {self.max_shard_mib}")
