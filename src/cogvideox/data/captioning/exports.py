"""What students learn from: the summaries that a captioning made, with what they were made of."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogvideox.data.captioning.clip_set import CaptionClip
from cogvideox.data.captioning.prompts import RULES, captioner_prompt, summary_prompt
from cogvideox.data.captioning.recipe import CaptionRecipe, SummarySettings
from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.captioning.stages import ClipCaptions
from cogvideox.durable_files import replacing

TRAINING_NAME = "training"
SUMMARISER_NAME, CAPTIONER_NAME, ENHANCER_NAME = "summariser.jsonl", "captioner.jsonl", "enhancer.jsonl"
EXPORT_NAME = "export.json"
ENHANCER_RULES = (
    "A short prompt for a text-to-video model follows. Write it out as a dense caption of what such a shot shows, in "
    "plain English, without anything before or after it."
)
README = """\
Examples for training, UTF-8, one JSON object to a line; export.json counts them and says what was left out, and why.

- summariser.jsonl: messages (a system's, a user's, an assistant's) for a language model that makes one dense caption of
  a short caption and timed captions of frames; also the parts: short, frames ([time in s, text]) and summary.
- captioner.jsonl: dataset, id, prompt and text for a model that sees the video; it is read from the dataset by its id.
- enhancer.jsonl: messages; from the short caption to the dense one.

split: all clips of one source (source) are in "train" or in "val"; sources that have a clip in common are one. teacher:
who wrote the text. A clip that the last run has no summary of keeps the example of an earlier one.
"""


@dataclass(frozen=True, kw_only=True)
class ExportCounts:
    """How many examples there are."""

    num_train: int = 0
    num_val: int = 0
    num_left_out: int = 0


def val_sources(sources: Iterable[str], val_share: float) -> frozenset[str]:
    """Return the sources that are kept apart: those whose hash says so, so that more clips do not move the others.

    Of two or more at least one is, and at least one is not, unless ``val_share`` is 0.
    """
    ordered = sorted(set(sources), key=_number)
    if not val_share or len(ordered) < 2:
        return frozenset()
    count = sum(_number(source) < val_share for source in ordered)
    return frozenset(ordered[: min(max(count, 1), len(ordered) - 1)])


def joined_sources(clips: Sequence[CaptionClip]) -> dict[str, str]:
    """Return by which name each source goes: those that have clips of the same content in common share one."""
    joined = {clip.source: clip.source for clip in clips}

    def name_of(source: str) -> str:
        while joined[source] != source:
            source = joined[source]
        return source

    first_of: dict[str, str] = {}
    for clip in clips:
        if clip.digest:
            names = sorted((name_of(clip.source), name_of(first_of.setdefault(clip.digest, clip.source))))
            joined[names[1]] = names[0]
    return {source: name_of(source) for source in joined}


def _number(source: str) -> float:
    """Return a number from 0 to below 1 that is always the same for a source."""
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:6], "big") / 2**48


def export_training(
    folder: Path,
    found: Sequence[tuple[CaptionClip, ClipCaptions]],
    recipe: CaptionRecipe,
    *,
    dataset: Path,
    source: str,
) -> ExportCounts:
    """Write the examples of all clips with a good summary, in place of those that are there.

    Clips without any summary keep the example that is there of their content.

    Args:
        folder: of the captioning; they go into its folder ``training``.
        found: all clips with their captions.
        recipe: that they were made with.
        dataset: absolute, where `cogvideox.data.clip_folder.open_clips` finds the clips.
        source: the model that wrote the summaries.
    """
    settings = recipe.summary
    assert settings is not None
    target = folder / TRAINING_NAME
    lines: dict[str, list[dict[str, Any]]] = {SUMMARISER_NAME: [], CAPTIONER_NAME: [], ENHANCER_NAME: []}
    earlier = {name: _by_content(target / name) for name in lines}
    num_kept = 0
    left_out: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    own = settings.prompt if settings.reads == "video" else ""
    source_of = joined_sources([clip for clip, _ in found])
    kept_apart = val_sources((source_of[clip.source] for clip, _ in found if clip.digest), recipe.val_share)
    for clip, captions in sorted(found, key=lambda pair: pair[0].clip_id):
        row = captions.summary
        clip_source = source_of[clip.source]
        split = "val" if clip_source in kept_apart else "train"
        known = {"id": clip.clip_id, "sha256": clip.digest, "source": clip_source, "split": split}
        of_dataset = {"id": clip.name_in(dataset), "dataset": str(dataset)}
        if (row is None or not row.text) and clip.digest in earlier[CAPTIONER_NAME]:
            num_kept += 1
            splits[split] += 1
            for name, of_content in earlier.items():
                if (example := of_content.get(clip.digest)) is not None:
                    lines[name].append(example | known | (of_dataset if name == CAPTIONER_NAME else {}))
            continue
        if row is None or row.error or row.problem:
            reason = row.error or row.problem if row is not None else "no summary"
            left_out["its clip cannot be read" if clip.reason else _kind_of(reason)] += 1
            continue
        splits[split] += 1
        short = captions.short.text if captions.short is not None else ""
        frames = [TimedCaption(time_s=one.time_s, text=one.caption.text) for one in captions.frames if one.caption.text]
        given: dict[str, Any] = {"short": short, "frames": [[one.time_s, one.text] for one in frames]}
        given |= {"summary": row.text, "teacher": source}
        if short or frames:
            prompt = _summariser_prompt(settings, short, frames)
            lines[SUMMARISER_NAME].append(known | {"messages": _messages(RULES, prompt, row.text)} | given)
        if short:
            lines[ENHANCER_NAME].append(known | {"messages": _messages(ENHANCER_RULES, short, row.text)} | given)
        asked = {"prompt": captioner_prompt(own, max_words=settings.max_words), "text": row.text, "teacher": source}
        lines[CAPTIONER_NAME].append(known | of_dataset | asked)
    target.mkdir(parents=True, exist_ok=True)
    for name, rows in lines.items():
        with replacing(target / name) as file:
            file.writelines(map(_line, rows))
    counts = {
        "examples": {name: len(rows) for name, rows in lines.items()},
        "splits": {name: splits[name] for name in ("train", "val")},
        "left_out": dict(sorted(left_out.items())),
        "kept_of_earlier_runs": num_kept,
        "val_share": recipe.val_share,
        "teacher": source,
    }
    with replacing(target / EXPORT_NAME) as file:
        file.write((json.dumps(counts, indent=2) + "\n").encode())
    with replacing(target / "README.md") as file:
        file.write(README.encode())
    return ExportCounts(num_train=splits["train"], num_val=splits["val"], num_left_out=left_out.total())


def _by_content(path: Path) -> dict[str, dict[str, Any]]:
    """Return the examples in a file by the digests of their clips; none of one that is damaged."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            example = json.loads(line)
        except ValueError:
            continue
        if isinstance(example, dict) and isinstance(example.get("sha256"), str) and example["sha256"]:
            found[example["sha256"]] = example
    return found


def _line(example: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(example, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # the name of a file that is no UTF-8: JSON can only write it out
        return json.dumps(example).encode() + b"\n"


def _summariser_prompt(settings: SummarySettings, short: str, frames: Sequence[TimedCaption]) -> str:
    own = settings.prompt if settings.reads == "captions" else ""
    return summary_prompt(own, short=short, captions=frames, max_words=settings.max_words)


def _messages(rules: str, prompt: str, text: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": rules},
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": text},
    ]


def _kind_of(reason: str) -> str:
    """Return a reason without what differs from clip to clip, to be counted."""
    return reason.split(":")[0][:80]
