"""How pleasing a clip is likely to look: a plain proxy, and LAION's score where the user has its weights.

Axes: T pictures, H W rows and columns, D width of an embedding.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.embeddings import ClipEmbedder, PictureEmbedder, checkpoint_files
from cogvideox.data.curation.operators import ClipView, Column, ViewName
from cogvideox.data.curation.quality import sharpness
from cogvideox.data.libraries import opencv

MLP_LAYERS = (0, 2, 4, 6, 7)
"""Numbers of the linear layers of improved-aesthetic-predictor; between them is dropout only, no activation."""
PROXY_EVERY = 2
"""The proxy is measured on every second picture of the view, one per second."""
PROXY_LONG_SIDE_PX = 320
FULL_COLOURFULNESS, FULL_CONTRAST, FULL_SHARPNESS = 60.0, 64.0, 0.25
"""What counts as the most: "quite colourful" after Hasler & Suesstrunk, a well exposed scene, a sharp one."""
MAX_COLOURFULNESS = 500.0

COLUMNS = (
    Column(
        name="proxy",
        unit="share",
        low=0,
        high=1,
        meaning=f"Mean of four parts, each cut off at 1: colourfulness / {FULL_COLOURFULNESS:g}, contrast / "
        f"{FULL_CONTRAST:g}, sharpness / {FULL_SHARPNESS:g}, and exposure. Not trained on anyone's taste.",
    ),
    Column(
        name="colourfulness",
        unit="levels",
        low=0,
        high=MAX_COLOURFULNESS,
        meaning="Spread and strength of colours (Hasler & Suesstrunk 2003): 0 is gray, 33 moderate, 59 quite "
        "colourful, 109 extreme.",
    ),
    Column(name="contrast", unit="levels", low=0, high=255, meaning="Standard deviation of luma, mean over frames."),
    Column(
        name="sharpness",
        unit="share",
        low=0,
        high=1,
        meaning="quality.detail_sharpness, of every second picture; 0 for a plain one.",
    ),
    Column(
        name="exposure",
        unit="share",
        low=0,
        high=1,
        meaning="1 for a mean luma between 85 and 170 with nothing black or white; less by the distance from there "
        "(0 at black and white) and by the share of pixels with luma of 2 or less, 253 or more.",
    ),
    Column(
        name="laion",
        unit="points",
        low=-10,
        high=20,
        meaning="LAION's aesthetic score, about 1 to 10, mean over frames; NaN without its weights.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class AestheticSettings:
    """Where the weights of LAION's score are, if there are any."""

    clip: Path | None = None
    """Folder of the CLIP checkpoint that the head was trained on, as transformers saves it: ViT-L/14 of OpenAI for
    those that LAION published."""
    head: Path | None = None
    """Linear or MLP head: ``.pth`` or safetensors."""
    device: str = "cpu"
    """Where CLIP runs, as torch names it."""
    num_frames: int = 4
    """Scored by it, spread evenly over the clip."""

    def __post_init__(self) -> None:
        if (self.clip is None) != (self.head is None):
            raise ValueError(f"clip, head: expected both or none, got {self.clip} and {self.head}")
        if self.num_frames < 1:
            raise ValueError(f"num_frames: expected 1 or more, got {self.num_frames}")


class AestheticOperator:
    """Measures how pleasing a clip is likely to look."""

    name = "aesthetic"
    version = 1
    columns = COLUMNS
    views: frozenset[ViewName] = frozenset({"detail"})

    def __init__(self, settings: AestheticSettings) -> None:
        self._settings = settings
        self._embedder: PictureEmbedder | None = None
        self._head: AestheticHead | None = None

    def weights(self) -> tuple[str, ...]:
        """Return the digests of the head's and of CLIP's files, or nothing."""
        if self._settings.clip is None or self._settings.head is None:
            return ()
        digests = []
        for path in (self._settings.head, *checkpoint_files(self._settings.clip)):
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return tuple(digests)

    def measure(self, clip: ClipView) -> dict[str, float]:
        """Return the columns; all NaN if there is no picture."""
        if not len(clip.detail):
            return {column.name: math.nan for column in COLUMNS}
        parts = [_parts(picture) for picture in clip.detail[::PROXY_EVERY]]
        means = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
        full = {"colourfulness": FULL_COLOURFULNESS, "contrast": FULL_CONTRAST, "sharpness": FULL_SHARPNESS}
        shares = [min(value / full.get(name, 1.0), 1.0) for name, value in means.items()]
        return {"proxy": float(np.mean(shares)), **means, "laion": self._laion(clip.detail)}

    def _laion(self, pictures: NDArray[np.uint8]) -> float:
        """Return LAION's score of pictures (T, H, W, 3), or NaN without weights."""
        if self._settings.clip is None or self._settings.head is None:
            return math.nan
        if self._embedder is None or self._head is None:
            self._embedder = ClipEmbedder(self._settings.clip, device=self._settings.device)
            self._head = AestheticHead(self._settings.head)
        chosen = np.unique(np.linspace(0, len(pictures) - 1, self._settings.num_frames).round().astype(int))
        scores = self._head.scores(self._embedder.embed(pictures[chosen]))
        column = COLUMNS[-1]
        return float(np.clip(scores.mean(), column.low, column.high))


class AestheticHead:
    """A head of LAION's on embeddings of length 1.

    Either one linear layer, ``weight`` (1, D) and ``bias`` (LAION-Aesthetics V1), or the layers 0, 2, 4, 6, 7 of
    improved-aesthetic-predictor, ``layers.0.weight`` (1024, D) to ``layers.7.weight`` (1, 16) (V2). D is 768 for
    ViT-L/14.
    """

    def __init__(self, path: Path) -> None:
        """Read a head.

        Raises:
            ValueError: the file holds neither of the two.
        """
        tensors = _read_tensors(path)
        prefixes = ("",) if set(tensors) == {"weight", "bias"} else tuple(f"layers.{number}." for number in MLP_LAYERS)
        expected = {f"{prefix}{part}" for prefix in prefixes for part in ("weight", "bias")}
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if set(tensors) != expected:
            raise ValueError(f"head: expected weight and bias, or {sorted(expected)}, got {shapes} in {path}")
        self._layers = [(tensors[f"{prefix}weight"], tensors[f"{prefix}bias"]) for prefix in prefixes]
        widths = [weight.shape[0] for weight, _ in self._layers]
        is_chain = all(weight.ndim == 2 and bias.shape == weight.shape[:1] for weight, bias in self._layers)
        inner = [weight.shape[-1] for weight, _ in self._layers[1:]]
        if not is_chain or inner != widths[:-1] or widths[-1] != 1:
            raise ValueError(f"head: expected layers that fit each other and end in 1, got {shapes} in {path}")

    def scores(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores (T,) of embeddings (T, D) of length 1.

        Raises:
            ValueError: the head was made for embeddings of another width.
        """
        width = self._layers[0][0].shape[1]
        if embeddings.shape[1] != width:
            raise ValueError(f"clip: expected embeddings of width {width} for this head, got {embeddings.shape[1]}")
        values = embeddings
        for weight, bias in self._layers:
            values = values @ weight.T + bias
        return values[:, 0]


def colourfulness(picture: NDArray[np.uint8]) -> float:
    """Return the measure of Hasler & Suesstrunk 2003 of a picture (H, W, 3) RGB, 0 to `MAX_COLOURFULNESS`."""
    red, green, blue = np.moveaxis(picture.astype(np.float32), -1, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = math.hypot(red_green.std(), yellow_blue.std())
    return spread + 0.3 * math.hypot(red_green.mean(), yellow_blue.mean())


def _parts(picture: NDArray[np.uint8]) -> dict[str, float]:
    """Return colourfulness, contrast, sharpness and exposure of a picture (H, W, 3)."""
    cv2 = opencv()
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, PROXY_LONG_SIDE_PX / max(luma.shape))
    size = tuple(max(1, round(side_px * scale)) for side_px in luma.shape[::-1])
    sharp = sharpness(luma)
    mean = float(luma.mean())
    lost = float(((luma <= 2) | (luma >= 253)).mean())
    return {
        "colourfulness": colourfulness(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)),
        "contrast": float(luma.std()),
        "sharpness": 0.0 if math.isnan(sharp) else sharp,
        "exposure": max(0.0, min(1.0, mean / 85, (255 - mean) / 85) - lost),
    }


def _read_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    tensors: dict[str, Any]
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        tensors = load_file(path)
    else:
        import torch

        tensors = {
            name: tensor.float().numpy()
            for name, tensor in torch.load(path, map_location="cpu", weights_only=True).items()
        }
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
