"""CogVLM2-Caption, the video captioner of CogVideoX, whose model is code that comes with its weights.

What it takes, and how its answers are made, is as in the official captioning script
(https://github.com/zai-org/CogVideo, tools/caption/video_caption.py): a frame for each second, up to 24, in one video
beside the question; its own code resizes and normalises. Axes: T frames, H W rows and columns.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.chat.turns import Answer
from cogvideox.component_files import parse_dtype
from cogvideox.data.captioning.chat_backbone import KIND, memory_checked
from cogvideox.data.captioning.recipe import BackendSettings
from cogvideox.data.captioning.request import CaptionRequest
from cogvideox.data.captioning.transformers_models import TOO_LARGE, free_memory, loaded_or_broken, request_seed
from cogvideox.data.filters.video_backbone import (
    COMMIT,
    HUB_ID,
    BackboneSettings,
    backbone_folder,
    read_guarded,
    require_all_weights,
)
from cogvideox.data.libraries import transformers
from cogvideox.errors import CheckpointError

MAX_FRAMES = 24
PAD_TOKEN = 128002
"""Of LLaMA 3: reserved, and in no text."""
METHOD = "build_conversation_input_ids"


class CogVlm2Backend:
    """A CogVLM2-Caption model; a `cogvideox.data.captioning.request.CaptionBackend`. It is loaded when it is asked."""

    concurrency = 1

    def __init__(self, settings: BackendSettings) -> None:
        """Look whether its code may be run, without running it.

        Raises:
            ValueError: the settings do not say that its code may be run, or of which commit; or there is no such model.
        """
        where = f"backends {settings.name}"
        is_folder = Path(settings.model).expanduser().is_dir()
        if not settings.trusts_remote_code:
            raise ValueError(
                f"{where}: trusts_remote_code: {settings.model} is run by Python code that comes with it; read that "
                "code, then say trusts_remote_code = true and, unless it is a folder, revision = the commit you read"
            )
        if is_folder and settings.revision is not None:
            raise ValueError(f"{where}: revision: expected none, because {settings.model} is a folder")
        if not is_folder and not COMMIT.fullmatch(settings.revision or ""):
            raise ValueError(
                f"{where}: revision: expected a commit (40 digits) of the code of {settings.model} that you have read, "
                f"got {settings.revision!r}; or set model to a folder with the model and its code"
            )
        if not is_folder and not HUB_ID.fullmatch(settings.model):
            raise ValueError(f"{where}: model: no such folder: {settings.model}")
        self._settings = settings
        self.source = settings.model if is_folder else f"{settings.model}@{settings.revision}"
        self._loaded: tuple[Any, Any] | None = None

    def caption(self, request: CaptionRequest) -> Answer:
        """Return what the model says of a video.

        Raises:
            CheckpointError: there are no frames, or no usable model in that place: no other request would be answered
                either.
            ValueError: its code refuses the frames.
            DoesNotFitError: what it is asked is larger than the memory.
        """
        import torch

        from cogvideox.models.text_encoder import quiet_transformers

        if not len(request.frames):
            raise CheckpointError(
                f"{self.source}: it describes videos, and there are no frames to see; ask another model"
            )
        settings = self._settings
        with memory_checked(self.source, settings.device, TOO_LARGE), quiet_transformers():
            model, tokenizer = self._loaded = self._loaded or loaded_or_broken(self._load)
            inputs = self._inputs(model, tokenizer, request)
            num_read = int(inputs["input_ids"].shape[1])
            options = {"max_new_tokens": settings.max_tokens, "pad_token_id": PAD_TOKEN, "top_k": 1}
            options |= {"do_sample": False, "top_p": None, "temperature": None}
            if settings.temperature > 0:
                options |= {"do_sample": True, "top_k": None, "temperature": settings.temperature}
            cards = [torch.device(settings.device)] if torch.device(settings.device).type == "cuda" else []
            with torch.inference_mode(), torch.random.fork_rng(cards):
                torch.manual_seed(request_seed(request))
                tokens = model.generate(**inputs, **options)[0, num_read:].tolist()
            text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return Answer(
            text,
            is_cut=len(tokens) >= settings.max_tokens and tokens[-1] not in _ends(model, tokenizer),
            num_input_tokens=num_read,
            num_output_tokens=len(tokens),
        )

    def release(self) -> None:
        """Free the model's memory, also that of its device."""
        if self._loaded is not None:
            self._loaded = None
            free_memory(self._settings.device)

    def _inputs(self, model: Any, tokenizer: Any, request: CaptionRequest) -> dict[str, Any]:
        import torch

        frames = one_a_second(request.frames, request.times_s)
        # (C, T, H, W), values of 0 to 255: its code makes of them what it needs.
        video = torch.from_numpy(np.ascontiguousarray(frames.transpose(3, 0, 1, 2)))
        prompt = "\n\n".join(text for text in (request.rules, request.prompt) if text)
        history = [(prompt, request.rejected)] if request.complaint else []
        try:
            made = getattr(model, METHOD)(
                tokenizer=tokenizer,
                query=request.complaint or prompt,
                images=[video],
                history=history,
                template_version="chat",
            )
            device, dtype = self._settings.device, parse_dtype(self._settings.dtype)
            inputs: dict[str, Any] = {
                name: made[name].unsqueeze(0).to(device) for name in ("input_ids", "token_type_ids", "attention_mask")
            }
            return inputs | {"images": [[made["images"][0].to(device, dtype)]]}
        except (AttributeError, TypeError, KeyError, IndexError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"{self.source}: its code could not take {len(frames)} frames ({reason})") from error

    def _load(self) -> tuple[Any, Any]:
        """Return model and tokenizer."""
        library, settings = transformers(), self._settings
        folder = Path(settings.model).expanduser()
        if not folder.is_dir():
            folder = backbone_folder(
                BackboneSettings(source=settings.model, revision=settings.revision, trusts_remote_code=True)
            )
        flags = {"what": KIND, "local_files_only": True, "trust_remote_code": True}
        options = {"dtype": parse_dtype(settings.dtype), "use_safetensors": True, "output_loading_info": True}
        tokenizer = read_guarded(folder, library.AutoTokenizer.from_pretrained, **flags)
        with memory_checked(self.source, settings.device, TOO_LARGE):
            model, found = read_guarded(folder, library.AutoModelForCausalLM.from_pretrained, **options, **flags)
            model = model.requires_grad_(False).eval().to(settings.device)
        require_all_weights(found, folder)
        if not hasattr(model, METHOD):
            raise ValueError(
                f"{folder}: expected a CogVLM2 model, whose code has {METHOD}, got {type(model).__name__}; use the "
                'kind "transformers" for others'
            )
        return model, tokenizer


def one_a_second(frames: NDArray[np.uint8], times_s: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return the frame nearest to each second, none twice and at most `MAX_FRAMES`, of frames (T, H, W, 3) and times.

    Without times, or of shorter videos, frames are taken as they are.
    """
    if len(times_s) != len(frames):
        return frames[:MAX_FRAMES]
    times = np.asarray(times_s)
    seconds = times[0] + np.arange(round(float(times[-1] - times[0])) + 1)
    places = np.unique(np.abs(times[None] - seconds[:, None]).argmin(1))
    return frames[places[:MAX_FRAMES]]


def _ends(model: Any, tokenizer: Any) -> tuple[int | None, ...]:
    known = model.generation_config.eos_token_id
    return (*(known if isinstance(known, list | tuple) else (known,)), tokenizer.eos_token_id)
