"""`cogvideox reconstruct` as a user runs it, on small random autoencoders."""

import json
import signal
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from cogvideox.cli import main
from cogvideox.configs import AutoencoderConfig
from cogvideox.evaluation.video_metrics import VideoMetrics
from cogvideox.media.video import Video, read_video, to_frames, to_tensor
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.lpips import Lpips
from cogvideox.models.tiling import Tiling


def run(arguments: list[str], capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "vae"
    torch.manual_seed(0)
    config = AutoencoderConfig(
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_height=96,  # published tiles are 48x40 px
        sample_width=80,
    )
    VideoAutoencoder(config).save(folder)
    return folder


@pytest.fixture
def model(vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["--model", str(vae.parent), "--dtype", "float32"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch):
    """Networks this small are not faster on two, and many times slower if something else runs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of processes that are started
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def moving_square(num_frames: int, height_px: int = 32, width_px: int = 48) -> np.ndarray:
    frames = np.full((num_frames, height_px, width_px, 3), (40, 90, 160), np.uint8)
    for index, frame in enumerate(frames):
        frame[8:20, index % 32 : index % 32 + 12] = (220, 180, 40)
    return frames


def test_a_video_beside_its_reconstruction(model, capsys) -> None:
    Video(moving_square(21), 12).save("square.mp4")
    code, out, err = run(["reconstruct", "square.mp4", "--out", "made/a/", "--json", *model], capsys)
    assert code == 0 and "reconstruct frames: 21/21" in err, err
    original, shown = read_video("square.mp4").frames, read_video("made/a").frames
    assert shown.shape == (21, 32, 96, 3) and read_video("made/a").fps == 12
    np.testing.assert_array_equal(shown[:, :, :48], original)
    metrics = VideoMetrics()
    metrics.update(to_tensor(original)[None], to_tensor(shown[:, :, 48:])[None])
    data, expected = json.loads(out.splitlines()[-1])["data"], metrics.scores()
    for name in ("psnr_db", "psnr_frame_mean_db", "ssim", "flicker_original", "flicker_reconstructed"):
        assert data[name] == pytest.approx(getattr(expected, name), rel=0.01), name
    assert data["lpips"] is None and data["frames_per_s"] > 0 and f"{data['psnr_db']:.2f} dB" in out
    settings = json.loads(Path("made/a.json").read_text())
    assert settings.items() <= data.items()
    assert (settings["video"], settings["num_frames"], settings["height"], settings["width"]) == (
        "square.mp4",
        21,
        32,
        48,
    )
    assert sorted(path.name for path in Path("made").iterdir()) == ["a", "a.json"]


def test_a_part_in_another_size_and_rate_alone(model, vae, capsys) -> None:
    Video(moving_square(21), 12).save("square.gif")
    flags = ["--num-frames", "10", "--height", "20", "--fps", "5", "--no-side-by-side", "--out", "a.mp4"]
    code, _, err = run(["reconstruct", "square.gif", *flags, "--model", str(vae)], capsys)
    assert code == 0 and "fitted from 48x32 to 30x20 px (crop)" in err, err
    video = read_video("a.mp4")
    assert video.frames.shape == (10, 20, 30, 3) and video.fps == 5
    assert json.loads(Path("a.json").read_text())["dtype"] in ("bfloat16", "float32")


def test_tiles_are_those_of_the_autoencoder(model, vae, capsys) -> None:
    Video(moving_square(9, 64, 72), 8).save("a.mp4")
    flags = ["--no-side-by-side", "--out", "made/", "--force", *model]
    shown = {}
    for tiled in ([], ["--tiled"]):
        assert run(["reconstruct", "a.mp4", *tiled, *flags], capsys)[0] == 0
        assert json.loads(Path("made.json").read_text())["tiled"] == bool(tiled)
        shown[len(tiled)] = read_video("made").frames
    autoencoder, video = VideoAutoencoder.load(vae), to_tensor(read_video("a.mp4").frames)[None]
    tiling = Tiling.published(autoencoder.config)
    with torch.no_grad():
        expected = autoencoder.decode(autoencoder.encode(video, tiling=tiling).mode(), tiling=tiling)
    np.testing.assert_array_equal(shown[1], to_frames(expected[0]))
    assert not np.array_equal(shown[0], shown[1])


def test_default_names_and_no_overwriting(model, capsys) -> None:
    Image.fromarray(moving_square(1, 31, 45)[0]).save("My picture.png")
    Video(moving_square(2), 8).save("b.mp4")
    for name, made in (("My picture.png", "_my-picture_reconstructed.webm"), ("b.mp4", "_b_reconstructed.mp4")):
        code, out, err = run(["reconstruct", name, *model], capsys)
        (path,) = Path("outputs").glob(f"*{made}")
        assert code == 0 and str(path) in out, err
        code, _, err = run(["reconstruct", name, *model], capsys)
        assert code == 2 and "--force" in err
        assert run(["reconstruct", name, "--force", *model], capsys)[0] == 0
    assert read_video(next(Path("outputs").glob("*.webm"))).frames.shape == (1, 31, 90, 3)


def test_headers_that_lie_about_the_length(model, capsys) -> None:
    with av.open("a.avi", "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for frame in moving_square(11):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    content = bytearray(Path("a.avi").read_bytes())
    for header, offset in ((b"avih", 24), (b"strh", 40)):
        start = content.index(header) + offset
        assert content[start : start + 4] == struct.pack("<I", 11)
        content[start : start + 4] = struct.pack("<I", 444)
    Path("a.avi").write_bytes(content)
    with av.open("a.avi") as container:
        assert container.streams.video[0].frames == 444
    code, out, err = run(["reconstruct", "a.avi", "--json", *model], capsys)
    assert code == 0 and json.loads(out.splitlines()[-1])["data"]["num_frames_written"] == 11, err


def test_lpips_with_its_weights(model, capsys) -> None:
    torch.manual_seed(0)
    lpips = Lpips()
    torch.save({f"features.{name}": weight for name, weight in lpips.features.state_dict().items()}, "vgg16.pth")
    torch.save({f"lin{i}.model.1.weight": weight.abs() for i, weight in enumerate(lpips.heads.parameters())}, "vgg.pth")
    Video(moving_square(2), 8).save("a.mp4")
    files = ["--lpips-backbone", "vgg16.pth", "--lpips-heads", "vgg.pth"]
    code, out, err = run(["reconstruct", "a.mp4", *files, "--json", *model], capsys)
    assert code == 0 and "LPIPS" in out, err
    assert json.loads(out.splitlines()[-1])["data"]["lpips"] > 0
    code, out, err = run(["reconstruct", "a.mp4", *files[:3], "a.mp4", "--force", "--json", *model], capsys)
    assert code == 3 and json.loads(out)["error"]["code"] == "bad_checkpoint"
    assert "a.mp4: damaged, or no file of weights; expected the file weights/v0.1/vgg.pth" in err
    code, _, err = run(["reconstruct", "a.mp4", *files, "--height", "12", "--force", *model], capsys)
    assert code == 2 and "at least 16x16 px, got 18x12" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.mp4"], 2, "no such video file: absent.mp4"),
        (["text.mp4"], 2, "text.mp4 is not a readable video"),
        (["empty.mp4"], 2, "empty.mp4 is not a readable video"),
        (["cut.mp4"], 2, "cut.mp4 is not a readable video"),
        (["folder"], 2, "has no PNG or JPEG frames"),
        (["a.mp4", "--num-frames", "0"], 2, "--num-frames: expected at least 1, got 0"),
        (["a.mp4", "--num-frames", "4"], 2, "--num-frames: expected at most 3, the frames of a.mp4, got 4"),
        (["a.mp4", "--height", "-2"], 2, "--height: expected at least 1, got -2"),
        (["a.mp4", "--height", "100000", "--width", "10000"], 2, "100,000,000 pixels a frame, got 100000x10000"),
        (["a.mp4", "--fps", "0"], 2, "fps: expected more than 0"),
        (["a.mp4", "--lpips-backbone", "text.mp4"], 2, "expected --lpips-heads too"),
        (["a.mp4", "--lpips-heads", "text.mp4"], 2, "expected --lpips-backbone too"),
        (["a.mp4", "--lpips-backbone", "text.mp4", "--lpips-heads", "b"], 2, "--lpips-heads: no such file: b"),
        (["a.mp4", "--out", "a.avi"], 2, "--out a.avi: path: expected a name ending in .mp4"),
        (["a.mp4", "--out", "a.mp4", "--force"], 2, "--out: a.mp4 is the video to be reconstructed"),
        (["a.mp4", "--height", "31", "--out", "b.mp4"], 2, "mp4 needs even height and width"),
        (["a.mp4", "--out", "/proc/b.mp4"], 2, "cannot write into /proc"),
        (["a.mp4", "--dtype", "float7"], 2, "dtype: expected one of float32"),
        (["a.mp4", "--device", "abacus"], 2, "device: expected one of this machine's"),
        (["a.mp4", "--tiled", "--model", "tiny"], 2, "too small for published tiles"),
        (["a.mp4", "--model", "no-such-model"], 3, "no-such-model"),
        (["a.mp4", "--model", "folder"], 3, "folder/config.json: no such file"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(model, capsys, arguments, code, message) -> None:
    Video(moving_square(3), 8).save("a.mp4")
    content = Path("a.mp4").read_bytes()
    for name, text in (("text.mp4", b"no video at all " * 99), ("empty.mp4", b""), ("cut.mp4", content[:500])):
        Path(name).write_bytes(text)
    Path("folder").mkdir()
    before = sorted(Path().rglob("*"))
    given = [
        flag
        for flag, name in zip(model, ("--model", "--model", "--dtype", "--dtype"), strict=True)
        if name not in arguments
    ]
    got, _, err = run(["reconstruct", *arguments, *given], capsys)
    assert got == code and err.startswith("error: ") and err.count("\n") == 1, err
    assert message in err and sorted(Path().rglob("*")) == before


def test_an_interruption_leaves_nothing(model, tmp_path) -> None:
    Video(moving_square(800), 30).save("long.mp4")
    arguments = ["reconstruct", "long.mp4", "--out", "made/a.mp4", *model]
    command = [sys.executable, "-m", "cogvideox", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130 and rest.splitlines()[-1] == "error: interrupted", first + rest
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "long.mp4", tmp_path / "made"]


def peak_bytes(arguments: list[str]) -> int:
    """Return the most memory that a run of the command line took.

    Not ``ru_maxrss``: a process that is started inherits that of the one that starts it.
    """
    code = (
        "import sys; from cogvideox.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(open('/proc/self/status').read())"
    )
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process took")
def test_two_thousand_frames_pass_in_the_memory_of_seventeen(model) -> None:
    """One copy of all frames in float32 would take 53 MiB."""
    Video(moving_square(2000, 48, 48), 30).save("long.mp4")
    peaks = {}
    for num_frames in (17, 2000):
        flags = ["--num-frames", str(num_frames), "--no-side-by-side", "--out", f"{num_frames}.mp4", *model]
        peaks[num_frames] = peak_bytes(["reconstruct", "long.mp4", *flags])
    print({num_frames: f"{peak / 2**20:.1f} MiB" for num_frames, peak in peaks.items()})
    assert peaks[2000] < peaks[17] + 30 * 2**20  # an encoder of videos looks ahead over some 40 frames
