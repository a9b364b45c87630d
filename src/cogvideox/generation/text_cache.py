"""Embeddings of prompts, kept: a text encoder that is larger than the transformer need not be read for known ones."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

MAX_FILES = 200
"""On disk; 1.8 MB each for a published model in bfloat16. The ones that were used longest ago go first."""


class TextCache:
    """Embeddings by prompt, in memory, and in a folder if there is one."""

    def __init__(self, identity: str, folder: Path | None = None) -> None:
        """Keep embeddings of one encoder.

        Args:
            identity: of the encoder's weights, their precision and length; another one finds nothing.
            folder: where they outlive the process.
        """
        self._identity, self._folder = identity, folder
        self._held: dict[str, Tensor] = {}

    def get(self, prompt: str, encode: Callable[[str], Tensor]) -> Tensor:
        """Return the embedding of a prompt, by ``encode`` if it is not known yet."""
        if prompt not in self._held:
            self._held[prompt] = self._read_or_make(prompt, encode)
        return self._held[prompt]

    def _read_or_make(self, prompt: str, encode: Callable[[str], Tensor]) -> Tensor:
        if self._folder is None:
            return encode(prompt)
        name = hashlib.sha256(f"{self._identity}\n{prompt}".encode()).hexdigest()
        file = self._folder / f"{name}.safetensors"
        try:
            embedding = load_file(file)["text"]
            os.utime(file)
        except (OSError, SafetensorError, KeyError):
            embedding = encode(prompt)
            self._write(file, embedding)
        return embedding

    def _write(self, file: Path, embedding: Tensor) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent) as temporary:
                save_file({"text": embedding.cpu().contiguous()}, Path(temporary) / file.name)
                os.replace(Path(temporary) / file.name, file)
            files = sorted(file.parent.glob("*.safetensors"), key=lambda kept: kept.stat().st_mtime)
            for stale in files[:-MAX_FILES]:
                stale.unlink(missing_ok=True)
        except OSError:
            pass  # a cache that cannot be written is no reason to fail


def identity_of(folder: Path, *details: object) -> str:
    """Return what changes whenever the files of a text encoder (or ``details``) do."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.glob("*"))]
    return repr((str(folder.resolve()), stats, details))
