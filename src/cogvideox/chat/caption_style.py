"""What the captions that a model was trained on are like, so that prompts can be written like them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cogvideox.durable_files import replacing

STYLE_NAME = "caption_style.json"
"""Beside a training set's index, and beside the parts of a checkpoint that was trained on it."""
FORMAT = 1
MAX_STYLE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class CaptionStyle:
    """Length and examples of dense captions."""

    max_words: int
    """Nearly all have at most so many."""
    examples: tuple[tuple[str, str], ...] = ()
    """A short caption and the dense one of the same clip, each."""

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ValueError(f"max_words: expected at least 1, got {self.max_words}")


def write_style(folder: str | Path, style: CaptionStyle) -> None:
    """Write a style into a folder. Raises OSError if it cannot be written."""
    with replacing(Path(folder) / STYLE_NAME) as file:
        file.write((json.dumps({"format": FORMAT} | asdict(style), indent=2, ensure_ascii=False) + "\n").encode())


def read_style(folder: str | Path) -> CaptionStyle | None:
    """Return the style in a folder, None if there is none. Raises ValueError if it is damaged."""
    path = Path(folder) / STYLE_NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if len(content) > MAX_STYLE_BYTES:
            raise ValueError(f"longer than {MAX_STYLE_BYTES:,} bytes")
        values = json.loads(content)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}")
        examples = tuple((_text(short), _text(dense)) for short, dense in values["examples"])
        return CaptionStyle(max_words=int(values["max_words"]), examples=examples)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not readable as a style of captions ({error}); remove it or copy it again") from None


def style_of(pairs: Sequence[tuple[str, str]], *, num_examples: int = 3) -> CaptionStyle:
    """Return the style of captions: the length that 95 % of them keep to, and pairs of middling length as examples.

    Args:
        pairs: short and dense captions of clips, at least one; the same pairs in any order give the same style.
        num_examples: at most so many, as different from each other as there are.
    """
    by_length = sorted(pairs, key=lambda pair: (len(pair[1].split()), pair))
    lengths = [len(dense.split()) for _, dense in by_length]
    middle = by_length[len(by_length) // 4 : len(by_length) - len(by_length) // 4] or by_length
    candidates = [pair for pair in middle if pair[0]][:: max(1, len(middle) // 200)]
    chosen: list[tuple[str, str]] = []
    while candidates and len(chosen) < num_examples:
        best = min(candidates, key=lambda pair: (max((_likeness(pair, other) for other in chosen), default=0.0), pair))
        candidates.remove(best)
        chosen.append(best)
    max_words = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    return CaptionStyle(max_words=max(1, max_words), examples=tuple(chosen))


def _likeness(one: tuple[str, str], other: tuple[str, str]) -> float:
    """Return the share of words that two pairs have in common, 0 to 1."""
    words, others = (set(" ".join(pair).lower().split()) for pair in (one, other))
    return len(words & others) / max(1, len(words | others))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected texts, got {value!r}")
    return value
