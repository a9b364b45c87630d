"""The transformer's training step: packs against single samples, processes against one, LoRA and image-to-video."""

import dataclasses
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, multiprocessing

from cogvideox import VideoGenerator
from cogvideox.chat.caption_style import CaptionStyle, read_style, write_style
from cogvideox.data.caption_mixture import CaptionMixture
from cogvideox.data.clip_folder import open_clips
from cogvideox.data.clip_index import replace_captions, write_shards
from cogvideox.diffusion.loss import velocity_losses
from cogvideox.media.video import write_video
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.training.curriculum import Stage
from cogvideox.training.training_data import TrainingData
from cogvideox.training.transformer_parts import widen_for_images
from cogvideox.training.transformer_recipe import (
    DataSettings,
    ImageToVideoSettings,
    LoraSettings,
    OptimizerSettings,
    SampleSettings,
    ValidationSettings,
)
from cogvideox.training.transformer_step import TransformerStep, make_segments
from training_runs import DATA, STAGE, TRANSFORMER, make_recipe, make_step, run_rank, run_steps, write_start

pytestmark = pytest.mark.slow

PICTURES = DataSettings(stage_world=dataclasses.replace(DATA, lengths=(1,)))


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads gain nothing at these sizes, and wait long for each other beside other work."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def start(tmp_path_factory, random_checkpoint: Path) -> Path:
    return write_start(tmp_path_factory.mktemp("start"), random_checkpoint)


def gradients(step: TransformerStep) -> dict[str, Tensor]:
    return {name: value.grad.clone() for name, value in step.model.named_parameters() if value.grad is not None}


def closeness(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((value - second[name]).abs().max()) for name, value in first.items())


def frozen(step: TransformerStep) -> TransformerStep:
    """The step, without updates: gradients as they are before clipping."""
    step.recipe = dataclasses.replace(
        step.recipe, run=dataclasses.replace(step.recipe.run, max_gradient_norm=float("inf"))
    )
    step.optimizers = []
    return step


@pytest.mark.parametrize("has_checkpointing", [False, True])
def test_a_packed_step_equals_separate_ones(start: Path, has_checkpointing: bool) -> None:
    step = frozen(make_step(make_recipe(start, has_gradient_checkpointing=has_checkpointing)))
    batch = step.make_batch(0)
    samples = [loaded for pack in batch.packs for loaded in pack]
    assert len({loaded.latents.shape for loaded in samples}) > 2 and max(map(len, batch.packs)) > 1
    loss = float(step(batch, 0.0)["loss"])
    packed = gradients(step)
    step.model.zero_grad(set_to_none=True)
    total = 0.0
    for loaded in samples:  # each alone, through the batched face of the model
        text = step.texts.get([loaded.caption])
        timestep = batch.train_timesteps[loaded.sample.place][None]
        (segment,), (target,) = make_segments([loaded], timestep, text, step.noise_schedule, torch.device("cpu"))
        velocity = step.model(segment.latents[None], segment.text[None], segment.train_timestep[None])
        one = velocity_losses(velocity, target[None]).sum() / len(samples)
        one.backward()
        total += one.item()
    assert abs(loss - total) <= 1e-5
    assert closeness(packed, gradients(step)) <= 1e-5


def test_a_sample_that_is_not_finite_is_left_out(start: Path, monkeypatch, caplog) -> None:
    step = frozen(make_step(make_recipe(start)))
    batch = step.make_batch(0)
    poisoned = batch.packs[0][0].sample.row
    read = step.data.cache.read

    def poison(clip_id: str, version: str, shape):
        cached = read(clip_id, version, shape)
        if clip_id == step.data.source.table.clip_ids[poisoned]:
            cached.mean.flatten()[3] = float("nan")
        return cached

    monkeypatch.setattr(step.data.cache, "read", poison)
    without = step.make_batch(0)
    assert [len(pack) for pack in without.packs] == [len(batch.packs[0]) - 1, len(batch.packs[1])]
    loss = float(step(without, 0.0)["loss"])
    assert loss == loss and step.guard.num_skipped == 0
    assert all(torch.isfinite(value).all() for value in gradients(step).values())
    expected = dataclasses.replace(batch, packs=[batch.packs[0][1:], batch.packs[1]])
    after_poison = gradients(step)
    step.model.zero_grad(set_to_none=True)
    step(expected, 0.0)
    assert closeness(after_poison, gradients(step)) == 0
    assert caplog.text.count("left out: its latents are not finite") == 1


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_two_processes_equal_one(start: Path, tmp_path: Path, name) -> None:
    recipe = make_recipe(
        start,
        num_balanced_ranks=2,
        stages=(dataclasses.replace(STAGE, num_packs_per_step=4),),
        optimizer=OptimizerSettings(name=name),
        has_gradient_checkpointing=True,
    )
    alone = make_step(recipe)
    run_steps(alone, 3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (2, port, recipe, 3, tmp_path / "state.pt")
    multiprocessing.spawn(run_rank, args=arguments, nprocs=2)  # pyright: ignore[reportPrivateImportUsage]
    together = torch.load(tmp_path / "state.pt", weights_only=True)
    state = alone.state_dict()
    assert closeness(state["model"], together["model"]) <= 1e-5
    assert (
        closeness(
            {key: value for key, value in state["average"].items() if isinstance(value, Tensor)},
            {key: value for key, value in together["average"].items() if isinstance(value, Tensor)},
        )
        <= 1e-5
    )
    # And a run of two goes on as one.
    resumed = make_step(recipe)
    resumed.load_state_dict(together)
    run_steps(alone, 1, first=3)
    run_steps(resumed, 1, first=3)
    assert closeness(alone.state_dict()["model"], resumed.state_dict()["model"]) <= 1e-5


def test_a_restored_step_goes_on_bit_by_bit(start: Path) -> None:
    stages = (STAGE, dataclasses.replace(STAGE, num_steps=3, image_share=0.5))
    recipe = make_recipe(start, stages=stages)
    whole = make_step(recipe)
    run_steps(whole, 7)
    first = make_step(recipe)
    run_steps(first, 5)
    second = make_step(recipe)
    second.load_state_dict(first.state_dict())
    run_steps(second, 2, first=5)
    assert_same(whole.state_dict(), second.state_dict())
    at_border = make_step(recipe)
    run_steps(at_border, 4)
    resumed = make_step(recipe)
    resumed.load_state_dict(at_border.state_dict())
    run_steps(resumed, 3, first=4)
    assert_same(whole.state_dict(), resumed.state_dict())
    # A state of a stage that is gone: the weights go on.
    shorter = make_step(make_recipe(start, stages=stages[:1]))
    shorter.load_state_dict(second.state_dict())


def assert_same(first, second) -> None:
    if isinstance(first, Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        for pair in zip(first, second, strict=True):
            assert_same(*pair)
    else:
        assert first == second


def test_changed_optimizer_settings_count_when_a_run_goes_on(start: Path) -> None:
    first = make_step(make_recipe(start))
    run_steps(first, 1)
    second = make_step(make_recipe(start, optimizer=OptimizerSettings(weight_decay=0.5)))
    second.load_state_dict(first.state_dict())
    assert second.optimizers[0].param_groups[0]["weight_decay"] == 0.5
    muon = make_step(make_recipe(start, optimizer=OptimizerSettings(name="muon", beta2=0.9)))
    assert muon.optimizers[1].param_groups[0]["betas"] == (0.9, 0.9)


def test_held_out_clips_are_known_by_their_names(start: Path) -> None:
    def held_out(num_clips: int) -> set[str]:
        data = DataSettings(stage_world=dataclasses.replace(DATA, num_clips=num_clips))
        step = make_step(make_recipe(start, data=data, validation=ValidationSettings(num_clips=4)))
        return {step.data.source.table.clip_ids[row] for row in step.plan.held_out}

    assert len(held_out(12) & held_out(13)) >= 3


def test_a_training_set_that_cannot_be_encoded_is_refused(start: Path, tmp_path: Path, monkeypatch) -> None:
    def refuse(source, index, shape):
        raise ValueError("no such frames")

    monkeypatch.setattr("cogvideox.data.stage_world.source.StageWorldClips.read", refuse)
    with pytest.raises(ValueError, match=r"stages\[0\]: none of its 12 clips could be encoded"):
        make_step(make_recipe(start, cache_dir=str(tmp_path)))


def test_stages_change_positions_and_the_checkpoint_says_so(start: Path, tmp_path: Path) -> None:
    data = dataclasses.replace(DATA, sizes_px=("64x96",), lengths=(1, 9))
    stages = (
        dataclasses.replace(STAGE, num_steps=1, num_packs_per_step=1),
        Stage(
            num_steps=1,
            learning_rate=1e-3,
            height_px=64,
            width_px=96,
            max_duration_s=1,
            pack_tokens=200,
            positions="extrapolate",
        ),
    )
    recipe = make_recipe(start, stages=stages, samples=SampleSettings(num_prompts=2, num_steps=1))
    recipe = dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, stage_world=data),
        validation=ValidationSettings(num_clips=2, train_timesteps=(100, 900)),
    )
    step = make_step(recipe)
    assert {loaded.latents.shape[2:] for loaded in step.make_batch(0).packs[0]} == {(4, 6)}
    step(step.make_batch(0), 1e-3)
    assert step.model.config.sample_height == 4
    step(step.make_batch(1), 1e-3)
    assert step.model.config.sample_height == 8
    values = step.write_samples(tmp_path / "samples" / "sheet.png")
    assert set(values) == {"validation_loss", "validation_loss_t100", "validation_loss_t900"}
    assert len(list((tmp_path / "samples").glob("*.mp4"))) == 2
    step.save_checkpoint(tmp_path / "model")
    generator = VideoGenerator.load(tmp_path / "model", dtype="float32")
    assert generator.limits.native_size_px == (64, 96)
    assert generator.text_to_video("a cat", num_frames=1, num_steps=1).frames.shape == (1, 64, 96, 3)


def test_lora_trains_the_adapter_alone_and_loads_in_diffusers(start: Path, tmp_path: Path) -> None:
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import CogVideoXPipeline

    recipe = make_recipe(start, method="lora", lora=LoraSettings(rank=4, alpha=2.0))
    step = make_step(recipe)
    before = {name: value.clone() for name, value in step.model.state_dict().items() if ".lora_" not in name}
    run_steps(step, 6, learning_rate=2e-2)
    after = step.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert set(step.state_dict()["model"]) == {name for name in after if ".lora_" in name}
    step.save_checkpoint(tmp_path / "adapter")
    assert [file.name for file in (tmp_path / "adapter").iterdir()] == ["pytorch_lora_weights.safetensors"]

    step.average.swap(step.model)
    latents = torch.randn(1, 16, 2, 4, 6)
    text, timestep = torch.randn(1, 24, 48), torch.tensor([500])
    with torch.no_grad():
        ours = step.model.eval()(latents, text, timestep)
        plain = ExpertTransformer.load(start)(latents, text, timestep)
    assert (ours - plain).abs().max() > 1e-3
    pipeline = CogVideoXPipeline.from_pretrained(start)
    pipeline.load_lora_weights(str(tmp_path / "adapter"))
    peer = pipeline.transformer
    rotary = step_rotary(peer)
    with torch.no_grad():
        theirs = peer(latents.transpose(1, 2), text, timestep, image_rotary_emb=rotary, return_dict=False)[0]
    torch.testing.assert_close(ours, theirs.transpose(1, 2), atol=1e-5, rtol=1e-5)

    generator = VideoGenerator.load(start, dtype="float32")
    generator.load_lora(tmp_path / "adapter")
    with torch.no_grad():
        fused = generator.transformer(latents, text, timestep)
    torch.testing.assert_close(ours, fused, atol=1e-5, rtol=1e-5)


def step_rotary(peer):
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    return get_3d_rotary_pos_embed(peer.config.attention_head_dim, ((0, 0), (2, 3)), (2, 3), temporal_size=2)


def test_a_widened_model_begins_as_the_one_it_was(start: Path) -> None:
    plain = ExpertTransformer.load(start)
    config = dataclasses.replace(plain.config, in_channels=32)
    latents, text, timestep = torch.randn(2, 16, 2, 4, 6), torch.randn(2, 24, 48), torch.tensor([1, 900])
    with torch.no_grad():
        expected = plain(latents, text, timestep)
        wide = widen_for_images(plain, config)
        got = wide(latents, text, timestep, image_latents=torch.randn(2, 16, 2, 4, 6))
    torch.testing.assert_close(got, expected)


def test_image_to_video_from_a_text_to_video_model(start: Path, tmp_path: Path) -> None:
    from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline

    settings = ImageToVideoSettings(dropout=0.25, continuation_share=0.3)
    recipe = make_recipe(start, image_to_video=settings, samples=SampleSettings(num_prompts=1, num_steps=1))
    step = make_step(recipe)
    kinds = {"none": 0, "first": 0, "several": 0}
    for index in range(60):
        for pack in step.make_batch(index).packs:
            for loaded in pack:
                if loaded.latents.shape[1] < 3:
                    continue
                assert loaded.image_latents is not None
                num_known = int(loaded.image_latents.abs().sum((0, 2, 3)).bool().sum())
                kinds[("none", "first")[num_known] if num_known < 2 else "several"] += 1
    total = sum(kinds.values())
    assert 0.17 < kinds["none"] / total < 0.33 and 0.08 < kinds["several"] / total < 0.28, kinds
    run_steps(step, 2)
    assert step.model.patch_embed.proj.weight[:, 16:].abs().max() > 0
    step.write_samples(tmp_path / "sheet.png")
    step.save_checkpoint(tmp_path / "model")
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(tmp_path / "model")
    assert pipeline.transformer.config.in_channels == 32
    generator = VideoGenerator.load(tmp_path / "model", dtype="float32")
    image = torch.zeros(32, 48, 3, dtype=torch.uint8).numpy()
    video = generator.image_to_video("a cat", image, num_frames=9, height_px=32, width_px=48, num_steps=1)
    assert video.frames.shape == (9, 32, 48, 3)


@pytest.mark.parametrize("kind", ["full", "lora", "image-to-video"])
def test_in_bfloat16(start: Path, tmp_path: Path, kind: str) -> None:
    changes: dict = {"method": "lora", "lora": LoraSettings(rank=4, alpha=4.0)} if kind == "lora" else {}
    changes |= {"image_to_video": ImageToVideoSettings()} if kind == "image-to-video" else {}
    recipe = make_recipe(
        start,
        uses_bfloat16=True,
        has_cached_text=True,
        cache_dir=str(tmp_path / "cache"),
        samples=SampleSettings(num_prompts=1, num_steps=2),
        validation=ValidationSettings(num_clips=1),
        **changes,
    )
    step = make_step(recipe)
    run_steps(step, 2)
    assert step.guard.num_skipped == 0
    assert step.write_samples(tmp_path / "sheet.png")["validation_loss"] > 0
    step.save_checkpoint(tmp_path / "model")


def test_image_noise_has_the_published_spread(start: Path) -> None:
    step = make_step(make_recipe(start, image_to_video=ImageToVideoSettings(dropout=0.0)))
    encoder = step.data.loader.image_encoder
    assert encoder is not None
    sigmas: list[float] = []
    encoder.encode = lambda picture, sigma, generator: sigmas.append(sigma) or torch.zeros(16, 1, 4, 6)
    import numpy as np

    for seed in range(2000):
        encoder.condition(torch.zeros(16, 3, 4, 6), torch.zeros(3, 1, 32, 48), np.random.default_rng(seed))
    logs = torch.tensor(sigmas).log()
    assert abs(float(logs.mean()) + 3) < 0.05 and abs(float(logs.std()) - 0.5) < 0.03


def test_pictures_of_temporal_patches_are_seen_twice(tmp_path: Path, random_checkpoint: Path) -> None:
    config = dataclasses.replace(TRANSFORMER, patch_size_t=2, patch_bias=False, sample_height=20, sample_width=20)
    step = make_step(make_recipe(write_start(tmp_path, random_checkpoint, config)))
    lengths = {
        loaded.latents.shape[1] for index in range(4) for pack in step.make_batch(index).packs for loaded in pack
    }
    assert lengths == {2, 4, 6}
    for pack in step.make_batch(0).packs:
        for loaded in pack:
            assert torch.equal(loaded.latents[:, 0], loaded.latents[:, 1])
    run_steps(step, 1)
    sees_image = make_step(
        make_recipe(tmp_path, image_to_video=ImageToVideoSettings(dropout=0.0), cache_dir=str(tmp_path / "latents"))
    )
    for pack in sees_image.make_batch(0).packs:
        for loaded in pack:
            assert loaded.image_latents is not None
            is_picture = loaded.sample.shape.num_frames == 1
            assert bool(loaded.image_latents.abs().sum()) != is_picture


def test_clips_can_be_encoded_when_they_are_needed(start: Path, tmp_path: Path) -> None:
    ahead = make_step(make_recipe(start, cache_dir=str(tmp_path / "ahead")))
    recipe = make_recipe(start, cache_dir=str(tmp_path / "needed"), is_encoded_ahead=False, scaling_factor=0.5)
    needed = make_step(recipe)
    assert not list((tmp_path / "needed").glob("shard_*"))
    for first, second in zip(ahead.make_batch(0).packs, needed.make_batch(0).packs, strict=True):
        for one, other in zip(first, second, strict=True):
            assert one.sample == other.sample
            scale = 0.5 / ahead.data.scaling_factor
            torch.testing.assert_close(other.latents, one.latents * scale, atol=2e-3, rtol=2e-3)
    assert list((tmp_path / "needed").glob("shard_*"))
    run_steps(needed, 1)
    validated = make_step(dataclasses.replace(recipe, validation=ValidationSettings(num_clips=2)))
    assert "validation_loss" in validated.validate()
    with pytest.raises(ValueError, match="scaling_factor: expected a number"):
        dataclasses.replace(recipe, start=None, autoencoder="x", text_encoder="x", scaling_factor=None)


def test_kinds_of_captions_are_mixed_and_their_style_goes_with_the_model(start: Path, tmp_path: Path) -> None:
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", iter([np.full((9, 32, 48, 3), 50 * number, np.uint8)]), fps=8)
    write_shards(tmp_path / "set", [(f"{n}", tmp_path / f"{n}.mp4", [f"own {n}"], {}) for n in range(4)])
    replace_captions(tmp_path / "set", {f"{n}": [("short", f"short {n}"), ("dense", f"dense {n}")] for n in range(3)})
    style = CaptionStyle(max_words=2, examples=(("short 1", "dense 1"),))
    write_style(tmp_path / "set", style)
    recipe = make_recipe(
        start,
        data=DataSettings(folder=str(tmp_path / "set")),
        stages=(dataclasses.replace(STAGE, max_duration_s=1),),
        caption_mixture=CaptionMixture(own=0, short=1, dense=3),
        caption_dropout=0.0,
        has_cached_text=True,
    )
    step = TransformerStep(TrainingData(recipe, open_clips(tmp_path / "set")))
    seen = [loaded.caption for index in range(12) for pack in step.make_batch(index).packs for loaded in pack]
    assert {caption.split()[0] for caption in seen if not caption.endswith("3")} == {"short", "dense"}
    assert {caption for caption in seen if caption.endswith("3")} == {"own 3"}
    assert sum(caption.startswith("dense") for caption in seen) > sum(caption.startswith("short") for caption in seen)
    step.save_checkpoint(tmp_path / "checkpoint")
    assert read_style(tmp_path / "checkpoint") == style


def test_captions_are_encoded_once(start: Path, tmp_path: Path) -> None:
    recipe = make_recipe(start, cache_dir=str(tmp_path), has_cached_text=True)
    step, plain = make_step(recipe), make_step(make_recipe(start))
    assert "encoder" not in vars(step.texts) and "encoder" not in vars(make_step(recipe).texts)
    captions = ["", *step.data.source.table.captions[3]]
    torch.testing.assert_close(step.texts.get(captions), plain.texts.get(captions))


def test_timesteps_cover_the_range_over_packs_and_processes(start: Path) -> None:
    step = make_step(make_recipe(start, stages=(dataclasses.replace(STAGE, num_packs_per_step=4, pack_tokens=320),)))
    for index in range(5):
        batch = step.make_batch(index)
        places = sorted(loaded.sample.place for pack in batch.packs for loaded in pack)
        num_samples = len(batch.train_timesteps)
        assert places == list(range(num_samples))
        parts = batch.train_timesteps.double().mul(num_samples / 1000).long().tolist()
        assert sorted(parts) == list(range(num_samples))
    plain = make_step(make_recipe(start, is_uniform_sampling=False))
    assert len(plain.make_batch(0).train_timesteps) == sum(map(len, plain.make_batch(0).packs))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stages": (dataclasses.replace(STAGE, pack_tokens=30),)},
            r"stages\[0\]: pack_tokens: expected at least 54.*raise",
        ),
        ({"validation": ValidationSettings(num_clips=12)}, "validation.num_clips: expected fewer than the 12 clips"),
        ({"stages": (dataclasses.replace(STAGE, num_packs_per_step=13),)}, "at most one per sample"),
        ({"stages": (dataclasses.replace(STAGE, min_short_side_px=100),)}, r"stages\[0\]: no clip is left"),
        ({"samples": SampleSettings(height_px=24)}, r"samples, in stages\[0\]: height_px: expected a multiple of 16"),
        ({"stages": (dataclasses.replace(STAGE, image_share=0.0),), "data": PICTURES}, "no sample is left: 12 clips"),
        ({"method": "lora", "image_to_video": ImageToVideoSettings()}, "cannot widen"),
        ({"method": "lora", "lora": LoraSettings(target_modules=("to_x",))}, "no linear layer .* named ...to_x"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(start: Path, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_step(make_recipe(start, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, "stages: expected at least one"),
        ({"start": None}, "autoencoder: expected a checkpoint directory"),
        ({"method": "lora", "optimizer": OptimizerSettings(name="muon")}, 'optimizer.name: expected "adamw"'),
        (
            {"method": "lora", "stages": (dataclasses.replace(STAGE, positions="extrapolate"),)},
            'positions: expected "keep"',
        ),
        ({"num_balanced_ranks": 4}, r"stages\[0\].num_packs_per_step: expected a multiple of num_balanced_ranks"),
    ],
)
def test_bad_recipes_are_refused(tmp_path: Path, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_recipe(tmp_path), **changes)
