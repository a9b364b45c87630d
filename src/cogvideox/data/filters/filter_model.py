"""A trained set of filters in a folder: ``filters.json`` says what they are, ``filters.safetensors`` holds their trees.

Axes: N clips, C columns, L labels.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cogvideox.component_files import write_atomically
from cogvideox.data.filters.trees import Trees
from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.durable_files import replacing

FORMAT = 1
JSON_NAME, WEIGHTS_NAME = "filters.json", "filters.safetensors"
NUMBERS = ("slope", "offset", "threshold")
EMBEDDED = Path(__file__).parent / "weights"


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelFilter:
    """The classifier of one label."""

    trees: Trees
    slope: float
    """Margins become probabilities as 1 / (1 + exp(-(slope * margin + offset)))."""
    offset: float
    threshold: float
    """The probability from which on a clip is said to have the label: chosen for a precision."""

    def probabilities(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (N,) calibrated probabilities for (N, C) values."""
        return sigmoid(self.slope * self.trees.margins(values) + self.offset)


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterModel:
    """Filters of some or all of the six labels."""

    columns: tuple[str, ...]
    """What they judge by, ``<operator>.<column>``, in this order."""
    versions: Mapping[str, int]
    """Of the operators that measured what the filters were trained on: others may measure something else."""
    filters: Mapping[LabelName, LabelFilter]

    def probabilities(self, values: Mapping[str, NDArray[np.float64]]) -> dict[LabelName, NDArray[np.float64]]:
        """Return the (N,) probabilities of every label from the (N,) values of every column."""
        table = np.stack([np.asarray(values[name], np.float64) for name in self.columns], axis=1)
        return {label: found.probabilities(table) for label, found in self.filters.items()}

    def save(self, folder: str | Path) -> None:
        """Write the two files, each whole or not at all."""
        from safetensors.numpy import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{label}.{name}": np.ascontiguousarray(array)
            for label, found in self.filters.items()
            for name, array in found.trees.to_arrays().items()
        }
        content = save(arrays)
        with replacing(folder / WEIGHTS_NAME) as file:
            file.write(content)
        description = {
            "format": FORMAT,
            "sha256": hashlib.sha256(content).hexdigest(),
            "columns": self.columns,
            "versions": dict(self.versions),
            "labels": {
                label: {name: getattr(found, name) for name in NUMBERS} for label, found in self.filters.items()
            },
        }
        write_atomically(folder / JSON_NAME, json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path = EMBEDDED) -> "FilterModel":
        """Read a folder that `save` wrote. Raises ValueError if it holds no filters, or damaged ones."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        folder = Path(folder)
        try:
            description = json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))
            content = (folder / WEIGHTS_NAME).read_bytes()
        except OSError as error:
            raise ValueError(
                f"filters {folder}: {error.strerror or error}; cogvideox train filters makes them"
            ) from None
        except ValueError as error:
            raise ValueError(f"filters {folder}: {JSON_NAME} is damaged ({error})") from None
        try:
            if description["format"] != FORMAT:
                raise ValueError(f"expected format {FORMAT}, got {description['format']!r}")
            if description["sha256"] != hashlib.sha256(content).hexdigest():
                raise ValueError(f"{WEIGHTS_NAME} is not the file that {JSON_NAME} was written with")
            arrays = load(content)
            unknown = [label for label in description["labels"] if label not in LABELS]
            if unknown:
                raise ValueError(f"expected labels among {', '.join(LABELS)}, got {unknown[0]!r}")
            filters = {
                label: LabelFilter(
                    trees=_trees(arrays, label), **{name: float(value) for name, value in numbers.items()}
                )
                for label, numbers in description["labels"].items()
            }
            columns = tuple(description["columns"])
            num_asked = max((int(found.trees.columns.max(initial=-1)) + 1 for found in filters.values()), default=0)
            if num_asked > len(columns):
                raise ValueError(f"the trees ask for {num_asked} columns, but {len(columns)} are named")
            return cls(columns=columns, versions=description["versions"], filters=filters)
        except (KeyError, TypeError, AttributeError, ValueError, SafetensorError) as error:
            raise ValueError(f"filters {folder}: damaged ({error}); train them again") from None


def _trees(arrays: Mapping[str, NDArray], label: str) -> Trees:
    own = f"{label}."
    return Trees.of_arrays({name.removeprefix(own): array for name, array in arrays.items() if name.startswith(own)})


def sigmoid(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * margins))
