"""The filters of the six kinds of bad video on a video-language model, as an operator on frames."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from cogvideox.data.curation.filters import COLUMNS
from cogvideox.data.curation.operators import ClipView, ViewName
from cogvideox.data.filters.video_backbone import DtypeName
from cogvideox.data.filters.video_filter import (
    ADAPTER_NAMES,
    HEAD_NAME,
    JSON_NAME,
    VideoFilterModel,
    backbone_of,
    find_backbone,
    read_description,
)


@dataclass(frozen=True, kw_only=True)
class VideoFilterSettings:
    """Which filters are used, and how they are run."""

    model: Path | None = None
    """A folder that ``cogvideox train filters --backbone`` wrote; the package has none of its own."""
    device: str = "cpu"
    """As torch names it: cpu, cuda, mps."""
    dtype: DtypeName = "float32"
    """Of the backbone's weights."""
    backbone: Path | None = None
    """A folder with the same backbone, if it no longer lies where it was in training."""
    trusts_remote_code: bool = False
    """Run the code that comes with the backbone, if it was trained with that."""

    def __post_init__(self) -> None:
        for name in ("model", "backbone"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)).expanduser())


class VideoFilterOperator:
    """Says how likely it is that a clip is one of the six kinds of bad video, from what is seen in it."""

    name = "video_filters"
    version = 1
    columns = COLUMNS
    views: frozenset[ViewName] = frozenset({"detail"})

    def __init__(self, settings: VideoFilterSettings) -> None:
        if settings.model is None:
            raise ValueError(
                "video_filters.model: expected a folder that cogvideox train filters --backbone wrote, got none"
            )
        self.folder = settings.model
        self._settings = settings
        description = read_description(self.folder)
        # Looked at now: if it were missed at the first clip, that would be an error of each.
        backbone = backbone_of(
            self.folder, description, backbone=settings.backbone, trusts_remote_code=settings.trusts_remote_code
        )
        find_backbone(self.folder, description, backbone)
        self._model: VideoFilterModel | None = None

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of adapter, head and description, which holds that of the backbone's files."""
        names = (*ADAPTER_NAMES, HEAD_NAME, JSON_NAME)
        return tuple(hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in names)

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return the columns; NaN for labels without a filter, and all NaN if there is no picture."""
        values = {column.name: math.nan for column in COLUMNS}
        if not len(clip.detail):
            return values
        if self._model is None:
            settings = self._settings
            self._model = VideoFilterModel.load(
                self.folder,
                device=settings.device,
                dtype=settings.dtype,
                backbone=settings.backbone,
                trusts_remote_code=settings.trusts_remote_code,
            )
        for label, probability in self._model.probabilities(clip.detail).items():
            values[label] = probability
            values[f"has_{label}"] = float(probability >= self._model.points[label].threshold)
        return values
