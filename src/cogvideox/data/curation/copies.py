"""Copies in a curation: what clips are known by, which of them are copies, and which must not be trained on.

Fingerprints (and vectors) of clips are parts, measured with everything else; copies are sought among all clips of a run
when these are there.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation import fingerprints
from cogvideox.data.curation.duplicates import (
    ClipFacts,
    ComparedPairs,
    Contamination,
    Duplicate,
    DuplicateSettings,
)
from cogvideox.data.curation.embeddings import ClipEmbedder, PictureEmbedder, checkpoint_files
from cogvideox.data.curation.fingerprints import FingerprintSettings
from cogvideox.data.curation.operators import ClipView, Column, ViewName, spread
from cogvideox.data.curation.store import Types

DUPLICATES_NAME = "duplicates"
VECTOR_TYPES: Types = {"clip_id": "string", "vector": "binary"}
QUALITY_COLUMNS = (("quality.detail_sharpness", 1.0), ("quality.blockiness", -1.0))
"""What tells the better of two copies of one size, and whether more is better."""
COLUMNS = (
    Column(
        name="is_copy",
        unit="0 or 1",
        low=0,
        high=1,
        meaning="1 if a better clip of this run shows the same, and passes all rules that are not on copies.",
    ),
    Column(
        name="similarity",
        unit="share",
        low=0,
        high=1,
        meaning="Of a copy, to the better clip: correlation of small pictures, or cosine of vectors; NaN for others.",
    ),
    Column(name="matched_s", unit="s", low=0, high=float("inf"), meaning="Seconds of a copy that the better clip has."),
    Column(
        name="evaluation_s",
        unit="s",
        low=0,
        high=float("inf"),
        meaning="Seconds in common with the evaluation videos: what must not be trained on.",
    ),
)
CONTAMINATION_COLUMN = f"{DUPLICATES_NAME}.evaluation_s"
"""Known before copies are chosen: what must not be trained on is never the better one."""
TABLE_TYPES: Types = {
    "clip_id": "string",
    **{column.name: "float64" for column in COLUMNS},
    "best_clip_id": "string",
    "kind": "string",
    "evaluation": "string",
    "error": "string",
}


@dataclass(frozen=True, kw_only=True)
class CopySearchSettings:
    """How copies are sought among the clips of a run."""

    evaluation: tuple[str, ...] = ()
    """Folders and files of videos that must not be trained on."""
    clip: Path | None = None
    """A CLIP or SigLIP checkpoint: clips whose pictures mean the same are copies too."""
    min_cosine: float = 0.97
    """Of such clips; look at pairs before choosing it."""
    num_frames: int = 4
    """Pictures of a clip that the checkpoint looks at."""
    device: str = "cpu"
    fingerprints: FingerprintSettings = field(default_factory=FingerprintSettings)
    matching: DuplicateSettings = field(default_factory=DuplicateSettings)

    def __post_init__(self) -> None:
        paths = (self.evaluation,) if isinstance(self.evaluation, str | Path) else self.evaluation
        object.__setattr__(self, "evaluation", tuple(str(path) for path in paths))
        if self.clip is not None:
            object.__setattr__(self, "clip", Path(self.clip).expanduser())
        if not 0 < self.min_cosine <= 1:
            raise ValueError(f"min_cosine: expected above 0 and at most 1, got {self.min_cosine}")
        if self.num_frames < 1:
            raise ValueError(f"num_frames: expected at least 1, got {self.num_frames}")


class FingerprintMaker:
    """Small pictures and hashes of a clip, a `cogvideox.data.curation.operators.RowOperator`."""

    name = fingerprints.NAME
    version = fingerprints.VERSION
    types: Types = fingerprints.TYPES
    views = fingerprints.VIEWS

    def __init__(self, settings: FingerprintSettings) -> None:
        self.settings = settings

    def weights(self) -> tuple[str, ...]:
        """Return nothing: there are none."""
        return ()

    def rows(self, clip: ClipView) -> list[dict[str, Any]]:
        """Return the fingerprints of a clip."""
        return fingerprints.measure(clip, self.settings)


class VectorMaker:
    """One vector of a clip, the mean of its pictures', a `cogvideox.data.curation.operators.RowOperator`."""

    name = "vectors"
    version = 2
    types: Types = VECTOR_TYPES
    views: frozenset[ViewName] = frozenset({"detail"})

    def __init__(self, folder: Path, num_frames: int, device: str) -> None:
        self.folder, self.num_frames, self.device = folder, num_frames, device
        self._embedder: PictureEmbedder | None = None

    def weights(self) -> tuple[str, ...]:
        """Return the SHA-256 of each file of the checkpoint. Raises ValueError if one is missing."""
        try:
            return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoint_files(self.folder))
        except OSError as error:
            raise ValueError(f"duplicates.clip: {self.folder}: {error.strerror or error}") from None

    def rows(self, clip: ClipView) -> list[dict[str, Any]]:
        """Return the vector of a clip, float32; none if it has no picture."""
        places = spread(len(clip.detail), self.num_frames)
        if not len(places):
            return []
        if self._embedder is None:
            self._embedder = ClipEmbedder(self.folder, device=self.device)
        mean = self._embedder.embed(clip.detail[places]).mean(0)
        return [{"clip_id": clip.clip_id, "vector": np.asarray(mean, np.float32).tobytes()}]


@dataclass(frozen=True, kw_only=True)
class EvaluationItem:
    """A piece of an evaluation video."""

    name: str
    """Of the video."""
    start_s: float
    """Where the piece begins in it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Copies:
    """What was found, by clip."""

    duplicates: Mapping[str, Duplicate]
    """Copies alone."""
    contaminated: Mapping[str, Contamination]

    def table(
        self,
        clip_ids: Sequence[str],
        items: Mapping[str, EvaluationItem],
        failed: Mapping[str, str] = MappingProxyType({}),
    ) -> list[dict[str, Any]]:
        """Return the rows of `TABLE_TYPES`, one for each clip.

        Args:
            clip_ids: of all clips.
            items: evaluation items by id.
            failed: what could not be measured of a clip, so that its copies were not found.
        """
        rows: list[dict[str, Any]] = []
        for clip_id in clip_ids:
            copy, same = self.duplicates.get(clip_id), self.contaminated.get(clip_id)
            rows.append(
                {
                    "clip_id": clip_id,
                    "is_copy": float(copy is not None),
                    "similarity": copy.similarity if copy else float("nan"),
                    "matched_s": copy.matched_s if copy else 0.0,
                    "evaluation_s": same.matched_s if same else 0.0,
                    "best_clip_id": copy.best_clip_id if copy else "",
                    "kind": copy.kind if copy else "",
                    "evaluation": _shown(same, items) if same else "",
                    "error": failed.get(clip_id, ""),
                }
            )
        return rows


def _shown(same: Contamination, items: Mapping[str, EvaluationItem]) -> str:
    """Return where in an evaluation video, and where in the clip, is what both show."""
    item = items.get(same.evaluation_id, EvaluationItem(name=same.evaluation_id, start_s=0.0))
    start_s = item.start_s + same.item_start_s
    end_s = start_s + same.end_s - same.start_s
    ours = f"{same.start_s:.1f} to {same.end_s:.1f} s of the clip"
    return f"{item.name} {start_s:.1f} to {end_s:.1f} s, seen at {ours}"


def find_copies(
    clips: Sequence[Mapping[str, Any]],
    values: Mapping[str, NDArray[np.float64]],
    is_wanted: NDArray[np.bool_],
    searches: Sequence[ComparedPairs],
    contaminated: Sequence[Contamination],
) -> Copies:
    """Choose among clips that are alike.

    Args:
        clips: rows of the table of clips; pairs with others do not count.
        values: (N,) by ``<operator>.<column>``, for what is better.
        is_wanted: (N,) whether a clip may be kept; one that may not is never better than one that may.
        searches: what was compared; what one finds to be a copy is none of the following's business.
        contaminated: clips that show what evaluation videos show.
    """
    better = [sign * values[name] for name, sign in QUALITY_COLUMNS if name in values]
    facts = [
        ClipFacts(
            clip_id=clip["clip_id"],
            height_px=clip["height_px"],
            width_px=clip["width_px"],
            duration_s=(clip["end_s"] - clip["start_s"]) if is_wanted[index] else 0.0,
            quality=tuple(float(column[index]) for column in better),
        )
        for index, clip in enumerate(clips)
    ]
    found: dict[str, Duplicate] = {}
    for pairs in searches:
        left = [clip for clip in facts if clip.clip_id not in found]
        found |= {row.clip_id: row for row in pairs.group(left) if not row.is_best}
    return Copies(duplicates=found, contaminated={row.clip_id: row for row in contaminated})
