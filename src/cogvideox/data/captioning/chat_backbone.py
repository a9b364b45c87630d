"""Any model of transformers that continues a conversation: with pictures or videos, text only, or from text to text.

What is said to it in training and in use is made here, once. Axes: S tokens read, V tokens known.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogvideox.chat.turns import Turn
from cogvideox.component_files import parse_dtype
from cogvideox.data.filters.video_backbone import (
    NO_THOUGHTS,
    SHOWN_FPS,
    BackboneSettings,
    DtypeName,
    VideoBackbone,
    backbone_folder,
    linear_layers,
    read_guarded,
    require_all_weights,
)
from cogvideox.data.libraries import transformers
from cogvideox.errors import CheckpointError, DoesNotFitError

if TYPE_CHECKING:
    from torch import Tensor

KIND = "language model"
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch says of devices and of the machine."""
PROBE = "Nothing but facts."
"""Rules that show whether a chat template keeps them."""


class ChatBackbone:
    """A loaded, frozen model with what writes its inputs and reads its outputs."""

    def __init__(
        self, model: Any, tokenizer: Any, settings: BackboneSettings, folder: Path, video: VideoBackbone | None = None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self.folder = folder
        self.video = video
        """The same model, if it takes frames."""
        self.is_seq2seq = bool(model.config.is_encoder_decoder)
        self._takes_rules = not self.is_seq2seq and self._keeps_rules()

    @classmethod
    def load(cls, settings: BackboneSettings, *, device: Any = "cpu", dtype: DtypeName = "float32") -> "ChatBackbone":
        """Load a model: with pictures or videos if it takes them, else a causal one with a chat template, or T5's kind.

        Raises:
            ValueError: there is none, it has no safetensors, no chat template, or is no model of these kinds.
            DoesNotFitError: it is larger than the memory.
        """
        from cogvideox.models.text_encoder import quiet_transformers

        library = transformers()
        folder = backbone_folder(settings)
        flags = {"what": KIND, "local_files_only": True, "trust_remote_code": settings.trusts_remote_code}
        with memory_checked(settings.source, device, "choose another device, or a smaller dtype"):
            with quiet_transformers():
                config = read_guarded(folder, library.AutoConfig.from_pretrained, **flags)
            if _takes_frames(library, config):
                video = VideoBackbone.load(settings, device=device, dtype=dtype, folder=folder)
                return cls(video.model, video.tokenizer, settings, folder, video)
            tables = library.models.auto.modeling_auto
            is_seq2seq = type(config) in tables.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
            has_own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
            if not (is_seq2seq or has_own_code or type(config) in tables.MODEL_FOR_CAUSAL_LM_MAPPING):
                raise ValueError(
                    f"backbone {folder}: expected a model that answers in text, got one of type {config.model_type}"
                )
            kind: Any = library.AutoModelForSeq2SeqLM if is_seq2seq else library.AutoModelForCausalLM
            with quiet_transformers():
                tokenizer = read_guarded(folder, library.AutoTokenizer.from_pretrained, **flags)
                if not is_seq2seq and not tokenizer.chat_template:
                    raise ValueError(f"backbone {folder}: it has no chat template; name an instruction-tuned model")
                options = {"dtype": parse_dtype(dtype), "use_safetensors": True, "output_loading_info": True}
                model, found = read_guarded(folder, kind.from_pretrained, **options, **flags)
            require_all_weights(found, folder)
            model.requires_grad_(False)
            return cls(model.eval().to(device), tokenizer, settings, folder)

    @property
    def takes_frames(self) -> bool:
        """Whether it sees."""
        return self.video is not None

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer, the tokenizer's own last. Raises ValueError if there are none."""
        known = self.model.generation_config.eos_token_id
        tokens = [] if known is None else list(known) if isinstance(known, list | tuple) else [known]
        own = self.tokenizer.eos_token_id
        if own is not None and own not in tokens:
            tokens.append(own)
        if not tokens:
            raise ValueError(f"backbone {self.folder}: it has no token that ends an answer")
        return tuple(tokens)

    @property
    def max_positions(self) -> int | None:
        """Tokens that it can tell apart, question and answer together (seq2seq: each alone); None for no limit."""
        value = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(value) if isinstance(value, int) and value > 0 else None

    def block_layers(self, *, has_mlp: bool) -> list[str]:
        """Return the names of the linear layers in its blocks: of attention, and of the rest. Never of what sees."""
        if self.video is not None:
            return self.video.block_layers(has_mlp=has_mlp)
        config = self.model.config
        if not self.is_seq2seq:
            return linear_layers(
                self.model, self.model.get_decoder(), int(config.num_hidden_layers), self.folder, has_mlp=has_mlp
            )
        num_encoder = int(getattr(config, "encoder_layers", config.num_hidden_layers))
        num_decoder = int(getattr(config, "decoder_layers", getattr(config, "num_decoder_layers", None) or num_encoder))
        encoder, decoder = self.model.get_encoder(), self.model.get_decoder()
        first = linear_layers(self.model, encoder, num_encoder, self.folder, has_mlp=has_mlp)
        return first + linear_layers(self.model, decoder, num_decoder, self.folder, has_mlp=has_mlp)

    def inputs(self, turns: Sequence[Turn], *, shown_fps: float = SHOWN_FPS) -> "dict[str, Tensor]":
        """Return what the model takes to answer the last turn, on its device: ``input_ids`` (1, S) and more.

        Raises:
            CheckpointError: there are pictures, and it takes none.
            ValueError: its processor cannot take these.
        """
        if self.video is None and any(turn.images for turn in turns):
            raise CheckpointError(f"{self.settings.source}: it reads text only; name an image-text model for frames")
        if self.is_seq2seq:
            made = self.tokenizer("\n\n".join(turn.text for turn in turns), return_tensors="pt")
            return {name: made[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        turns = self._fitted(turns)
        if self.video is not None:
            return self.video.conversation(turns, shown_fps=shown_fps)
        ids = self.tokenizer(self._written(turns, is_answered=False), add_special_tokens=False, return_tensors="pt")
        return {name: ids[name].to(self.model.device) for name in ("input_ids", "attention_mask")}

    def answer_tokens(self, turns: Sequence[Turn], answer: str) -> list[int]:
        """Return the tokens that the model should say after `inputs` for an answer: up to the first that ends it.

        Chat templates write answers in their own way (spaces, marks before and after), so the answered conversation is
        written as a whole and what goes beyond the question is taken; where the beginning of an answer is not in it as
        it is in the question, or tokens span the border, what is written from the answer on.
        """
        answer, ends = answer.strip(), self.end_tokens
        if self.is_seq2seq:
            tokens = list(self.tokenizer(text_target=answer)["input_ids"])
        else:
            turns = self._fitted(turns)
            asked = self._written(turns, is_answered=False)
            whole = self._written([*turns, Turn("assistant", answer)], is_answered=True)
            asked_ids, whole_ids = self._tokens(asked), self._tokens(whole)
            if whole_ids[: len(asked_ids)] == asked_ids:
                tokens = whole_ids[len(asked_ids) :]
            elif whole.startswith(asked):
                tokens = self._tokens(whole[len(asked) :])
            else:
                place = whole.rfind(answer)
                tokens = self._tokens(whole[place:] if place >= 0 else answer)
        last = next((place for place, token in enumerate(tokens) if token in ends), None)
        return [*tokens, ends[0]] if last is None else tokens[: last + 1]

    def answer_logits(self, inputs: "dict[str, Tensor]", answer: "Tensor") -> "Tensor":
        """Return (N, V) float32: what it says of each of N tokens of an answer (N,), knowing those before."""
        import torch

        if self.is_seq2seq:
            return self.model(**inputs, labels=answer[None], use_cache=False).logits[0].float()
        number = len(answer)
        # The last token of an answer is only said, never read.
        read = answer[None, :-1]
        longer = {
            name: torch.cat([value, _continued(name, value, read)], dim=1)
            if value.shape == inputs["input_ids"].shape
            else value
            for name, value in inputs.items()
        }
        # Of pictures there are thousands of tokens, and of words hundreds of thousands.
        has_choice = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        kept = {"logits_to_keep": number} if has_choice else {}
        return self.model(**longer, use_cache=False, **kept).logits[0, -number:].float()

    def generate(
        self, inputs: "dict[str, Tensor]", *, max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> tuple[list[int], bool]:
        """Return the tokens of an answer, and whether it had more to say.

        Args:
            inputs: of `inputs`.
            max_tokens: of the answer.
            temperature: 0 takes the likeliest words.
            seed: of the others.

        Raises:
            ValueError: what it should read is longer than it can.
        """
        import torch

        from cogvideox.models.text_encoder import quiet_transformers

        num_read, limit = inputs["input_ids"].shape[1], self.max_positions
        room = max_tokens if limit is None else min(max_tokens, limit if self.is_seq2seq else limit - num_read)
        if room < 1 or (limit is not None and num_read > limit):
            raise ValueError(
                f"{self.settings.source}: it reads at most {limit} tokens with its answer, got {num_read}; show it "
                "fewer or smaller frames, or less text"
            )
        chosen: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if temperature > 0:
            chosen = {"do_sample": True, "temperature": temperature}
        pad = self.tokenizer.pad_token_id
        chosen |= {"pad_token_id": self.end_tokens[0] if pad is None else pad, "eos_token_id": list(self.end_tokens)}
        device = self.model.device
        with (
            torch.inference_mode(),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            quiet_transformers(),
        ):
            torch.manual_seed(seed)
            made = self.model.generate(**inputs, max_new_tokens=room, use_cache=True, **chosen)
        tokens = made[0, 1 if self.is_seq2seq else num_read :].tolist()
        return tokens, len(tokens) >= room and tokens[-1] not in self.end_tokens

    def text(self, tokens: Sequence[int]) -> str:
        """Return tokens as text."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True).strip()

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _written(self, turns: Sequence[Turn], *, is_answered: bool) -> str:
        if self.video is not None:
            return self.video.written(turns, is_answered=is_answered)
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        flags = {"add_generation_prompt": not is_answered, "tokenize": False}
        return self.tokenizer.apply_chat_template(messages, **flags, **NO_THOUGHTS)

    def _fitted(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return turns with the rules in the first question, if there is no other place for them."""
        if self._takes_rules or len(turns) < 2 or turns[0].role != "system":
            return list(turns)
        rules, first, *rest = turns
        return [Turn("user", f"{rules.text}\n\n{first.text}", first.images), *rest]

    def _keeps_rules(self) -> bool:
        from jinja2 import TemplateError

        try:
            return PROBE in self._written([Turn("system", PROBE), Turn("user", "Well?")], is_answered=False)
        except TemplateError:
            return False


@contextmanager
def memory_checked(source: str, device: Any, remedy: str) -> Iterator[None]:
    """Raise DoesNotFitError, with what to do, where torch or Python has too little memory inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own kind is a RuntimeError too
        if isinstance(error, RuntimeError) and not any(words in str(error).lower() for words in NO_MEMORY):
            raise
        raise DoesNotFitError(f"{source}: too little memory on {device}: {remedy}") from None


def _takes_frames(library: Any, config: Any) -> bool:
    known = library.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return type(config) in known or "AutoModelForImageTextToText" in (getattr(config, "auto_map", None) or {})


def _continued(name: str, value: "Tensor", tokens: "Tensor") -> "Tensor":
    """Return what an input per token goes on with over tokens (1, N) of text."""
    import torch

    if name == "input_ids":
        return tokens.to(value)
    return (torch.ones_like if name == "attention_mask" else torch.zeros_like)(tokens).to(value)
