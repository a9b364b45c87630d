import numpy as np
import pytest

from cogvideox.data.negatives import drawing
from cogvideox.data.negatives.coding import coded_badly
from cogvideox.data.negatives.drawing import (
    Format,
    can_write,
    drift,
    font,
    fonts,
    outline,
    pointer_path,
    scroll_path,
    text_block,
    wrap,
)
from cogvideox.data.negatives.pictures import draw_colour, lengthen, stamp

FORM = Format(num_frames=60, fps=25.0, width_px=320, height_px=240)


def test_text_can_be_drawn_without_any_font_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_font_files", lambda: ())
    fonts.cache_clear()
    try:
        assert fonts("any") == fonts("mono") == fonts("sans") == ("",)
    finally:
        fonts.cache_clear()
    assert text_block(["Words"], font("", 20), "left", 1.2).max() == 1
    assert can_write("", "Aa9") and not can_write("", "\U0010fffd")


def test_lines_are_no_wider_than_wanted_and_keep_all_words() -> None:
    face, words = font("", 16), ("every word of this stays in its place " * 4).split()
    lines = wrap(words, face, 120)
    assert " ".join(lines).split() == words
    assert len(lines) > 4 and max(face.getlength(line) for line in lines) <= 120


def test_a_stamp_is_cut_at_the_edges_of_the_frame() -> None:
    mask = np.ones((10, 10), np.float32)
    for x, y, count in ((-4, -4, 36), (36, 0, 40), (50, 50, 0), (0, 0, 100)):
        frame = np.zeros((30, 40, 3), np.uint8)
        stamp(frame, (200, 100, 50), mask, y, x)
        assert (frame[..., 0] == 200).sum() == count
    frame = np.zeros((30, 40, 3), np.uint8)
    stamp(frame, (200, 100, 50), mask * 0.5, 0, 0)
    assert frame[0, 0].tolist() == [100, 50, 25]


def test_an_outline_grows_on_each_side() -> None:
    mask = np.zeros((9, 9), np.float32)
    mask[4, 4] = 1
    grown = outline(mask, 2)
    assert grown.shape == (13, 13) and grown[6, 4] == grown[6, 8] == grown[4, 6] == 1 and grown[6, 3] == 0


def test_a_pointer_reaches_its_targets_and_rests() -> None:
    path = pointer_path(np.random.default_rng(0), FORM, [(30, 40), (200, 100)])
    assert path.shape == (60, 2)
    at = [int(np.abs(path - target).sum(1).argmin()) for target in ((30, 40), (200, 100))]
    assert path[at[0]].tolist() == [30, 40] and path[at[1]].tolist() == [200, 100] and at[0] < at[1]
    assert (np.abs(np.diff(path, axis=0)).sum(1) == 0).any()


def test_scrolling_stays_inside_of_the_page_and_pauses() -> None:
    for seed in range(5):
        path = scroll_path(np.random.default_rng(seed), FORM, 150, 300.0)
        assert path.dtype == np.int64 and path.min() >= 0 and path.max() <= 150 and path[-1] > 0
        assert (np.diff(path) == 0).any()


def test_clips_run_there_and_back() -> None:
    clip = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    assert lengthen(clip, 9).ravel().tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert lengthen(clip, 4, 5).ravel().tolist() == [1, 0, 1, 2]
    assert lengthen(clip[:1], 3, 5).ravel().tolist() == [0, 0, 0]


def test_what_drifts_turns_about_once_in_a_period_of_seconds_whatever_the_rate() -> None:
    for fps in (10.0, 50.0):
        path = drift(np.random.default_rng(0), np.arange(60 * fps) / fps, 2.0)
        assert 0.5 < np.sqrt(np.square(path).mean()) < 0.6 and abs(path.mean()) < 0.01
        assert 20 < (np.diff(np.sign(np.diff(path))) != 0).sum() < 120


def test_colours_have_the_wanted_value() -> None:
    rng = np.random.default_rng(0)
    colours = np.array([draw_colour(rng, (0.5, 0.5), (0.8, 0.8)) for _ in range(50)])
    assert (colours.max(1) == 204).all() and (colours.min(1) == 102).all() and len(np.unique(colours, axis=0)) > 25


def test_frames_that_are_the_same_stay_the_same_in_a_recording_of_few_bits() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (1, 32, 48, 3)).astype(np.uint8)
    coded = coded_badly(np.repeat(frame, 6, 0), quantiser=55, key_period_frames=3)
    assert (coded == coded[0]).all() and np.abs(coded[0].astype(int) - frame[0]).mean() > 5


@pytest.mark.parametrize(("size", "fps"), [((321, 240), 25.0), ((320, 8), 25.0), ((320, 240), 0.0)])
def test_formats_that_no_video_has_are_refused(size: tuple[int, int], fps: float) -> None:
    with pytest.raises(ValueError, match="format: expected"):
        Format(num_frames=5, fps=fps, width_px=size[0], height_px=size[1])
