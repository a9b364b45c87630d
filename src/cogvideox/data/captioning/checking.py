"""Figures of all summaries of a run, into the table ``check``."""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.captioning import checks
from cogvideox.data.captioning.answer_log import AnswerLog, BucketWriter, Record, Records, bucket_of
from cogvideox.data.captioning.backends import folder_digest
from cogvideox.data.captioning.clip_set import TABLES_NAME, CaptionClip
from cogvideox.data.captioning.frame_choice import Wanted, decode, spread_frames
from cogvideox.data.captioning.match import CaptionMatcher
from cogvideox.data.captioning.recipe import CaptionRecipe
from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.captioning.stages import ClipCaptions
from cogvideox.data.curation.store import operator_key, write_table
from cogvideox.errors import FetchError, MissingPackageError

logger = logging.getLogger(__name__)

NOT_MEASURED = "not measured: "
MAX_REASON_CHARACTERS = 500
Captioned = Sequence[tuple[CaptionClip, ClipCaptions]]


def write_checks(
    out: Path, found: Captioned, recipe: CaptionRecipe, log: AnswerLog
) -> tuple[list[dict[str, Any]], str]:
    """Measure all summaries and write the table; return its rows and why there is none, if so.

    Args:
        out: folder of the captioning.
        found: its clips and their captions.
        recipe: that they were made with.
        log: remembers figures that need pictures.
    """
    path = out / TABLES_NAME / "check.parquet"
    if recipe.summary is None or not recipe.check.figures:
        path.unlink(missing_ok=True)
        return [], ""
    try:
        rows = _Checker(recipe, log).rows(found)
    except (FetchError, MissingPackageError) as error:
        path.unlink(missing_ok=True)
        logger.warning("the captions are not checked: %s", error)
        return [], str(error)
    write_table(path, rows, checks.CHECK_TYPES)
    return rows, ""


class _Checker:
    """Measures summaries one after the other; what needs pictures only once."""

    def __init__(self, recipe: CaptionRecipe, log: AnswerLog) -> None:
        assert recipe.summary is not None
        self._settings, self._max_words = recipe.check, recipe.summary.max_words
        self._log = log
        model = self._settings.match_model
        self._key = ""
        if model:
            folder = Path(model).expanduser()
            if not folder.is_dir():
                raise ValueError(f"check.match_model: expected a folder with a CLIP or SigLIP model, got {model!r}")
            settings = {"num_frames": self._settings.num_frames, "max_side_px": self._settings.max_side_px}
            settings |= {"max_words": self._max_words, "model": folder_digest(folder)}
            self._key = operator_key("check", checks.VERSION, settings, ())
        self._matcher: CaptionMatcher | None = None
        self._bucket, self._records = "", Records()
        self._writer: BucketWriter | None = None

    def rows(self, found: Captioned) -> list[dict[str, Any]]:
        """Return the rows of all summaries, sorted by clip."""
        ordered = sorted(found, key=lambda pair: pair[0].content_key)
        try:
            with_text = [(clip, one) for clip, one in ordered if one.summary is not None and one.summary.text]
            rows = [self._row(clip, captions) for clip, captions in with_text]
        finally:
            if self._writer is not None:
                self._writer.close()
        return sorted(rows, key=lambda row: row["clip_id"])

    def _row(self, clip: CaptionClip, captions: ClipCaptions) -> dict[str, Any]:
        assert captions.summary is not None
        frames = [TimedCaption(time_s=one.time_s, text=one.caption.text) for one in captions.frames if one.caption.text]
        check = checks.CheckInput(
            clip_id=clip.clip_id,
            summary=captions.summary.text,
            short=captions.short.text if captions.short is not None else "",
            frame_captions=tuple(frames),
            frames=(lambda: self._pictures(clip)) if self._key else None,
            judge_answer=captions.judge.text if captions.judge is not None else "",
        )
        if not self._key:
            return self._measured(check)
        texts = [check.summary, check.short, [[one.time_s, one.text] for one in frames], check.judge_answer]
        inputs = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        self._open(bucket_of(clip.digest))
        record = Record(key=self._key, digest=clip.digest, inputs=inputs)
        known = self._records.get(record.place)
        if known is not None:
            return json.loads(known.text) | {"clip_id": clip.clip_id}
        if self._matcher is None:
            self._matcher = CaptionMatcher(Path(self._settings.match_model).expanduser())
        row = self._measured(check)
        if _is_failed(row):
            return row
        record = Record(key=self._key, digest=clip.digest, inputs=inputs, text=json.dumps(row))
        assert self._writer is not None
        self._writer.add(record)
        self._records[record.place] = record
        return row

    def _measured(self, check: checks.CheckInput) -> dict[str, Any]:
        """Return the row of a summary; one without figures if it cannot be measured, for the others are to be."""
        try:
            return checks.check_summary(check, max_words=self._max_words, matcher=self._matcher)
        except (FetchError, MissingPackageError, OSError):
            raise
        except Exception as error:  # texts of models bring whatever they like
            logger.warning("%s: its summary is not measured: %s", check.clip_id, error)
            figures = dict.fromkeys(checks.COLUMNS_BY_NAME, math.nan)
            reason = f"{NOT_MEASURED}{type(error).__name__}: {error}"[:MAX_REASON_CHARACTERS]
            return {"clip_id": check.clip_id, **figures, "flags": [], "found": "{}", "judge_problem": reason}

    def _open(self, bucket: str) -> None:
        if bucket == self._bucket:
            return
        if self._writer is not None:
            self._writer.close()
        self._bucket, self._writer, self._records = bucket, self._log.write_to(bucket), self._log.read(bucket)

    def _pictures(self, clip: CaptionClip) -> NDArray[np.uint8]:
        """Return pictures of a clip; none of one that cannot be read any more."""
        indices = spread_frames(clip.num_frames, self._settings.num_frames)
        wanted = {"check": Wanted(max_side_px=self._settings.max_side_px, indices=indices)}
        try:
            frames = decode(clip.stream, clip.fps, wanted).frames["check"]
        except (ValueError, OSError) as error:
            logger.warning("%s: its caption is not matched: %s", clip.clip_id, error)
            frames = {}
        return np.stack(list(frames.values())) if frames else np.zeros((0, 1, 1, 3), np.uint8)


def _is_failed(row: dict[str, Any]) -> bool:
    return row["judge_problem"].startswith(NOT_MEASURED)
