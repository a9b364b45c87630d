"""Prompts that the embedded model's tokenizer reads, and prompts that it does not."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast, T5Tokenizer

import cogvideox
from cogvideox.generation.prompt_language import MAX_UNKNOWN_SHARE, noticed_language, unknown_share


@pytest.fixture(scope="module")
def tokenizer() -> T5Tokenizer:
    folder = Path(cogvideox.__file__).parent / "weights" / "tiny" / "tokenizer"
    return T5Tokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize(
    ("prompt", "script"),
    [
        ("눈 속의 여우가 달린다", "Korean"),
        ("\u1102\u116e\u11ab \u110b\u1167\u110b\u116e", "Korean"),  # decomposed, as macOS names its files
        ("빨간 공이 왼쪽으로 굴러간다, 4k HDR", "Korean"),
        ("赤い狐が雪の中を走る", "Japanese"),
        ("ｷﾂﾈ", "Japanese"),
        ("红色的狐狸在雪中奔跑", "Chinese"),
        ("Красная лиса бежит по снегу", "Cyrillic"),
        ("ثعلب أحمر في الثلج", "Arabic"),
        ("หมาจิ้งจอกวิ่งในหิมะ", "Thai"),
        ("एक लाल लोमड़ी बर्फ में दौड़ती है", "Devanagari"),
    ],
)
def test_other_scripts_are_noticed_and_named(tokenizer: T5Tokenizer, prompt: str, script: str) -> None:
    share = unknown_share(prompt, tokenizer)
    notice = noticed_language(prompt, share)
    assert notice is not None
    assert notice.script == script
    assert notice.share == share > 0.6
    assert notice.message.startswith(f"{round(100 * share)} % of this prompt's letters are unknown to the model")


@pytest.mark.parametrize(
    "prompt",
    [
        "a red ball rolls left",
        "A FOX IN SNOW",
        "a fox 🦊 runs 🎉🎉🎉 ☺️",
        "🦊🦊🦊",
        "",
        "12 34 …",
        "A sign that says '안녕하세요' hangs over the door of a small shop",
        "Łukasz walks through Kraków",
        "ein schöner Fuchs läuft über den verschneiten Hügel",
        "un renard traverse la forêt enneigée",
        "\uff26\uff55\uff4c\uff4c \uff57\uff49\uff44\uff45",
        "a word " * 600,
    ],
)
def test_english_emoji_and_latin_languages_are_not_noticed(tokenizer: T5Tokenizer, prompt: str) -> None:
    share = unknown_share(prompt, tokenizer)
    assert share <= MAX_UNKNOWN_SHARE
    assert noticed_language(prompt, share) is None


def test_share_is_of_letters_only(tokenizer: T5Tokenizer) -> None:
    assert unknown_share("한국 fox ☃ 12", tokenizer) == 2 / 5
    assert unknown_share("한국, 🦊!", tokenizer) == 1


def test_measuring_is_quiet_and_independent_of_earlier_truncation(
    tokenizer: T5Tokenizer, capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer(["a fox"], truncation=True, padding="max_length", max_length=8)
    assert unknown_share("a word " * 600 + "한국" * 1500, tokenizer) == 0.5
    assert capfd.readouterr() == ("", "")


def vocabulary(*pieces: str) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    scored = [("<unk>", 0.0), *((piece, -1.0) for piece in pieces)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def test_words_spelled_letter_by_letter_are_unknown_unless_they_are_latin() -> None:
    russian = "лиса"
    spelling = vocabulary("▁", *russian, *"fox")
    assert unknown_share("лиса", spelling) == 1
    assert unknown_share("fox", spelling) == 0
    assert unknown_share("лиса", vocabulary("▁лиса")) == 0


def test_byte_pieces_are_unknown() -> None:
    bytewise = vocabulary("▁", *"fox", *(f"<0x{byte:02X}>" for byte in range(256)))
    assert unknown_share("fox 여우", bytewise) == 2 / 5


def test_korean_message_says_it_in_korean_too() -> None:
    notice = noticed_language("눈 속의 여우", 0.92)
    assert notice is not None
    english, korean = notice.message.split("\n")
    assert english == (
        "92 % of this prompt's letters are unknown to the model (Korean): it reads English. "
        "Translate it, or name a model that does: --enhance-endpoint URL --enhance-model NAME"
    )
    assert "92%" in korean
    assert "영어" in korean
    russian = noticed_language("лиса", 1.0)
    assert russian is not None
    assert "\n" not in russian.message


def test_accented_letters_that_are_unknown_have_a_name() -> None:
    notice = noticed_language("ẵẫẩộợ", 1.0)
    assert notice is not None
    assert "Latin letters with marks" in notice.message
