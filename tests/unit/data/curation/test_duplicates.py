import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cogvideox.data.curation.copy_check import compare
from cogvideox.data.curation.duplicates import (
    ClipFacts,
    Duplicate,
    DuplicateSettings,
    Likeness,
    clip_pictures,
    find_contamination,
    find_duplicates,
    group_copies,
)
from cogvideox.data.curation.fingerprint_search import HashIndex, SearchSettings, candidate_pairs
from cogvideox.data.curation.fingerprints import Fingerprints, FingerprintSettings, measure
from cogvideox.data.curation.operators import ClipView
from cogvideox.data.curation.semantic import semantic_duplicates
from cogvideox.media.video import read_video
from real_videos import real_video

REAL = {"vtest.avi": 120, "bikes.mp4": 100, "carphone_pristine.mp4": 120}
PIECE_S = 4.0
SETTINGS = DuplicateSettings()


def view_of(clip_id: str, frames: np.ndarray, fps: float) -> ClipView:
    taken = np.unique((np.arange(0, len(frames) / fps, 1 / min(8.0, fps)) * fps).round().astype(int))
    taken = taken[taken < len(frames)]
    empty = np.zeros((0, 0, 0, 3), np.uint8)
    scale = (320 * 180 / (frames.shape[1] * frames.shape[2])) ** 0.5
    size = tuple(max(1, round(side_px * scale / 8)) * 8 for side_px in frames.shape[2:0:-1])
    return ClipView(
        clip_id=clip_id,
        height_px=frames.shape[1],
        width_px=frames.shape[2],
        fps=fps,
        num_frames=len(frames),
        start_s=0,
        end_s=len(frames) / fps,
        motion=np.stack([cv2.resize(frames[index], size, interpolation=cv2.INTER_AREA) for index in taken]),
        motion_times_s=taken / fps,
        detail=empty,
        native=empty[..., 0],
        detail_times_s=np.zeros(0),
        changes=np.zeros(0, np.float32),
        thumbs=empty,
    )


def coded(path: Path, frames: np.ndarray, fps: float, codec: str, options: dict[str, str]) -> np.ndarray:
    """Frames after they were encoded and decoded."""
    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(stream.encode(None))
    return read_video(path).frames


def resized(frames: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    return np.stack([cv2.resize(frame, (width_px, height_px), interpolation=cv2.INTER_AREA) for frame in frames])


def corpus(folder: Path) -> tuple[list[dict], list[ClipFacts], dict[str, str]]:
    """Rows and facts of pieces of real videos and of copies, and of which piece each is a copy."""
    rows: list[dict] = []
    facts: list[ClipFacts] = []
    piece_of: dict[str, str] = {}

    def add(piece: str, kind: str, frames: np.ndarray, fps: float) -> None:
        clip_id = f"{piece}#{kind}"
        rows.extend(measure(view_of(clip_id, frames, fps), FingerprintSettings()))
        size = frames.shape[1:3]
        facts.append(
            ClipFacts(clip_id=clip_id, height_px=size[0], width_px=size[1], duration_s=len(frames) / fps, quality=(1,))
        )
        piece_of[clip_id] = piece

    for name, max_frames in REAL.items():
        video = read_video(real_video(name, folder), max_frames=max_frames)
        fps = float(video.fps)
        height_px, width_px = (side_px // 4 * 2 for side_px in video.frames.shape[1:3])
        if min(height_px, width_px) < 120:
            height_px, width_px = video.frames.shape[1:3]
        small = resized(video.frames, width_px, height_px)
        num_frames = round(PIECE_S * fps)
        for start in range(0, len(small) - num_frames + 1, num_frames):
            piece = f"{name}@{start}"
            frames = small[start : start + num_frames]
            add(piece, "original", frames, fps)
            low_rate = coded(folder / "a.mkv", frames, fps, "libx264", {"crf": "36", "preset": "veryfast"})
            add(piece, "coded", low_rate, fps)
            add(piece, "framed", np.pad(frames, ((0, 0), (30, 30), (0, 0), (0, 0))), fps)
            add(piece, "half", resized(frames, width_px // 2, height_px // 2), fps)
            rows_px, columns_px = height_px // 20, width_px // 20
            add(piece, "cropped", frames[:, rows_px : height_px - rows_px, : width_px - 2 * columns_px], fps)
            add(piece, "bright", np.clip(frames * 0.85 + 30, 0, 255).astype(np.uint8), fps)
            add(piece, "fewer", frames[::2], fps / 2)
            trim = num_frames // 5 + 1
            trimmed = resized(frames[trim : trim + round(0.55 * num_frames)], width_px // 2, height_px // 2)
            add(piece, "trimmed", coded(folder / "b.mkv", trimmed, fps, "mpeg4", {"q": "12"}), fps)
    return rows, facts, piece_of


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> tuple[list[dict], list[ClipFacts], dict[str, str]]:
    return corpus(tmp_path_factory.mktemp("real"))


def test_copies_of_real_clips_are_found_and_other_moments_are_not(real):
    rows, facts, piece_of = real
    found = find_duplicates(Fingerprints.from_rows(rows), facts, SETTINGS)
    assert [row.clip_id for row in found] == sorted(piece_of)
    wrong = [row for row in found if piece_of[row.clip_id] != piece_of[row.best_clip_id]]
    assert not wrong
    copies = [row for row in found if not row.is_best]
    num_pieces = len(set(piece_of.values()))
    assert num_pieces == 5
    missed = [row.clip_id for row in found if row.is_best and "#original" not in row.clip_id]
    assert len(copies) >= 0.95 * (len(piece_of) - num_pieces), missed
    assert all(row.kind == "perceptual" and row.similarity > 0.8 and row.matched_s >= 1 for row in copies)
    # A frame around it makes a clip larger, and so the best: the same picture in fewer pixels is not kept.
    assert {row.best_clip_id.split("#")[1] for row in copies} <= {"framed", "original"}


def test_any_order_gives_the_same(real):
    rows, facts, _ = real
    few = [row for row in rows if row["clip_id"].startswith(("bikes", "carphone"))]
    known = [clip for clip in facts if clip.clip_id.startswith(("bikes", "carphone"))]
    expected = find_duplicates(Fingerprints.from_rows(few), known, SETTINGS)
    assert any(not row.is_best for row in expected)
    random.Random(1).shuffle(few)
    random.Random(2).shuffle(known)
    assert find_duplicates(Fingerprints.from_rows(few), known, SETTINGS) == expected


def test_evaluation_clips_are_found_in_a_training_set(real):
    rows, _, piece_of = real
    held_out = {"bikes.mp4@0", "vtest.avi@40"}
    evaluation = [
        row for row in rows if piece_of[row["clip_id"]] in held_out and row["clip_id"].endswith(("coded", "trimmed"))
    ]
    training = [row for row in rows if row["clip_id"].endswith(("original", "cropped"))]
    found = find_contamination(Fingerprints.from_rows(training), Fingerprints.from_rows(evaluation), SETTINGS)
    assert [row.clip_id for row in found] == sorted(
        f"{piece}#{k}" for piece in held_out for k in ("cropped", "original")
    )
    assert all(piece_of[row.clip_id] == piece_of[row.evaluation_id] and row.matched_s >= 1 for row in found)
    assert not find_contamination(Fingerprints.from_rows(training), Fingerprints.from_rows([]), SETTINGS)


def test_it_is_told_where_an_evaluation_clip_is_seen(real):
    rows, _, _ = real
    whole = [row for row in rows if row["clip_id"] == "bikes.mp4@0#original"]
    part = [row | {"clip_id": "part", "number": row["number"] - 6} for row in whole if 6 <= row["number"] < 13]
    longer, shorter = Fingerprints.from_rows(whole), Fingerprints.from_rows(part)
    (found,) = find_contamination(longer, shorter, SETTINGS)
    assert (found.start_s, found.end_s, found.item_start_s) == pytest.approx((1.5, 3.25, 0), abs=0.3)
    (found,) = find_contamination(shorter, longer, SETTINGS)
    assert (found.start_s, found.end_s, found.item_start_s) == pytest.approx((0, 1.75, 1.5), abs=0.3)
    clips = [clip_pictures(prints, 0) for prints in (longer, shorter)]
    for first, second, lag_s in ((*clips, 1.5), (*clips[::-1], -1.5)):
        match = compare(first, second, SETTINGS.copies)
        assert match is not None and match.lag_s == pytest.approx(lag_s, abs=0.13)


def test_the_same_pictures_are_exact_and_plain_ones_are_no_copies(real):
    rows, facts, _ = real
    one = [row for row in rows if row["clip_id"] == "bikes.mp4@0#original"]
    fact = next(clip for clip in facts if clip.clip_id == "bikes.mp4@0#original")
    black = measure(view_of("black", np.zeros((50, 90, 160, 3), np.uint8), 25), FingerprintSettings())
    clips = one + [row | {"clip_id": "twin"} for row in one] + black + [row | {"clip_id": "black2"} for row in black]
    names = ("twin", "black", "black2", "nothing measured")
    known = [fact, *(replace(fact, clip_id=name) for name in names)]
    found = {row.clip_id: row for row in find_duplicates(Fingerprints.from_rows(clips), known, SETTINGS)}
    assert len(found) == 5
    assert found["twin"].kind == "exact" and found["twin"].best_clip_id == fact.clip_id
    assert found["twin"].similarity == pytest.approx(1, abs=0.01)
    assert all(found[name].is_best for name in names[1:])
    with pytest.raises(ValueError, match="got none of black"):
        find_duplicates(Fingerprints.from_rows(clips), [fact], SETTINGS)


def test_a_chain_is_not_one_group():
    # Each clip overlaps the next; the first and the last have nothing in common.
    names = [f"clip{number}" for number in range(6)]
    facts = [ClipFacts(clip_id=name, height_px=10, width_px=10, duration_s=10) for name in names]
    alike = Likeness(similarity=0.9, kind="perceptual", matched_s=5.0)
    pairs = {(first, second): alike for first, second in pairwise(names)}
    found = group_copies(facts, pairs, lambda a, b: pairs.get((min(a, b), max(a, b))))
    assert {row.clip_id: row.best_clip_id for row in found} == {
        name: names[number // 2 * 2] for number, name in enumerate(names)
    }


def test_the_best_is_the_largest_then_the_sharpest():
    def best(*facts: ClipFacts) -> str:
        alike = Likeness(similarity=0.9, kind="perceptual", matched_s=1)
        pairs = {(a.clip_id, b.clip_id): alike for a in facts for b in facts if a.clip_id < b.clip_id}
        return next(row.clip_id for row in group_copies(facts, pairs, lambda *_: alike) if row.is_best)

    clip = ClipFacts(clip_id="a", height_px=480, width_px=640, duration_s=4, quality=(0.2,))
    assert best(clip, replace(clip, clip_id="b", duration_s=8)) == "b"
    assert best(clip, replace(clip, clip_id="b", duration_s=3.99, quality=(0.3,))) == "b"
    assert best(clip, replace(clip, clip_id="b", quality=(float("nan"),))) == "a"
    assert best(clip, replace(clip, clip_id="b")) == "a"
    assert best(clip, replace(clip, clip_id="b", duration_s=3.79, quality=(0.3,))) == "a"
    # Wherever the sizes lie, a thousandth is no difference; nor does a small clip make two others differ.
    for duration_s in np.geomspace(3, 4, 50).tolist():
        larger = replace(clip, duration_s=1.001 * duration_s)
        sharper = replace(clip, clip_id="b", duration_s=duration_s, quality=(0.3,))
        assert best(larger, sharper) == best(larger, sharper, replace(larger, clip_id="c", duration_s=2.0)) == "b"
    with pytest.raises(ValueError, match="each clip once"):
        group_copies([clip, clip], {}, lambda *_: None)


def test_the_search_finds_near_hashes_in_blocks_of_any_size():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 4000, np.uint64)
    near = hashes[:500].copy()
    for row, bit in enumerate(rng.permuted(np.tile(np.arange(64), (500, 1)), axis=1)[:, :3]):
        near[row] ^= np.bitwise_or.reduce(np.uint64(1) << bit.astype(np.uint64))
    index = HashIndex.build(hashes, np.arange(4000) // 2)
    numbers = np.arange(500)
    whole = candidate_pairs(near, numbers, index, SearchSettings(), is_same=False)
    pairs = set(map(tuple, whole.tolist()))
    assert all((number, number // 2) in pairs for number in numbers)  # 3 bits leave one of four bands as it is
    assert len(pairs) < 510
    blocks = candidate_pairs(near, numbers, index, SearchSettings(block_size=7), is_same=False)
    assert np.array_equal(whole, blocks)
    with pytest.raises(ValueError, match="max_distance: expected 0 to 32, got 40"):
        SearchSettings(max_distance=40)


def test_vectors_that_point_the_same_way_are_semantic_copies():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, 16))
    vectors = np.concatenate([centres, centres * 3 + rng.normal(0, 0.02, centres.shape), np.zeros((1, 16))])
    names = [f"clip{number:02}" for number in range(61)]
    facts = [ClipFacts(clip_id=name, height_px=9, width_px=16, duration_s=1) for name in [*names, "no vector"]]
    found = semantic_duplicates(names, vectors, facts, 0.98)
    copies = {row.clip_id: row for row in found if not row.is_best}
    assert {name: row.best_clip_id for name, row in copies.items()} == {
        names[number + 30]: names[number] for number in range(30)
    }
    assert copies["clip30"] == Duplicate(
        clip_id="clip30",
        group_id="clip00",
        is_best=False,
        best_clip_id="clip00",
        similarity=copies["clip30"].similarity,
        kind="semantic",
        matched_s=0,
    )
    assert semantic_duplicates(names[::-1], vectors[::-1], facts, 0.98) == found
    with pytest.raises(ValueError, match=r"expected \(61, D\)"):
        semantic_duplicates(names, vectors[:5], facts, 0.9)


def test_many_vectors_are_compared_in_blocks(monkeypatch):
    monkeypatch.setattr("cogvideox.data.curation.semantic.MAX_EXACT", 100)
    monkeypatch.setattr("cogvideox.data.curation.semantic.BLOCK_CLIPS", 100)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(600, 24))
    vectors = np.concatenate([centres, centres + rng.normal(0, 0.02, centres.shape)])
    names = [f"clip{number:04}" for number in range(1200)]
    facts = [ClipFacts(clip_id=name, height_px=9, width_px=16, duration_s=1) for name in names]
    found = semantic_duplicates(names, vectors, facts, 0.98)
    assert sum(not row.is_best for row in found) >= 0.98 * 600
