"""How well a caption fits pictures, by the two towers of a CLIP or SigLIP checkpoint.

Axes: T pictures, S sentences, H W rows and columns.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.embeddings import ClipEmbedder

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, kw_only=True)
class Match:
    """Cosines between a caption's sentences and pictures."""

    mean: float
    """Over the pictures, of the sentence that fits each best."""
    low: float
    """Of the picture that fits worst."""
    worst_sentence: float
    """Of the sentence that fits no picture well, the best picture."""


class CaptionMatcher:
    """Measures captions by sentences: the text towers read 64 or 77 tokens, less than a dense caption has."""

    def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
        """Load a checkpoint with its tokenizer.

        Raises:
            ValueError: it is a checkpoint of another kind, or lacks weights.
            OSError: a file is missing.
        """
        self._embedder = ClipEmbedder(Path(folder), device=device)

    def match(self, text: str, frames: NDArray[np.uint8]) -> Match:
        """Return how well a text fits pictures (T, H, W, 3) RGB; NaN for no text or no pictures."""
        sentences = [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]
        if not sentences or not len(frames):
            return Match(mean=float("nan"), low=float("nan"), worst_sentence=float("nan"))
        cosines = self._embedder.embed_texts(sentences) @ self._embedder.embed(frames).T
        of_pictures, of_sentences = cosines.max(axis=0), cosines.max(axis=1)
        return Match(
            mean=float(of_pictures.mean()), low=float(of_pictures.min()), worst_sentence=float(of_sentences.min())
        )
