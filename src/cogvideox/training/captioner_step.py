"""One training step of the small captioner: fresh renders of the training triples, spoilt a little, and the summaries
that the teacher makes of their captions.

Directions matter, so no clip is mirrored. Axes: B batch, T frames, H W rows and columns.
"""

import contextlib
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5Config, T5Tokenizer

from cogvideox.component_files import move_files
from cogvideox.data.captioning.small_summariser import write_student
from cogvideox.data.captioning.stage_clips import draw_scene
from cogvideox.data.captioning.video_captioner import FORM, WEIGHTS_NAME, SmallCaptioner, fitted_clip
from cogvideox.data.captioning.video_network import VideoCaptionNetwork
from cogvideox.data.stage_world import (
    ACTIONS,
    ACTORS,
    DIRECTIONS,
    PLACES,
    SECOND_OBJECTS,
    WEATHERS,
    Art,
    Scene,
    load_fluent_art,
    render_scene,
)
from cogvideox.evaluation.caption_facts import score_captions
from cogvideox.media.contact_sheet import save_contact_sheet
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.student_recipe import CaptionerRecipe, SmallTextSettings, SmallVideoSettings
from cogvideox.training.student_texts import draw_captions, summary_of
from cogvideox.training.tokenizer import END_ID, PAD_ID, save_tokenizer, train_tokenizer

TRAIN_SEED_DOMAIN = 880_000_003
"""First entry of the captioner's seeds: its renders are no other training's."""
SAMPLE_SEED_DOMAIN = 880_000_017
TOKENIZER_SEED_DOMAIN = 880_000_033
NUM_TOKENIZER_TEXTS = 4000
NUM_SAMPLE_CLIPS = 96
NUM_SHOWN_CLIPS = 8
LABEL_SMOOTHING = 0.02
TOKENS_MULTIPLE = 16
"""Lengths of texts in batches: matrix kernels are made anew for every shape."""
NO_TOKEN = -100
"""A label that costs nothing."""
RENDER_RATES_FPS = (8, 8, 8, 8, 4, 5, 6, 7, 10, 12, 16)
"""17 frames last 1 to 4 seconds."""
RENDER_SCALES = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 0.75)
"""Sizes in which clips are rendered before they are brought to the native one."""
RECOGNISED: dict[str, tuple[str | None, ...]] = {
    "actor": ACTORS,
    "action": ACTIONS,
    "place": PLACES,
    "direction": (None, *DIRECTIONS),
    "second_object": (None, *SECOND_OBJECTS),
    "second_object_side": (None, *DIRECTIONS),
    "weather": (None, *WEATHERS),
}
"""What the network learns to name beside the words."""


class CaptionerBatch(NamedTuple):
    """Clips (B, 3, T, H, W) in [-1, 1], their durations (B,), tokens (B x wordings, L), -100 for none, and names (B,
    kinds).
    """

    pixels: Tensor
    durations_s: Tensor
    labels: Tensor
    names: Tensor


class SmallCaptionerStep:
    """Trains the tokenizer, then renders clips and updates the network. ``art`` is the Fluent set unless given."""

    def __init__(self, recipe: CaptionerRecipe, device: torch.device, art: Art | None = None) -> None:
        torch.manual_seed(recipe.run.seed)
        self.recipe = recipe
        self.device = device
        self.art = load_fluent_art() if art is None else art
        self.tokenizer_model = train_tokenizer(_tokenizer_texts(recipe, self.art), recipe.small.vocab_size)
        self.tokenizer = tokenizer_of(self.tokenizer_model, recipe.small.max_output_tokens)
        video = recipe.video
        self.video_settings = {
            "widths": list(video.widths),
            "nums_names": [len(names) for names in RECOGNISED.values()],
            "num_frames": video.num_frames,
            "height_px": video.height_px,
            "width_px": video.width_px,
        }
        self.text_settings = t5_settings(recipe.small, len(self.tokenizer)) | {"num_layers": video.num_layers}
        self.model = VideoCaptionNetwork(self.video_settings, self.text_settings).to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), betas=(0.9, 0.99), weight_decay=recipe.run.weight_decay
        )
        self.average = WeightAverage(self.model, recipe.run.average_decay)

    def make_batch(self, step: int) -> CaptionerBatch:
        """Return spoilt clips of training triples and the teacher's summaries."""
        rng = np.random.default_rng((TRAIN_SEED_DOMAIN, self.recipe.run.seed, step))
        clips: list[Tensor] = []
        durations_s: list[float] = []
        texts: list[str] = []
        scenes = [draw_scene(rng, "train", self.art) for _ in range(self.recipe.run.batch_size)]
        for scene in scenes:
            clip, duration_s = self._render(scene, rng)
            clips.append(spoil_captioned_clip(clip, self.recipe.video, rng))
            durations_s.append(duration_s)
            texts += [
                summary_of(draw_captions(scene, self.art, rng, duration_s, has_one_style=True))
                for _ in range(self.recipe.video.captions_per_clip)
            ]
        labels = label_tokens(self.tokenizer, texts, self.recipe.small.max_output_tokens)
        names = [[choices.index(_name(scene, kind)) for kind, choices in RECOGNISED.items()] for scene in scenes]
        return CaptionerBatch(
            torch.stack(clips).to(self.device),
            torch.tensor(durations_s, dtype=torch.float32, device=self.device),
            labels.to(self.device),
            torch.tensor(names, device=self.device),
        )

    def _render(self, scene: Scene, rng: np.random.Generator) -> tuple[Tensor, float]:
        video = self.recipe.video
        fps = RENDER_RATES_FPS[rng.integers(len(RENDER_RATES_FPS))]
        scale = RENDER_SCALES[rng.integers(len(RENDER_SCALES))]
        num_frames = video.num_frames
        if rng.random() < 0.3:  # another length: the frames nearest in time are taken
            num_frames = int(rng.integers(max(2, num_frames * 3 // 4), num_frames * 3 // 2 + 1))
        frames = render_scene(
            scene,
            self.art,
            num_frames=num_frames,
            height_px=round(scale * video.height_px),
            width_px=round(scale * video.width_px),
            fps=fps,
        )
        times_s = np.arange(num_frames) / fps
        clip = fitted_clip(frames, times_s.tolist(), video.num_frames, video.height_px, video.width_px)
        return clip, float(times_s[-1])

    def __call__(self, batch: CaptionerBatch, learning_rate: float) -> dict[str, Tensor]:
        """Update once; logs the losses."""
        set_learning_rate(self.optimizer, learning_rate)
        self.model.train()
        with autocast(self.device):
            caption_loss, logits = self.model(batch.pixels, batch.durations_s, batch.labels)
        losses = [
            functional.cross_entropy(scores.float(), batch.names[:, kind], label_smoothing=LABEL_SMOOTHING)
            for kind, scores in enumerate(logits)
        ]
        recognition_loss = torch.stack(losses).mean()
        loss = caption_loss.float() + self.recipe.video.recognition_weight * recognition_loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.run.max_gradient_norm)
        self.optimizer.step()
        self.average.update(self.model)
        return {
            "loss": loss.detach(),
            "caption_loss": caption_loss.detach(),
            "recognition_loss": recognition_loss.detach(),
            "gradient_norm": gradient_norm,
        }

    @torch.no_grad()
    def write_samples(self, path: Path) -> dict[str, float]:
        """Write clips with their captions; return the fractions of facts said rightly of held-out renders.

        Half of these clips are clean, half are spoilt as in training.
        """
        rng = np.random.default_rng((SAMPLE_SEED_DOMAIN, self.recipe.run.seed))
        scenes = [draw_scene(rng, "held_out", self.art) for _ in range(NUM_SAMPLE_CLIPS)]
        videos: list[tuple[Any, list[float]]] = []
        for index, scene in enumerate(scenes):
            clip, duration_s = self._render(scene, rng)
            clip = spoil_captioned_clip(clip, self.recipe.video, rng) if index % 2 else clip
            frames = ((clip + 1) * 127.5).round().byte().movedim(0, -1).numpy()
            videos.append((frames, np.linspace(0, duration_s, len(frames)).tolist()))
        self.model.eval()
        with self.average.swapped(self.model):
            captions = [answer.text for answer in self._captioner().caption_clips(videos)]
        titles = [
            f"{scene.actor} {scene.action} {scene.place}: {text}" for scene, text in zip(scenes, captions, strict=True)
        ]
        shown = [frames for frames, _ in videos[:NUM_SHOWN_CLIPS]]
        save_contact_sheet(path, shown, num_columns=6, titles=titles[:NUM_SHOWN_CLIPS])
        values: dict[str, float] = {}
        for kind, first in (("clean", 0), ("spoilt", 1)):
            scores = score_captions(captions[first::2], scenes[first::2])
            values |= {
                f"held_out_{kind}_{name}": fraction
                for name, fraction in scores.fractions.items()
                if fraction is not None
            }
            values[f"held_out_{kind}_all"] = scores.all_right
        return values

    def _captioner(self) -> SmallCaptioner:
        return SmallCaptioner(self.model, self.tokenizer, self._settings(), "captioner in training")

    def _settings(self) -> dict[str, Any]:
        video = self.recipe.video
        return {
            "task": "captioner",
            "form": FORM,
            "base": "",
            "base_revision": "",
            "prompt": "",
            "num_frames": video.num_frames,
            "max_side_px": max(video.height_px, video.width_px),
            "max_output_tokens": self.recipe.small.max_output_tokens,
            "video": self.video_settings,
            "text": self.text_settings,
        }

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged weights, in bfloat16, as the student's folder ``captioner``."""
        network = self.model
        with self.average.swapped(self.model):
            left_out = set(network.tied_names())
            weights = {
                name: value.detach().to("cpu", torch.bfloat16 if value.is_floating_point() else None).contiguous()
                for name, value in network.state_dict().items()
                if name not in left_out
            }
        save_student(directory / "captioner", self.tokenizer_model, self._settings(), weights)

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


def spoil_captioned_clip(clip: Tensor, settings: SmallVideoSettings, rng: np.random.Generator) -> Tensor:
    """Blur, compress, shade and noise a clip (3, T, H, W) in [-1, 1] at random; all that a caption says of it stays
    true.
    """
    frames = clip.transpose(0, 1)
    height_px, width_px = frames.shape[2:]
    if rng.random() < 0.5:
        factor = float(np.exp(rng.uniform(0, np.log(settings.max_blur_factor))))
        smaller = (max(1, round(height_px / factor)), max(1, round(width_px / factor)))
        frames = functional.interpolate(frames, size=smaller, mode="bilinear", antialias=True)
        frames = functional.interpolate(frames, size=(height_px, width_px), mode="bilinear")
    if rng.random() < 0.5:
        frames = _compressed(frames, float(rng.uniform(0.02, settings.max_codec_step)))
    if rng.random() < 0.7:
        contrast = 1 + rng.uniform(-settings.max_contrast_change, settings.max_contrast_change)
        brightness = rng.uniform(-settings.max_brightness_change, settings.max_brightness_change)
        frames = frames * float(contrast) + float(brightness)
    if rng.random() < 0.5:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        noise = torch.randn(frames.shape, generator=generator)
        frames = frames + noise * float(rng.uniform(0, settings.max_noise))
    return frames.clamp(-1, 1).transpose(0, 1)


def _compressed(frames: Tensor, step: float) -> Tensor:
    """Round the frequencies of the 8x8 blocks of frames (T, 3, H, W), the high ones more coarsely."""
    num_frames, _, height_px, width_px = frames.shape
    place = torch.arange(8.0)
    basis = torch.cos((place[None] + 0.5) * place[:, None] * torch.pi / 8) * 0.5
    basis[0] *= 0.5**0.5
    blocks = frames.reshape(num_frames, 3, height_px // 8, 8, width_px // 8, 8).transpose(3, 4)
    coarseness = step * (1 + (place[:, None] + place[None]) / 3)
    spectrum = (basis @ blocks @ basis.T / coarseness).round() * coarseness
    return (basis.T @ spectrum @ basis).transpose(3, 4).reshape(frames.shape)


def t5_settings(settings: SmallTextSettings, vocab_size: int) -> dict[str, Any]:
    """Return the fields of a T5 configuration."""
    return {
        "vocab_size": vocab_size,
        "d_model": settings.width,
        "d_kv": settings.head_width,
        "d_ff": settings.feed_forward_width,
        "num_layers": settings.num_encoder_layers,
        "num_decoder_layers": settings.num_decoder_layers,
        "num_heads": settings.num_heads,
        "dropout_rate": settings.dropout,
        "pad_token_id": PAD_ID,
        "eos_token_id": END_ID,
        "decoder_start_token_id": PAD_ID,
        "tie_word_embeddings": True,
    }


def tokenizer_of(model: bytes, max_tokens: int) -> Any:
    """Return the tokenizer of a SentencePiece model."""
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(model, Path(folder), max_tokens=max_tokens)
        return T5Tokenizer.from_pretrained(folder)


def label_tokens(tokenizer: Any, texts: list[str], max_tokens: int) -> Tensor:
    """Return the tokens (B, L) that texts end in, -100 after them."""
    encoded = tokenizer(
        texts,
        padding=True,
        truncation=True,
        max_length=max_tokens,
        pad_to_multiple_of=TOKENS_MULTIPLE,
        return_tensors="pt",
    )
    return encoded.input_ids.masked_fill(encoded.attention_mask == 0, NO_TOKEN)


def save_student(
    folder: Path,
    tokenizer_model: bytes,
    settings: dict[str, Any],
    weights: dict[str, Tensor],
    config: T5Config | None = None,
) -> None:
    """Write a small student's folder; with a configuration one that transformers loads."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        save_file(weights, Path(temporary) / WEIGHTS_NAME, metadata={"format": "pt"})
        save_tokenizer(tokenizer_model, Path(temporary), max_tokens=settings["max_output_tokens"])
        write_student(Path(temporary), settings)
        if config is not None:
            config.save_pretrained(temporary)
        move_files(Path(temporary), folder)


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Compute in bfloat16 where the processor has units for it."""
    return torch.autocast(device.type, torch.bfloat16)


def _tokenizer_texts(recipe: CaptionerRecipe, art: Art) -> list[str]:
    rng = np.random.default_rng((TOKENIZER_SEED_DOMAIN, recipe.run.seed))
    scenes = (draw_scene(rng, "train", art) for _ in range(NUM_TOKENIZER_TEXTS))
    return [summary_of(draw_captions(scene, art, rng, 2.0)) for scene in scenes]


def _name(scene: Scene, kind: str) -> str | None:
    if kind == "second_object_side" and scene.second_object is None:
        return None
    return getattr(scene, kind)
