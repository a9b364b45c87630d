"""How filters are trained: one TOML file, read by `cogvideox.settings.read_recipe`."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TreeSettings:
    """Of the boosted trees of every label."""

    num_trees: int = 120
    learning_rate: float = 0.1
    max_leaves: int = 12
    min_leaf_clips: int = 10
    """A leaf speaks for at least so many clips; less if there are fewer than 20 times as many of a label."""
    column_share: float = 0.3
    """Share of the columns that are drawn for each split: what one column misses another may show."""
    l2: float = 1.0

    def __post_init__(self) -> None:
        for name in ("num_trees", "min_leaf_clips"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.max_leaves < 2:
            raise ValueError(f"max_leaves: expected at least 2, got {self.max_leaves}")
        for name in ("learning_rate", "column_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected above 0 and at most 1, got {getattr(self, name)}")
        if self.l2 < 0:
            raise ValueError(f"l2: expected 0 or more, got {self.l2}")


@dataclass(frozen=True, kw_only=True)
class FilterRecipe:
    """Filters of the six labels, from measured clips and answers of people."""

    curated: tuple[Path, ...]
    """Folders that ``cogvideox curate`` wrote."""
    labels: tuple[Path, ...]
    """Files of answers (JSONL, CSV), or folders of such; see docs/labelling.md."""
    test_labels: tuple[Path, ...] = ()
    """Answers about clips that are only tested on. With none, some of the sources are held out."""
    test_share: float = 0.1
    """Of the clips; whole sources are held out. As in the paper."""
    num_folds: int = 5
    """Calibration and operating point come from clips whose sources the model had not seen, in so many parts."""
    target_precision: float = 0.95
    """A clip is said to have a label from that probability on at which so many of those that are said to have it do."""
    columns: tuple[str, ...] = ()
    """What is judged by, ``<operator>.<column>``; all that was measured if empty."""
    least_positives: int = 10
    """A label of which fewer clips are known, on either side, is left out."""
    seed: int = 0
    trees: TreeSettings = field(default_factory=TreeSettings)

    def __post_init__(self) -> None:
        for name in ("curated", "labels", "test_labels"):
            object.__setattr__(self, name, tuple(Path(path).expanduser() for path in getattr(self, name)))
        for name in ("curated", "labels"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one, got none")
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share: expected above 0 and below 1, got {self.test_share}")
        if not 0 < self.target_precision <= 1:
            raise ValueError(f"target_precision: expected above 0 and at most 1, got {self.target_precision}")
        if self.num_folds < 2:
            raise ValueError(f"num_folds: expected at least 2, got {self.num_folds}")
        if self.least_positives < 1:
            raise ValueError(f"least_positives: expected at least 1, got {self.least_positives}")
