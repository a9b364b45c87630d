"""VAE recipes: readable, true to the paper where they say so, and refused with field and fix where they do not fit."""

import tomllib
from pathlib import Path

import pytest

from autoencoder_training import MODEL, make_gan, make_recipe, make_stage
from cogvideox.presets import PRESETS
from cogvideox.settings import read_recipe
from cogvideox.training.autoencoder_recipe import (
    AutoencoderDataSettings,
    AutoencoderLossSettings,
    AutoencoderRecipe,
)
from cogvideox.training.autoencoder_step import check_parts, check_processes

FOLDER = Path(__file__).parents[3] / "recipes"
RECIPES = [path for path in sorted(FOLDER.rglob("*autoencoder*.toml"))]


def read(name: str, *overrides: str) -> AutoencoderRecipe:
    return read_recipe(FOLDER / f"{name}.toml", AutoencoderRecipe, overrides)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_is_read(path: Path) -> None:
    assert "stages" in tomllib.loads(path.read_text())
    recipe = read_recipe(path, AutoencoderRecipe)
    assert recipe.num_steps == sum(stage.num_steps for stage in recipe.stages)


def test_the_embedded_model_is_trained_as_before() -> None:
    recipe = read("tiny-autoencoder")
    assert recipe.config_from(PRESETS["tiny"].autoencoder) == PRESETS["tiny"].autoencoder
    assert (recipe.gan, recipe.loss.perceptual, recipe.num_steps) == (None, "none", 3300)
    batches = []
    for stage in recipe.stages:
        assert (stage.height_px, stage.width_px, stage.fps) == (48, 48, (8,))
        batches += [stage.batch_at(place) for place in range(stage.num_steps)]
    sizes = [(batch.num_clips, batch.num_frames) for batch in batches]
    assert sizes[:500] == [(16, 1)] * 500
    assert sizes[500:516] == [
        *[(16, 1), (4, 9), (4, 9), (2, 17), (4, 9)],
        *[(16, 1), (2, 17), (4, 9), (4, 9), (2, 17)],
        *[(16, 1), (4, 9), (2, 17), (4, 9), (4, 9), (16, 1)],
    ]
    rates = [recipe.learning_rate_at(step) for step in (0, 59, 499, 500, 1640, 2475, 3299)]
    assert rates == pytest.approx([2e-3 / 60, 2e-3, 2e-3, 2e-3, 2e-3, 1e-3, 0.0], rel=2e-3, abs=2e-6)


def test_phases_are_those_of_the_paper() -> None:
    recipe = read("autoencoder")
    config = recipe.config_from(PRESETS[recipe.preset].autoencoder)
    assert config == PRESETS["5b"].autoencoder and config.is_published_function
    short, long = recipe.stages
    assert (short.num_frames, short.height_px, short.width_px, short.fps) == (17, 256, 256, (8, 16))
    assert long.num_frames == 161 and long.num_context_parallel_ranks == 8
    assert (recipe.loss.l1_weight, recipe.loss.squared_error_weight, recipe.loss.perceptual) == (1.0, 0.0, "lpips")
    assert recipe.gan is not None and 1000 < recipe.gan.start_step < 10_000
    check_processes(recipe, 8)
    assert check_parts(recipe, 4) == 4
    with pytest.raises(ValueError, match=r"stages\[1\].num_context_parallel_ranks: expected a divisor of the 4 proc"):
        check_processes(recipe, 4)


def test_a_model_differs_from_its_preset() -> None:
    model = {"latent_channels": 8, "temporal_compression_ratio": 1, "upsampling_order": "paper"}
    config = make_recipe(model=model).config_from(PRESETS["tiny"].autoencoder)
    assert (config.latent_channels, config.temporal_compression_ratio, config.upsampling_order) == (8, 1, "paper")
    assert config.block_out_channels == PRESETS["tiny"].autoencoder.block_out_channels
    shallow = make_recipe(model={"block_out_channels": [4, 8, 8]}).config_from(PRESETS["tiny"].autoencoder)
    assert shallow.spatial_compression_ratio == 4


@pytest.mark.parametrize("num_frames", [1, 8, 9, 16, 17, 25, 161])
def test_lengths_that_the_model_returns_are_taken(num_frames: int) -> None:
    make_recipe(stages=(make_stage(num_frames=num_frames),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 13}, r"stages\[0\]: num_frames: expected 8k or 8k \+ 1, got 13; try 9 or 17"),
        ({"num_frames": 10}, r"num_frames: .* got 10"),
        ({"long_batch_every": 5, "long_batch_size": 1, "num_long_frames": 12}, r"num_frames: .* got 12"),
        ({"height_px": 36}, r"stages\[0\]: height_px: expected a multiple of 8, got 36; the nearest is 32"),
        ({"width_px": 104}, r"width_px: expected at most data.render_width_px \(96\)"),
        ({"batch_size": 0}, "batch_size: expected a positive number"),
        ({"fps": ()}, "fps: expected rates of at least 1"),
        ({"fps": (8, 0)}, "fps: expected rates of at least 1"),
        ({"short_side_px": 24}, "short_side_px: expected 0 or at least 32"),
        ({"image_batch_size": 0}, "image_batch_size: expected a positive number with image_batch_every and 0 without"),
        ({"image_batch_every": 0}, "image_batch_size: expected a positive number"),
        ({"long_batch_every": 2}, "long_batch_size: expected a positive number"),
        (
            {"image_batch_every": 3, "long_batch_every": 6, "long_batch_size": 1, "num_long_frames": 17},
            r"long_batch_every: expected no multiple of image_batch_every \(3\), which goes first, got 6",
        ),
        ({"image_batch_every": -1}, "image_batch_every: expected 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive number"),
        ({"decay_share": 2.0}, "decay_share: expected 0 to 1"),
    ],
)
def test_stages_that_do_not_fit_are_refused(changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_recipe(stages=(make_stage(**changes),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_recipe(stages=()), "stages: expected at least one"),
        (lambda: make_recipe(gan=make_gan(start_step=6)), "gan.start_step: expected less than 6"),
        (lambda: make_recipe(model={"latent_channel": 4}), "model: .*did you mean 'latent_channels'"),
        (lambda: make_recipe(model=MODEL | {"norm_num_groups": 3}), "model: block_out_channels: expected multiples"),
        (lambda: AutoencoderLossSettings(kl_weight=-1.0), "kl_weight: expected 0 or more"),
        (lambda: AutoencoderLossSettings(l1_weight=0.0), "expected one of them to be positive"),
        (lambda: AutoencoderLossSettings(perceptual="lpips", lpips_backbone="vgg16.pth"), "lpips_heads: expected"),
        (
            lambda: make_recipe(stages=(make_stage(image_batch_every=4),), gan=make_gan(penalty_every=6)),
            r"gan.penalty_every: expected no common divisor with stages\[0\].image_batch_every \(4\)",
        ),
        (lambda: make_gan(penalty_every=0), "penalty_every: expected a positive number"),
        (lambda: make_gan(weight=-1.0), "weight: expected 0 or more"),
        (lambda: AutoencoderDataSettings(folder_share=1.5), "folder_share: expected 0 to 1"),
        (lambda: AutoencoderDataSettings(num_held_out=0), "num_held_out: expected a positive number"),
    ],
)
def test_bad_values_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_batches_that_cannot_be_dealt_out_are_refused() -> None:
    recipe = make_recipe(stages=(make_stage(batch_size=3, image_batch_size=4),))
    with pytest.raises(ValueError, match=r"stages\[0\].batch_size: expected a multiple of the 2 processes, got 3"):
        check_processes(recipe, 2)
    shared = make_recipe(stages=(make_stage(batch_size=3, image_batch_size=4, num_context_parallel_ranks=2),))
    check_processes(shared, 2)
    with pytest.raises(ValueError, match=r"image_batch_size: expected a multiple of the 6 processes, got 4"):
        check_processes(shared, 6)
    short = make_recipe(stages=(make_stage(num_context_parallel_ranks=4),))
    with pytest.raises(ValueError, match=r"stages\[0\].num_context_parallel_ranks: num_frames: expected at least 13"):
        check_parts(short, 4)
