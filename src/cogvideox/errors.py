"""Errors that callers tell apart; all other wrong input is a plain ValueError."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or of another kind; the message names the file and what to do."""


class FetchError(OSError):
    """Something that is fetched by package name could not be had; the message says what to install or try."""


class DoesNotFitError(ValueError):
    """What is asked for is larger than the memory; the message says what would fit."""


class MissingPackageError(ImportError):
    """An optional package is not installed; the message says how to install it."""
