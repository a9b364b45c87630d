"""Models of transformers as captioners: what they are told, what they say, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest

from tiny_language_model import tokenizer_of, write_language_model
from tiny_video_language_model import IMAGE, VIDEO, offer_torchvision, write_tiny_model

offer_torchvision()

import torch  # noqa: E402

from cogvideox.chat.turns import Turn  # noqa: E402
from cogvideox.data.captioning.chat_backbone import ChatBackbone, memory_checked  # noqa: E402
from cogvideox.data.captioning.recipe import BackendSettings  # noqa: E402
from cogvideox.data.captioning.request import CaptionRequest  # noqa: E402
from cogvideox.data.captioning.transformers_models import TransformersBackend, shown_rate  # noqa: E402
from cogvideox.data.filters.video_backbone import BackboneSettings  # noqa: E402
from cogvideox.data.libraries import has_torchvision  # noqa: E402
from cogvideox.errors import CheckpointError, DoesNotFitError  # noqa: E402

TEXTS = ("what is seen ? be brief too long , again", "a fox runs through the snow")
KINDS = ("llava_onevision", "qwen2_vl") if has_torchvision() else ("llava", "qwen2_vl")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings_of(model: Path | str, **changes) -> BackendSettings:
    values = {"name": "m", "kind": "transformers", "model": str(model), "dtype": "float32", "max_tokens": 8}
    return BackendSettings(**(values | changes))


def request_of(num_frames: int, **changes) -> CaptionRequest:
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 40, 56, 3)).astype(np.uint8)
    times_s = tuple(place / 4 for place in range(num_frames))
    values = {"stage": "summary", "clip_id": "a", "prompt": "what is seen ?", "rules": "be brief"}
    return CaptionRequest(**(values | {"frames": frames, "times_s": times_s} | changes))


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """What models read, as text; filled as they are asked."""
    found: list[str] = []
    whole = ChatBackbone.generate

    def generate(self, inputs, **options):
        found.append(self.tokenizer.decode(inputs["input_ids"][0]))
        return whole(self, inputs, **options)

    monkeypatch.setattr(ChatBackbone, "generate", generate)
    return found


def test_a_language_model_is_told_rules_question_and_complaint(tmp_path, told):
    request = request_of(0, rejected="a fox", complaint="too long , again")
    said = {}
    for kind in ("chatml", "instruct", "t5"):
        backend = TransformersBackend(settings_of(write_language_model(tmp_path / kind, kind, TEXTS)))
        said[kind] = backend.caption(request)
        assert backend.caption(request) == said[kind]
    assert told[0] == (
        "<|im_start|> system be brief <|im_end|> <|im_start|> user what is seen ? <|im_end|> <|im_start|> assistant "
        "a fox <|im_end|> <|im_start|> user too long , again <|im_end|> <|im_start|> assistant"
    )
    assert told[2] == "<s> [INST] be brief what is seen ? [/INST] a fox </s> <s> [INST] too long , again [/INST]"
    assert told[4] == "be brief what is seen ? a fox too long , again </s>"
    answer = said["chatml"]
    assert answer.text and answer.num_input_tokens == len(told[0].split())
    assert answer.num_output_tokens == 8 and answer.is_cut


def test_chance_is_the_same_for_the_same_question(tmp_path):
    folder = write_language_model(tmp_path / "model", "chatml", TEXTS)
    backend = TransformersBackend(settings_of(folder, temperature=2.0))
    state = torch.random.get_rng_state()
    first, second = (backend.caption(request_of(0, clip_id=name)) for name in "ab")
    assert first != second and backend.caption(request_of(0, clip_id="a")) == first
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_shown_as_the_model_takes_them(kind, tmp_path, told):
    backend = TransformersBackend(settings_of(write_tiny_model(tmp_path / "model", kind)))
    is_video = has_torchvision()
    several = backend.caption(request_of(4, rejected="seen", complaint="calls."))
    assert backend.caption(request_of(4, rejected="seen", complaint="calls.")) == several
    mark = {"qwen2_vl": VIDEO if is_video else IMAGE, "llava": "<image>", "llava_onevision": "<video>"}[kind]
    per_picture = {"qwen2_vl": 1, "llava": 4, "llava_onevision": 4}[kind]
    num_pictures = 4 if not is_video else 2 if kind == "qwen2_vl" else 4
    assert told[0].count(mark) >= num_pictures * (per_picture if kind != "llava_onevision" else 1)
    assert told[0].index(mark) < told[0].index("calls.") and several.num_input_tokens == len(told[0].split())
    backend.caption(request_of(1))
    assert (IMAGE if kind == "qwen2_vl" else "<image>") in told[2] and VIDEO not in told[2]
    assert backend.caption(request_of(0)).text != ""
    assert not any(name in told[3] for name in (IMAGE, VIDEO, "<image>", "<video>"))
    other = request_of(4, frames=255 - request_of(4).frames, rejected="seen", complaint="calls.")
    backbone = backend._loaded
    pixels = [backbone.inputs(each.turns()) for each in (request_of(4), other)]
    name = next(name for name in pixels[0] if "pixel" in name)
    assert not torch.equal(pixels[0][name], pixels[1][name])


def test_what_cannot_be_answered_says_why(tmp_path):
    folder = write_language_model(tmp_path / "model", "chatml", TEXTS)
    backend = TransformersBackend(settings_of(folder))
    with pytest.raises(CheckpointError, match="reads text only; name an image-text model"):
        backend.caption(request_of(2))
    with pytest.raises(ValueError, match=r"reads at most 256 tokens with its answer, got \d{3}"):
        backend.caption(request_of(0, prompt="a fox " * 200))
    nearly = backend.caption(request_of(0, prompt="a fox " * 121))
    assert nearly.num_input_tokens + nearly.num_output_tokens <= 256
    with pytest.raises(ValueError, match="no such folder: /no/such"):
        TransformersBackend(settings_of("/no/such"))
    with pytest.raises(ValueError, match="expected a revision that is a commit"):
        TransformersBackend(settings_of(folder, trusts_remote_code=True))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="no chat template"):
        TransformersBackend(settings_of(folder)).caption(request_of(0))
    with pytest.raises(CheckpointError, match="no usable model"):
        TransformersBackend(settings_of(tmp_path)).caption(request_of(0))


def test_too_little_memory_says_what_to_do(tmp_path, monkeypatch):
    backend = TransformersBackend(settings_of(write_language_model(tmp_path / "model", "chatml", TEXTS)))

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    backend.caption(request_of(0))
    monkeypatch.setattr(backend._loaded.model, "generate", fail)
    with pytest.raises(DoesNotFitError, match="too little memory on cpu: show it fewer or smaller frames"):
        backend.caption(request_of(0))
    with pytest.raises(RuntimeError, match="other"), memory_checked("m", "cpu", "do"):
        raise RuntimeError("other")
    backend.release()
    assert backend.caption(request_of(0)).text


def test_an_answer_whose_first_token_spans_the_border_is_learnt_as_it_will_be_said(tmp_path):
    """A tokenizer that merges the last mark of the question with the first letter of the answer."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    folder = write_language_model(tmp_path / "model", "chatml", TEXTS)
    marks = ["<pad>", "<unk>", "<s>", "</s>"]
    letters = dict.fromkeys([*marks, *"abcdefghijklmnopqrstuvwxyz >", ">a"])
    vocabulary = {letter: place for place, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [(">", "a")], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", bos_token="<s>")
    made.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}</s>{% else %}{{ m.content }}>{% endif %}"
        "{% endfor %}"
    )
    made.save_pretrained(folder)
    backbone = ChatBackbone.load(BackboneSettings(source=str(folder)))
    turns = [Turn("user", "what")]
    assert made("what>a fox</s>")["input_ids"][4] == vocabulary[">a"]
    read, said = backbone.inputs(turns)["input_ids"][0].tolist(), backbone.answer_tokens(turns, " a fox ")
    assert backbone.tokenizer.convert_ids_to_tokens(read)[-1] == ">"
    assert backbone.tokenizer.convert_ids_to_tokens(said) == ["a", " ", "f", "o", "x", "</s>"]


def test_templates_write_answers_in_their_own_way_and_end_them(tmp_path):
    ends = {"chatml": "<|im_end|>", "instruct": "</s>", "spoken": "</s>", "t5": "</s>"}
    for kind, end in ends.items():
        backbone = ChatBackbone.load(BackboneSettings(source=str(write_language_model(tmp_path / kind, kind, TEXTS))))
        turns = [Turn("system", "be brief"), Turn("user", "what is seen ?")]
        said = backbone.answer_tokens(turns, "a fox runs")
        assert backbone.tokenizer.decode(said).split() == ["a", "fox", "runs", end], kind
        assert backbone.text(said) == "a fox runs"
        read = backbone.tokenizer.decode(backbone.inputs(turns)["input_ids"][0])
        assert "fox" not in read and read.index("be brief") < read.index("what is seen ?")
    assert read == "be brief what is seen ? </s>"
    assert len(tokenizer_of(TEXTS)) < 64


def test_the_rate_that_models_are_told_is_that_of_the_frames():
    assert shown_rate((0.0, 0.5, 1.0, 1.5)) == 2.0 and shown_rate((1.0, 5.0)) == 0.25
    assert shown_rate(()) == shown_rate((0.0,)) == shown_rate((0.0, 0.0)) == 2.0


def write_picture_model(folder: Path, kind: str) -> Path:
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipProcessor,
        GitConfig,
        GitForCausalLM,
        GitProcessor,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "in", "a", "fox", "runs", "through", "the", "snow"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"vocab_size": len(words), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = text | {"image_size": 28, "patch_size": 14}
    torch.manual_seed(0)
    if kind == "blip":
        words_of = text | ids | {"sep_token_id": 3, "encoder_hidden_size": 32, "projection_dim": 32}
        model = BlipForConditionalGeneration(BlipConfig(text_config=words_of, vision_config=vision))
        processor = BlipProcessor(BlipImageProcessorPil(size={"height": 28, "width": 28}), tokenizer)
    else:
        model = GitForCausalLM(GitConfig(vision_config=vision, **text, **ids))
        pictures = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=28)
        processor = GitProcessor(pictures, tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["blip", "git"])
def test_models_without_conversations_caption_single_pictures(kind, tmp_path):
    backend = TransformersBackend(settings_of(write_picture_model(tmp_path / "model", kind)))
    answer = backend.caption(request_of(1))
    assert set(answer.text.split()) <= {"in", "a", "fox", "runs", "through", "the", "snow"}
    assert backend.caption(request_of(1, prompt="other")) == answer
    assert 0 < answer.num_output_tokens <= 10
    for number in (0, 4):
        with pytest.raises(
            CheckpointError, match=f"captions one picture at a time, got {number}: take it for .frames."
        ):
            backend.caption(request_of(number))
    backend.release()
