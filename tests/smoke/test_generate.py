"""`cogvideox generate` as a user runs it, on a random checkpoint."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cogvideox import VideoGenerator
from cogvideox.cli import main
from cogvideox.media.video import Video, read_video
from cogvideox.models.text_encoder import TextEncoder
from cogvideox.models.transformer import ExpertTransformer
from loopback_chat import says, serve
from random_checkpoint import write_random_checkpoint

pytestmark = pytest.mark.slow

FAST = ["--num-steps", "2", "--num-frames", "9", "--height", "32", "--width", "32", "--dtype", "float32"]


def run(arguments: list[str], capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


@pytest.fixture
def model(random_checkpoint: Path, tmp_path: Path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["--model", str(random_checkpoint), *FAST]


def test_video_and_settings(model, tmp_path: Path, capsys) -> None:
    code, out, err = run(["generate", "a cat on a hill", "--out", "clips/cat.mp4", "--seed", "5", *model], capsys)
    assert code == 0, err
    assert "seed 5" in out and "clips/cat.mp4" in out
    video = read_video("clips/cat.mp4")
    assert video.frames.shape == (9, 32, 32, 3) and video.fps == 8
    settings = json.loads(Path("clips/cat.json").read_text())
    assert settings["prompt"] == "a cat on a hill" and settings["seed"] == 5 and settings["sampler"] == "ddim"
    assert settings["guidance_mode"] == "constant" and settings["dtype"] == "float32"
    assert sorted(path.name for path in Path("clips").iterdir()) == ["cat.json", "cat.mp4"]


def test_like_repeats_a_video_and_flags_win(model, capsys) -> None:
    assert run(["generate", "a cat", "--out", "a.mp4", "--seed", "5", *model], capsys)[0] == 0
    assert run(["generate", "--like", "a.json", "--out", "b.mp4"], capsys)[0] == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    assert run(["generate", "--like", "a.json", "--out", "c.mp4", "--seed", "6"], capsys)[0] == 0
    assert np.abs(read_video("a.mp4").frames.astype(int) - read_video("c.mp4").frames).mean() > 2
    assert json.loads(Path("c.json").read_text())["prompt"] == "a cat"


def test_default_name_and_drawn_seed(model, capsys) -> None:
    code, out, _ = run(["generate", "A Cat, at night!", *model], capsys)
    (path,) = Path("outputs").glob("*.mp4")
    assert code == 0 and "a-cat-at-night" in path.name and path.stem.rsplit("_", 1)[1] in out


def test_json_is_the_last_line(model, capsys) -> None:
    _, out, _ = run(["generate", "a cat", "--out", "a.mp4", "--json", *model], capsys)
    result = json.loads(out.splitlines()[-1])
    assert result["ok"] and result["data"]["path"] == "a.mp4" and isinstance(result["data"]["seed"], int)
    _, out, _ = run(["generate", "a cat", "--out", "a.mp4", "--json", *model], capsys)
    result = json.loads(out.splitlines()[-1])
    assert not result["ok"] and result["error"]["code"] == "bad_input" and "--force" in result["error"]["message"]


def test_prompts_file(model, capsys) -> None:
    Path("prompts.txt").write_text("# two\na cat\n\na fox at night\n")
    code, out, err = run(
        ["generate", "--prompts-file", "prompts.txt", "--out", "many", "--seed", "1", "--json", *model], capsys
    )
    assert code == 0, err
    assert len(list(Path("many").glob("*.mp4"))) == len(list(Path("many").glob("*.json"))) == 2
    assert len(json.loads(out.splitlines()[-1])["data"]["videos"]) == 2


def test_several_seeds_give_several_videos(model, capsys) -> None:
    code, _, err = run(["generate", "a cat", "--seed", "1", "2", "--out", "clips", *model], capsys)
    assert code == 0, err
    assert sorted(path.name for path in Path("clips").glob("*.mp4")) == ["000_a-cat_1.mp4", "001_a-cat_2.mp4"]
    code, _, err = run(["generate", "a cat", "--seed", "1", "2", "--out", "clip.mp4", *model], capsys)
    assert code == 2 and "expected a folder" in err


def test_a_video_is_made_over_and_can_be_repeated(model, capsys) -> None:
    assert run(["generate", "a cat", "--out", "a.mp4", "--seed", "5", "--fps", "12", *model], capsys)[0] == 0
    arguments = ["generate", "a fox", "--video", "a.mp4", "--strength", "0.5", "--seed", "1", *model]
    code, _, err = run([*arguments, "--out", "b.mp4"], capsys)
    assert code == 0 and "fitted" not in err
    settings = json.loads(Path("b.json").read_text())
    assert (settings["video"], settings["strength"], settings["fps"]) == ("a.mp4", 0.5, 12)
    assert run(["generate", "--like", "b.json", "--out", "c.mp4"], capsys)[0] == 0
    assert Path("b.mp4").read_bytes() == Path("c.mp4").read_bytes()
    code, _, err = run(["generate", "--like", "b.json", "--out", "d.mp4", "--height", "64", "--fit", "pad"], capsys)
    assert code == 0 and "fitted from 32x32 to 32x64 px (pad)" in err
    assert read_video("d.mp4").frames.shape == (9, 64, 32, 3)


def test_adapters_are_weighted_and_recorded(model, tmp_path: Path, capsys) -> None:
    layer = "transformer.transformer_blocks.0.attn1.to_q"
    generator = torch.Generator().manual_seed(0)
    down, up = (torch.randn(shape, generator=generator) for shape in ((2, 256), (256, 2)))
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, tmp_path / "a.safetensors")
    for name, arguments in {
        "plain": [],
        "off": ["--lora", "a.safetensors:0"],
        "both": ["--lora", "a.safetensors:0.5", "a.safetensors:0.5"],
        "whole": ["--lora", "a.safetensors"],
    }.items():
        code, _, err = run(["generate", "a cat", "--seed", "1", "--out", f"{name}.mp4", *arguments, *model], capsys)
        assert code == 0, err
    frames = {name: read_video(f"{name}.mp4").frames.astype(int) for name in ("plain", "off", "both", "whole")}
    assert np.array_equal(frames["plain"], frames["off"]) and np.abs(frames["plain"] - frames["whole"]).max() > 5
    assert np.abs(frames["both"] - frames["whole"]).mean() < 1
    assert json.loads(Path("both.json").read_text())["lora"] == ["a.safetensors:0.5", "a.safetensors:0.5"]
    assert run(["generate", "--like", "both.json", "--out", "again.mp4"], capsys)[0] == 0
    assert Path("again.mp4").read_bytes() == Path("both.mp4").read_bytes()


def test_an_image_begins_a_video(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = "CogVideoXImageToVideoPipeline"
    model = write_random_checkpoint(tmp_path, transformer_changes={"in_channels": 32}, pipeline=pipeline)
    Image.new("RGB", (50, 32), "red").save("red.png")
    arguments = ["generate", "a cat", "--model", str(model), *FAST]
    code, _, err = run([*arguments, "--image", "red.png", "--out", "a.mp4"], capsys)
    assert code == 0 and "fitted from 50x32 to 32x32 px (crop)" in err, err
    assert json.loads(Path("a.json").read_text())["image"] == "red.png"
    code, _, err = run([*arguments, "--out", "b.mp4"], capsys)
    assert code == 2 and "give it an image" in err and not Path("b.mp4").exists()


def test_lost_tokens_are_counted(model, capsys) -> None:
    code, _, err = run(["generate", "cat " * 40, "--out", "cat.mp4", "--seed", "1", *model], capsys)
    assert code == 0 and "reads 24 tokens of the prompt" in err and "tokens are lost" in err


def test_nothing_is_read_before_the_request_is_checked(model, random_checkpoint, tmp_path, capsys) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(random_checkpoint, broken)
    for weights in broken.rglob("*.safetensors"):
        weights.write_bytes(b"")
    model = ["--model", str(broken), *FAST[:-4], "--dtype", "float32"]
    code, _, err = run(["generate", "a cat", "--sampler", "euler", *model], capsys)
    assert code == 2 and "sampler" in err
    save_file({"transformer.nowhere.lora_A.weight": torch.ones(1, 1)}, tmp_path / "foreign.safetensors")
    code, _, err = run(["generate", "a cat", "--lora", "foreign.safetensors", *model], capsys)
    assert code == 3 and "nowhere: the transformer has no such linear layer" in err
    assert run(["generate", "a cat", *model], capsys)[0] == 3


@pytest.mark.parametrize("signal_at_step", [1, 2])
def test_interruption_leaves_nothing(model, tmp_path, capsys, monkeypatch, signal_at_step: int) -> None:
    def interrupt(self, num_done: int, num_all: int) -> None:
        if num_done == signal_at_step:
            raise KeyboardInterrupt

    monkeypatch.setattr("cogvideox.cli.generate.StepProgress.__call__", interrupt)
    code, _, err = run(["generate", "a cat", "--out", "clips/cat.mp4", "--seed", "1", *model], capsys)
    assert code == 130 and err.endswith("tokens\nerror: interrupted\n")
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.json"))


def test_interruption_while_writing_leaves_latents_that_give_the_video(model, tmp_path, capsys, monkeypatch) -> None:
    decode = VideoGenerator.decode_frames

    def interrupted(self, latents):
        yield next(decode(self, latents))
        raise KeyboardInterrupt

    arguments = ["generate", "a cat", "--seed", "1", *model]
    with monkeypatch.context() as patch:
        patch.setattr(VideoGenerator, "decode_frames", interrupted)
        code, _, err = run([*arguments, "--out", "clips/cat.mp4"], capsys)
    assert code == 130 and err.endswith("error: interrupted\n")
    kept = "clips/cat.latents.safetensors"
    assert f"cogvideox generate --resume {kept}" in err
    assert [path.name for path in (tmp_path / "clips").iterdir()] == [Path(kept).name]

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("only the autoencoder is needed")

    for network in (ExpertTransformer, TextEncoder):
        monkeypatch.setattr(network, "load", no_network)
    assert run(["generate", "--resume", kept], capsys)[0] == 0
    monkeypatch.undo()
    assert run([*arguments, "--out", str(tmp_path / "whole.mp4")], capsys)[0] == 0
    assert (tmp_path / "clips/cat.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert (tmp_path / "clips/cat.json").read_text() == (tmp_path / "whole.json").read_text()
    assert not (tmp_path / "whole.latents.safetensors").exists(), "not needed any more"


@pytest.mark.parametrize("damage", ["missing", "damaged", "another"])
def test_resume_of_no_latents(damage: str, tmp_path, capsys) -> None:
    file = tmp_path / "cat.latents.safetensors"
    if damage == "damaged":
        file.write_bytes(b"no latents")
    elif damage == "another":
        save_file({"a": torch.zeros(1)}, file)
    code, _, err = run(["generate", "--resume", str(file)], capsys)
    assert (code, err.count("\n")) == (2 if damage == "missing" else 3, 1) and "--resume" in err


def test_no_room_for_the_settings_leaves_nothing(model, tmp_path, capsys, monkeypatch) -> None:
    def fail(path, text) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cogvideox.cli.results.write_atomically", fail)
    code, _, err = run(["generate", "a cat", "--out", "clips/cat.mp4", "--seed", "1", *model], capsys)
    assert code == 2 and "No space left" in err
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["cat.latents.safetensors"]


def test_a_full_disk_leaves_nothing(random_checkpoint: Path, tmp_path: Path) -> None:
    """The limit on file sizes fails in the middle of writing, as a full disk does."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900));"
        "from cogvideox.cli import main; main(sys.argv[1:])"
    )
    arguments = ["generate", "a cat", "--out", "clips/cat.mp4", "--seed", "1", "--model", str(random_checkpoint), *FAST]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ") and "too large" in result.stderr.lower()
    assert list((tmp_path / "clips").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "prompt"),
        (["  "], 2, "prompt"),
        (["a cat", "--num-frames", "13"], 2, "9 or 17"),
        (["a cat", "--height", "33"], 2, "height_px"),
        (["a cat", "--num-steps", "0"], 2, "num_steps"),
        (["a cat", "--guidance-mode", "wavy"], 2, "guidance_mode"),
        (["a cat", "--sampler", "euler"], 2, "sampler"),
        (["a cat", "--dtype", "float7"], 2, "dtype"),
        (["a cat", "--device", "abacus"], 2, "device"),
        (["a cat", "--fps", "0"], 2, "fps"),
        (["a cat", "--seed", "-1"], 2, "seed"),
        (["a cat", "--seed", "two"], 2, "two"),
        (["a cat", "--no-such-flag"], 2, "no-such-flag"),
        (["a cat", "--out", "clip.avi"], 2, ".mp4"),
        (["a cat", "--out", "/proc/clip.mp4"], 2, "/proc"),
        (["a cat", "--out", "/dev/null/clip.mp4"], 2, "/dev/null"),
        (["a cat", "--like", "absent.json"], 2, "absent.json"),
        (["a cat", "--prompts-file", "absent.txt"], 2, "not both"),
        (["--prompts-file", "absent.txt"], 2, "absent.txt"),
        (["a cat", "--image", "absent.png"], 2, "image-to-video model"),
        (["a cat", "--video", "absent.mp4"], 2, "absent.mp4"),
        (["a cat", "--video", "absent.mp4", "--image", "absent.png"], 2, "not both"),
        (["a cat", "--strength", "0.5"], 2, "--video"),
        (["a cat", "--lora", "absent.safetensors:0.5"], 2, "absent.safetensors"),
        (["a cat", "--lora", ".:inf"], 2, "finite"),
        (["a cat", "--fit", "stretch"], 2, "crop or pad"),
        (["a cat", "--model", "no-such-model"], 3, "no-such-model"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(model, tmp_path: Path, capsys, arguments, code, message) -> None:
    given = [flag for flag in model if flag not in arguments]
    if "--model" in arguments:
        given = FAST
    for name in ("--num-frames", "--height", "--num-steps", "--dtype"):
        if name in arguments and name in model:
            position = given.index(model[model.index(name) + 1])
            given = [*given[:position], *given[position + 1 :]]
    got, _, err = run(["generate", *arguments, *given], capsys)
    assert got == code, err
    assert message in err and err.count("\n") == 1 and err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_help_is_fast_and_complete() -> None:
    environment = os.environ | {"COLUMNS": "100"}
    command = [sys.executable, "-m", "cogvideox", "generate", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    code = (
        "import sys; from cogvideox.cli.main import app; app(['generate', '--help']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    times_s: list[float] = []
    for _ in range(10):
        started_at_s = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times_s.append(time.perf_counter() - started_at_s)
    assert min(times_s) < 0.5
    flags = "model out seed num-steps guidance-scale guidance-mode num-frames height width fps sampler negative-prompt"
    for flag in [*flags.split(), "prompts-file", "like", "dtype", "device", "force", "json"]:
        assert f"--{flag}" in result.stdout


@pytest.mark.parametrize("name", ["cat.mp4", "cat.webm", "cat.gif", "cat"])
def test_a_video_of_any_kind_is_made_again_from_itself(model, tmp_path, capsys, name: str) -> None:
    assert run(["generate", "a cat", "--out", f"first/{name}", "--seed", "7", *model], capsys)[0] == 0
    code, out, _ = run(["generate", "--like", f"first/{name}", "--out", f"second/{name}", "--json"], capsys)
    assert code == 0 and json.loads(out.splitlines()[-1])["data"]["seed"] == 7
    first, second = tmp_path / "first", tmp_path / "second"
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files and all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_several_videos_of_a_prompt_have_seeds_that_follow(model, tmp_path, capsys) -> None:
    flags = ["--num-videos", "3", "--seed", "5", "--json"]
    code, out, _ = run(["generate", "a cat", "--out", "v", *flags, *model], capsys)
    assert code == 0
    assert [video["seed"] for video in json.loads(out.splitlines()[-1])["data"]["videos"]] == [5, 6, 7]


def test_what_does_not_fit_is_refused_before_weights_are_read(model, capsys, monkeypatch) -> None:
    monkeypatch.setattr(VideoGenerator, "load", lambda *_, **__: pytest.fail("weights were read"))
    code, out, err = run(["generate", "a cat", "--memory-gib", "0.2", *model, "--json"], capsys)
    assert code == 4 and json.loads(out)["error"]["code"] == "out_of_memory"
    assert err.startswith("error: this video needs") and " | " in err, "two alternatives"


def test_placements_are_recorded_and_repeated(model, tmp_path, capsys) -> None:
    flags = ["--quantization", "int8", "--sequential-guidance", "--staged"]
    assert run(["generate", "a cat", "--seed", "1", "--out", "a.mp4", *flags, *model], capsys)[0] == 0
    settings = json.loads((tmp_path / "a.json").read_text())
    assert (settings["quantization"], settings["sequential_guidance"], settings["tiling"]) == ("int8", True, False)
    assert run(["generate", "--like", "a.json", "--out", "b.mp4"], capsys)[0] == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_an_unreadable_language_is_noticed_and_translated(model, tmp_path, capsys, monkeypatch) -> None:
    code, _, err = run(["generate", "눈 속의 여우", "--out", "ko.mp4", *model], capsys)
    assert code == 0 and "unknown to the model (Korean)" in err and "영어" in err
    with serve(says("A fox in the snow.")) as endpoint:
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        flags = ["--enhance-endpoint", endpoint.url, "--enhance-model", "writer"]
        assert run(["generate", "눈 속의 여우", "--out", "en.mp4", *flags, *model], capsys)[0] == 0
    settings = json.loads((tmp_path / "en.json").read_text())
    assert settings["prompt"] == "A fox in the snow." and settings["original_prompt"] == "눈 속의 여우"
    assert "secret" not in (tmp_path / "en.json").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "foo"], "device: expected cpu"),
        (["--window-frames", "10"], "window_frames: expected 8k"),
        (["--last-image", "a.png"], "--last-image: only beside an --image"),
        (["--num-videos", "0"], "--num-videos: expected at least 1"),
        (["--quantization", "int4"], "--quantization: expected int8 or none"),
        (["--memory-gib", "-1"], "--memory-gib: expected more than 0"),
        (["--enhance"], "--enhance: expected a language model"),
        (["--out", "cat.avi"], "expected a name ending in .mp4"),
    ],
)
def test_wrong_flags_are_one_line(flags, message, model, tmp_path, capsys) -> None:
    code, _, err = run(["generate", "a cat", *model, *flags], capsys)
    assert code == 2 and message in err.splitlines()[-1], err
    assert "Traceback" not in err


def test_resume_takes_what_decoding_needs_and_nothing_else(model, tmp_path, capsys) -> None:
    assert run(["generate", "a cat", "--out", "a.mp4", "--save-latents", *model], capsys)[0] == 0
    kept = "a.latents.safetensors"
    code, _, err = run(["generate", "a dog", "--resume", kept, "--num-steps", "3"], capsys)
    assert code == 2 and "--prompt, --num-steps would change nothing" in err
    assert run(["generate", "--resume", kept, "--fps", "4", "--out", "b.mp4"], capsys)[0] == 0
    assert read_video("b.mp4").fps == 4 and Path(kept).exists()
    before = Path("a.json").read_bytes(), Path(kept).read_bytes()
    assert run(["generate", "a dog", "--out", "a.webm", "--save-latents", *model], capsys)[0] == 0
    assert (Path("a.json").read_bytes(), Path(kept).read_bytes()) == before, "files of another run are not replaced"
    assert json.loads(Path("a.webm.json").read_text())["prompt"] == "a dog"
    assert run(["generate", "--resume", "a.webm.latents.safetensors", "--force"], capsys)[0] == 0
    Path("a.mp4").unlink()
    code, _, err = run(["generate", "a cat", "--out", "a.mp4", *model], capsys)
    assert code == 2 and "a.json exists" in err


def test_a_slash_at_the_end_makes_a_folder(model, capsys) -> None:
    arguments = ["generate", "a cat", "--out", "cat.v2/", "--seed", "1", "--save-latents"]
    assert run([*arguments, *model], capsys)[0] == 0
    assert len(list(Path("cat.v2").glob("*.png"))) == 9 and Path("cat.v2.json").is_file()
    shutil.rmtree("cat.v2")
    Path("cat.v2.json").unlink()
    assert run(["generate", "--resume", "cat.v2.latents.safetensors"], capsys)[0] == 0
    assert len(list(Path("cat.v2").glob("*.png"))) == 9
    assert run(["generate", "a cat", "--seed", "1", "2", "--out", "clips.v2/", *model], capsys)[0] == 0
    assert len(list(Path("clips.v2").glob("*.mp4"))) == 2


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([RuntimeError("broken"), None], 7),
        ([MemoryError(), MemoryError()], 4),
        ([RuntimeError("out of memory"), MemoryError()], 4),
        ([RuntimeError("broken"), RuntimeError("broken")], 1),
        ([OSError("full"), MemoryError()], 7),
    ],
)
def test_a_batch_goes_on_after_a_failure(model, capsys, monkeypatch, errors, expected: int) -> None:
    left = list(errors)
    decode = VideoGenerator.decode_frames

    def decode_or_fail(self, latents):
        error = left.pop(0)
        if error is not None:
            raise error
        return decode(self, latents)

    monkeypatch.setattr(VideoGenerator, "decode_frames", decode_or_fail)
    code, out, _ = run(["generate", "a cat", "--seed", "1", "2", "--out", "clips", "--json", *model], capsys)
    assert code == expected and not left
    videos = json.loads(out.splitlines()[-1])["data"]["videos"]
    assert ["error" in video for video in videos] == [error is not None for error in errors]


@pytest.mark.parametrize("mode", [["--dry-run"], []])
def test_what_needs_no_weights_is_checked_before_them(model, tmp_path, capsys, monkeypatch, mode) -> None:
    monkeypatch.setattr(VideoGenerator, "load", lambda *_, **__: pytest.fail("weights were read"))
    monkeypatch.setattr("cogvideox.cli.plan._calibration", lambda *_: None)
    Video(np.zeros((9, 32, 32, 3), np.uint8), 60).save("fast.mp4")
    asked = [*model, *mode]
    for flags, message in (
        (["--out", "a.avi"], "expected a name ending in .mp4"),
        (["--out", "/proc/a.mp4"], "cannot write into /proc"),
        (["--fit", "stretch"], "crop or pad"),
        (["--video", "absent.mp4"], "no such video file: absent.mp4"),
        (["--video", "fast.mp4", "--out", "a.gif"], "a gif can show at most 50"),
        (["--fps", "51", "--out", "a.gif"], "a gif can show at most 50"),
        (["--lora", "absent.safetensors"], "no such file or folder: absent"),
        (["--tiling"], "too small for published tiles"),
        (["--negative-prompt", "\udcff"], "negative_prompt: expected text in UTF-8"),
    ):
        code, _, err = run(["generate", "a cat", *asked, *flags], capsys)
        assert code == 2 and message in err and err.count("\n") == 1, err
    asked[asked.index("--num-frames") + 1] = "17"
    code, _, err = run(["generate", "a cat", "--video", "fast.mp4", *asked], capsys)
    assert code == 2 and "expected at least num_frames (17) frames, got 9" in err


def test_plans_know_the_source_video(random_checkpoint, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cogvideox.cli.plan._calibration", lambda *_: None)
    Video(np.zeros((12, 32, 32, 3), np.uint8), 8).save("short.mp4")
    flags = ["--model", str(random_checkpoint), "--video", "short.mp4", "--num-steps", "10", "--json"]
    for arguments in (["plan"], ["generate", "a cat", "--dry-run"]):
        for strength, num_steps in (([], 8), (["--strength", "0.25"], 2)):
            code, out, err = run([*arguments, *flags, *strength], capsys)
            plan = json.loads(out.splitlines()[-1])["data"]
            assert code == 0 and plan["num_frames"] == 9, err
            assert (plan["num_steps"], plan["num_taken_steps"]) == (10, num_steps) and f"{num_steps} of 10 steps" in out
            assert "encode the picture" in out
    code, _, err = run(["plan", *flags, "--num-frames", "17"], capsys)
    assert code == 2 and "got 12" in err
    code, _, err = run(["plan", "--strength", "0.5"], capsys)
    assert code == 2 and "--video" in err


def test_a_prompt_of_wrong_bytes(model, capsys) -> None:
    code, _, err = run(["generate", "fox \udcff", *model], capsys)
    assert code == 2 and "prompt: expected text in UTF-8" in err
