"""How well word vectors carry synonyms over that training captions never contain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cogvideox.data.stage_world import HELD_OUT_SYNONYMS
from cogvideox.data.stage_world.vocabulary import ACTION_VERBS, ACTOR_NOUNS, PLACE_PHRASES
from cogvideox.data.text_corpus import split_words

WordVectors = Callable[[Sequence[str]], Sequence[Tensor]]
"""Texts to one (words, width) tensor each."""

NEUTRAL_OPENINGS: dict[str, str] = {"actor": "there is a", "action": "it", "place": "something"}
"""What stands before a phrase of each kind, so that nothing else hints at its meaning."""

SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "actor": {name: phrases for name, phrases in ACTOR_NOUNS.items()},
    "action": {name: phrases for name, phrases in ACTION_VERBS.items()},
    "place": {name: phrases for name, phrases in PLACE_PHRASES.items()},
}
"""Kind -> concept -> the phrases of training captions."""

STOP_WORDS = frozenset(("a", "an", "the", "in", "on", "at", "of", "to", "by", "is", "up"))


@dataclass(frozen=True, kw_only=True)
class SynonymScore:
    """Which held-out synonyms lie nearest to their own concept."""

    shares: dict[str, float]
    """Kind -> share of its synonyms that are right; "all" over all kinds."""
    mistakes: tuple[str, ...]
    """``synonym > concept it was taken for``."""


def score_synonyms(word_vectors: WordVectors) -> SynonymScore:
    """Compare each held-out synonym with the mean vectors of all concepts of its kind, by cosine."""
    shares: dict[str, float] = {}
    mistakes: list[str] = []
    num_right = num_all = 0
    for kind, concepts in SYNONYMS.items():
        names = list(concepts)
        known = torch.stack([_phrase_vectors(word_vectors, kind, concepts[name]).mean(0) for name in names])
        unseen = [(index, phrase) for index, name in enumerate(names) for phrase in HELD_OUT_SYNONYMS[name]]
        vectors = _phrase_vectors(word_vectors, kind, [phrase for _, phrase in unseen])
        nearest = F.cosine_similarity(vectors[:, None], known[None], dim=-1).argmax(1).tolist()
        wrong = [
            f"{phrase} > {names[taken]}"
            for (index, phrase), taken in zip(unseen, nearest, strict=True)
            if taken != index
        ]
        mistakes += wrong
        shares[kind] = 1 - len(wrong) / len(unseen)
        num_right += len(unseen) - len(wrong)
        num_all += len(unseen)
    return SynonymScore(shares={"all": num_right / num_all, **shares}, mistakes=tuple(mistakes))


def _phrase_vectors(word_vectors: WordVectors, kind: str, phrases: Sequence[str]) -> Tensor:
    """Mean vector of the telling words of each phrase, (phrases, width)."""
    opening = NEUTRAL_OPENINGS[kind]
    vectors: list[Tensor] = []
    for phrase, all_vectors in zip(phrases, word_vectors([f"{opening} {phrase}" for phrase in phrases]), strict=True):
        first = len(opening.split())
        telling = [first + place for place, word in enumerate(split_words(phrase)) if word not in STOP_WORDS]
        vectors.append(all_vectors[telling].mean(0))
    return torch.stack(vectors)
