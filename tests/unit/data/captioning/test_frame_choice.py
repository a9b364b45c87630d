from collections.abc import Generator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cogvideox.data.captioning.frame_choice import ContentChooser, Wanted, decode, spread_frames, timed_frames
from cogvideox.data.captioning.recipe import FrameSettings


def frames_of(levels: list[float], size: tuple[int, int] = (48, 64)) -> Generator[NDArray[np.uint8], None, float]:
    for level in levels:
        yield np.full((*size, 3), round(255 * level), np.uint8)
    return 8.0


@pytest.mark.parametrize(
    ("num_frames", "fps", "every_s", "expected"),
    [
        (40, 8.0, 2.0, (0, 16, 32)),
        (48, 8.0, 2.0, (0, 16, 32)),  # 6 s is no time within the clip
        (49, 8.0, 2.0, (0, 16, 32, 48)),
        (300, 30000 / 1001, 2.0, (0, 60, 120, 180, 240)),
        (5, 8.0, 2.0, (0,)),
        (10, 2.0, 0.01, tuple(range(10))),  # no oftener than there are frames
        (1, 0.0, 2.0, (0,)),
        (7, 0.0, 2.0, (0,)),
    ],
)
def test_frames_by_time(num_frames: int, fps: float, every_s: float, expected: tuple[int, ...]) -> None:
    assert timed_frames(num_frames, fps, every_s, 100) == expected


@given(st.integers(1, 5000), st.floats(0.5, 240), st.floats(0.01, 60), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_frames_by_time_are_of_the_clip_and_evenly_spread(
    num_frames: int, fps: float, every_s: float, max_frames: int
) -> None:
    found = timed_frames(num_frames, fps, every_s, max_frames)
    assert 1 <= len(found) <= max_frames and list(found) == sorted(set(found))
    assert found[0] >= 0 and found[-1] < num_frames
    unlimited = timed_frames(num_frames, fps, every_s, 10**6)
    step = max(every_s * fps, 1)
    assert all(abs(index - step * round(index / step)) <= 0.5 + 1e-6 for index in unlimited)
    # The last time within the clip is there.
    assert num_frames - unlimited[-1] <= step + 1


@given(st.integers(1, 2000), st.integers(1, 60))
def test_spread_frames_begin_and_end_with_the_clip(num_frames: int, num_wanted: int) -> None:
    found = spread_frames(num_frames, num_wanted)
    assert len(found) == min(num_frames, num_wanted) and list(found) == sorted(set(found))
    assert num_wanted == 1 or (found[0], found[-1]) == (0, num_frames - 1)
    gaps = np.diff(found)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def chosen(levels: list[float], **changes: float) -> tuple[int, ...]:
    chooser = ContentChooser(FrameSettings(backend="b", choice="content", **changes), 8.0)  # pyright: ignore
    for index, frame in enumerate(frames_of(levels)):
        chooser.takes(index, frame)
    return chooser.chosen()


def test_content_takes_cuts_at_once_slow_changes_once_and_still_pictures_seldom() -> None:
    assert chosen([0.2] * 10 + [0.8] * 10 + [0.2] * 5) == (0, 10, 20)
    assert set(np.diff(chosen([index / 100 for index in range(80)]))) <= {12, 13}
    assert chosen([0.5] * 200) == (0, 80, 160)  # at the latest after 10 s
    assert chosen([0.5] * 200, every_s=1.0) == (0, 40, 80, 120, 160)


def test_a_flickering_clip_gives_few_frames_from_all_of_it_in_bounded_memory() -> None:
    levels = [float(index % 2) for index in range(1000)]
    chooser = ContentChooser(FrameSettings(backend="b", choice="content", max_frames=6), 8.0)
    for index, frame in enumerate(frames_of(levels, (8, 8))):
        chooser.takes(index, frame)
        assert len(chooser.kept) <= 13
    found = chooser.chosen()
    assert len(found) == 6 and found[0] == 0 and found[-1] > 800 and max(np.diff(found)) < 300


def test_one_decoding_serves_all_stages_and_stops_after_the_last_frame() -> None:
    read = 0

    def stream() -> Generator[NDArray[np.uint8], None, float]:
        nonlocal read
        for level in range(100):
            read += 1
            yield np.full((90, 160, 3), level, np.uint8)
        return 8.0

    wanted = {"a": Wanted(max_side_px=80, indices=(0, 9)), "b": Wanted(max_side_px=1000, indices=(3,))}
    found = decode(stream, 8.0, wanted)
    assert read == 10 and not found.has_ended
    assert {index: frame.shape for index, frame in found.frames["a"].items()} == {0: (45, 80, 3), 9: (45, 80, 3)}
    assert found.frames["b"][3].shape == (90, 160, 3) and found.frames["a"][9][0, 0, 0] == 9
    short = decode(lambda: frames_of([0.1] * 5), 8.0, {"a": Wanted(max_side_px=80, indices=(0, 9))})
    assert (short.num_frames, short.has_ended, list(short.frames["a"])) == (5, True, [0])
    with pytest.raises(ValueError, match="none"):
        decode(lambda: frames_of([]), 8.0, wanted)
