"""The blocks of docs/python.md run as they stand; only the published models are replaced by small random ones."""

import re
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import randn

from cogvideox import VideoGenerator
from random_checkpoint import write_random_checkpoint

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_examples(tmp_path: Path, monkeypatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 7
    sizes = {"autoencoder_changes": {"sample_height": 96, "sample_width": 160}}
    native = {"sample_height": 14, "sample_width": 22, "sample_frames": 49}  # larger than a tile
    models = {
        "5b": write_random_checkpoint(tmp_path / "5b", transformer_changes=native, **sizes),
        "5b-i2v": write_random_checkpoint(
            tmp_path / "i2v",
            transformer_changes={"in_channels": 32, "sample_frames": 9},
            pipeline="CogVideoXImageToVideoPipeline",
        ),
    }
    load = VideoGenerator.load
    monkeypatch.setattr(VideoGenerator, "load", lambda model, **options: load(models[model], **options))
    monkeypatch.chdir(tmp_path)
    name = "transformer.transformer_blocks.0.attn1.to_q"
    save_file({f"{name}.lora_A.weight": randn(4, 256), f"{name}.lora_B.weight": randn(256, 4)}, "ink.safetensors")
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"panda.mp4", "lighthouse.webm", "candle.mp4"} <= written
