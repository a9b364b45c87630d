"""The losses of the VAE against their formulas, and the two-part gradient against plain autograd."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from autoencoder_training import make_gan
from cogvideox.models.autoencoder import GaussianPosterior
from cogvideox.models.discriminator import Discriminator, DiscriminatorConfig
from cogvideox.models.lpips import Lpips
from cogvideox.parallel.world import World
from cogvideox.training.autoencoder_gan import Adversary
from cogvideox.training.autoencoder_losses import (
    adaptive_weight,
    frame_means,
    gradient_norms,
    hinge_sums,
    kl_of_frames,
    load_perceptual,
    perceptual_value_and_gradient,
    pyramid_distance,
    sample_with,
    squared_gradient,
    value_and_gradient,
)
from cogvideox.training.autoencoder_recipe import AutoencoderLossSettings

SMALL = DiscriminatorConfig(num_channels=2, max_channels=4, num_3d_blocks=1, num_2d_blocks=1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_kl_is_the_mean_over_latents_and_has_a_gradient() -> None:
    moments = random(2, 8, 3, 4, 4).requires_grad_()
    posterior = GaussianPosterior(moments)
    frames = kl_of_frames(posterior)
    assert frames.shape == (2, 3)
    normal = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(frames.mean().double(), expected, rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(frames.mean(), moments)
    # d/dmean = mean / n, d/dlogvar = (var - 1) / 2n.
    mean, log_variance = moments.detach().chunk(2, dim=1)
    expected_gradient = torch.cat([mean, 0.5 * (log_variance.exp() - 1)], dim=1) / mean.numel()
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-8)


def test_latents_follow_their_posterior() -> None:
    posterior, noise = GaussianPosterior(random(1, 4, 2, 2, 2)), random(1, 2, 2, 2, 2, seed=1)
    expected = posterior.mean + torch.sqrt(posterior.log_variance.exp()) * noise
    torch.testing.assert_close(sample_with(posterior, noise), expected)


def laplacian_pyramid(frames: Tensor) -> list[Tensor]:
    """What a level has beside the one of half its size, then the smallest."""
    kernel = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=frames.dtype) / 8
    levels = []
    while len(levels) < 4 and min(frames.shape[2:]) >= 16:
        channels = functional.pad(frames, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
        coarse = functional.conv2d(channels, (kernel[:, None] * kernel)[None, None], stride=2)
        coarse = coarse.unflatten(0, frames.shape[:2])[:, :, 0]
        back = functional.interpolate(coarse, size=frames.shape[2:], mode="bilinear")
        levels.append(frames - back)
        frames = coarse
    return [*levels, frames]


@pytest.mark.parametrize("size", [(64, 96), (40, 56), (8, 8), (256, 128)])
def test_pyramid_distance_is_that_of_two_pyramids(size: tuple[int, int]) -> None:
    made, real = random(2, 3, *size).float(), random(2, 3, *size, seed=1).float()
    pairs = list(zip(laplacian_pyramid(made), laplacian_pyramid(real), strict=True))
    assert len(pairs) == {64: 4, 40: 3, 8: 1, 256: 5}[size[0]]
    expected = torch.stack([(one - other).abs().mean((1, 2, 3)) for one, other in pairs]).sum(0)
    torch.testing.assert_close(pyramid_distance(made, real), expected, rtol=1e-5, atol=1e-6)
    assert pyramid_distance(real, real).eq(0).all()


def test_perceptual_gradient_is_that_of_the_frames_seen() -> None:
    made, real = random(2, 3, 20, 16, 16).float(), random(2, 3, 20, 16, 16, seed=1).float()
    is_seen = torch.zeros(2, 20, dtype=torch.bool)
    is_seen[0, ::2], is_seen[1, 3:15] = True, True  # 22 frames: more than one call
    total, gradient = perceptual_value_and_gradient(pyramid_distance, made, real, is_seen, 0.3)
    leaf = made.clone().requires_grad_()
    frames = [(leaf[b, :, t], real[b, :, t]) for b, t in is_seen.nonzero().tolist()]
    expected = torch.cat([pyramid_distance(one[None], other[None]) for one, other in frames]).sum()
    torch.testing.assert_close(total, expected.detach())
    (expected_gradient,) = torch.autograd.grad(0.3 * expected, leaf)
    torch.testing.assert_close(gradient, expected_gradient)
    assert gradient.transpose(1, 2)[~is_seen].eq(0).all()


@pytest.mark.parametrize(("name", "expected"), [("none", None), ("pyramid", pyramid_distance)])
def test_perceptual_loss_is_chosen(name, expected) -> None:
    assert load_perceptual(AutoencoderLossSettings(perceptual=name), torch.device("cpu")) is expected


def test_lpips_needs_its_weights(tmp_path) -> None:
    with pytest.raises(ValueError, match=r'lpips_backbone: expected a file, because perceptual is "lpips"'):
        AutoencoderLossSettings(perceptual="lpips")
    settings = AutoencoderLossSettings(perceptual="lpips", lpips_backbone=f"{tmp_path}/a.pth", lpips_heads="b.pth")
    with pytest.raises(ValueError, match=r"a\.pth: no such file"):
        load_perceptual(settings, torch.device("cpu"))


def test_lpips_with_weights_is_measured_and_differentiated(monkeypatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(Lpips, "load", lambda backbone, heads, device: Lpips().to(device))
    settings = AutoencoderLossSettings(perceptual="lpips", lpips_backbone="a.pth", lpips_heads="b.pth")
    distance = load_perceptual(settings, torch.device("cpu"))
    assert distance is not None
    made, real = random(1, 3, 2, 16, 16).float(), random(1, 3, 2, 16, 16, seed=1).float()
    total, gradient = perceptual_value_and_gradient(distance, made, real, torch.tensor([[True, False]]), 1.0)
    torch.testing.assert_close(total, distance(made[:, :, 0], real[:, :, 0]).sum())
    assert gradient[:, :, 0].abs().max() > 0 and gradient[:, :, 1].eq(0).all()


def test_hinge_pushes_real_up_and_made_down() -> None:
    real, made = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, -0.5, 1.0])
    assert float(hinge_sums(real, made)) == 0.5 * (0 + 0.5 + 2) + 0.5 * (0 + 0.5 + 2)
    real.requires_grad_(), made.requires_grad_()
    of_real, of_made = torch.autograd.grad(hinge_sums(real, made), [real, made])
    assert of_real.tolist() == [0, -0.5, -0.5] and of_made.tolist() == [0, 0.5, 0.5]


def test_r1_is_the_square_of_the_gradient_by_pixels() -> None:
    torch.manual_seed(0)
    discriminator, real = Discriminator(SMALL).double(), random(1, 3, 3, 4, 2)
    value = float(squared_gradient(discriminator, real).detach())
    steps = 1e-6 * torch.eye(real.numel(), dtype=real.dtype).view(-1, *real.shape[1:])
    up, down = (discriminator(real + sign * steps).sum((1, 2, 3, 4)) for sign in (1, -1))
    slopes = (up - down).detach() / 2e-6
    assert value == pytest.approx(float(slopes.square().sum()), rel=1e-4)


def test_r1_moves_the_weights_by_its_second_derivative() -> None:
    torch.manual_seed(0)
    discriminator, real = Discriminator(SMALL).double(), random(2, 3, 3, 8, 8)

    def penalty() -> Tensor:
        return squared_gradient(discriminator, real)

    for name in ("blocks.0.conv1.conv.weight", "blocks.1.conv2.weight", "to_logit.weight"):
        weight = discriminator.get_parameter(name)
        (gradient,) = torch.autograd.grad(penalty(), weight)
        direction = random(*weight.shape, seed=2)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * 1e-5 * direction
            values.append(float(penalty().detach()))
            with torch.no_grad():
                weight -= sign * 1e-5 * direction
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5) and abs(slope) > 1e-6


class LastLayer(nn.Module):
    """What makes pixels: a hidden layer, and the last one whose weight the norms are taken at."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.last = nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.hidden(x)))


def test_two_part_gradient_is_that_of_the_plain_formula() -> None:
    """The gradient of reconstruction + w GAN with the adaptive w, once as step and adversary compute it."""
    model, real = LastLayer(), random(2, 3, 5, 16, 16, seed=3).float()
    settings = make_gan(gradient_penalty=0.0, weight=0.5)
    adversary = Adversary(settings, World(), max_gradient_norm=1e9, uses_bfloat16=False)
    discriminator = adversary.discriminator
    made = model(random(2, 2, 5, 16, 16, seed=4).float())

    def reconstruction(pixels: Tensor) -> Tensor:
        return frame_means((pixels - real).abs()).mean()

    plain_loss, plain_gan = reconstruction(made), -discriminator(made).mean()
    norms = [
        torch.autograd.grad(value, model.last.weight, retain_graph=True)[0].norm() for value in (plain_loss, plain_gan)
    ]
    weight = float(0.5 * (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4))
    expected = torch.autograd.grad(plain_loss + weight * plain_gan, list(model.parameters()), retain_graph=True)

    _, gradient = value_and_gradient(made, reconstruction)
    judgement = adversary.judge(discriminator, real, made, has_penalty=False)
    found = gradient_norms(made, [gradient, judgement.made_gradient], model.last.weight)
    assert found == pytest.approx([float(norm) for norm in norms], rel=1e-5)
    assert 0.5 * adaptive_weight(*found, maximum=1e4) == pytest.approx(weight, rel=1e-5)
    made.backward(gradient + weight * judgement.made_gradient)
    for parameter, value in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, value, rtol=1e-4, atol=1e-7)


def test_adaptive_weight_has_a_maximum() -> None:
    assert adaptive_weight(3.0, 2.0, maximum=1e4) == pytest.approx(1.5, rel=1e-4)
    assert adaptive_weight(3.0, 0.0, maximum=100.0) == 100.0


def test_discriminator_is_moved_by_its_own_loss_only() -> None:
    torch.manual_seed(1)
    adversary = Adversary(
        make_gan(gradient_penalty=4.0, penalty_every=3), World(), max_gradient_norm=1e9, uses_bfloat16=False
    )
    discriminator = copy.deepcopy(adversary.discriminator)
    real, made = random(2, 3, 5, 16, 16).float(), random(2, 3, 5, 16, 16, seed=1).float()
    judgement = adversary.judge(adversary.discriminator, real, made, has_penalty=True)
    real_logits, made_logits = discriminator(real), discriminator(made)
    hinge = 0.5 * (functional.relu(1 - real_logits).mean() + functional.relu(1 + made_logits).mean())
    pixels = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(pixels).sum(), pixels, create_graph=True)
    loss = hinge + 3 * 4.0 * 0.5 * slope.square().mean()
    loss.backward()
    assert judgement.gan_discriminator == pytest.approx(float(loss.detach()), rel=1e-5)
    assert judgement.gan_generator == pytest.approx(-float(made_logits.mean().detach()), rel=1e-5)
    for one, other in zip(adversary.discriminator.parameters(), discriminator.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)
