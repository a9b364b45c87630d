"""Notices prompts in a language that the text encoder does not read. Torch-free.

T5's vocabulary was made of English, German, French and Romanian text. Hangul, kana, Chinese characters, Arabic, Thai
and most other scripts are not in it: whole words become one ``<unk>``, and such prompts look alike to the model.
German, French and most languages in Latin letters are made of known pieces and are not noticed, though the captions
that the model was trained on are English.
"""

from dataclasses import dataclass
from typing import Any

from cogvideox.chat.language import foreign_script, is_latin

MAX_UNKNOWN_SHARE = 0.2
"""A prompt with more unknown letters is noticed. A foreign name or a sign's text within an English sentence stays
below; a sentence in a script that the vocabulary lacks is far above, also if it has a few English words."""

HOW_TO_TRANSLATE = "--enhance-endpoint URL --enhance-model NAME"

_IN_THE_LANGUAGE = {
    "Korean": (
        "모델이 이 프롬프트 글자의 {share}%를 읽지 못합니다. 이 모델은 영어만 이해하니 영어로 번역하거나, "
        f"{HOW_TO_TRANSLATE} 옵션으로 번역할 모델을 지정하세요."
    ),
}


@dataclass(frozen=True)
class LanguageNotice:
    """That a prompt is not readable by the model, for the user and for the record."""

    share: float
    """Of the prompt's letters that are unknown to the model, 0 to 1."""
    script: str
    """Korean, Japanese or Chinese; else the name of the script, such as Cyrillic or Arabic."""
    message: str
    """What to tell the user, without "warning:"; a second line in the language itself for Korean."""


def unknown_share(prompt: str, tokenizer: Any) -> float:
    """Return the share of a prompt's letters that reach the model without meaning, 0 to 1; 0 if it has no letters.

    Those are the letters in unknown and byte pieces, and those of other alphabets than the Latin one that are a piece
    each: T5 has pieces for single Cyrillic letters, but no Russian words. Emoji, digits and punctuation do not count.

    Args:
        prompt: any text.
        tokenizer: of the text encoder, as transformers loads it.
    """
    encoding = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False)
    pieces = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    is_known = [False] * len(prompt)
    for piece, (start, stop) in zip(pieces, encoding["offset_mapping"], strict=True):
        text = piece.removeprefix("▁")
        is_unknown = piece == tokenizer.unk_token or (piece.startswith("<0x") and piece.endswith(">"))
        is_spelled = len(text) == 1 and text.isalpha() and not is_latin(text)
        if text and not is_unknown and not is_spelled:
            is_known[start:stop] = [True] * (stop - start)
    letters = [known for character, known in zip(prompt, is_known, strict=True) if character.isalpha()]
    return letters.count(False) / len(letters) if letters else 0.0


def noticed_language(prompt: str, unknown_share: float) -> LanguageNotice | None:
    """Return a notice if too much of a prompt is unknown to the model (`MAX_UNKNOWN_SHARE`), else None.

    Args:
        prompt: what the user wrote.
        unknown_share: of its letters, as `unknown_share` measures it.
    """
    if unknown_share <= MAX_UNKNOWN_SHARE:
        return None
    script = foreign_script(prompt) or "Latin letters with marks"
    percent = round(100 * unknown_share)
    message = (
        f"{percent} % of this prompt's letters are unknown to the model ({script}): it reads English. "
        f"Translate it, or name a model that does: {HOW_TO_TRANSLATE}"
    )
    if script in _IN_THE_LANGUAGE:
        message += "\n" + _IN_THE_LANGUAGE[script].format(share=percent)
    return LanguageNotice(unknown_share, script, message)
