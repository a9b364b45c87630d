"""One training step of the small model's own T5 encoder: word vectors distilled from a teacher, and concept tags.

Axes: B sentences, L tokens, W words of the batch, D width of the encoder. Sentences are padded to L and the pads are
attended to, as in diffusion.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from cogvideox.data.text_corpus import TAGS, UNTAGGED, dictionary, dictionary_lines, generic_sentences, stage_captions
from cogvideox.training.averaging import WeightAverage
from cogvideox.training.learning_rate import set_learning_rate
from cogvideox.training.loop import RunSettings
from cogvideox.training.synonym_score import score_synonyms
from cogvideox.training.teacher import BertTeacher, WordTeacher, fetch_teacher
from cogvideox.training.text_pool import ATTRIBUTE_NAMES, IGNORED, StudentTokenizer, TextPool, build_pool
from cogvideox.training.tokenizer import END_ID, PAD_ID, save_tokenizer, train_tokenizer

logger = logging.getLogger(__name__)

NUM_SPECIAL_TOKENS = 3
"""Pad, end and unknown come first in the vocabulary."""

PIECE_TRUST = 0.1
"""Weight of a piece's own vector against the words it helps to spell."""

CHECK_SEED = 1_000_000_007
"""Seeds the sentences of the checks, apart from all training seeds."""


@dataclass(frozen=True, kw_only=True)
class TextModelSettings:
    """The T5 encoder's shape."""

    width: int = 256
    num_layers: int = 3
    num_heads: int = 4
    head_width: int = 64
    feed_forward_width: int = 512


@dataclass(frozen=True, kw_only=True)
class TextEncoderRecipe:
    """A text encoder training run (``recipes/tiny-text-encoder.toml``)."""

    run: RunSettings
    model: TextModelSettings = field(default_factory=TextModelSettings)
    max_tokens: int = 32
    """Length to which sentences are padded: that of diffusion."""
    vocab_size: int = 4096
    num_stage_captions: int = 6000
    """Captions of the training scenes in the pool; all are tagged."""
    num_generic_sentences: int = 9000
    """Sentences of a wider vocabulary in the pool."""
    num_tokenizer_sentences: int = 12000
    """Further generic sentences, read by the tokenizer only: a vocabulary needs more words than the pool holds."""
    num_dictionary_lines: int = 3000
    """Lines of unconnected words in the pool; their vectors are those the teacher gives for the single words."""
    num_teacher_words: int = 12000
    """The teacher's commonest words, used in generic sentences and in the dictionary."""
    num_check_sentences: int = 256
    geometry_width: int = 192
    """Features that start as, and stay bound to, the teacher's geometry; at most the encoder's width."""
    stage_share: float = 0.5
    """Of a batch."""
    distillation_weight: float = 1.0
    tag_weight: float = 1.0
    attribute_weight: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.stage_share < 1:
            raise ValueError(f"stage_share: expected between 0 and 1, got {self.stage_share}")


class Student(nn.Module):
    """The encoder, and the linear maps that exist only in training."""

    def __init__(self, encoder: T5EncoderModel, teacher_width: int) -> None:
        super().__init__()
        width = encoder.config.d_model
        self.encoder = encoder
        self.to_teacher = nn.Linear(width, teacher_width, bias=False)
        self.tag_head = nn.Linear(width, len(TAGS))
        self.attribute_heads = nn.ModuleList(nn.Linear(width, len(names)) for names in ATTRIBUTE_NAMES.values())

    def forward(self, batch: TextPool) -> tuple[Tensor, Tensor]:
        """Return the mean features of each word (W, D) and of each sentence without its pads (B, D)."""
        hidden = self.encoder(batch.token_ids).last_hidden_state
        is_text = (batch.token_ids != PAD_ID).to(hidden.dtype)[..., None]
        sentence_means = (hidden * is_text).sum(1) / is_text.sum(1)
        return mean_of_words(hidden, batch), sentence_means


def mean_of_words(hidden: Tensor, batch: TextPool) -> Tensor:
    """Average token features (B, L, D) by the words of the batch, (W, D)."""
    is_in_word = batch.words >= 0
    word = (batch.words + batch.first_word[:, None])[is_in_word]
    num_words = int(batch.num_words.sum())
    counts = torch.bincount(word, minlength=num_words)
    sums = hidden.new_zeros(num_words, hidden.shape[-1]).index_add(0, word, hidden[is_in_word])
    return sums / counts[:, None]


class TextEncoderStep:
    """Trains the tokenizer, asks the teacher once, then updates the encoder."""

    def __init__(self, recipe: TextEncoderRecipe, device: torch.device, teacher: WordTeacher | None = None) -> None:
        torch.manual_seed(recipe.run.seed)
        self.recipe = recipe
        self.device = device
        teacher = BertTeacher.load(fetch_teacher()) if teacher is None else teacher
        seed = recipe.run.seed
        words = teacher.words[: recipe.num_teacher_words]
        captions = stage_captions(recipe.num_stage_captions, (seed, 1))
        sentences = generic_sentences(recipe.num_generic_sentences, (seed, 2), further_words=words)
        dictionary_words = dictionary(words)
        lines = dictionary_lines(dictionary_words, recipe.num_dictionary_lines, (seed, 5))
        texts = [caption.text for caption in captions] + sentences
        more_texts = generic_sentences(recipe.num_tokenizer_sentences, (seed, 4), further_words=words)
        self.tokenizer_model = train_tokenizer(texts + more_texts + lines, recipe.vocab_size)
        self.tokenizer = StudentTokenizer(_load_tokenizer(self.tokenizer_model, recipe.max_tokens), recipe.max_tokens)
        logger.info("asking the teacher for the vectors of %d sentences", len(texts) + len(dictionary_words))
        vectors = teacher.word_vectors(texts)
        meanings = dict(zip(dictionary_words, teacher.word_vectors(dictionary_words), strict=True))
        vectors += [torch.cat([meanings[word] for word in line.split()]) for line in lines]
        self.pool = build_pool([*captions, *sentences, *lines], self.tokenizer, vectors)
        self.mean_vector = self.pool.teacher_vectors.float().mean(0).to(device)
        self._prepare_checks(teacher, words)
        self.student = Student(_new_encoder(recipe, len(self.tokenizer.tokenizer)), teacher.width)
        _copy_geometry(self.student, self.tokenizer, meanings, teacher, recipe.geometry_width)
        self.student.to(device)
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), betas=(0.9, 0.98), weight_decay=recipe.run.weight_decay
        )
        self.average = WeightAverage(self.student, recipe.run.average_decay)

    def _prepare_checks(self, teacher: WordTeacher, words: Sequence[str]) -> None:
        num = self.recipe.num_check_sentences
        held_out = stage_captions(num, (CHECK_SEED, 1), split="held_out")
        generic = generic_sentences(num, (CHECK_SEED, 2), further_words=words)
        # Captions in unseen words have no use for the teacher's vectors.
        unseen_words = stage_captions(num, (CHECK_SEED, 3), split="any", use_held_out_synonyms=True)
        vectors = teacher.word_vectors([caption.text for caption in held_out] + generic)
        blanks = [torch.zeros(len(caption.tags), teacher.width) for caption in unseen_words]
        self.check_captions = build_pool(held_out, self.tokenizer, vectors[:num])
        self.check_generic = build_pool(generic, self.tokenizer, vectors[num:])
        self.check_unseen_words = build_pool(unseen_words, self.tokenizer, blanks)
        self.teacher_synonym_score = score_synonyms(teacher.word_vectors).shares["all"]

    def make_batch(self, step: int) -> TextPool:
        """Return sentences of the pool, the share of captions as in the recipe."""
        rng = np.random.default_rng((self.recipe.run.seed, 3, step))
        num_captions = round(self.recipe.stage_share * self.recipe.run.batch_size)
        num_stage, num_all = self.recipe.num_stage_captions, len(self.pool)
        captions = rng.integers(num_stage, size=num_captions)
        generic = rng.integers(num_stage, num_all, size=self.recipe.run.batch_size - num_captions)
        return self._to_device(self.pool.select(torch.from_numpy(np.concatenate((captions, generic)))))

    def _to_device(self, batch: TextPool) -> TextPool:
        return TextPool(**{name: value.to(self.device) for name, value in vars(batch).items()})

    def __call__(self, batch: TextPool, learning_rate: float) -> dict[str, Tensor]:
        """Update once; logs the parts of the loss and the share of right word tags."""
        set_learning_rate(self.optimizer, learning_rate)
        self.student.train()
        words, sentences = self.student(batch)
        distillation = self._distillation_loss(self.student.to_teacher(words), batch.teacher_vectors)
        tag_logits = self.student.tag_head(words)
        tag_loss = F.cross_entropy(tag_logits, batch.tags, ignore_index=IGNORED)
        attribute_losses = [
            F.cross_entropy(head(sentences), batch.attributes[:, kind], ignore_index=IGNORED)
            for kind, head in enumerate(self.student.attribute_heads)
        ]
        attribute_loss = torch.stack(attribute_losses).mean()
        recipe = self.recipe
        loss = (
            recipe.distillation_weight * distillation
            + recipe.tag_weight * tag_loss
            + recipe.attribute_weight * attribute_loss
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient_norm = nn.utils.clip_grad_norm_(self.student.parameters(), recipe.run.max_gradient_norm)
        self.optimizer.step()
        self.average.update(self.student)
        return {
            "distillation": distillation.detach(),
            "tag_loss": tag_loss.detach(),
            "attribute_loss": attribute_loss.detach(),
            "gradient_norm": gradient_norm,
            "tag_accuracy": _accuracy(tag_logits.detach(), batch.tags),
        }

    def _distillation_loss(self, made: Tensor, teacher_vectors: Tensor) -> Tensor:
        """Cosine and squared distance to the teacher's vectors less their mean, which is most of what words share."""
        wanted = teacher_vectors - self.mean_vector
        distance = (made - wanted).square().sum(-1).mean()
        return 1 - F.cosine_similarity(made, wanted, dim=-1).mean() + 0.2 * distance

    @torch.no_grad()
    def write_samples(self, path: Path) -> dict[str, float]:
        """Write the synonyms that are still mistaken, as text beside where a picture would be; return the checks.

        ``held_out_*`` are captions of held-out scenes, ``unseen_words_*`` captions that name actor, action and place
        by held-out synonyms only; ``tag_accuracy`` is over the words that name a concept.
        """
        self.student.eval()
        with self.average.swapped(self.student):
            scores, mistakes = self._check()
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}: {value:.3f}" for name, value in scores.items()] + ["", "mistaken synonyms:", *mistakes]
        path.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return scores

    def _check(self) -> tuple[dict[str, float], Sequence[str]]:
        captions, unseen_words = self._to_device(self.check_captions), self._to_device(self.check_unseen_words)
        generic = self._to_device(self.check_generic)
        scores: dict[str, float] = {}
        for name, pool in (("held_out", captions), ("unseen_words", unseen_words)):
            batch = pool.select(torch.arange(len(pool)))
            words, sentences = self.student(batch)
            names_concept = batch.tags != TAGS.index(UNTAGGED)
            tags = batch.tags.masked_fill(~names_concept, IGNORED)
            scores[f"{name}_tag_accuracy"] = float(_accuracy(self.student.tag_head(words), tags))
            for column, (kind, head) in enumerate(zip(ATTRIBUTE_NAMES, self.student.attribute_heads, strict=True)):
                accuracy = _accuracy(head(sentences), batch.attributes[:, column])
                scores[f"{name}_{kind.replace(' ', '_')}_accuracy"] = float(accuracy)
        for name, pool in (("held_out", captions), ("generic", generic)):
            batch = pool.select(torch.arange(len(pool)))
            made = self.student.to_teacher(self.student(batch)[0]) + self.mean_vector
            scores[f"{name}_teacher_cosine"] = float(F.cosine_similarity(made, batch.teacher_vectors, dim=-1).mean())
        synonyms = score_synonyms(self._word_vectors)
        scores |= {f"synonym_score_{kind}": share for kind, share in synonyms.shares.items()}
        scores["synonym_score_of_teacher"] = self.teacher_synonym_score
        return scores, synonyms.mistakes

    def _word_vectors(self, texts: Sequence[str]) -> list[Tensor]:
        vectors = [torch.zeros(len(text.split()), 1) for text in texts]
        pool = self._to_device(build_pool(texts, self.tokenizer, vectors))
        hidden = self.student.encoder(pool.token_ids).last_hidden_state
        return list(mean_of_words(hidden, pool).split(pool.num_words.tolist()))

    @torch.no_grad()
    def save_checkpoint(self, directory: Path) -> None:
        """Write ``tokenizer`` and the averaged ``text_encoder``, its features scaled to a mean square of 1."""
        save_tokenizer(self.tokenizer_model, directory / "tokenizer", max_tokens=self.recipe.max_tokens)
        self.student.eval()
        encoder = self.student.encoder
        weight = encoder.encoder.final_layer_norm.weight
        sentences = self.check_captions.token_ids.to(self.device)
        with self.average.swapped(self.student):
            kept = weight.detach().clone()
            weight.mul_(encoder(sentences).last_hidden_state.square().mean().rsqrt())
            try:
                encoder.save_pretrained(directory / "text_encoder")
            finally:
                weight.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return model, optimizer, average and the tokenizer they belong to."""
        return {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "tokenizer": torch.frombuffer(bytearray(self.tokenizer_model), dtype=torch.uint8),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises RuntimeError when it belongs to another tokenizer."""
        if state["tokenizer"].numpy().tobytes() != self.tokenizer_model:
            raise RuntimeError("its tokenizer was trained on other sentences")
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])


def _load_tokenizer(model: bytes, max_tokens: int) -> T5Tokenizer:
    with tempfile.TemporaryDirectory() as directory:
        save_tokenizer(model, Path(directory), max_tokens=max_tokens)
        return T5Tokenizer.from_pretrained(directory, local_files_only=True)


def _new_encoder(recipe: TextEncoderRecipe, vocab_size: int) -> T5EncoderModel:
    settings = recipe.model
    config = T5Config(
        vocab_size=vocab_size,
        d_model=settings.width,
        d_kv=settings.head_width,
        d_ff=settings.feed_forward_width,
        num_layers=settings.num_layers,
        num_heads=settings.num_heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=PAD_ID,
        eos_token_id=END_ID,
        use_cache=False,
    )
    return T5EncoderModel(config)


@torch.no_grad()
def _copy_geometry(
    student: Student,
    tokenizer: StudentTokenizer,
    meanings: Mapping[str, Tensor],
    teacher: WordTeacher,
    geometry_width: int,
) -> None:
    """Start the embeddings so that the mean over a word's pieces is near the teacher's vector of the single word.

    The map to the teacher is fixed as the way back from the first ``geometry_width`` features and the layers start as
    the identity, so a run begins with the teacher's geometry of single words, as far as means of pieces can give it,
    and learns to spell and to read context; the other features are free for the concepts.
    """
    for name, weight in student.encoder.named_parameters():
        if name.endswith((".o.weight", ".wo.weight")):
            nn.init.zeros_(weight)
    vectors = _fit_pieces(tokenizer, meanings, teacher)
    embeddings = student.encoder.shared.weight
    axes = torch.linalg.svd(vectors, full_matrices=False).Vh[: min(geometry_width, embeddings.shape[1])]
    coordinates = vectors @ axes.T
    scale = coordinates.square().mean().rsqrt()
    embeddings[NUM_SPECIAL_TOKENS:, : len(axes)] = coordinates * scale
    student.to_teacher.weight.zero_()
    student.to_teacher.weight.requires_grad_(False)
    student.to_teacher.weight[:, : len(axes)] = axes.T / scale


def _fit_pieces(tokenizer: StudentTokenizer, meanings: Mapping[str, Tensor], teacher: WordTeacher) -> Tensor:
    """Return a centred teacher vector per piece, (V - special tokens, D): its own as a word, moved by least squares."""
    pieces = tokenizer.pieces[NUM_SPECIAL_TOKENS:]
    own = torch.cat(
        [rows.mean(0, keepdim=True) for rows in teacher.word_vectors([p.lstrip("▁") or "," for p in pieces])]
    )
    own = F.normalize(own, dim=-1)
    mean = own.mean(0)
    own -= mean
    wanted = F.normalize(torch.cat(list(meanings.values())), dim=-1) - mean
    ids, words = tokenizer(list(meanings))
    is_text = words >= 0
    row, column = is_text.nonzero()[:, 0], ids[is_text] - NUM_SPECIAL_TOKENS
    shares = torch.zeros(len(wanted), len(own))
    is_known = column >= 0
    shares.index_put_((row[is_known], column[is_known]), (1 / is_text.sum(1))[row[is_known]], accumulate=True)
    normal = shares.T @ shares + PIECE_TRUST * torch.eye(len(own))
    return own + torch.linalg.solve(normal, shares.T @ (wanted - shares @ own))


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of labels, those not ignored, that have the largest logit."""
    is_labelled = labels != IGNORED
    return (logits.argmax(-1) == labels)[is_labelled].float().mean()
