"""Sums of decision trees, as gradient boosting makes them, as plain arrays: no library is needed to ask them.

Axes: N rows, C columns, M nodes of all trees, T trees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """Trees that each give a row the value of one leaf; their sum and ``baseline`` is its margin, in log odds."""

    columns: NDArray[np.int32]
    """(M,) the column that a node asks for; -1 for a leaf."""
    thresholds: NDArray[np.float64]
    """(M,) rows whose value is at most this go left."""
    missing_left: NDArray[np.bool_]
    """(M,) where rows without a value (NaN) go."""
    left: NDArray[np.int32]
    """(M,) place of the child among all nodes; its own place for a leaf."""
    right: NDArray[np.int32]
    values: NDArray[np.float64]
    """(M,) of leaves."""
    roots: NDArray[np.int32]
    """(T,)"""
    baseline: NDArray[np.float64]
    """(1,)"""

    def __post_init__(self) -> None:
        num_nodes = len(self.columns)
        for field in fields(self):
            array = getattr(self, field.name)
            expected = {"roots": array.shape[:1], "baseline": (1,)}.get(field.name, (num_nodes,))
            if array.shape != expected or array.ndim != 1:
                raise ValueError(f"{field.name}: expected shape {expected}, got {array.shape}")
        for name in ("left", "right", "roots"):
            array = getattr(self, name)
            if array.size and not 0 <= array.min() <= array.max() < num_nodes:
                raise ValueError(f"{name}: expected places among {num_nodes} nodes, got {array.min()} to {array.max()}")
        # Children come after their parents, so that no walk goes round in a circle.
        is_inner = self.columns >= 0
        places = np.arange(num_nodes)
        if not ((np.minimum(self.left, self.right) > places) | ~is_inner).all():
            raise ValueError("left, right: expected children after their parents")

    def margins(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (N,) margins of (N, C) values."""
        chunks = [self._margins(values[start : start + CHUNK_ROWS]) for start in range(0, len(values), CHUNK_ROWS)]
        return np.concatenate([np.zeros(0), *chunks])

    def _margins(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        places = np.broadcast_to(self.roots, (len(values), len(self.roots)))
        rows = np.arange(len(values))[:, None]
        while ((columns := self.columns[places]) >= 0).any():
            asked = values[rows, np.maximum(columns, 0)]
            goes_left = np.where(np.isnan(asked), self.missing_left[places], asked <= self.thresholds[places])
            following = np.where(goes_left, self.left[places], self.right[places])
            places = np.where(columns >= 0, following, places)
        return self.baseline[0] + self.values[places].sum(1)

    def to_arrays(self) -> dict[str, NDArray]:
        """Return the fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray]) -> "Trees":
        """Make trees of the fields by name. Raises ValueError if they do not fit together."""
        missing = [field.name for field in fields(cls) if field.name not in arrays]
        if missing:
            raise ValueError(f"trees: expected {', '.join(field.name for field in fields(cls))}, got no {missing[0]}")
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})
