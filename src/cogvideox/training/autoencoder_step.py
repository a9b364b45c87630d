"""One training step of the 3D causal VAE on rendered clips: L1 + KL (paper section 2.1, the first of its stages).

Clips are cut to a window of frames and a square crop; 9 frames are 3 latent frames, so time is learned too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cogvideox.data.stage_world import Art, load_fluent_art, render_scene, sample_scene
from cogvideox.evaluation.reconstruction import psnr_db
from cogvideox.media.contact_sheet import save_contact_sheet
from cogvideox.media.video import to_frames, to_tensor
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.autoencoder_blocks import LatentNorm, ResidualBlock
from cogvideox.presets import PRESETS, PresetName
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.loop import RunSettings
from cogvideox.training.muon import make_optimizers

SAMPLE_SEED = 1_000_000_007
"""Seeds the clips of the sample sheets, apart from all training seeds."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """A VAE training run (``recipes/tiny-autoencoder.toml``)."""

    run: RunSettings
    preset: PresetName = "tiny"
    """Names the shape of the model (``cogvideox.presets``)."""
    num_frames: int = 9
    """Frames of a training clip, 1 + 4k."""
    num_long_frames: int = 17
    """Frames of a long clip, 1 + 4k; more than 9 show the model a second chunk, which continues a clip."""
    long_clip_every: int = 0
    """Every n-th batch of clips is of long ones, half as many; 0 trains on none."""
    crop_px: int = 64
    """Side of the square crop, a multiple of the spatial compression."""
    num_crop_candidates: int = 1
    """Of so many random windows the one with the most foreground is taken: backgrounds are easy, actors are not."""
    squared_error_weight: float = 0.0
    """Of the mean squared error, beside the mean absolute error; it cares for the worst places."""
    kl_weight: float = 1e-4
    """Of the divergence from the unit Gaussian, mean over latent elements."""
    num_image_steps: int = 0
    """The first steps train on single frames only: cheap and varied, they teach colour and shape, but no time."""
    image_batch_every: int = 4
    """After those, every n-th batch is single frames and the others are clips."""
    num_images_per_clip: int = 8
    """Size of a batch of single frames, as a multiple of `run.batch_size`."""
    uses_bfloat16: bool = False
    """Compute under bf16 autocast: faster where the CPU or GPU has bf16 matrix units, very slow elsewhere."""


class AutoencoderStep:
    """Renders clips, reconstructs them, updates the VAE. ``art`` is the Fluent set unless given."""

    def __init__(self, recipe: AutoencoderRecipe, device: torch.device, art: Art | None = None) -> None:
        torch.manual_seed(recipe.run.seed)
        self.recipe = recipe
        self.device = device
        self.art = art if art is not None else load_fluent_art()
        self.model = VideoAutoencoder(PRESETS[recipe.preset].autoencoder).to(device)
        _initialise(self.model)
        compute_dtype = torch.bfloat16 if recipe.uses_bfloat16 else torch.float32
        self.muon, self.adamw = make_optimizers(
            self.model,
            _is_block_convolution,
            learning_rate=recipe.run.learning_rate,
            weight_decay=recipe.run.weight_decay,
            dtype=compute_dtype,
        )
        self.average = WeightAverage(self.model, recipe.run.average_decay)

    def make_batch(self, step: int) -> Tensor:
        """Return clips (B, 3, T, crop, crop) or single frames (B', 3, 1, crop, crop) in [-1, 1]."""
        recipe = self.recipe
        rng = np.random.default_rng((recipe.run.seed, step))
        is_image_step = step < recipe.num_image_steps or step % recipe.image_batch_every == 0
        num_frames, num_renders, num_crops = recipe.num_frames, recipe.run.batch_size, 1
        if is_image_step:  # several crops of one rendering: rendering is not free beside such small steps
            num_frames, num_renders, num_crops = 1, max(recipe.num_images_per_clip * num_renders // 4, 1), 4
        elif recipe.long_clip_every and step % recipe.long_clip_every == 0:
            num_frames, num_renders = recipe.num_long_frames, max(num_renders // 2, 1)
        crops: list[np.ndarray] = []
        for _ in range(num_renders):
            clip = render_scene(sample_scene(rng, actors=self.art.actors), self.art)
            foreground = np.abs(clip - np.median(clip, axis=0)).mean(-1)
            crops += [self._random_crop(clip, foreground, num_frames, rng) for _ in range(num_crops)]
        return to_tensor(np.stack(crops)).to(self.device)

    def _random_crop(
        self, clip: np.ndarray, foreground: np.ndarray, num_frames: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Return the candidate window with the most foreground."""
        crop = self.recipe.crop_px
        windows: list[tuple[slice, slice, slice]] = []
        for _ in range(self.recipe.num_crop_candidates):
            first = rng.integers(clip.shape[0] - num_frames + 1)
            top, left = rng.integers(clip.shape[1] - crop + 1), rng.integers(clip.shape[2] - crop + 1)
            windows.append((slice(first, first + num_frames), slice(top, top + crop), slice(left, left + crop)))
        return clip[max(windows, key=lambda window: foreground[window].mean())]

    def __call__(self, batch: Tensor, learning_rate: float) -> dict[str, Tensor]:
        """Update once; logs the L1 error, the KL and the PSNR of this batch."""
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.uses_bfloat16):
            posterior = self.model.encode(batch)
            reconstruction = self.model.decode(posterior.sample()).float()
        error = (reconstruction - batch).abs().mean()
        squared_error = (reconstruction - batch).square().mean()
        kl = posterior.kl()
        loss = error + self.recipe.squared_error_weight * squared_error + self.recipe.kl_weight * kl
        for optimizer in (self.muon, self.adamw):
            set_learning_rate(optimizer, learning_rate)
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.run.max_gradient_norm)
        self.muon.step()
        self.adamw.step()
        self.average.update(self.model)
        return {
            "l1": error.detach(),
            "kl": kl.detach(),
            "gradient_norm": gradient_norm,
            "psnr_db": psnr_db(reconstruction.detach(), batch),
        }

    @torch.no_grad()
    def write_samples(self, path: Path) -> dict[str, float]:
        """Write real and reconstructed whole clips in alternating rows; return the held-out PSNR in dB."""
        rng = np.random.default_rng(SAMPLE_SEED)
        scenes = [sample_scene(rng, split="held_out", actors=self.art.actors) for _ in range(8)]
        real = to_tensor(np.stack([render_scene(scene, self.art) for scene in scenes])).to(self.device)
        self.model.eval()
        with self.average.swapped(self.model):
            made = self.model.decode(self.model.encode(real).mode()).clamp(-1, 1)
        rows = [to_frames(clip) for pair in zip(real, made, strict=True) for clip in pair]
        save_contact_sheet(path, rows, num_columns=6)
        return {"held_out_psnr_db": float(psnr_db(made, real))}

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights as the ``vae`` component."""
        with self.average.swapped(self.model):
            self.model.save(directory / "vae")

    def state_dict(self) -> dict[str, Any]:
        """Return model, optimizer and average."""
        return {
            "model": self.model.state_dict(),
            "muon": self.muon.state_dict(),
            "adamw": self.adamw.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
        self.average.load_state_dict(state["average"])


def _is_block_convolution(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a 3x3 or 3x3x3 kernel between two hidden layers."""
    return "block" in name and parameter.ndim >= 4 and parameter.shape[-1] > 1


def _initialise(model: VideoAutoencoder) -> None:
    """Start residual blocks as the identity and latent-conditioned norms as plain norms.

    With PyTorch's defaults the decoder's scales are random functions of the latents, which scrambles the first steps.
    """
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv2.conv.weight)
        if isinstance(module, LatentNorm):
            for conv, bias in ((module.conv_y.conv, 1.0), (module.conv_b.conv, 0.0)):
                nn.init.normal_(conv.weight, std=0.02)
                assert conv.bias is not None
                nn.init.constant_(conv.bias, bias)
