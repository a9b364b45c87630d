from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from cogvideox.configs import AutoencoderConfig, NoiseScheduleConfig, TransformerConfig
from cogvideox.presets import PRESETS
from cogvideox.settings import read_recipe


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 1.0
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str
    mode: Literal["fast", "slow"] = "slow"
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_recipe_then_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "a"\nmode = "fast"\n[inner]\nrate = 2\nsizes = [3]\n')
    recipe = read_recipe(path, Recipe, ["inner.rate=0.5", "limit=7", "name=b"])
    assert recipe == Recipe(name="b", mode="fast", limit=7, inner=Inner(rate=0.5, sizes=(3,)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing name"),
        ('name = "a"\nmoed = "fast"', "did you mean 'mode'"),
        ('name = "a"\nmode = "quick"', "expected one of 'fast', 'slow'"),
        ("name = 3", "expected str, got 3"),
        ('name = "a"\nlimit = true', "expected int"),
        ('name = "a"\ninner = 3', "expected a section"),
        ("name = ", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe(write(tmp_path, text), Recipe)


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_recipe(tmp_path / "absent.toml", Recipe)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_their_json_form(name) -> None:
    preset = PRESETS[name]
    assert TransformerConfig.from_json(preset.transformer.to_json()) == preset.transformer
    assert AutoencoderConfig.from_json(preset.autoencoder.to_json()) == preset.autoencoder
    assert NoiseScheduleConfig.from_json(preset.noise_schedule.to_json()) == preset.noise_schedule


def test_config_files_name_unknown_fields_and_skip_bookkeeping() -> None:
    assert TransformerConfig.from_json({"_class_name": "x", "num_layers": 3}).num_layers == 3
    with pytest.raises(ValueError, match="did you mean 'num_layers'"):
        TransformerConfig.from_json({"num_layer": 3})
    with pytest.raises(ValueError, match="attention_head_dim"):
        TransformerConfig(attention_head_dim=24, use_rotary_positional_embeddings=True)
