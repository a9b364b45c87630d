"""One training step of the judge: classify fresh renders of all triples, made as imperfect as generated clips are.

The judge must look at content, not sharpness: every clip is blurred, smeared in time, shaded and noised at random.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.data.stage_world import Art, Scene, load_fluent_art, render_scene, sample_scene
from cogvideox.evaluation.judge import COMPONENT_NAME, Judge, JudgeConfig, JudgeLogits
from cogvideox.media.contact_sheet import save_contact_sheet
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.loop import RunSettings

TRAIN_SEED_DOMAIN = 770_000_003
"""First entry of the judge's seeds: its renders are no other training's."""
SAMPLE_SEED_DOMAIN = 770_000_017
NUM_SAMPLE_CLIPS = 96
NUM_SHOWN_CLIPS = 8


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """A judge training run (``recipes/tiny-judge.toml``)."""

    run: RunSettings
    model: JudgeConfig = field(default_factory=JudgeConfig)
    max_blur_factor: float = 3.0
    """Clips are scaled down by 1 to this factor and up again."""
    max_smear: float = 0.4
    """Largest share of the previous frame mixed into a frame."""
    max_contrast_change: float = 0.2
    max_brightness_change: float = 0.12
    """Of a range of 2, from black to white."""
    max_noise: float = 0.06
    """Largest standard deviation of the noise, of a range of 2."""
    label_smoothing: float = 0.05


class JudgeBatch(NamedTuple):
    """Clips (B, 3, T, H, W) in [-1, 1] and the indices (B,) of their names in the judge's configuration."""

    pixels: Tensor
    actor: Tensor
    action: Tensor
    place: Tensor


class JudgeStep:
    """Renders clips, spoils them, updates the judge. ``art`` is the Fluent set unless given."""

    def __init__(self, recipe: JudgeRecipe, device: torch.device, art: Art | None = None) -> None:
        torch.manual_seed(recipe.run.seed)
        self.recipe = recipe
        self.device = device
        self.art = load_fluent_art() if art is None else art
        self.model = Judge(recipe.model).to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=recipe.run.weight_decay
        )
        self.average = WeightAverage(self.model, recipe.run.average_decay)

    def make_batch(self, step: int) -> JudgeBatch:
        """Return spoilt clips of triples from both splits."""
        rng = np.random.default_rng((TRAIN_SEED_DOMAIN, self.recipe.run.seed, step))
        scenes = [sample_scene(rng, split="any", actors=self._actors) for _ in range(self.recipe.run.batch_size)]
        return self._batch([spoil_clip(self._render(scene), self.recipe, rng) for scene in scenes], scenes)

    @property
    def _actors(self) -> Any:
        return self.recipe.model.actors  # `sample_scene` refuses names that are no actors

    def _render(self, scene: Scene) -> Tensor:
        config = self.recipe.model
        return _to_tensor(
            render_scene(
                scene, self.art, num_frames=config.num_frames, height_px=config.height_px, width_px=config.width_px
            )
        )

    def _batch(self, clips: list[Tensor], scenes: list[Scene]) -> JudgeBatch:
        config = self.recipe.model
        labels = [
            (config.actors.index(scene.actor), config.actions.index(scene.action), config.places.index(scene.place))
            for scene in scenes
        ]
        actor, action, place = torch.tensor(labels, device=self.device).unbind(dim=1)
        return JudgeBatch(torch.stack(clips).to(self.device), actor, action, place)

    def __call__(self, batch: JudgeBatch, learning_rate: float) -> dict[str, Tensor]:
        """Update once; logs the loss and the fractions judged right in this batch."""
        set_learning_rate(self.optimizer, learning_rate)
        self.model.train()
        logits = self.model(batch.pixels)
        losses = [
            functional.cross_entropy(scores, labels, label_smoothing=self.recipe.label_smoothing)
            for scores, labels in _pairs(logits, batch)
        ]
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.run.max_gradient_norm)
        self.optimizer.step()
        self.average.update(self.model)
        return {"loss": loss.detach(), "gradient_norm": gradient_norm} | _fractions_right(logits, batch)

    @torch.no_grad()
    def write_samples(self, path: Path) -> dict[str, float]:
        """Write clips with what they are judged to be; return the fractions right on held-out renders.

        Half of these clips are clean, half are spoilt as in training.
        """
        rng = np.random.default_rng((SAMPLE_SEED_DOMAIN, self.recipe.run.seed))
        scenes = [sample_scene(rng, split="held_out", actors=self._actors) for _ in range(NUM_SAMPLE_CLIPS)]
        clips = [self._render(scene) for scene in scenes]
        clips = [spoil_clip(clip, self.recipe, rng) if index % 2 else clip for index, clip in enumerate(clips)]
        videos = [_to_pixels(clip) for clip in clips]
        with self.average.swapped(self.model):
            judged = self.model.predict(videos)
        names = zip(scenes, judged.actors, judged.actions, judged.places, strict=True)
        titles = [
            f"{scene.actor} {scene.action} {scene.place}: judged {actor} {action} {place}"
            for scene, actor, action, place in names
        ]
        save_contact_sheet(path, videos[:NUM_SHOWN_CLIPS], num_columns=6, titles=titles[:NUM_SHOWN_CLIPS])
        values: dict[str, float] = {}
        for kind, first in (("clean", 0), ("spoilt", 1)):
            for name, made in (("actor", judged.actors), ("action", judged.actions), ("place", judged.places)):
                right = [getattr(scene, name) == guess for scene, guess in zip(scenes, made, strict=True)][first::2]
                values[f"held_out_{kind}_{name}"] = sum(right) / len(right)
        return values

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights as the ``judge`` component."""
        with self.average.swapped(self.model):
            self.model.save(directory / COMPONENT_NAME)

    def state_dict(self) -> dict[str, Any]:
        """Return model, optimizer and average."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])


def spoil_clip(clip: Tensor, recipe: JudgeRecipe, rng: np.random.Generator) -> Tensor:
    """Mirror, smear in time, blur, shade and noise a clip (3, T, H, W) in [-1, 1] at random; actors, actions and places
    stay what they are.
    """
    frames = clip.transpose(0, 1)
    if rng.random() < 0.5:
        frames = frames.flip(-1)
    if rng.random() < 0.4:
        previous = torch.cat([frames[:1], frames[:-1]])
        frames = torch.lerp(frames, previous, float(rng.uniform(0, recipe.max_smear)))
    if rng.random() < 0.8:
        height_px, width_px = frames.shape[2:]
        factor = float(np.exp(rng.uniform(0, np.log(recipe.max_blur_factor))))
        smaller = (max(1, round(height_px / factor)), max(1, round(width_px / factor)))
        frames = functional.interpolate(frames, size=smaller, mode="bilinear", antialias=True)
        frames = functional.interpolate(frames, size=(height_px, width_px), mode="bilinear")
    contrast = 1 + rng.uniform(-recipe.max_contrast_change, recipe.max_contrast_change)
    brightness = rng.uniform(-recipe.max_brightness_change, recipe.max_brightness_change)
    noise_generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    noise = torch.randn(frames.shape, generator=noise_generator) * float(rng.uniform(0, recipe.max_noise))
    return (frames * float(contrast) + float(brightness) + noise).clamp(-1, 1).transpose(0, 1)


def _to_tensor(frames: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frames).movedim(-1, 0).float() / 127.5 - 1.0


def _to_pixels(clip: Tensor) -> NDArray[np.uint8]:
    return ((clip + 1) * 127.5).round().byte().movedim(0, -1).numpy()


def _pairs(logits: JudgeLogits, batch: JudgeBatch) -> list[tuple[Tensor, Tensor]]:
    return [(logits.actor, batch.actor), (logits.action, batch.action), (logits.place, batch.place)]


def _fractions_right(logits: JudgeLogits, batch: JudgeBatch) -> dict[str, Tensor]:
    return {
        name: (scores.detach().argmax(dim=1) == labels).float().mean()
        for name, (scores, labels) in zip(JudgeLogits._fields, _pairs(logits, batch), strict=True)
    }
