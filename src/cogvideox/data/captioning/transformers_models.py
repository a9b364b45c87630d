"""Models of transformers as captioners: any that takes pictures or videos, and language models for summaries."""

import gc
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cogvideox.chat.turns import Answer
from cogvideox.data.captioning.adapters import put_adapter
from cogvideox.data.captioning.chat_backbone import ChatBackbone, memory_checked
from cogvideox.data.captioning.picture_models import PictureModel, captions_pictures_only
from cogvideox.data.captioning.recipe import BackendSettings
from cogvideox.data.captioning.request import CaptionRequest
from cogvideox.data.filters.video_backbone import HUB_ID, SHOWN_FPS, BackboneSettings, backbone_digest, backbone_folder
from cogvideox.errors import CheckpointError

T = TypeVar("T")
TOO_LARGE = "show it fewer or smaller frames, ask for fewer max_tokens, or choose another device or a smaller dtype"


class TransformersBackend:
    """A model of transformers; a `cogvideox.data.captioning.request.CaptionBackend`. It is loaded when it is asked."""

    concurrency = 1

    def __init__(
        self,
        settings: BackendSettings,
        *,
        base: BackboneSettings | None = None,
        base_digest: str = "",
        adapter: Path | None = None,
    ) -> None:
        """Look whether there can be such a model, without reading it.

        Args:
            settings: of the recipe.
            base: the model, if it is not the one that they name.
            base_digest: `backbone_digest` of it, which it must have to be used; empty takes any.
            adapter: a folder with a low-rank adapter of it, as peft writes it.

        Raises:
            ValueError: it is neither a folder nor a name of the hub, or may not run its own code.
        """
        self._settings = settings
        self._base = base or BackboneSettings(
            source=settings.model,
            revision=settings.revision,
            frames_as=settings.frames_as,
            trusts_remote_code=settings.trusts_remote_code,
        )
        name = self._base.source
        if not Path(name).expanduser().is_dir() and not HUB_ID.fullmatch(name):
            raise ValueError(f"backends {settings.name}: model: no such folder: {name}")
        self._base_digest, self._adapter = base_digest, adapter
        self.source = name if self._base.revision is None else f"{name}@{self._base.revision}"
        self._loaded: ChatBackbone | PictureModel | None = None

    def caption(self, request: CaptionRequest) -> Answer:
        """Return what the model says.

        Raises:
            CheckpointError: there is no usable model in that place, it is larger than the memory, or it does not take
                so many frames: no other request would be answered either.
            ValueError: frames and texts are too long, or its processor refuses them.
            DoesNotFitError: what it is asked is larger than the memory.
        """
        settings = self._settings
        model = self._loaded = self._loaded or loaded_or_broken(self._load)
        options: dict[str, Any] = {"max_tokens": settings.max_tokens, "temperature": settings.temperature}
        options["seed"] = request_seed(request)
        with memory_checked(self.source, settings.device, TOO_LARGE):
            if isinstance(model, PictureModel):
                question = "\n\n".join(turn.text for turn in request.turns())
                return model.caption(request.frames, question, **options)
            inputs = model.inputs(request.turns(), shown_fps=shown_rate(request.times_s))
            tokens, is_cut = model.generate(inputs, **options)
        return Answer(
            model.text(tokens),
            is_cut=is_cut,
            num_input_tokens=int(inputs["input_ids"].shape[1]),
            num_output_tokens=len(tokens),
        )

    def release(self) -> None:
        """Free the model's memory, also that of its device."""
        if self._loaded is not None:
            self._loaded = None
            free_memory(self._settings.device)

    def _load(self) -> ChatBackbone | PictureModel:
        from cogvideox.machine import parse_device

        settings, base = self._settings, self._base
        device, folder = parse_device(settings.device), backbone_folder(base)
        if self._base_digest and backbone_digest(folder) != self._base_digest:
            raise ValueError(
                f"{self._adapter}: the model in {folder} is not the one that it was trained on; put that one there, or "
                "train again"
            )
        if self._adapter is None and captions_pictures_only(folder):
            with memory_checked(self.source, device, TOO_LARGE):
                return PictureModel.load(
                    folder, device=device, dtype=settings.dtype, trusts_remote_code=base.trusts_remote_code
                )
        backbone = ChatBackbone.load(base, device=device, dtype=settings.dtype)
        if self._adapter is not None:
            put_adapter(backbone, self._adapter)
        return backbone


def loaded_or_broken(load: Callable[[], T]) -> T:
    """Return what ``load`` returns. Raises CheckpointError for its ValueError: no request can be answered then."""
    try:
        return load()
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def shown_rate(times_s: tuple[float, ...]) -> float:
    """Return the frames per second of times in order; `SHOWN_FPS` if they do not say."""
    length_s = times_s[-1] - times_s[0] if times_s else 0.0
    return (len(times_s) - 1) / length_s if length_s > 0 else SHOWN_FPS


def request_seed(request: CaptionRequest) -> int:
    """Return the seed of chance in an answer: the same for the same question, another for every repetition."""
    facts = (request.stage, request.clip_id, request.prompt, request.rejected, request.complaint)
    return int.from_bytes(hashlib.sha256("\0".join(facts).encode()).digest()[:7], "big")


def free_memory(device: str) -> None:
    """Give memory back that nothing uses any more."""
    import torch

    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
