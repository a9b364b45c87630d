"""Videos as GIF, made when somebody asks for one, and kept for a while in nameless files."""

import collections
import hashlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO

from cogvideox.serving.api.settings import InputLimits
from cogvideox.serving.errors import ApiError
from cogvideox.serving.job import FileRef
from cogvideox.serving.uploads import BLOCK_BYTES, as_gif

NUM_KEPT = 16


class GifShelf:
    """GIFs by the content of their videos. For any number of threads."""

    def __init__(self, folder: Path, limits: InputLimits) -> None:
        """Have a folder for nameless files, which the system removes with the process."""
        self._folder, self._limits = folder, limits
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[str, tuple[FileRef, IO[bytes]]] = collections.OrderedDict()

    def get(self, video: FileRef, open_video: Callable[[], BinaryIO]) -> tuple[FileRef, Callable[[], BinaryIO]]:
        """Return the GIF of a video, and how to open it once.

        Raises:
            ApiError: it cannot be made now.
            FileNotFoundError: the video is gone.
        """
        with self._lock:
            found = self._kept.get(video.sha256)
            if found is not None:
                self._kept.move_to_end(video.sha256)
        if found is None:
            with open_video() as source:
                made = self._made(source)
            found = _described(made), made
            with self._lock:
                self._kept[video.sha256] = found
                while len(self._kept) > NUM_KEPT:
                    self._kept.popitem(last=False)  # closed when nobody reads it any more
        file, kept = found
        return file, lambda: io.BufferedReader(_Reader(kept))

    def _made(self, video: IO[bytes]) -> IO[bytes]:
        try:
            return as_gif(video, self._limits, self._folder)
        except ApiError as error:
            if not error.code.startswith("media_"):
                raise
            raise ApiError("not_found", "variant: no GIF can be made of this video", param="variant") from None


class _Reader(io.RawIOBase):
    """Reads a file that others read too, each at its own place."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        self._place = offset
        return offset

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        content = os.pread(self._file.fileno(), len(buffer), self._place)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


def _described(file: IO[bytes]) -> FileRef:
    digest, num_bytes = hashlib.sha256(), 0
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        num_bytes += len(block)
    return FileRef(sha256=digest.hexdigest(), num_bytes=num_bytes, media_type="image/gif", name="")
