"""Whether what is sent and made has a place: room on the disk, and the disk itself."""

import errno
import logging

from cogvideox.serving.data_folder import LABEL_NAME
from cogvideox.serving.errors import ApiError
from cogvideox.serving.files import FileStore, StorageFullError

RETRY_FULL_S, RETRY_AWAY_S = 60, 10
AWAY = (errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EACCES)
"""What calls of the system say of a disk that is not there, or not as it should be."""
FULL = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


class StorageWatch:
    """Looks at the folder of all files, from any thread."""

    def __init__(self, files: FileStore) -> None:
        self._files = files
        self._place = files.folder / "files"
        self._is_mount = self._place.is_mount()

    def check(self) -> None:
        """Raise ApiError if the folder is not there: its disk is unmounted, say, or somebody has moved it."""
        if not (self._files.folder / LABEL_NAME).is_file() or not self._place.is_dir():
            raise away(f"{self._place} is not there; mount its disk, or restore it")
        if self._is_mount and not self._place.is_mount():
            raise away(f"{self._place}: its disk is not mounted any more")

    def check_room(self, num_bytes: int = 0) -> None:
        """Raise ApiError unless so many bytes can be stored now."""
        self.check()
        try:
            self._files.check_room(num_bytes)
        except StorageFullError as error:
            raise full(str(error)) from None

    def free_bytes(self) -> int:
        """Return how much can still be written, negative below the floor. Raises ApiError if the disk is away."""
        self.check()
        try:
            return self._files.free_bytes()
        except OSError as error:
            raise away(error.strerror or type(error).__name__) from None


def full(message: str) -> ApiError:
    """Return the refusal of what there is no room for."""
    return ApiError("storage_full", message, headers={"retry-after": str(RETRY_FULL_S)})


def away(reason: str, error: OSError | None = None) -> ApiError:
    """Return the refusal of what there is no disk for, and tell the operator the reason."""
    logger.error("the data folder is not as it should be", extra={"reason": reason}, exc_info=error)
    told = "storage: the disk that videos are kept on is not there; try again"
    return ApiError("not_ready", told, headers={"retry-after": str(RETRY_AWAY_S)})


def storage_error(error: OSError) -> ApiError | None:
    """Return the refusal for an error of a disk; None if it is something else."""
    if isinstance(error, StorageFullError):
        return full(str(error))
    if error.errno in FULL:
        return full("storage: there is too little free space")
    return away(error.strerror or type(error).__name__, error) if error.errno in AWAY else None
