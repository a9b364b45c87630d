"""The text encoder on a tiny random T5 with a tokenizer made here."""

import json
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import T5Config, T5EncoderModel

from cogvideox.models.text_encoder import TextEncoder

WIDTH = 16


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoint")
    (root / "tokenizer").mkdir()
    (root / "corpus.txt").write_text("a red square moves left\na blue circle moves right\na fox in snow\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(root / "corpus.txt"),
        model_prefix=str(root / "tokenizer" / "spiece"),
        vocab_size=30,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512}
    (root / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = T5Config(vocab_size=30, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    T5EncoderModel(config).save_pretrained(root / "text_encoder")
    return root


@pytest.fixture(scope="module")
def encoder(directory: Path) -> TextEncoder:
    return TextEncoder.load(directory)


def test_shape_dtype_and_width(directory: Path) -> None:
    encoder = TextEncoder.load(directory, dtype=torch.bfloat16)
    embeddings = encoder.encode(["a fox", ""], 12)
    assert embeddings.shape == (2, 12, WIDTH)
    assert embeddings.dtype == torch.bfloat16
    assert encoder.width == WIDTH
    assert not embeddings.requires_grad


def test_prompts_differ_and_do_not_depend_on_their_batch(encoder: TextEncoder) -> None:
    both = encoder.encode(["a fox in snow", "a red square"], 12)
    torch.testing.assert_close(both[1:], encoder.encode(["a red square"], 12))
    assert (both[0] - both[1]).abs().max() > 0.1


def test_pads_are_attended(encoder: TextEncoder) -> None:
    num_tokens = encoder.count_tokens("a fox")
    assert num_tokens < 8
    padded = encoder.encode(["a fox"], 20)[:, :num_tokens]
    unpadded = encoder.encode(["a fox"], num_tokens)
    assert (padded - unpadded).abs().max() > 1e-3


def test_count_tokens_tells_truncation(encoder: TextEncoder) -> None:
    prompt = "a red square moves left a blue circle"
    num_tokens = encoder.count_tokens(prompt)
    longer = prompt + " moves right"
    assert encoder.count_tokens(longer) > num_tokens > encoder.count_tokens("a") >= 2  # the end token counts
    enough = encoder.count_tokens(longer)
    assert encoder.encode([longer], enough).shape[1] == enough
    cut = encoder.encode([longer], num_tokens)
    assert cut.shape == (1, num_tokens, WIDTH)


def test_loading_is_quiet(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    encoder = TextEncoder.load(directory)
    encoder.encode(["a fox " * 400], 8)
    encoder.count_tokens("a fox " * 400)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("prompts", [[], "a fox"], ids=["none", "a bare string"])
def test_wrong_prompts_are_refused(encoder: TextEncoder, prompts: list[str] | str) -> None:
    with pytest.raises(ValueError, match="prompts: expected"):
        encoder.encode(prompts, 8)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="text_encoder/"):
        TextEncoder.load(tmp_path)


def test_damaged_folder_is_a_value_error(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "tokenizer").symlink_to(directory / "tokenizer")
    with pytest.raises(ValueError, match="missing weights"):
        TextEncoder.load(tmp_path)
