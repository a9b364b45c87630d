"""A video-language model of transformers as a maker of features: frames and a question in, one vector out.

Axes: T frames, H W rows and columns, D width of the language model.
"""

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cogvideox.chat.turns import Turn
from cogvideox.component_files import parse_dtype
from cogvideox.data.libraries import has_torchvision, transformers
from cogvideox.errors import MissingPackageError

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

FramesAs = Literal["video", "images"]
FramesChoice = Literal["auto", "video", "images"]
DtypeName = Literal["float32", "bfloat16", "float16"]

FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""What is read of a model; never pickles."""
NO_PART = ("generation_config.json", "README.txt")
"""Of those, what no feature depends on."""
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
NO_THOUGHTS: dict[str, Any] = {"enable_thinking": False}
"""To chat templates that know it: answers begin without."""
SHOWN_FPS = 2.0
"""The rate that models are told which ask for one; it is the same for every clip."""


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """Which model, and how it sees frames."""

    source: str
    """A folder as transformers saves it, or the name of a model on the hub."""
    revision: str | None = None
    """Of a model on the hub: a branch, a tag or a commit."""
    frames_as: FramesChoice = "auto"
    """"video" goes through the processor's video part, which needs torchvision; "images" shows the frames as several
    pictures; "auto" takes "video" where that works."""
    trusts_remote_code: bool = False
    """Run the code that comes with the model; only from the hub, at a ``revision`` that is a commit."""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError(
                "backbone: expected a folder with a video-language model, or its name on the hub, got none: "
                "--backbone Qwen/Qwen2.5-VL-3B-Instruct"
            )
        if self.trusts_remote_code and not COMMIT.fullmatch(self.revision or ""):
            raise ValueError(
                "trusts_remote_code: expected a revision that is a commit (40 digits) of code that you have read, got "
                f"{self.revision!r}"
            )
        if self.trusts_remote_code and Path(self.source).is_dir():
            raise ValueError("trusts_remote_code: expected a model on the hub, whose code has a commit, got a folder")


class VideoBackbone:
    """A loaded, frozen video-language model with its processor."""

    def __init__(
        self, model: Any, processor: Any, settings: BackboneSettings, folder: Path, frames_as: FramesAs
    ) -> None:
        self.model = model
        self.settings = settings
        self.folder = folder
        self.frames_as: FramesAs = frames_as
        self._processor = processor

    @classmethod
    def load(
        cls,
        settings: BackboneSettings,
        *,
        device: Any = "cpu",
        dtype: DtypeName = "float32",
        folder: Path | None = None,
    ) -> "VideoBackbone":
        """Load a model that takes videos, or several pictures, and answers in text.

        Args:
            settings: which.
            device: where it runs, as torch names it.
            dtype: of its weights.
            folder: where its files are, if it is known (`backbone_folder`).

        Raises:
            ValueError: there is none, it has no safetensors or chat template, or takes neither videos nor pictures.
            MissingPackageError: "video" was asked for and torchvision is not installed.
        """
        from cogvideox.models.text_encoder import quiet_transformers

        folder = backbone_folder(settings) if folder is None else folder
        library = transformers()
        flags: dict[str, Any] = {"local_files_only": True, "trust_remote_code": settings.trusts_remote_code}
        with quiet_transformers():
            config = read_guarded(folder, library.AutoConfig.from_pretrained, **flags)
            _check_kind(library, config, folder)
            processor, frames_as = _read_processor(library, config, folder, settings, flags)
            options = {"dtype": parse_dtype(dtype), "use_safetensors": True, "output_loading_info": True}
            model, found = read_guarded(folder, library.AutoModelForImageTextToText.from_pretrained, **options, **flags)
        require_all_weights(found, folder)
        model.config.get_text_config().use_cache = False
        model.requires_grad_(False)
        return cls(model.eval().to(device), processor, settings, folder, frames_as)

    @property
    def width(self) -> int:
        """D."""
        return int(self.model.config.get_text_config().hidden_size)

    def block_layers(self, *, has_mlp: bool) -> list[str]:
        """Return the names of the linear layers in the blocks of the language model: of attention, and of the rest."""
        num_blocks = int(self.model.config.get_text_config().num_hidden_layers)
        return linear_layers(self.model, self.model.get_decoder(), num_blocks, self.folder, has_mlp=has_mlp)

    @property
    def tokenizer(self) -> Any:
        """That of its processor."""
        return self._processor.tokenizer

    def inputs(self, frames: NDArray[np.uint8], question: str) -> "dict[str, Tensor]":
        """Return what the model takes for frames (T, H, W, 3) RGB and a question, on its device.

        Raises:
            ValueError: its processor or its chat template has no place for the frames.
        """
        video = self.frames_as == "video"
        parts = [{"type": "video", "video": frames}] if video else _image_parts(frames)
        messages = [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
        return self._prepare(messages, [_video_facts(frames, SHOWN_FPS)] if video else [], len(frames))

    def conversation(self, turns: Sequence[Turn], *, shown_fps: float = SHOWN_FPS) -> "dict[str, Tensor]":
        """Return what the model takes to answer the last turn, on its device.

        Args:
            turns: the pictures of one are frames of one clip, in order; a single one is shown as a picture by models
                that take pictures too.
            shown_fps: the rate that models are told which ask for one.

        Raises:
            ValueError: its processor or its chat template has no place for the frames.
        """
        messages, facts = self._messages(turns, shown_fps)
        return self._prepare(messages, facts, sum(len(turn.images) for turn in turns), **self._no_thoughts())

    def written(self, turns: Sequence[Turn], *, is_answered: bool) -> str:
        """Return a conversation as the chat template writes it, a place in it for each picture or video.

        The last turn is the answer if ``is_answered``; if not, the answer is begun.
        """
        messages, _ = self._messages(turns, SHOWN_FPS)
        return self._processor.apply_chat_template(
            messages, add_generation_prompt=not is_answered, tokenize=False, **self._template(), **self._no_thoughts()
        )

    def _messages(self, turns: Sequence[Turn], fps: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return turns as transformers takes them, and facts about the videos in them."""
        messages, facts = [], []
        takes_pictures = bool(getattr(self._processor, "image_processor", None))
        for turn in turns:
            parts: list[dict[str, Any]] = []
            if turn.images and self.frames_as == "video" and not (len(turn.images) == 1 and takes_pictures):
                frames = np.stack(turn.images)
                parts = [{"type": "video", "video": frames}]
                facts.append(_video_facts(frames, fps))
            elif turn.images:
                parts = _image_parts(turn.images)
            messages.append({"role": turn.role, "content": [*parts, {"type": "text", "text": turn.text}]})
        return messages, facts

    def _template(self) -> dict[str, Any]:
        # Passed only if the processor has none: some choose another one for videos by themselves.
        return {} if self._processor.chat_template else {"chat_template": self._processor.tokenizer.chat_template}

    def _no_thoughts(self) -> dict[str, Any]:
        """Return what keeps a chat template from thoughts. Not of all: processors warn of what a template knows not."""
        known = str(self._processor.chat_template or self._processor.tokenizer.chat_template)
        return NO_THOUGHTS if next(iter(NO_THOUGHTS)) in known else {}

    def _prepare(
        self, messages: list[dict[str, Any]], facts: list[dict[str, Any]], num_frames: int, **written: Any
    ) -> "dict[str, Tensor]":
        import torch

        from cogvideox.models.text_encoder import quiet_transformers

        options = {"do_sample_frames": False, "video_metadata": facts} if facts else {}
        flags = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
        with quiet_transformers():
            try:
                made = self._processor.apply_chat_template(
                    messages, processor_kwargs=options, **flags, **self._template(), **written
                )
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise ValueError(
                    f"backbone {self.folder}: its processor could not take {num_frames} frames as {self.frames_as} "
                    f"({reason})"
                ) from error
        tensors = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
        if num_frames and not any("pixel" in name for name in tensors):
            raise ValueError(f"backbone {self.folder}: its chat template has no place for {self.frames_as}")
        dtype, device = self.model.dtype, self.model.device
        return {name: value.to(device, dtype if value.is_floating_point() else None) for name, value in tensors.items()}

    def features(self, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """Return (D,) float32, the last hidden state at the last token."""
        core = self.model.base_model
        output = core(**inputs) if core is not self.model else None
        last = getattr(output, "last_hidden_state", None)
        if last is None:
            last = self.model(**inputs, output_hidden_states=True).hidden_states[-1]
        return last[0, -1].float()


def choose_frames(frames: NDArray[np.uint8], num_frames: int, max_side_px: int) -> NDArray[np.uint8]:
    """Return ``num_frames`` of the frames (T, H, W, 3), spread over them, the longer side at most ``max_side_px``.

    Short clips give some frames twice: models are shown the same number always. What has the right size already is
    returned as it is.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames: expected (T, H, W, 3) uint8 with at least one, got {frames.shape} {frames.dtype}")
    places = ((np.arange(num_frames) + 0.5) * len(frames) / num_frames).astype(np.int64)
    return np.stack([reduce_picture(frames[place], max_side_px) for place in places])


def reduce_picture(picture: NDArray[np.uint8], max_side_px: int) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) with a longer side of at most so many pixels; never enlarged."""
    height_px, width_px = picture.shape[:2]
    scale = max_side_px / max(height_px, width_px)
    if scale >= 1:
        return picture
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=None))


def backbone_folder(settings: BackboneSettings) -> Path:
    """Return the folder of a model: itself, or where the hub's files are kept, fetched if they are not there.

    Raises:
        ValueError: there is no such folder, and no such model on the hub, or the hub cannot be reached.
    """
    folder = Path(settings.source).expanduser()
    if folder.is_dir():
        if settings.revision is not None:
            raise ValueError(f"revision: expected none, because {folder} is a folder, got {settings.revision!r}")
        return folder
    if not HUB_ID.fullmatch(settings.source):
        raise ValueError(f"backbone: no such folder: {settings.source}")
    from huggingface_hub import snapshot_download

    patterns = [*FILES, *(["*.py"] if settings.trusts_remote_code else [])]
    where = {"repo_id": settings.source, "revision": settings.revision, "allow_patterns": patterns}
    try:
        try:
            return Path(snapshot_download(**where, local_files_only=True))
        except OSError:
            return Path(snapshot_download(**where))
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"backbone: {settings.source!r} is no folder, and no model that the hub gives ({reason}); name a folder "
            "that transformers saved"
        ) from None


def backbone_digest(folder: Path) -> str:
    """Return the SHA-256 of all files that a model's features depend on. Reads them whole, once in a process."""
    paths = {path for pattern in FILES for path in folder.glob(pattern) if path.name not in NO_PART}
    status = [(path, path.stat()) for path in sorted(paths)]
    return _digest(tuple((path, facts.st_size, facts.st_mtime_ns) for path, facts in status))


@cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.name} {digest}\n".encode())
    return whole.hexdigest()


def linear_layers(model: Any, stack: Any, num_blocks: int, folder: Path, *, has_mlp: bool) -> list[str]:
    """Return the names of the linear layers in the blocks of a part of a model: of attention, and of the rest."""
    from torch import nn

    names = {module: name for name, module in model.named_modules()}
    prefix = names[stack]
    for module, name in names.items():
        is_inside = not prefix or name.startswith(f"{prefix}.")
        if is_inside and isinstance(module, nn.ModuleList) and len(module) == num_blocks:
            found = [f"{name}.{inner}" for inner, layer in module.named_modules() if _is_linear(layer)]
            chosen = [layer for layer in found if has_mlp or "attn" in layer.lower() or "attention" in layer.lower()]
            if chosen:
                return chosen
    raise ValueError(
        f"backbone {folder}: expected a language model of {num_blocks} blocks with linear layers, got "
        f"{type(model).__name__} without"
    )


def _is_linear(layer: Any) -> bool:
    from torch import nn

    return isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"  # as GPT-2 writes it


def require_all_weights(found: Mapping[str, Any], folder: Path) -> None:
    """Raise ValueError if transformers found only some of a model's weights, as its loading info says."""
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ValueError(
            f"backbone {folder}: expected all weights, got none of {missing[:3]} ({len(missing)}); download it again"
        )


def read_guarded(folder: Path, read: Any, *, what: str = "video-language model", **flags: Any) -> Any:
    """Return what a reader of transformers makes of a folder. Raises ValueError if it cannot."""
    try:
        return read(folder, **flags)
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # it raises whatever it likes for a folder it cannot read
        if "out of memory" in str(error).lower():
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"backbone {folder}: no usable {what} ({reason})") from None


def _check_kind(library: Any, config: Any, folder: Path) -> None:
    known = library.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    has_own_code = "AutoModelForImageTextToText" in (getattr(config, "auto_map", None) or {})
    if "--" in str(getattr(config, "auto_map", "")):
        raise ValueError(f"backbone {folder}: its code is in another repository, which no revision pins")
    if not has_own_code and (type(config) not in known or config.is_encoder_decoder):
        raise ValueError(
            f"backbone {folder}: expected a model that reads videos or pictures and answers in text "
            f"(AutoModelForImageTextToText), got one of type {config.model_type}"
        )


def _read_processor(
    library: Any, config: Any, folder: Path, settings: BackboneSettings, flags: dict[str, Any]
) -> tuple[Any, FramesAs]:
    wanted = settings.frames_as
    try:
        processor = read_guarded(folder, library.AutoProcessor.from_pretrained, **flags)
    except ImportError as error:
        if has_torchvision():
            raise ValueError(f"backbone {folder}: its processor cannot be loaded ({error})") from None
        what = "its processor needs torchvision for videos: pip install torchvision (the build that fits your torch)"
        if wanted == "video":
            raise MissingPackageError(f"backbone {folder}: {what}") from None
        if wanted == "auto":
            logger.warning("backbone %s: %s; without it, its frames are shown as several pictures", folder, what)
        processor = _without_video(library, config, folder, flags)
    if not getattr(processor, "tokenizer", None):
        raise ValueError(f"backbone {folder}: expected a processor with a tokenizer, got {type(processor).__name__}")
    has_video = bool(getattr(processor, "video_processor", None))
    if wanted == "video" and not has_video:
        raise ValueError(f'backbone {folder}: its processor takes no videos; frames_as = "images" shows it pictures')
    if not has_video and not getattr(processor, "image_processor", None):
        raise ValueError(f"backbone {folder}: its processor takes neither videos nor pictures")
    if not (processor.chat_template or processor.tokenizer.chat_template):
        raise ValueError(f"backbone {folder}: it has no chat template; name an instruction-tuned model")
    return processor, "video" if has_video and wanted != "images" else "images"


def _without_video(library: Any, config: Any, folder: Path, flags: dict[str, Any]) -> Any:
    """Return a model's processor with its parts for text and pictures only, which need no torchvision."""
    kinds = library.models.auto.processing_auto.PROCESSOR_MAPPING
    kind = kinds.get(type(config), None)
    if kind is None:
        raise ValueError(f"backbone {folder}: transformers knows no processor for type {config.model_type}")
    readers = {"tokenizer": library.AutoTokenizer, "image_processor": library.AutoImageProcessor}
    parts = [
        read_guarded(folder, readers[name].from_pretrained, **flags) if name in readers else None
        for name in kind.get_attributes()
    ]
    values, _ = kind.get_processor_dict(folder, local_files_only=True)

    class Pictures(kind):
        """The processor, that may lack a part."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    return Pictures.from_args_and_dict(parts, values)


def _video_facts(frames: NDArray[np.uint8], fps: float) -> dict[str, Any]:
    count = len(frames)
    facts = {"total_num_frames": count, "fps": fps, "frames_indices": list(range(count))}
    return facts | {"duration": count / fps, "height": frames.shape[1], "width": frames.shape[2]}


def _image_parts(frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> list[dict[str, Any]]:
    return [{"type": "image", "image": Image.fromarray(frame)} for frame in frames]
