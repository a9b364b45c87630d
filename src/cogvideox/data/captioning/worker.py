"""Captions clips: many questions at once, each clip decoded once, one model that fills the machine at a time."""

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cogvideox.data.captioning.answer_log import AnswerLog, BucketWriter, Record, Records, bucket_of
from cogvideox.data.captioning.asking import STAGES, Desk, Failures, LiveAsker
from cogvideox.data.captioning.backends import HEAVY_KINDS, BackendOpener, EndpointBackend
from cogvideox.data.captioning.clip_set import CaptionClip
from cogvideox.data.captioning.gates import Budget, DaemonPool, Gate, Stop, StopFlag
from cogvideox.data.captioning.request import StageName
from cogvideox.data.captioning.stages import CaptionPlan, Unanswered, caption_clip
from cogvideox.errors import CheckpointError, DoesNotFitError, MissingPackageError

MAX_DECODED = 16
"""Clips whose frames are in memory at once."""
MAX_CLIPS_AT_ONCE = 64
GRACE_S = 10.0
"""When the run is to stop, for questions that are on their way."""
POLL_S = 0.1
KNOWN_ERRORS = (CheckpointError, DoesNotFitError, MissingPackageError, MemoryError, OSError, ValueError)
"""What a worker may raise that users can do something about; of the first kind that fits."""
_LATER: frozenset[StageName] = frozenset({"summary", "judge"})


@dataclass(frozen=True, kw_only=True)
class CaptionTask:
    """Clips that miss something: all of some buckets."""

    clips: tuple[CaptionClip, ...]

    def packed(self) -> dict[str, Any]:
        """Return it as a row for Ray."""
        return {"clips": json.dumps([clip.packed() for clip in self.clips])}

    @classmethod
    def unpacked(cls, row: dict[str, Any]) -> "CaptionTask":
        """Return the task of a row."""
        return cls(clips=tuple(CaptionClip(**values) for values in json.loads(row["clips"])))


@dataclass(frozen=True, kw_only=True)
class CaptionSetup:
    """What every worker has to know."""

    plan: CaptionPlan
    opener: BackendOpener
    log_folder: str
    max_dollars: float | None = None
    """That all workers may spend together; None for no limit."""
    retries_failed: bool = False
    answered: frozenset[str] = frozenset()
    """Backends that earlier runs had answers of."""


class _Bucket:
    """A file of answers while its clips are worked on."""

    def __init__(self, log: AnswerLog, name: str, num_clips: int, is_stopped: Callable[[], bool]) -> None:
        self._log, self._name, self._is_stopped = log, name, is_stopped
        self._lock = threading.Lock()
        self._num_left = num_clips
        self._writer: BucketWriter | None = None
        self._records: Records | None = None

    def records(self) -> Records:
        """Take the file, and return what is in it."""
        with self._lock:
            if self._records is None:
                self._writer = self._log.write_to(self._name, self._is_stopped)
                self._records = self._log.read(self._name)
            return self._records

    def add(self, record: Record) -> None:
        """Write an answer."""
        writer = self._writer
        assert writer is not None
        writer.add(record)

    def leave(self) -> None:
        """Let go of the file after its last clip."""
        with self._lock:
            self._num_left -= 1
            if not self._num_left:
                self._close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._records = None, None


def _told(stop: Stop) -> dict[str, str]:
    """Return why the run stops, as another process can read it."""
    known = (error.__name__ for error in KNOWN_ERRORS if isinstance(stop.error, error))
    return {"kind": stop.kind, "message": stop.message, "type": next(known, "")}


class _Place:
    """One of the places of clips whose frames are in memory."""

    def __init__(self, places: threading.Semaphore) -> None:
        self._places = places
        self._is_taken = False

    def take(self) -> None:
        self._places.acquire()
        self._is_taken = True

    def give_back(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._places.release()


class CaptionWorker:
    """Does tasks, one after the other; a `cogvideox.data.curation.engine.TaskWorker`."""

    def __init__(
        self,
        setup: CaptionSetup,
        num_workers: int = 1,
        *,
        on_clip: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the models. Raises ValueError or MissingPackageError if one cannot be opened."""
        self._setup = setup
        self._on_clip = on_clip
        self.stop_flag = StopFlag()
        plan = setup.plan
        self._gates = {
            name: Gate(
                plan.recipe.backend(name),
                setup.opener.open(name, num_workers),
                self.stop_flag,
                has_answered=name in setup.answered,
            )
            for name in dict.fromkeys(plan.backend(stage).name for stage in plan.keys)
        }
        self._budget = Budget(None if setup.max_dollars is None else setup.max_dollars / num_workers)
        num_at_once = sum(gate.backend.concurrency for gate in self._gates.values())
        self._num_clips_at_once = min(MAX_CLIPS_AT_ONCE, num_at_once + 1)
        self._pool = DaemonPool(num_at_once)
        self._clip_pool = DaemonPool(self._num_clips_at_once)
        self._decoded = threading.BoundedSemaphore(MAX_DECODED)
        self._log = AnswerLog(setup.log_folder)
        self._buckets: dict[str, _Bucket] = {}
        self._retried: set[tuple[tuple[str, int, float], StageName, str]] = set()

    def __call__(self, task: CaptionTask) -> dict[str, Any]:
        """Caption clips; return what failed, why it stopped before the end, and how many questions were asked."""
        failures: dict[tuple[str, int, float], Failures] = {}
        before = Counter({name: gate.num_asked for name, gate in self._gates.items()})
        for names, is_last in self._passes():
            desk = Desk(
                plan=self._setup.plan,
                gates={name: self._gates[name] for name in names},
                pool=self._pool,
                budget=self._budget,
                stop=self.stop_flag,
            )
            try:
                self._run(task.clips, desk, failures, self._on_clip if is_last else lambda: None)
            except KeyboardInterrupt:
                self.stop_flag.set(Stop(kind="interrupted", message="not asked: the run was interrupted"))
                self._wind_down()
                raise
            finally:
                for bucket in self._buckets.values():
                    bucket.close()
            if not is_last:
                self._release_heavy()
        asked = Counter({name: gate.num_asked for name, gate in self._gates.items()}) - before
        stop = self.stop_flag.stop
        return {
            "failures": [[*key, *place, text] for key, found in failures.items() for place, text in found.items()],
            "stop": None if stop is None else _told(stop),
            "num_asked": sum(asked.values()),
            "num_answered": sum(gate.num_answered for gate in self._gates.values()),
        }

    def stop(self) -> None:
        """Let the threads end and the models go."""
        self._wind_down(0.0 if self.stop_flag() else GRACE_S)
        for gate in self._gates.values():
            gate.backend.release()

    def _passes(self) -> list[tuple[tuple[str, ...], bool]]:
        """Return which models may be asked in each run over the clips, and whether it is the last one."""
        plan = self._setup.plan
        ordered = list(dict.fromkeys(plan.backend(stage).name for stage in STAGES if stage in plan.keys))
        heavy = [name for name in ordered if self._gates[name].settings.kind in HEAVY_KINDS]
        if len(heavy) < 2:
            return [(tuple(ordered), True)]
        others = [name for name in ordered if name not in heavy]
        return [((name, *others), name == heavy[-1]) for name in heavy]

    def _release_heavy(self) -> None:
        for gate in self._gates.values():
            if gate.settings.kind in HEAVY_KINDS:
                gate.backend.release()

    def _run(
        self,
        clips: Sequence[CaptionClip],
        desk: Desk,
        failures: dict[tuple[str, int, float], Failures],
        on_clip: Callable[[], None],
    ) -> None:
        ordered = sorted(clips, key=lambda clip: clip.content_key)
        sizes = Counter(bucket_of(clip.digest) for clip in ordered)
        buckets = {name: _Bucket(self._log, name, size, desk.stop) for name, size in sizes.items()}
        self._buckets = buckets
        done: queue.SimpleQueue[tuple[CaptionClip, Failures]] = queue.SimpleQueue()
        waiting: Iterator[CaptionClip] = iter(ordered)
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    clip = next(waiting, None)
                if clip is None:
                    return
                found: Failures = {}
                try:
                    found = self._caption(clip, buckets[bucket_of(clip.digest)], desk)
                finally:
                    done.put((clip, found))

        futures = [self._clip_pool.submit(work) for _ in range(min(len(ordered), self._num_clips_at_once))]
        num_done, give_up_at_s = 0, float("inf")
        while num_done < len(ordered):
            if desk.stop() and give_up_at_s == float("inf"):
                give_up_at_s = time.monotonic() + GRACE_S
            if time.monotonic() > give_up_at_s:
                self._stop_waiting()
            try:
                clip, found = done.get(timeout=POLL_S)
            except queue.Empty:
                continue
            num_done += 1
            failures.setdefault(clip.content_key, {}).update(found)
            on_clip()
        for future in futures:
            future.result()

    def _caption(self, clip: CaptionClip, bucket: _Bucket, desk: Desk) -> Failures:
        """Ask for whatever a clip misses; return what failed."""
        if desk.stop():
            bucket.leave()
            return {}
        asker: LiveAsker | None = None
        place = _Place(self._decoded)
        try:
            asker = LiveAsker(
                clip=clip, records=bucket.records(), add=bucket.add, desk=desk, on_forgotten=place.give_back
            )
            if needed := self._needed(asker):
                place.take()
                asker.decode(needed)
            caption_clip(clip, desk.plan, asker)
        except Unanswered:
            pass
        except Exception as error:  # of this program or the disk: nothing more can be done, and the driver raises it
            desk.stop.set(Stop(kind="broken", message=f"{type(error).__name__}: {error}", error=error))
        finally:
            if asker is not None:
                asker.forget_frames()
            place.give_back()
            bucket.leave()
        return asker.failures if asker is not None else {}

    def _needed(self, asker: LiveAsker) -> list[StageName]:
        """Return the stages that need frames, and have the asker forget what is to be asked again."""
        captions, log = asker.replayed()
        missing: set[StageName] = set(log.missing)
        plan, gates = asker.desk.plan, asker.desk.gates
        key = asker.clip.content_key
        again = [
            part
            for part in plan.again(captions, retries_failed=self._setup.retries_failed)
            if (key, *part) not in self._retried and plan.backend(part[0]).name in gates
        ]
        self._retried |= {(key, *part) for part in again}
        asker.forgotten = frozenset(again)
        missing.update(stage for stage, _ in again)
        if "short" in missing or "frames" in missing or log.has_no_choice:
            missing.update(_LATER)  # what is made of them will be asked for next
        if "summary" in missing:
            missing.add("judge")
        if log.has_no_choice:
            missing.add("frames")
        num_frames, fps = asker.num_frames(), asker.clip.fps

        def is_needed(stage: StageName) -> bool:
            if stage not in missing or stage not in plan.keys or plan.wanted(stage, num_frames, fps) is None:
                return False
            return plan.backend(stage).name in gates or (stage == "frames" and log.has_no_choice)

        return [stage for stage in STAGES if is_needed(stage)]

    def _wind_down(self, grace_s: float = GRACE_S) -> None:
        """End the threads; questions on their way have a while to be answered."""
        give_up_at_s = time.monotonic() + grace_s
        is_done = self._clip_pool.close(grace_s)
        is_done = self._pool.close(max(0.0, give_up_at_s - time.monotonic())) and is_done
        if not is_done:
            self._stop_waiting()
            self._clip_pool.close(1.0)

    def _stop_waiting(self) -> None:
        for gate in self._gates.values():
            if isinstance(gate.backend, EndpointBackend):
                gate.backend.stop()
