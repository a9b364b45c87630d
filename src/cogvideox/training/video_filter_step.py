"""One training step of filters on a video-language model: adapter and head learn from clips that people have labelled.

The clips are in three parts that share no source: trained on, calibrated on, tested on. Axes: N clips, B clips of a
step, T frames, H W rows and columns; the 6 outputs are in the order of `LABELS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.data.filters.video_backbone import VideoBackbone, backbone_digest, choose_frames
from cogvideox.data.filters.video_filter import LabelPoint, VideoClassifier, probabilities_of
from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.media.contact_sheet import save_contact_sheet
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.filter_fit import Array, LabelledClips, calibration, hold_out, operating_point, scikit_learn
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.video_filter_recipe import VideoFilterRecipe

ORDER_SEED_DOMAIN = 770_000_101
"""First entry of the seeds of the order in which clips come."""
NO_BETTER = "no better than chance on sources that were not trained on"
NUM_SHOWN_CLIPS = 10
SHOWN_HEIGHT_PX, SHOWN_WIDTH_PX = 90, 160
NUM_SHOWN_FRAMES = 6

ReadClipFrames = Callable[[str], NDArray[np.uint8]]
"""Returns frames (T, H, W, 3) RGB of a clip by its id; any number, spread over it."""


class VideoFilterBatch(NamedTuple):
    """Frames of clips, each (T, H, W, 3), and what is known of them: (B, 6), 0, 1, or NaN for not known."""

    frames: tuple[NDArray[np.uint8], ...]
    truth: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedClips:
    """What finished filters say of clips that they were neither trained nor calibrated on."""

    clips: LabelledClips
    """With the truth, and the sources as groups."""
    probabilities: Mapping[LabelName, Array]
    """(N,) of each label that has a filter."""
    points: Mapping[LabelName, LabelPoint]
    """Of these labels."""
    reaches_target: Mapping[LabelName, bool]
    """Whether the precision that was asked for is reached anywhere in the part for calibration."""
    left_out: Mapping[LabelName, str]
    """Labels without a filter, and why."""


class VideoFilterStep:
    """Updates adapter and head; a `cogvideox.training.loop.TrainStep`."""

    def __init__(
        self,
        recipe: VideoFilterRecipe,
        clips: LabelledClips,
        read_clip_frames: ReadClipFrames,
        device: torch.device,
        *,
        test: LabelledClips | None = None,
    ) -> None:
        """Load the backbone and divide the clips.

        Args:
            recipe: how.
            clips: to train and calibrate on, and to test on unless ``test`` is given.
            read_clip_frames: gives the frames of each of them.
            device: where the model runs.
            test: clips of other sources, to test on.

        Raises:
            ValueError: there is no such backbone, or it takes no frames; or no label has enough clips.
            MissingPackageError: peft or scikit-learn is not installed.
        """
        scikit_learn()
        self.recipe = recipe
        self.train_part, self.calibration_part, self.test_part = _divide(recipe, clips, test)
        self.left_out = _left_out(recipe, self.train_part, self.calibration_part)
        self._read_clip_frames = read_clip_frames
        torch.manual_seed(recipe.run.seed)
        dtype = "bfloat16" if recipe.uses_bfloat16 else "float32"
        backbone = VideoBackbone.load(recipe.backbone_settings, device=device, dtype=dtype)
        if recipe.has_gradient_checkpointing:
            backbone.model.activation_checkpointing_enable({"use_reentrant": False})
        self.classifier = VideoClassifier.create(backbone, recipe.adapter, recipe.view)
        self.network = self.classifier.network
        trained = [value for value in self.network.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.99), weight_decay=recipe.run.weight_decay)
        self.average = WeightAverage(self.network, recipe.run.average_decay)
        self._truth = self._known(self.train_part)
        self._places = np.flatnonzero(np.isfinite(self._truth).any(1))
        self.positive_weights = _positive_weights(self._truth, recipe.max_positive_weight).to(device)
        self._device = device
        self._judged: tuple[int, Array] | None = None

    def _known(self, clips: LabelledClips) -> Array:
        """Return what is known of clips (N, 6), of labels that are trained."""
        nothing = np.full(len(clips.clip_ids), np.nan)
        columns = [nothing if label in self.left_out else clips.labels.get(label, nothing) for label in LABELS]
        return np.stack(columns, axis=1)

    def make_batch(self, step: int) -> VideoFilterBatch:
        """Return the clips of a step; in every so many steps each clip comes once, in another order."""
        size, count = self.recipe.run.batch_size, len(self._places)
        chosen: list[int] = []
        for place in range(step * size, (step + 1) * size):
            seeds = (ORDER_SEED_DOMAIN, self.recipe.run.seed, place // count)
            chosen.append(int(self._places[np.random.default_rng(seeds).permutation(count)[place % count]]))
        frames = tuple(self._read_clip_frames(self.train_part.clip_ids[place]) for place in chosen)
        return VideoFilterBatch(frames, torch.from_numpy(self._truth[chosen]).float().to(self._device))

    def __call__(self, batch: VideoFilterBatch, learning_rate: float) -> dict[str, Tensor]:
        """Update once; logs the loss of a known answer and the fraction of them that is right."""
        set_learning_rate(self.optimizer, learning_rate)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        num_known = torch.isfinite(batch.truth).sum().clamp(min=1)
        losses, margins = [], []
        # One by one: clips of other sizes have other numbers of tokens, and padding is not the same for all models.
        for frames, truth in zip(batch.frames, batch.truth, strict=True):
            margins.append(self.classifier.margins(frames))
            loss = masked_loss(margins[-1], truth, self.positive_weights) / num_known
            loss.backward()
            losses.append(loss.detach())
            margins[-1] = margins[-1].detach()
        trained = [value for value in self.network.parameters() if value.requires_grad]
        gradient_norm = nn.utils.clip_grad_norm_(trained, self.recipe.run.max_gradient_norm)
        self.optimizer.step()
        self.average.update(self.network)
        is_right = ((torch.stack(margins) > 0) == (batch.truth > 0.5)) & torch.isfinite(batch.truth)
        fraction_right = is_right.sum() / num_known
        return {"loss": torch.stack(losses).sum(), "gradient_norm": gradient_norm, "fraction_right": fraction_right}

    def write_samples(self, path: Path) -> dict[str, float]:
        """Write clips of the part for calibration with what is said of them; return its loss and PR-AUC."""
        margins = self._calibration_margins()
        known = torch.from_numpy(self._known(self.calibration_part))
        losses = masked_loss(torch.from_numpy(margins), known, self.positive_weights.to("cpu", torch.float64))
        values = {"held_out_loss": float(losses / torch.isfinite(known).sum())}
        points = self._points(margins).points
        truth = known.numpy()
        for place, label in enumerate(LABELS):
            is_known = np.isfinite(truth[:, place])
            if label in points:
                score = scikit_learn().metrics.average_precision_score
                values[f"held_out_pr_auc_{label}"] = float(score(truth[is_known, place], margins[is_known, place]))
        self._write_sheet(path, probabilities_of(margins, points))
        return values

    def _write_sheet(self, path: Path, probabilities: Mapping[LabelName, Array]) -> None:
        clips = self.calibration_part
        videos, titles = [], []
        for index in np.linspace(0, len(clips.clip_ids) - 1, min(NUM_SHOWN_CLIPS, len(clips.clip_ids))).astype(int):
            frames = choose_frames(self._read_clip_frames(clips.clip_ids[index]), NUM_SHOWN_FRAMES, SHOWN_WIDTH_PX)
            videos.append(np.stack([_letterboxed(frame) for frame in frames]))
            said = [f"{label} {each[index]:.2f}" for label, each in probabilities.items()]
            answers = {label: clips.labels[label][index] for label in probabilities}
            known = [f"{'' if answer else 'not '}{label}" for label, answer in answers.items() if np.isfinite(answer)]
            titles.append(f"answered {', '.join(known) or 'nothing'}: {', '.join(said)}")
        save_contact_sheet(path, videos, num_columns=NUM_SHOWN_FRAMES, titles=titles)

    def margins(self, clips: LabelledClips) -> Array:
        """Return the (N, 6) outputs of the averaged model for clips."""
        self.network.eval()
        with torch.no_grad(), self.average.swapped(self.network):
            rows = [
                self.classifier.margins(self._read_clip_frames(clip_id)).double().cpu() for clip_id in clips.clip_ids
            ]
        return torch.stack(rows).numpy() if rows else np.zeros((0, len(LABELS)))

    def _calibration_margins(self) -> Array:
        if self._judged is None or self._judged[0] != self.average.num_updates:
            self._judged = self.average.num_updates, self.margins(self.calibration_part)
        return self._judged[1]

    def _points(self, margins: Array) -> "_Calibrated":
        """Calibrate the labels on the outputs for the part that was not trained on."""
        points: dict[LabelName, LabelPoint] = {}
        reaches_target: dict[LabelName, bool] = {}
        left_out = dict(self.left_out)
        known = self._known(self.calibration_part)
        for place, label in enumerate(LABELS):
            if label in self.left_out:
                continue
            is_known = np.isfinite(known[:, place])
            truth, outputs = known[is_known, place].astype(np.int64), margins[is_known, place]
            slope, offset = calibration(outputs, truth)
            if not slope > 0:
                left_out[label] = NO_BETTER
                continue
            found = probabilities_of(margins, {label: LabelPoint(slope=slope, offset=offset, threshold=0.0)})
            threshold, reaches = operating_point(found[label][is_known], truth, self.recipe.target_precision)
            points[label] = LabelPoint(slope=slope, offset=offset, threshold=threshold)
            reaches_target[label] = reaches
        return _Calibrated(points, reaches_target, left_out)

    def judge_test(self) -> JudgedClips:
        """Return what the calibrated, averaged model says of the clips to test on.

        Raises:
            ValueError: no label has a filter that is better than chance.
        """
        found = self._points(self._calibration_margins())
        if not found.points:
            reasons = "; ".join(f"{label}: {reason}" for label, reason in found.left_out.items())
            raise ValueError(f"no filter is left ({reasons}); answer clips of more sources, or train longer")
        return JudgedClips(
            clips=self.test_part,
            probabilities=probabilities_of(self.margins(self.test_part), found.points),
            points=found.points,
            reaches_target=found.reaches_target,
            left_out=found.left_out,
        )

    @cached_property
    def _digest(self) -> str:
        return backbone_digest(self.classifier.backbone.folder)

    def save_checkpoint(self, directory: Path) -> None:
        """Write the averaged, calibrated filters, which `cogvideox.data.filters.video_filter` loads."""
        points = self._points(self._calibration_margins()).points
        with self.average.swapped(self.network):
            self.classifier.save(directory, points, self._digest)

    def state_dict(self) -> dict[str, Any]:
        """Return adapter, head, optimizer and average, without the backbone, and which clips are in which part."""
        return {
            "parts": self._parts(),
            "trained": {name: value.detach() for name, value in self._trained().items()},
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises ValueError if it is of another adapter, or of other clips."""
        trained = self._trained()
        _require_same_parts(state.get("parts", {}), self._parts())
        if set(state["trained"]) != set(trained):
            raise ValueError("its adapter has other layers")
        for name, value in trained.items():
            value.copy_(state["trained"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self._judged = None

    def _parts(self) -> dict[str, list[str]]:
        parts = {"train": self.train_part, "calibrate": self.calibration_part, "test": self.test_part}
        return {name: list(part.clip_ids) for name, part in parts.items()}

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}


class _Calibrated(NamedTuple):
    """Labels that have a filter, and those that have none."""

    points: dict[LabelName, LabelPoint]
    reaches_target: dict[LabelName, bool]
    left_out: dict[LabelName, str]


def _require_same_parts(before: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> None:
    """Refuse to go on with other clips: they are divided anew, and some that were trained on would be tested on."""
    if before == now:
        return
    known, given = ({clip_id for ids in parts.values() for clip_id in ids} for parts in (before, now))
    changes = f"{len(given - known)} answered clips are new, {len(known - given)} are gone"
    if known == given:
        changes = "the same clips were divided otherwise, as their answers or the recipe's shares have changed"
    raise ValueError(
        f"{changes}; clips that were trained on could be tested on: train anew in another run folder, or bring back "
        "answers and recipe as they were"
    )


def masked_loss(margins: Tensor, truth: Tensor, positive_weights: Tensor) -> Tensor:
    """Return the sum of the cross entropies of all known answers; what is not known gives no loss and no gradient.

    Args:
        margins: (..., 6) log odds.
        truth: (..., 6) 0, 1, or NaN for not known.
        positive_weights: (6,) how often an answer of 1 counts.
    """
    is_known = torch.isfinite(truth)
    losses = functional.binary_cross_entropy_with_logits(
        margins, torch.where(is_known, truth, 0.0), pos_weight=positive_weights, reduction="none"
    )
    return torch.where(is_known, losses, 0.0).sum()


def _positive_weights(truth: Array, largest: float) -> Tensor:
    """Return (6,): how many clips do not have a label for one that has it, within limits."""
    num_positive, num_negative = (truth == 1).sum(0), (truth == 0).sum(0)
    weights = np.where((num_positive > 0) & (num_negative > 0), num_negative / np.maximum(num_positive, 1), 1.0)
    return torch.from_numpy(np.clip(weights, 1 / largest, largest)).float()


def _divide(
    recipe: VideoFilterRecipe, clips: LabelledClips, test: LabelledClips | None
) -> tuple[LabelledClips, LabelledClips, LabelledClips]:
    """Return the parts to train, calibrate and test on."""
    least = 3 if test is None else 2
    num_groups = len(np.unique(clips.groups))
    if num_groups < least:
        raise ValueError(
            f"labels: expected answered clips of at least {least} sources, so that each part has its own, got "
            f"{num_groups}"
        )
    rest = clips
    if test is None:
        is_test = hold_out(clips, recipe.test_share, recipe.seed)
        # At least two sources stay, however large one is.
        while len(np.unique(clips.groups[~is_test])) < 2:
            is_test &= clips.groups != clips.groups[is_test][0]
        rest, test = clips.take(~is_test), clips.take(is_test)
    is_calibration = hold_out(rest, recipe.calibration_share, recipe.seed + 1)
    return rest.take(~is_calibration), rest.take(is_calibration), test


def _left_out(recipe: VideoFilterRecipe, train: LabelledClips, calibrated: LabelledClips) -> dict[LabelName, str]:
    """Return the labels that cannot be trained or calibrated, and why."""
    left_out: dict[LabelName, str] = {}
    for label in LABELS:
        for part, what, least in ((train, "train", recipe.least_positives), (calibrated, "calibrate", 1)):
            known = part.labels.get(label, np.full(len(part.clip_ids), np.nan))
            for value, kind in ((1, "with it"), (0, "without it")):
                count = int((known == value).sum())
                if count < least and label not in left_out:
                    left_out[label] = f"{count} clips {kind} to {what} on, at least {least} are needed"
    if len(left_out) == len(LABELS):
        raise ValueError(f"labels: no label has enough clips to train on; {next(iter(left_out.values()))}")
    return left_out


def _letterboxed(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Image.fromarray(frame)
    picture.thumbnail((SHOWN_WIDTH_PX, SHOWN_HEIGHT_PX), Image.Resampling.BOX)
    whole = Image.new("RGB", (SHOWN_WIDTH_PX, SHOWN_HEIGHT_PX))
    whole.paste(picture, ((SHOWN_WIDTH_PX - picture.width) // 2, (SHOWN_HEIGHT_PX - picture.height) // 2))
    return np.asarray(whole)
