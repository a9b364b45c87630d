"""Training sets in tar shards with an index: what goes in comes out, and damage is named."""

import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cogvideox.data import clip_index
from cogvideox.data.clip_index import INDEX_NAME, generated_captions, read_index, replace_captions, write_shards
from cogvideox.data.clips import ClipShape, fit_clip
from cogvideox.errors import MissingPackageError
from cogvideox.media.reading import read_frames
from cogvideox.media.video import write_video

SHAPE = ClipShape(num_frames=5, height_px=32, width_px=48, fps=8)
PICTURE = ClipShape(num_frames=1, height_px=32, width_px=48, fps=0)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    paths = [folder / name for name in ("a.mp4", "b.webm", "c.gif", "d.PNG", "e.jpg")]
    for path in paths[:3]:
        write_video(path, [rng.integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)], fps=8)
    for path in paths[3:]:
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(path)
    return paths


def write_five(folder: Path, media: list[Path]) -> None:
    scores = [{"motion": 0.5}, {"motion": 1.5, "beauty": 4.0}, {}, {}, {"beauty": 5.0}]
    rows = zip(media, scores, strict=True)
    clips = [(path.name, path, [f"clip {path.name}", "a clip"], score) for path, score in rows]
    assert write_shards(folder, clips, max_shard_bytes=20_000) == 5


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            TEXTS,
            st.integers(0, 4),
            st.lists(TEXTS, min_size=1, max_size=3),
            st.dictionaries(st.sampled_from(["motion", "beauty", "text area"]), st.floats(allow_nan=False), max_size=2),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    ),
    max_shard_bytes=st.sampled_from([1, 30_000, 2**30]),
)
def test_what_is_written_is_read(media: list[Path], tmp_path_factory, rows, max_shard_bytes: int) -> None:
    folder = tmp_path_factory.mktemp("set")
    clips = [(clip_id, media[kind], captions, scores) for clip_id, kind, captions, scores in rows]
    write_shards(folder, clips, max_shard_bytes=max_shard_bytes)
    indexed = read_index(folder)
    assert indexed.table.clip_ids == tuple(row[0] for row in rows)
    assert indexed.table.captions == tuple(tuple(row[2]) for row in rows)
    for index, (clip_id, path, _, scores) in enumerate(clips):
        values = {name: column[index] for name, column in indexed.table.scores.items()}
        assert {name: value for name, value in values.items() if not np.isnan(value)} == scores
        is_picture = indexed.table.fps[index] == 0
        assert is_picture == (indexed.table.num_frames[index] == 1) == (path.suffix in (".PNG", ".jpg")), clip_id
        shape = PICTURE if is_picture else SHAPE
        np.testing.assert_array_equal(indexed.read(index, shape), fit_clip(read_frames(path)[0], 8, shape))


def test_shards_are_plain_tar_files_with_webdataset_keys(tmp_path: Path, media: list[Path]) -> None:
    write_five(tmp_path, media)
    indexed = read_index(tmp_path)
    assert len(set(indexed.shards)) > 1 and not list(tmp_path.glob(".*"))
    members: dict[str, tuple[str, int, bytes]] = {}
    for shard in sorted(set(indexed.shards)):
        with tarfile.open(tmp_path / shard, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                members[member.name] = (shard, member.offset_data, content.read())
    names = ["00000000.mp4", "00000001.webm", "00000002.gif", "00000003.png", "00000004.jpg"]
    assert list(members) == [each for name in names for each in (name, f"{name[:8]}.txt")]
    for index, (path, name) in enumerate(zip(media, names, strict=True)):
        assert members[name] == (indexed.shards[index], indexed.offsets_bytes[index], path.read_bytes())
        assert members[f"{name[:8]}.txt"][2].decode().splitlines() == [f"clip {path.name}", "a clip"]


def test_versions_follow_the_content_and_not_the_place(tmp_path: Path, media: list[Path]) -> None:
    write_shards(tmp_path / "one", [("a", media[0], ["x"], {}), ("b", media[1], ["x"], {})])
    write_shards(tmp_path / "two", [("b", media[1], ["y"], {}), ("a", media[2], ["y"], {})])
    one, two = read_index(tmp_path / "one").table.versions, read_index(tmp_path / "two").table.versions
    assert one[1] == two[0] and one[0] != two[1]
    path = tmp_path / "one" / "index.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["sha256"]), path)  # an index of other tools
    assert len(set(read_index(tmp_path / "one").table.versions)) == 2


def test_an_interrupted_or_wrong_set_leaves_nothing(tmp_path: Path, media: list[Path]) -> None:
    def failing():
        yield ("a", media[0], ["x"], {})
        raise OSError("no space left")

    (tmp_path / "noise.mp4").write_bytes(b"noise")
    for clips, error, message in (
        (failing(), OSError, "no space"),
        ([("a", tmp_path / "noise.mp4", ["x"], {})], ValueError, "not a readable video"),
        ([("a", media[0], ["x"], {}), ("a", media[1], ["x"], {})], ValueError, "'a' 2 times"),
        ([], ValueError, "at least one, got none"),
    ):
        with pytest.raises(error, match=message):
            write_shards(tmp_path / "set", clips)
        assert not list((tmp_path / "set").iterdir())
    write_five(tmp_path / "set", media)
    with pytest.raises(ValueError, match="holds a training set already"):
        write_five(tmp_path / "set", media)


def test_clips_without_captions_are_left_out_where_captions_are_needed(tmp_path: Path, media: list[Path]) -> None:
    captions = {"a": ["an a"], "b": [], "c": ["a c", "the c"]}
    clips = [(name, media[place], captions[name], {"beauty": place}) for place, name in enumerate("abc")]
    write_shards(tmp_path, clips)
    needed, all_clips = read_index(tmp_path), read_index(tmp_path, needs_captions=False)
    assert needed.table.clip_ids == ("a", "c")
    assert needed.table.captions == (("an a",), ("a c", "the c"))
    assert [(clip.clip_id, clip.reason) for clip in needed.rejected] == [("b", "no caption")]
    assert all_clips.table.clip_ids == ("a", "b", "c") and all_clips.table.captions[1] == ("",)
    assert all_clips.rejected == ()
    assert needed.table.scores["beauty"].tolist() == [0, 2]
    np.testing.assert_array_equal(needed.read(1, SHAPE), all_clips.read(2, SHAPE))


def test_damaged_tables_are_named(tmp_path: Path, media: list[Path]) -> None:
    write_five(tmp_path, media)
    path = tmp_path / "index.parquet"
    table = pq.read_table(path)

    def column(name: str, values: pa.Array) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, values)

    for damaged, message in (
        (table.drop_columns(["fps"]), r"index\.parquet: column fps: missing"),
        (column("offset_bytes", pa.array(["here"] * 5)), "column offset_bytes: expected int64"),
        (column("clip_id", pa.array(["a", "b", None, "d", "e"])), "column clip_id: .* 1 have none"),
        (column("clip_id", pa.array(["a", "b", "b", "d", "e"])), "'b' 2 times"),
        (column("caption_ids", pa.array([["none"]] * 5)), r"caption_ids: .* got 'none' for 'a.mp4'"),
        (column("caption_ids", pa.array([[]] * 5, pa.list_(pa.string()))), "none of the 5 has one"),
        (column("size_bytes", pa.array([10**9] * 5)), r"shard_00000\.tar: expected at least 1,000,0.* copy the shard"),
        (column("shard", pa.array(["absent.tar"] * 5)), r"absent\.tar: .*no such file"),
        (table.slice(0, 0), "at least one clip"),
    ):
        pq.write_table(damaged, path)
        with pytest.raises(ValueError, match=message):
            read_index(tmp_path)
    path.write_bytes(b"PAR1 no table")
    with pytest.raises(ValueError, match="not readable as a parquet table"):
        read_index(tmp_path)
    pq.write_table(table, path)
    (tmp_path / "captions.parquet").unlink()
    with pytest.raises(ValueError, match=r"captions\.parquet: not readable"):
        read_index(tmp_path)


def test_other_widths_of_numbers_are_read(tmp_path: Path, media: list[Path]) -> None:
    write_five(tmp_path, media)
    path = tmp_path / "index.parquet"
    table = pq.read_table(path)
    narrow = {"offset_bytes": pa.uint32(), "num_frames": pa.int16(), "fps": pa.float32(), "score.motion": pa.float32()}
    narrow |= {"clip_id": pa.large_string(), "caption_ids": pa.large_list(pa.string())}
    schema = pa.schema([(name, narrow.get(name, table.schema.field(name).type)) for name in table.column_names])
    before = read_index(tmp_path).table
    pq.write_table(table.cast(schema), path)
    after = read_index(tmp_path).table
    assert after.captions == before.captions and after.fps.tolist() == before.fps.tolist() == [8, 8, 8, 0, 0]
    np.testing.assert_array_equal(after.scores["motion"], [0.5, 1.5, np.nan, np.nan, np.nan])


def test_damaged_content_is_the_clip_s_fault_alone(tmp_path: Path, media: list[Path]) -> None:
    write_five(tmp_path, media)
    indexed = read_index(tmp_path)
    with (tmp_path / indexed.shards[0]).open("r+b") as file:
        file.seek(int(indexed.offsets_bytes[0]))
        file.write(b"noise" * 200)
    with pytest.raises(ValueError, match=r"shard_00000\.tar: a\.mp4 is not a readable video"):
        indexed.read(0, SHAPE)
    assert indexed.read(1, SHAPE).shape == (5, 32, 48, 3)


def test_without_pyarrow_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="cogvideox\\[train\\]"):
        read_index(tmp_path)
    with pytest.raises(MissingPackageError, match="pyarrow"):
        write_shards(tmp_path, [])


def test_generated_captions_stand_beside_the_clips_own(tmp_path: Path, media: list[Path]) -> None:
    write_shards(
        tmp_path, [("a", media[0], ["an a"], {"beauty": 1}), ("b", media[1], [], {}), ("c", media[2], ["c"], {})]
    )
    assert (
        replace_captions(tmp_path, {"a": [("short", "s"), ("dense", "a long a")], "b": [("dense", "b")], "z": []}) == 2
    )
    table = read_index(tmp_path).table
    assert table.captions == (("an a", "s", "a long a"), ("b",), ("c",))
    assert [table.kinds(row) for row in range(3)] == [("own", "short", "dense"), ("dense",), ("own",)]
    assert table.scores["beauty"][0] == 1
    before = [(tmp_path / name).read_bytes() for name in ("index.parquet", "captions.parquet")]
    assert replace_captions(tmp_path, generated_captions(tmp_path)) == 0
    assert before == [(tmp_path / name).read_bytes() for name in ("index.parquet", "captions.parquet")]
    assert replace_captions(tmp_path, {"a": [("dense", "another a")], "b": []}) == 2
    assert read_index(tmp_path, needs_captions=False).table.captions == (("an a", "another a"), ("",), ("c",))
    assert pq.read_table(tmp_path / "captions.parquet").num_rows == 3


@pytest.mark.parametrize("num_writes", [0, 1, 2])
def test_captions_are_the_old_or_the_new_ones_wherever_writing_stops(
    tmp_path: Path, media: list[Path], monkeypatch: pytest.MonkeyPatch, num_writes: int
) -> None:
    write_shards(tmp_path, [("a", media[0], ["an a"], {}), ("b", media[1], ["a b"], {})])
    replace_captions(tmp_path, {"a": [("dense", "old a")], "b": [("dense", "old b")]})
    written: list[Path] = []
    real = clip_index.replacing

    def stopping(path: Path):
        if len(written) == num_writes:
            raise OSError("stopped")
        written.append(path)
        return real(path)

    monkeypatch.setattr(clip_index, "replacing", stopping)
    with pytest.raises(OSError, match="stopped"):
        replace_captions(tmp_path, {"a": [("dense", "new a")], "b": [("dense", "new b")]})
    when = "old" if num_writes < 2 else "new"
    assert read_index(tmp_path).table.captions == (("an a", f"{when} a"), ("a b", f"{when} b"))


def test_an_unknown_kind_of_caption_is_refused(tmp_path: Path, media: list[Path]) -> None:
    write_shards(tmp_path, [("a", media[0], ["an a"], {})])
    path = tmp_path / "captions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "kind", [["long"]]), path)
    with pytest.raises(ValueError, match=r"column kind: expected own, short, dense, got 'long'"):
        read_index(tmp_path)


def test_columns_and_captions_of_others_stay_when_captions_are_replaced(tmp_path: Path, media: list[Path]) -> None:
    write_shards(tmp_path, [("a", media[0], ["an a"], {}), ("b", media[1], ["a b"], {})])
    path = tmp_path / "captions.parquet"
    table = pq.read_table(path)
    schema = pa.schema(
        [
            pa.field("caption_id", pa.large_string()),
            pa.field("text", pa.string()),
            pa.field("kind", pa.dictionary(pa.int8(), pa.string())),
            pa.field("lang", pa.string(), nullable=False),
            pa.field("votes", pa.list_(pa.int32())),
        ]
    )
    columns = [
        pa.array([*table["caption_id"].to_pylist(), "spare"], pa.large_string()),
        pa.array([*table["text"].to_pylist(), "of no clip"]),
        pa.array(["own", "own", "dense"]).dictionary_encode().cast(schema.field("kind").type),
        pa.array(["en", "de", "fr"]),
        pa.array([[1], [2, 3], None], pa.list_(pa.int32())),
    ]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path)
    replace_captions(tmp_path, {"a": [("dense", "long a")]})
    replace_captions(tmp_path, {"a": [("dense", "longer a"), ("short", "a")]})
    found = {row["text"]: row for row in pq.read_table(path).to_pylist()}
    assert {text: (row["kind"], row["lang"], row["votes"]) for text, row in found.items()} == {
        "an a": ("own", "en", [1]),
        "a b": ("own", "de", [2, 3]),
        "of no clip": ("dense", "fr", None),
        "longer a": ("dense", None, None),
        "a": ("short", None, None),
    }
    assert read_index(tmp_path).table.captions == (("an a", "longer a", "a"), ("a b",))
    pq.write_table(pq.read_table(path).drop_columns(["kind"]).slice(0, 3), path)  # of other tools
    index = pq.read_table(tmp_path / "index.parquet")
    ids = pa.array([["a#0"], ["b#0"]], index.schema.field("caption_ids").type)
    pq.write_table(index.set_column(index.column_names.index("caption_ids"), "caption_ids", ids), tmp_path / INDEX_NAME)
    replace_captions(tmp_path, {"b": [("dense", "long b")]})
    assert [row["kind"] for row in pq.read_table(path).to_pylist()] == ["own", "own", "own", "dense"]
