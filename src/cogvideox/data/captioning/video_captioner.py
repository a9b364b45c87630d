"""A small captioner of clips, trained from scratch on the stage world: frames in, a dense caption out.

Axes: T frames, H W rows and columns.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.chat.turns import Answer
from cogvideox.component_files import read_weights
from cogvideox.data.captioning.request import CaptionRequest
from cogvideox.data.captioning.small_summariser import answers_of, load_tokenizer, read_student
from cogvideox.errors import CheckpointError

if TYPE_CHECKING:
    import torch

PACKAGED_CAPTIONER = Path(__file__).parent / "weights" / "captioner"
WEIGHTS_NAME = "model.safetensors"
FORM = "small-captioner"
MAX_BATCH_SIZE = 32
LEAST_FRAMES = 2


class SmallCaptioner:
    """The student of the form "small-captioner"; on the processor, one thread at a time."""

    concurrency = 1

    def __init__(self, network: Any, tokenizer: Any, settings: dict[str, Any], source: str) -> None:
        self.source = source
        self.settings = settings
        self._network = network.eval()
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: str | Path = PACKAGED_CAPTIONER) -> "SmallCaptioner":
        """Load a folder; by default the packaged one. Raises CheckpointError if it is missing, damaged or of another
        form.
        """
        from cogvideox.data.captioning.video_network import VideoCaptionNetwork

        settings = read_student(folder, FORM)
        file = Path(folder) / WEIGHTS_NAME
        try:
            network = VideoCaptionNetwork(settings["video"], settings["text"])
            weights = {
                name: value.float() if value.is_floating_point() else value for name, value in read_weights(file)
            }
            network.load_state_dict(weights, strict=False)
            missing = network.state_dict().keys() - weights.keys() - set(network.tied_names())
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{folder}: damaged model ({error}); train it again or install it again") from None
        if missing:
            raise CheckpointError(f"{file}: {len(missing)} weights are missing, first {min(missing)}")
        return cls(network, load_tokenizer(folder), settings, f"small-captioner {Path(folder).name}")

    def caption(self, request: CaptionRequest) -> Answer:
        """Return the caption of the frames. Raises ValueError for a request about texts, and for a picture."""
        if request.stage not in ("summary", "short"):
            raise ValueError(f"{self.source}: expected a request for a caption of a clip, got {request.stage!r}")
        if len(request.frames) < LEAST_FRAMES:
            raise ValueError(f"{self.source}: expected at least {LEAST_FRAMES} frames, got {len(request.frames)}")
        return self.caption_clips([(request.frames, request.times_s)])[0]

    def caption_clips(self, clips: Sequence[tuple[NDArray[np.uint8], Sequence[float]]]) -> list[Answer]:
        """Return captions of clips, in batches: frames (T, H, W, 3) RGB of any size and number, and their times."""
        import torch

        video = self.settings["video"]
        size = (video["num_frames"], video["height_px"], video["width_px"])
        answers: list[Answer] = []
        for first in range(0, len(clips), MAX_BATCH_SIZE):
            batch = clips[first : first + MAX_BATCH_SIZE]
            pixels = torch.stack([fitted_clip(frames, times_s, *size) for frames, times_s in batch])
            spans_s = [max(times_s[-1] - times_s[0], 0.0) for _, times_s in batch]
            durations_s = torch.tensor(spans_s, dtype=torch.float32)
            max_tokens = self.settings["max_output_tokens"]
            tokens = self._network.write(pixels, durations_s, max_tokens)
            answers += answers_of(self._tokenizer, tokens, max_tokens, [0] * len(batch))
        return answers

    def release(self) -> None:
        """Keep the model: it is small."""


def fitted_clip(
    frames: NDArray[np.uint8], times_s: Sequence[float], num_frames: int, height_px: int, width_px: int
) -> "torch.Tensor":
    """Bring a clip (T, H, W, 3) to (3, num_frames, height_px, width_px) in [-1, 1]: the frames nearest to evenly spaced
    times, scaled.

    Raises ValueError for another shape or type, and for times that are not those of the frames in their order.
    """
    import torch
    from torch.nn import functional

    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"frames: expected (T, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
    times = np.asarray(times_s, np.float64)
    if times.shape != (len(frames),) or (np.diff(times) < 0).any():
        raise ValueError(f"times_s: expected {len(frames)} rising times, got {list(times_s)}")
    wanted = np.linspace(times[0], times[-1], num_frames)
    nearest = (
        np.abs(times[None] - wanted[:, None]).argmin(axis=1) if times[-1] > times[0] else np.zeros(num_frames, np.int64)
    )
    pixels = torch.from_numpy(np.ascontiguousarray(frames[nearest])).permute(0, 3, 1, 2).float() / 127.5 - 1
    if pixels.shape[2:] != (height_px, width_px):
        pixels = functional.interpolate(
            pixels, size=(height_px, width_px), mode="bilinear", antialias=True, align_corners=False
        )
    return pixels.transpose(0, 1)
