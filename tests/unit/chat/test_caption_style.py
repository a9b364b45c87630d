import random
from pathlib import Path

import pytest

from cogvideox.chat.caption_style import STYLE_NAME, CaptionStyle, read_style, style_of, write_style

PAIRS = [(f"a fox number {n}", "A fox runs. " * (n + 1)) for n in range(30)] + [("a ship", "Waves lift a ship. " * 10)]


def test_a_style_is_what_was_written(tmp_path: Path) -> None:
    assert read_style(tmp_path) is None
    style = CaptionStyle(max_words=80, examples=(("눈", "Snow falls."), ("a fox", "A fox.")))
    write_style(tmp_path, style)
    assert read_style(tmp_path) == style


def test_examples_are_of_middling_length_and_differ() -> None:
    style = style_of(PAIRS)
    assert len(style.examples) == 3 and ("a ship", "Waves lift a ship. " * 10) in style.examples
    assert all(24 <= len(dense.split()) <= 72 for _, dense in style.examples)
    assert style.max_words == 87
    shuffled = PAIRS.copy()
    random.Random(0).shuffle(shuffled)
    assert style_of(shuffled) == style


@pytest.mark.parametrize("pairs", [[("a fox", "A fox runs.")], [("", "A fox runs.")]])
def test_a_style_of_one_caption(pairs: list[tuple[str, str]]) -> None:
    style = style_of(pairs)
    assert style.max_words == 3
    assert style.examples == (tuple(pairs) if pairs[0][0] else ())


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b"\xff", b'{"format": 2}', b'{"format": 1, "max_words": 3, "examples": [["a"]]}']
)
def test_a_damaged_style_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STYLE_NAME).write_bytes(content)
    with pytest.raises(ValueError, match="not readable as a style"):
        read_style(tmp_path)
