"""What students learn from: questions and answers that ``cogvideox caption`` exported, and frames of the clips.

Axes: T frames, H W rows and columns.
"""

import json
import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.chat.turns import Turn
from cogvideox.data.captioning.students import StudentTask, spread_places
from cogvideox.data.clip_folder import FolderClips, open_clips
from cogvideox.data.clip_index import IndexedClips

logger = logging.getLogger(__name__)

PROMPT = "Describe this video in detail."
"""Where neither the export nor the recipe says what is asked."""
ROLES = ("system", "user", "assistant")
HELD_OUT = "its source is held out to judge by"


@dataclass(frozen=True, kw_only=True)
class StudentSample:
    """A question and the teacher's answer."""

    clip_id: str
    source: str
    """Clips of one are never on both sides of the split."""
    question: tuple[Turn, ...]
    """Without frames."""
    answer: str
    dataset: str = ""
    """Where the clip of a captioner is."""


@dataclass(frozen=True, kw_only=True)
class StudentSamples:
    """What is learnt, and what is judged by."""

    train: tuple[StudentSample, ...]
    val: tuple[StudentSample, ...]
    left_out: Mapping[str, int]
    """How many lines, by the reason."""


def read_samples(paths: Sequence[Path], task: StudentTask, *, prompt: str = "") -> StudentSamples:
    """Read exported files; lines that are no use are left out and counted.

    Args:
        paths: JSON lines as ``cogvideox caption`` exports them.
        task: of the student.
        prompt: what a captioner is asked, in place of what the lines say.

    Raises:
        ValueError: there is no such file, or nothing left in them to train on.
    """
    if not paths:
        name = "captioner.jsonl" if task == "captioner" else "summariser.jsonl"
        raise ValueError(f"lora.data: expected files that cogvideox caption exported (training/{name}), got none")
    left_out: Counter[str] = Counter()
    parts: dict[str, list[StudentSample]] = {"train": [], "val": []}
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ValueError(f"lora.data: {path}: {error.strerror or error}") from None
        for line in content.splitlines():
            if not line.strip():
                continue
            try:
                split, sample = _read_line(line, task, prompt)
                parts[split].append(sample)
            except ValueError as error:
                left_out[str(error)] += 1
    held_out = {sample.source for sample in parts["val"]}
    train = tuple(sample for sample in parts["train"] if sample.source not in held_out)
    if len(train) < len(parts["train"]):
        left_out[HELD_OUT] += len(parts["train"]) - len(train)
    if not train:
        reasons = "; ".join(f"{count} left out: {reason}" for reason, count in left_out.items())
        raise ValueError(
            f"lora.data: nothing to train on in {', '.join(map(str, paths))} ({reasons or 'no line for training'})"
        )
    return StudentSamples(train=train, val=tuple(parts["val"]), left_out=dict(left_out))


def _read_line(line: bytes, task: StudentTask, prompt: str) -> tuple[str, StudentSample]:
    """Return the split and the sample of a line. Raises ValueError that says, in general words, what is wrong."""
    try:
        row = json.loads(line.decode("utf-8"))
    except ValueError:  # also of what is not UTF-8
        raise ValueError("a damaged line") from None
    if not isinstance(row, dict):
        raise ValueError("a line that is no JSON object")
    clip_id, source, split = row.get("id"), row.get("source"), row.get("split")
    if not (isinstance(clip_id, str) and clip_id):
        raise ValueError("no id")
    if not (isinstance(source, str) and source):
        raise ValueError("no source")
    if split not in ("train", "val"):
        raise ValueError('a split that is neither "train" nor "val"')
    if task == "captioner":
        dataset, asked = row.get("dataset"), prompt or row.get("prompt") or PROMPT
        if not (isinstance(dataset, str) and dataset):
            raise ValueError("no dataset; this is no export for a captioner")
        if not isinstance(asked, str):
            raise ValueError("a prompt that is no text")
        turns, answer = (Turn("user", asked),), row.get("text")
    else:
        dataset = ""
        *turns, last = _read_turns(row.get("messages"))
        answer = last.text
    if not (isinstance(answer, str) and answer.strip()):
        raise ValueError("an empty answer")
    sample = StudentSample(
        clip_id=clip_id, source=source, question=tuple(turns), answer=answer.strip(), dataset=dataset
    )
    return split, sample


def _read_turns(messages: Any) -> list[Turn]:
    if not isinstance(messages, list) or len(messages) < 2:
        raise ValueError("no messages; this is no export for a summariser")
    turns: list[Turn] = []
    for message in messages:
        known = message if isinstance(message, dict) else {}
        role, text = known.get("role"), known.get("content")
        if role not in ROLES or not isinstance(text, str):
            raise ValueError("a damaged message")
        turns.append(Turn(role, text))
    if turns[-1].role != "assistant" or turns[-2].role != "user" or not turns[-2].text.strip():
        raise ValueError("messages that do not end with a question and its answer")
    return turns


class DatasetFrames:
    """Frames of clips of training sets, spread over each; the last ones that were read stay in memory."""

    def __init__(self, *, num_frames: int, max_side_px: int, cache_mib: int) -> None:
        self._num_frames = num_frames
        self._max_side_px = max_side_px
        self._max_bytes = cache_mib * 2**20
        self._num_bytes = 0
        self._kept: OrderedDict[tuple[str, str], tuple[NDArray[np.uint8], tuple[float, ...]]] = OrderedDict()
        self._opened: dict[str, tuple[IndexedClips | FolderClips, dict[str, int]] | str] = {}

    def missing(self, dataset: str, clip_id: str) -> str:
        """Return why a clip cannot be had, as far as that is seen without decoding it; empty if it can."""
        opened = self._open(dataset)
        if isinstance(opened, str):
            return opened
        return "" if clip_id in opened[1] else f"the clip is not in {dataset}"

    def read(self, dataset: str, clip_id: str) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
        """Return (T, H, W, 3) RGB and the times in seconds of a clip; short ones give some frames twice.

        Raises:
            ValueError: it is not there, or cannot be read.
        """
        key = (dataset, clip_id)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        opened = self._open(dataset)
        if isinstance(opened, str) or clip_id not in opened[1]:
            raise ValueError(self.missing(dataset, clip_id))
        clips, places = opened
        found = self._decode(clips, places[clip_id])
        self._kept[key] = found
        self._num_bytes += found[0].nbytes
        while self._num_bytes > self._max_bytes:
            _, (frames, _) = self._kept.popitem(last=False)
            self._num_bytes -= frames.nbytes
        return found

    def _decode(self, clips: IndexedClips | FolderClips, index: int) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
        table = clips.table
        chosen = np.array(spread_places(int(table.num_frames[index]), self._num_frames), np.int64)
        height_px, width_px = int(table.height_px[index]), int(table.width_px[index])
        scale = min(1.0, self._max_side_px / max(height_px, width_px))
        size_px = max(1, round(height_px * scale)), max(1, round(width_px * scale))
        try:
            frames = clips.read_frames(index, chosen, size_px)
        except OSError as error:
            raise ValueError(f"{table.clip_ids[index]}: not readable ({error})") from None
        fps = float(table.fps[index])
        return frames, tuple(float(place) / fps if fps > 0 else 0.0 for place in chosen)

    def _open(self, dataset: str) -> tuple[IndexedClips | FolderClips, dict[str, int]] | str:
        """Return a training set and the places of its clips, or why it cannot be read."""
        if dataset not in self._opened:
            try:
                clips = open_clips(dataset, needs_captions=False)
                places = {clip_id: place for place, clip_id in enumerate(clips.table.clip_ids)}
                self._opened[dataset] = clips, places
            except (ValueError, OSError) as error:
                self._opened[dataset] = f"the dataset {dataset} cannot be read ({error})"
        return self._opened[dataset]
