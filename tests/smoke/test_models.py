"""`cogvideox models` against a hub on loopback: broken downloads, damaged files, missing shards."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cogvideox.checkpoints.directory import read_configs
from loopback_hub import LoopbackHub, serve

pytestmark = pytest.mark.slow

REPOSITORY = "zai-org/CogVideoX-2b"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(random_checkpoint: Path, tmp_path: Path) -> Iterator[LoopbackHub]:
    folder = tmp_path / "repository"
    shutil.copytree(random_checkpoint, folder)
    (folder / "LICENSE").write_text("terms")
    (folder / "README.md").write_text("not needed")
    (folder / "transformer" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another precision")
    with serve(REPOSITORY, folder) as served:
        yield served


class Cogvideox:
    """The command line with a home of its own."""

    def __init__(self, hub: LoopbackHub, home: Path) -> None:
        self.home = home
        self.environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "cogvideox", *arguments]
        environment = self.environment | environment
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
        return result.returncode, result.stdout, result.stderr


@pytest.fixture
def cogvideox(hub: LoopbackHub, tmp_path: Path) -> Cogvideox:
    return Cogvideox(hub, tmp_path / "home")


def test_pull_generate_export_remove(cogvideox: Cogvideox, tmp_path: Path) -> None:
    code, out, err = cogvideox("models", "pull", "2b", "--json")
    assert code == 0, err
    assert err.startswith(f"{REPOSITORY}: 0.01 GB in ") and "licence: CogVideoX LICENSE" in err.splitlines()[0]
    pulled = json.loads(out.splitlines()[-1])["data"]
    assert "LICENSE" in pulled["files"] and "README.md" not in pulled["files"]
    assert not any("fp16" in name for name in pulled["files"])
    assert cogvideox("models", "verify", "2b")[0] == 0
    code, out, _ = cogvideox("models", "list", "--json")
    listed = {model["name"]: model["folder"] for model in json.loads(out.splitlines()[-1])["data"]["models"]}
    assert listed["2b"] == pulled["folder"] and listed["5b"] == "not on this machine" and "tiny" in listed
    size = [
        "--num-steps",
        "1",
        "--num-frames",
        "1",
        "--height",
        "32",
        "--width",
        "32",
        "--out",
        str(tmp_path / "a.mp4"),
    ]
    code, _, err = cogvideox("generate", "a cat", "--model", "2b", *size, HF_HUB_OFFLINE="1")
    assert code == 0, err
    code, _, err = cogvideox("models", "export", REPOSITORY, str(tmp_path / "plain"))
    assert code == 0 and not any(path.is_symlink() for path in (tmp_path / "plain").rglob("*")), err
    assert read_configs(tmp_path / "plain").default_sampler == "ddim"
    assert cogvideox("models", "export", "2b", str(tmp_path / "plain"))[0] == 2, "never into a folder with contents"
    assert "GB freed" in cogvideox("models", "remove", "2b")[1]
    code, _, err = cogvideox("generate", "a cat", "--model", "2b", *size, "--force")
    assert code == 3 and err == "error: model: '2b' is not on this machine; cogvideox models pull 2b\n"


def test_an_interrupted_download_goes_on_where_it_stopped(cogvideox: Cogvideox, hub: LoopbackHub) -> None:
    size = (hub.folder / WEIGHTS).stat().st_size
    hub.cut_after_bytes[WEIGHTS] = size // 2
    code, _, err = cogvideox("models", "pull", "2b")
    assert code == 5 and err.splitlines()[-1].startswith(f"error: {REPOSITORY}: "), err
    assert "try again" in err.splitlines()[-1]
    code, _, err = cogvideox("generate", "a cat", "--model", "2b")
    assert code == 3 and "error: " in err, "half a model is not used"
    hub.cut_after_bytes.clear()
    sent_before = hub.sent_bytes[WEIGHTS]
    code, _, err = cogvideox("models", "pull", "2b")
    assert code == 0, err
    assert hub.sent_bytes[WEIGHTS] - sent_before <= size // 2 + 1, "what was there is not fetched again"
    assert cogvideox("models", "verify", "2b")[0] == 0
    sent_before = hub.sent_bytes[WEIGHTS]
    assert cogvideox("models", "pull", "2b")[0] == 0
    assert hub.sent_bytes[WEIGHTS] == sent_before, "a whole model is not fetched again"


def test_a_corrupted_download_is_caught_and_not_kept(cogvideox: Cogvideox, hub: LoopbackHub) -> None:
    hub.corrupted.add(WEIGHTS)
    code, _, err = cogvideox("models", "pull", "2b")
    assert code == 3 and f"{WEIGHTS} has another hash" in err.splitlines()[-1]
    code, _, err = cogvideox("generate", "a cat", "--model", "2b")
    assert code == 3, err
    hub.corrupted.clear()
    assert cogvideox("models", "pull", "2b")[0] == 0
    assert cogvideox("models", "verify", "2b")[0] == 0


def test_damage_on_disk_is_found_without_the_network(cogvideox: Cogvideox) -> None:
    code, out, _ = cogvideox("models", "pull", "2b")
    weights = Path(out.strip().splitlines()[-1]) / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    weights.parent.joinpath("config.json").resolve().write_text("{}")
    code, out, err = cogvideox("models", "verify", "2b", "--json", HF_HUB_OFFLINE="1")
    assert code == 3 and json.loads(out.splitlines()[-1])["data"]["damaged"] == ["transformer/config.json", WEIGHTS]
    assert "models pull 2b" in err
    assert cogvideox("models", "pull", "2b")[0] == 0
    assert cogvideox("models", "verify", "2b", HF_HUB_OFFLINE="1")[0] == 0


def test_a_missing_shard_is_noticed_before_any_weight(cogvideox: Cogvideox, hub: LoopbackHub) -> None:
    index = {"metadata": {}, "weight_map": {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
    path = hub.folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps(index))
    (hub.folder / WEIGHTS).unlink()
    code, _, err = cogvideox("models", "pull", "2b")
    assert code == 3 and "diffusion_pytorch_model-00001-of-00002.safetensors is missing on the hub" in err
    assert not any(name.endswith(".safetensors") for name in hub.sent_bytes)


def test_no_space_is_said_before_the_download(cogvideox: Cogvideox, hub: LoopbackHub) -> None:
    with (hub.folder / "vae" / "diffusion_pytorch_model.safetensors").open("ab") as file:
        file.truncate(2**43)  # a hole
    code, _, err = cogvideox("models", "pull", "2b")
    assert code == 2 and "GB free" in err.splitlines()[-1] and not hub.sent_bytes.keys() - {""}


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["export", "runs/mine", "folder"], {}, 3, "is no directory here"),
        (["pull", "7b"], {}, 3, "expected one of 2b"),
        (["pull", "nobody/nothing"], {}, 3, "no such model on the hub"),
        (["info", "2b"], {"HF_ENDPOINT": "http://127.0.0.1:9"}, 5, "does not answer"),
        (["pull", "2b"], {"HF_HUB_OFFLINE": "1"}, 5, "HF_HUB_OFFLINE forbids"),
        (["verify", "2b"], {}, 3, "models pull 2b"),
        (["remove", "2b"], {}, 3, "no copy of '2b'"),
        (["export", "2b", "folder"], {}, 3, "models pull 2b"),
    ],
)
def test_what_cannot_be_had_is_one_line(cogvideox: Cogvideox, arguments, environment, code, message) -> None:
    got, _, err = cogvideox("models", *arguments, **environment)
    assert got == code and message in err and err.count("\n") == 1 and err.startswith("error: "), err


def test_kill_in_the_middle_of_a_download(cogvideox: Cogvideox, hub: LoopbackHub) -> None:
    hub.pause_after_bytes[WEIGHTS] = 2_000_000
    command = [sys.executable, "-m", "cogvideox", "models", "pull", "2b"]
    process = subprocess.Popen(command, env=cogvideox.environment, stderr=subprocess.DEVNULL)
    assert hub.paused.wait(60)
    time.sleep(0.5)
    process.kill()
    process.wait()
    hub.pause_after_bytes.clear()
    sent_before = hub.sent_bytes[WEIGHTS]
    code, _, err = cogvideox("models", "pull", "2b")
    assert code == 0, err
    size = (hub.folder / WEIGHTS).stat().st_size
    assert hub.sent_bytes[WEIGHTS] - sent_before < size - 1_500_000
    assert cogvideox("models", "verify", "2b")[0] == 0


def test_info(cogvideox: Cogvideox) -> None:
    code, out, _ = cogvideox("models", "info", REPOSITORY)
    assert code == 0 and "licence: CogVideoX LICENSE" in out and WEIGHTS in out
