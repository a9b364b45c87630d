"""One decoding pass of a source: what comes into its parts, and what must not go wrong on the way."""

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from cogvideox.data.curation import analysis, shots
from cogvideox.data.curation.analysis import analyse, missing_parts
from cogvideox.data.curation.decoding import Decoder, DecodingError, DecodingLimits
from cogvideox.data.curation.operators import ClipView, Column, ViewName
from cogvideox.data.curation.plan import CurationPlan, PlannedOperator, PlannedRowOperator
from cogvideox.data.curation.recipe import CurationRecipe, PreviewSettings
from cogvideox.data.curation.shots import ShotSettings
from cogvideox.data.curation.store import Store
from cogvideox.data.curation.transcoding import transcode
from cogvideox.data.curation.wire import NO_PTS
from curation_corpus import counted, mean_difference, read_frames, write_video
from hostile_videos import encode, frames

ALL_VIEWS: frozenset[ViewName] = frozenset({"thumbs", "motion", "detail", "native", "changes"})
DIGEST = "ab" * 32


class Looker:
    """Keeps the views that it is given, and fails at those of some."""

    name = "looker"
    version = 1
    columns = (
        Column(name="frames", unit="count", low=0, high=1000, meaning="Frames."),
        Column(name="level", unit="levels", low=0, high=255, meaning="Mean level."),
    )

    def __init__(self, views: frozenset[ViewName] = ALL_VIEWS, breaks: dict[int, Any] | None = None) -> None:
        self.views = views
        self.breaks = {} if breaks is None else breaks
        self.seen: list[ClipView] = []

    def weights(self) -> tuple[str, ...]:
        return ()

    def measure(self, clip: ClipView) -> dict[str, float]:
        self.seen.append(clip)
        values = {
            "frames": float(clip.num_frames),
            "level": float(clip.motion.mean()) if clip.motion.size else math.nan,
        }
        broken = self.breaks.get(len(self.seen) - 1)
        if isinstance(broken, Exception):
            raise broken
        return values | (broken or {})


def plan_of(*lookers: Looker, **settings: Any) -> CurationPlan:
    shots = ShotSettings(**({"min_duration_s": 1.0, "max_duration_s": 2.0} | settings))
    recipe = CurationRecipe(inputs=("videos",), operators=(), shots=shots, previews=PreviewSettings(num_pictures=2))
    planned = tuple(PlannedOperator(key=f"looker-{number}", operator=looker) for number, looker in enumerate(lookers))
    return dataclasses.replace(CurationPlan.of(recipe), operators=planned)


@pytest.fixture(scope="module")
def decoder():
    with Decoder(DecodingLimits()) as made:
        yield made


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds with a cut after three."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    images = [image for image, _ in frames(72)]
    other = [255 - image[::-1] for image in counted(48)]
    return write_video(path, "libx264", images + other, 24, {"crf": "10"})


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the network, which takes longer than all the rest: a leap of colours is a cut."""

    def cuts(window: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        leaps = window.float().diff(dim=0).abs().mean((1, 2, 3)) > 30
        return torch.stack([torch.cat([leaps.float(), torch.zeros(1)]), torch.zeros(len(window))], 1)

    monkeypatch.setattr(shots, "_network", lambda: cuts)


def same(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> bool:
    return str(a) == str(b)  # NaN is the same as NaN


def test_parts_of_a_source(decoder: Decoder, video: Path, tmp_path: Path) -> None:
    looker, store = Looker(), Store(tmp_path)
    plan = plan_of(looker)
    assert set(missing_parts(plan, store, DIGEST)) == {plan.decoding_key, plan.shots_key, plan.previews_key, "looker-0"}
    analyse(video, DIGEST, plan, store, decoder)
    assert missing_parts(plan, store, DIGEST) == []
    clips = store.read(plan.shots_key, DIGEST)
    assert [(clip["start_frame"], clip["end_frame"]) for clip in clips] == [(0, 48), (48, 72), (72, 120)]
    assert [(clip["starts"], clip["ends"]) for clip in clips] == [("start", "limit"), ("limit", "cut"), ("cut", "end")]
    for clip, view, measured in zip(clips, looker.seen, store.read("looker-0", DIGEST), strict=True):
        start, end = clip["start_frame"], clip["end_frame"]
        assert clip["clip_id"] == view.clip_id == measured["clip_id"] == f"{DIGEST[:16]}_{start:07d}_{end:07d}"
        assert clip["num_frames"] == view.num_frames == measured["frames"] == end - start and measured["error"] == ""
        assert (clip["start_s"], clip["end_s"]) == pytest.approx((start / 24, end / 24)) and clip["fps"] == 24
        # What an operator sees is of this clip, all of it, and nothing else.
        assert len(view.thumbs) == len(view.changes) == end - start
        assert len(view.motion) == len(view.motion_times_s) == (end - start) // 3
        assert len(view.detail) == len(view.native) == len(view.detail_times_s) == (end - start) // 12
        for times_s in (view.motion_times_s, view.detail_times_s):
            assert view.start_s <= times_s[0] and times_s[-1] < view.end_s and (np.diff(times_s) > 0).all()
        source = read_frames(video, 120, (96, 128))
        for picture, time_s in zip(view.detail, view.detail_times_s, strict=True):
            assert mean_difference(picture, source[round(time_s * 24)]) < 1
        assert math.isnan(view.changes[0]) == (start == 0)
    previews = store.read(plan.previews_key, DIGEST)
    assert [row["clip_id"] for row in previews] == [clip["clip_id"] for clip in clips for _ in range(2)]
    assert all(row["jpeg"].startswith(b"\xff\xd8") for row in previews)
    (facts,) = store.read(plan.decoding_key, DIGEST)
    assert (facts["status"], facts["reason"], facts["num_frames"], facts["codec"]) == ("ok", "", 120, "h264")
    assert (facts["height_px"], facts["width_px"], facts["promised_frames"]) == (96, 128, 120)


def test_a_clip_that_breaks_an_operator_costs_its_value_only(decoder: Decoder, video: Path, tmp_path: Path) -> None:
    broken = Looker(breaks={0: ZeroDivisionError("by nothing"), 1: {"level": 300.0}, 2: {"level": math.inf}})
    good = Looker(views=frozenset({"motion"}))
    plan, store = plan_of(broken, good), Store(tmp_path)
    analyse(video, DIGEST, plan, store, decoder)
    rows, others = store.read("looker-0", DIGEST), store.read("looker-1", DIGEST)
    assert all(math.isnan(row["level"]) and math.isnan(row["frames"]) for row in rows)
    assert [row["error"] for row in rows] == [
        "ZeroDivisionError: by nothing",
        "level: expected 0 to 255, got 300.0",
        "level: expected 0 to 255, got inf",
    ]
    assert [row["error"] for row in others] == [""] * 3 and all(0 < row["level"] < 255 for row in others)
    missing_column = Looker(breaks={0: {"level": "x"}})
    plan = plan_of(missing_column)
    store.remove("looker-0", DIGEST)
    analyse(video, DIGEST, plan, store, decoder)
    rows = store.read("looker-0", DIGEST)
    assert math.isnan(rows[0]["level"]) and rows[0]["error"] and rows[1]["error"] == ""


class Teller:
    """Gives two rows of each clip, and fails at some."""

    name = "teller"
    version = 1
    types: ClassVar = {"clip_id": "string", "number": "int64", "content": "binary"}
    views: frozenset[ViewName] = frozenset({"motion"})

    def __init__(self, breaks: int) -> None:
        self.breaks = breaks

    def weights(self) -> tuple[str, ...]:
        return ()

    def rows(self, clip: ClipView) -> list[dict[str, Any]]:
        self.breaks -= 1
        if not self.breaks:
            raise ZeroDivisionError("by nothing")
        return [{"clip_id": clip.clip_id, "number": number, "content": b"x"} for number in range(2)]


def test_rows_of_a_clip_that_fails_or_is_lost_say_so(decoder: Decoder, video: Path, tmp_path: Path) -> None:
    def plan_with(teller: Teller) -> CurationPlan:
        return dataclasses.replace(plan_of(), row_operators=(PlannedRowOperator(key="teller-0", operator=teller),))

    plan, store = plan_with(Teller(breaks=2)), Store(tmp_path / "work")
    analyse(video, DIGEST, plan, store, decoder)
    clips, rows = store.read(plan.shots_key, DIGEST), store.read("teller-0", DIGEST)
    assert [(row["clip_id"], row["number"], row["error"]) for row in rows] == [
        (clips[0]["clip_id"], 0, ""),
        (clips[0]["clip_id"], 1, ""),
        (clips[1]["clip_id"], None, "ZeroDivisionError: by nothing"),
        (clips[2]["clip_id"], 0, ""),
        (clips[2]["clip_id"], 1, ""),
    ]
    store.remove("teller-0", DIGEST)
    short = write_video(tmp_path / "short.mp4", "libx264", counted(60), 24)
    analyse(short, DIGEST, plan_with(Teller(breaks=0)), store, decoder)
    rows = store.read("teller-0", DIGEST)
    assert [row["error"] for row in rows] == ["", "", *["could not be decoded again"] * 2]
    assert [row["clip_id"] for row in rows[1:]] == [clip["clip_id"] for clip in clips]


@pytest.mark.parametrize("is_uneven", [False, True])
def test_known_spans_give_what_found_ones_gave(decoder: Decoder, video: Path, tmp_path: Path, is_uneven: bool) -> None:
    settings = {"max_duration_s": 5.0} if is_uneven else {}
    if is_uneven:  # a clip ends where the next frame begins, whenever that is
        steps_ms = np.random.default_rng(0).integers(5, 120, 96).cumsum().tolist()
        images = [*counted(48), *(255 - image for image in counted(48))]  # a cut where a message ends
        timed = list(zip(images, steps_ms, strict=True))
        video = encode(tmp_path / "uneven.mkv", "libx264", timed)
    first, store = Looker(), Store(tmp_path / "work")
    plan = plan_of(first, **settings)
    analyse(video, DIGEST, plan, store, decoder)
    before = {
        key: store.read(key, DIGEST) for key in (plan.decoding_key, plan.shots_key, plan.previews_key, "looker-0")
    }
    times = store.path(plan.shots_key, DIGEST).stat().st_mtime_ns
    for gone in (
        {"looker-0"},
        {plan.previews_key},
        {plan.decoding_key},
        {"looker-0", plan.previews_key, plan.decoding_key},
    ):
        for key in gone:
            store.remove(key, DIGEST)
        again = Looker()
        analyse(video, DIGEST, plan_of(again, **settings), store, decoder)
        for key, rows in before.items():
            assert same(store.read(key, DIGEST), rows), (gone, key)
        assert store.path(plan.shots_key, DIGEST).stat().st_mtime_ns == times
        if "looker-0" in gone:
            for old, new in zip(first.seen, again.seen, strict=True):
                for field in dataclasses.fields(ClipView):
                    np.testing.assert_equal(getattr(new, field.name), getattr(old, field.name), err_msg=field.name)
        else:
            assert not again.seen
    store.remove(plan.shots_key, DIGEST)
    analyse(video, DIGEST, plan_of(Looker(), **settings), store, decoder)
    assert same(store.read(plan.shots_key, DIGEST), before[plan.shots_key]) and len(before["looker-0"]) >= 2


def test_what_can_no_longer_be_decoded_is_told(decoder: Decoder, video: Path, tmp_path: Path) -> None:
    store, short = Store(tmp_path / "work"), tmp_path / "short.mp4"
    plan = plan_of(Looker())
    analyse(video, DIGEST, plan, store, decoder)
    write_video(short, "libx264", counted(60), 24)
    store.remove("looker-0", DIGEST)
    analyse(short, DIGEST, plan_of(Looker()), store, decoder)
    rows = store.read("looker-0", DIGEST)
    assert [row["error"] for row in rows] == ["", *["could not be decoded again"] * 2]
    assert math.isnan(rows[1]["level"]) and len(rows) == 3


def test_what_is_no_video_has_parts_without_rows(decoder: Decoder, video: Path, tmp_path: Path) -> None:
    store, path = Store(tmp_path / "work"), tmp_path / "a.mp4"
    path.write_bytes(b"text" * 100)
    plan = plan_of(Looker())
    analyse(path, DIGEST, plan, store, decoder)
    assert missing_parts(plan, store, DIGEST) == []
    assert [store.read(key, DIGEST) for key in (plan.shots_key, "looker-0", plan.previews_key)] == [[], [], []]
    (facts,) = store.read(plan.decoding_key, DIGEST)
    assert facts["status"] == "rejected" and "not a readable video" in facts["reason"]
    # It is not even opened for another operator.
    path.unlink()
    analyse(path, DIGEST, plan_of(Looker(), Looker()), store, decoder)
    assert store.read("looker-1", DIGEST) == [] and same(store.read(plan.decoding_key, DIGEST), [facts])


def test_a_cut_file_is_used_up_to_where_it_ends(decoder: Decoder, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", "libx264", counted(120), 24, {"g": "12"})
    part = tmp_path / "part.mkv"
    part.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    store, looker = Store(tmp_path / "work"), Looker()
    plan = plan_of(looker)
    analyse(part, DIGEST, plan, store, decoder)
    (facts,) = store.read(plan.decoding_key, DIGEST)
    assert facts["status"] == "damaged" and "promises" in facts["reason"] and 48 < facts["num_frames"] < 110
    clips = store.read(plan.shots_key, DIGEST)
    assert clips and clips[0]["num_frames"] == 48 and all(clip["end_frame"] <= facts["num_frames"] for clip in clips)


@pytest.mark.timeout(60)
def test_memory_does_not_grow_with_the_length_of_a_video(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = (image for image, _ in frames(720, 48, 64))
    path = write_video(tmp_path / "long.mp4", "libx264", images, 24, {"preset": "ultrafast"})
    held: dict[str, int] = {}
    add, results = analysis._Frames.add, {}

    def watched(self: Any, message: Any, **options: Any) -> None:
        add(self, message, **options)
        for name in ("times_s", "pts", "sizes_px", "changes", "thumbs", "motion", "detail", "native"):
            held[name] = max(held.get(name, 0), len(getattr(self, name)))

    monkeypatch.setattr(analysis._Frames, "add", watched)
    store = Store(tmp_path / "work")
    for number in range(2):  # spans found, and spans known
        held.clear()
        plan = plan_of(*[Looker() for _ in range(number + 1)])
        for planned in plan.operators:
            planned.operator.seen = Forgetting()  # pyright: ignore[reportAttributeAccessIssue]
        analyse(path, DIGEST, plan, store, decoder)
        results[number] = dict(held)
        assert store.read(plan.decoding_key, DIGEST)[0]["num_frames"] == 720
        assert len(store.read(plan.shots_key, DIGEST)) == 15
    # Two seconds of the longest clip, one more, what the shot detector looks ahead, and a message; or a clip and that.
    for found, most in ((results[0], 2 * 24 + 24 + 75 + 50 + 2 * 24), (results[1], 2 * 24 + 2 * 24)):
        share = {"motion": 3, "detail": 12, "native": 12}
        too_many = {name: number for name, number in found.items() if number > most / share.get(name, 1) + 1}
        assert not too_many and min(found.values()) > 0, found


class Forgetting(list):
    def append(self, _: Any) -> None:
        pass


def test_clips_of_a_file_whose_times_go_back_are_found_by_counting(decoder: Decoder, tmp_path: Path) -> None:
    part = write_video(tmp_path / "part.ts", "libx264", counted(60), 24).read_bytes()
    other = write_video(tmp_path / "other.ts", "libx264", (255 - image for image in counted(60)), 24).read_bytes()
    path = tmp_path / "twice.ts"
    path.write_bytes(part + other)
    plan, store = plan_of(), Store(tmp_path / "work")
    analyse(path, DIGEST, plan, store, decoder)
    clips = store.read(plan.shots_key, DIGEST)
    assert {clip["start_pts"] for clip in clips} == {NO_PTS} and [clip["start_frame"] for clip in clips] == [0, 61]
    assert transcode(path, DIGEST, [clips[1]["clip_id"]], plan, store, decoder) == {}
    target = store.path(plan.clip_files_key, clips[1]["clip_id"], ".mp4")
    shown, source = read_frames(target, 99, (96, 128)), read_frames(path, 120, (96, 128))
    assert len(shown) == 48 and mean_difference(np.stack(shown), np.stack(source[61:109])) < 4
    assert mean_difference(np.stack(shown), np.stack(source[:48])) > 50


def test_clips_that_cannot_be_written_are_told_and_leave_nothing(decoder: Decoder, video: Path, tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path / "work")
    analyse(video, DIGEST, plan, store, decoder)
    ids = [clip["clip_id"] for clip in store.read(plan.shots_key, DIGEST)]
    text, short = tmp_path / "text.mp4", write_video(tmp_path / "short.mp4", "libx264", counted(50), 24)
    text.write_text("no video")
    failed = transcode(text, DIGEST, ids, plan, store, decoder)
    assert set(failed) == set(ids) and "not a readable video" in failed[ids[0]]
    failed = transcode(short, DIGEST, ids, plan, store, decoder)
    assert set(failed) == set(ids[1:]) and "frames" in failed[ids[1]]
    folder = store.folder / plan.clip_files_key
    assert [path.stem for path in folder.rglob("*.mp4")] == ids[:1]
    time_ns = next(folder.rglob("*.mp4")).stat().st_mtime_ns
    assert transcode(video, DIGEST, ids, plan, store, decoder) == {}
    assert sorted(path.stem for path in folder.rglob("*.mp4")) == ids
    assert store.path(plan.clip_files_key, ids[0], ".mp4").stat().st_mtime_ns == time_ns


@pytest.mark.parametrize("num_before", [0, 1, 2])
def test_a_decoder_that_breaks_down_costs_the_clip_it_was_at(
    decoder: Decoder, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_before: int
) -> None:
    plan, store = plan_of(), Store(tmp_path / "work")
    analyse(video, DIGEST, plan, store, decoder)
    ids = sorted(clip["clip_id"] for clip in store.read(plan.shots_key, DIGEST))[:2]
    write, calls = decoder.transcode, []

    def breaking(path: Path, clips: list[dict[str, Any]]) -> Any:
        calls.append(len(clips))
        yield from write(path, clips[:num_before] if len(calls) == 1 else clips)
        if len(calls) == 1:
            raise DecodingError("the decoder crashed (signal 11)")

    monkeypatch.setattr(decoder, "transcode", breaking)
    failed = transcode(video, DIGEST, ids, plan, store, decoder)
    lost = ids[num_before : num_before + 1]
    assert failed == dict.fromkeys(lost, "the decoder crashed (signal 11)")
    written = sorted(path.stem for path in (store.folder / plan.clip_files_key).rglob("*.mp4"))
    assert written == sorted(set(ids) - set(lost))
