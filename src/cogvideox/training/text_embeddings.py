"""Embeddings of captions during training: by the text encoder at every step, or from a cache filled beforehand."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from cogvideox.generation.text_cache import TextCache, identity_of
from cogvideox.models.text_encoder import TextEncoder


class TextEmbeddings:
    """Embeddings (L, D) of captions, padded to the transformer's length."""

    def __init__(
        self,
        checkpoint_dir: Path,
        max_tokens: int,
        device: torch.device,
        *,
        dtype: torch.dtype = torch.float32,
        cache_dir: Path | None = None,
    ) -> None:
        """Use the text encoder of a checkpoint.

        Args:
            checkpoint_dir: with ``text_encoder/`` and ``tokenizer/``.
            max_tokens: the length that embeddings are padded or cut to.
            device: of the encoder.
            dtype: of the encoder and its embeddings.
            cache_dir: where embeddings are kept, 1.8 MB each for a published model in bfloat16; None computes them
                every time.
        """
        self._checkpoint_dir, self.max_tokens = checkpoint_dir, max_tokens
        self._device, self._dtype = device, dtype
        self._cache = None
        if cache_dir is not None:
            identity = identity_of(checkpoint_dir / "text_encoder", "training", max_tokens, dtype)
            self._cache = TextCache(identity, cache_dir, max_files=None, is_held=False)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The encoder, loaded when it is needed first; from a full cache it never is."""
        return TextEncoder.load(self._checkpoint_dir, device=self._device, dtype=self._dtype)

    def missing(self, captions: Sequence[str]) -> list[str]:
        """Return the captions that are not in the cache."""
        return [] if self._cache is None else [caption for caption in captions if not self._cache.has(caption)]

    def fill(self, captions: Sequence[str], on_progress: Callable[[int, int], None] | None = None) -> None:
        """Encode what the cache lacks of some captions, then let go of the encoder, which may be of gigabytes."""
        missing = self.missing(captions)
        for number, caption in enumerate(missing, start=1):
            self.get([caption])
            if on_progress is not None:
                on_progress(number, len(missing))
        self.__dict__.pop("encoder", None)

    @torch.no_grad()
    def get(self, captions: Sequence[str]) -> Tensor:
        """Return (S, L, D)."""
        if self._cache is None:
            return self.encoder.encode(captions, self.max_tokens)
        return torch.stack([self._cache.get(caption, self._encode_one) for caption in captions])

    def _encode_one(self, caption: str) -> Tensor:
        return self.encoder.encode([caption], self.max_tokens)[0].cpu()
