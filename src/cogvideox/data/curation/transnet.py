"""TransNetV2, which says of every frame of a video whether a transition between shots is there.

Written after Soucek & Lokoc 2020 (arXiv 2008.04838, https://github.com/soCzech/TransNetV2). Modules are named as in the
published weights, so that they load; it is for inference only.

Axes: T frames, H W rows and columns, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

DILATIONS = (1, 2, 4, 8)
FILTERS = (16, 32, 64)
NUM_SIMILARITIES = 101
"""Of a frame with itself and the 50 before and after it."""
SIMILARITY_SIZE = 128
HIDDEN_SIZE = 1024
NORM_EPSILON = 1e-3
HISTOGRAM_BITS = 3
"""Of each colour: 512 bins."""


class TransNet(nn.Module):
    """Two probabilities of every frame: it is the one frame at a transition's middle; it lies within a transition."""

    def __init__(self) -> None:
        super().__init__()
        in_channels = (3, *(len(DILATIONS) * filters for filters in FILTERS))
        self.SDDCNN = nn.ModuleList(
            _Cell(channels, filters) for channels, filters in zip(in_channels, FILTERS, strict=False)
        )
        self.frame_sim_layer = _FrameSimilarity(sum(in_channels[1:]))
        self.color_hist_layer = _HistogramSimilarity()
        num_places = 3 * 6  # of 27x48 px after three halvings
        self.fc1 = nn.Linear(num_places * in_channels[-1] + 2 * SIMILARITY_SIZE, HIDDEN_SIZE)
        self.cls_layer1 = nn.Linear(HIDDEN_SIZE, 1)
        self.cls_layer2 = nn.Linear(HIDDEN_SIZE, 1)

    @torch.inference_mode()
    def forward(self, thumbs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the probabilities (T, 2) of frames (T, 27, 48, 3) uint8 RGB: of the middle frame, of any frame.

        Args:
            thumbs: of consecutive frames; 100 were used in training.
            dtype: of the convolutions; similarities and heads are computed as float32.
        """
        x = (thumbs.float() / 255).to(dtype).permute(0, 3, 1, 2)  # C is last in memory, which is fastest on CPUs
        means = []
        for cell in self.SDDCNN:
            x = cell(x)
            means.append(x.float().mean((2, 3)))
        places = x.permute(0, 2, 3, 1).flatten(1).float()
        features = [
            self.color_hist_layer(thumbs),
            self.frame_sim_layer(torch.cat(means, 1)),
            places,
        ]
        hidden = functional.relu(self.fc1(torch.cat(features, 1)))
        return torch.cat([self.cls_layer1(hidden), self.cls_layer2(hidden)], 1).sigmoid()


class _Cell(nn.Module):
    """Two blocks with a shortcut around the second, then half the height and width."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList(
            [_DilatedBlock(in_channels, filters), _DilatedBlock(len(DILATIONS) * filters, filters)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (T, C, H, W) to (T, 4 filters, H // 2, W // 2)."""
        first = self.DDCNN[0](x).relu_()
        return functional.avg_pool2d(self.DDCNN[1](first).relu_().add_(first), 2)


class _DilatedBlock(nn.Module):
    """Four convolutions side by side that look 1, 2, 4 and 8 frames back and ahead."""

    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        for dilation in DILATIONS:
            self.add_module(f"Conv3D_{dilation}", _SeparableConvolution(in_channels, filters, dilation))
        self.bn = nn.BatchNorm3d(len(DILATIONS) * filters, eps=NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Map (T, C, H, W) to (T, 4 filters, H, W), normalised."""
        running_mean, running_var = self.bn.running_mean, self.bn.running_var
        assert running_mean is not None and running_var is not None
        scales = self.bn.weight / (running_var + self.bn.eps).sqrt()
        shifts = self.bn.bias - running_mean * scales
        parts = zip(DILATIONS, scales.chunk(len(DILATIONS)), shifts.chunk(len(DILATIONS)), strict=True)
        y = torch.cat([self.get_submodule(f"Conv3D_{size}")(x, scale, shift) for size, scale, shift in parts], 1)
        num_frames, _, height, width = x.shape
        return y.permute(0, 2, 3, 1).reshape(num_frames, height, width, -1).permute(0, 3, 1, 2)


class _SeparableConvolution(nn.Module):
    """A convolution within each frame, then one along time."""

    def __init__(self, in_channels: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.layers = nn.ModuleList(
            [
                nn.Conv3d(in_channels, 2 * filters, (1, 3, 3), bias=False),
                nn.Conv3d(2 * filters, filters, (3, 1, 1), bias=False),
            ]
        )

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Map (T, C, H, W) to (1, filters, T, H * W), scaled and shifted by (filters,) each."""
        within, along = self.get_parameter("layers.0.weight"), self.get_parameter("layers.1.weight")
        # As 2-D convolutions, of the frames and of (time, place): faster on CPUs than 3-D ones.
        y = functional.conv2d(x, within[:, :, 0].to(x.dtype), padding=1)
        places = y.permute(0, 2, 3, 1).flatten(1, 2)[None].permute(0, 3, 1, 2)
        weight = (along[..., 0] * scale[:, None, None, None]).to(x.dtype)
        padding, dilation = (self.dilation, 0), (self.dilation, 1)
        return functional.conv2d(places, weight, shift.to(x.dtype), padding=padding, dilation=dilation)


class _FrameSimilarity(nn.Module):
    """How much the features of each frame are those of its neighbours."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.projection = nn.Linear(num_features, SIMILARITY_SIZE)
        self.fc = nn.Linear(NUM_SIMILARITIES, SIMILARITY_SIZE)

    def forward(self, features: Tensor) -> Tensor:
        """Map (T, num_features) to (T, 128)."""
        return functional.relu(self.fc(_neighbour_similarities(self.projection(features))))


class _HistogramSimilarity(nn.Module):
    """How much the colours of each frame are those of its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(NUM_SIMILARITIES, SIMILARITY_SIZE)

    def forward(self, thumbs: Tensor) -> Tensor:
        """Map (T, H, W, 3) uint8 to (T, 128)."""
        coarse = thumbs.flatten(1, 2).long() >> (8 - HISTOGRAM_BITS)
        bins = (coarse[..., 0] << 2 * HISTOGRAM_BITS) + (coarse[..., 1] << HISTOGRAM_BITS) + coarse[..., 2]
        counts = torch.zeros(len(thumbs), 1 << 3 * HISTOGRAM_BITS, device=thumbs.device)
        counts.scatter_add_(1, bins, torch.ones(bins.shape, device=thumbs.device))
        return functional.relu(self.fc(_neighbour_similarities(counts)))


def _neighbour_similarities(features: Tensor) -> Tensor:
    """Return the cosines (T, 101) of each row of (T, C) with its neighbours, 0 for those that do not exist."""
    directions = functional.normalize(features, dim=1)
    num_frames, reach = len(features), NUM_SIMILARITIES // 2
    # Row t of the padded square begins at t - reach: one step more per row is the diagonal band.
    padded = functional.pad(directions @ directions.T, (reach, reach)).contiguous()
    row = padded.stride(0)
    return padded.as_strided((num_frames, NUM_SIMILARITIES), (row + 1, 1))
