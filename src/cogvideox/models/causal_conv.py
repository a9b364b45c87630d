"""Causal 3D convolution whose memory of the past is an argument and a result, never hidden state.

The same rule serves chunked decoding, streaming and splitting a clip over ranks: whoever holds the frames before this
chunk passes their last ``kernel - 1`` as ``past``; at the start of a clip the first frame is repeated.

Axes: B batch, C channels, T frames, P past frames (kernel - 1), H W rows and columns.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalConv3d(nn.Module):
    """Convolution over (time, rows, columns) that sees no future frame (paper section 2.1)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        # The inner module gives the published parameter names ("....conv.weight").
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, padding=(0, kernel_size // 2, kernel_size // 2))
        self.num_past_frames = kernel_size - 1

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolve one chunk.

        Args:
            x: (B, C, T, H, W).
            past: (B, C, P, H, W), the frames before this chunk; None at the start of a clip.

        Returns:
            The result (B, C_out, T, H, W) and the past of the next chunk (B, C, P, H, W).
        """
        if self.num_past_frames == 0:
            return self.conv(x), x[:, :, :0]
        if past is None:
            past = x[:, :, :1].expand(-1, -1, self.num_past_frames, -1, -1)
        padded = torch.cat([past, x], dim=2)
        return self.convolve_padded(padded), padded[:, :, x.shape[2] :]

    def convolve_padded(self, padded: Tensor, *, has_all_rows: bool = False) -> Tensor:
        """Convolve a chunk with its past in front (B, C, P + T, H, W), also with the rows beyond its borders."""
        if has_all_rows:
            padding = (0, 0, self.conv.kernel_size[2] // 2)
            return functional.conv3d(padded, self.conv.weight, self.conv.bias, padding=padding)
        if _weight_gradient_may_hang(padded, num_output_frames=padded.shape[2] - self.num_past_frames):
            return self._sum_of_frame_convolutions(padded)
        return self.conv(padded)

    def _sum_of_frame_convolutions(self, padded: Tensor) -> Tensor:
        """Return the same convolution as one 2D convolution per kernel frame."""
        num_frames = padded.shape[2] - self.num_past_frames
        total: Tensor | None = None
        for frame, weight in enumerate(self.conv.weight.unbind(2)):
            window = padded[:, :, frame : frame + num_frames].transpose(1, 2).flatten(0, 1)
            term = functional.conv2d(
                window, weight, self.conv.bias if frame == 0 else None, padding=weight.shape[-1] // 2
            )
            total = term if total is None else total + term
        assert total is not None
        return total.unflatten(0, (padded.shape[0], num_frames)).transpose(1, 2)


def _weight_gradient_may_hang(padded: Tensor, num_output_frames: int) -> bool:
    """Whether oneDNN's bf16 weight gradient is known never to return here.

    Seen with torch 2.13 on CPUs with AMX: kernel 3, at most 6 output frames of 64x64 px and larger, in both memory
    formats; 7 frames and more are fine, and 32x32 px (docs/decisions.md). Nothing is known of sizes between.
    """
    if padded.device.type != "cpu" or not torch.is_grad_enabled() or not torch.cpu._is_amx_tile_supported():
        return False
    if num_output_frames > 6 or padded.shape[3] * padded.shape[4] <= 32 * 32:
        return False
    return padded.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
