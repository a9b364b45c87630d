"""The filters of the six kinds of bad video, as an operator on what the others measured."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import Column
from cogvideox.data.filters.filter_model import EMBEDDED, JSON_NAME, FilterModel
from cogvideox.data.labelling.labels import LABELS


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """Which filters are used."""

    model: Path | None = None
    """A folder that ``cogvideox train filters`` wrote; none uses the filters in the package."""

    def __post_init__(self) -> None:
        if self.model is not None:
            object.__setattr__(self, "model", Path(self.model).expanduser())


COLUMNS = tuple(
    column
    for label in LABELS.values()
    for column in (
        Column(
            name=label.name,
            unit="probability",
            low=0,
            high=1,
            meaning=f"{label.title}: calibrated on what the filters were trained on; NaN if they do not know it.",
        ),
        Column(
            name=f"has_{label.name}",
            unit="0 or 1",
            low=0,
            high=1,
            meaning=f"{label.title}: 1 if the probability reaches the point that was chosen in training.",
        ),
    )
)


class FilterOperator:
    """Says how likely it is that a clip is one of the six kinds of bad video."""

    name = "filters"
    version = 1
    columns = COLUMNS

    def __init__(self, settings: FilterSettings) -> None:
        self.folder = EMBEDDED if settings.model is None else settings.model
        self.model = FilterModel.load(self.folder)
        self.inputs = self.model.columns
        self.input_versions = self.model.versions

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of the description, which holds that of the trees."""
        return (hashlib.sha256((self.folder / JSON_NAME).read_bytes()).hexdigest(),)

    def judge(self, values: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Return the columns, (N,) each."""
        probabilities = self.model.probabilities(values)
        num_clips = len(next(iter(values.values())))
        judged: dict[str, NDArray[np.float64]] = {}
        for label in LABELS:
            known = probabilities.get(label, np.full(num_clips, np.nan))
            judged[label] = known
            has = known >= self.model.filters[label].threshold if label in probabilities else known
            judged[f"has_{label}"] = np.asarray(has, np.float64)
        return judged
