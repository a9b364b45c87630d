"""Filters on a video-language model: its frozen weights, a small adapter, and a linear head of six outputs.

A folder holds ``adapter_model.safetensors`` and ``adapter_config.json`` as peft writes them, ``head.safetensors``, and
``video_filters.json``, which says what the model is and what its outputs mean. Axes: T frames, H W rows and columns.
"""

import copy
import dataclasses
import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.component_files import move_files
from cogvideox.data.filters.filter_model import sigmoid
from cogvideox.data.filters.video_backbone import (
    BackboneSettings,
    DtypeName,
    VideoBackbone,
    backbone_digest,
    backbone_folder,
    choose_frames,
)
from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.data.libraries import peft
from cogvideox.data.low_rank import ADAPTER, ADAPTER_NAMES, LowRankSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
JSON_NAME, HEAD_NAME = "video_filters.json", "head.safetensors"


def default_question() -> str:
    """Return the question that the model is asked about a clip; it names the six labels and what they mean."""
    kinds = " ".join(f"{label.title}: {label.meaning}" for label in LABELS.values())
    return f"Which of these six kinds of bad video is this? {kinds} Name all that fit, or none."


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """What the model is shown of a clip, and asked."""

    num_frames: int = 8
    """Spread over the clip, in the middle of equal parts; some come twice in short clips."""
    max_side_px: int = 448
    """Frames with a longer side are reduced to it, before the model's own processor makes of them what it needs."""
    question: str = ""
    """Empty for `default_question`."""

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"num_frames: expected at least 1, got {self.num_frames}")
        if self.max_side_px < 16:
            raise ValueError(f"max_side_px: expected at least 16, got {self.max_side_px}")
        if not self.question.strip():
            object.__setattr__(self, "question", default_question())


@dataclass(frozen=True, kw_only=True)
class LabelPoint:
    """How the output of a label is read."""

    slope: float
    """Margins become probabilities as 1 / (1 + exp(-(slope * margin + offset)))."""
    offset: float
    threshold: float
    """The probability from which on a clip is said to have the label: chosen for a precision."""


class VideoClassifier:
    """A backbone with an adapter and a head: six margins for a clip, in the order of `LABELS`."""

    def __init__(self, backbone: VideoBackbone, adapted: "nn.Module", head: "nn.Linear", view: ViewSettings) -> None:
        from torch import nn

        self.backbone = backbone
        self.view = view
        self.network = nn.ModuleDict({"adapted": adapted, "head": head})
        """All weights; only those of adapter and head can be trained."""

    @classmethod
    def create(cls, backbone: VideoBackbone, adapter: LowRankSettings, view: ViewSettings) -> "VideoClassifier":
        """Put a new adapter, which changes nothing yet, and a random head on a backbone, in place.

        Raises:
            ValueError: it has no blocks to adapt.
            MissingPackageError: peft is not installed.
        """
        from torch import nn

        config = peft().LoraConfig(
            r=adapter.rank,
            lora_alpha=int(adapter.alpha) if float(adapter.alpha).is_integer() else adapter.alpha,
            lora_dropout=adapter.dropout,
            target_modules=backbone.block_layers(has_mlp=adapter.has_mlp),
            base_model_name_or_path=backbone.settings.source,
        )
        with _quiet_peft():
            adapted = peft().get_peft_model(backbone.model, config)
        head = nn.Linear(backbone.width, len(LABELS)).to(backbone.model.device)
        return cls(backbone, adapted, head, view)

    def margins(self, frames: NDArray[np.uint8]) -> "Tensor":
        """Return (6,) float32 for frames (T, H, W, 3) RGB, with gradients where they are wanted."""
        chosen = choose_frames(frames, self.view.num_frames, self.view.max_side_px)
        features = self.backbone.features(self.backbone.inputs(chosen, self.view.question))
        return self.network["head"](features)

    def save(self, folder: Path, points: Mapping[LabelName, LabelPoint], digest: str) -> None:
        """Write adapter, head and description, the description last.

        Args:
            folder: made if it is not there.
            points: of the labels that have a filter.
            digest: `backbone_digest` of the backbone.
        """
        from safetensors.torch import save_file

        adapted: Any = self.network["adapted"]
        adapter = peft().get_peft_model_state_dict(adapted, save_embedding_layers=False)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".saving-"))
        try:
            save_file(_on_cpu(adapter), temporary / ADAPTER_NAMES[0], metadata={"format": "pt"})
            config = copy.copy(adapted.peft_config[ADAPTER])
            config.inference_mode = True  # as peft itself writes it
            config.save_pretrained(temporary)
            save_file(_on_cpu(self.network["head"].state_dict()), temporary / HEAD_NAME, metadata={"format": "pt"})
            files = {name: _sha256(temporary / name) for name in (*ADAPTER_NAMES, HEAD_NAME)}
            text = json.dumps(self._description(points, digest) | {"sha256": files}, indent=2) + "\n"
            (temporary / JSON_NAME).write_text(text, encoding="utf-8")
            move_files(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _description(self, points: Mapping[LabelName, LabelPoint], digest: str) -> dict[str, Any]:
        settings = self.backbone.settings
        source = Path(settings.source).expanduser()
        is_folder = source.is_dir()
        return {
            "format": FORMAT,
            "backbone": {
                "source": str(source.absolute()) if is_folder else settings.source,
                "revision": None if is_folder else self.backbone.folder.name,
                "sha256": digest,
                "frames_as": self.backbone.frames_as,
                "trusts_remote_code": settings.trusts_remote_code,
            },
            "view": dataclasses.asdict(self.view),
            "outputs": list(LABELS),
            "labels": {label: dataclasses.asdict(point) for label, point in points.items()},
        }


class VideoFilterModel:
    """Trained filters of some or all of the six labels, on what a video-language model sees in a clip."""

    def __init__(self, classifier: VideoClassifier, points: Mapping[LabelName, LabelPoint]) -> None:
        self.points = points
        self._classifier = classifier
        classifier.network.eval()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        dtype: DtypeName = "float32",
        backbone: str | Path | None = None,
        trusts_remote_code: bool = False,
    ) -> "VideoFilterModel":
        """Read a folder that ``cogvideox train filters --backbone`` wrote, and the backbone that it names.

        Args:
            folder: with adapter, head and description.
            device: where it runs, as torch names it.
            dtype: of the backbone's weights.
            backbone: a folder with the same backbone, if it no longer lies where it was.
            trusts_remote_code: run the code that comes with the backbone, if it was trained with that.

        Raises:
            ValueError: there are no such filters, they are damaged, or the backbone is another one, or not to be had.
            MissingPackageError: peft is not installed.
        """
        folder = Path(folder)
        description = read_description(folder)
        settings = backbone_of(folder, description, backbone=backbone, trusts_remote_code=trusts_remote_code)
        where = find_backbone(folder, description, settings)
        view = ViewSettings(**description["view"])
        loaded = VideoBackbone.load(settings, device=device, dtype=dtype, folder=where)
        points = {label: LabelPoint(**point) for label, point in description["labels"].items()}
        return cls(_restore(loaded, folder, view), points)

    def margins(self, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the (6,) outputs for frames (T, H, W, 3) RGB uint8."""
        import torch

        with torch.inference_mode():
            return self._classifier.margins(frames).double().cpu().numpy()

    def probabilities(self, frames: NDArray[np.uint8]) -> dict[LabelName, float]:
        """Return the probability of every label that has a filter, for frames (T, H, W, 3) RGB uint8 of one clip.

        Raises:
            ValueError: these are no frames.
        """
        return probabilities_of(self.margins(frames)[None], self.points, take=lambda values: float(values[0]))


def probabilities_of(
    margins: NDArray[np.float64], points: Mapping[LabelName, LabelPoint], *, take: Any = lambda values: values
) -> dict[LabelName, Any]:
    """Return the (N,) probabilities of every label from (N, 6) margins."""
    places = {label: place for place, label in enumerate(LABELS)}
    return {
        label: take(sigmoid(point.slope * margins[:, places[label]] + point.offset)) for label, point in points.items()
    }


def read_description(folder: Path) -> dict[str, Any]:
    """Return what a folder of filters says of itself; the files beside it are those that it was written with.

    Raises:
        ValueError: there are no filters, or they are damaged or of another version.
    """
    try:
        description = json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"filters {folder}: {JSON_NAME}: {error.strerror or error}; cogvideox train filters --backbone makes them"
        ) from None
    except ValueError as error:
        raise ValueError(f"filters {folder}: {JSON_NAME} is damaged ({error}); train them again") from None
    try:
        if description["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {description['format']!r}")
        if description["outputs"] != list(LABELS):
            raise ValueError(f"expected outputs {', '.join(LABELS)}, got {description['outputs']}")
        unknown = [label for label in description["labels"] if label not in LABELS]
        if unknown:
            raise ValueError(f"expected labels among {', '.join(LABELS)}, got {unknown[0]!r}")
        for name in (*ADAPTER_NAMES, HEAD_NAME):
            if _sha256(folder / name) != description["sha256"][name]:
                raise ValueError(f"{name} is not the file that {JSON_NAME} was written with")
        ViewSettings(**description["view"])
        for point in description["labels"].values():
            LabelPoint(**point)
        _ = description["backbone"]["source"], description["backbone"]["sha256"]
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise ValueError(f"filters {folder}: damaged ({error}); train them again") from None
    return description


def find_backbone(folder: Path, description: Mapping[str, Any], settings: BackboneSettings) -> Path:
    """Return the folder of the backbone of filters. Raises ValueError if it is not the one they were trained on."""
    where = backbone_folder(settings)
    if backbone_digest(where) != description["backbone"]["sha256"]:
        raise ValueError(
            f"filters {folder}: the backbone in {where} is not the one that they were trained on; name a folder with "
            "that one, or train them again"
        )
    return where


def backbone_of(
    folder: Path, description: Mapping[str, Any], *, backbone: str | Path | None, trusts_remote_code: bool
) -> BackboneSettings:
    """Return the backbone of filters, wherever it now lies.

    Raises:
        ValueError: it comes with code, and nobody said that it may be run.
    """
    known = description["backbone"]
    if known["trusts_remote_code"] and not trusts_remote_code:
        raise ValueError(
            f"filters {folder}: their backbone comes with code of its own ({known['source']} at {known['revision']}), "
            "which is not run unless trusts_remote_code says so"
        )
    if backbone is not None:
        return BackboneSettings(source=str(backbone), frames_as=known["frames_as"])
    return BackboneSettings(
        source=known["source"],
        revision=known["revision"],
        frames_as=known["frames_as"],
        trusts_remote_code=known["trusts_remote_code"],
    )


def _restore(backbone: VideoBackbone, folder: Path, view: ViewSettings) -> VideoClassifier:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch import nn

    library = peft()
    head = nn.Linear(backbone.width, len(LABELS))
    try:
        with _quiet_peft():
            adapted = library.PeftModel(backbone.model, library.LoraConfig.from_pretrained(folder))
        adapter = load_file(folder / ADAPTER_NAMES[0])
        expected = library.get_peft_model_state_dict(adapted, save_embedding_layers=False)
        if set(adapter) != set(expected):
            other = sorted(set(adapter) ^ set(expected))
            raise ValueError(f"{len(other)} weights of the adapter do not fit the backbone, first {other[0]}")
        library.set_peft_model_state_dict(adapted, adapter)
        head.load_state_dict(load_file(folder / HEAD_NAME))
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"filters {folder}: damaged ({error}); train them again") from None
    network = adapted.requires_grad_(False)
    return VideoClassifier(backbone, network, head.to(backbone.model.device).requires_grad_(False), view)


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Silence what transformers says to peft, and nobody else can mend: that it asks a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.* is deprecated", FutureWarning)
        yield


def _on_cpu(state: Mapping[str, "Tensor"]) -> "dict[str, Tensor]":
    return {name: value.detach().to("cpu").contiguous() for name, value in state.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
