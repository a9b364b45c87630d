import dataclasses
import math
import random

import cv2
import numpy as np
import pyarrow
import pytest

from cogvideox.data.curation.fingerprints import (
    TYPES,
    Fingerprints,
    FingerprintSettings,
    measure,
)
from cogvideox.data.curation.operators import ClipView
from cogvideox.data.curation.store import arrow_type, read_table, write_table

SCHEMA = pyarrow.schema([(name, arrow_type(pyarrow, kind)) for name, kind in TYPES.items()])


def view_of(frames: np.ndarray, fps: float = 8.0, start_s: float = 0.0, clip_id: str = "clip") -> ClipView:
    """The motion view of frames (N, H, W, 3) at 8 fps or less."""
    height_px, width_px = frames.shape[1:3]
    scale = math.sqrt(320 * 180 / (height_px * width_px))
    size = tuple(max(1, round(side_px * scale / 8)) * 8 for side_px in (width_px, height_px))
    empty = np.zeros((0, 0, 0, 3), np.uint8)
    return ClipView(
        clip_id=clip_id,
        height_px=height_px,
        width_px=width_px,
        fps=fps,
        num_frames=len(frames),
        start_s=start_s,
        end_s=start_s + len(frames) / fps,
        motion=np.stack([cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in frames]) if len(frames) else empty,
        motion_times_s=start_s + np.arange(len(frames)) / fps,
        detail=empty,
        native=empty[..., 0],
        detail_times_s=np.zeros(0),
        changes=np.zeros(0, np.float32),
        thumbs=empty,
    )


def scene(num_frames: int, seed: int = 0) -> np.ndarray:
    """A textured ground over which blobs move."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(70, 190, (9, 16, 3), np.uint8), (320, 180), interpolation=cv2.INTER_CUBIC)
    frames = []
    for index in range(num_frames):
        frame = ground.copy()
        for blob in range(5):
            angle = 0.25 * index * (1 + blob / 3) + 9 * seed + blob
            place = (int(160 + 130 * math.sin(angle)), int(90 + 70 * math.cos(1.7 * angle + blob)))
            cv2.circle(frame, place, 14 + 3 * blob, (40 * blob, 250 - 40 * blob, 30), -1)
        frames.append(frame)
    return np.stack(frames)


def bits_apart(first: list[dict], second: list[dict]) -> list[int]:
    pairs = zip(first, second, strict=True)
    return [(a["hash"] % 2**64 ^ b["hash"] % 2**64).bit_count() for a, b in pairs]


def rows_of(frames: np.ndarray, **given) -> list[dict]:
    return measure(view_of(frames, **given), FingerprintSettings())


def test_bars_size_and_levels_leave_the_hash():
    frames = scene(24)
    original = rows_of(frames)
    assert len(original) == 12
    assert [row["time_s"] for row in original[:2]] == [0.125, 0.375]
    for copy in (
        np.pad(frames, ((0, 0), (27, 27), (0, 0), (0, 0))),
        np.pad(frames, ((0, 0), (0, 0), (60, 60), (0, 0))),
        np.pad(frames, ((0, 0), (20, 20), (40, 40), (0, 0))),
        np.stack([cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA) for frame in frames]),
        np.clip(frames * 0.8 + 25, 0, 255).astype(np.uint8),
        np.clip(np.pad(frames, ((0, 0), (27, 27), (0, 0), (0, 0))) * 0.8 + 25, 0, 255).astype(np.uint8),
    ):
        assert max(bits_apart(original, rows_of(copy))) <= 6
    assert min(bits_apart(original, rows_of(scene(24, seed=1)))) > 16


def test_a_trimmed_copy_matches_whatever_its_start():
    # 24 fps of which the motion view would take every third: the copy's frames and times lie between the original's.
    frames = scene(121)
    original = rows_of(frames[::3])
    for shift in (1, 2, 4, 5):
        copy = rows_of(frames[shift::3][:32], start_s=100.0)
        nearest = [min(bits_apart([row] * len(original), original)) for row in copy]
        assert np.median(nearest) <= 6


def test_the_ground_of_letters_is_no_bar():
    card = np.full((16, 180, 320, 3), 55, np.uint8)
    for index, frame in enumerate(card):
        cv2.putText(frame, "THANKS"[: 1 + index // 3], (90, 100), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (240, 240, 240), 4)
    framed = np.pad(card, ((0, 0), (30, 30), (0, 0), (0, 0)))
    assert max(bits_apart(rows_of(card)[3:], rows_of(framed)[3:])) <= 10


@pytest.mark.parametrize("level", [0, 17, 128, 255])
def test_plain_frames_have_no_information(level: int):
    plain = np.full((8, 180, 320, 3), level, np.uint8)
    assert [row["information"] for row in rows_of(plain)] == pytest.approx([0] * 4, abs=1e-3)
    slope = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8)[None, None, :, None], (8, 180, 320, 3))
    assert max(row["information"] for row in rows_of(slope)) < 1
    assert min(row["information"] for row in rows_of(scene(8))) > 8


def test_clips_without_frames_or_with_one():
    assert rows_of(np.zeros((0, 180, 320, 3), np.uint8)) == []
    assert len(rows_of(scene(1))) == 1


def test_rows_are_a_part_and_any_order_gives_the_same(tmp_path):
    rows = rows_of(scene(16), clip_id="b") + rows_of(scene(24, seed=1), clip_id="a")
    write_table(tmp_path / "part.parquet", rows, TYPES)
    assert read_table(tmp_path / "part.parquet") == rows
    random.Random(0).shuffle(rows)
    prints = Fingerprints.from_rows(rows, ["c", "a"])
    assert prints.clip_ids == ("a", "b", "c")
    assert prints.bounds.tolist() == [0, 12, 20, 20]
    assert (np.diff(prints.times_s[:12]) > 0).all()
    by_key = {(row["clip_id"], row["number"]): row for row in rows}
    assert int(prints.hashes.view(np.int64)[12]) == by_key["b", 0]["hash"]
    assert prints.pictures[12].tobytes() == by_key["b", 0]["picture"]
    assert Fingerprints.from_rows([]).clip_ids == ()
    # Parts may hold what others hold too, in any order, and slices of larger tables.
    tables = [pyarrow.Table.from_pylist(rows[start:], schema=SCHEMA)[:7] for start in range(0, len(rows), 7)]
    joined = Fingerprints.from_tables([SCHEMA.empty_table(), *tables], ["c", "a"])
    for field in dataclasses.fields(Fingerprints):
        np.testing.assert_equal(getattr(joined, field.name), getattr(prints, field.name), err_msg=field.name)
    assert Fingerprints.from_tables([]).bounds.tolist() == [0]
    with pytest.raises(ValueError, match="each number of a clip once"):
        Fingerprints.from_tables([tables[0], tables[0]])
    broken = pyarrow.Table.from_pylist([rows[1], rows[0] | {"picture": b"12345"}], schema=SCHEMA)
    with pytest.raises(ValueError, match=f"expected pictures of 384 bytes, got 5 of {rows[0]['clip_id']}"):
        Fingerprints.from_tables([broken])
    with pytest.raises(ValueError, match="each number of a clip once"):
        Fingerprints.from_rows([*rows, rows[0]])
    with pytest.raises(ValueError, match="expected pictures of 384 bytes, got 5"):
        Fingerprints.from_rows([rows[0] | {"picture": b"12345"}])
