"""LPIPS, a distance between pictures that follows what people see: differences of a classifier's features.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (arXiv 1801.03924), version
0.1, on VGG16. The weights are two public files that are not part of this package.

Axes: N pictures, C channels, H W rows and columns.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cogvideox.component_files import parse_dtype
from cogvideox.errors import CheckpointError

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Pixels are shifted and divided by these before the backbone: ImageNet's mean and deviation for a range of 2."""
NORM_EPS = 1e-10
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions of VGG16; the features compared are those at the end of each stage."""
MIN_SIZE_PX = 2 ** (len(STAGES) - 1)
"""Between two stages there is a pooling that halves height and width."""

BACKBONE_SOURCE = "the state dict of torchvision's VGG16 (vgg16-397923af.pth)"
HEADS_SOURCE = "the file weights/v0.1/vgg.pth of the package lpips"


class Lpips(nn.Module):
    """The distance of pictures, with weights that never train; gradients flow to the pictures."""

    def __init__(self) -> None:
        """Build with random weights."""
        super().__init__()
        layers: list[nn.Module] = []
        self._stage_ends: list[int] = []
        num_channels = 3
        for stage, widths in enumerate(STAGES):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layers += [nn.Conv2d(num_channels, width, 3, padding=1), nn.ReLU()]
                num_channels = width
            self._stage_ends.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        """With the layer numbers of torchvision."""
        self.heads = nn.ModuleList(nn.Conv2d(widths[-1], 1, 1, bias=False) for widths in STAGES)
        self.requires_grad_(False)

    @classmethod
    def load(
        cls,
        backbone: str | Path,
        heads: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
    ) -> Self:
        """Load the published weights; .pth files are read without running code in them.

        Args:
            backbone: torchvision's VGG16, a .pth or .safetensors file with keys ``features.N.weight`` and ``.bias``;
                those of the classifier are ignored.
            heads: of version 0.1 for VGG16, with keys ``linN.model.1.weight`` as in the package lpips.
            device: of the weights.
            dtype: of the weights; distances are computed in float32 from the features on.

        Raises:
            CheckpointError: a file is missing or damaged, or has other weights.
        """
        model = cls()
        in_backbone = {f"features.{name}": parameter for name, parameter in model.features.named_parameters()}
        in_heads = {f"lin{index}.model.1.weight": weight for index, weight in enumerate(model.heads.parameters())}
        _fill(in_backbone, Path(backbone), BACKBONE_SOURCE)
        _fill(in_heads, Path(heads), HEADS_SOURCE)
        return model.to(device=device, dtype=parse_dtype(dtype)).eval()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances (N,) of pictures (N, 3, H, W) in [-1, 1], float32, 0 for equal ones.

        Raises:
            ValueError: the shapes are not those of two equally large sets of pictures of at least 16x16 px.
        """
        is_picture = first.ndim == 4 and first.shape[1] == 3 and min(first.shape[2:]) >= MIN_SIZE_PX
        if not is_picture or first.shape != second.shape:
            expected = f"two tensors (N, 3, H, W) of one shape, H and W at least {MIN_SIZE_PX}"
            raise ValueError(f"first, second: expected {expected}, got {tuple(first.shape)} and {tuple(second.shape)}")
        total = first.new_zeros(len(first), dtype=torch.float32)
        x = torch.cat([self._scaled(first), self._scaled(second)])
        stage = 0
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index == self._stage_ends[stage]:
                head = self.heads[stage].get_parameter("weight").float()[:, :, 0, 0]
                one, other = _unit_length(x.float()).chunk(2)
                total = total + torch.einsum("oc,nchw->nhw", head, (one - other).square()).mean((1, 2))
                stage += 1
        return total

    def _scaled(self, pictures: Tensor) -> Tensor:
        weight = self.features.get_parameter("0.weight")
        shift, scale = (torch.tensor(values, device=weight.device).view(3, 1, 1) for values in (SHIFT, SCALE))
        return ((pictures.to(weight.device).float() - shift) / scale).to(weight.dtype)


def _unit_length(features: Tensor) -> Tensor:
    """Divide (N, C, H, W) by the length along C.

    The length is taken by one function whose gradient at 0 is 0; a square root's would be infinite, and places where
    no channel is active are common.
    """
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + NORM_EPS)


def _read_weights(file: Path, source: str) -> Mapping[str, Tensor]:
    """Read a .safetensors or .pth file. Raises CheckpointError if there is none, or it is no dictionary of tensors."""
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file; expected {source}, or the same as .safetensors")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, KeyError, OSError, EOFError):
        raise CheckpointError(f"{file}: damaged, or no file of weights; expected {source}") from None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{file}: expected a dictionary of tensors, {source}, got another object")
    return weights


def _fill(parameters: Mapping[str, Tensor], file: Path, source: str) -> None:
    """Give parameters, by their names in the file, their weights. Raises CheckpointError if it has others."""
    weights = _read_weights(file, source)
    for name, parameter in parameters.items():
        if name not in weights:
            raise CheckpointError(f"{file}: no weight {name}; expected {source}")
        if weights[name].shape != parameter.shape:
            expected, got = tuple(parameter.shape), tuple(weights[name].shape)
            raise CheckpointError(f"{file}: weight {name}: expected shape {expected} as in {source}, got {got}")
        parameter.copy_(weights[name])
    unexpected = [name for name in weights if name not in parameters and not name.startswith("classifier.")]
    if unexpected:
        raise CheckpointError(f"{file}: unexpected weight {unexpected[0]}; expected {source}")
