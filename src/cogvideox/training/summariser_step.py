"""One training step of the small summariser: captions of random scenes and of generic things, and what the teacher
makes of them. Axes: B texts, L tokens.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from cogvideox.data.captioning.small_summariser import FORM, SmallSummariser, input_text
from cogvideox.data.captioning.stage_captions import SceneCaptions
from cogvideox.data.captioning.stage_clips import draw_scene
from cogvideox.data.stage_world import Art, Scene, load_fluent_art
from cogvideox.evaluation.caption_facts import score_captions
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.captioner_step import (
    TOKENS_MULTIPLE,
    autocast,
    label_tokens,
    save_student,
    t5_settings,
    tokenizer_of,
)
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.student_recipe import SummariserRecipe
from cogvideox.training.student_texts import MAX_FRAME_CAPTIONS, draw_captions, draw_generic_captions, summary_of
from cogvideox.training.tokenizer import train_tokenizer

TRAIN_SEED_DOMAIN = 890_000_003
"""First entry of the summariser's seeds."""
SAMPLE_SEED_DOMAIN = 890_000_017
TOKENIZER_SEED_DOMAIN = 890_000_033
NUM_TOKENIZER_TEXTS = 6000
TOKENIZER_GENERIC_SHARE = 0.3
NUM_SAMPLES = 96
NUM_SHOWN = 6
MIRRORED_SHARE = 0.5
"""Travellers whose frames show the way back: directions must be read in the short caption, not guessed from frames."""
NUM_FRAMES_SHARES = (0.7, 0.18, 0.08, 0.02, 0.02)
"""How often there are 1, 2, ... captions of frames: long inputs take long."""
DURATIONS_S = (1.0, 2.0, 2.0, 2.0, 4.0, 6.0, 10.0)


class SummariserBatch(NamedTuple):
    """Tokens of inputs (B, L) and which are no padding, and those of summaries (B, L'), -100 for none."""

    token_ids: Tensor
    mask: Tensor
    labels: Tensor


class SmallSummariserStep:
    """Trains the tokenizer, then writes captions and updates the model. ``art`` is the Fluent set unless given."""

    def __init__(self, recipe: SummariserRecipe, device: torch.device, art: Art | None = None) -> None:
        torch.manual_seed(recipe.run.seed)
        self.recipe = recipe
        self.device = device
        self.art = load_fluent_art() if art is None else art
        self.tokenizer_model = train_tokenizer(self._tokenizer_texts(), recipe.small.vocab_size)
        self.tokenizer = tokenizer_of(self.tokenizer_model, recipe.small.max_output_tokens)
        self.model_settings = t5_settings(recipe.small, len(self.tokenizer))
        model: Any = T5ForConditionalGeneration(T5Config(**self.model_settings))
        self.model = model.to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=recipe.run.weight_decay
        )
        self.average = WeightAverage(self.model, recipe.run.average_decay)

    def _tokenizer_texts(self) -> list[str]:
        rng = np.random.default_rng((TOKENIZER_SEED_DOMAIN, self.recipe.run.seed))
        return [
            summary_of(self._draw(rng, 1 + index % MAX_FRAME_CAPTIONS, TOKENIZER_GENERIC_SHARE, mirrored_share=0))
            for index in range(NUM_TOKENIZER_TEXTS)
        ]

    def _draw(
        self, rng: np.random.Generator, num_frames: int, generic_share: float, mirrored_share: float
    ) -> SceneCaptions:
        if rng.random() < generic_share:
            return draw_generic_captions(rng, num_frames)
        duration_s = DURATIONS_S[rng.integers(len(DURATIONS_S))]
        scene = draw_scene(rng, "train", self.art)
        captions = draw_captions(scene, self.art, rng, duration_s, num_frames)
        if scene.direction is not None and mirrored_share > 0 and rng.random() < mirrored_share:
            opposite = "left" if scene.direction == "right" else "right"
            mirrored = dataclasses.replace(scene, direction=opposite, facing=opposite)
            frames = draw_captions(mirrored, self.art, rng, duration_s, num_frames).frames
            captions = dataclasses.replace(captions, frames=frames)
        return captions

    def make_batch(self, step: int) -> SummariserBatch:
        """Return captions and the teacher's summaries of them."""
        rng = np.random.default_rng((TRAIN_SEED_DOMAIN, self.recipe.run.seed, step))
        # As many frames for all: half of the tokens would be padding.
        num_frames = 1 + int(rng.choice(MAX_FRAME_CAPTIONS, p=NUM_FRAMES_SHARES))
        drawn = [
            self._draw(rng, num_frames, self.recipe.generic_share, MIRRORED_SHARE)
            for _ in range(self.recipe.run.batch_size)
        ]
        encoded = self.tokenizer(
            [input_text(captions.short, captions.frames) for captions in drawn],
            padding=True,
            truncation=True,
            max_length=self.recipe.small.max_input_tokens,
            pad_to_multiple_of=TOKENS_MULTIPLE,
            return_tensors="pt",
        )
        labels = label_tokens(self.tokenizer, [summary_of(one) for one in drawn], self.recipe.small.max_output_tokens)
        return SummariserBatch(
            encoded.input_ids.to(self.device), encoded.attention_mask.to(self.device), labels.to(self.device)
        )

    def __call__(self, batch: SummariserBatch, learning_rate: float) -> dict[str, Tensor]:
        """Update once; logs the loss and the fraction of tokens that are the likeliest."""
        set_learning_rate(self.optimizer, learning_rate)
        self.model.train()
        with autocast(self.device):
            made = self.model(input_ids=batch.token_ids, attention_mask=batch.mask, labels=batch.labels)
        self.optimizer.zero_grad(set_to_none=True)
        made.loss.backward()
        gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.run.max_gradient_norm)
        self.optimizer.step()
        self.average.update(self.model)
        is_text = batch.labels >= 0
        right = (made.logits.detach().argmax(dim=-1) == batch.labels)[is_text].float().mean()
        return {"loss": made.loss.detach(), "tokens_right": right, "gradient_norm": gradient_norm}

    @torch.no_grad()
    def write_samples(self, path: Path) -> dict[str, float]:
        """Write inputs and summaries beside ``path``, as text; return the fractions of facts said rightly of held-out
        scenes, what the teacher reaches, and how many summaries are the teacher's own, also of generic captions.
        """
        rng = np.random.default_rng((SAMPLE_SEED_DOMAIN, self.recipe.run.seed))
        scenes: list[Scene] = [draw_scene(rng, "held_out", self.art) for _ in range(NUM_SAMPLES)]
        drawn = [draw_captions(scene, self.art, rng, 2.0) for scene in scenes]
        drawn += [draw_generic_captions(rng, 1 + index % MAX_FRAME_CAPTIONS) for index in range(NUM_SAMPLES // 4)]
        self.model.eval()
        with self.average.swapped(self.model):
            summariser = SmallSummariser(self.model, self.tokenizer, self._settings(), "summariser in training")
            made = [answer.text for answer in summariser.summarise([(one.short, one.frames) for one in drawn])]
        teacher = [summary_of(one) for one in drawn]
        shown = [*range(NUM_SHOWN), *range(NUM_SAMPLES, NUM_SAMPLES + NUM_SHOWN)]
        lines = [
            f"{input_text(drawn[i].short, drawn[i].frames)}\n  teacher: {teacher[i]}\n  student: {made[i]}"
            for i in shown
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        same = [one.lower() == other.lower() for one, other in zip(made, teacher, strict=True)]
        scores, bound = (score_captions(texts[:NUM_SAMPLES], scenes) for texts in (made, teacher))
        values = {
            "held_out_same": sum(same[:NUM_SAMPLES]) / NUM_SAMPLES,
            "generic_same": sum(same[NUM_SAMPLES:]) / len(same[NUM_SAMPLES:]),
            "held_out_all": scores.all_right,
            "teacher_all": bound.all_right,
        }
        named = {f"held_out_{name}": fraction for name, fraction in scores.fractions.items()}
        return values | {name: fraction for name, fraction in named.items() if fraction is not None}

    def _settings(self) -> dict[str, Any]:
        return {
            "task": "summariser",
            "form": FORM,
            "base": "",
            "base_revision": "",
            "prompt": "",
            "num_frames": 0,
            "max_side_px": 0,
            "max_input_tokens": self.recipe.small.max_input_tokens,
            "max_output_tokens": self.recipe.small.max_output_tokens,
        }

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights, in bfloat16, as the student's folder ``summariser``."""
        with self.average.swapped(self.model):
            shared = self.model.shared.weight.data_ptr()
            weights = {
                name: value.detach().to("cpu", torch.bfloat16).contiguous()
                for name, value in self.model.state_dict().items()
                if value.data_ptr() != shared or name == "shared.weight"
            }
        config = T5Config(**self.model_settings, architectures=["T5ForConditionalGeneration"], dtype="bfloat16")
        save_student(directory / "summariser", self.tokenizer_model, self._settings(), weights, config)

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
