"""Models of transformers that caption single pictures and hold no conversations, as BLIP, GIT and Kosmos-2."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cogvideox.chat.turns import Answer
from cogvideox.component_files import parse_dtype
from cogvideox.data.filters.video_backbone import DtypeName, read_guarded, require_all_weights
from cogvideox.data.libraries import transformers
from cogvideox.errors import CheckpointError

WHAT = "picture captioner"
TAKES_NO_QUESTION = ("blip", "git", "blip-2", "pix2struct", "vision-encoder-decoder")
"""Kinds that go on with a question as with the beginning of a caption."""
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
SETTINGS_FILES = ("tokenizer_config.json", "processor_config.json")


def captions_pictures_only(folder: Path) -> bool:
    """Whether a model in a folder takes pictures, and has no chat template. Raises ValueError if none is readable."""
    library = transformers()
    if any((folder / name).exists() for name in TEMPLATE_FILES):
        return False
    for path in (folder / name for name in SETTINGS_FILES):
        if path.exists() and '"chat_template"' in path.read_text(encoding="utf-8", errors="replace"):
            return False
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"backbone {folder}: no usable model (config.json: {error})") from None
    return kind in library.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


class PictureModel:
    """A loaded, frozen model that captions a picture."""

    def __init__(self, model: Any, processor: Any, folder: Path) -> None:
        self._model = model
        self._processor = processor
        self._folder = folder

    @classmethod
    def load(cls, folder: Path, *, device: Any, dtype: DtypeName, trusts_remote_code: bool) -> "PictureModel":
        """Read a model from a folder, as transformers saves it. Raises ValueError if there is no usable one."""
        from cogvideox.models.text_encoder import quiet_transformers

        library = transformers()
        flags: dict[str, Any] = {"what": WHAT, "local_files_only": True, "trust_remote_code": trusts_remote_code}
        options = {"dtype": parse_dtype(dtype), "use_safetensors": True, "output_loading_info": True}
        with quiet_transformers():
            processor = read_guarded(folder, library.AutoProcessor.from_pretrained, **flags)
            model, found = read_guarded(folder, library.AutoModelForImageTextToText.from_pretrained, **options, **flags)
        require_all_weights(found, folder)
        return cls(model.requires_grad_(False).eval().to(device), processor, folder)

    def caption(
        self,
        frames: NDArray[np.uint8],
        question: str,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Answer:
        """Return what the model says of the only one of frames (T, H, W, 3) RGB.

        Args:
            frames: one.
            question: models that take none describe the picture.
            max_tokens: of the answer.
            temperature: 0 takes the likeliest words.
            seed: of the others.

        Raises:
            CheckpointError: there are none, or several.
        """
        import torch

        from cogvideox.models.text_encoder import quiet_transformers

        if len(frames) != 1:
            raise CheckpointError(
                f"{self._folder}: it captions one picture at a time, got {len(frames)}: take it for [frames], or for "
                "[short] with num_frames = 1; a model with a chat template takes several"
            )
        model = self._model
        asked = {} if model.config.model_type in TAKES_NO_QUESTION else {"text": question}
        chosen: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            chosen = {"do_sample": True, "temperature": temperature}
        with (
            torch.inference_mode(),
            torch.random.fork_rng([model.device] if model.device.type == "cuda" else []),
            quiet_transformers(),
        ):
            torch.manual_seed(seed)
            made = self._processor(images=Image.fromarray(frames[0]), **asked, return_tensors="pt")
            inputs = {
                name: value.to(model.device, model.dtype if value.is_floating_point() else None)
                for name, value in made.items()
            }
            said = model.generate(**inputs, max_new_tokens=max_tokens, **chosen)[0].tolist()
        read = inputs["input_ids"][0].tolist() if "input_ids" in inputs else []
        said = said[len(read) :] if read and said[: len(read)] == read else said
        text = self._processor.decode(said, skip_special_tokens=True).strip()
        ends = (model.generation_config.eos_token_id, getattr(self._processor.tokenizer, "sep_token_id", None))
        return Answer(
            text,
            is_cut=len(said) >= max_tokens and said[-1] not in ends,
            num_input_tokens=len(read),
            num_output_tokens=len(said),
        )
