"""A small network from scratch that turns a clip into words: 3D convolutions, and a T5 model over their features.

Axes: B batch, T frames, H W rows and columns, N features of a clip, D width of the T5 model.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.data.libraries import transformers

MIN_ENERGY = 1e-4
"""Keeps the weights of a clip without motion finite."""
NUM_POOLED = 3


class ClipFeatures(nn.Module):
    """Features of the times of a clip, some of the whole of it, and one for each kind of names that it chooses.

    They are few: attention over one for every time and place takes far longer to find those that a word depends on.
    Beside the pixels it sees their difference from the clip's mean, which marks what moves, and from the frame before.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, int, int, int],
        nums_names: tuple[int, ...],
        out_width: int,
        num_frames: int,
        height_px: int,
        width_px: int,
    ) -> None:
        """Build it without trained weights.

        Args:
            widths: channels at 1/2, 1/4, 1/8 and 1/16 of the height and width.
            nums_names: of each kind, such as actors and places. Read from a few sure names a decoder learns to write
                in a fraction of the time that it takes with the other features alone.
            out_width: of the features.
            num_frames: of the clips.
            height_px: of the clips.
            width_px: of the clips.
        """
        super().__init__()
        first, second, third, fourth = widths
        self.stages = nn.Sequential(
            _conv_block(9, first, kernel=(1, 3, 3), stride=(1, 2, 2)),
            _conv_block(first, second, kernel=(3, 3, 3), stride=(2, 2, 2)),
            _conv_block(second, third, kernel=(3, 3, 3), stride=(1, 2, 2)),
            _conv_block(third, third, kernel=(3, 3, 3), stride=(2, 1, 1)),
            _conv_block(third, fourth, kernel=(3, 3, 3), stride=(1, 2, 2)),
        )
        self.to_times = nn.Linear(fourth * (width_px // 16), out_width)
        self.to_pooled = nn.ModuleList(nn.Linear(fourth, out_width) for _ in range(NUM_POOLED))
        self.to_duration = nn.Linear(2, out_width)
        self.heads = nn.ModuleList(nn.Linear(NUM_POOLED * fourth, num_names) for num_names in nums_names)
        self.names = nn.ParameterList(torch.randn(num_names, out_width) for num_names in nums_names)
        num_times = (num_frames + 3) // 4  # two strides of 2, each rounding up
        self.time_embedding = nn.Parameter(torch.randn(num_times, out_width) * 0.1)

    def forward(self, pixels: Tensor, durations_s: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return features (B, N, D), and for each kind the unnormalised log probabilities of its names (B, names), of
        clips (B, 3, T, H, W) in [-1, 1] that last ``durations_s`` (B,) from their first frame to their last.
        """
        moving = pixels - pixels.mean(dim=2, keepdim=True)
        steps = torch.diff(pixels, dim=2, prepend=pixels[:, :, :1])
        features = self.stages(torch.cat([pixels, 2 * moving, 2 * steps], dim=1))
        energy = moving.square().sum(dim=1, keepdim=True)
        weights = functional.adaptive_avg_pool3d(energy, features.shape[2:]).flatten(2)
        weights = weights / (weights.sum(dim=2, keepdim=True) + MIN_ENERGY)
        flat = features.flatten(2)
        pooled = (flat.mean(dim=2), flat.amax(dim=2), (weights * flat).sum(dim=2))
        whole = [layer(value) for layer, value in zip(self.to_pooled, pooled, strict=True)]
        log_duration = durations_s.clamp_min(0.05).log2()[:, None]
        whole.append(self.to_duration(torch.cat([log_duration, torch.ones_like(log_duration)], dim=1)))
        logits = [head(torch.cat(pooled, dim=1)) for head in self.heads]
        whole += [value.softmax(dim=1) @ names for value, names in zip(logits, self.names, strict=True)]
        by_time = self.to_times(features.mean(dim=3).movedim(2, 1).flatten(2)) + self.time_embedding
        return torch.cat([torch.stack(whole, dim=1), by_time], dim=1), logits


class VideoCaptionNetwork(nn.Module):
    """`ClipFeatures` in the place of a T5 model's input words."""

    def __init__(self, video: dict[str, Any], text: dict[str, Any]) -> None:
        """Build it without trained weights.

        Args:
            video: arguments of `ClipFeatures` but ``out_width``.
            text: fields of a T5 configuration.
        """
        super().__init__()
        library = transformers()
        self.text = library.T5ForConditionalGeneration(library.T5Config(**text))
        video = video | {"widths": tuple(video["widths"]), "nums_names": tuple(video["nums_names"])}
        self.clip = ClipFeatures(out_width=self.text.config.d_model, **video)

    def forward(self, pixels: Tensor, durations_s: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the mean loss of tokens, and the log probabilities of names.

        Args:
            pixels: (B, 3, T, H, W) in [-1, 1].
            durations_s: (B,).
            labels: (B x wordings, L), the wordings of a clip after one another; -100 for no token.
        """
        features, logits = self.clip(pixels, durations_s)
        encoded = self.text.encoder(inputs_embeds=features).last_hidden_state
        encoded = encoded.repeat_interleave(len(labels) // len(encoded), dim=0)
        return self.text(encoder_outputs=(encoded,), labels=labels).loss, logits

    def tied_names(self) -> tuple[str, ...]:
        """Return the weights that are other names of ``text.shared.weight``."""
        shared = self.text.shared.weight.data_ptr()
        names = (name for name, value in self.state_dict().items() if value.data_ptr() == shared)
        return tuple(name for name in names if name != "text.shared.weight")

    @torch.no_grad()
    def write(self, pixels: Tensor, durations_s: Tensor, max_tokens: int) -> Tensor:
        """Return the likeliest tokens (B, L), word by word."""
        features, _ = self.clip(pixels, durations_s)
        encoded = self.text.encoder(inputs_embeds=features)
        return self.text.generate(
            encoder_outputs=encoded, max_new_tokens=max_tokens, do_sample=False, num_beams=1, use_cache=True
        )


def _conv_block(
    in_channels: int, out_channels: int, *, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm3d(out_channels),
        nn.SiLU(),
    )
