"""The states of a run: all that is needed to go on, written beside the training and checked before it is believed.

``step_0000120.pt`` is the state after step 120. ``step_0000120.json`` is written last and commits it: the number of its
bytes and their checksum.
"""

import copy
import json
import logging
import pickle
import threading
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from cogvideox.durable_files import replace_text, replacing

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**24


class DamagedStateError(ValueError):
    """A saved state is not what was written; the message names the file and what is wrong."""


class StateStore:
    """The newest ``num_kept`` states of a run; a thread writes one while training goes on."""

    def __init__(self, folder: Path, num_kept: int) -> None:
        self.folder = folder
        self._num_kept = num_kept
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def path(self, step: int) -> Path:
        """Return the file of the state after a step."""
        return self.folder / f"step_{step:07d}.pt"

    def committed_steps(self) -> list[int]:
        """Return the steps with a complete state, oldest first."""
        return sorted(int(path.stem.removeprefix("step_")) for path in self.folder.glob("step_*.json"))

    def read_newest(self) -> dict[str, Any] | None:
        """Return the newest undamaged state, None when none was saved.

        Raises:
            ValueError: all saved states are damaged.
        """
        steps = self.committed_steps()
        for step in reversed(steps):
            try:
                return self.read(step)
            except DamagedStateError as error:
                logger.warning("%s; the state before it is tried", error)
        if steps:
            raise ValueError(
                f"{self.folder}: none of its saved states is readable; bring one back, or choose another --run-dir to "
                "start again"
            )
        return None

    def read(self, step: int) -> dict[str, Any]:
        """Return the state after a step: ``step``, ``elapsed_s`` and ``state``. Raises DamagedStateError."""
        path = self.path(step)
        try:
            mark = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            num_bytes = path.stat().st_size
            if num_bytes != mark["bytes"]:
                raise DamagedStateError(f"{path}: expected {mark['bytes']} bytes, got {num_bytes}")
            if _checksum(path) != mark["crc32"]:
                raise DamagedStateError(f"{path}: its content has changed since it was written (checksum)")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except OSError as error:
            raise DamagedStateError(f"{path}: {error.strerror or error}") from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise DamagedStateError(f"{path.with_suffix('.json')}: not readable ({error})") from None
        except (EOFError, pickle.UnpicklingError) as error:
            raise DamagedStateError(f"{path}: not readable ({error})") from None

    def save(self, step: int, elapsed_s: float, state: dict[str, Any]) -> None:
        """Copy a state and begin to write it, after the one before. A failure is a warning, and is kept for `wait`."""
        self.wait()
        content = {"step": step, "elapsed_s": elapsed_s, "state": copy_to_cpu(state)}
        self._thread = threading.Thread(target=self._write, args=(content,), name="state writer")
        self._thread.start()

    def wait(self) -> OSError | None:
        """Return when nothing is being written; the error of the last `save` when its file could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None and not isinstance(self._error, OSError):
            raise self._error
        return self._error

    def _write(self, content: dict[str, Any]) -> None:
        path = self.path(content["step"])
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                checked = _CheckedFile(file)
                torch.save(content, checked)  # pyright: ignore[reportArgumentType]
                if checked.error is not None:
                    raise checked.error
            mark = {"step": content["step"], "elapsed_s": content["elapsed_s"]}
            mark |= {"bytes": checked.num_bytes, "crc32": checked.crc32}
            replace_text(path.with_suffix(".json"), json.dumps(mark) + "\n")
            self._error = None
        except OSError as error:
            reason = error.strerror or error
            logger.warning("%s: not saved (%s); training goes on and saves again later", path, reason)
            self._error = error
        except Exception as error:  # raised in the main thread by `wait`
            self._error = error
        else:
            self._remove_others(content["step"])

    def _remove_others(self, newest_step: int) -> None:
        """Remove all but the newest states; later ones than ``newest_step`` are those that were found damaged."""
        steps = [step for step in self.committed_steps() if step <= newest_step]
        kept = {self.path(step).stem for step in steps[-self._num_kept :]}
        try:
            for suffix in (".json", ".pt"):  # never a mark without its state
                for path in self.folder.glob(f"step_*{suffix}"):
                    if path.stem not in kept:
                        path.unlink()
        except OSError as error:
            logger.warning("%s: an old state could not be removed (%s)", self.folder, error.strerror)


class _CheckedFile:
    """Takes the checksum of what is written. After an error it only pretends, because torch must end its archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.num_bytes = 0
        self.crc32 = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if self.error is None:
            try:
                self._file.write(view)
            except OSError as error:
                self.error = error
        self.crc32 = zlib.crc32(view, self.crc32)
        self.num_bytes += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        pass  # `replacing` does


def _checksum(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            crc32 = zlib.crc32(chunk, crc32)
    return crc32


def copy_to_cpu(value: Any) -> Any:
    """Return a copy (of dicts, lists, tuples) that shares no memory with ``value``; tied tensors stay tied."""
    return _copy(value, {})


def _copy(value: Any, copies: dict[Any, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = (value.data_ptr(), value.shape, value.stride(), value.dtype) if type(value) is Tensor else id(value)
        if key not in copies:
            copies[key] = value.detach().to("cpu", copy=True)
        return copies[key]
    if isinstance(value, dict):
        copied = copy.copy(value)  # keeps the class and its attributes: the versions of a module's state
        for name, item in value.items():
            copied[name] = _copy(item, copies)
        return copied
    if isinstance(value, list | tuple):
        return type(value)([_copy(item, copies) for item in value])
    return copy.deepcopy(value)
