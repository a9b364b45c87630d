"""Where work is done: in this process, or on Ray Data, on one machine or many.

Both make the same workers and give them the same tasks; workers write their results themselves, and only short answers
come back. So what is written does not depend on the engine. `Worker` and `Task` are those of a curation.
"""

import json
import logging
import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from cogvideox.data.curation.analysis import analyse
from cogvideox.data.curation.decoding import Decoder
from cogvideox.data.curation.plan import CurationPlan
from cogvideox.data.curation.store import Store
from cogvideox.data.curation.transcoding import transcode
from cogvideox.data.libraries import ray as load_ray
from cogvideox.errors import MissingPackageError

EngineName = Literal["ray", "inline"]
OnProgress = Callable[[int, int], None]
OBJECT_STORE_BYTES = 128 * 2**20
"""Of a local Ray: only paths and answers pass through it."""
CONNECTION_TIMEOUT_S = 5.0


class PackedTask(Protocol):
    """A piece of work that Ray can carry."""

    def packed(self) -> dict[str, Any]:
        """Return it as a row for Ray: bytes, texts and numbers."""
        ...

    @classmethod
    def unpacked(cls, row: dict[str, Any]) -> Self:
        """Return the task of a row."""
        ...


class TaskWorker(Protocol):
    """Does tasks, one after the other."""

    def __call__(self, task: Any) -> dict[str, Any]:
        """Do a task; return what is to be known of it, as JSON can hold it."""
        ...

    def stop(self) -> None:
        """Let go of what it holds."""
        ...


WorkerMaker = Callable[[int], TaskWorker]
"""Makes a worker on its machine, of so many workers in all, among whom limits are shared. Can be pickled."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One source to analyse, or some of its clips to write."""

    path: str
    digest: str
    changed_ns: int = 0
    """When the file was last changed before it was read for its digest."""
    clips: tuple[str, ...] = ()
    """Ids of the clips to write; without, the source is analysed."""

    def packed(self) -> dict[str, Any]:
        """Return it as a row for Ray; paths may be no UTF-8."""
        known = {"digest": self.digest, "changed_ns": self.changed_ns, "clips": json.dumps(self.clips)}
        return {"path": os.fsencode(self.path)} | known

    @classmethod
    def unpacked(cls, row: dict[str, Any]) -> "Task":
        """Return the task of a row."""
        clips = tuple(json.loads(row["clips"]))
        return cls(path=os.fsdecode(row["path"]), digest=row["digest"], changed_ns=int(row["changed_ns"]), clips=clips)


class Worker:
    """Does tasks, one after the other, with a decoding process of its own."""

    def __init__(self, plan: CurationPlan, store_folder: str, _num_workers: int = 1) -> None:
        self.plan = plan
        self.store = Store(store_folder)
        self.decoder = Decoder(plan.recipe.decoding)

    def __call__(self, task: Task) -> dict[str, str]:
        """Do a task; return the reason of every clip that could not be written, or of the source that is gone."""
        path = Path(task.path)
        if task.clips:
            return transcode(path, task.digest, task.clips, self.plan, self.store, self.decoder)
        with one_thread():
            reason = analyse(path, task.digest, self.plan, self.store, self.decoder, changed_ns=task.changed_ns)
        return {task.digest: reason} if reason else {}

    def stop(self) -> None:
        """End the decoding process."""
        self.decoder.stop()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: sums over several round differently from machine to machine."""
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


class RayWorker:
    """A worker for Ray Data, which passes columns."""

    def __init__(self, make_worker: WorkerMaker, num_workers: int, task_class: type[PackedTask]) -> None:
        self._worker, self._task_class = make_worker(num_workers), task_class

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the tasks of a batch."""
        names = list(batch)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        return {"answer": [json.dumps(self._worker(self._task_class.unpacked(row))) for row in rows]}


def run_inline(
    make_worker: WorkerMaker, tasks: Sequence[Any], on_progress: OnProgress
) -> Generator[dict[str, Any], None, None]:
    """Do all tasks in this process, one after the other; yield what the worker says of each."""
    worker = make_worker(1)
    try:
        for index, task in enumerate(tasks):
            answer = worker(task)
            on_progress(index + 1, len(tasks))
            yield answer
    finally:
        worker.stop()


def run_ray(
    make_worker: WorkerMaker,
    tasks: Sequence[PackedTask],
    on_progress: OnProgress,
    *,
    address: str | None = None,
    max_workers: int | None = None,
    num_gpus: int = 0,
) -> Generator[dict[str, Any], None, None]:
    """Do all tasks on Ray Data; yield what the workers say of them, in any order.

    Args:
        make_worker: of each worker. What it reads and writes is on disks that all machines see under these names.
        tasks: what to do, at least one, all of one class.
        on_progress: called with the tasks done and all.
        address: of a cluster; None uses the one this process belongs to, or starts one on this machine.
        max_workers: no more of them; by default as many as there are CPUs.
        num_gpus: that each worker needs.

    Raises:
        MissingPackageError: Ray Data is not installed.
        ValueError: there is no cluster at the address, or it has no such GPUs.
        OSError: a worker cannot write its results.
    """
    ray = load_ray()
    with _connected(ray, address), _own_errors(ray):
        resources = ray.cluster_resources()
        num_workers = min(int(resources.get("CPU", 1)), len(tasks), max_workers or len(tasks))
        if num_gpus:
            num_there = int(resources.get("GPU", 0))
            if num_there < num_gpus:
                raise ValueError(f"expected {num_gpus} GPUs for each worker, the Ray cluster has {num_there}")
            num_workers = min(num_workers, num_there // num_gpus)
        num_workers = max(1, num_workers)
        rows = ray.data.from_items([task.packed() for task in tasks], override_num_blocks=len(tasks))
        answers = rows.map_batches(
            RayWorker,
            fn_constructor_args=(make_worker, num_workers, type(tasks[0])),
            batch_size=1,
            num_cpus=1,
            num_gpus=num_gpus or None,
            compute=ray.data.ActorPoolStrategy(size=num_workers),
        )
        for number, row in enumerate(answers.iter_rows()):
            answer = json.loads(row["answer"])
            on_progress(number + 1, len(tasks))
            yield answer


@contextmanager
def _own_errors(ray: Any) -> Iterator[None]:
    """Raise what a worker raised, not what Ray makes of it."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, _WORKER_ERRORS):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise cause from None


_WORKER_ERRORS = (OSError, MissingPackageError, MemoryError)


def _check_address(address: str) -> None:
    """Raise ValueError if nobody listens at an address of a host and a port: Ray itself would wait for long."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECTION_TIMEOUT_S).close()
    except OSError as error:
        raise ValueError(f"--ray-address: nobody answers at {address} ({error.strerror or error})") from None


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to Ray for the length of a block, unless this process is connected already."""
    is_ours = not ray.is_initialized()
    if is_ours:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        else:
            _check_address(address)
        try:
            ray.init(address=address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            if address is None:
                raise
            raise ValueError(f"--ray-address: no Ray cluster at {address!r} ({error})") from None
    # Ours is the progress that is shown.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        if is_ours:
            ray.shutdown()
