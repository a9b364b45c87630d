"""A small T5 model, trained from scratch, that makes one dense caption of a short one and captions of frames.

A folder holds it as transformers saves it, and ``student.json``. It writes lower case; capitals are put back at the
beginnings of sentences.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogvideox.chat.turns import Answer
from cogvideox.component_files import read_json
from cogvideox.data.captioning.request import CaptionRequest, TimedCaption
from cogvideox.data.libraries import transformers
from cogvideox.errors import CheckpointError

if TYPE_CHECKING:
    import torch

PACKAGED_SUMMARISER = Path(__file__).parent / "weights" / "summariser"
STUDENT_NAME = "student.json"
FORMAT = 1
FORM = "small-summariser"
MAX_BATCH_SIZE = 32
LEAST_COPIED = 2
"""Tokens in a row that must stand in the input too."""
COPY_BONUS = 3.0
"""Of the logarithm of a probability: a summary must say what its input says."""


class SmallSummariser:
    """The student of the form "small-summariser"; on the processor, one thread at a time."""

    concurrency = 1

    def __init__(self, model: Any, tokenizer: Any, settings: dict[str, Any], source: str) -> None:
        self.source = source
        self.settings = settings
        self.copy_bonus = COPY_BONUS
        self._model = model.eval()
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: str | Path = PACKAGED_SUMMARISER) -> "SmallSummariser":
        """Load a folder; by default the packaged one. Raises CheckpointError if it is missing, damaged or of another
        form.
        """
        settings = read_student(folder, FORM)
        library = transformers()
        try:
            model = library.T5ForConditionalGeneration.from_pretrained(str(folder), dtype="float32")
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder}: damaged model ({error}); train it again or install it again") from None
        return cls(model, load_tokenizer(folder), settings, f"small-summariser {Path(folder).name}")

    def caption(self, request: CaptionRequest) -> Answer:
        """Return the summary. Raises ValueError for another request, and for one without captions to summarise."""
        if request.stage != "summary":
            raise ValueError(f"{self.source}: expected a request for a summary, got one for {request.stage!r}")
        if not request.short and not request.frame_captions:
            raise ValueError(f"{self.source}: expected a short caption or captions of frames, got neither")
        return self.summarise([(request.short, request.frame_captions)])[0]

    def summarise(self, inputs: Sequence[tuple[str, Sequence[TimedCaption]]]) -> list[Answer]:
        """Return the summaries of pairs of a short caption and captions of frames, in batches."""
        import torch

        answers: list[Answer] = []
        for first in range(0, len(inputs), MAX_BATCH_SIZE):
            texts = [input_text(short, frames) for short, frames in inputs[first : first + MAX_BATCH_SIZE]]
            encoded = self._tokenizer(
                texts, padding=True, truncation=True, max_length=self.settings["max_input_tokens"], return_tensors="pt"
            )
            max_tokens = self.settings["max_output_tokens"]
            bonus = CopyBonus(self._tokenizer, encoded.input_ids.tolist(), self.copy_bonus)
            with torch.no_grad():
                made = self._model.generate(
                    logits_processor=[bonus],
                    input_ids=encoded.input_ids,
                    attention_mask=encoded.attention_mask,
                    max_new_tokens=max_tokens,
                    do_sample=False,
                    num_beams=1,
                )
            answers += answers_of(self._tokenizer, made, max_tokens, encoded.attention_mask.sum(dim=1).tolist())
        return answers

    def release(self) -> None:
        """Keep the model: it is small."""


class CopyBonus:
    """Makes what is written follow its input: where the last words stand there too, those after them are likelier."""

    def __init__(self, tokenizer: Any, sources: Sequence[Sequence[int]], bonus: float) -> None:
        """Take the tokens of the inputs and what is added to a logarithm of a probability."""
        self._sources = sources
        self._bonus = bonus
        self._never = {
            tokenizer.pad_token_id,
            tokenizer.eos_token_id,
            *tokenizer.convert_tokens_to_ids(["|", "\u2581|"]),
        }

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """Return the scores (B, vocabulary) of what follows the tokens so far (B, L)."""
        scores = scores.clone()
        for row, (source, written) in enumerate(zip(self._sources, input_ids.tolist(), strict=True)):
            following = sorted(_following(source, written[1:]) - self._never)
            scores[row, following] += self._bonus
        return scores


def _following(source: Sequence[int], written: Sequence[int]) -> set[int]:
    """Return what comes in a source after the longest end of a text that it holds; nothing after single tokens."""
    best, longest = set(), LEAST_COPIED - 1
    for place in range(len(source) - 1):
        length = 0
        while length <= place and length < len(written) and source[place - length] == written[-1 - length]:
            length += 1
        if length > longest:
            best, longest = set(), length
        if length == longest >= LEAST_COPIED:
            best.add(source[place + 1])
    return best


def input_text(short: str, frame_captions: Sequence[TimedCaption]) -> str:
    """Return what the model reads."""
    lines = [f"short: {short}" if short else "short: none"]
    lines += [f"{caption.time_s:.0f} s: {caption.text}" for caption in frame_captions]
    return " | ".join(lines)


def answers_of(
    tokenizer: Any, tokens: "torch.Tensor", max_tokens: int, nums_input_tokens: Sequence[int]
) -> list[Answer]:
    """Return answers of the tokens (B, L) that a model wrote; one without an end is cut."""
    answers: list[Answer] = []
    for row, num_input_tokens in zip(tokens.tolist(), nums_input_tokens, strict=True):
        row = row[1:]  # the first is the start that the decoder is given
        is_cut = tokenizer.eos_token_id not in row
        num_tokens = len(row) if is_cut else row.index(tokenizer.eos_token_id) + 1
        text = with_capitals(tokenizer.decode(row[:num_tokens], skip_special_tokens=True))
        answers.append(
            Answer(
                text,
                is_cut=is_cut and num_tokens >= max_tokens,
                num_input_tokens=num_input_tokens,
                num_output_tokens=num_tokens,
            )
        )
    return answers


def with_capitals(text: str) -> str:
    """Return a text whose sentences start with capitals."""
    return re.sub(r"(^|[.!?]\s+)([a-z])", lambda match: match[1] + match[2].upper(), text.strip())


def read_student(folder: str | Path, form: str) -> dict[str, Any]:
    """Return ``student.json``. Raises CheckpointError if it is missing or of another form."""
    folder = Path(folder)
    if not (folder / STUDENT_NAME).is_file():
        raise CheckpointError(
            f"{folder}: no {STUDENT_NAME} here; expected a folder that `cogvideox train captioner` or `cogvideox train "
            "summariser` wrote"
        )
    settings = read_json(folder / STUDENT_NAME)
    if settings.get("format") != FORMAT or settings.get("form") != form:
        raise CheckpointError(
            f"{folder / STUDENT_NAME}: expected format {FORMAT} and form {form!r}, got {settings.get('format')!r} and "
            f"{settings.get('form')!r}"
        )
    return settings


def write_student(folder: Path, settings: dict[str, Any]) -> None:
    """Write ``student.json``."""
    (folder / STUDENT_NAME).write_text(json.dumps({"format": FORMAT} | settings, indent=2) + "\n", encoding="utf-8")


def load_tokenizer(folder: str | Path) -> Any:
    """Return the tokenizer beside the weights. Raises CheckpointError if it is missing or damaged."""
    try:
        return transformers().T5Tokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}: no tokenizer here ({error})") from None
