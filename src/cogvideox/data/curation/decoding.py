"""Decoding as the rest of curation sees it: frames of a file from a limited process that may crash or hang."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.curation.operators import ViewName
from cogvideox.data.curation.wire import DISK_ERRORS, MESSAGE_HEAD


class DecodingError(ValueError):
    """A file cannot be decoded; the message says why."""


@dataclass(frozen=True, kw_only=True)
class DecodingLimits:
    """What a file may cost. A limit that is met is the reason in its row, and the run goes on."""

    max_memory_mib: int = 4096
    """Address space of the decoding process: a frame of 8K with its references needs 1.5 GiB."""
    max_silence_s: float = 60.0
    """Without a frame the decoder counts as hanging and is killed."""
    max_duration_s: float = 6 * 3600.0
    """What comes later in a file is not read."""
    max_frames: int = 2_000_000
    max_work_s: float = 4 * 3600.0
    """On one file, all operators included; then it is left, with what was found."""
    max_file_gib: float = 256.0
    """A larger file is not read: sparse files can claim any size."""

    def __post_init__(self) -> None:
        for name in tuple(self.__dataclass_fields__):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if self.max_memory_mib < 512:
            raise ValueError(f"max_memory_mib: expected at least 512, got {self.max_memory_mib}")


@dataclass(frozen=True, eq=False)
class Message:
    """What the decoding process says."""

    values: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def kind(self) -> str:
        """Facts, frames, written, alive or end."""
        return self.values["kind"]


class Decoder:
    """A decoding process, started when it is needed and anew after a file has brought it down."""

    def __init__(self, limits: DecodingLimits) -> None:
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None

    def stream_views(self, path: str | Path, views: frozenset[ViewName]) -> Iterator[Message]:
        """Decode a file once and yield its facts, its frames in order, and its end.

        Args:
            path: of the file.
            views: what is wanted of every frame (`cogvideox.data.curation.operators.ClipView`); times come always.

        Raises:
            DecodingError: it is no video, has no frames, or brought the process down; frames may have come before.
        """
        limits = {"max_duration_s": self.limits.max_duration_s, "max_frames": self.limits.max_frames}
        request = {"kind": "views", "path": os.fspath(path), "views": sorted(views)} | limits
        started_at_s = time.monotonic()
        for message in self._answers(request, self.limits.max_silence_s):
            yield message
            if time.monotonic() - started_at_s > self.limits.max_work_s:
                raise DecodingError(f"left after {self.limits.max_work_s:.0f} s of work (decoding.max_work_s)")

    def transcode(self, path: str | Path, clips: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        """Write clips of a file as videos of their own, in one pass.

        Args:
            path: of the file.
            clips: as `cogvideox.data.curation.decode_child.transcode` takes them.

        Yields:
            The ``out`` of each clip when it is done, and why it failed; empty if it did not.

        Raises:
            DecodingError: as `stream_views`; the clips that have not come are not written.
            OSError: the disk is full or cannot be written.
        """
        request = {"kind": "transcode", "path": os.fspath(path), "clips": list(clips)}
        for message in self._answers(request, self.limits.max_silence_s):
            if message.kind == "written":
                yield message.values["out"], message.values["reason"]

    def _answers(self, request: Mapping[str, Any], max_silence_s: float) -> Iterator[Message]:
        process = self._started()
        assert process.stdin is not None
        is_answered = False
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            while not is_answered:
                message = self._read(process, max_silence_s)
                if message.kind == "error":
                    is_answered = True
                    if message.values["errno"] in DISK_ERRORS:
                        raise OSError(message.values["errno"], message.values["reason"])
                    raise DecodingError(message.values["reason"])
                is_answered = message.kind == "end"
                yield message
        except BrokenPipeError:
            raise DecodingError(self._how_it_died(process)) from None
        finally:
            if not is_answered:
                self.stop()  # what it still has to say would be taken for the answer to the next request

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            command = [sys.executable, "-m", "cogvideox.data.curation.decode_child"]
            limit = ["--max-memory-bytes", str(self.limits.max_memory_mib * 2**20)]
            # Its address space is limited: numpy's threads would take some of it for nothing.
            environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [*command, *limit],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                bufsize=0,
            )
        return self._process

    def _read(self, process: subprocess.Popen[bytes], max_silence_s: float) -> Message:
        assert process.stdout is not None
        deadline_s = time.monotonic() + max_silence_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)

            def take(size_bytes: int) -> bytearray:
                content = bytearray(size_bytes)
                view, num_read = memoryview(content), 0
                while num_read < size_bytes:
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0 or not selector.select(left_s):
                        raise DecodingError(f"the decoder hung: no frame in {max_silence_s:.0f} s")
                    assert process.stdout is not None
                    num_new = process.stdout.readinto(view[num_read:])  # pyright: ignore[reportAttributeAccessIssue]
                    if not num_new:
                        raise DecodingError(self._how_it_died(process))
                    num_read += num_new
                return content

            try:
                head = json.loads(take(MESSAGE_HEAD.unpack(take(MESSAGE_HEAD.size))[0]))
                arrays: dict[str, NDArray[Any]] = {}
                for name, (kind, shape) in head.pop("arrays").items():
                    dtype = np.dtype(kind)
                    arrays[name] = np.frombuffer(take(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape)
            except DecodingError:
                raise
            except (ValueError, KeyError, TypeError, MemoryError):
                raise DecodingError("the decoder gave no message that can be read") from None
        return Message(head, arrays)

    def _how_it_died(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        return f"the decoder crashed (signal {-code})" if code < 0 else f"the decoder ended (code {code})"
