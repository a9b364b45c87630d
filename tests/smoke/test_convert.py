"""`cogvideox convert` from the shell: SAT to a complete model that generates, back again, and errors in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sat_checkpoint as sat
from random_checkpoint import write_random_checkpoint

pytestmark = pytest.mark.slow


def cogvideox(*arguments: str | Path) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "cogvideox", *map(str, arguments)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    return result.returncode, result.stdout, result.stderr


def test_there_and_back_and_generate(tmp_path: Path) -> None:
    changes = {"block_out_channels": (32, 32, 64, 64), "norm_num_groups": 32}
    model = write_random_checkpoint(tmp_path / "source", autoencoder_changes=changes)
    code, out, err = cogvideox("convert", model, tmp_path / "sat", "--to", "sat")
    assert code == 0, err
    assert [line.split(":")[0] for line in out.splitlines()] == ["transformer", "vae"]
    code, out, err = cogvideox("convert", tmp_path / "sat", tmp_path / "ours", "--base", model, "--json")
    assert code == 0, err
    data = json.loads(out.splitlines()[-1])["data"]
    assert [(part["part"], part["variant"]) for part in data["parts"]] == [("transformer", "5b"), ("vae", None)]
    for part in ("transformer", "vae"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        sat.same_bits(load_file(tmp_path / "ours" / name), load_file(model / name))
    size = ("--num-steps", "1", "--num-frames", "1", "--height", "32", "--width", "32")
    code, _, err = cogvideox("generate", "a cat", "--model", tmp_path / "ours", *size, "--out", tmp_path / "a.mp4")
    assert code == 0, err


def test_lora_by_its_alpha(tmp_path: Path) -> None:
    source = sat.write_transformer(tmp_path / "sat", sat.random_state(sat.lora_shapes(2, 64, 4)))
    code, out, err = cogvideox("convert", source, tmp_path / "ours", "--lora-alpha", "2")
    assert code == 0 and ", r: 4, lora_alpha: 2 -> " in out, err
    assert (tmp_path / "ours" / "pytorch_lora_weights.safetensors").is_file()


def test_the_embedded_model_to_sat(tmp_path: Path) -> None:
    code, _, err = cogvideox("convert", "tiny", tmp_path / "sat", "--part", "transformer")
    assert code == 0, err
    names = sat.read_transformer(tmp_path / "sat")
    assert f"{sat.ENGINE}transformer.layers.9.attention.query_key_value.weight" in names


class Command:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_errors_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    torch.save({"module": Command()}, tmp_path / "code.pt")
    weights = sat.random_state(sat.transformer_shapes("1.5-5b"))
    del weights[f"{sat.ENGINE}time_embed.2.bias"]
    source = sat.write_transformer(tmp_path / "sat", weights)
    vae = sat.write_autoencoder(tmp_path / "3d-vae.pt", sat.random_state(sat.autoencoder_shapes(), prefix=""))
    before = {path.name for path in tmp_path.iterdir()}
    cases = [
        ((tmp_path / "code.pt",), 3, "run code (posix.system)"),
        ((source,), 3, "first model.diffusion_model.time_embed.2.bias"),
        ((vae,), 2, "--variant"),
        ((source, "--variant", "7b"), 2, "--variant"),
        ((source, "--part", "vae"), 2, "--part transformer"),
        ((tmp_path / "absent.pt",), 3, "no such file"),
    ]
    for (path, *options), expected, message in cases:
        code, _, err = cogvideox("convert", path, tmp_path / "ours", *options)
        assert code == expected and message in err, err
        assert err.count("\n") == 1 and err.startswith("error: "), err
    assert {path.name for path in tmp_path.iterdir()} == before
    assert not Path("ran").exists()
