"""What clients ask for: fields checked one by one, then completed by what the model decides."""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from cogvideox.configs import GuidanceMode
from cogvideox.generation.model_limits import DEFAULT_STRENGTH
from cogvideox.generation.prompt_language import noticed_language, unknown_share
from cogvideox.media.geometry import longest_clip, shortest_clip
from cogvideox.serving.errors import ApiError, ErrorCode, describe
from cogvideox.serving.job import MAX_SEED
from cogvideox.serving.model_catalog import (
    DEFAULT_GUIDANCE_SCALE,
    DEFAULT_NUM_STEPS,
    MAX_FPS,
    MAX_GUIDANCE_SCALE,
    MAX_STEPS,
    CatalogModel,
)
from cogvideox.serving.video_params import VideoParams, VideoTaskName

MAX_SECONDS = 600
MAX_URL_LENGTH = 4096
DATA_URL_PREFIX = "data:"
PromptLanguage = Literal["auto", "reject", "asis"]
Truncation = Literal["warn", "error"]
ALLOWED_CONTROLS = "\t\n\r"
BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
BLANKS |= frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
"""Letters, marks and symbols that show nothing: fillers of Hangul, selectors of variants, Braille without dots."""
MAX_COMPOSED = 4
"""Code points that the normal form C makes one of, at most."""
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
_SECONDS = re.compile(r"[1-9][0-9]{0,2}")


@dataclass(frozen=True, kw_only=True)
class SourceRef:
    """What a video starts from, if it is not a file of the request."""

    image_url: str | None = None
    video_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client asked for, each value by itself in range; None where it said nothing."""

    prompt: str
    model: str | None = None
    seconds: int | None = None
    size: tuple[int, int] | None = None
    """Width and height."""
    negative_prompt: str | None = None
    original_prompt: str | None = None
    """What the prompt was before it was written anew; for the record only."""
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_mode: GuidanceMode | None = None
    sampler: str | None = None
    strength: float | None = None
    seed: int | None = None
    fps: float | None = None
    num_frames: int | None = None
    truncation: Truncation = "warn"
    prompt_language: PromptLanguage = "auto"
    input_reference: SourceRef | None = None
    video: SourceRef | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A decoded picture or video that a video starts from."""

    task: VideoTaskName
    num_frames: int = 1
    fps: float = 0.0
    """Of a video."""


@dataclass(frozen=True, kw_only=True)
class PromptFacts:
    """How the model reads a prompt."""

    num_tokens: int
    max_tokens: int
    unknown_share: float
    """Of its letters, 0 to 1."""
    warnings: tuple[Mapping[str, Any], ...]


Reader = Callable[[str, Any, bool], Any]
"""Takes a field's name, its value and whether that is text of a form; returns the value or raises ApiError."""


def _invalid(name: str, expected: str, value: Any, code: ErrorCode = "invalid_param") -> ApiError:
    return ApiError(code, f"{name}: expected {expected}, got {describe(value)}", param=name)


def _text(max_length: int) -> Reader:
    def read(name: str, value: Any, _: bool) -> str:
        if not isinstance(value, str) or len(value) > max_length or _forbidden_character(value) is not None:
            raise _invalid(name, f"at most {max_length} characters of text", value)
        return value

    return read


def _integer(lowest: int, highest: int) -> Reader:
    def read(name: str, value: Any, is_form: bool) -> int:
        if is_form and isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise _invalid(name, f"an integer of {lowest} to {highest}", value)
        return value

    return read


def _number(lowest: float, highest: float) -> Reader:
    def read(name: str, value: Any, is_form: bool) -> float:
        if is_form and isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Neither NaN nor infinities are within bounds.
        if not is_number or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise _invalid(name, f"a number of {lowest:g} to {highest:g}", value)
        return float(value)

    return read


def _choice(*known: str) -> Reader:
    def read(name: str, value: Any, _: bool) -> str:
        if value not in known or not isinstance(value, str):
            raise _invalid(name, f"one of {', '.join(known)}", value)
        return value

    return read


def _seconds(name: str, value: Any, _: bool) -> int:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SECONDS:
        raise _invalid(name, f"whole seconds, 1 to {MAX_SECONDS}", value, "invalid_seconds")
    return value


def _size(name: str, value: Any, _: bool) -> tuple[int, int]:
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _invalid(name, "WIDTHxHEIGHT in pixels, such as 720x480", value, "invalid_size")
    return int(found[1]), int(found[2])


def _source(kind: Literal["image_url", "id"]) -> Reader:
    def read(name: str, value: Any, _: bool) -> SourceRef:
        if not isinstance(value, dict) or len(value) != 1 or not all(isinstance(part, str) for part in value.values()):
            raise _invalid(name, f"a file, or an object with {kind}", value)
        ((key, text),) = value.items()
        if key != kind:
            raise ApiError("invalid_param", f"{name}.{describe(key)}: only {kind} is known here", param=name)
        if kind == "id":
            return SourceRef(video_id=text)
        if text[: len(DATA_URL_PREFIX)].lower() != DATA_URL_PREFIX and len(text) > MAX_URL_LENGTH:
            raise _invalid(name, f"an address of at most {MAX_URL_LENGTH} characters", text)
        return SourceRef(image_url=text)

    return read


READERS: dict[str, Reader] = {
    "model": _text(255),
    "seconds": _seconds,
    "size": _size,
    "width": _integer(1, 99_999),
    "height": _integer(1, 99_999),
    "num_inference_steps": _integer(1, MAX_STEPS),
    "guidance_scale": _number(0, MAX_GUIDANCE_SCALE),
    "guidance_mode": _choice(*get_args(GuidanceMode)),
    "sampler": _text(64),
    "strength": _number(0, 1),
    "seed": _integer(0, MAX_SEED),
    "fps": _number(1, MAX_FPS),
    "num_frames": _integer(1, 100_000),
    "truncation": _choice(*get_args(Truncation)),
    "prompt_language": _choice(*get_args(PromptLanguage)),
    "n": _integer(1, 1),
    "user": _text(255),
}
"""Of the fields that all requests for videos have, but the prompts."""
_NOT_KEPT = ("n", "user", "width", "height")
OTHER_PROMPTS = ("negative_prompt", "original_prompt")

Kind = Literal["create", "edit", "remix"]
SOURCES: dict[Kind, dict[str, Reader]] = {
    "create": {"input_reference": _source("image_url")},
    "edit": {"video": _source("id")},
    "remix": {},
}


def known_fields(kind: Kind) -> tuple[str, ...]:
    """Return the names of all fields that a request may have."""
    return ("prompt", *OTHER_PROMPTS, *READERS, *SOURCES[kind], "extra_body")


def read_asked(fields: Mapping[str, Any], *, kind: Kind, is_form: bool, max_prompt_length: int) -> Asked:
    """Return what a request asks for.

    Args:
        fields: of JSON, or of a form.
        kind: of request: they differ in what a video may start from.
        is_form: numbers are text.
        max_prompt_length: of prompts, in code points.

    Raises:
        ApiError: a field is unknown, or its value out of range.
    """
    values = _merged(fields, is_form)
    known = known_fields(kind)
    for name in values:
        if name not in known:
            raise ApiError("unknown_field", f"{describe(name)}: there is no such field", param=name)
    asked: dict[str, Any] = {"prompt": read_prompt(values.get("prompt"), max_prompt_length)}
    for name in OTHER_PROMPTS:
        if values.get(name) is not None:
            asked[name] = _checked_prompt(name, values[name], max_prompt_length)
    for name, read in (READERS | SOURCES[kind]).items():
        if values.get(name) is not None:
            asked[name] = read(name, values[name], is_form)
    asked |= _size_of(asked)
    return Asked(**{name: value for name, value in asked.items() if name not in _NOT_KEPT})


def _merged(fields: Mapping[str, Any], is_form: bool) -> dict[str, Any]:
    """Return fields with those of ``extra_body``, which some clients send as it is."""
    values = dict(fields)
    extra = values.pop("extra_body", None)
    if is_form and isinstance(extra, str):
        try:
            extra = json.loads(extra)
        except (ValueError, RecursionError):
            raise _invalid("extra_body", "a JSON object", extra) from None
        if isinstance(extra, dict):  # numbers stay text, as everything of a form is
            extra = {name: value if isinstance(value, str) else json.dumps(value) for name, value in extra.items()}
    if extra is None:
        return values
    if not isinstance(extra, dict) or "extra_body" in extra or extra.keys() & values.keys():
        raise _invalid("extra_body", "a JSON object of other fields", extra)
    return values | extra


def _size_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    sides = asked.get("width"), asked.get("height")
    if sides == (None, None):
        return {}
    if None in sides:
        raise ApiError("invalid_size", "width, height: give both of them, or size", param="size")
    if asked.get("size", sides) != sides:
        raise ApiError("invalid_size", "size: differs from width and height; give one of them", param="size")
    return {"size": sides}


def read_prompt(value: Any, max_length: int) -> str:
    """Return a prompt as it was sent. Raises ApiError if there is none, or it is no text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ApiError("missing_prompt", "prompt: say what the video shows", param="prompt")
    prompt = _checked_prompt("prompt", value, max_length)
    if not any(unicodedata.category(letter)[0] in "LNPSM" and letter not in BLANKS for letter in prompt):
        raise ApiError("missing_prompt", "prompt: say what the video shows", param="prompt")
    return prompt


def _checked_prompt(name: str, value: Any, max_length: int) -> str:
    if not isinstance(value, str):
        raise _invalid(name, "text", value)
    # The bound on the raw text first: normalising a megabyte takes time.
    if len(value) > MAX_COMPOSED * max_length or composed_length(value) > max_length:
        raise ApiError("prompt_too_long", f"{name}: expected at most {max_length} characters", param=name)
    if (found := _forbidden_character(value)) is not None:
        raise ApiError(
            "invalid_param", f"{name}: it has the character U+{ord(found):04X}, which is no text", param=name
        )
    return value


def composed_length(text: str) -> int:
    """Return how many code points text has in the normal form C, in a time that grows with its length alone.

    Python sorts each run of combining marks by insertion: thousands of them hold up the whole process. What is sorted
    already stays as it is, so they are sorted before (UAX 15, section 1.3: canonical ordering).
    """
    if text.isascii():
        return len(text)
    ordered: list[str] = []
    marks: list[str] = []
    for letter in "".join(unicodedata.normalize("NFD", each) for each in text):
        if unicodedata.combining(letter):
            marks.append(letter)
            continue
        ordered += sorted(marks, key=unicodedata.combining)
        ordered.append(letter)
        marks = []
    return len(unicodedata.normalize("NFC", "".join(ordered + sorted(marks, key=unicodedata.combining))))


def _forbidden_character(text: str) -> str | None:
    """Return a control character or half a character, if there is one."""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in ALLOWED_CONTROLS:
            return character
    return None


def fingerprint(asked: Asked, *, kind: Kind, model: str, inputs: Mapping[str, str]) -> str:
    """Return a digest of what a client sent: equal for the same request sent twice (P8).

    Args:
        asked: the fields.
        kind: of request.
        model: that is meant.
        inputs: SHA-256 of files, or ids of videos, by role.
    """
    reference = asked.input_reference
    if reference is not None and (reference.image_url or "")[: len(DATA_URL_PREFIX)].lower() == DATA_URL_PREFIX:
        asked = replace(asked, input_reference=None)  # the digest of what is in it stands for it
    values = {"kind": kind, "asked": asdict(asked), "model": model, "inputs": dict(inputs)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_prompt_facts(asked: Asked, model: CatalogModel) -> PromptFacts:
    """Return how a model reads a prompt. Raises ApiError if the client wants to be refused then."""
    num_tokens, max_tokens = model.tokens.count(asked.prompt), model.tokens.max_tokens
    warnings: list[dict[str, Any]] = []
    if num_tokens > max_tokens:
        message = f"prompt: it has {num_tokens} tokens, and this model reads the first {max_tokens}"
        if asked.truncation == "error":
            raise ApiError("prompt_tokens_exceeded", message, param="prompt")
        warnings.append({"code": "prompt_truncated", "message": message, "param": "prompt"})
    if asked.original_prompt is not None:
        message = "prompt: it was written anew; original is what it was"
        original = asked.original_prompt
        warnings.append({"code": "prompt_rewritten", "message": message, "param": "prompt", "original": original})
    share = unknown_share(asked.prompt, model.tokens)
    notice = noticed_language(asked.prompt, share)
    if notice is not None and asked.prompt_language != "asis":
        percent = round(100 * notice.share)
        message = f"prompt: {percent} % of its letters are unknown to this model ({notice.script}); it reads English"
        if asked.prompt_language == "reject":
            raise ApiError("prompt_language_unsupported", message, param="prompt")
        warnings.append({"code": "prompt_language", "message": message, "param": "prompt"})
    return PromptFacts(
        num_tokens=num_tokens, max_tokens=max_tokens, unknown_share=round(share, 4), warnings=tuple(warnings)
    )


def complete(
    asked: Asked, model: CatalogModel, source: Source | None, *, is_lenient: bool = False
) -> tuple[VideoParams, list[dict[str, Any]]]:
    """Return the effective settings of a video, and what differs from what was asked for.

    Raises:
        ApiError: the model cannot make it.
    """
    warnings: list[dict[str, Any]] = []
    task: VideoTaskName = "text" if source is None else source.task
    check_task(task, model)
    if asked.strength is not None and task != "video":
        raise ApiError("invalid_param", "strength: only for a video that is made over", param="strength")
    width_px, height_px = _chosen_size(asked, model, is_lenient, warnings)
    fps, num_frames = _chosen_length(asked, model, source, warnings)
    try:
        sampler = model.limits.choose_sampler(asked.sampler)
    except ValueError as error:
        raise ApiError("invalid_param", str(error), param="sampler") from None
    max_steps = min(MAX_STEPS, model.limits.noise_schedule.num_train_timesteps)
    num_steps = min(DEFAULT_NUM_STEPS, max_steps) if asked.num_inference_steps is None else asked.num_inference_steps
    if num_steps > max_steps:
        raise _invalid("num_inference_steps", f"at most {max_steps}", num_steps)
    params = VideoParams(
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt or "",
        task=task,
        num_frames=num_frames,
        height_px=height_px,
        width_px=width_px,
        fps=fps,
        num_steps=num_steps,
        guidance_scale=DEFAULT_GUIDANCE_SCALE if asked.guidance_scale is None else asked.guidance_scale,
        guidance_mode=asked.guidance_mode or "constant",
        sampler=sampler,
        strength=(DEFAULT_STRENGTH if asked.strength is None else asked.strength) if task == "video" else None,
    )
    return params, warnings


def check_task(task: VideoTaskName, model: CatalogModel) -> None:
    """Raise ApiError if a model does not start from that."""
    if task in model.input_kinds:
        return
    if model.limits.takes_image:
        raise ApiError("invalid_param", f"{model.name}: it needs an image to start from", param="input_reference")
    raise ApiError(
        "invalid_param", f"{model.name}: it does not start from an image; name a model that does", param="model"
    )


def _chosen_size(
    asked: Asked, model: CatalogModel, is_lenient: bool, warnings: list[dict[str, Any]]
) -> tuple[int, int]:
    sizes = model.sizes_px
    if asked.size is None:
        return sizes[0]
    if asked.size in sizes:
        return asked.size
    known = ", ".join(f"{width}x{height}" for width, height in sizes)
    text = f"{asked.size[0]}x{asked.size[1]}"
    if not is_lenient:
        raise ApiError("invalid_size", f"size: expected one of {known}, got {text}", param="size")
    ratio = asked.size[0] / asked.size[1]
    nearest = min(sizes, key=lambda size: abs(math.log(size[0] / size[1] / ratio)))
    message = f"size: {text} became {nearest[0]}x{nearest[1]}, the nearest that this model makes"
    warnings.append({"code": "size_changed", "message": message, "param": "size"})
    return nearest


def _chosen_length(
    asked: Asked, model: CatalogModel, source: Source | None, warnings: list[dict[str, Any]]
) -> tuple[float, int]:
    """Return the rate and the number of frames."""
    limits = model.limits
    native, compression = limits.native_num_frames, limits.autoencoder.temporal_compression_ratio
    is_video = source is not None and source.task == "video"
    longest = limits.num_frames_of_source(source.num_frames) if source is not None and is_video else native
    fps = asked.fps or (min(max(source.fps, 1.0), MAX_FPS) if source is not None and is_video else limits.native_fps)
    if asked.num_frames is not None and asked.seconds is not None:
        raise ApiError("invalid_param", "num_frames, seconds: give one of them, not both", param="num_frames")
    if asked.num_frames is not None:
        nearest = _nearest_length(asked.num_frames, longest, compression)
        if nearest != asked.num_frames:
            double = 2 * compression
            expected = f"{double}k or {double}k + 1, at most {longest}"
            raise ApiError(
                "invalid_param",
                f"num_frames: expected {expected}, got {asked.num_frames}; the nearest is {nearest}",
                param="num_frames",
            )
        return fps, nearest
    if asked.seconds is None:
        return fps, longest
    wanted = round(asked.seconds * fps)
    # Models are trained on 8k + 1 frames; a source video may be shorter by that one.
    double = 2 * compression
    num_frames = min(max(round((wanted - 1) / double), 0) * double + 1, longest)
    if wanted > longest + compression:
        message = f"seconds: {asked.seconds} s became {num_frames / fps:.1f} s, the longest that can be made here"
        warnings.append({"code": "seconds_reduced", "message": message, "param": "seconds"})
    return fps, num_frames


def _nearest_length(num_frames: int, longest: int, compression: int) -> int:
    wanted = max(min(num_frames, longest), 1)
    below, above = longest_clip(wanted, compression), shortest_clip(wanted, compression)
    return above if above <= longest and above - wanted < wanted - below else below


def asked_text(params: VideoParams) -> dict[str, Any]:
    """Return effective settings by the names that requests have for them."""
    return {
        "prompt": params.prompt,
        "negative_prompt": params.negative_prompt,
        "size": f"{params.width_px}x{params.height_px}",
        "num_frames": params.num_frames,
        "fps": params.fps,
        "num_inference_steps": params.num_steps,
        "guidance_scale": params.guidance_scale,
        "guidance_mode": params.guidance_mode,
        "sampler": params.sampler,
        "strength": params.strength,
        "input_kind": params.task,
    }
