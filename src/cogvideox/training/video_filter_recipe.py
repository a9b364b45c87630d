"""How filters on a video-language model are trained: one TOML file, read by `cogvideox.settings.read_recipe`."""

from dataclasses import dataclass, field
from pathlib import Path

from cogvideox.data.filters.video_backbone import BackboneSettings, FramesChoice
from cogvideox.data.filters.video_filter import ViewSettings
from cogvideox.data.low_rank import LowRankSettings
from cogvideox.training.loop import RunSettings


@dataclass(frozen=True, kw_only=True)
class VideoFilterRecipe:
    """Filters of the six labels, from frames of clips and answers of people."""

    curated: tuple[Path, ...]
    """Folders that ``cogvideox curate`` wrote."""
    labels: tuple[Path, ...]
    """Files of answers (JSONL, CSV), or folders of such; see docs/labelling.md."""
    run: RunSettings
    inputs: tuple[str, ...] = ()
    """Where the videos now are, folders or files; by default where they were when the folders were curated."""
    test_labels: tuple[Path, ...] = ()
    """Answers about clips that are only tested on. With none, some of the sources are held out."""
    test_share: float = 0.1
    """Of the clips; whole sources are held out. As in the paper."""
    calibration_share: float = 0.15
    """Of the clips that are left; calibration and operating points come from them, and they are not trained on."""
    target_precision: float = 0.95
    """A clip is said to have a label from that probability on at which so many of those that are said to have it do."""
    least_positives: int = 10
    """A label of which fewer clips to train on are known, on either side, is left out."""
    max_positive_weight: float = 20.0
    """Clips with a rare label count as many times more as there are clips without it for one with it, up to this."""
    backbone: str = ""
    """A folder with a model as transformers saves it, or its name on the hub; ``--backbone`` names it too."""
    revision: str | None = None
    """Of a model on the hub: a branch, a tag or a commit."""
    trusts_remote_code: bool = False
    """Run the code that comes with the model; only with a ``revision`` that is a commit."""
    frames_as: FramesChoice = "auto"
    """"video" goes through the processor's video part, which needs torchvision; "images" shows the frames as several
    pictures; "auto" takes "video" where that works, and says so where it does not."""
    uses_bfloat16: bool = False
    """Keep the frozen weights in bfloat16: half the memory; fast where the hardware has bf16 matrix units."""
    has_gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    frames_dir: Path | None = None
    """Where the chosen frames of clips are kept; by default ``frames`` in the run folder."""
    adapter: LowRankSettings = field(default_factory=LowRankSettings)
    view: ViewSettings = field(default_factory=ViewSettings)

    def __post_init__(self) -> None:
        for name in ("curated", "labels", "test_labels"):
            object.__setattr__(self, name, tuple(Path(path).expanduser() for path in getattr(self, name)))
        if self.frames_dir is not None:
            object.__setattr__(self, "frames_dir", Path(self.frames_dir).expanduser())
        for name in ("curated", "labels"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one, got none")
        for name in ("test_share", "calibration_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}: expected above 0 and below 1, got {getattr(self, name)}")
        if not 0 < self.target_precision <= 1:
            raise ValueError(f"target_precision: expected above 0 and at most 1, got {self.target_precision}")
        if self.least_positives < 1:
            raise ValueError(f"least_positives: expected at least 1, got {self.least_positives}")
        if not self.max_positive_weight >= 1:
            raise ValueError(f"max_positive_weight: expected at least 1, got {self.max_positive_weight}")

    @property
    def seed(self) -> int:
        """Of the splits, as of the run."""
        return self.run.seed

    @property
    def backbone_settings(self) -> BackboneSettings:
        """Which model. Raises ValueError if none is named."""
        return BackboneSettings(
            source=self.backbone,
            revision=self.revision,
            frames_as=self.frames_as,
            trusts_remote_code=self.trusts_remote_code,
        )
