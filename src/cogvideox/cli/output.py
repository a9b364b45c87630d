"""What the command line prints: progress, one line per error, and the closing JSON object of ``--json``."""

import json
import logging
import os
import select
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import cyclopts
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cogvideox.errors import CheckpointError, DoesNotFitError, FetchError, MissingPackageError, ServerError
from cogvideox.serving.job import StoreError

OK = 0
BUG = 1
DISAGREE = 1
"""What should be equal is not, which is a bug too."""
BAD_INPUT = 2
BAD_CHECKPOINT = 3
OUT_OF_MEMORY = 4
NETWORK = 5
SERVER_FAILED = 6
PARTLY_FAILED = 7
NO_READER = 1
"""Who read standard output, ``head`` say, has gone: there is nobody to tell anything; as rich does it."""
INTERRUPTED = 130
ANY_WIDTH = 100_000

CODE_NAMES = {
    BUG: "bug",
    BAD_INPUT: "bad_input",
    BAD_CHECKPOINT: "bad_checkpoint",
    OUT_OF_MEMORY: "out_of_memory",
    NETWORK: "network",
    SERVER_FAILED: "server_failed",
    PARTLY_FAILED: "partly_failed",
    INTERRUPTED: "interrupted",
}


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of an error.

    2 bad argument, prompt, media, recipe or output path; 3 unusable checkpoint or job store; 4 does not fit into
    memory; 5 network; 6 server refused or unreachable; 130 interrupted; 1 anything else, which is a bug.
    """
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, CheckpointError | StoreError):
        return BAD_CHECKPOINT
    if isinstance(error, MemoryError | DoesNotFitError) or _is_torch_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, FetchError):
        return NETWORK
    if isinstance(error, ServerError):
        return SERVER_FAILED
    if isinstance(error, ValueError | OSError | MissingPackageError | cyclopts.CycloptsError):
        return BAD_INPUT
    return BUG


def _is_torch_out_of_memory(error: BaseException) -> bool:
    is_ours = isinstance(error, RuntimeError)
    return is_ours and ("out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower())


def report_error(error: BaseException, code: int, console: Console, *, wants_json: bool) -> None:
    """Print the error as one line (a traceback only for a bug) and, if asked for, as JSON on standard output."""
    if code == BUG:
        console.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True)
    message = "interrupted" if code == INTERRUPTED else _told(error)
    console.print(f"error: {message}", markup=False, soft_wrap=True)
    if wants_json:
        print_json({"ok": False, "error": {"code": CODE_NAMES[code], "message": message, "hint": _hint(code)}})


def _told(error: BaseException) -> str:
    if isinstance(error, cyclopts.UnusedCliTokensError) and error.unused_tokens:
        return f"nothing is expected here, got {' '.join(error.unused_tokens)!r}; --help says what is"
    return " ".join(str(error).split()) or type(error).__name__


def _hint(code: int) -> str:
    return {
        BAD_INPUT: "run the command with --help to see what it takes",
        BAD_CHECKPOINT: "see the message; a model is named, or is a directory that holds model_index.json",
        OUT_OF_MEMORY: "ask for fewer frames or a smaller size",
    }.get(code, "")


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object as the last line of standard output."""
    sys.stdout.flush()
    print(json.dumps(value), flush=True)


def print_table(table: Table) -> None:
    """Print a table as wide as it is: ids and dates that are cut are no use, and a terminal breaks lines by itself."""
    Console(width=ANY_WIDTH, soft_wrap=True, highlight=False, markup=False).print(table)


def has_no_reader(stream: TextIO) -> bool:
    """Whether a stream is a pipe whose other end is closed."""
    try:
        watch = select.poll()
        watch.register(stream.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in watch.poll(0))
    except (OSError, ValueError, AttributeError):  # no file of the system, or no system with polls
        return False


def discard_output() -> None:
    """Write standard output to nowhere from now on, what is not written yet too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def warnings_shown(console: Console) -> Iterator[None]:
    """Print the package's warnings while a command goes on, one line each."""
    logger = logging.getLogger("cogvideox")
    handler = _ConsoleHandler(console)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        self._console.print(f"warning: {text}", markup=False, soft_wrap=True)


class StepProgress:
    """A progress bar on a terminal, one line per 10 % elsewhere; on standard error."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._console = Console(stderr=True, highlight=False)
        self._last_tenth = 0
        self._bar: Progress | None = None

    def __enter__(self) -> "StepProgress":
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console)
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=None)
        return self

    def __call__(self, num_done: int, num_all: int) -> None:
        """Show that ``num_done`` of ``num_all`` are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=num_done, total=num_all)
        elif num_done * 10 // num_all > self._last_tenth:
            self._last_tenth = num_done * 10 // num_all
            self._console.print(f"{self._label}: {num_done}/{num_all}", markup=False)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class PartsProgress:
    """A progress bar for each part of a long run, one after the other."""

    def __init__(self) -> None:
        self._label = ""
        self._progress: StepProgress | None = None

    def __enter__(self) -> "PartsProgress":
        return self

    def __call__(self, label: str, num_done: int, num_all: int) -> None:
        """Show that ``num_done`` of ``num_all`` are done of a part."""
        if label != self._label:
            self.__exit__()
            self._label, self._progress = label, StepProgress(label)
            self._progress.__enter__()
        assert self._progress is not None
        self._progress(num_done, num_all)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.__exit__()
            self._progress = None
