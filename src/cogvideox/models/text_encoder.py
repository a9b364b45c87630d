"""T5 text encoder: prompts in, embeddings of fixed length out.

Axes: B prompts, L text tokens, D width of the encoder.
"""

import copy
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from cogvideox.component_files import (
    TEXT_WEIGHTS_NAME,
    fill_model,
    find_variant,
    move_files,
    read_weights,
    weight_files,
)
from cogvideox.errors import CheckpointError
from cogvideox.quantization import Quantization, quiet_torchao

with quiet_torchao():  # transformers imports it where it is installed
    from transformers import T5Config, T5EncoderModel, T5Tokenizer
    from transformers.utils import logging as transformers_logging

TOKENIZER_NAMES = ("spiece.model", "tokenizer.json")
SHARED_NAMES = ("shared.weight", "encoder.embed_tokens.weight")


class TextEncoder:
    """A T5 encoder and its tokenizer, from a checkpoint directory."""

    def __init__(self, model: T5EncoderModel, tokenizer: T5Tokenizer, tokenizer_folder: Path) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.tokenizer_folder = tokenizer_folder
        """Where the tokenizer was read from; `save` copies its files, so that ``spiece.model`` is kept."""

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        variant: str | None = None,
        quantization: Quantization | None = None,
    ) -> "TextEncoder":
        """Read ``text_encoder/`` and ``tokenizer/`` of a checkpoint directory; never downloads, never reads pickle.

        Raises:
            CheckpointError: one of the two folders is missing or damaged.
        """
        directory = Path(directory)
        for name in ("text_encoder", "tokenizer"):
            if not (directory / name).is_dir():
                raise CheckpointError(f"{directory}: the {name}/ folder is missing; download the checkpoint again")
        folder = directory / "text_encoder"
        files = weight_files(folder, TEXT_WEIGHTS_NAME, find_variant(folder, TEXT_WEIGHTS_NAME, variant))
        with quiet_transformers():
            tokenizer = load_tokenizer(directory / "tokenizer")
            try:
                with torch.device("meta"):
                    model = T5EncoderModel(T5Config.from_pretrained(folder, local_files_only=True))
            except Exception as error:  # its strict configuration classes raise kinds of their own
                raise CheckpointError(f"{folder}: no usable text encoder ({' '.join(str(error).split())})") from None
        weights = (pair for file in files for key, value in read_weights(file) for pair in _with_shared(key, value))
        # Parity: float16 overflows in these layers, so transformers keeps them in float32 (tests/parity).
        wide = ".wo." if dtype == torch.float16 else None
        fill_model(
            model,
            weights,
            files,
            device=device,
            dtype_of=lambda key: torch.float32 if wide is not None and wide in key else dtype,
            quantization=quantization,
        )
        model.tie_weights()
        return cls(model.eval().requires_grad_(False), tokenizer, directory / "tokenizer")

    def save(self, directory: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write ``text_encoder/`` (in ``dtype`` if given) and ``tokenizer/`` into a checkpoint directory."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as temporary, quiet_transformers():
            model = copy.deepcopy(self.model)
            model.to(dtype=self.model.dtype if dtype is None else dtype)  # pyright: ignore[reportCallIssue]
            model.save_pretrained(temporary)
            move_files(Path(temporary), directory / "text_encoder")
            if self.tokenizer_folder.resolve() != (directory / "tokenizer").resolve():
                shutil.copytree(self.tokenizer_folder, Path(temporary), dirs_exist_ok=True)
                move_files(Path(temporary), directory / "tokenizer")

    @property
    def width(self) -> int:
        """Channels of the embeddings."""
        return self.model.config.d_model

    def count_tokens(self, prompt: str) -> int:
        """Return the tokens of a prompt, the end token included; `encode` cuts what exceeds ``max_tokens``."""
        return count_tokens(self.tokenizer, prompt)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], max_tokens: int) -> Tensor:
        """Return the embeddings (B, max_tokens, D) of prompts, padded or cut to ``max_tokens``.

        Raises:
            ValueError: there is no prompt.
        """
        if isinstance(prompts, str) or not prompts:
            raise ValueError(f"prompts: expected a list of at least one string, got {prompts!r}")
        batch = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=max_tokens, return_tensors="pt"
        )
        # Parity: no attention mask, so every token attends to the pads, and so does the transformer to theirs
        # (tests/unit/models/test_text_encoder.py::test_pads_are_attended).
        highest, vocab_size = int(batch.input_ids.max()), self.model.config.vocab_size
        if highest >= vocab_size:
            raise CheckpointError(
                f"{self.tokenizer_folder}: makes token {highest}, but the text encoder knows {vocab_size} tokens; "
                "the two are of different models"
            )
        return self.model(batch.input_ids.to(self.model.device)).last_hidden_state


def _with_shared(key: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a weight under all its names: the embedding has two, files have one of them or both."""
    if key in SHARED_NAMES:
        yield from ((name, value) for name in SHARED_NAMES)
    else:
        yield key, value


def count_tokens(tokenizer: T5Tokenizer, prompt: str) -> int:
    """Return the tokens of a prompt, the end token included."""
    with quiet_transformers():
        return len(tokenizer(prompt).input_ids)


def load_tokenizer(folder: Path) -> T5Tokenizer:
    """Read a ``tokenizer/`` folder. Raises CheckpointError if it is missing or damaged."""
    # transformers makes a tokenizer without words if there is no file, and reads every word as unknown.
    if not any((folder / name).is_file() for name in TOKENIZER_NAMES):
        raise CheckpointError(f"{folder}: neither {' nor '.join(TOKENIZER_NAMES)}; download the checkpoint again")
    try:
        return T5Tokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # sentencepiece raises whatever it likes for a damaged file
        raise CheckpointError(f"{folder}: no usable tokenizer ({' '.join(str(error).split())})") from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars and advice of transformers; its errors still raise."""
    verbosity = transformers_logging.get_verbosity()
    had_progress_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_progress_bar:
            transformers_logging.enable_progress_bar()
