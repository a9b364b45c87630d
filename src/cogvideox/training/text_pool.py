"""A fixed pool of sentences with their student tokens, teacher vectors and concept tags, kept in memory.

Axes: N sentences, L student tokens, W words of all sentences one after another, D width of the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import T5Tokenizer

from cogvideox.data.text_corpus import CONCEPTS, TAGS, UNTAGGED, TaggedCaption

IGNORED = -100
"""The label that cross-entropy leaves out."""

ATTRIBUTE_NAMES: dict[str, tuple[str, ...]] = {kind: (UNTAGGED, *names) for kind, names in CONCEPTS.items()}
"""Classes of each sentence-level head."""

_TAG_IDS = {tag: index for index, tag in enumerate(TAGS)}


class StudentTokenizer:
    """Pads and cuts to a fixed length, and knows which word each token belongs to."""

    def __init__(self, tokenizer: T5Tokenizer, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.pieces = pieces = [str(tokenizer.convert_ids_to_tokens(index)) for index in range(len(tokenizer))]
        special = torch.tensor([piece in (tokenizer.pad_token, tokenizer.eos_token) for piece in pieces])
        self._is_special = special
        self._starts_word = torch.tensor([piece.startswith("▁") for piece in pieces])

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token ids and the number of each token's word, -1 for pads and ends, both (N, L) int64."""
        batch = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        ids: Tensor = batch.input_ids
        words = self._starts_word[ids].cumsum(1) - 1
        return ids, words.masked_fill(self._is_special[ids], -1)

    def count_whole_words(self, text: str) -> int:
        """Return how many words of a text fit with all their tokens."""
        room = self.max_tokens - 1  # the end token takes one
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        starts_word = self._starts_word[ids].tolist()
        is_last_cut = len(ids) > room and not starts_word[room]
        return sum(starts_word[:room]) - is_last_cut


@dataclass(frozen=True, kw_only=True)
class TextPool:
    """Sentences ready to train on."""

    token_ids: Tensor
    """(N, L) int64."""
    words: Tensor
    """(N, L) int64: the word of each token in its sentence; -1 for pads, ends and words that were cut."""
    num_words: Tensor
    """(N,): words that fit whole into L tokens."""
    first_word: Tensor
    """(N,): where a sentence's words begin in the W axis."""
    teacher_vectors: Tensor
    """(W, D) float16, of length 1."""
    tags: Tensor
    """(W,): index in TAGS, IGNORED in sentences without tags."""
    attributes: Tensor
    """(N, kinds): index in ATTRIBUTE_NAMES, IGNORED in sentences without tags."""

    def __len__(self) -> int:
        return len(self.token_ids)

    def select(self, indices: Tensor) -> "TextPool":
        """Return the chosen sentences, with the W axis made anew from their whole words."""
        num_words = self.num_words[indices]
        ends = num_words.cumsum(0)
        first_word = ends - num_words
        flat = torch.arange(int(ends[-1])) + (self.first_word[indices] - first_word).repeat_interleave(num_words)
        return TextPool(
            token_ids=self.token_ids[indices],
            words=self.words[indices],
            num_words=num_words,
            first_word=first_word,
            teacher_vectors=self.teacher_vectors[flat].float(),
            tags=self.tags[flat],
            attributes=self.attributes[indices],
        )


def build_pool(
    sentences: Sequence[TaggedCaption | str], tokenizer: StudentTokenizer, teacher_vectors: Sequence[Tensor]
) -> TextPool:
    """Put sentences, tagged or not, and the teacher's vectors of their words into a pool."""
    texts = [sentence if isinstance(sentence, str) else sentence.text for sentence in sentences]
    ids, words = tokenizer(texts)
    num_words = torch.tensor([tokenizer.count_whole_words(text) for text in texts])
    lengths = torch.tensor([len(vectors) for vectors in teacher_vectors])
    assert all(len(text.split()) == len(vectors) for text, vectors in zip(texts, teacher_vectors, strict=True))
    assert (num_words <= lengths).all(), "a word of the student is a blank-separated word"
    return TextPool(
        token_ids=ids,
        words=words.masked_fill(words >= num_words[:, None], -1),
        num_words=num_words,
        first_word=lengths.cumsum(0) - lengths,
        teacher_vectors=F.normalize(torch.cat(list(teacher_vectors)), dim=-1).half(),
        tags=torch.tensor([tag for sentence in sentences for tag in _tag_ids(sentence)]),
        attributes=torch.tensor([_attribute_ids(sentence) for sentence in sentences]),
    )


def _tag_ids(sentence: TaggedCaption | str) -> list[int]:
    if isinstance(sentence, str):
        return [IGNORED] * len(sentence.split())
    return [_TAG_IDS[tag] for tag in sentence.tags]


def _attribute_ids(sentence: TaggedCaption | str) -> list[int]:
    if isinstance(sentence, str):
        return [IGNORED] * len(ATTRIBUTE_NAMES)
    return [names.index(sentence.concept(kind)) for kind, names in ATTRIBUTE_NAMES.items()]
