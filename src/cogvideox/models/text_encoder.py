"""T5 text encoder: prompts in, embeddings of fixed length out. The only file that imports transformers.

Axes: B prompts, L text tokens, D width of the encoder.
"""

import copy
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from transformers import T5EncoderModel, T5Tokenizer
from transformers.utils import logging as transformers_logging

from cogvideox.component_files import read_weights, weight_files
from cogvideox.errors import CheckpointError


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
        for file in weight_files(folder, "model.safetensors", variant):
            for _ in read_weights(file):  # transformers reads damaged numbers without a word
                pass
        with _quiet_transformers():
            try:
                tokenizer = T5Tokenizer.from_pretrained(directory / "tokenizer", local_files_only=True)
            except Exception as error:  # sentencepiece raises whatever it likes for a damaged file
                raise CheckpointError(f"{directory / 'tokenizer'}: no usable tokenizer ({error})") from None
            try:
                model, report = T5EncoderModel.from_pretrained(
                    folder,
                    dtype=dtype,
                    local_files_only=True,
                    use_safetensors=True,
                    variant=variant,
                    output_loading_info=True,
                )
            except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
                raise CheckpointError(f"{folder}: no usable text encoder ({' '.join(str(error).split())})") from None
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if report.get(problem):
                first = sorted(map(str, report[problem]))[0]
                raise CheckpointError(
                    f"{folder}: weights do not fit config.json: {problem.replace('_', ' ')}, first {first}"
                )
        torch.nn.Module.to(model, device)  # called on the base class: transformers' own annotation of "to" is wrong
        return cls(model.eval().requires_grad_(False), tokenizer, directory / "tokenizer")

    def save(self, directory: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write ``text_encoder/`` (in ``dtype`` if given) and ``tokenizer/`` into a checkpoint directory."""
        directory = Path(directory)
        with _quiet_transformers():
            model = copy.deepcopy(self.model)
            model.to(dtype=self.model.dtype if dtype is None else dtype)  # pyright: ignore[reportCallIssue]
            model.save_pretrained(directory / "text_encoder")
        shutil.copytree(self.tokenizer_folder, directory / "tokenizer", dirs_exist_ok=True)

    @property
    def width(self) -> int:
        """Channels of the embeddings."""
        return self.model.config.d_model

    def count_tokens(self, prompt: str) -> int:
        """Return the tokens of a prompt, the end token included; `encode` cuts what exceeds ``max_tokens``."""
        with _quiet_transformers():
            return len(self.tokenizer(prompt).input_ids)

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
        return self.model(batch.input_ids.to(self.model.device)).last_hidden_state


@contextmanager
def _quiet_transformers() -> Iterator[None]:
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
