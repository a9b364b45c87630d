"""One training step of a student that is a low-rank adapter: it learns the teacher's answers, word by word.

Axes: N tokens of an answer, V tokens known.
"""

import dataclasses
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.chat.turns import Turn
from cogvideox.component_files import write_atomically
from cogvideox.data.captioning.adapters import ADAPTER_NAMES, file_digest, new_adapter, write_adapter
from cogvideox.data.captioning.chat_backbone import ChatBackbone, memory_checked
from cogvideox.data.captioning.students import FORMAT, STUDENT_NAME, LoraStudentCard, StudentTask
from cogvideox.data.captioning.transformers_models import shown_rate
from cogvideox.data.filters.video_backbone import SHOWN_FPS, backbone_digest
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.loop import RunSettings
from cogvideox.training.lora_student_data import DatasetFrames, StudentSample, StudentSamples, read_samples
from cogvideox.training.lora_student_recipe import LoraStudentSettings

logger = logging.getLogger(__name__)

ORDER_SEED_DOMAIN = 770_000_103
"""First entry of the seeds of the order in which samples come."""
VAL_SEED_DOMAIN = 770_000_107
REMEDY = 'lower max_tokens, num_frames or max_side_px, set has_gradient_checkpointing, or dtype = "bfloat16"'


class LoraSample(NamedTuple):
    """What the model reads, and the tokens (N,) that it should say."""

    inputs: dict[str, Tensor]
    answer: Tensor


class LoraStudentStep:
    """Updates an adapter; a `cogvideox.training.loop.TrainStep`."""

    def __init__(
        self, settings: LoraStudentSettings, run: RunSettings, task: StudentTask, device: torch.device
    ) -> None:
        """Read what is exported, and load the model that is adapted.

        Args:
            settings: what is learnt from, and which model.
            run: of the recipe. Samples of a step are computed one by one: its batch takes the memory of one.
            task: of the student.
            device: where the model runs.

        Raises:
            ValueError: nothing is left to learn from; there is no such model; or a captioner's takes no frames.
            DoesNotFitError: the model is larger than the memory.
            MissingPackageError: peft is not installed.
        """
        self.settings, self.run = settings, run
        self.task: StudentTask = task
        base = settings.base_settings
        samples = read_samples(settings.data, task, prompt=settings.prompt)
        self._frames = DatasetFrames(
            num_frames=settings.num_frames, max_side_px=settings.max_side_px, cache_mib=settings.frame_cache_mib
        )
        self.samples = self._present(samples) if task == "captioner" else samples
        for reason, count in self.samples.left_out.items():
            logger.warning("%d samples are left out: %s", count, reason)
        torch.manual_seed(run.seed)
        self.backbone = ChatBackbone.load(base, device=device, dtype=settings.dtype)
        if task == "captioner" and not self.backbone.takes_frames:
            raise ValueError(f"lora.base: expected a model that takes pictures or videos, got {base.source}")
        if settings.has_gradient_checkpointing:
            self.backbone.model.activation_checkpointing_enable({"use_reentrant": False})
        self.adapted: nn.Module = new_adapter(self.backbone, settings.adapter)
        trained = [value for value in self.adapted.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.99), weight_decay=run.weight_decay)
        self.average = WeightAverage(self.adapted, run.average_decay)
        self._device = device
        self._unusable: dict[StudentSample, str] = {}
        rng = np.random.default_rng((VAL_SEED_DOMAIN, run.seed))
        order = rng.permutation(len(self.samples.val))[: settings.num_val_clips]
        self._val = tuple(self.samples.val[place] for place in order)

    def _present(self, samples: StudentSamples) -> StudentSamples:
        """Return the samples whose clips are there."""
        left_out = Counter(samples.left_out)
        parts: dict[str, list[StudentSample]] = {"train": [], "val": []}
        for name, part in (("train", samples.train), ("val", samples.val)):
            for sample in part:
                reason = self._frames.missing(sample.dataset, sample.clip_id)
                if reason:
                    left_out[reason] += 1
                else:
                    parts[name].append(sample)
        if not parts["train"]:
            reasons = "; ".join(f"{count} left out: {reason}" for reason, count in left_out.items())
            raise ValueError(f"lora.data: nothing to train on ({reasons}); is the dataset where it was?")
        return StudentSamples(train=tuple(parts["train"]), val=tuple(parts["val"]), left_out=dict(left_out))

    def make_batch(self, step: int) -> tuple[LoraSample, ...]:
        """Return the samples of a step; in every so many steps each comes once, in another order.

        What cannot be read, or is too long, is warned of once, and the next sample of the order comes in its place.

        Raises:
            ValueError: no sample can be used.
        """
        size, count = self.run.batch_size, len(self.samples.train)
        return tuple(self._usable_sample(place, count) for place in range(step * size, (step + 1) * size))

    def _usable_sample(self, place: int, count: int) -> LoraSample:
        order = np.random.default_rng((ORDER_SEED_DOMAIN, self.run.seed, place // count)).permutation(count)
        for shift in range(count):
            found = self._prepare(self.samples.train[order[(place + shift) % count]])
            if found is not None:
                return found
        first = next(iter(self._unusable.values()))
        raise ValueError(f"lora.data: none of {count} samples can be used, the first: {first}")

    def _prepare(self, sample: StudentSample) -> LoraSample | None:
        """Return what the model reads and should say; None if that cannot be had."""
        if sample in self._unusable:
            return None
        try:
            turns, shown_fps = self._question(sample)
            inputs = self.backbone.inputs(turns, shown_fps=shown_fps)
            answer = self.backbone.answer_tokens(turns, sample.answer)
            num_read, num_said = inputs["input_ids"].shape[1], len(answer)
            longest = max(num_read, num_said) if self.backbone.is_seq2seq else num_read + num_said
            limit = min(self.settings.max_tokens, self.backbone.max_positions or self.settings.max_tokens)
            if longest > limit:
                raise ValueError(f"expected at most {limit} tokens, got {longest}")
        except ValueError as error:
            self._unusable[sample] = f"{sample.clip_id}: {error}"
            logger.warning("%s is left out: %s", sample.clip_id, error)
            return None
        return LoraSample(inputs, torch.tensor(answer, device=self._device))

    def _question(self, sample: StudentSample) -> tuple[tuple[Turn, ...], float]:
        """Return the conversation, with frames for a captioner, and the rate of those."""
        if self.task == "summariser":
            return sample.question, SHOWN_FPS
        frames, times_s = self._frames.read(sample.dataset, sample.clip_id)
        *before, last = sample.question
        return (*before, dataclasses.replace(last, images=tuple(frames))), shown_rate(times_s)

    def __call__(self, batch: Sequence[LoraSample], learning_rate: float) -> dict[str, Tensor]:
        """Update once; logs the loss of a token and the fraction of tokens that the model finds likeliest."""
        set_learning_rate(self.optimizer, learning_rate)
        self.adapted.train()
        self.optimizer.zero_grad(set_to_none=True)
        num_tokens = sum(len(sample.answer) for sample in batch)
        losses, rights = [], []
        # One by one: other clips have other numbers of tokens, and padding is not the same for all models.
        with memory_checked(self.settings.base, self._device, REMEDY):
            for sample in batch:
                loss, is_right = self._losses(sample)
                (loss.sum() / num_tokens).backward()
                losses.append(loss.detach().sum())
                rights.append(is_right.sum())
        trained = [value for value in self.adapted.parameters() if value.requires_grad]
        gradient_norm = nn.utils.clip_grad_norm_(trained, self.run.max_gradient_norm)
        self.optimizer.step()
        self.average.update(self.adapted)
        return {
            "loss": torch.stack(losses).sum() / num_tokens,
            "gradient_norm": gradient_norm,
            "fraction_right": torch.stack(rights).sum() / num_tokens,
        }

    def _losses(self, sample: LoraSample) -> tuple[Tensor, Tensor]:
        """Return the losses (N,) of an answer's tokens, and whether each was found likeliest."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.settings.has_autocast):
            logits = self.backbone.answer_logits(sample.inputs, sample.answer)
        loss = functional.cross_entropy(logits.float(), sample.answer, reduction="none")
        return loss, logits.detach().argmax(1) == sample.answer

    def write_samples(self, path: Path) -> dict[str, float]:
        """Write answers of the averaged student beside the teacher's as text; return the loss on other sources."""
        self.adapted.eval()
        values: dict[str, float] = {}
        with torch.no_grad(), self.average.swapped(self.adapted):
            found = [self._losses(sample) for sample in map(self._prepare, self._val) if sample is not None]
            if found:
                values["val_loss"] = float(torch.cat([loss for loss, _ in found]).mean())
                values["val_fraction_right"] = float(torch.cat([right for _, right in found]).float().mean())
            shown = (self._val or self.samples.train)[: self.settings.num_shown]
            text = "\n\n".join(self._shown(sample) for sample in shown)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.with_suffix(".txt"), text + "\n")
        return values

    def _shown(self, sample: StudentSample) -> str:
        prepared = self._prepare(sample)
        if prepared is None:
            return f"{sample.clip_id}: left out"
        tokens, is_cut = self.backbone.generate(prepared.inputs, max_tokens=self.settings.max_shown_tokens)
        said = self.backbone.text(tokens) + (" [cut off]" if is_cut else "")
        return f"{sample.clip_id}\nteacher: {sample.answer}\nstudent: {said}"

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged adapter as peft does, and what `cogvideox.data.captioning.students` reads of it."""
        directory.mkdir(parents=True, exist_ok=True)
        with self.average.swapped(self.adapted):
            write_adapter(self.adapted, directory)
        values = {"format": FORMAT, "form": "lora"} | dataclasses.asdict(self.card)
        values |= {
            "base_sha256": self._base_digest,
            "sha256": {name: file_digest(directory / name) for name in ADAPTER_NAMES},
            "num_train": len(self.samples.train),
            "num_val": len(self.samples.val),
            "left_out": dict(self.samples.left_out),
        }
        write_atomically(directory / STUDENT_NAME, json.dumps(values, indent=2) + "\n")

    @cached_property
    def card(self) -> LoraStudentCard:
        """What the student says of itself."""
        source, settings, video = Path(self.settings.base).expanduser(), self.settings, self.backbone.video
        is_folder, is_captioner = source.is_dir(), self.task == "captioner"
        prompts = Counter(sample.question[-1].text for sample in self.samples.train)
        return LoraStudentCard(
            task=self.task,
            base=str(source.absolute()) if is_folder else settings.base,
            base_revision=None if is_folder else self.backbone.folder.name,
            trusts_remote_code=settings.trusts_remote_code,
            frames_as=video.frames_as if video is not None else None,
            prompt=prompts.most_common(1)[0][0] if is_captioner else "",
            num_frames=settings.num_frames if is_captioner else 0,
            max_side_px=settings.max_side_px if is_captioner else 0,
        )

    @cached_property
    def _base_digest(self) -> str:
        return backbone_digest(self.backbone.folder)

    def state_dict(self) -> dict[str, Any]:
        """Return adapter, optimizer and average, without the model, and which samples are learnt."""
        return {
            "samples": self._samples_digest,
            "trained": {name: value.detach() for name, value in self._trained().items()},
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises ValueError if it is of another adapter, or of other samples."""
        trained = self._trained()
        if state.get("samples") != self._samples_digest:
            raise ValueError(
                "the exported samples, or their split, are others now: what was trained on could be judged by"
            )
        if set(state["trained"]) != set(trained):
            raise ValueError("its adapter has other layers")
        for name, value in trained.items():
            value.copy_(state["trained"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])

    @cached_property
    def _samples_digest(self) -> str:
        parts = (self.samples.train, self.samples.val)
        text = json.dumps([[(sample.clip_id, sample.answer) for sample in part] for part in parts])
        return hashlib.sha256(text.encode()).hexdigest()

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: value for name, value in self.adapted.named_parameters() if value.requires_grad}
