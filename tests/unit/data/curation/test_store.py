import itertools
import os
from pathlib import Path

import pytest

from cogvideox.data.curation.store import Store, operator_key, read_table, write_table

TYPES = {"clip_id": "string", "value": "float64", "number": "int64", "is_it": "bool_", "raw": "binary", "names": "list"}
ROWS = [
    {"clip_id": "a", "value": 1.5, "number": -(2**63), "is_it": True, "raw": b"\0\xff", "names": ["x", "y"]},
    {"clip_id": "b\n\u00e9", "value": -0.0, "number": 2**62, "is_it": False, "raw": b"", "names": []},
]
DIGEST = "ab" * 32


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_parts_come_back_and_are_the_same_bytes(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "a"), Store(tmp_path / "b")
    assert not store.has("motion-1", DIGEST)
    for made in (store, other):
        made.write("motion-1", DIGEST, ROWS, TYPES)
        made.write("motion-2", DIGEST, [], TYPES)
    assert store.read("motion-1", DIGEST) == ROWS and store.read("motion-2", DIGEST) == []
    assert store.has("motion-1", DIGEST) and not store.has("motion-1", "cd" * 32)
    assert files(store.folder) == [f"motion-{number}/ab/{DIGEST}.parquet" for number in (1, 2)]
    for name in files(store.folder):
        assert (store.folder / name).read_bytes() == (other.folder / name).read_bytes()
    assert store.path("motion-1", DIGEST).stat().st_mode & 0o777 == 0o644  # others in a cluster read it
    store.remove("motion-1", DIGEST)
    store.remove("motion-1", DIGEST)
    assert not store.has("motion-1", DIGEST) and store.has("motion-2", DIGEST)


@pytest.mark.parametrize("fail_at", ["write", "fsync", "replace"])
def test_a_part_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: str) -> None:
    path = tmp_path / "part.parquet"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def write(rows: list[dict]) -> None:
        with monkeypatch.context() as patch:
            if fail_at != "write":
                patch.setattr(os, fail_at, fail)
            with pytest.raises((OSError, TypeError, KeyError, ValueError)):
                write_table(path, [{"clip_id": 1}] if fail_at == "write" else rows, TYPES)

    write(ROWS)
    assert files(tmp_path) == []
    write_table(path, ROWS, TYPES)
    write(ROWS[:1])
    assert files(tmp_path) == ["part.parquet"] and read_table(path) == ROWS


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text"])
def test_a_damaged_part_is_removed_and_told(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    store.write("motion-1", DIGEST, ROWS, TYPES)
    path = store.path("motion-1", DIGEST)
    data = bytearray(path.read_bytes())
    data[-12:-8] = b"\xff" * 4
    path.write_bytes({"empty": b"", "cut": bytes(data[:200]), "flipped": bytes(data), "text": b"text" * 9}[damage])
    with pytest.raises(ValueError, match=f"(?s){DIGEST}.*curate again"):
        store.read("motion-1", DIGEST)
    assert not store.has("motion-1", DIGEST)
    with pytest.raises(ValueError, match="curate again"):
        store.read("motion-1", DIGEST)


def test_a_key_changes_with_all_that_decides_the_results() -> None:
    plain = operator_key("motion", 1, {"speed": 0.5, "flow": "dis"}, ["w1", "w2"], "shots-1")
    keys = [
        plain,
        operator_key("quality", 1, {"speed": 0.5, "flow": "dis"}, ["w1", "w2"], "shots-1"),
        operator_key("motion", 2, {"speed": 0.5, "flow": "dis"}, ["w1", "w2"], "shots-1"),
        operator_key("motion", 1, {"speed": 0.6, "flow": "dis"}, ["w1", "w2"], "shots-1"),
        operator_key("motion", 1, {"speed": 0.5}, ["w1", "w2"], "shots-1"),
        operator_key("motion", 1, {"speed": 0.5, "flow": "dis"}, ["w1"], "shots-1"),
        operator_key("motion", 1, {"speed": 0.5, "flow": "dis"}, ["w1", "w2"], "shots-2"),
        operator_key("motion", 1, {"speed": 0.5, "flow": "dis"}, ["w1", "w2"]),
    ]
    assert all(a != b for a, b in itertools.combinations(keys, 2))
    assert plain == operator_key("motion", 1, {"flow": "dis", "speed": 0.5}, ["w2", "w1"], "shots-1")
    assert plain.startswith("motion-") and os.sep not in plain


def test_each_change_of_a_recipe_changes_the_keys_below_it_and_no_other() -> None:
    from dataclasses import replace

    from cogvideox.data.curation.decoding import DecodingLimits
    from cogvideox.data.curation.motion import MotionSettings
    from cogvideox.data.curation.plan import CurationPlan
    from cogvideox.data.curation.policy import Policy, Rule
    from cogvideox.data.curation.recipe import ClipFileSettings, CurationRecipe, PreviewSettings
    from cogvideox.data.curation.shots import ShotSettings

    def keys(recipe: CurationRecipe) -> dict[str, str]:
        plan = CurationPlan.of(recipe)
        named = {planned.name: planned.key for planned in plan.operators}
        named |= {"decoding": plan.decoding_key, "shots": plan.shots_key, "previews": plan.previews_key}
        return named | {"files": plan.clip_files_key}

    recipe = CurationRecipe(inputs=("videos",), operators=("motion", "cues"))
    before = keys(recipe)
    every = set(before)
    rule = Rule(column="motion.peak_speed", min=0.5)
    cases = [
        (replace(recipe, inputs=("elsewhere",), max_shard_mib=7), set()),
        (replace(recipe, policy=Policy(rules=(rule,))), set()),
        (replace(recipe, decoding=DecodingLimits(max_silence_s=5, max_memory_mib=600)), set()),
        (replace(recipe, decoding=DecodingLimits(max_frames=100)), every),
        (replace(recipe, shots=ShotSettings(min_duration_s=1)), every - {"decoding"}),
        (replace(recipe, motion=MotionSettings(min_object_speed=2)), {"motion"}),
        (replace(recipe, previews=PreviewSettings(num_pictures=5)), {"previews"}),
        (replace(recipe, clips=ClipFileSettings(crf=20)), {"files"}),
    ]
    for changed, expected in cases:
        after = keys(changed)
        assert {name for name in every if after[name] != before[name]} == expected, changed
