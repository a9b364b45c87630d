import torch

from cogvideox.models.causal_conv import CausalConv3d, _weight_gradient_may_hang


def test_chunks_with_pasts_equal_the_whole_clip_and_its_gradients() -> None:
    torch.manual_seed(0)
    conv = CausalConv3d(3, 5, kernel_size=3).double()
    x = torch.randn(2, 3, 9, 6, 8, dtype=torch.float64)
    whole, _ = conv(x, None)
    pieces, past = [], None
    for chunk in x.split([3, 1, 5], dim=2):
        piece, past = conv(chunk, past)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 2), whole)
    (expected,) = torch.autograd.grad(whole.square().sum(), conv.conv.weight)
    (got,) = torch.autograd.grad(torch.cat(pieces, 2).square().sum(), conv.conv.weight)
    torch.testing.assert_close(got, expected)


def test_the_future_changes_nothing_and_the_first_frame_is_repeated() -> None:
    conv = CausalConv3d(2, 2, kernel_size=3)
    x = torch.randn(1, 2, 6, 4, 4)
    changed = x.clone()
    changed[:, :, 4:] += 1.0
    before, after = conv(x, None)[0], conv(changed, None)[0]
    assert torch.equal(before[:, :, :4], after[:, :, :4]) and not torch.equal(before[:, :, 4:], after[:, :, 4:])
    repeated = x[:, :, :1].expand(-1, -1, 2, -1, -1)
    assert torch.equal(conv(x, repeated)[0], before)


def test_the_other_formulation_is_the_same_convolution() -> None:
    torch.manual_seed(0)
    conv = CausalConv3d(4, 3, kernel_size=3).double()
    padded = torch.randn(2, 4, 5, 6, 8, dtype=torch.float64, requires_grad=True)
    one, other = conv.conv(padded), conv._sum_of_frame_convolutions(padded)
    torch.testing.assert_close(one, other)
    parameters = [padded, conv.conv.weight, conv.conv.bias]
    expected = torch.autograd.grad(one.square().sum(), parameters)
    for got, wanted in zip(torch.autograd.grad(other.square().sum(), parameters), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_the_other_formulation_is_used_only_where_the_backward_pass_may_hang(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    short, long, small = torch.zeros(1, 1, 8, 64, 64), torch.zeros(1, 1, 9, 64, 64), torch.zeros(1, 1, 8, 32, 32)
    assert not _weight_gradient_may_hang(short, num_output_frames=6)
    assert _weight_gradient_may_hang(short.bfloat16(), num_output_frames=6)
    assert not _weight_gradient_may_hang(long.bfloat16(), num_output_frames=7)
    assert not _weight_gradient_may_hang(small.bfloat16(), num_output_frames=6)
    with torch.autocast("cpu", torch.bfloat16):
        assert _weight_gradient_may_hang(short, num_output_frames=6)
    with torch.no_grad():
        assert not _weight_gradient_may_hang(short.bfloat16(), num_output_frames=6)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not _weight_gradient_may_hang(short.bfloat16(), num_output_frames=6)
