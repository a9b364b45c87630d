"""Counts the tokens of prompts as a model's text encoder sees them, without torch and transformers.

The one file of this folder that uses sentencepiece.
"""

from pathlib import Path
from typing import Any

import sentencepiece


class TokenCounter:
    """The tokenizer of a T5 checkpoint; called like one of transformers where notices of languages need it."""

    def __init__(self, checkpoint: Path, max_tokens: int) -> None:
        """Read ``tokenizer/spiece.model`` of a checkpoint directory.

        Raises:
            ValueError: it is missing or damaged.
        """
        path = checkpoint / "tokenizer" / "spiece.model"
        self.max_tokens = max_tokens
        """That the model reads, the end's own one included."""
        try:
            self._pieces: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))  # pyright: ignore[reportCallIssue]
        except (OSError, RuntimeError) as error:
            raise ValueError(f"tokenizer: {path} cannot be read ({error}); download the checkpoint again") from None
        self.unk_token: str = self._pieces.id_to_piece(self._pieces.unk_id())

    def count(self, prompt: str) -> int:
        """Return how many tokens a prompt has, with the one that ends it."""
        return len(self._pieces.encode(prompt)) + 1

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        """Return ids and the places of their letters, without special tokens and all of them."""
        pieces = self._pieces.encode(text, return_type="proto").pieces
        letter_of_byte: list[int] = []  # sentencepiece counts in bytes of UTF-8
        for index, letter in enumerate(text):
            letter_of_byte += [index] * len(letter.encode())
        letter_of_byte.append(len(text))
        return {
            "input_ids": [piece.id for piece in pieces],
            "offset_mapping": [(letter_of_byte[piece.begin], letter_of_byte[piece.end]) for piece in pieces],
        }

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """Return the pieces of ids."""
        return [self._pieces.id_to_piece(number) for number in ids]
