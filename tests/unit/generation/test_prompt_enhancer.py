"""Prompts written anew by a scripted endpoint and by a tiny random model: what is asked, what is kept of answers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cogvideox.chat.caption_style import CaptionStyle
from cogvideox.errors import FetchError
from cogvideox.generation import prompt_enhancer
from cogvideox.generation.prompt_enhancer import (
    EndpointEnhancer,
    EnhancedPrompt,
    LocalEnhancer,
    PreparedPrompt,
    TokenLimit,
    choose_enhancer,
    clean_caption,
    prepare_prompt,
)
from loopback_chat import Reply, says, serve

KEY = "sk-very-secret-0123456789"
IMAGE = np.full((20, 30, 3), 128, np.uint8)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def count_words(text: str) -> int:
    return len(text.split())


def test_caption_is_asked_for_with_rules_and_examples() -> None:
    with serve(says("A red fox trots through deep snow.")) as chat:
        enhanced = EndpointEnhancer(chat.url, "small", KEY).enhance("a fox")
    assert enhanced == EnhancedPrompt("a fox", "A red fox trots through deep snow.", f"small at {chat.url}")
    system, *examples, last = chat.requests[0]["messages"]
    assert system["role"] == "system"
    assert "at most 150 words" in system["content"]
    assert [message["role"] for message in examples] == ["user", "assistant"] * 2
    assert last == {"role": "user", "content": "Idea: a fox"}


def test_the_style_of_the_models_captions_is_asked_for() -> None:
    style = CaptionStyle(max_words=40, examples=(("a cat", "A cat sits on a wall."),))
    with serve(says("A red fox trots.")) as chat:
        EndpointEnhancer(chat.url, "small", style=style).enhance("a fox")
    system, idea, caption, last = chat.requests[0]["messages"]
    assert "at most 40 words" in system["content"]
    assert (idea["content"], caption["content"]) == ("Idea: a cat", "A cat sits on a wall.")
    assert last["content"] == "Idea: a fox"


def test_examples_obey_the_rules() -> None:
    for _, caption in prompt_enhancer._EXAMPLES:
        assert 80 < count_words(caption) < prompt_enhancer.MAX_WORDS
        assert clean_caption(caption) == caption
        assert "video" not in caption.lower()
        assert caption.startswith("A ")


def test_image_goes_with_the_prompt() -> None:
    with serve(says("A fox stands in snow, then runs.")) as chat:
        EndpointEnhancer(chat.url, "small").enhance("it runs", image=IMAGE)
    system, last = chat.requests[0]["messages"]
    assert "Begin with what is in the image" in system["content"]
    assert [part["type"] for part in last["content"]] == ["image_url", "text"]


def test_short_limits_have_short_rules_and_no_examples() -> None:
    with serve(says("A red fox trots.")) as chat:
        EndpointEnhancer(chat.url, "small", limit=TokenLimit(count_words, 32)).enhance("a fox")
    system, _ = chat.requests[0]["messages"]
    assert "at most 21 words" in system["content"]


def test_long_caption_is_shortened_once() -> None:
    with serve(says("a " * 12), says("A fox runs.")) as chat:
        enhanced = EndpointEnhancer(chat.url, "small", limit=TokenLimit(count_words, 9)).enhance("a fox")
    assert enhanced.result == "A fox runs."
    assert enhanced.num_excess_tokens == 0
    *_, caption, order = chat.requests[1]["messages"]
    assert caption == {"role": "assistant", "content": ("a " * 12).strip()}
    assert "at most 6 words" in order["content"]


@pytest.mark.parametrize(("second", "num_words"), [("a " * 10, 10), ("a " * 20, 12)])
def test_caption_that_stays_too_long_is_kept_and_told(second: str, num_words: int) -> None:
    with serve(says("a " * 12), says(second)) as chat:
        enhanced = EndpointEnhancer(chat.url, "small", limit=TokenLimit(count_words, 9)).enhance("a fox")
    assert len(chat.requests) == 2
    assert count_words(enhanced.result) == num_words
    assert enhanced.num_excess_tokens == num_words - 9


def test_caption_that_was_cut_off_is_asked_for_again() -> None:
    with serve(says("A fox runs thr", end="length"), says("A fox runs through a wide field.")) as chat:
        enhanced = EndpointEnhancer(chat.url, "small").enhance("a fox")
    assert enhanced.result == "A fox runs through a wide field."


def test_caption_without_an_end_ends_with_a_sentence() -> None:
    with serve(says("A fox runs thr", end="length"), says("A fox runs. It sees 3.5 m of sn", end="length")) as chat:
        assert EndpointEnhancer(chat.url, "small").enhance("a fox").result == "A fox runs."
        assert EndpointEnhancer(chat.url, "small").enhance("a fox").result == "A fox runs."
    with serve(says("A fox runs thr", end="length")) as chat:
        assert EndpointEnhancer(chat.url, "small").enhance("a fox").result == "A fox runs thr"


def test_translation_without_an_end_is_an_error() -> None:
    with serve(says("A fox in", end="length")) as chat, pytest.raises(ValueError, match="translation does not end"):
        EndpointEnhancer(chat.url, "small").translate("눈 속의 여우")


def test_translation_is_only_that() -> None:
    with serve(says("A fox in the snow")) as chat:
        enhanced = EndpointEnhancer(chat.url, "small", limit=TokenLimit(count_words, 3)).translate("눈 속의 여우")
    assert enhanced == EnhancedPrompt("눈 속의 여우", "A fox in the snow", f"small at {chat.url}", 2)
    system, last = chat.requests[0]["messages"]
    assert "translate" in system["content"]
    assert last["content"] == "눈 속의 여우"
    assert len(chat.requests) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (says(""), r"the answer is empty \(it has nothing to say\)"),
        (says("<think>hm", end="length"), r"the answer is empty \(all its tokens went into thinking\)"),
        (says(None), "the answer is empty"),
        (says("I'm sorry, but I can't help with that."), "it refuses this prompt"),
        (says("I\u2019m sorry, no."), "it refuses this prompt"),
        (says("Unfortunately, I cannot describe this."), "it refuses this prompt"),
        (says("붉은 여우가 눈 속을 달린다."), "it answers in Korean, not in English"),
    ],
)
def test_answers_that_are_no_captions(reply: Reply, message: str) -> None:
    with serve(reply) as chat, pytest.raises(ValueError, match=message) as caught:
        EndpointEnhancer(chat.url, "small", KEY).enhance("a fox")
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_network_errors_come_through() -> None:
    with serve(Reply(b"{}")) as chat, pytest.raises(FetchError, match="small at http"):
        EndpointEnhancer(chat.url, "small", KEY).translate("여우")


def test_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt: expected some text"):
        EndpointEnhancer("http://localhost/v1", "small").enhance("  ")
    with pytest.raises(ValueError, match="prompt: expected some text"):
        EndpointEnhancer("http://localhost/v1", "small").translate("")


def test_key_is_not_shown() -> None:
    enhancer = EndpointEnhancer("http://localhost/v1", "small", KEY)
    assert repr(enhancer) == "EndpointEnhancer('small at http://localhost/v1')"
    assert KEY not in repr(enhancer._chat)


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        ("A fox runs.", "A fox runs."),
        ("  A fox\n\nruns.\t", "A fox runs."),
        ('"A fox runs."', "A fox runs."),
        ("“A fox runs.”", "A fox runs."),
        ("'A fox's tail moves.'", "A fox's tail moves."),
        ("\u2018A fox\u2019s tail moves.\u2019", "A fox\u2019s tail moves."),
        ('A sign reads "OPEN"', 'A sign reads "OPEN"'),
        ('"OPEN" reads a sign, beside it "SHUT"', '"OPEN" reads a sign, beside it "SHUT"'),
        ("**A fox runs.**", "A fox runs."),
        ("`A fox runs.`", "A fox runs."),
        ("```\nA fox runs.\n```", "A fox runs."),
        ("```text\nA fox runs.\n```", "A fox runs."),
        ("```A fox runs.```", "A fox runs."),
        ("Sure! A fox runs.", "A fox runs."),
        ('Sure, here is the caption:\n\n"A fox runs."', "A fox runs."),
        ("Certainly! Here's an enhanced prompt for you: A fox runs.", "A fox runs."),
        ("Here\u2019s a dense caption: A fox runs.", "A fox runs."),
        ("**Caption:** A fox runs.", "A fox runs."),
        ("Enhanced video prompt: 'A fox runs.'", "A fox runs."),
        ("Translation: A fox runs.", "A fox runs."),
        ("<think>They want a fox.</think>\n\nA fox runs.", "A fox runs."),
        ("They want a fox.\n</think>\nA fox runs.", "A fox runs."),
        ("<THINK>one</THINK>A fox <think>two</think> runs.", "A fox runs."),
        ("A fox runs. <think>and then", "A fox runs."),
        ("Here is where the fox sleeps. It is dark.", "Here is where the fox sleeps. It is dark."),
        ("Captions roll over a fox: white on black.", "Captions roll over a fox: white on black."),
        ('"', '"'),
        ('""', ""),
        ("", ""),
    ],
)
def test_cleaning(said: str, caption: str) -> None:
    assert clean_caption(said) == caption
    assert clean_caption(caption) == caption


class Scripted:
    """An enhancer that keeps what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []

    def enhance(self, prompt: str, *, image: np.ndarray | None = None) -> EnhancedPrompt:
        self.calls.append(("enhance", image is not None))
        return EnhancedPrompt(prompt, "A fox runs.", "somewhere", 3)

    def translate(self, prompt: str) -> EnhancedPrompt:
        self.calls.append(("translate", False))
        return EnhancedPrompt(prompt, "A fox", "somewhere")

    def release(self) -> None:
        pass


def test_nothing_is_asked_by_default() -> None:
    assert prepare_prompt("a fox", enhancer=None, unknown_share=0.0) == PreparedPrompt("a fox", "a fox")
    enhancer = Scripted()
    assert prepare_prompt("a fox", enhancer=enhancer, unknown_share=0.0) == PreparedPrompt("a fox", "a fox")
    assert enhancer.calls == []


def test_unreadable_prompt_without_an_enhancer_is_told_and_kept() -> None:
    prepared = prepare_prompt("여우", enhancer=None, unknown_share=1.0)
    assert prepared.text == prepared.original == "여우"
    assert not prepared.was_translated
    assert prepared.notice is not None
    assert prepared.notice.message.startswith("100 % of this prompt's letters are unknown to the model (Korean)")


def test_unreadable_prompt_is_translated_and_told() -> None:
    enhancer = Scripted()
    prepared = prepare_prompt("여우", enhancer=enhancer, unknown_share=1.0, image=IMAGE)
    assert enhancer.calls == [("translate", False)]
    assert (prepared.text, prepared.source) == ("A fox", "somewhere")
    assert (prepared.was_translated, prepared.was_enhanced) == (True, False)
    assert prepared.notice is not None
    assert prepared.notice.message == (
        "100 % of this prompt's letters are unknown to the model (Korean): translated by somewhere"
    )


@pytest.mark.parametrize(("prompt", "share", "is_translated"), [("여우", 1.0, True), ("a fox", 0.0, False)])
def test_enhancement_translates_too(prompt: str, share: float, is_translated: bool) -> None:
    enhancer = Scripted()
    prepared = prepare_prompt(prompt, enhancer=enhancer, unknown_share=share, image=IMAGE, wants_enhancement=True)
    assert enhancer.calls == [("enhance", True)]
    assert prepared.original == prompt
    assert prepared.text == "A fox runs."
    assert (prepared.was_translated, prepared.was_enhanced) == (is_translated, True)
    assert prepared.num_excess_tokens == 3


def test_enhancement_needs_an_enhancer() -> None:
    with pytest.raises(ValueError, match="enhancer: expected one"):
        prepare_prompt("a fox", enhancer=None, unknown_share=0.0, wants_enhancement=True)


def test_environment_alone_sends_nothing_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert choose_enhancer(endpoint=None, model=None, wants_enhancement=False) is None


def test_choice_of_the_enhancer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def choose(endpoint: str | None, model: str | None, *, wants_enhancement: bool = True) -> str:
        return repr(choose_enhancer(endpoint=endpoint, model=model, wants_enhancement=wants_enhancement))

    folder = str(tmp_path)
    assert choose("http://here/v1", "small") == "EndpointEnhancer('small at http://here/v1')"
    assert choose("http://here/v1", folder) == f"EndpointEnhancer('{folder} at http://here/v1')"
    assert choose(None, folder) == f"LocalEnhancer({folder!r})"
    assert choose(None, "org/small", wants_enhancement=False) == "LocalEnhancer('org/small')"
    with pytest.raises(ValueError, match="--enhance: expected a language model, by --enhance-endpoint URL"):
        choose(None, None)
    with pytest.raises(ValueError, match="--enhance: expected the model's name, by --enhance-model NAME"):
        choose("http://here/v1", None, wants_enhancement=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://there/v1")
    assert choose(None, "small") == "EndpointEnhancer('small at http://there/v1')"
    assert choose(None, folder) == f"LocalEnhancer({folder!r})"
    with pytest.raises(ValueError, match="expected the model's name"):
        choose(None, None)


def write_language_model(folder: Path, *, ends_at_once: bool = False) -> Path:
    """Write a random language model of a few thousand weights, with its words and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = ["<unk>", "user", "assistant", "system", "a", "red", "fox", "runs", "through", "deep", "snow"]
    words = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}assistant"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(names),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=list(range(len(names))) if ends_at_once else None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_local_model_translates(tmp_path: Path) -> None:
    enhanced = LocalEnhancer(write_language_model(tmp_path, ends_at_once=True)).translate("rot fox")
    assert count_words(enhanced.result) == 1
    assert enhanced.original == "rot fox"


def test_local_model_enhances(tmp_path: Path) -> None:
    folder = write_language_model(tmp_path)
    enhancer = LocalEnhancer(folder, max_tokens=8, limit=TokenLimit(count_words, 5))
    enhanced = enhancer.enhance("a fox")
    assert enhanced.original == "a fox"
    assert 1 <= count_words(enhanced.result) <= 8
    assert enhanced.num_excess_tokens == max(count_words(enhanced.result) - 5, 0)
    assert enhanced.source == str(folder)
    enhancer.release()
    assert enhancer.enhance("a fox") == enhanced
    with pytest.raises(ValueError, match="it reads no images"):
        enhancer.enhance("a fox", image=IMAGE)


def test_importing_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, cogvideox.generation.prompt_enhancer; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'jinja2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
