"""The transformer recipes: readable, true to the paper where they say so, fit for clips of all sizes and lengths."""

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.clips import ClipTable
from cogvideox.presets import PRESETS, PresetName
from cogvideox.settings import read_recipe
from cogvideox.training.curriculum import Stage, num_tokens, stage_configs
from cogvideox.training.step_plan import StepPlan
from cogvideox.training.transformer_recipe import TransformerRecipe

FOLDER = Path(__file__).parents[3] / "recipes"
RECIPES = [
    path
    for path in sorted(FOLDER.rglob("*.toml"))
    if "stages" in tomllib.loads(path.read_text()) and "autoencoder" not in path.stem
]
PAPER = ["paper-2b/text-to-video", "paper-2b/image-to-video", "paper-5b/text-to-video", "paper-5b/image-to-video"]
SMALL_PACKS = (  # the override in the head of the text-to-video recipes
    "num_balanced_ranks=8",
    "stages.2.pack_tokens=120000",
    "stages.2.num_packs_per_step=72",
    "stages.3.pack_tokens=120000",
    "stages.3.num_packs_per_step=24",
)
VERSION_1_5 = (  # the override in the head of lora.toml
    "stages.0.fps=16",
    "stages.0.height_px=768",
    "stages.0.width_px=1360",
    "stages.0.max_duration_s=5",
    "stages.0.pack_tokens=65000",
)
BATCHES = {"256 px": 2000, "480 px": 1000, "768 px": 250, "high quality": 100}


def read(name: str, overrides: tuple[str, ...] = ()) -> TransformerRecipe:
    return read_recipe(FOLDER / f"{name}.toml", TransformerRecipe, overrides)


@pytest.fixture(scope="module")
def table() -> ClipTable:
    """Clips as the paper has them (6 s on average), of common sizes, shapes and rates, and pictures."""
    rng, count = np.random.default_rng(0), 6000
    short_px = rng.choice([480, 540, 720, 720, 720, 1080, 1080, 2160], count)
    aspect = rng.choice([16 / 9, 16 / 9, 16 / 9, 9 / 16, 4 / 3, 1, 1.9, 21 / 9, 2.39], count)
    fps = rng.choice([23.976, 24, 25, 29.97, 30, 50, 60], count)
    duration_s = np.clip(rng.lognormal(np.log(6) - 0.18, 0.6, count), 1, 60)
    is_picture = rng.random(count) < 0.3
    names = tuple(f"clip{index}" for index in range(count))
    return ClipTable(
        clip_ids=names,
        versions=names,
        num_frames=np.where(is_picture, 1, duration_s * fps).astype(np.int64),
        height_px=(np.where(aspect < 1, short_px / aspect, short_px) // 2 * 2).astype(np.int64),
        width_px=(np.where(aspect < 1, short_px, short_px * aspect) // 2 * 2).astype(np.int64),
        fps=np.where(is_picture, 0.0, fps),
        captions=(("a clip",),) * count,
        scores={"aesthetic": rng.normal(5.0, 0.6, count)},
    )


def plan_of(recipe: TransformerRecipe, preset_name: PresetName, table: ClipTable) -> StepPlan:
    preset = PRESETS[preset_name]
    configs = stage_configs(preset.transformer, recipe.stages, preset.autoencoder.spatial_compression_ratio)
    return StepPlan(
        table,
        recipe.stages,
        configs,
        preset.autoencoder,
        seed=recipe.run.seed,
        num_balanced_ranks=recipe.num_balanced_ranks,
        num_held_out=recipe.validation.num_clips,
    )


def pack_sizes(plan: StepPlan, stage: Stage, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and samples of the packs of an epoch, without the last one, which is what was left, and without steps:
    a few thousand clips are not a whole number of them."""
    config = plan.configs[index]
    single = dataclasses.replace(stage, num_packs_per_step=1)
    alone = StepPlan(plan.table, [single], [config], plan.autoencoder, seed=plan.seed)
    tokens, samples = [], []
    step = 0
    while not step or alone.state_dict()["epoch"] == 0:
        pack = alone.step(step).packs[0]
        shapes = [
            (1 if sample.is_first_frame else sample.shape.num_frames, sample.shape.height_px, sample.shape.width_px)
            for sample in pack
        ]
        lengths = num_tokens(*np.array(shapes).T, config, plan.autoencoder)
        tokens.append(lengths.sum())
        samples.append(len(pack))
        step += 1
    tokens, samples = np.array(tokens[:-1]), np.array(samples[:-1])  # the last one is of the next epoch
    is_kept = np.arange(len(tokens)) != tokens.argmin()
    return tokens[is_kept], samples[is_kept]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_every_recipe_is_read(path: Path) -> None:
    recipe = read_recipe(path, TransformerRecipe)
    assert recipe.num_steps == sum(stage.num_steps for stage in recipe.stages)


@pytest.mark.parametrize("size", ["2b", "5b"])
def test_stages_are_those_of_the_paper(size: str) -> None:
    recipe = read(f"paper-{size}/text-to-video")
    assert (recipe.start, recipe.preset, recipe.method) == (None, size, "full")
    table_5 = [
        (256, 384, 6, 25_000, 400_000),
        (480, 720, 6, 75_000, 220_000),
        (768, 1360, 10, 700_000, 120_000),
        (768, 1360, 10, 700_000, 10_000),
    ]
    for stage, row in zip(recipe.stages, table_5, strict=True):
        assert row == (stage.height_px, stage.width_px, stage.max_duration_s, stage.pack_tokens, stage.num_steps)
        assert stage.schedule == "cosine" and stage.learning_rate_at(stage.num_steps - 1) < 1e-9
        (score_filter,) = stage.filters
        assert (score_filter.score, score_filter.minimum) == ("aesthetic", 4.5)
    assert [stage.filters[0].keep_best for stage in recipe.stages] == [1.0, 1.0, 1.0, 0.2]


@pytest.mark.parametrize("name", PAPER)
def test_settings_are_those_of_the_paper(name: str) -> None:
    recipe = read(name)
    optimizer = recipe.optimizer
    assert optimizer.name == "adamw" and (optimizer.beta1, optimizer.beta2) == (0.9, 0.95)
    assert (optimizer.eps, optimizer.weight_decay, recipe.run.max_gradient_norm) == (1e-8, 1e-4, 1.0)
    assert recipe.uses_bfloat16 and recipe.is_uniform_sampling and recipe.caption_dropout == 0.1
    image = recipe.image_to_video
    assert (image is not None) == name.endswith("image-to-video")
    if image is not None:
        assert (image.noise_log_mean, image.noise_log_std, image.dropout) == (-3.0, 0.5, 0.05)
        assert recipe.start == f"runs/{name.split('/')[0]}/checkpoint"


def test_positions_are_those_of_the_published_models() -> None:
    for size in ("2b", "5b"):
        stages = read(f"paper-{size}/text-to-video").stages
        configs = stage_configs(PRESETS[size].transformer, stages, 8)
        assert configs[1] == PRESETS[size].transformer
        assert (configs[3].sample_height * 8, configs[3].sample_width * 8, configs[3].sample_frames) == (768, 1360, 81)
        if size == "2b":
            assert [config.spatial_interpolation_scale for config in configs] == [1.0, 1.875, 3.0, 3.0]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [*((name, ()) for name in PAPER), *((name, SMALL_PACKS) for name in PAPER if "text" in name)],
)
def test_packs_are_full_and_a_step_holds_the_batch(name: str, overrides: tuple[str, ...], table: ClipTable) -> None:
    recipe = read(name, overrides)
    plan = plan_of(recipe, "2b" if "2b" in name else "5b", table)
    first_step = 0
    for index, stage in enumerate(recipe.stages):
        world_size = recipe.num_balanced_ranks
        steps = [plan.step(first_step, rank=rank, world_size=world_size) for rank in range(world_size)]
        assert {step.stage for step in steps} == {index}
        assert sum(len(pack) for step in steps for pack in step.packs) == steps[0].num_samples
        first_step += stage.num_steps
        tokens, samples = pack_sizes(plan, stage, index)
        assert tokens.max() <= stage.pack_tokens
        assert 1 - tokens.mean() / stage.pack_tokens < 0.02, stage.name
        if stage.name in BATCHES:
            assert samples.mean() * stage.num_packs_per_step == pytest.approx(BATCHES[stage.name], rel=0.1)


@pytest.mark.parametrize("name", ["lora", "finetune"])
def test_wide_clips_fit_when_fine_tuning(name: str, table: ClipTable) -> None:
    assert longest_sample(plan_of(read(name), "5b", table)) == 27_916
    newer = read(name, VERSION_1_5)
    assert longest_sample(plan_of(newer, "1.5-5b", table)) == 60_418


def longest_sample(plan: StepPlan) -> int:
    clips = plan.clips[0]
    sizes = (clips.num_frames, clips.height_px, clips.width_px)
    return int(num_tokens(*sizes, plan.configs[0], plan.autoencoder).max())
