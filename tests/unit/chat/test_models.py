"""Language models behind an endpoint, with the faults that endpoints have, and tiny random ones of this machine."""

import base64
import io
import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cogvideox.chat import endpoint
from cogvideox.chat.endpoint import EndpointModel
from cogvideox.chat.local import LocalModel
from cogvideox.chat.turns import Answer, Turn, bounded_image
from cogvideox.errors import CheckpointError, FetchError
from loopback_chat import Reply, fails, says, serve

KEY = "sk-very-secret-0123456789"
TURNS = (Turn("system", "be brief"), Turn("user", "a fox"))


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been slept."""
    slept: list[float] = []
    monkeypatch.setattr(endpoint, "time", SimpleNamespace(sleep=slept.append, monotonic=time.monotonic))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return slept


def test_request_and_answer() -> None:
    with serve(says("A fox.")) as chat:
        model = EndpointModel(chat.url + "/", "small", KEY, max_tokens=99)
        assert model.answer(TURNS) == Answer("A fox.")
    assert chat.paths == ["/v1/chat/completions"]
    assert chat.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert chat.requests[0] == {
        "model": "small",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a fox"}],
        "temperature": 0,
        "max_tokens": 99,
    }
    assert model.source == f"small at {chat.url}"


def test_key_comes_from_the_environment_and_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(says("A fox.")) as chat:
        EndpointModel(chat.url, "small").answer(TURNS)
        monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
        EndpointModel(chat.url, "small").answer(TURNS)
    assert "Authorization" not in chat.headers[0]
    assert chat.headers[1]["Authorization"] == f"Bearer {KEY}"


def test_whole_address_and_query_are_understood_and_the_query_not_shown() -> None:
    with serve(says("A fox.")) as chat:
        model = EndpointModel(f"{chat.url}/chat/completions?code=hidden", "small")
        model.answer(TURNS)
    assert chat.paths == ["/v1/chat/completions?code=hidden"]
    assert "hidden" not in model.source + repr(model)


@pytest.mark.parametrize(
    "headers, expected",
    [({}, [1.0, 2.0]), ({"Retry-After": "7"}, [7.0, 7.0]), ({"Retry-After": "nan"}, [1.0, 2.0])],
)
def test_busy_endpoint_is_asked_again_when_it_says(
    pauses: list[float], headers: dict[str, str], expected: list[float]
) -> None:
    with serve(fails(429, headers=headers), fails(503, headers=headers), says("A fox.")) as chat:
        assert EndpointModel(chat.url, "small", KEY).answer(TURNS).text == "A fox."
    assert pauses == expected
    assert len(chat.requests) == 3


def test_retry_after_may_be_a_date(pauses: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    with serve(fails(429, headers={"Retry-After": date}), says("A fox.")) as chat:
        EndpointModel(chat.url, "small", KEY).answer(TURNS)
    assert 25 < pauses[0] <= 30


def test_endpoint_that_asks_for_a_long_pause_is_given_up(pauses: list[float]) -> None:
    with (
        serve(fails(429, headers={"Retry-After": "3600"})) as chat,
        pytest.raises(FetchError, match=r"429 .* asks to come back in 3600 s"),
    ):
        EndpointModel(chat.url, "small", KEY).answer(TURNS)
    assert pauses == []
    assert len(chat.requests) == 1


@pytest.mark.parametrize(
    "reply, message",
    [
        (fails(500, f"broken {KEY}"), "it answers 500 .*, 3 times; try again later"),
        (Reply(b"", is_dropped=True), "it cannot be reached .*, 3 times"),
    ],
    ids=["500", "dropped"],
)
def test_broken_endpoint_is_asked_three_times(reply: Reply, message: str, pauses: list[float]) -> None:
    with serve(reply) as chat, pytest.raises(FetchError, match=message) as caught:
        EndpointModel(chat.url, "small", KEY).answer(TURNS)
    assert len(chat.requests) == 3
    assert pauses == [1.0, 2.0]
    assert_one_line_without_key(caught.value)


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(FetchError, match="it cannot be reached"):
            EndpointModel(url, "small", KEY).answer(TURNS)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", delay_s=1.0),
        Reply(says("A fox in the snow runs").body, delay_s=0.05, is_dripped=True),
        Reply(says("A fox " * 20000).body, headers={"Transfer-Speed": "slow"}, delay_s=1.0),
    ],
    ids=["silent", "dripping", "late"],
)
def test_slow_endpoint_is_given_up_once(reply: Reply) -> None:
    with serve(reply) as chat, pytest.raises(FetchError, match=r"no answer within 0\.3 s") as caught:
        EndpointModel(chat.url, "small", KEY, timeout_s=0.3).answer(TURNS)
    assert len(chat.requests) == 1
    assert_one_line_without_key(caught.value)


@pytest.mark.parametrize(
    "reply, message",
    [
        (fails(401, f"Incorrect API key provided: {KEY[:8]}*****789"), r"OPENAI_API_KEY is refused \(401\)"),
        (fails(403, KEY), r"OPENAI_API_KEY is refused \(403\)"),
        (fails(404, "no model"), r"no such model, or no OpenAI-compatible endpoint at that URL \(404\)"),
        (fails(422, f"too\nlong {KEY}"), r"refuses the request \(422: too long \*\*\*\)"),
        (Reply(b"<html>", 400), r"refuses the request \(400: no reason given\)"),
        (Reply(b'{"error": "no images"}', 400), r"refuses the request \(400: no images\)"),
        (Reply(b'{"error": {"param": "temperature"}}', 400), r"refuses the request \(400: no reason given\)"),
        (Reply(b"", 302, {"Location": "http://127.0.0.1:1/"}), r"it is redirected elsewhere \(302\)"),
        (says(None, refusal="I cannot help with that."), "refuses this prompt"),
        (says("", end="content_filter"), "refuses this prompt"),
    ],
)
def test_wrong_settings_and_refusals(reply: Reply, message: str) -> None:
    with serve(reply) as chat, pytest.raises(ValueError, match=message) as caught:
        EndpointModel(chat.url, "small", KEY).answer(TURNS)
    assert len(chat.requests) == 1
    assert_one_line_without_key(caught.value)


def test_missing_key_is_named() -> None:
    with serve(fails(401)) as chat, pytest.raises(ValueError, match="it wants a key; set OPENAI_API_KEY"):
        EndpointModel(chat.url, "small").answer(TURNS)


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b"\xff\xfe\x00",
    ],
)
def test_malformed_answers(body: bytes) -> None:
    with serve(Reply(body)) as chat, pytest.raises(FetchError, match="its answer cannot be used") as caught:
        EndpointModel(chat.url, "small", KEY).answer(TURNS)
    assert_one_line_without_key(caught.value)


def test_error_in_a_successful_answer_is_told() -> None:
    with (
        serve(Reply(b'{"error": {"message": "upstream is down"}}')) as chat,
        pytest.raises(FetchError, match=r"cannot be used \(upstream is down\)"),
    ):
        EndpointModel(chat.url, "small", KEY).answer(TURNS)


def test_endless_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_ANSWER_BYTES", 1000)
    with serve(says("A fox " * 1000)) as chat, pytest.raises(FetchError, match="longer than 1,000 bytes"):
        EndpointModel(chat.url, "small", KEY).answer(TURNS)
    assert len(chat.requests) == 1


def test_answers_in_parts_cut_answers_and_echoed_keys() -> None:
    parts = {"content": [{"type": "text", "text": "A "}, {"type": "text", "text": "fox."}]}
    with serve(says(None, **parts), says("A fox ru", end="length"), says(f"A fox {KEY}")) as chat:
        model = EndpointModel(chat.url, "small", KEY)
        assert model.answer(TURNS) == Answer("A fox.")
        assert model.answer(TURNS) == Answer("A fox ru", is_cut=True)
        assert model.answer(TURNS) == Answer("A fox ***")


def test_models_that_do_not_take_the_usual_options() -> None:
    with serve(fails(400, param="temperature"), fails(400, param="max_tokens"), says("A fox.")) as chat:
        model = EndpointModel(chat.url, "new", KEY, max_tokens=99)
        assert model.answer(TURNS).text == "A fox."
        model.answer(TURNS)  # remembers
    assert len(chat.requests) == 4
    assert chat.requests[2].keys() == {"model", "messages", "max_completion_tokens"}
    assert chat.requests[3] == chat.requests[2]


def test_options_are_given_up_once() -> None:
    with serve(fails(400, "no", param="temperature")) as chat, pytest.raises(ValueError, match=r"refuses .*\(no\)"):
        EndpointModel(chat.url, "new", KEY).answer(TURNS)
    assert len(chat.requests) == 2


def test_image_is_sent_bounded_and_upright() -> None:
    image = np.zeros((600, 3000, 3), np.uint8)
    image[:, :1500] = (250, 10, 10)
    with serve(says("A fox.")) as chat:
        EndpointModel(chat.url, "small", KEY).answer([Turn("user", "a fox", (image,))])
    picture_part, text_part = chat.requests[0]["messages"][0]["content"]
    assert text_part == {"type": "text", "text": "a fox"}
    head, data = picture_part["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (1024, 205)
        assert np.abs(np.asarray(picture)[100, 100].astype(int) - (250, 10, 10)).max() < 8
        assert np.asarray(picture)[100, 900].max() < 8


def test_small_images_keep_their_size() -> None:
    assert bounded_image(np.zeros((48, 64, 3), np.uint8)).size == (64, 48)
    with pytest.raises(ValueError, match="image: expected"):
        bounded_image(np.zeros((48, 64), np.uint8))


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://host:x/v1", "http://a b/v1"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint: expected a URL such as"):
        EndpointModel(url, "small")


@pytest.mark.parametrize("url", ["https://me:hidden@host/v1", "ftp://me:hidden@host", "me:hidden@host"])
def test_password_in_a_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="no user or password") as caught:
        EndpointModel(url, "small")
    assert "hidden" not in str(caught.value)


def test_other_wrong_settings() -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        EndpointModel("http://host/v1", "small", "se\ncret")
    assert "cret" not in str(caught.value).replace("secret", "")
    with pytest.raises(ValueError, match="the model's name is missing"):
        EndpointModel("http://host/v1", " ")
    with pytest.raises(ValueError, match="timeout_s, max_tokens"):
        EndpointModel("http://host/v1", "small", timeout_s=0)


def assert_one_line_without_key(error: BaseException) -> None:
    assert "\n" not in str(error)
    assert "small at http://127.0.0.1" in str(error)
    for text in (str(error), repr(error), json.dumps([str(part) for part in error.args])):
        assert KEY not in text
        assert KEY[:8] not in text


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
