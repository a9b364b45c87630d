"""Which samples each step of a run trains on, in which packs: a function of the recipe, the clips and the step.

Every process computes the same plan and takes its packs of it. A resumed run begins at the epoch it was in.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.data.clips import ClipShape, ClipTable
from cogvideox.data.curation.policy import ClipScores, Policy
from cogvideox.training.curriculum import (
    EpochSamples,
    Stage,
    StageClips,
    epoch_samples,
    num_passing,
    num_tokens,
    pack_settings,
    stage_clips,
)
from cogvideox.training.frame_packing import Epoch, check_lengths, pack_epoch, packs_of_rank
from cogvideox.training.learning_rate import stage_at

NUM_CHECKED_STEPS = 200
"""Of each stage, at which a policy that moves must keep some clip."""
_PACKING, _SAMPLE, _TIMESTEPS = range(3)
"""What random numbers are for: each has its own, so none depends on how many others were drawn."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample of a step."""

    place: int
    """Among all samples of the step, over all processes."""
    row: int
    """Of the clip table."""
    shape: ClipShape
    """What the clip is made into."""
    is_first_frame: bool
    """Whether only the first frame of that is taken."""


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One process's part of a step."""

    stage: int
    packs: list[list[Sample]]
    num_samples: int
    """Of the whole step, over all processes."""


@dataclass(frozen=True)
class _CurrentEpoch:
    stage: int
    number: int
    first_step: int
    """Of the stage."""
    clips: StageClips
    """Those of the stage that the policy keeps now."""
    samples: EpochSamples
    packs: Epoch


class StepPlan:
    """The packs of every step of a run."""

    def __init__(
        self,
        table: ClipTable,
        stages: Sequence[Stage],
        configs: Sequence[TransformerConfig],
        autoencoder: AutoencoderConfig,
        *,
        seed: int,
        num_balanced_ranks: int = 1,
        num_held_out: int = 0,
        policy: Policy | None = None,
    ) -> None:
        """Choose the clips of all stages.

        Args:
            table: the training set.
            stages: of the run.
            configs: of the transformer in each stage.
            autoencoder: whose latents are packed.
            seed: of the run.
            num_balanced_ranks: processes that packs of equal cost are made for.
            num_held_out: clips kept apart for validation, drawn at random.
            policy: of a curated training set; an epoch takes the clips that it keeps at the step of the run with which
                the epoch begins. Quantiles are of the table.

        Raises:
            ValueError: a stage has no clips, or too few, or one that is longer than its packs; the policy asks for a
                score that the training set does not have, or keeps no clip of a stage at some step.
        """
        self.table, self.stages, self.configs, self.autoencoder = table, tuple(stages), tuple(configs), autoencoder
        self.seed, self.num_balanced_ranks = seed, num_balanced_ranks
        self._scores = _clip_scores(table)
        self.policy = None if policy is None else policy.resolve(self._scores)
        is_ever_kept = np.ones(len(table), bool) if self.policy is None else self.policy.ever_keeps(self._scores)
        if num_held_out >= len(table):
            raise ValueError(f"validation.num_clips: expected fewer than the {len(table)} clips, got {num_held_out}")
        # By the clips' names: a clip that is added later moves no other one to the other side, but for one at most.
        order = np.argsort([_digest(seed, clip_id) for clip_id in table.clip_ids], kind="stable")
        self.held_out: NDArray[np.int64] = np.sort(order[:num_held_out])
        """Rows kept apart."""
        is_training = ~np.isin(np.arange(len(table)), self.held_out)
        self.clips: list[StageClips] = []
        """Of each stage, for training."""
        self.held_out_clips: list[StageClips] = []
        self.num_left_out: list[int] = []
        """Clips that pass the filters of a stage but are too small for it."""
        for index, (stage, config) in enumerate(zip(self.stages, self.configs, strict=True)):
            try:
                fitting = stage_clips(table, stage, config, autoencoder)
                clips = fitting.select(is_ever_kept[fitting.rows])
                training = clips.select(is_training[clips.rows])
                self._check_fit(training, stage, config)
                for step in self._turning_steps(index):
                    self._kept_at(training, step)
            except ValueError as error:
                raise ValueError(f"stages[{index}]: {error}") from None
            self.clips.append(training)
            self.num_left_out.append(num_passing(table, stage) - len(fitting))
            self.held_out_clips.append(clips.select(~is_training[clips.rows]))
        self._epoch: _CurrentEpoch | None = None

    def _check_fit(self, clips: StageClips, stage: Stage, config: TransformerConfig) -> None:
        samples = epoch_samples(clips, stage.image_share, np.random.default_rng(0))
        if not len(samples.clips):
            raise ValueError(
                f"no sample is left: {len(clips)} clips beside those of validation.num_clips, image_share "
                f"{stage.image_share}; add clips, or change these two"
            )
        num_frames = np.where(stage.image_share == 1, 1, clips.num_frames)
        lengths = num_tokens(num_frames, clips.height_px, clips.width_px, config, self.autoencoder)
        settings = pack_settings(stage, config, self.num_balanced_ranks)
        if lengths.max() > stage.pack_tokens:
            longest = int(lengths.argmax())
            shape, name = clips.shape(longest), self.table.clip_ids[clips.rows[longest]]
            raise ValueError(
                f"pack_tokens: expected at least {lengths[longest]}, the tokens of {name} ({shape.num_frames} frames "
                f"of {shape.height_px}x{shape.width_px} px), got {stage.pack_tokens}; raise it, or lower "
                "max_duration_s or the stage's size"
            )
        check_lengths(np.ones(len(samples.clips), dtype=np.int64), settings)

    def wanted(self) -> list[tuple[int, ClipShape]]:
        """Return every clip and shape that the run needs, once each."""
        return _pairs([*self.clips, *self.held_out_clips])

    def wanted_for_validation(self) -> list[tuple[int, ClipShape]]:
        """Return those of the clips kept apart."""
        return _pairs(self.held_out_clips)

    def step(self, step: int, *, rank: int = 0, world_size: int = 1) -> PlannedStep:
        """Return a process's packs of a step of the run."""
        stage, place = stage_at(self.stages, step)
        epoch = self._epoch_at(stage, place)
        packs = epoch.packs.step(place - epoch.first_step)
        mine = [
            [self._sample(epoch, first + offset, int(sample)) for offset, sample in enumerate(pack)]
            for first, pack in packs_of_rank(packs, rank, world_size)
        ]
        return PlannedStep(stage=stage, packs=mine, num_samples=sum(map(len, packs)))

    def sample_rng(self, step: int, place: int) -> np.random.Generator:
        """Return the random numbers of one sample, the same on whatever process it is."""
        return np.random.default_rng((self.seed, _SAMPLE, step, place))

    def timestep_rng(self, step: int) -> np.random.Generator:
        """Return those that a step's timesteps are drawn with, the same on all processes."""
        return np.random.default_rng((self.seed, _TIMESTEPS, step))

    def state_dict(self) -> dict[str, int]:
        """Return where the plan is; only a short cut, since a step alone says it."""
        epoch = self._epoch
        return {} if epoch is None else {"stage": epoch.stage, "epoch": epoch.number, "first_step": epoch.first_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken; a state of a stage that is gone says nothing."""
        is_known = bool(state) and state["stage"] < len(self.stages)
        self._epoch = self._make_epoch(state["stage"], state["epoch"], state["first_step"]) if is_known else None

    def _epoch_at(self, stage: int, place: int) -> _CurrentEpoch:
        epoch = self._epoch
        if epoch is None or epoch.stage != stage or place < epoch.first_step:
            epoch = self._make_epoch(stage, 0, 0)
        while place >= epoch.first_step + epoch.packs.num_steps:
            epoch = self._make_epoch(stage, epoch.number + 1, epoch.first_step + epoch.packs.num_steps)
        self._epoch = epoch
        return epoch

    def _make_epoch(self, stage: int, number: int, first_step: int) -> _CurrentEpoch:
        seed = (self.seed, _PACKING, stage, number)
        config = self.configs[stage]
        clips = self._kept_at(self.clips[stage], self._first_step(stage) + first_step)
        samples = epoch_samples(clips, self.stages[stage].image_share, np.random.default_rng((*seed, 0)))
        num_frames = np.where(samples.is_first_frame, 1, clips.num_frames[samples.clips])
        height_px, width_px = clips.height_px[samples.clips], clips.width_px[samples.clips]
        lengths = num_tokens(num_frames, height_px, width_px, config, self.autoencoder)
        settings = pack_settings(self.stages[stage], config, self.num_balanced_ranks)
        return _CurrentEpoch(stage, number, first_step, clips, samples, pack_epoch(lengths, settings, (*seed, 1)))

    def _first_step(self, stage: int) -> int:
        """Return the step of the run with which a stage begins."""
        return sum(earlier.num_steps for earlier in self.stages[:stage])

    def _turning_steps(self, stage: int) -> list[int]:
        """Return steps of a stage at which to see that the policy keeps clips: where thresholds turn, and between."""
        first, last = self._first_step(stage), self._first_step(stage + 1) - 1
        rules = () if self.policy is None else self.policy.rules
        if not any(rule.then for rule in rules):
            return [first]
        turns = {waypoint.step for rule in rules for waypoint in rule.then}
        between = np.linspace(first, last, NUM_CHECKED_STEPS).astype(int).tolist()
        return sorted({*between, *(step for step in turns if first < step < last)})

    def _kept_at(self, clips: StageClips, step: int) -> StageClips:
        """Return those of a stage's clips that the policy keeps at a step of the run."""
        if self.policy is None:
            return clips
        kept = clips.select(self.policy.keeps(self._scores, step)[clips.rows])
        if not len(kept):
            raise ValueError(f"the policy keeps none of {len(clips)} clips at step {step}; move its thresholds")
        return kept

    def _sample(self, epoch: _CurrentEpoch, place: int, sample: int) -> Sample:
        clips, index = epoch.clips, int(epoch.samples.clips[sample])
        return Sample(
            place=place,
            row=int(clips.rows[index]),
            shape=clips.shape(index),
            is_first_frame=bool(epoch.samples.is_first_frame[sample]),
        )


def _pairs(clips_of_stages: Sequence[StageClips]) -> list[tuple[int, ClipShape]]:
    pairs = ((int(clips.rows[index]), clips.shape(index)) for clips in clips_of_stages for index in range(len(clips)))
    return list(dict.fromkeys(pairs))


def _clip_scores(table: ClipTable) -> ClipScores:
    durations_s = np.divide(table.num_frames, table.fps, out=np.zeros(len(table)), where=table.fps > 0)
    return ClipScores(clip_ids=table.clip_ids, durations_s=durations_s, values=table.scores)


def _digest(seed: int, clip_id: str) -> str:
    return hashlib.sha256(f"{seed}\n{clip_id}".encode()).hexdigest()
