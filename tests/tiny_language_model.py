"""Tiny random language models with tokenizer and chat template, made without a network.

"chatml" has rules of their own and ends answers with a mark; "instruct" is written as LLaMA 2 writes it, and refuses
rules; "spoken" begins answers with text that is not in answered conversations, and never ends them; "t5" has no
template.
"""

from pathlib import Path
from typing import Any

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}<|im_start|> {{ message.role }} {{ message.content }} <|im_end|> {% endfor %}"
        "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
    ),
    "instruct": (
        "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no rules here') }}"
        "{% elif message.role == 'user' %}<s> [INST] {{ message.content }} [/INST]"
        "{% else %} {{ message.content }} </s>{% endif %}{% endfor %}"
    ),
    "spoken": (
        "{% for message in messages %}{{ message.role }} : {{ message.content }} {% endfor %}"
        "{% if add_generation_prompt %}assistant : <think> </think> {% endif %}"
    ),
}
MARKS = ("user", "assistant", "system", ":", "[INST]", "[/INST]", "<think>", "</think>")


def tokenizer_of(texts: tuple[str, ...], template: str | None = None) -> Any:
    """Return a tokenizer that knows the words of texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = dict.fromkeys([*SPECIAL, *MARKS, *(word for text in texts for word in text.split())])
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template is None:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 3)])
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **special, additional_special_tokens=["<|im_start|>", "<|im_end|>"]
    )
    if template is not None:
        made.chat_template = template
    return made


def write_language_model(folder: Path, kind: str, texts: tuple[str, ...], *, seed: int = 0) -> Path:
    """Write a random model of a kind as transformers saves it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    tokenizer = tokenizer_of(texts, TEMPLATES.get(kind))
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "vocab_size": len(tokenizer)}
    if kind == "t5":
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
        model: Any = T5ForConditionalGeneration(
            T5Config(**sizes, **ids, decoder_start_token_id=0, tie_word_embeddings=False, dropout_rate=0.0)
        )
    else:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(**sizes, **ids, max_position_embeddings=256))
        model.generation_config.eos_token_id = [5, 3] if kind == "chatml" else 3
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder if kind == "t5" else sharpened(folder)


def sharpened(folder: Path) -> Path:
    """Make what a random model says depend on what goes on in it: its last layer is too weak for that, and frozen."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    for name in weights:
        if name.endswith("lm_head.weight"):
            weights[name] *= 30
    save_file(weights, file, metadata={"format": "pt"})
    return folder
