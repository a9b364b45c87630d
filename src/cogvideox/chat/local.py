"""A language model of transformers, from files of this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogvideox.chat.turns import Answer, Turn, bounded_image
from cogvideox.errors import CheckpointError


class LocalModel:
    """An instruction-tuned causal language model, or an image-text model, of transformers; loaded when it is asked.

    Args:
        directory_or_id: a folder, or the id of a model in the Hugging Face cache.
        device: such as "cpu" or "cuda".
        dtype: "auto" (the checkpoint's own), "float32", "bfloat16" or "float16".
        max_tokens: of one answer.
        is_local_only: False lets transformers download the model.
    """

    def __init__(
        self,
        directory_or_id: str | Path,
        device: str = "cpu",
        dtype: str = "auto",
        *,
        max_tokens: int = 512,
        is_local_only: bool = True,
    ) -> None:
        self.source = str(directory_or_id)
        self._device, self._dtype = device, dtype
        self._max_tokens, self._is_local_only = max_tokens, is_local_only
        self._model: Any = None
        self._tokenizer: Any = None
        self._takes_images = False

    def answer(self, turns: Sequence[Turn]) -> Answer:
        """Return the likeliest answer to the last turn.

        Raises:
            CheckpointError: there is no usable model in that place.
            ValueError: there is an image, but the model reads text only; or it is not made for conversations.
        """
        import torch

        from cogvideox.models.text_encoder import quiet_transformers

        with quiet_transformers():
            model = self._loaded()
            if not self._takes_images and any(turn.images for turn in turns):
                raise ValueError(f"{self.source}: it reads no images; name an image-text model, or an endpoint")
            inputs = self._inputs(turns).to(self._device)
            with torch.inference_mode():
                tokens = model.generate(**inputs, max_new_tokens=self._max_tokens, do_sample=False)
            new_tokens = tokens[0, inputs["input_ids"].shape[1] :]
            text = self._tokenizer.decode(new_tokens, skip_special_tokens=True)
        return Answer(text, is_cut=len(new_tokens) >= self._max_tokens)

    def release(self) -> None:
        """Free the model's memory, also that of its device."""
        if self._model is None:
            return
        import gc

        import torch

        self._model = self._tokenizer = None
        gc.collect()
        if torch.device(self._device).type == "cuda":
            torch.cuda.empty_cache()

    def _loaded(self) -> Any:
        if self._model is not None:
            return self._model
        from transformers import (
            AutoConfig,
            AutoModelForCausalLM,
            AutoModelForImageTextToText,
            AutoProcessor,
            AutoTokenizer,
        )
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

        flags = {"local_files_only": self._is_local_only}
        try:
            self._takes_images = type(AutoConfig.from_pretrained(self.source, **flags)) in (
                MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
            )
            kind: Any = AutoModelForImageTextToText if self._takes_images else AutoModelForCausalLM
            reader = AutoProcessor if self._takes_images else AutoTokenizer
            self._tokenizer = reader.from_pretrained(self.source, **flags)
            model = kind.from_pretrained(self.source, dtype=self._dtype, use_safetensors=True, **flags)
            self._model = model.to(self._device).eval()
        except MemoryError:
            raise
        except Exception as error:  # transformers raises whatever it likes for a folder it cannot read
            if "out of memory" in str(error).lower():
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"{self.source}: no usable language model on this machine ({reason})") from None
        if not getattr(self._tokenizer, "chat_template", None):
            self.release()
            raise ValueError(f"{self.source}: it has no chat template; name an instruction-tuned model")
        return self._model

    def _inputs(self, turns: Sequence[Turn]) -> Any:
        from jinja2 import TemplateError

        flags: dict[str, Any] = {"add_generation_prompt": True, "tokenize": True}
        flags |= {"return_dict": True, "return_tensors": "pt"}
        if not self._takes_images:
            flags["enable_thinking"] = False  # read by the templates that know it
        try:
            return self._tokenizer.apply_chat_template(self._messages(turns), **flags)
        except TemplateError:  # a template without a system role
            first, second, *rest = turns
            merged = Turn("user", f"{first.text}\n\n{second.text}", second.images)
            return self._tokenizer.apply_chat_template(self._messages([merged, *rest]), **flags)

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        if not self._takes_images:
            return [{"role": turn.role, "content": turn.text} for turn in turns]
        messages = []
        for turn in turns:
            images = [{"type": "image", "image": bounded_image(image)} for image in turn.images]
            messages.append({"role": turn.role, "content": [*images, {"type": "text", "text": turn.text}]})
        return messages
