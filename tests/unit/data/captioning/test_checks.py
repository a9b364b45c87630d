"""The row of a summary in the table of checks."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from cogvideox.data.captioning import checking
from cogvideox.data.captioning.checks import CHECK_COLUMNS, CHECK_TYPES, CheckInput, badness, check_summary
from cogvideox.data.captioning.lexicon import load_lexicon
from cogvideox.data.captioning.match import CaptionMatcher
from cogvideox.data.captioning.request import TimedCaption
from cogvideox.data.captioning.stages import CaptionRow, ClipCaptions
from cogvideox.data.curation.store import read_table, write_table
from cogvideox.errors import FetchError
from real_videos import give_up

TOWER = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
FRAMES = (TimedCaption(time_s=0.0, text="A brown dog runs."), TimedCaption(time_s=2.0, text="The dog jumps."))


@pytest.fixture(scope="module", autouse=True)
def _wordnet() -> None:
    try:
        load_lexicon()
    except FetchError as error:
        give_up(str(error))


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    words = {word: index for index, word in enumerate(("<pad>", "<end>", "a", "dog", "runs", "cat", "."))}
    text = TOWER | {"vocab_size": len(words), "max_position_embeddings": 8, "eos_token_id": 1}
    vision = TOWER | {"image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(tmp_path)
    tokenizer = Tokenizer(WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>").save_pretrained(tmp_path)
    settings = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_center_crop": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_a_row_has_all_columns_and_goes_into_a_table(tmp_path: Path) -> None:
    check = CheckInput(clip_id="one", summary="A brown dog runs and a cat", frame_captions=FRAMES, judge_answer="a cat")
    row = check_summary(check, max_words=100)
    assert list(row) == list(CHECK_TYPES)
    assert row["flags"] == ["novel_nouns", "is_cut", "judged_share"]
    assert json.loads(row["found"])["novel_nouns"] == ["cat"]
    write_table(tmp_path / "check.parquet", [row], CHECK_TYPES)
    assert read_table(tmp_path / "check.parquet")[0]["flags"] == row["flags"]
    for column in CHECK_COLUMNS:
        assert math.isnan(row[column.name]) or column.low <= row[column.name] <= column.high


def test_a_judge_that_makes_no_sense_is_recorded() -> None:
    row = check_summary(CheckInput(clip_id="one", summary="A dog runs.", judge_answer="Well, well."), max_words=100)
    assert math.isnan(row["judged_share"]) and row["judge_problem"]


def test_a_summary_that_cannot_be_measured_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(check: CheckInput, **_: object) -> dict[str, object]:
        if check.clip_id == "one":
            raise RecursionError("too deep")
        return check_summary(check, max_words=100)

    monkeypatch.setattr(checking.checks, "check_summary", measure)
    settings = SimpleNamespace(match_model="", num_frames=1, max_side_px=32)
    recipe: Any = SimpleNamespace(check=settings, summary=SimpleNamespace(max_words=100))
    log: Any = None
    captions = ClipCaptions(summary=CaptionRow(text="A dog runs."))
    clips: list[Any] = [SimpleNamespace(clip_id=name, content_key=name) for name in ("one", "two")]
    one, two = checking._Checker(recipe, log).rows([(clip, captions) for clip in clips])
    assert list(one) == list(CHECK_TYPES) and "too deep" in one["judge_problem"] and math.isnan(one["grounding"])
    assert two["num_words"] == 3 and not two["judge_problem"]


def test_pictures_are_matched_by_sentence(clip_folder: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 64, 3), dtype=np.uint8)
    matcher = CaptionMatcher(clip_folder)
    check = CheckInput(clip_id="one", summary="a dog runs. a cat runs.", frames=lambda: frames)
    row = check_summary(check, max_words=100, matcher=matcher)
    assert -1 <= row["match_min"] <= row["match_mean"] <= 1
    assert -1 <= row["match_sentence_min"] <= 1
    assert math.isnan(matcher.match("", frames).mean)
    one = matcher.match("a dog runs.", frames[:1])
    assert one.mean == one.low == one.worst_sentence


def test_a_checkpoint_without_tokenizer_is_refused(clip_folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (clip_folder / name).unlink()
    with pytest.raises(ValueError, match="tokenizer"):
        CaptionMatcher(clip_folder).match("a dog.", np.zeros((1, 32, 32, 3), np.uint8))


def test_badness_puts_the_worst_first() -> None:
    assert badness("grounding", [0.2, math.nan, 0.9]).argmax() == 0
    assert badness("novel_nouns", [0.2, math.nan, 0.9]).argmax() == 2
