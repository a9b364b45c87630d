"""Tiny random language models of this machine: what they are asked, and what they cannot."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cogvideox.chat.local import LocalModel
from cogvideox.chat.turns import Turn
from cogvideox.errors import CheckpointError

WORDS = ["<unk>", "<image>", "system", "user", "assistant", ":", *(f"w{index}" for index in range(40))]
TEXT_TEMPLATE = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}assistant :"
USER_ONLY_TEMPLATE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEXT_TEMPLATE
)
IMAGE_TEMPLATE = (
    "{% for m in messages %}{{ m.role }} : {% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %} {% endfor %}{% endfor %}assistant :"
)
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
NO_END = {"eos_token_id": None, "bos_token_id": None}


def word_tokenizer(template: str | None):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<unk>")
    tokenizer.chat_template = template
    return tokenizer


def small_llama():
    from transformers import LlamaConfig

    return LlamaConfig(vocab_size=len(WORDS), num_key_value_heads=2, initializer_range=0.5, **SMALL, **NO_END)


def write_text_model(folder: Path, template: str | None = TEXT_TEMPLATE) -> Path:
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(small_llama()).save_pretrained(folder)
    word_tokenizer(template).save_pretrained(folder)
    return folder


def write_image_model(folder: Path) -> Path:
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    vision = CLIPVisionConfig(image_size=16, patch_size=8, projection_dim=16, **SMALL | {"num_hidden_layers": 2})
    config = LlavaConfig(vision_config=vision, text_config=small_llama(), image_token_index=WORDS.index("<image>"))
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = word_tokenizer(None)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=IMAGE_TEMPLATE,
    ).save_pretrained(folder)
    return folder


LOCAL_TURNS = (Turn("system", "w1"), Turn("user", "w2 w3"))


def test_local_text_model_answers_the_same_each_time(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_text_model(tmp_path)
    capfd.readouterr()
    model = LocalModel(folder, "cpu", "float32", max_tokens=6)
    first = model.answer(LOCAL_TURNS)
    assert capfd.readouterr() == ("", "")
    assert len(first.text.split()) == 6
    assert first.is_cut
    model.release()
    model.release()
    assert model.answer(LOCAL_TURNS) == first
    assert model.answer([LOCAL_TURNS[0], Turn("user", "w9")]) != first
    assert model.source == str(folder)


def test_local_model_is_released(tmp_path: Path) -> None:
    model = LocalModel(write_text_model(tmp_path), max_tokens=1)
    model.answer(LOCAL_TURNS)
    assert isinstance(model._model, torch.nn.Module)
    model.release()
    assert model._model is None
    assert model._tokenizer is None


def test_template_without_a_system_role(tmp_path: Path) -> None:
    merged = LocalModel(write_text_model(tmp_path / "strict", USER_ONLY_TEMPLATE), max_tokens=4)
    usual = LocalModel(write_text_model(tmp_path / "usual"), max_tokens=4)
    expected = usual.answer([Turn("user", "w1\n\nw2 w3")])
    assert merged.answer(LOCAL_TURNS) == expected


def test_local_image_model_sees_the_image(tmp_path: Path) -> None:
    model = LocalModel(write_image_model(tmp_path), max_tokens=6)
    black, noise = np.zeros((40, 30, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    answers = [model.answer([Turn("user", "w2 w3", images)]).text for images in ((black,), (noise,), ())]
    assert all(answers)
    seen = [model._inputs([Turn("user", "w2", (image,))])["pixel_values"] for image in (black, noise)]
    assert not torch.equal(seen[0], seen[1])


def test_local_text_model_refuses_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it reads no images; name an image-text model"):
        LocalModel(write_text_model(tmp_path)).answer([Turn("user", "w2", (np.zeros((8, 8, 3), np.uint8),))])


def test_unusable_local_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in (tmp_path, "nobody/no-such-model"):
        with pytest.raises(CheckpointError, match="no usable language model on this machine") as caught:
            LocalModel(name).answer(LOCAL_TURNS)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no chat template"):
        LocalModel(write_text_model(tmp_path / "bare", None)).answer(LOCAL_TURNS)
