"""Where the pixels of a frame went in the next one: dense optical flow, by DIS or by RAFT.

Axes: H W rows and columns.
"""

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.libraries import opencv, torchvision_flow

RaftVariant = Literal["small", "large"]

DIS_LEAST_SIDE_PX = 64
"""DIS reads outside its memory or refuses when the coarsest level of its pyramid has no room for a patch."""
RAFT_LEAST_SIDE_PX = 128
"""Below it the last level of RAFT's correlation pyramid has a single row."""
RAFT_MULTIPLE_PX = 8
RAFT_NUM_UPDATES = 12
"""As in training; the published scores take 32, which small pictures do not need."""


class FlowModel(Protocol):
    """Estimates optical flow."""

    def flow(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return for each pixel of ``first`` how far it has moved in ``second``.

        Args:
            first: (H, W, 3) RGB, of any size.
            second: the same shape.

        Returns:
            (H, W, 2), to the right and down, px, finite.
        """
        ...


class DisFlow:
    """Dense inverse search (Kroeger et al. 2016) on gray, with OpenCV's preset "fast": 1 ms for 320x180 px."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._search: Any = None

    def flow(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (H, W, 2) as `FlowModel.flow`."""
        cv2 = opencv()
        height_px, width_px = first.shape[:2]
        bottom, right = max(0, DIS_LEAST_SIDE_PX - height_px), max(0, DIS_LEAST_SIDE_PX - width_px)
        pair = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        if bottom or right:
            pair = [cv2.copyMakeBorder(gray, 0, bottom, 0, right, cv2.BORDER_REPLICATE) for gray in pair]
        if pair[0].shape != self._shape:  # it keeps buffers, and may crash when they are of another shape
            self._shape, self._search = pair[0].shape, cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        return self._search.calc(pair[0], pair[1], None)[:height_px, :width_px]


class RaftFlow:
    """RAFT (Teed & Deng 2020) as torchvision builds it, with a user's file of its weights."""

    def __init__(self, weights: Path, *, variant: RaftVariant = "large", device: str = "cpu") -> None:
        """Load the weights.

        Args:
            weights: state dict of ``torchvision.models.optical_flow.raft_small`` or ``raft_large``, as a ``.pth`` file
                or as safetensors.
            variant: which of the two.
            device: where it runs, as torch names it.

        Raises:
            MissingPackageError: torchvision is not installed.
            ValueError: the file holds other tensors than the variant has.
        """
        import torch

        models = torchvision_flow()
        build = {"small": models.raft_small, "large": models.raft_large}[variant]
        if weights.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(weights)
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        self._device = device
        self._model = build(weights=None, progress=False)
        expected, got = _shapes(self._model.state_dict()), _shapes(state)
        wrong = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
        if wrong:
            raise ValueError(f"weights: expected the tensors of raft_{variant}, got others in {weights}: {wrong[:3]}")
        self._model.load_state_dict(state)
        self._model.eval().to(device)

    def flow(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (H, W, 2) as `FlowModel.flow`; smaller frames than 128 px are continued at their edges."""
        import torch

        height_px, width_px = first.shape[:2]
        bottom, right = (
            -(-max(side, RAFT_LEAST_SIDE_PX) // RAFT_MULTIPLE_PX) * RAFT_MULTIPLE_PX - side
            for side in (height_px, width_px)
        )
        pair = np.stack([np.pad(frame, ((0, bottom), (0, right), (0, 0)), mode="edge") for frame in (first, second)])
        pixels = torch.from_numpy(pair).to(self._device).movedim(-1, 1).float() / 127.5 - 1
        with torch.inference_mode():
            flow = self._model(pixels[:1], pixels[1:], num_flow_updates=RAFT_NUM_UPDATES)[-1]
        return flow[0, :, :height_px, :width_px].movedim(0, -1).contiguous().cpu().numpy()


def _shapes(state: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
