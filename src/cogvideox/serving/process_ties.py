"""Processes that belong together: settings go in by a pipe, and when the pipe closes the one who started them is gone.

Nothing secret is in arguments that every user of the machine can read.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

_PR_SET_PDEATHSIG = 1


def start_process(module: str, settings: Mapping[str, Any], *, descriptors: tuple[int, ...] = ()) -> subprocess.Popen:
    """Start ``python -m module``, which asks for its settings with `settings_from_parent`.

    Args:
        module: its name.
        settings: JSON values, and paths.
        descriptors: that it takes over, under the same numbers.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,  # Ctrl-C of a terminal is for the one who started it
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(settings, default=str).encode() + b"\n")
        process.stdin.flush()
    return process


def end_with_parent() -> None:
    """Have the system kill this process when the one that started it ends, even if this one is stopped (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def settings_from_parent(on_parent_gone: Callable[[], None]) -> dict[str, Any]:
    """Return the settings of this process; from then on call ``on_parent_gone``, in a thread, when the parent ends."""
    line = b""
    while not line.endswith(b"\n"):
        content = os.read(0, 2**16)
        if not content:
            sys.exit("this module is started by cogvideox serve")
        line += content

    def watch() -> None:
        while os.read(0, 1):
            pass
        on_parent_gone()

    threading.Thread(target=watch, daemon=True).start()
    return json.loads(line)
