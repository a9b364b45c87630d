"""The autoencoder's training step, small, on art drawn by our own code."""

import copy
import dataclasses
import math
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import multiprocessing

from autoencoder_training import MODEL, difference, make_gan, make_recipe, make_stage, make_step, run_rank, run_steps
from cogvideox.configs import AutoencoderConfig
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.training.autoencoder_recipe import AutoencoderLossSettings
from cogvideox.training.autoencoder_step import AutoencoderStep
from cogvideox.training.loop import LoopSettings
from cogvideox.training.transformer_recipe import OptimizerSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other at every small layer are slow beside other work."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)


def weights(step: AutoencoderStep) -> dict[str, Any]:
    assert step.adversary is not None
    return copy.deepcopy({"model": step.model.state_dict(), "gan": step.adversary.discriminator.state_dict()})


def test_it_learns_and_diffusers_reconstructs_the_same(tmp_path: Path) -> None:
    """With the muon of the embedded model's recipe, and without a GAN."""
    recipe = make_recipe(gan=None, optimizer=OptimizerSettings(name="muon"))
    step = make_step(recipe)
    batch = step.make_batch(1)
    errors = [float(step(batch, 5e-3)["l1"]) for _ in range(15)]
    assert errors[-1] < 0.85 * errors[0]
    scalars = step.write_samples(tmp_path / "sheet.png")
    assert scalars["held_out_psnr_db"] > 5 and (tmp_path / "sheet.png").stat().st_size > 1000
    step.save_checkpoint(tmp_path)
    saved = VideoAutoencoder.load(tmp_path)
    torch.testing.assert_close(saved.encoder.conv_in.conv.bias, step.average.averages["encoder.conv_in.conv.bias"])
    assert not any("discriminator" in path.name or path.is_dir() for path in (tmp_path / "vae").iterdir())
    public = AutoencoderKLCogVideoX.from_pretrained(tmp_path / "vae")
    with torch.no_grad():
        for video in (batch.pixels, step.make_batch(0).pixels):
            ours = saved.decode(saved.encode(video).mode())
            theirs = public.decode(public.encode(video).latent_dist.mode()).sample
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gan_starts_for_both_sides_at_its_step() -> None:
    step, without = make_step(make_recipe()), make_step(make_recipe(gan=None))
    before = weights(step)
    logs = run_steps(step, 2)
    assert difference(weights(step)["gan"], before["gan"]) == 0
    assert not any("gan_generator" in log for log in logs)
    run_steps(without, 2)
    assert difference(step.model.state_dict(), without.model.state_dict()) == 0
    (log,) = run_steps(step, 1, first=2)
    assert difference(weights(step)["gan"], before["gan"]) > 0
    run_steps(without, 1, first=2)
    assert difference(step.model.state_dict(), without.model.state_dict()) > 0
    assert log["adaptive_weight"] > 0 and {"gan_generator", "gan_discriminator"} <= log.keys()


def test_gan_moves_the_model_by_the_weighted_sum() -> None:
    """One step against plain autograd on the same batch, with fixed weight, by the gradients left in the weights."""
    settings = make_gan(start_step=0, is_weight_adaptive=False, weight=0.3, gradient_penalty=0.0)
    unclipped = LoopSettings(max_gradient_norm=math.inf)
    step = make_step(make_recipe(gan=settings, run=unclipped))
    assert step.adversary is not None
    model, discriminator = copy.deepcopy(step.model), copy.deepcopy(step.adversary.discriminator)
    batch = step.make_batch(1)
    log = step(batch, 1e-3)
    posterior = model.encode(batch.pixels)
    made = model.decode(posterior.mean + (0.5 * posterior.log_variance).exp() * batch.noise)
    frames = [(made[b, :, t][None], batch.pixels[b, :, t][None]) for b, t in batch.has_perceptual.nonzero().tolist()]
    assert len(frames) == 6 and step.perceptual is not None
    l1 = (made - batch.pixels).abs().mean()
    perceptual = torch.cat([step.perceptual(one, other) for one, other in frames]).mean()
    gan = -discriminator(made).mean()
    loss = l1 + perceptual + 1e-3 * posterior.kl() + 0.3 * gan
    loss.backward()
    assert float(log["l1"]) == pytest.approx(float(l1.detach()), rel=1e-5)
    assert float(log["perceptual"]) == pytest.approx(float(perceptual.detach()), rel=1e-5)
    assert float(log["kl"]) == pytest.approx(float(posterior.kl().detach()), rel=1e-5)
    assert float(log["gan_generator"]) == pytest.approx(float(gan.detach()), rel=1e-4)
    for (name, one), other in zip(step.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_penalty_is_computed_at_every_nth_step() -> None:
    step = make_step(make_recipe(gan=make_gan(gradient_penalty=1e6, penalty_every=2)))
    losses = [log["gan_discriminator"] for log in run_steps(step, 5)[2:]]
    assert losses[0] > 5 * losses[1] and losses[2] > 5 * losses[1]


def test_clips_and_pictures_alternate_and_are_functions_of_the_step() -> None:
    stages = (
        make_stage(num_steps=3, num_frames=1, image_batch_every=0, image_batch_size=0, batch_size=8),
        make_stage(long_batch_every=2, long_batch_size=2, num_long_frames=17, num_steps=6, batch_size=4),
    )
    step = make_step(make_recipe(stages=stages, gan=make_gan(penalty_every=5)))
    shapes = [tuple(step.make_batch(index).pixels.shape[:3]) for index in range(9)]
    assert shapes == [
        *[(8, 3, 1)] * 3,
        *[(4, 3, 1), (4, 3, 9), (2, 3, 17), (4, 3, 1), (2, 3, 17), (4, 3, 9)],
    ]
    first, again, other = (step.make_batch(index) for index in (4, 4, 8))
    assert torch.equal(first.pixels, again.pixels) and torch.equal(first.noise, again.noise)
    assert not torch.equal(first.pixels, other.pixels) and not torch.equal(first.noise, other.noise)
    assert first.noise.shape == (4, 4, 3, 4, 4) and float(first.noise.std()) == pytest.approx(1.0, abs=0.1)
    assert not torch.equal(first.noise[0], first.noise[1])
    assert first.has_perceptual.sum(1).tolist() == [3] * 4 and step.make_batch(0).has_perceptual.all()
    logs = run_steps(step, 4)
    assert [log["stage"] for log in logs] == [0, 0, 0, 1]


def test_a_resumed_run_ends_with_the_same_bits() -> None:
    whole = make_step(make_recipe())
    run_steps(whole, 6)
    for num_steps in (1, 4):
        cut = make_step(make_recipe())
        run_steps(cut, num_steps)
        resumed = make_step(dataclasses.replace(make_recipe()))
        resumed.load_state_dict(copy.deepcopy(cut.state_dict()))
        run_steps(resumed, 6 - num_steps, first=num_steps)
        assert difference(resumed.state_dict(), whole.state_dict()) == 0


def test_a_gan_may_join_a_run_later() -> None:
    plain = make_step(make_recipe(gan=None))
    run_steps(plain, 2)
    joined = make_step(make_recipe())
    joined.load_state_dict(copy.deepcopy(plain.state_dict()))
    assert "gan_generator" in run_steps(joined, 1, first=2)[0]


def test_an_infinite_reconstruction_is_refused() -> None:
    step = make_step(make_recipe())
    with torch.no_grad():
        bias = step.model.decoder.conv_out.conv.bias
        assert bias is not None
        bias.fill_(math.inf)
    values = step(step.make_batch(0), 1e-3)
    assert values["num_skipped"] == 1
    assert math.isnan(values["psnr_db"])


@pytest.mark.parametrize("at_step", [1, 3])
def test_a_broken_batch_updates_neither_side(at_step: int) -> None:
    step = make_step(make_recipe())
    run_steps(step, at_step)
    before = copy.deepcopy((weights(step), step.average.state_dict()))
    broken = step.make_batch(at_step)
    broken.pixels[0, 0, 0, 0, 0] = math.nan
    log = step(broken, 5e-3)
    assert difference((weights(step), step.average.state_dict()), before) == 0
    assert float(log["num_skipped"]) == (1 if at_step == 1 else 2)
    run_steps(step, 1, first=at_step + 1)
    assert 0 < difference(weights(step), before[0]) < math.inf


def test_a_broken_discriminator_leaves_the_model_as_it_is() -> None:
    step = make_step(make_recipe())
    run_steps(step, 3)
    assert step.adversary is not None
    with torch.no_grad():
        step.adversary.discriminator.to_logit.bias.fill_(math.nan)
    before = copy.deepcopy(step.model.state_dict())
    run_steps(step, 1, first=3)
    assert difference(step.model.state_dict(), before) == 0


def test_a_spike_is_refused_and_a_new_phase_learns_anew() -> None:
    step = make_step(make_recipe(stages=(make_stage(num_steps=30), make_stage(num_steps=5))))
    for norm in [1.0] * 25:
        assert step.guard.allows(0.5, norm)
    assert not step.guard.allows(0.5, 20.0)
    step._enter_phase(step.make_batch(1))
    assert not step.guard.allows(0.5, 20.0)
    step._enter_phase(step.make_batch(2))  # the GAN begins
    assert step.guard.allows(0.5, 20.0)
    for norm in [1.0] * 25:
        step.guard.allows(0.5, norm)
    step._enter_phase(step.make_batch(30))  # the second stage
    assert step.guard.allows(0.5, 20.0)


def test_a_start_is_trained_on(tmp_path: Path) -> None:
    torch.manual_seed(3)
    start = VideoAutoencoder(AutoencoderConfig.from_json(MODEL))
    start.save(tmp_path / "vae")
    recipe = make_recipe(start=str(tmp_path), model={})
    step = make_step(recipe)
    assert difference(step.model.state_dict(), start.state_dict()) == 0
    assert all(parameter.requires_grad for parameter in step.model.parameters())
    run_steps(step, 1)
    assert difference(step.model.state_dict(), start.state_dict()) > 0
    other = make_step(dataclasses.replace(recipe, model={"norm_scope": "frame"}))
    assert other.model.norm_scope == "frame"
    with pytest.raises(ValueError, match="model: expected fields that leave the weights"):
        make_step(dataclasses.replace(recipe, model={"latent_channels": 8}))


def test_bfloat16_computes_about_the_same() -> None:
    narrow, wide = make_step(make_recipe(uses_bfloat16=True)), make_step(make_recipe())
    for one, other in zip(run_steps(narrow, 3), run_steps(wide, 3), strict=True):
        assert one["l1"] == pytest.approx(other["l1"], rel=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in narrow.model.parameters())


@pytest.mark.parametrize("weights", [{"squared_error_weight": 2.0}, {"l1_weight": 0.0, "squared_error_weight": 1.0}])
def test_weights_of_losses_count(weights: dict[str, float]) -> None:
    """By the gradient norm, which no clipping hides."""
    plain, changed = (
        make_step(make_recipe(loss=loss, gan=None))
        for loss in (AutoencoderLossSettings(), AutoencoderLossSettings(**weights))
    )
    norms = [run_steps(step, 2)[1]["gradient_norm"] for step in (plain, changed)]
    assert abs(norms[0] - norms[1]) > 0.01 * norms[0]


def test_processes_train_as_one(tmp_path: Path) -> None:
    """Two processes with clips of their own, and two that share every clip, end as one process does."""
    stage = make_stage(batch_size=4, image_batch_size=4)
    shared = dataclasses.replace(stage, num_frames=17, num_context_parallel_ranks=2)
    for_each = {"model": MODEL | {"norm_scope": "frame"}}
    recipes = {
        "clips": make_recipe(stages=(stage,)),
        "frames": make_recipe(stages=(shared,), **for_each),
        "muon": make_recipe(stages=(stage,), optimizer=OptimizerSettings(name="muon")),
    }
    out = tmp_path / "states.pt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(run_rank, args=(2, port, recipes, 4, out), nprocs=2)
    alone_in_time = dataclasses.replace(shared, num_context_parallel_ranks=1)
    recipes["frames"] = make_recipe(stages=(alone_in_time,), **for_each)
    for name, (logs, state) in torch.load(out, weights_only=True).items():
        step = make_step(recipes[name])
        alone = run_steps(step, 4, learning_rate=1e-4)
        for one, other in zip(logs, alone, strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-5), name
        found = difference(state["model"], step.state_dict()["model"])
        assert found < 1e-5, f"{name}: {found}"
        assert difference(state["adversary"]["discriminator"], step.state_dict()["adversary"]["discriminator"]) < 1e-5
