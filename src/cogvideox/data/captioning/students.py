"""Students: models that were trained to replace the teachers of captions, as ``cogvideox train`` writes them.

A folder holds the weights and ``student.json``, which says what they are, what they were asked in training, and how
many frames of which size they were shown.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cogvideox.chat.turns import Answer
from cogvideox.data.captioning.adapters import ADAPTER_NAMES, file_digest
from cogvideox.data.captioning.recipe import BackendSettings
from cogvideox.data.captioning.request import CaptionBackend, CaptionRequest
from cogvideox.data.captioning.transformers_models import TransformersBackend
from cogvideox.data.filters.video_backbone import BackboneSettings, FramesAs, reduce_picture
from cogvideox.errors import CheckpointError

FORMAT = 1
STUDENT_NAME = "student.json"
StudentTask = Literal["summariser", "captioner"]
STUDENT_FORMS = ("lora", "small-summariser", "small-captioner")
PACKAGED: dict[StudentTask, Path] = {
    "summariser": Path(__file__).parent / "weights" / "summariser",
    "captioner": Path(__file__).parent / "weights" / "captioner",
}


@dataclass(frozen=True, kw_only=True)
class LoraStudentCard:
    """What a low-rank adapter that is a student says of itself."""

    task: StudentTask
    base: str
    """The model that it adapts: a folder, or a name on the hub."""
    base_revision: str | None = None
    """The commit, of a model on the hub."""
    trusts_remote_code: bool = False
    frames_as: FramesAs | None = None
    """How frames were shown; None to a model that reads text only."""
    prompt: str = ""
    """What a captioner was asked in training; a summariser is asked as its stage asks."""
    num_frames: int = 0
    """That a captioner was shown, spread over the clip."""
    max_side_px: int = 0
    """They were reduced to it."""

    def __post_init__(self) -> None:
        if not self.base:
            raise ValueError("base: expected a model, got none")
        if self.task == "captioner" and not (self.prompt and self.num_frames >= 1 and self.max_side_px >= 1):
            raise ValueError("expected prompt, num_frames and max_side_px of a captioner")


def open_student(
    folder: str | Path | None, settings: BackendSettings, *, task: StudentTask = "captioner"
) -> CaptionBackend:
    """Return a student, ready to be asked; what is large is loaded when it is.

    Args:
        folder: of a run of ``cogvideox train captioner`` or ``summariser``, its ``checkpoint``, or what is in that;
            None or "" is the one in the package.
        settings: of the recipe; device, dtype, max_tokens and temperature count.
        task: of the one in the package.

    Raises:
        ValueError: there is no student, it is damaged, or its base comes with code that ``settings`` do not trust.
    """
    folder = find_student(folder) if folder else PACKAGED[task]
    values = read_student(folder)
    if values["form"] == "lora":
        return LoraStudent(folder, values, settings)
    if values["form"] == "small-summariser":
        from cogvideox.data.captioning.small_summariser import SmallSummariser

        return SmallSummariser.load(folder)
    from cogvideox.data.captioning.video_captioner import SmallCaptioner

    return SmallCaptioner.load(folder)


def find_student(folder: str | Path) -> Path:
    """Return the folder with a student in it: the one given, or one that training makes below it."""
    folder = Path(folder).expanduser()
    below = [folder / checkpoint / task for checkpoint in ("", "checkpoint") for task in ("", *PACKAGED)]
    return next((place for place in below if (place / STUDENT_NAME).is_file()), folder)


def read_student(folder: Path) -> dict[str, Any]:
    """Return what ``student.json`` in a folder says. Raises ValueError if there is none, or it is of another kind."""
    path = folder / STUDENT_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"student {folder}: {STUDENT_NAME}: {error.strerror or error}; expected a run folder of cogvideox train "
            "captioner or summariser, or the checkpoint in it"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); train the student again") from None
    known = values if isinstance(values, dict) else {}
    if known.get("format") != FORMAT or known.get("form") not in STUDENT_FORMS:
        raise ValueError(
            f"{path}: expected format {FORMAT} and a form of {', '.join(STUDENT_FORMS)}, got "
            f"{known.get('format')!r} and {known.get('form')!r}"
        )
    return known


class LoraStudent:
    """A model of transformers with a low-rank adapter; a `cogvideox.data.captioning.request.CaptionBackend`."""

    concurrency = 1

    def __init__(self, folder: Path, values: dict[str, Any], settings: BackendSettings) -> None:
        """Check the adapter's files.

        Args:
            folder: with them.
            values: of its ``student.json``.
            settings: of the recipe.

        Raises:
            ValueError: they are damaged, or the base comes with code that is not trusted.
        """
        try:
            names = LoraStudentCard.__dataclass_fields__
            self.card = LoraStudentCard(**{name: values[name] for name in names if name in values})
            for name in ADAPTER_NAMES:
                if file_digest(folder / name) != values["sha256"][name]:
                    raise ValueError(f"{name} is not the file that {STUDENT_NAME} was written with")
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"student {folder}: damaged ({error}); train it again") from None
        card = self.card
        if card.trusts_remote_code and not settings.trusts_remote_code:
            raise ValueError(
                f"student {folder}: its base comes with code of its own ({card.base} at {card.base_revision}), which "
                "is not run unless trusts_remote_code says so"
            )
        base = BackboneSettings(
            source=card.base,
            revision=card.base_revision,
            frames_as=card.frames_as or "auto",
            trusts_remote_code=card.trusts_remote_code,
        )
        self.source = f"{folder}@{values['sha256'][ADAPTER_NAMES[0]][:12]}"
        self._model = TransformersBackend(
            settings, base=base, base_digest=str(values.get("base_sha256", "")), adapter=folder
        )

    def caption(self, request: CaptionRequest) -> Answer:
        """Return what the student says; a captioner is asked what it was trained to answer.

        Raises:
            CheckpointError: a captioner is shown nothing; or as `TransformersBackend.caption`.
            ValueError: as that.
        """
        if self.card.task == "captioner":
            request = self._as_trained(request)
        return self._model.caption(request)

    def _as_trained(self, request: CaptionRequest) -> CaptionRequest:
        card, num_given = self.card, len(request.frames)
        if not num_given:
            raise CheckpointError(
                f"{self.source}: it describes videos, and there are no frames to see; ask another model"
            )
        places = spread_places(num_given, card.num_frames)
        frames = np.stack([reduce_picture(request.frames[place], card.max_side_px) for place in places])
        times_s = request.times_s if len(request.times_s) == num_given else ()
        return replace(
            request,
            prompt=card.prompt,
            rules="",
            frames=frames,
            times_s=tuple(times_s[place] for place in places) if times_s else (),
        )

    def release(self) -> None:
        """Free the model's memory."""
        self._model.release()


def spread_places(num_given: int, num_wanted: int) -> list[int]:
    """Return which of so many frames are shown: in the middles of equal parts; of fewer, some twice."""
    return [(2 * place + 1) * num_given // (2 * num_wanted) for place in range(num_wanted)]
