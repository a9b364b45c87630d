"""Errors that callers tell apart; all other wrong input is a plain ValueError."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or of another kind; the message names the file and what to do."""


class FetchError(OSError):
    """Something that is fetched by package name could not be had; the message says what to install or try."""


class DoesNotFitError(ValueError):
    """What is asked for is larger than the memory; the message says what would fit."""


class MissingPackageError(ImportError):
    """An optional package is not installed; the message says how to install it."""


class ServerError(OSError):
    """A server cannot be reached, or refuses; the message says why and what to do."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the server's stable code beside the message."""
        super().__init__(message)
        self.code = code
