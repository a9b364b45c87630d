"""Who has labelled what, and what comes next: the state behind the page, all of it read from the files of answers."""

import hashlib
import itertools
import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogvideox.data.labelling.agreement import Agreement, agreement
from cogvideox.data.labelling.answer import Answer, check_annotator, time_of
from cogvideox.data.labelling.answers import EARLIEST, AnswerLog, latest, read_answers, resolve
from cogvideox.data.labelling.dataset import LabelDataset, filter_thresholds
from cogvideox.data.labelling.sampling import QueueItem, QueueSettings, plan_queue

NUM_AHEAD = 4
"""Clips that the page holds: the one that is shown, and the next three."""
NUM_HISTORY = 30
"""Answered clips that can be gone back to after a reload."""
NUM_RATED = 50
"""Answered clips that the rate is taken from."""
MAX_SECONDS = 24 * 3600.0

Key = tuple[str, bool]
"""Clip id, and whether it is a repeat."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an annotator is."""

    num_done: int
    num_all: int
    clips_per_hour: float
    """Of the last clips; 0 before the first."""


class Session:
    """One annotator's queue and answers. Not for several threads: `Labelling` keeps them apart."""

    def __init__(
        self,
        dataset: LabelDataset,
        annotator: str,
        settings: QueueSettings,
        log: AnswerLog,
        answers: list[Answer],
        thresholds: Mapping[str, float],
    ) -> None:
        self.annotator = annotator
        self._dataset = dataset
        self._min_gap = settings.min_repeat_gap
        self._log = log
        sources = {clip_id: clip.source or clip_id for clip_id, clip in dataset.clips.items()}
        self._queue = plan_queue(sources, annotator, settings, values=dataset.values, thresholds=thresholds)
        # A name for the page that does not tell a repeat, and stays when the order is another.
        self._keys: dict[str, Key] = {
            _token(annotator, clip_id, str(is_repeat)): (clip_id, is_repeat)
            for clip_id in dataset.clips
            for is_repeat in (False, True)
        }
        self._tokens = {key: token for token, key in self._keys.items()}
        self._answers: dict[Key, Answer] = {}
        self._done: dict[Key, int] = {}
        self._in_queue = {(item.clip_id, item.is_repeat) for item in self._queue}
        self._num_taken = 0
        self._num_here = 0
        self.done_clips: set[str] = set()
        """Ids of the clips that are answered."""
        self._passed: dict[Key, None] = {}
        for (_, clip_id, is_repeat), answer in latest(answers).items():
            self._take((clip_id, is_repeat), answer)

    def _take(self, key: Key, answer: Answer) -> None:
        self._answers[key] = answer
        if not answer.is_done:
            if self._done.pop(key, None) is not None:  # it was taken back
                self._num_here -= key in self._in_queue
                if (key[0], not key[1]) not in self._done:
                    self.done_clips.discard(key[0])
        elif key not in self._done:
            self._done[key] = self._num_taken
            self._num_taken += 1
            self._num_here += key in self._in_queue
            self.done_clips.add(key[0])
            self._passed.pop(key, None)

    def record(self, token: str, labels: Mapping[Any, Any], seconds: float, note: str) -> Answer:
        """Take an answer and return it when it is on the disk; one that changes nothing is not written again.

        Raises:
            ValueError: there is no such item, or a value is not allowed.
            OSError: it could not be written.
        """
        clip_id, is_repeat = key = self._key(token)
        answer = Answer(
            clip_id=clip_id,
            source=self._dataset.clips[clip_id].source,
            annotator=self.annotator,
            time=self._log.now(),
            labels=dict(labels),
            seconds=seconds,
            repeat=is_repeat,
            note=note,
        )
        if seconds > MAX_SECONDS:
            raise ValueError(f"seconds: expected at most {MAX_SECONDS:.0f}, got {seconds}")
        before = self._answers.get(key)
        if before is not None and (before.labels, before.note) == (answer.labels, answer.note):
            return before
        self._log.append([answer])
        self._take(key, answer)
        return answer

    def pass_over(self, token: str) -> None:
        """Let an item come again after all others. Raises ValueError if there is no such item."""
        key = self._key(token)
        self._passed.pop(key, None)
        self._passed[key] = None

    def _key(self, token: str) -> Key:
        if token not in self._keys:
            raise ValueError("item: not in this dataset; reload the page")
        return self._keys[token]

    def upcoming(self, num_items: int, held: Collection[str], done_by_others: Collection[str]) -> list[dict[str, Any]]:
        """Return what comes next, of that which is not ``held`` by the page already.

        Clips that others have answered come last, unless all are asked about them; then those that were passed over.
        """
        now: list[Key] = []
        later: list[Key] = []
        for item in self._queue:
            key = (item.clip_id, item.is_repeat)
            if key in self._done or key in self._passed or self._tokens[key] in held or not self._is_due(item):
                continue
            is_second = item.clip_id in done_by_others and not item.is_shared and not item.is_repeat
            (later if is_second else now).append(key)
            if len(now) == num_items:
                break
        passed = [key for key in self._passed if self._tokens[key] not in held]
        return [self._shown(key) for key in (*now, *later, *passed)[:num_items]]

    def _is_due(self, item: QueueItem) -> bool:
        if not item.is_repeat:
            return True
        first = self._done.get((item.clip_id, False))
        return first is not None and self._num_taken - first - 1 >= self._min_gap

    def history(self) -> list[dict[str, Any]]:
        """Return the last answered items, the latest at the end."""
        return [self._shown(key) for key in list(self._done)[-NUM_HISTORY:] if key in self._tokens]

    def _shown(self, key: Key) -> dict[str, Any]:
        clip = self._dataset.clips[key[0]]
        answer = self._answers.get(key)
        return {
            "item": self._tokens[key],
            "video": video_token(clip.clip_id),
            "clip": clip.clip_id,
            "source": clip.source,
            "labels": dict(answer.labels) if answer is not None else {},
            "note": answer.note if answer is not None else "",
            "seconds": answer.seconds if answer is not None else 0.0,
        }

    @property
    def progress(self) -> Progress:
        """How far the annotator is."""
        rated = [self._answers[key].seconds for key in itertools.islice(reversed(self._done), NUM_RATED)]
        spent_s = sum(rated)
        rate = 3600 * len(rated) / spent_s if spent_s else 0.0
        return Progress(num_done=self._num_here, num_all=len(self._queue), clips_per_hour=rate)


class Labelling:
    """All annotators of a dataset; for any number of threads."""

    def __init__(self, dataset: LabelDataset, labels_folder: str | Path, settings: QueueSettings) -> None:
        """Read the answers that are there.

        Raises:
            ValueError: a line of them is no answer, they cannot be written, or the order needs other columns.
        """
        self.dataset = dataset
        self.settings = settings
        self.labels_folder = Path(labels_folder)
        _check_writable(self.labels_folder)
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._done: dict[str, set[str]] = {}
        for answer in latest(self._read()).values():
            if answer.is_done:
                self._done.setdefault(answer.annotator, set()).add(answer.clip_id)
        sources = {clip_id: clip.source or clip_id for clip_id, clip in dataset.clips.items()}
        plan_queue(sources, "nobody", settings, values=dataset.values)  # so that an order without columns is told now
        self._thresholds = filter_thresholds(dataset.folder) if settings.order == "uncertain" else {}
        self.clip_by_video = {video_token(clip_id): clip_id for clip_id in dataset.clips}

    @property
    def folder_key(self) -> str:
        """Tells the folder of answers from any other of this machine; not its name."""
        return _token(os.path.realpath(self.labels_folder))

    def _read(self) -> list[Answer]:
        return resolve(read_answers(self.labels_folder), self.dataset.clip_rows, self.dataset.source_rows)

    def items(self, annotator: str, held: Collection[str], num_items: int = NUM_AHEAD) -> dict[str, Any]:
        """Return what comes next for an annotator and, to a page that holds nothing, what was answered last.

        Args:
            annotator: the name.
            held: items that the page has, whether they are answered or not.
            num_items: at most so many, and no more than `NUM_AHEAD`.

        Raises:
            ValueError: the name is not allowed.
        """
        with self._lock:
            session = self._session(annotator)
            others = set().union(*(done for name, done in self._done.items() if name != annotator))
            return {
                "items": session.upcoming(min(max(0, num_items), NUM_AHEAD), held, others),
                "history": [] if held else session.history(),
                "progress": session.progress,
            }

    def record(self, annotator: str, token: str, labels: Mapping[Any, Any], seconds: float, note: str) -> Progress:
        """Write an answer; it is on the disk when this returns. Raises as `Session.record`."""
        with self._lock:
            session = self._session(annotator)
            session.record(token, labels, seconds, note)
            self._done[annotator] = session.done_clips
            return session.progress

    def pass_over(self, annotator: str, token: str) -> None:
        """Let an item come again after all others."""
        with self._lock:
            self._session(annotator).pass_over(token)

    def _session(self, annotator: str) -> Session:
        if annotator not in self._sessions:
            check_annotator(annotator)
            answers = [answer for answer in self._read() if answer.annotator == annotator]
            # They may also lie in other files of the folder than the annotator's own.
            last_time = max((time_of(answer.time) for answer in answers), default=EARLIEST)
            log = AnswerLog(self.labels_folder, annotator, after=last_time)
            self._sessions[annotator] = Session(self.dataset, annotator, self.settings, log, answers, self._thresholds)
        return self._sessions[annotator]

    def annotators(self) -> dict[str, int]:
        """Return how many clips each annotator has answered, sorted by name."""
        with self._lock:
            return {name: len(done) for name, done in sorted(self._done.items())}

    def agreement(self) -> Agreement:
        """Return how far the annotators agree by now."""
        with self._lock:
            answers = self._read()
        return agreement(answers)


def video_token(clip_id: str) -> str:
    """Return what a clip is called in addresses: nothing of a path."""
    return _token(clip_id)


def _token(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _check_writable(folder: Path) -> None:
    """Raise ValueError if answers cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"labels: {folder} cannot be written ({error.strerror or error}); make it writable, or name another folder "
            "with --labels"
        ) from None
