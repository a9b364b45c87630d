"""Sets of made videos with known truth, from a training set of good clips, pictures and text.

Every clip, picture and speaker belongs to one of a few groups, and a made video takes all it is made from out of one
group: so groups can be held out. Of a long film each part of `SEGMENT_FRAMES` is a source of its own, which may be in
another group, and so is each clip of a speaker; words are the same for all.
"""

import dataclasses
import difflib
import glob
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cogvideox.component_files import write_atomically
from cogvideox.data.clip_index import IndexedClips, read_index
from cogvideox.data.labelling.answer import Answer, to_line
from cogvideox.data.labelling.labels import LABELS, LabelName
from cogvideox.data.negatives import editing, good, lecture, low_quality, screenshot, static, text_pages
from cogvideox.data.negatives.family import Family, Frames, Material
from cogvideox.media.outputs import VideoCodec
from cogvideox.media.writers import write_video

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (good, editing, static, low_quality, lecture, text_pages, screenshot)
    for family in module.FAMILIES
}
VERSION = 2
"""Of what the families draw: who changes that raises it."""
VIDEOS_NAME, LABELS_NAME, MADE_NAME = "videos", "labels.jsonl", "made.jsonl"
ANNOTATOR = "made"
MADE_TIME = "2000-01-01T00:00:00Z"
"""Of all answers: the same set has the same bytes."""
SHORT_SIDES_PX = (144, 180, 240, 270, 360, 480)
MAX_OTHER_SIDE_PX = 240
MAX_PICTURE_SIDE_PX = 1280
NUM_OTHERS, NUM_PICTURES, NUM_SPEAKERS = 3, 5, 3
SPEAKING_SHARE = 0.6
"""Of the videos with a speaker, that have one of a clip where there are such."""
SEGMENT_FRAMES = 1500
"""Of a long source, for groups: parts of a film are as different from one another as films of one kind."""
H264: tuple[VideoCodec, str] = ("h264", ".mp4")
CODECS: tuple[tuple[VideoCodec, str], ...] = (*[H264] * 6, ("h265", ".mp4"), ("vp9", ".webm"))
"""As often as they stand here."""


@dataclass(frozen=True, kw_only=True)
class MakingRecipe:
    """What is made, and of what. Names of files may have ``*``, and ``**`` for any folders."""

    clips: Path
    """A training set of good clips, as ``cogvideox curate`` writes it."""
    pictures: tuple[str, ...]
    """Photographs."""
    speakers: tuple[str, ...]
    """Pictures of a person's head and shoulders."""
    speaking_clips: tuple[str, ...] = ()
    """Beginnings of ids of clips that show a speaker; no other videos are made of them."""
    screens: tuple[str, ...] = ()
    """Pictures of screens and windows."""
    words: tuple[str, ...] = ()
    """Text files; a short text about video without."""
    families: tuple[str, ...] = ()
    """All if empty."""
    num_each: int = 12
    """Videos of every family of bad ones."""
    num_good_each: int = 40
    """Videos of every family of good ones."""
    duration_s: float = 3.0
    num_groups: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "clips", Path(self.clips).expanduser())
        unknown = [name for name in self.families if name not in FAMILIES]
        if unknown:
            nearest = difflib.get_close_matches(unknown[0], FAMILIES, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(FAMILIES)}"
            raise ValueError(f"families: {unknown[0]!r} is none; {hint}")
        for name in ("num_each", "num_good_each"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if not 2 <= self.duration_s <= 30:
            raise ValueError(f"duration_s: expected 2 to 30, got {self.duration_s}")
        if self.num_groups < 1:
            raise ValueError(f"num_groups: expected at least 1, got {self.num_groups}")


@dataclass(frozen=True, kw_only=True)
class _Group:
    """What the videos of one group are made from: rows of clips, and files."""

    clips: list[int] = field(default_factory=list)
    speaking: list[int] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    speakers: list[Path] = field(default_factory=list)
    screens: list[Path] = field(default_factory=list)


def make_set(
    recipe: MakingRecipe, folder: str | Path, on_progress: Callable[[int, int], None] = lambda *_: None
) -> int:
    """Make videos of every family, and the answers that are true of them; return how many there are.

    Writes ``videos/<family>_<number>.mp4`` (or .webm), ``labels.jsonl``, answers for ``cogvideox train filters`` with
    the group as their source, and ``made.jsonl``, the parameters. What is there already is not made again.

    Args:
        recipe: what to make.
        folder: of the results.
        on_progress: called with what is done, and all.

    Raises:
        ValueError: material is missing or not readable.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    source = read_index(recipe.clips, needs_captions=False)
    groups = _grouped(recipe, source)
    words = _words(recipe.words)
    wanted = [
        (family, number)
        for family in (FAMILIES[name] for name in recipe.families or FAMILIES)
        for number in range(recipe.num_each if family.label else recipe.num_good_each)
    ]
    (folder / VIDEOS_NAME).mkdir(parents=True, exist_ok=True)
    answers: list[str] = []
    for done, (family, number) in enumerate(wanted):
        group = number % recipe.num_groups
        path = _make(family, number, recipe, source, groups[group], words, folder)
        answers.append(to_line(_answer(family, f"{VIDEOS_NAME}/{path.name}", group)))
        on_progress(done + 1, len(wanted))
    write_atomically(folder / LABELS_NAME, "".join(f"{line}\n" for line in answers))
    made = sorted((folder / VIDEOS_NAME).glob("*.json"))
    lines = [json.dumps(json.loads(path.read_text()), sort_keys=True) for path in made]
    write_atomically(folder / MADE_NAME, "".join(f"{line}\n" for line in lines))
    return len(wanted)


def _make(
    family: Family,
    number: int,
    recipe: MakingRecipe,
    source: IndexedClips,
    group: _Group,
    words: tuple[str, ...],
    folder: Path,
) -> Path:
    """Make one video, unless it is there; its note, written last, says that it is, and what it was made of."""
    seed = [recipe.seed, int(hashlib.sha256(family.name.encode()).hexdigest()[:8], 16), number]
    content = [VERSION, seed, recipe.duration_s, source.table.clip_ids, dataclasses.asdict(group), words]
    key = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:12]
    rng = np.random.default_rng(seed)
    codec, suffix = CODECS[int(rng.integers(len(CODECS)))]
    path = folder / VIDEOS_NAME / f"{family.name}_{number:03d}{suffix}"
    note = path.with_suffix(".json")
    if note.exists() and path.exists() and json.loads(note.read_text())["key"] == key:
        return path
    for old in path.parent.glob(f"{path.stem}.*"):
        old.unlink()
    material = _material(recipe, source, group, words, rng)
    made = family.make(material, rng)
    write_video(path, iter([made.frames]), fps=made.fps, codec=codec)
    known = {"video": path.name, "family": family.name, "group": number % recipe.num_groups, "codec": codec, "key": key}
    write_atomically(note, json.dumps(known | {"parameters": made.parameters}))
    return path


def _answer(family: Family, name: str, group: int) -> Answer:
    labels: dict[LabelName, bool | None] = {}
    for label in LABELS:
        if label == family.label or label in family.also:
            labels[label] = True
        else:
            labels[label] = None if label in family.unsure else False
    return Answer(
        clip_id=name, source=f"group{group}", annotator=ANNOTATOR, time=MADE_TIME, labels=labels, note=family.name
    )


class _Lazy(Sequence[Any]):
    """Items that are read when they are asked for, and then kept: most families need few of them."""

    def __init__(self, readers: Sequence[Callable[[], Any]]) -> None:
        self._readers = readers
        self._known: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._readers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(len(self))[index])
        place = range(len(self))[index]
        if place not in self._known:
            self._known[place] = self._readers[place]()
        return self._known[place]


def _material(
    recipe: MakingRecipe, source: IndexedClips, group: _Group, words: tuple[str, ...], rng: np.random.Generator
) -> Material:
    first, *others = rng.permutation(group.clips).tolist()[: 1 + NUM_OTHERS]
    frames, fps = _part(source, first, recipe.duration_s, int(rng.choice(SHORT_SIDES_PX)), rng)
    speakers: list[Callable[[], Frames]] = [
        lambda path=path: _picture(path)[None] for path in _draw(group.speakers, NUM_SPEAKERS, rng)
    ]
    if group.speaking and rng.random() < SPEAKING_SHARE:
        speakers.insert(0, _part(source, int(rng.choice(group.speaking)), recipe.duration_s, MAX_OTHER_SIDE_PX, rng)[0])
    return Material(
        frames=frames(),
        fps=fps,
        others=_Lazy([_part(source, index, recipe.duration_s, MAX_OTHER_SIDE_PX, rng)[0] for index in others]),
        pictures=_Lazy([partial(_picture, path) for path in _draw(group.pictures, NUM_PICTURES, rng)]),
        speakers=_Lazy(speakers),
        screens=_Lazy([partial(_picture, path) for path in _draw(group.screens, 1, rng)]),
        words=words,
    )


def _part(
    source: IndexedClips, index: int, duration_s: float, short_side_px: int, rng: np.random.Generator
) -> tuple[Callable[[], Frames], float]:
    """Return what reads a part of a clip, reduced, and its rate."""
    table = source.table
    fps, num_frames = float(table.fps[index]), int(table.num_frames[index])
    num_taken = min(num_frames, round(duration_s * fps))
    start = int(rng.integers(num_frames - num_taken + 1))
    height_px, width_px = int(table.height_px[index]), int(table.width_px[index])
    scale = min(1.0, short_side_px / min(height_px, width_px))
    size_px = (max(2, 2 * round(height_px * scale / 2)), max(2, 2 * round(width_px * scale / 2)))
    return partial(source.read_frames, index, np.arange(start, start + num_taken), size_px), fps


def _grouped(recipe: MakingRecipe, source: IndexedClips) -> list[_Group]:
    """Deal clips by source, and pictures one by one, to the groups, in an order that the seed draws."""
    rng = np.random.default_rng([recipe.seed, 1])
    groups = [_Group() for _ in range(recipe.num_groups)]
    segments: dict[str, list[int]] = {}
    for index, clip_id in enumerate(source.table.clip_ids):
        digest, _, place = clip_id.partition("_")
        start = int(place.split("_")[0]) if place.split("_")[0].isdigit() else 0
        segments.setdefault(f"{digest} {start // SEGMENT_FRAMES}", []).append(index)
    for members in sorted((segments[name] for name in rng.permutation(list(segments)).tolist()), key=len, reverse=True):
        is_speaking = source.table.clip_ids[members[0]].startswith(recipe.speaking_clips or ("\0",))
        kind = "speaking" if is_speaking else "clips"
        if is_speaking:
            for number, member in enumerate(members):  # there are few: each group has some
                getattr(groups[number % len(groups)], kind).append(member)
        else:
            min((getattr(group, kind) for group in groups), key=len).extend(members)
    for kind in ("pictures", "speakers", "screens"):
        files = _files(getattr(recipe, kind))
        for number, place in enumerate(rng.permutation(len(files)).tolist()):
            getattr(groups[number % len(groups)], kind).append(files[place])
    for group in groups:
        for kind, least in (("clips", 3), ("pictures", 4), ("speakers", 1)):
            if len(getattr(group, kind)) < least:
                raise ValueError(
                    f"{kind}: expected at least {least} for each of {recipe.num_groups} groups, got "
                    f"{len(getattr(group, kind))} for one; give more, or fewer groups"
                )
    return groups


def _files(names: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        matching = sorted(glob.glob(str(Path(name).expanduser()), recursive=True))
        if not matching:
            raise ValueError(f"{name}: no such file")
        found += [Path(path) for path in matching]
    return list(dict.fromkeys(found))


def _draw(files: Sequence[Path], num_wanted: int, rng: np.random.Generator) -> list[Path]:
    return [files[place] for place in rng.permutation(len(files))[:num_wanted].tolist()]


def _picture(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            image.thumbnail((MAX_PICTURE_SIDE_PX, MAX_PICTURE_SIDE_PX))
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not readable as a picture ({error})") from None


def _words(names: Sequence[str]) -> tuple[str, ...]:
    text = " ".join(path.read_text(encoding="utf-8", errors="replace") for path in _files(names)) if names else TEXT
    words = tuple(text.split())
    if len(words) < 200:
        raise ValueError(f"words: expected at least 200, got {len(words)}")
    return words


TEXT = """
A film is made of many small decisions. Somebody chose where the camera stands, what the light falls on, and when to
cut. Most of what is seen on screens today was made in a hurry, by people who had one afternoon and a telephone. Some
of it is lovely all the same. A dog runs into the sea and comes back with a stick that is far too large. A train goes
over a bridge while the sun comes up behind it. A baker turns loaves in an oven and does not look into the lens once.
These are worth keeping. Other things are not: a list of prices that rolls by, a still picture with music, a window in
which a pointer looks for a button, a man at a desk who talks for an hour and moves nothing but his mouth. They may
teach, they may sell, they may be of use to those who need them, but they say little about how the world moves. So
they are sorted out before anything is learned from the rest. To sort by hand takes long: a patient person looks at
perhaps four hundred clips in an hour, and there are millions. So a few are looked at with care, and a simple machine
learns from them what the person would have said of the others. It will be wrong now and then. What counts is how
often, on what, and whether anybody looks again. Chapter two begins with the weather. Rain on the north coast, dry in
the hills, wind from the west in the evening, and snow above nine hundred metres. Tickets are sold at the gate from
ten to five. Please leave bags at the entrance, do not feed the birds, and follow the signs to the lower hall. Thank
you for your visit, and come again.
"""
