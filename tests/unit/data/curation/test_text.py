import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from cogvideox.data.curation import text
from cogvideox.data.curation.operators import ClipView
from cogvideox.data.curation.text import TextOperator, read_text
from cogvideox.media.video import read_video
from real_videos import real_video

PAGE = [
    "The quarterly report shows growth",
    "in all regions but one, where sales",
    "fell by 12 percent after the flood.",
    "We expect a recovery in spring, when",
    "the second factory opens its doors.",
    "Costs are 40 percent below the plan.",
]


def view(frames: np.ndarray) -> ClipView:
    """A clip of which operators see these frames."""
    empty = np.zeros((0,))
    return ClipView(
        clip_id="clip",
        height_px=frames.shape[1],
        width_px=frames.shape[2],
        fps=2.0,
        num_frames=len(frames),
        start_s=0.0,
        end_s=len(frames) / 2,
        motion=np.zeros((0, 8, 8, 3), np.uint8),
        motion_times_s=empty,
        detail=frames,
        native=np.zeros((0, 8, 8), np.uint8),
        detail_times_s=np.arange(len(frames)) / 2,
        changes=np.zeros((0,), np.float32),
        thumbs=np.zeros((0, 27, 48, 3), np.uint8),
    )


def reduced(frames: np.ndarray) -> np.ndarray:
    """Frames as the view has them, the longer side at most 640 px."""
    height_px, width_px = frames.shape[1:3]
    scale = min(1.0, 640 / max(height_px, width_px))
    size = round(width_px * scale), round(height_px * scale)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def write(frame: np.ndarray, line: str, *, height_share: float, bottom: float) -> np.ndarray:
    """Write a centred white line with a dark edge, as subtitles are; ``bottom`` is its lower end in the picture."""
    picture = Image.fromarray(frame)
    size_px = round(height_share * picture.height)
    font = ImageFont.load_default(size_px)
    left = (picture.width - ImageDraw.Draw(picture).textlength(line, font=font)) / 2
    at = (left, bottom * picture.height - size_px)
    ImageDraw.Draw(picture).text(at, line, font=font, fill="white", stroke_width=1, stroke_fill="black")
    return np.asarray(picture)


def measure(frames: np.ndarray) -> dict[str, float]:
    values = TextOperator().measure(view(frames))
    assert set(values) == {column.name for column in TextOperator.columns}
    for column in TextOperator.columns:
        assert math.isnan(values[column.name]) or column.low <= values[column.name] <= column.high, column.name
    return values


def test_title_card_is_read(tmp_path: Path):
    frames = reduced(read_video(real_video("a.mp4", tmp_path), max_frames=151).frames[90::15])
    assert [line.text for line in read_text(frames[0])] == ["THANKS FOR WATCHING"]
    values = measure(frames)
    assert values["persistence"] == 1.0
    assert values["num_characters"] == 17
    assert 0.01 < values["area"] < 0.1
    assert values["bottom_share"] == 0.0
    assert values["confidence"] > 0.9


@pytest.mark.parametrize(
    "name", ["world.mp4", "vtest.avi", "cup.mp4.gz", "box.mp4.gz", "bigbuckbunny.mp4", "carphone_pristine.mp4"]
)
def test_no_text_in_city_lights_and_other_places(tmp_path: Path, name: str):
    frames = reduced(read_video(real_video(name, tmp_path), max_frames=121).frames[::60])
    values = measure(frames)
    assert (values["num_boxes"], values["area"], values["persistence"]) == (0.0, 0.0, 0.0)
    assert math.isnan(values["bottom_share"]) and math.isnan(values["confidence"])


def test_small_subtitles_are_found_at_the_bottom(tmp_path: Path):
    frames = reduced(read_video(real_video("bigbuckbunny.mp4", tmp_path), max_frames=130).frames[10::50])
    lines = ["We should have left yesterday.", "He never came back to the house", "What are you doing here?"]
    subtitled = [write(frame, line, height_share=0.04, bottom=0.93) for frame, line in zip(frames, lines, strict=True)]
    values = measure(np.stack(subtitled))
    assert values["persistence"] == 1.0
    assert values["num_boxes"] == 1.0
    assert values["bottom_share"] > 0.95
    assert values["area"] < 0.05
    assert values["num_characters"] == pytest.approx(np.mean([len(line.replace(" ", "")) for line in lines]), abs=2)


def test_a_page_has_more_text_than_a_line():
    page = np.full((360, 640, 3), 40, np.uint8)
    for number, line in enumerate(PAGE):
        page = write(page, line, height_share=0.08, bottom=0.15 + 0.14 * number)
    values = measure(page[None])
    assert values["num_boxes"] == len(PAGE)
    assert values["area"] > 0.25
    assert 0.05 < values["bottom_share"] < 0.5


def test_half_the_frames_have_text():
    empty = np.full((4, 200, 320, 3), 60, np.uint8)
    empty[0] = write(empty[0], "OPENING NIGHT", height_share=0.12, bottom=0.5)
    clip = np.stack([empty[0], empty[1]])
    values = measure(clip)
    assert values["persistence"] == 0.5
    assert values["mean_area"] == pytest.approx(values["area"] / 2)


def test_equal_frames_are_read_once(monkeypatch: pytest.MonkeyPatch):
    calls = []

    def reader(frame):
        calls.append(frame)
        return read_text(frame)

    monkeypatch.setattr(text, "read_text", reader)
    frame = write(np.full((200, 320, 3), 60, np.uint8), "OPENING NIGHT", height_share=0.12, bottom=0.5)
    values = measure(np.stack([frame] * 6))
    assert len(calls) == 1
    assert (values["persistence"], values["num_boxes"]) == (1.0, 1.0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 1, 640, 3), (1, 640, 17, 3), (1, 20, 640, 3)])
def test_tiny_and_thin_frames(shape):
    assert measure(np.zeros(shape, np.uint8))["num_boxes"] == 0.0


def test_clip_without_frames_cannot_be_measured():
    assert all(math.isnan(value) for value in measure(np.zeros((0, 4, 4, 3), np.uint8)).values())


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]):
    text._reader.cache_clear()
    read_text(np.zeros((64, 64, 3), np.uint8))
    assert capfd.readouterr() == ("", "")


def test_weights_are_named():
    assert [len(digest) for digest in TextOperator().weights()] == [64, 64]
