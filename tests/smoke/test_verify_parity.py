"""`cogvideox verify-parity` on random checkpoints: it agrees, and it tells when something differs."""

import json
from pathlib import Path

import pytest

from cogvideox.cli import main
from cogvideox.diffusion import samplers
from random_checkpoint import write_random_checkpoint

pytestmark = pytest.mark.slow

MODELS = {
    "text": {},
    "image": {"transformer_changes": {"in_channels": 32}, "pipeline": "CogVideoXImageToVideoPipeline"},
    "1.5": {"transformer_changes": {"patch_size_t": 2, "patch_bias": False}, "scheduler": "CogVideoXDPMScheduler"},
}


def verify(directory: Path, capsys, dtype: str = "float32") -> tuple[int, dict]:
    with pytest.raises(SystemExit) as caught:
        main(["verify-parity", str(directory), "--dtype", dtype, "--num-steps", "2", "--json"])
    return int(caught.value.code or 0), json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("name", MODELS)
def test_both_agree(name: str, tmp_path: Path, capsys) -> None:
    directory = write_random_checkpoint(tmp_path, **MODELS[name])
    code, result = verify(directory, capsys)
    assert code == 0 and result["ok"]
    assert [row["stage"] for row in result["data"]["comparisons"]] == ["text embeddings", "latents", "frames"]


def test_a_difference_is_told(random_checkpoint: Path, capsys, monkeypatch) -> None:
    def wrong(latents, clean, plan, step_index, previous_clean, rng):
        stepped, previous = samplers.ddim_step(latents, clean, plan, step_index, previous_clean, rng)
        return 1.1 * stepped, previous

    monkeypatch.setitem(samplers.SAMPLERS, "ddim", wrong)
    code, result = verify(random_checkpoint, capsys)
    assert code == 1 and not result["ok"]
    agrees = {row["stage"]: row["agrees"] for row in result["data"]["comparisons"]}
    assert agrees == {"text embeddings": True, "latents": False, "frames": False}


def test_half_precision(random_checkpoint: Path, capsys) -> None:
    code, result = verify(random_checkpoint, capsys, "bfloat16")
    assert code == 0, result
