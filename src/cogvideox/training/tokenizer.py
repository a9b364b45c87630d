"""Trains a SentencePiece tokenizer and writes it as the ``tokenizer`` component of a checkpoint."""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

PAD_ID, END_ID, UNKNOWN_ID = 0, 1, 2
"""T5's conventions; there is no token for the beginning and there are no sentinels."""

REQUIRED_CHARACTERS = "".join(
    chr(code) for code in (*range(0x21, 0x7F), *range(0xDF, 0x100)) if not chr(code).isupper() and code != 0xF7
)
"""ASCII and the letters of western Europe, known whatever the corpus holds; upper case is folded away."""


def train_tokenizer(sentences: Iterable[str], vocab_size: int) -> bytes:
    """Return a unigram SentencePiece model that folds case, the same bytes for the same sentences.

    Raises:
        ValueError: the sentences are too few for this vocabulary.
    """
    file = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=file,
            model_type="unigram",
            vocab_size=vocab_size,
            normalization_rule_name="nmt_nfkc_cf",
            character_coverage=1.0,
            required_chars=REQUIRED_CHARACTERS,
            split_digits=True,
            pad_id=PAD_ID,
            eos_id=END_ID,
            unk_id=UNKNOWN_ID,
            bos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"vocab_size: {vocab_size} does not fit the sentences ({error})") from None
    return file.getvalue()


def save_tokenizer(model: bytes, directory: Path, *, max_tokens: int) -> None:
    """Write a folder that ``T5Tokenizer.from_pretrained`` loads; ``max_tokens`` is where it cuts when asked to."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "spiece.model").write_bytes(model)
    settings = {
        "tokenizer_class": "T5Tokenizer",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "extra_ids": 0,
        "additional_special_tokens": [],
        "legacy": True,
        "model_max_length": max_tokens,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
