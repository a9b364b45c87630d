"""The fused step against the modules it stands for."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cogvideox.models.norm_silu import norm_silu


def by_modules(norm: nn.GroupNorm, x: Tensor, modulation, past: Tensor | None, num_past_frames: int) -> Tensor:
    normed = norm(x)
    if modulation is not None:
        scale, shift = (functional.interpolate(values, size=x.shape[2:], mode="nearest") for values in modulation)
        normed = normed * scale + shift
    activated = functional.silu(normed)
    past = activated[:, :, :1].repeat(1, 1, num_past_frames, 1, 1) if past is None else past
    return torch.cat([past, activated], dim=2)


def make(shape, latent_size, has_past: bool, dtype: torch.dtype):
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, shape[1], eps=1e-6).to(dtype)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (torch.randn(shape, dtype=dtype) * 3 + 1).requires_grad_()
    modulation = None
    if latent_size is not None:
        latent_shape = (*shape[:3], *latent_size)
        modulation = tuple(torch.randn(latent_shape, dtype=dtype).requires_grad_() for _ in range(2))
    past_shape = (*shape[:2], 2, *shape[3:])
    past = torch.randn(past_shape, dtype=dtype).requires_grad_() if has_past else None
    return norm, x, modulation, past


def gradients(function, norm, x, modulation, past, upstream) -> tuple[Tensor, list[Tensor]]:
    result = function(norm, x, modulation, past, 2)
    inputs = [x, norm.weight, norm.bias, *(modulation or ()), *([] if past is None else [past])]
    return result, list(torch.autograd.grad(result, inputs, upstream.to(result.dtype)))


@pytest.mark.parametrize("has_past", [True, False])
@pytest.mark.parametrize(
    ("shape", "latent_size"),
    [
        ((2, 4, 3, 8, 12), None),
        ((2, 4, 3, 8, 12), (2, 3)),
        ((2, 4, 3, 8, 12), (8, 12)),
        ((1, 4, 1, 8, 8), (1, 1)),
        ((1, 6, 1, 1, 1), (1, 1)),
        ((3, 2, 2, 4, 1), (2, 1)),
    ],
)
def test_values_and_gradients_are_those_of_the_modules(shape, latent_size, has_past: bool) -> None:
    arguments = make(shape, latent_size, has_past, torch.float64)
    upstream = torch.randn(shape[0], shape[1], shape[2] + 2, *shape[3:], dtype=torch.float64)
    result, got = gradients(norm_silu, *arguments, upstream)
    expected, wanted = gradients(by_modules, *arguments, upstream)
    torch.testing.assert_close(result, expected)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("latent_size", [None, (2, 3)])
def test_bfloat16_is_about_as_exact_as_the_modules(latent_size) -> None:
    shape = (2, 16, 5, 16, 24)
    norm, x, modulation, _ = make(shape, latent_size, False, torch.bfloat16)
    norm.float()  # as under autocast
    upstream = torch.randn(2, 16, 7, 16, 24, dtype=torch.bfloat16)
    wide = (
        nn.GroupNorm(2, 16, eps=1e-6).double(),
        x.detach().double().requires_grad_(),
        None if modulation is None else tuple(values.detach().double().requires_grad_() for values in modulation),
    )
    wide[0].load_state_dict(norm.state_dict())
    exact, exact_gradients = gradients(by_modules, *wide, None, upstream)
    ours, our_gradients = gradients(norm_silu, norm, x, modulation, None, upstream)
    theirs, their_gradients = gradients(by_modules, norm, x, modulation, None, upstream)

    def error(result: Tensor, reference: Tensor) -> float:
        return float((result.detach().double() - reference.detach()).square().mean().sqrt())

    assert error(ours, exact) <= 1.1 * error(theirs, exact)
    # Of x: two roundings more, in exchange for full-size results that are not kept.
    assert error(our_gradients[0], exact_gradients[0]) <= 1.25 * error(their_gradients[0], exact_gradients[0])
    for got, wanted in zip(our_gradients, exact_gradients, strict=True):
        assert error(got, wanted) <= 0.005 * error(wanted, torch.zeros_like(wanted))
