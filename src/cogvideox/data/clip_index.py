"""A training set in tar shards with tables of its clips and captions.

- ``index.parquet``: a row per clip with clip_id, shard, offset_bytes, size_bytes, num_frames, height_px, width_px, fps,
  caption_ids, and any number of columns ``score.<name>``; optionally sha256, of the clip's file.
- ``captions.parquet``: caption_id, text and, optionally, kind (`cogvideox.data.caption_mixture.CaptionKind`).
- ``shard_*.tar``: uncompressed, ``<key>.mp4`` (or another kind) and ``<key>.txt``, as webdataset reads them.

A clip's file is ``size_bytes`` bytes from ``offset_bytes`` on of its shard: no tar is searched.
"""

import hashlib
import io
import itertools
import math
import os
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cogvideox.data.caption_mixture import CAPTION_KINDS, CaptionKind
from cogvideox.data.clips import ClipShape, ClipTable, Rejected, check_unique, read_fitted, read_frames
from cogvideox.data.libraries import pyarrow
from cogvideox.durable_files import replacing
from cogvideox.media.reading import survey_video

INDEX_NAME, CAPTIONS_NAME = "index.parquet", "captions.parquet"
SCORE_PREFIX = "score."
MAX_SHARD_BYTES = 2**30
INDEX_TYPES = {
    "clip_id": "string",
    "shard": "string",
    "offset_bytes": "int64",
    "size_bytes": "int64",
    "num_frames": "int64",
    "height_px": "int64",
    "width_px": "int64",
    "fps": "float64",
    "caption_ids": "list",
}
CAPTION_TYPES = {"caption_id": "string", "text": "string"}
OPTIONAL_TYPES = {"sha256": "string", "kind": "string"}


@dataclass(frozen=True, kw_only=True, eq=False)
class IndexedClips:
    """The clips of an index; `read_index` opens it."""

    folder: Path
    table: ClipTable
    shards: tuple[str, ...]
    """The file of each clip's shard, in the folder."""
    offsets_bytes: NDArray[np.int64]
    sizes_bytes: NDArray[np.int64]
    rejected: tuple[Rejected, ...] = ()
    """What is left out, and why."""

    def read(self, index: int, shape: ClipShape) -> NDArray[np.uint8]:
        """Return the clip of a row as (T, H, W, 3) RGB of the shape.

        Raises:
            ValueError: the clip cannot be read.
            OSError: its shard cannot.
        """
        name, content = self._content(index)
        return read_fitted(name, float(self.table.fps[index]), shape, content=content)

    def read_frames(self, index: int, frames: NDArray[np.int64], size_px: tuple[int, int]) -> NDArray[np.uint8]:
        """Return some frames of a row's clip, as `cogvideox.data.clips.read_frames`. Raises OSError as `read`."""
        name, content = self._content(index)
        return read_frames(name, frames, size_px, content=content)

    def _content(self, index: int) -> tuple[Path, bytes]:
        """Return what to call a clip in messages, and its file."""
        shard = self.folder / self.shards[index]
        with shard.open("rb") as file:
            file.seek(int(self.offsets_bytes[index]))
            content = file.read(int(self.sizes_bytes[index]))
        return Path(f"{shard}: {self.table.clip_ids[index]}"), content


def read_index(folder: str | Path, *, needs_captions: bool = True) -> IndexedClips:
    """Open a folder with ``index.parquet``.

    With ``needs_captions`` clips that have none are left out; without, their caption is empty.

    Raises:
        MissingPackageError: pyarrow is not installed.
        ValueError: a table is missing or damaged, a column is missing or of another type, a clip has a caption that is
            not in the table of them or lies beyond the end of its shard, or no clip is left.
    """
    folder = Path(folder)
    path = folder / INDEX_NAME
    columns = _read_table(path, INDEX_TYPES)
    texts = _read_table(folder / CAPTIONS_NAME, CAPTION_TYPES)
    text_of = dict(zip(texts["caption_id"], texts["text"], strict=True))
    kind_of = _kinds(folder / CAPTIONS_NAME, texts)
    clip_ids = tuple(columns["clip_id"])
    check_unique(clip_ids, path)
    if not clip_ids:
        raise ValueError(f"{path}: expected at least one clip, got none; write the training set again")
    for clip_id, caption_ids in zip(clip_ids, columns["caption_ids"], strict=True):
        unknown = [caption_id for caption_id in caption_ids if caption_id not in text_of]
        if unknown:
            raise ValueError(
                f"{path}: caption_ids: expected ids of {CAPTIONS_NAME}, got {unknown[0]!r} for {clip_id!r}; write the "
                "tables again"
            )
    _check_shards(folder, columns)
    rejected: tuple[Rejected, ...] = ()
    if needs_captions:
        rejected = tuple(
            Rejected(clip_id=clip_id, reason="no caption")
            for clip_id, caption_ids in zip(clip_ids, columns["caption_ids"], strict=True)
            if not caption_ids
        )
        if len(rejected) == len(clip_ids):
            raise ValueError(f"{path}: expected clips with captions, none of the {len(clip_ids)} has one; caption them")
        has_caption = [bool(caption_ids) for caption_ids in columns["caption_ids"]]
        columns = {name: list(itertools.compress(values, has_caption)) for name, values in columns.items()}
        clip_ids = tuple(columns["clip_id"])
    if "sha256" in columns:
        versions = tuple(digest[:16] for digest in columns["sha256"])
    else:
        places = zip(columns["shard"], columns["offset_bytes"], columns["size_bytes"], strict=True)
        versions = tuple(f"{shard}-{offset}-{size}" for shard, offset, size in places)
    num_frames = np.array(columns["num_frames"], np.int64)
    table = ClipTable(
        clip_ids=clip_ids,
        versions=versions,
        num_frames=num_frames,
        height_px=np.array(columns["height_px"], np.int64),
        width_px=np.array(columns["width_px"], np.int64),
        fps=np.where(num_frames > 1, np.array(columns["fps"], np.float64), 0.0),
        captions=tuple(tuple(text_of[caption_id] for caption_id in ids) or ("",) for ids in columns["caption_ids"]),
        caption_kinds=tuple(
            tuple(kind_of[caption_id] for caption_id in ids) or ("own",) for ids in columns["caption_ids"]
        ),
        scores={
            name.removeprefix(SCORE_PREFIX): np.array(values, np.float64)
            for name, values in columns.items()
            if name.startswith(SCORE_PREFIX)
        },
    )
    return IndexedClips(
        folder=folder,
        table=table,
        shards=tuple(columns["shard"]),
        offsets_bytes=np.array(columns["offset_bytes"], np.int64),
        sizes_bytes=np.array(columns["size_bytes"], np.int64),
        rejected=rejected,
    )


def write_shards(
    folder: str | Path,
    clips: Iterable[tuple[str, Path, Sequence[str], Mapping[str, float]]],
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> int:
    """Write a training set that `read_index` opens, whole or not at all; return the number of clips.

    Args:
        folder: has no index yet.
        clips: id, video or picture file, wordings of its caption (none if it has no caption yet), scores by name.
        max_shard_bytes: a shard of more is ended.

    Raises:
        MissingPackageError: pyarrow is not installed.
        ValueError: the folder holds an index, or a clip is unreadable or has another's id; nothing is written.
        OSError: the folder cannot be written.
    """
    pyarrow()
    folder = Path(folder)
    if (folder / INDEX_NAME).exists():
        raise ValueError(f"folder: {folder} holds a training set already; delete it or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        writer = _ShardWriter(Path(temporary), max_shard_bytes)
        with writer:
            for clip_id, path, captions, scores in clips:
                writer.add(clip_id, Path(path), captions, scores)
        if not writer.rows:
            raise ValueError("clips: expected at least one, got none")
        check_unique(tuple(row["clip_id"] for row in writer.rows), folder)
        _write_table(Path(temporary) / CAPTIONS_NAME, writer.captions, CAPTION_TYPES | {"kind": "string"})
        score_names = sorted({name for row in writer.rows for name in row if name.startswith(SCORE_PREFIX)})
        types = INDEX_TYPES | {"sha256": "string"} | dict.fromkeys(score_names, "float64")
        _write_table(Path(temporary) / INDEX_NAME, writer.rows, types)
        # The index is what makes the folder a training set: it comes last.
        for file in sorted(Path(temporary).iterdir(), key=lambda file: (file.name == INDEX_NAME, file.name)):
            os.replace(file, folder / file.name)
    return len(writer.rows)


def generated_captions(folder: str | Path) -> dict[str, list[tuple[CaptionKind, str]]]:
    """Return the captions of a training set that are not its clips' own, by clip; those without are left out.

    Raises ValueError if a table is missing or damaged.
    """
    folder = Path(folder)
    texts = _read_table(folder / CAPTIONS_NAME, CAPTION_TYPES)
    kind_of = _kinds(folder / CAPTIONS_NAME, texts)
    text_of = dict(zip(texts["caption_id"], texts["text"], strict=True))
    index = _read_table(folder / INDEX_NAME, INDEX_TYPES)
    found: dict[str, list[tuple[CaptionKind, str]]] = {}
    for clip_id, caption_ids in zip(index["clip_id"], index["caption_ids"], strict=True):
        made: list[tuple[CaptionKind, str]] = [
            (kind_of[name], text_of[name]) for name in caption_ids if kind_of[name] != "own"
        ]
        if made:
            found[clip_id] = made
    return found


def replace_captions(folder: str | Path, captions: Mapping[str, Sequence[tuple[CaptionKind, str]]]) -> int:
    """Give clips of a training set these captions beside their own, in place of those that they were given before.

    A reader, or a run that is stopped, at any moment finds the old captions or the new ones, never half of them. The
    text files in the shards are not changed: they are the clips' own captions. Other columns of the tables stay, with
    nothing in the rows of new captions; so do captions that no clip has.

    Args:
        folder: holds ``index.parquet``.
        captions: kind and text of each, by clip; clips that the training set does not have are passed over, others
            keep what they have.

    Returns:
        The number of clips whose captions are others now.

    Raises:
        MissingPackageError: pyarrow is not installed.
        ValueError: a table is missing or damaged.
        OSError: a table cannot be written.
    """
    pa = pyarrow()
    folder = Path(folder)
    texts = _read_table(folder / CAPTIONS_NAME, CAPTION_TYPES)
    kind_of = _kinds(folder / CAPTIONS_NAME, texts)
    old = {
        caption_id: {"caption_id": caption_id, "text": text, "kind": kind_of[caption_id]}
        for caption_id, text in zip(texts["caption_id"], texts["text"], strict=True)
    }
    _read_table(folder / INDEX_NAME, INDEX_TYPES)  # refuses a damaged one
    index, present_texts = _whole_table(folder / INDEX_NAME), _whole_table(folder / CAPTIONS_NAME)
    ids_of: list[list[str]] = []
    rows: dict[str, dict[str, str]] = {}
    had: set[str] = set()
    num_changed = 0
    clip_ids, present = index.column("clip_id").to_pylist(), index.column("caption_ids").to_pylist()
    for clip_id, caption_ids in zip(clip_ids, present, strict=True):
        kept = [old[caption_id] for caption_id in caption_ids]
        if clip_id in captions:
            made = [
                # By content, so that an id never changes its text.
                {"caption_id": f"{clip_id}#{_short_digest(kind, text)}", "text": text, "kind": kind}
                for kind, text in dict.fromkeys(captions[clip_id])
            ]
            kept = [row for row in kept if row["kind"] == "own"] + made
        ids_of.append([row["caption_id"] for row in kept])
        num_changed += ids_of[-1] != caption_ids
        had.update(caption_ids)
        rows |= {row["caption_id"]: row for row in kept}
    if not num_changed:
        return 0
    place = index.column_names.index("caption_ids")
    changed = index.set_column(place, index.schema.field(place), pa.array(ids_of, index.schema.field(place).type))
    both = _with_captions(present_texts, [row for caption_id, row in rows.items() if caption_id not in old])
    is_kept = [name in rows or name not in had for name in both.column("caption_id").to_pylist()]
    # The index of either time finds its captions in the first table.
    _write_table_whole(folder / CAPTIONS_NAME, both)
    _write_table_whole(folder / INDEX_NAME, changed)
    _write_table_whole(folder / CAPTIONS_NAME, both.filter(pa.array(is_kept)))
    return num_changed


def _with_captions(table: Any, rows: Sequence[Mapping[str, str]]) -> Any:
    """Return a table of captions with these below; what it says of its own beyond them is null for them."""
    pa = pyarrow()
    if "kind" not in table.column_names:
        table = table.append_column("kind", pa.array(["own"] * table.num_rows, pa.string()))
    schema = pa.schema([column.with_nullable(True) for column in table.schema], table.schema.metadata)
    columns = [
        pa.array([row[column.name] for row in rows], pa.string()).cast(column.type)
        if column.name in ("caption_id", "text", "kind")
        else pa.nulls(len(rows), column.type)
        for column in schema
    ]
    whole = pa.Table.from_arrays(table.columns, schema=schema)
    return pa.concat_tables([whole, pa.Table.from_arrays(columns, schema=schema)])


def _whole_table(path: Path) -> Any:
    with pyarrow().parquet.ParquetFile(path) as file:
        return file.read()


def _short_digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind} {text}".encode()).hexdigest()[:12]


def _kinds(path: Path, texts: dict[str, list[Any]]) -> dict[str, CaptionKind]:
    """Return the kind of each caption. Raises ValueError if one is unknown."""
    kinds = texts.get("kind", ["own"] * len(texts["caption_id"]))
    for kind in set(kinds) - set(CAPTION_KINDS):
        raise ValueError(f"{path}: column kind: expected {', '.join(CAPTION_KINDS)}, got {kind!r}; write it again")
    return dict(zip(texts["caption_id"], kinds, strict=True))


@dataclass
class _ShardWriter:
    folder: Path
    max_shard_bytes: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    captions: list[dict[str, Any]] = field(default_factory=list)
    _tar: tarfile.TarFile | None = None
    _num_shards: int = 0

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar is not None:
            self._tar.close()

    def add(self, clip_id: str, path: Path, captions: Sequence[str], scores: Mapping[str, float]) -> None:
        facts = survey_video(path)
        tar = self._tar
        if tar is None or tar.offset >= self.max_shard_bytes:
            self.__exit__()
            tar = self._tar = tarfile.open(self.folder / f"shard_{self._num_shards:05d}.tar", "w")  # noqa: SIM115
            self._num_shards += 1
        # Not the id: webdataset takes a key to end at its first dot.
        key = f"{len(self.rows):08d}"
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.tell()
            file.seek(0)
            offset_bytes = _add_member(tar, f"{key}{path.suffix.lower()}", size_bytes, file)
        text = "".join(f"{' '.join(caption.split())}\n" for caption in captions).encode()
        _add_member(tar, f"{key}.txt", len(text), io.BytesIO(text))
        caption_ids = [f"{clip_id}#{number}" for number in range(len(captions))]
        self.captions += [
            {"caption_id": caption_id, "text": text, "kind": "own"}
            for caption_id, text in zip(caption_ids, captions, strict=True)
        ]
        self.rows.append(
            {
                "clip_id": clip_id,
                "shard": Path(str(tar.name)).name,
                "offset_bytes": offset_bytes,
                "size_bytes": size_bytes,
                "num_frames": facts.num_frames,
                "height_px": facts.height_px,
                "width_px": facts.width_px,
                "fps": facts.fps if facts.num_frames > 1 else 0.0,
                "caption_ids": caption_ids,
                "sha256": sha256,
            }
            | {f"{SCORE_PREFIX}{name}": float(value) for name, value in scores.items()}
        )


def _add_member(tar: tarfile.TarFile, name: str, size_bytes: int, content: Any) -> int:
    """Append a file; return where its content starts."""
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    start = tar.offset + len(member.tobuf(tar.format))
    tar.addfile(member, content)
    return start


def _check_shards(folder: Path, columns: dict[str, list[Any]]) -> None:
    ends: dict[str, int] = {}
    for shard, offset, size in zip(columns["shard"], columns["offset_bytes"], columns["size_bytes"], strict=True):
        ends[shard] = max(ends.get(shard, 0), offset + size)
    for shard, end_bytes in ends.items():
        size_bytes = (folder / shard).stat().st_size if (folder / shard).is_file() else None
        if size_bytes is None or size_bytes < end_bytes:
            got = "no such file" if size_bytes is None else f"got {size_bytes:,}"
            raise ValueError(f"{folder / shard}: expected at least {end_bytes:,} bytes, {got}; copy the shard again")


def _arrow_type(pa: Any, name: str) -> Any:
    return pa.list_(pa.string()) if name == "list" else getattr(pa, name)()


def _schema(pa: Any, types: dict[str, str]) -> Any:
    return pa.schema([(name, _arrow_type(pa, kind)) for name, kind in types.items()])


def _write_table(path: Path, rows: list[dict[str, Any]], types: dict[str, str]) -> None:
    pa = pyarrow()
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema=_schema(pa, types)), path)


def _write_table_whole(path: Path, table: Any) -> None:
    """Write a table in place of one that may be read meanwhile."""
    with replacing(path) as file:
        pyarrow().parquet.write_table(table, file)


def _read_table(path: Path, types: dict[str, str]) -> dict[str, list[Any]]:
    """Return the columns of known types, and the scores. Raises ValueError naming the file, the column and the fix."""
    pa = pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: not readable as a parquet table ({error}); write or copy it again") from None
    columns: dict[str, list[Any]] = {}
    scores = {name: "float64" for name in table.column_names if name.startswith(SCORE_PREFIX)}
    optional = {name: kind for name, kind in OPTIONAL_TYPES.items() if name in table.column_names}
    for name, kind in (types | optional | scores).items():
        if table.column_names.count(name) != 1:
            raise ValueError(
                f"{path}: column {name}: missing (or twice); write the table with all of {', '.join(types)}"
            )
        try:
            column = table.column(name).cast(_arrow_type(pa, kind))
        except pa.ArrowException as error:
            raise ValueError(f"{path}: column {name}: expected {kind} ({error}); write the table again") from None
        if name in scores:
            columns[name] = [math.nan if value is None else value for value in column.to_pylist()]
        elif column.null_count:
            raise ValueError(f"{path}: column {name}: expected a value in every row, {column.null_count} have none")
        else:
            columns[name] = column.to_pylist()
    return columns
