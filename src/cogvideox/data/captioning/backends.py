"""The models that a recipe names, opened; and what their answers are known by."""

import hashlib
import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cogvideox.chat.endpoint import EndpointModel
from cogvideox.chat.pacing import Pacer
from cogvideox.chat.turns import Answer
from cogvideox.data.captioning.recipe import BackendKind, BackendSettings, CaptionRecipe
from cogvideox.data.captioning.request import CaptionBackend, CaptionRequest
from cogvideox.data.curation.embeddings import MODEL_TYPES, PREPROCESSOR
from cogvideox.durable_files import read_json

HEAVY_KINDS: tuple[BackendKind, ...] = ("transformers", "cogvlm2", "student")
"""Models that may fill a machine: only one of them is loaded at a time."""
MAX_HASHED_BYTES = 64 * 2**20
"""Of a model's folder, larger files are known by name and size only."""
MERGER_VERSION = 1
WORDS_PER_ANSWER = {"short": 30, "frames": 80, "summary": 90, "judge": 10}
TOKENS_PER_WORD = 1.35
"""Of English text."""
BUSY_PATIENCE_S = 180.0
"""A server that limits questions by the minute has answered by then."""

Function = Callable[[CaptionRequest], Any]


class EndpointBackend:
    """A model behind an endpoint; `stop` gives up what it waits for."""

    def __init__(self, settings: BackendSettings, num_workers: int) -> None:
        """Prepare it; of all limits this process has one of ``num_workers`` shares. Raises as `EndpointModel`."""
        self._pacer = Pacer(
            settings.max_requests_per_minute / num_workers, settings.max_tokens_per_minute / num_workers
        )
        self._model = EndpointModel(
            settings.url,
            settings.model,
            timeout_s=settings.timeout_s,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            num_tries=settings.num_tries,
            streams=settings.streams,
            key_variable=settings.key_variable,
            pacer=self._pacer,
            busy_patience_s=BUSY_PATIENCE_S,
        )
        self.source = self._model.source
        self.concurrency = max(1, settings.num_at_once // num_workers)

    def caption(self, request: CaptionRequest) -> Answer:
        """Return what the model says. Raises as `EndpointModel.answer`."""
        return self._model.answer(request.turns())

    def release(self) -> None:
        """Do nothing: the memory is the endpoint's."""

    def stop(self) -> None:
        """Give up waiting, whatever for."""
        self._pacer.stop()


class FunctionError(RuntimeError):
    """A function of the user's raised something, or returned no text."""


class FunctionBackend:
    """A function of the user's."""

    def __init__(self, settings: BackendSettings, function: Function, num_workers: int) -> None:
        """Take a function; several threads may call it if ``settings.concurrency`` says so."""
        self._function = function
        self.source = settings.model or settings.function
        self.concurrency = max(1, settings.num_at_once // num_workers)

    def caption(self, request: CaptionRequest) -> Answer:
        """Return what the function says. Raises FunctionError with what went wrong in it."""
        try:
            said = self._function(request)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # it is not ours, and may raise whatever it likes
            raise FunctionError(f"{self.source}: {type(error).__name__}: {error}") from error
        if isinstance(said, Answer):
            return said
        if not isinstance(said, str):
            raise FunctionError(f"{self.source}: expected it to return a text, got {type(said).__name__}")
        return Answer(said)

    def release(self) -> None:
        """Do nothing: the function keeps what it keeps."""


@dataclass(frozen=True, kw_only=True)
class BackendOpener:
    """Opens backends in the process that asks them; can be sent to another machine."""

    recipe: CaptionRecipe
    functions: Mapping[str, Function]
    """By backend names, in place of what their settings say."""
    folder: str = ""
    """That relative names of files and folders start from; a worker elsewhere may be in another one."""

    def open(self, name: str, num_workers: int = 1) -> CaptionBackend:
        """Return a backend.

        Raises:
            MissingPackageError: a library is not installed.
            ValueError: its settings cannot be right, or there is no such model or function.
        """
        settings = self._with_absolute_names(self.recipe.backend(name))
        if name in self.functions:
            return FunctionBackend(settings, self.functions[name], num_workers)
        if settings.kind == "endpoint":
            return EndpointBackend(settings, num_workers)
        if settings.kind == "function":
            return FunctionBackend(settings, find_function(settings), num_workers)
        if settings.kind == "merger":
            from cogvideox.data.captioning.merger import Merger

            return Merger(_summary_words(self.recipe))
        if settings.kind == "cogvlm2":
            from cogvideox.data.captioning.cogvlm2 import CogVlm2Backend

            return CogVlm2Backend(settings)
        if settings.kind == "student":
            from cogvideox.data.captioning.students import open_student

            return open_student(settings.model, settings, task=_packaged_task(self.recipe, name))
        from cogvideox.data.captioning.transformers_models import TransformersBackend

        return TransformersBackend(settings)

    def check(self, name: str) -> None:
        """Raise ValueError if a backend cannot be right, as far as can be seen without loading what is large."""
        settings = self._with_absolute_names(self.recipe.backend(name))
        if name in self.functions:
            return
        if settings.kind == "function":
            find_function(settings)
        elif settings.kind == "endpoint":
            EndpointBackend(settings, 1)
        elif settings.kind == "student" and settings.model:
            from cogvideox.data.captioning.students import find_student, read_student

            read_student(find_student(settings.model))

    def _with_absolute_names(self, settings: BackendSettings) -> BackendSettings:
        place, separator, function = settings.function.rpartition(":")
        if separator and place.endswith(".py"):
            settings = replace(settings, function=f"{Path(self.folder) / Path(place).expanduser()}:{function}")
        if settings.kind in (*HEAVY_KINDS, "student") and settings.model:
            folder = Path(self.folder) / Path(settings.model).expanduser()
            return replace(settings, model=str(folder)) if folder.is_dir() else settings
        return settings


def model_identities(recipe: CaptionRecipe, functions: Mapping[str, Function]) -> dict[str, str]:
    """Return, by the names of backends, what decides their answers.

    Where a model is, how fast it is asked and what it costs do not. A model of a folder is known by its files, a
    function by its name (``function``, and ``model`` if that is given, which says that it is another one now).
    """
    return {settings.name: _identity(settings, recipe, settings.name in functions) for settings in recipe.backends}


def _identity(settings: BackendSettings, recipe: CaptionRecipe, is_given: bool) -> str:
    kind = settings.kind
    values: dict[str, Any] = {"kind": kind, "model": settings.model}
    if is_given or kind == "function":
        values |= {"kind": "function", "function": settings.function or settings.name}
    elif kind == "merger":
        values |= {"max_words": _summary_words(recipe), "version": MERGER_VERSION}
    else:
        values["temperature"] = settings.temperature
    if kind in HEAVY_KINDS:
        values |= {"dtype": settings.dtype, "frames_as": settings.frames_as, "revision": settings.revision}
        folder = Path(settings.model).expanduser() if settings.model else None
        if kind == "student":
            from cogvideox.data.captioning.students import PACKAGED, find_student

            folder = find_student(folder) if folder else PACKAGED[_packaged_task(recipe, settings.name)]
        if folder is not None and folder.is_dir():
            values["model"] = folder_digest(folder)
    return json.dumps(values, sort_keys=True)


def check_matcher(folder: Path) -> None:
    """Raise ValueError if a folder does not hold a CLIP or SigLIP model, as far as its settings say."""
    config = read_json(folder / "config.json") if folder.is_dir() else None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in MODEL_TYPES:
        got = f"one of type {kind}" if kind else "none"
        raise ValueError(f"check.match_model: expected a folder with a CLIP or SigLIP model, got {got} in {folder}")
    if not (folder / PREPROCESSOR).is_file():
        raise ValueError(f"check.match_model: expected {PREPROCESSOR} beside the model, got none in {folder}")


def find_function(settings: BackendSettings) -> Function:
    """Return the function that settings name, "file.py:name" or "package.module:name". Raises ValueError if none is."""
    where = f"backends {settings.name}: function"
    place, separator, name = settings.function.rpartition(":")
    if not separator or not place or not name:
        raise ValueError(f'{where}: expected "file.py:name" or "package.module:name", got {settings.function!r}')
    try:
        module = _module_of_file(Path(place).expanduser()) if place.endswith(".py") else importlib.import_module(place)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # the code is the user's, and may raise whatever it likes
        raise ValueError(f"{where}: {place} cannot be imported ({type(error).__name__}: {error})") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{where}: expected a function {name!r} in {place}, there is none")
    return function


def _module_of_file(path: Path) -> Any:
    known_by = f"{path.absolute()} {path.stat().st_mtime_ns}".encode(errors="surrogateescape")
    name = f"cogvideox_function_{hashlib.sha256(known_by).hexdigest()[:12]}"
    if name in sys.modules:  # what it does when it is imported may be large
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _packaged_task(recipe: CaptionRecipe, name: str) -> Any:
    """Return which of the packaged students a backend is: a summariser if it reads captions."""
    summary = recipe.summary
    return (
        "summariser" if summary is not None and summary.backend == name and summary.reads == "captions" else "captioner"
    )


def _summary_words(recipe: CaptionRecipe) -> int:
    return recipe.summary.max_words if recipe.summary is not None else 100


def folder_digest(folder: Path) -> str:
    """Return what a model's folder is known by: its files, the very large ones by their names and sizes only."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            size_bytes = path.stat().st_size
            digest.update(f"{path.relative_to(folder)} {size_bytes}\n".encode(errors="surrogateescape"))
            if size_bytes <= MAX_HASHED_BYTES:
                digest.update(path.read_bytes())
    return digest.hexdigest()


def estimated_tokens(request: CaptionRequest, answer: Answer) -> tuple[int, int]:
    """Return about how many tokens a question and its answer take, for servers that do not say.

    A token is about 4 characters, and a picture 28x28 pixels for each (the patches of common vision models).
    """
    characters = len(request.prompt) + len(request.rules) + len(request.rejected) + len(request.complaint)
    num_frames, height_px, width_px = request.frames.shape[:3]
    pictures = num_frames * math.ceil(height_px / 28) * math.ceil(width_px / 28)
    return math.ceil(characters / 4) + pictures, math.ceil(len(answer.text) / 4)


def expected_tokens(request: CaptionRequest) -> tuple[int, int]:
    """Return about how many tokens a question will take, and an answer of the usual length to it."""
    num_output_tokens = round(WORDS_PER_ANSWER[request.stage] * TOKENS_PER_WORD)
    return estimated_tokens(request, Answer(""))[0], num_output_tokens


def dollars_of(settings: BackendSettings, num_input_tokens: int, num_output_tokens: int) -> float:
    """Return what so many tokens cost."""
    paid = num_input_tokens * settings.dollars_per_million_input_tokens
    paid += num_output_tokens * settings.dollars_per_million_output_tokens
    return paid / 1e6
