import pytest
import torch
from torch import nn
from torch.nn import functional

from cogvideox.models.linear import MIN_ROWS, prepare_linear

needs_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 products on this CPU"
)


@needs_bfloat16
@torch.no_grad()
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("gelu", [None, "tanh", "none"])
@pytest.mark.parametrize("num_rows", [3, MIN_ROWS, MIN_ROWS + 77])
def test_equals_the_layer(num_rows: int, gelu, has_bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(40, 24, bias=has_bias).bfloat16()
    x = torch.randn(1, num_rows, 40).bfloat16()
    expected = layer(x)
    if gelu is not None:
        expected = functional.gelu(expected, approximate=gelu)
    prepared = prepare_linear(layer, x, gelu=gelu)
    torch.testing.assert_close(prepared(x), expected, atol=2e-2, rtol=2e-2)
    blocks = torch.cat([prepared(block) for block in x.split(500, dim=1)], dim=1)
    torch.testing.assert_close(blocks, expected, atol=2e-2, rtol=2e-2)
    if num_rows > 3:
        assert prepared is not layer


class Adapter(nn.Module):
    """Stands where a linear layer was and shows that layer's weight, as adapters do."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer

    @property
    def weight(self) -> torch.Tensor:
        return self.base_layer.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + 1


@torch.no_grad()
@pytest.mark.parametrize("gelu", [None, "tanh"])
def test_an_adapter_and_a_hook_are_not_passed_by(gelu) -> None:
    layer = nn.Linear(8, 8).bfloat16()
    x = torch.randn(MIN_ROWS, 8).bfloat16()
    calls = []
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    prepare_linear(layer, x, gelu=gelu)(x)
    assert calls == [1]
    handle.remove()
    adapted = prepare_linear(Adapter(layer), x, gelu=gelu)(x)
    expected = layer(x) + 1 if gelu is None else functional.gelu(layer(x) + 1, approximate=gelu)
    torch.testing.assert_close(adapted, expected)


def test_with_gradients_the_layer_is_itself() -> None:
    layer = nn.Linear(8, 8).bfloat16()
    assert prepare_linear(layer, torch.randn(MIN_ROWS, 8).bfloat16()) is layer
