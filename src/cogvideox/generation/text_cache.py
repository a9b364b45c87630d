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

    def __init__(
        self, identity: str, folder: Path | None = None, *, max_files: int | None = MAX_FILES, is_held: bool = True
    ) -> None:
        """Keep embeddings of one encoder.

        Args:
            identity: of the encoder's weights, their precision and length; another one finds nothing.
            folder: where they outlive the process.
            max_files: how many at most; None for any number.
            is_held: whether they are kept in memory too.
        """
        self._identity, self._folder = identity, folder
        self._max_files, self._is_held = max_files, is_held
        self._held: dict[str, Tensor] = {}

    def get(self, prompt: str, encode: Callable[[str], Tensor]) -> Tensor:
        """Return the embedding of a prompt, by ``encode`` if it is not known yet."""
        if prompt in self._held:
            return self._held[prompt]
        embedding = self._read_or_make(prompt, encode)
        if self._is_held:
            self._held[prompt] = embedding
        return embedding

    def has(self, prompt: str) -> bool:
        """Whether the folder has the embedding of a prompt."""
        return self._folder is not None and self._file(self._folder, prompt).is_file()

    def _read_or_make(self, prompt: str, encode: Callable[[str], Tensor]) -> Tensor:
        if self._folder is None:
            return encode(prompt)
        file = self._file(self._folder, prompt)
        try:
            embedding = load_file(file)["text"]
            os.utime(file)
        except (OSError, SafetensorError, KeyError):
            embedding = encode(prompt)
            self._write(file, embedding)
        return embedding

    def _file(self, folder: Path, prompt: str) -> Path:
        name = hashlib.sha256(f"{self._identity}\n{prompt}".encode()).hexdigest()
        return folder / f"{name}.safetensors"

    def _write(self, file: Path, embedding: Tensor) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent) as temporary:
                save_file({"text": embedding.cpu().contiguous()}, Path(temporary) / file.name)
                os.replace(Path(temporary) / file.name, file)
            if self._max_files is not None:
                files = sorted(file.parent.glob("*.safetensors"), key=lambda kept: kept.stat().st_mtime)
                for stale in files[: -self._max_files]:
                    stale.unlink(missing_ok=True)
        except OSError:
            pass  # a cache that cannot be written is no reason to fail


def identity_of(folder: Path, *details: object) -> str:
    """Return what changes whenever the files of a text encoder (or ``details``) do."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.glob("*"))]
    return repr((str(folder.resolve()), stats, details))
