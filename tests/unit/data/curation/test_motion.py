import dataclasses
import io
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cogvideox.data.curation.motion import COLUMNS, DEFAULT_MIN_PEAK_SPEED, MotionOperator, MotionSettings
from cogvideox.data.curation.operators import MOTION_AREA_PX, MOTION_FPS, MOTION_MULTIPLE_PX, ClipView
from cogvideox.media.video import read_video
from real_videos import SAMPLES, real_video

EMPTY = np.zeros((0, 0, 0, 3), np.uint8)
OPERATOR = MotionOperator(MotionSettings())
FIXED_CAMERA = {"vtest.avi": 30, "box.mp4.gz": 110, "carphone_pristine.mp4": 60, "Megamind.avi": 40, "cup.mp4.gz": 100}
"""Frames to read: hands take their time."""
OTHERS = {"bikes.mp4": 50, "bigbuckbunny.mp4": 40}
CODECS = {
    "libx264": {"preset": "veryfast", "g": "12", "crf": "38"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "g": "12", "crf": "50", "b": "0"},
    "mpeg4": {"g": "12", "b": "120000"},
}


def clip_of(frames: np.ndarray, fps: float = 25.0) -> ClipView:
    """The motion view of frames (N, H, W, 3)."""
    num_frames, height_px, width_px = frames.shape[:3]
    scale = math.sqrt(MOTION_AREA_PX / (height_px * width_px))
    height, width = (
        max(1, round(side_px * scale / MOTION_MULTIPLE_PX)) * MOTION_MULTIPLE_PX for side_px in (height_px, width_px)
    )
    chosen = np.unique(np.arange(0, num_frames, max(1.0, fps / MOTION_FPS)).astype(int))
    motion = np.stack([cv2.resize(frames[index], (width, height), interpolation=cv2.INTER_AREA) for index in chosen])
    return ClipView(
        clip_id="clip",
        height_px=height_px,
        width_px=width_px,
        fps=fps,
        num_frames=num_frames,
        start_s=0,
        end_s=num_frames / fps,
        motion=motion,
        motion_times_s=chosen / fps,
        detail=EMPTY,
        native=EMPTY[..., 0],
        detail_times_s=np.zeros(0),
        changes=np.zeros(0, np.float32),
        thumbs=EMPTY,
    )


def real_clip(name: str, folder: Path, max_frames: int = 50) -> tuple[np.ndarray, float]:
    video = read_video(real_video(name, folder), max_frames=max_frames)
    return video.frames, video.fps


def reduced(frames: np.ndarray, width: int = 320) -> np.ndarray:
    height = frames.shape[1] * width // frames.shape[2] // 2 * 2
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])


def coded(frames: np.ndarray, fps: float, codec: str, options: dict[str, str]) -> np.ndarray:
    """Frames as they come back from a codec."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=round(fps), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def measure(frames: np.ndarray, fps: float = 25.0) -> dict[str, float]:
    return OPERATOR.measure(clip_of(frames, fps))


@pytest.mark.parametrize(("name", "max_frames"), (FIXED_CAMERA | OTHERS).items())
def test_real_motion_is_far_above_the_threshold(name: str, max_frames: int, tmp_path: Path) -> None:
    scores = measure(*real_clip(name, tmp_path, max_frames))
    assert scores["peak_speed"] > 6 * DEFAULT_MIN_PEAK_SPEED
    assert scores["still_share"] < 0.1
    if name in FIXED_CAMERA:
        assert scores["camera_fit"] < 0.6 and scores["camera_speed"] < scores["peak_speed"] / 3
    if name == "vtest.avi":
        assert scores["camera_speed"] < 0.1 and scores["shake"] < 0.01 and 0.01 < scores["moving_share"] < 0.2


@pytest.mark.parametrize("name", ["vtest.avi", "cup.mp4.gz"])  # a busy picture and a plain one
def test_still_pictures_do_not_move_whatever_befalls_them(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    still = np.repeat(reduced(real_clip(name, tmp_path, 3)[0][-1:], 400), 40, axis=0)
    noisy = np.clip(still + rng.normal(0, 5, still.shape), 0, 255).astype(np.uint8)
    gains = 1 + 0.12 * np.sin(np.arange(len(still)) * 2.1)[:, None, None, None]
    shown = {
        "frozen": still,
        "noise": noisy,
        "flicker": np.clip(still * gains, 0, 255).astype(np.uint8),
        **{codec: coded(still, 25, codec, options) for codec, options in CODECS.items()},
        "noise in h264": coded(noisy, 25, "libx264", CODECS["libx264"]),
        "noise in vp9": coded(noisy, 25, "libvpx-vp9", CODECS["libvpx-vp9"]),
    }
    scores = {kind: measure(frames) for kind, frames in shown.items()}
    assert {kind: score["peak_speed"] for kind, score in scores.items() if score["peak_speed"] > 0.2} == {}
    assert {kind: score["still_share"] for kind, score in scores.items() if score["still_share"] < 0.75} == {}
    grain = clip_of(still)
    grain = dataclasses.replace(
        grain, motion=np.clip(grain.motion + rng.normal(0, 8, grain.motion.shape), 0, 255).astype(np.uint8)
    )
    assert OPERATOR.measure(grain)["peak_speed"] < DEFAULT_MIN_PEAK_SPEED


def test_slide_shows_jump_or_fade_but_do_not_move(tmp_path: Path) -> None:
    names = ("vtest.avi", "cup.mp4.gz", "carphone_pristine.mp4")
    slides = [cv2.resize(real_clip(name, tmp_path, 1)[0][0], (320, 180)) for name in names]
    cuts = measure(np.concatenate([np.repeat(slide[None], 25, axis=0) for slide in slides]))
    assert cuts["jump_share"] == pytest.approx(2 / 23, abs=0.01) and cuts["peak_speed"] < 0.1
    fades = []
    for first, second in pairwise(slides):
        fades += [first] * 20
        fades += [cv2.addWeighted(first, 1 - weight, second, weight, 0) for weight in np.linspace(0, 1, 25)]
    assert measure(np.stack(fades))["peak_speed"] < DEFAULT_MIN_PEAK_SPEED / 2


def test_a_pan_is_the_camera_and_a_small_walker_is_not(tmp_path: Path) -> None:
    bunny, wall, square = (
        real_clip(name, tmp_path, 1)[0][0] for name in ("bigbuckbunny.mp4", "cup.mp4.gz", "vtest.avi")
    )
    for picture, step_px, width_px in ((bunny, 4, 640), (wall, 1, 580)):
        pan = measure(np.stack([picture[60:420, step_px * step :][:, :width_px] for step in range(60)]))
        truth = step_px * 25 / math.hypot(360, width_px) * 100
        assert pan["camera_speed"] == pytest.approx(truth, rel=0.05)
        assert pan["camera_fit"] > 0.97 and pan["shake"] < 0.03 and pan["moving_share"] < 0.01

    walker = cv2.resize(square[150:300, 330:400], (12, 30), interpolation=cv2.INTER_AREA)
    scene = np.repeat(cv2.resize(square, (640, 360), interpolation=cv2.INTER_AREA)[None], 60, axis=0)
    for step, frame in enumerate(scene):  # 0.16 % of the picture, at 1.4 body heights per second
        frame[200:230, 100 + round(1.6 * step) : 112 + round(1.6 * step)] = walker
    scene = np.clip(scene + np.random.default_rng(1).normal(0, 3, scene.shape), 0, 255).astype(np.uint8)
    walk = measure(scene)
    assert walk["peak_speed"] > 2 * DEFAULT_MIN_PEAK_SPEED and walk["still_share"] < 0.1
    assert walk["camera_speed"] < 0.1 and walk["camera_fit"] < 0.1 and walk["object_speed"] > 1
    assert 0 < walk["moving_share"] < 0.02


def test_shake_grows_with_the_amplitude_and_not_with_the_pan(tmp_path: Path) -> None:
    picture = cv2.resize(real_clip("bigbuckbunny.mp4", tmp_path, 1)[0][0], (640, 360))

    def shaken(amplitude_px: float) -> float:
        frames = []
        for step in range(75):
            right, down = (amplitude_px * math.sin(2 * math.pi * hertz * step / 25) for hertz in (3, 2.3))
            frames.append(cv2.warpAffine(picture, np.array([[1, 0, right], [0, 1, down]]), (640, 360))[30:-30, 30:-30])
        return measure(np.stack(frames))["shake"]

    small, large = shaken(2), shaken(6)
    assert small == pytest.approx(100 * 2 / math.hypot(300, 580), rel=0.35)  # RMS of two sines of amplitude 2
    assert large == pytest.approx(3 * small, rel=0.1)


@pytest.mark.parametrize("name", ["cup.mp4.gz", "vtest.avi"])
def test_scores_hardly_depend_on_codec_and_size(name: str, tmp_path: Path) -> None:
    frames, fps = real_clip(name, tmp_path, 30 if name == "vtest.avi" else 80)
    frames = reduced(frames, 400)
    versions = [
        coded(frames, fps, "libx264", {"preset": "veryfast", "crf": "28"}),
        coded(frames, fps, "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "33", "b": "0"}),
        reduced(frames, 320),
    ]
    for column, most in (("peak_speed", 1.15), ("moving_share", 1.2)):
        scores = [measure(version, fps)[column] for version in versions]
        assert max(scores) < most * min(scores), (column, scores)
    assert len({measure(version, fps)["peak_speed"] > DEFAULT_MIN_PEAK_SPEED for version in versions}) == 1


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (3, 3000), (3000, 3), (64, 2160)])
def test_any_clip_gives_values_in_range(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for num_frames in (1, 2, 20):
        for frames in (np.zeros((num_frames, *size, 3)), rng.integers(0, 256, (num_frames, *size, 3))):
            scores = measure(frames.astype(np.uint8))
            assert set(scores) == {column.name for column in COLUMNS}
            for column in COLUMNS:
                assert math.isnan(scores[column.name]) or column.low <= scores[column.name] <= column.high
            assert math.isnan(scores["peak_speed"]) or num_frames > 1


def test_clips_of_one_operator_do_not_change_each_other(tmp_path: Path) -> None:
    wide, tall = (clip_of(real_clip(name, tmp_path, 20)[0]) for name in ("bikes.mp4", "vtest.avi"))
    tall = dataclasses.replace(tall, motion=np.ascontiguousarray(tall.motion.transpose(0, 2, 1, 3)))
    operator = MotionOperator(MotionSettings())
    scores = [operator.measure(clip) for clip in (wide, tall, wide)]
    np.testing.assert_equal(scores[0], scores[2])
    np.testing.assert_equal(scores[1], MotionOperator(MotionSettings()).measure(tall))


def test_settings_refuse_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="raft_weights"):
        MotionSettings(flow="raft")
    with pytest.raises(ValueError, match="min_peak_speed"):
        MotionSettings(min_peak_speed=0)
    assert MotionOperator(MotionSettings()).weights() == ()


RAFT = """
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")  # its compiled part is of another torch
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
sys.path.append(sys.argv[1])
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft_small

from cogvideox.data.curation.optical_flow import RaftFlow

folder = Path(sys.argv[2])
torch.manual_seed(0)
model = raft_small(weights=None).eval()
torch.save(model.state_dict(), folder / "raft.pth")
save_file(model.state_dict(), folder / "raft.safetensors")
first, second = np.random.default_rng(0).integers(0, 256, (2, 136, 160, 3), dtype=np.uint8)
flow = RaftFlow(folder / "raft.pth", variant="small").flow(first, second)
as_tensor = lambda frame: torch.from_numpy(frame).movedim(-1, 0)[None].float() / 127.5 - 1
with torch.inference_mode():
    expected = model(as_tensor(first), as_tensor(second), num_flow_updates=12)[-1][0].movedim(0, -1).numpy()
np.testing.assert_allclose(flow, expected, atol=1e-4)
again = RaftFlow(folder / "raft.safetensors", variant="small").flow(first[:50, :61], second[:50, :61])
assert again.shape == (50, 61, 2) and again.dtype == np.float32 and np.isfinite(again).all()
try:
    RaftFlow(folder / "raft.pth", variant="large")
except ValueError as error:
    assert "raft_large" in str(error)
else:
    raise SystemExit("the wrong variant was taken")

from cogvideox.data.curation.motion import MotionOperator, MotionSettings
settings = MotionSettings(flow="raft", raft_weights=folder / "raft.pth", raft_variant="small")
assert len(MotionOperator(settings).weights()[0]) == 64
"""


def test_raft_runs_with_a_file_of_weights(tmp_path: Path) -> None:
    if not (SAMPLES / "torchvision").is_dir():
        pytest.skip("torchvision is not there: make .venv/.dev")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RAFT, str(SAMPLES), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
