"""One training step of the expert transformer on cached latents.

Mixed duration (paper section 3.1): single frames and whole clips; a single frame is the first latent of a clip, five
times cheaper, and teaches what things look like. Captions are dropped at random for classifier-free guidance.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cogvideox.checkpoints.directory import write_model_index, write_scheduler
from cogvideox.data.latent_cache import LatentCache, LatentCacheSettings, build_latent_cache
from cogvideox.data.stage_world import Art, caption_scene, load_fluent_art, sample_scene
from cogvideox.diffusion.loss import velocity_loss
from cogvideox.diffusion.noise_schedule import NoiseSchedule
from cogvideox.diffusion.prediction import add_noise, velocity_from_clean_and_noise
from cogvideox.generation.conditioning import Conditioning
from cogvideox.generation.denoise import DenoiseState, denoise
from cogvideox.media.contact_sheet import save_contact_sheet
from cogvideox.media.video import to_frames
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.text_encoder import TextEncoder
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.presets import PRESETS, PresetName
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.loop import RunSettings, set_learning_rate
from cogvideox.training.muon import make_optimizers

SAMPLE_SEED = 1_000_000_009
"""Seeds the prompts of the sample sheets, apart from all training seeds."""


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe:
    """A transformer training run (``recipes/tiny-transformer.toml``)."""

    run: RunSettings
    cache: LatentCacheSettings
    autoencoder: str
    """Checkpoint directory whose ``vae/`` makes and decodes the latents; ~ is the home folder."""
    text_encoder: str
    """Checkpoint directory with ``text_encoder/`` and ``tokenizer/``."""
    cache_dir: str
    """Where the encoded clips are kept."""
    preset: PresetName = "tiny"
    num_image_steps: int = 0
    """The first steps train on single frames only."""
    image_batch_every: int = 4
    """After those, every n-th batch is single frames and the others are clips."""
    num_images_per_clip: int = 3
    """Size of a batch of single frames, as a multiple of ``run.batch_size``."""
    caption_dropout: float = 0.1
    """Share of captions replaced by the empty text."""
    uses_bfloat16: bool = False
    """Compute under bf16 autocast: faster where the CPU or GPU has bf16 matrix units, very slow elsewhere."""

    def __post_init__(self) -> None:
        if not 0 <= self.caption_dropout < 1:
            raise ValueError(f"caption_dropout: expected 0 to below 1, got {self.caption_dropout}")


class TransformerStep:
    """Noises cached latents, predicts their velocity, updates the transformer.

    ``art`` is the Fluent set unless given; ``on_clips`` hears how many clips of the cache are encoded.
    """

    def __init__(
        self,
        recipe: TransformerRecipe,
        device: torch.device,
        *,
        art: Art | None = None,
        on_clips: Callable[[int, int], None] | None = None,
    ) -> None:
        torch.manual_seed(recipe.run.seed)
        self.recipe = recipe
        self.device = device
        self.art = art if art is not None else load_fluent_art()
        self.preset = PRESETS[recipe.preset]
        self.noise_schedule = NoiseSchedule(self.preset.noise_schedule)
        self.compute_dtype = torch.bfloat16 if recipe.uses_bfloat16 else torch.float32
        self.autoencoder = VideoAutoencoder.load(Path(recipe.autoencoder).expanduser(), device=device)
        self.text_encoder = TextEncoder.load(Path(recipe.text_encoder).expanduser(), device=device)
        cache_dir = Path(recipe.cache_dir).expanduser()
        self.cache = build_latent_cache(
            cache_dir, recipe.cache, self.autoencoder, self.art, on_clips, uses_bfloat16=recipe.uses_bfloat16
        )
        self.scaling_factor = round(1.0 / self.cache.mean_and_std()[1], 6)
        config = dataclasses.replace(self.autoencoder.config, scaling_factor=self.scaling_factor)
        self.autoencoder.config = config
        self.model = ExpertTransformer(self.preset.transformer).to(device)
        if device.type == "cpu":
            self.model.attention_backend = "matmul"
        self.max_text_tokens = self.preset.transformer.max_text_seq_length
        self.muon, self.adamw = make_optimizers(self.model, recipe.run, _is_block_matrix, self.compute_dtype)
        self.average = WeightAverage(self.model, recipe.run.average_decay)

    def make_batch(self, step: int) -> tuple[Tensor, list[str], torch.Generator]:
        """Return scaled latents (B, C, T, H, W), their captions, and the generator of this step's noise."""
        recipe = self.recipe
        rng = np.random.default_rng((recipe.run.seed, step))
        is_image_step = step < recipe.num_image_steps or step % recipe.image_batch_every == 0
        num_samples = recipe.run.batch_size * (recipe.num_images_per_clip if is_image_step else 1)
        indices = rng.integers(len(self.cache.captions), size=num_samples)
        latents = self.cache.latents[torch.from_numpy(indices)].float() * self.scaling_factor
        captions = [self._draw_caption(self.cache, int(index), rng) for index in indices]
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return latents[:, :, :1] if is_image_step else latents, captions, generator

    def _draw_caption(self, cache: LatentCache, index: int, rng: np.random.Generator) -> str:
        if rng.random() < self.recipe.caption_dropout:
            return ""
        return cache.captions[index][rng.integers(len(cache.captions[index]))]

    def __call__(self, batch: tuple[Tensor, list[str], torch.Generator], learning_rate: float) -> dict[str, Tensor]:
        """Update once; logs the loss under its kind of batch."""
        latents, captions, generator = batch
        timesteps = self.noise_schedule.draw_train_timesteps(len(latents), generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        alpha_bar = self.noise_schedule.alpha_bar_at(timesteps)
        noisy = add_noise(latents, noise, alpha_bar).to(self.device)
        target = velocity_from_clean_and_noise(latents, noise, alpha_bar).to(self.device)
        text = self.text_encoder.encode(captions, self.max_text_tokens)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.uses_bfloat16):
            velocity = self.model(noisy, text, timesteps.to(self.device))
        loss = velocity_loss(velocity, target)
        for optimizer in (self.muon, self.adamw):
            set_learning_rate(optimizer, learning_rate)
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.run.max_gradient_norm)
        self.muon.step()
        self.adamw.step()
        self.average.update(self.model)
        kind = "image" if latents.shape[2] == 1 else "clip"
        return {f"loss_{kind}": loss.detach(), "gradient_norm": gradient_norm}

    @torch.no_grad()
    def write_samples(self, path: Path) -> dict[str, float]:
        """Write eight generated clips of held-out prompts, their captions above them."""
        rng = np.random.default_rng(SAMPLE_SEED)
        scenes = [sample_scene(rng, split="held_out", actors=self.art.actors) for _ in range(8)]
        prompts = [caption_scene(scene, rng, style="plain") for scene in scenes]
        conditioning = Conditioning(
            text=self.text_encoder.encode(prompts, self.max_text_tokens),
            negative_text=self.text_encoder.encode([""], self.max_text_tokens).expand(len(prompts), -1, -1),
        )
        shape = (len(prompts), *self.cache.latents.shape[1:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        self.average.swap(self.model)
        self.model.eval()
        start = DenoiseState(0, noise)
        *_, state = denoise(self.model, start, self.noise_schedule.plan(25), conditioning)
        self.average.swap(self.model)
        videos = to_frames(self.autoencoder.decode(state.latents / self.scaling_factor))
        save_contact_sheet(path, list(videos), num_columns=6, titles=prompts)
        return {}

    def save_checkpoint(self, directory: Path) -> None:
        """Write a whole checkpoint: the averaged transformer and copies of the frozen parts, bfloat16."""
        self.average.swap(self.model)
        self.model.save(directory / "transformer", dtype=torch.bfloat16)
        self.average.swap(self.model)
        self.autoencoder.save(directory / "vae", dtype=torch.bfloat16)
        self.text_encoder.save(directory, dtype=torch.bfloat16)
        write_scheduler(directory, self.preset.noise_schedule, scheduler_class=self.preset.scheduler_class)
        write_model_index(directory, scheduler_class=self.preset.scheduler_class)

    def state_dict(self) -> dict[str, Any]:
        """Return model, optimizers and average."""
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


def _is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
    return name.startswith("transformer_blocks.") and parameter.ndim == 2
