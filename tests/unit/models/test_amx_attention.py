"""The AMX kernel against exact attention and against torch's, and what happens where it cannot be."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cogvideox.models import amx_attention as module
from cogvideox.models.amx_attention import COMPILERS, CompileError, amx_attention, compiled, has_amx_attention
from cogvideox.models.attention import attention, choose_backend
from cogvideox.models.sequence_layout import SequenceLayout
from real_videos import give_up


@pytest.fixture(scope="module")
def kernel() -> None:
    if not torch.cpu._is_amx_tile_supported():
        pytest.skip("no AMX")
    if not any(shutil.which(name) for name in COMPILERS):
        give_up("there is no C++ compiler: make system-packages")
    assert has_amx_attention()


def exact(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return by_torch(query.double(), key.double(), value.double())


def by_torch(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def relative_error(attended: Tensor, expected: Tensor) -> float:
    return float((attended.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("num_tokens", [1, 15, 16, 17, 32, 33, 257, 1031, 4129])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 40.0])
def test_as_exact_as_torch(kernel: None, num_tokens: int, spread: float) -> None:
    torch.manual_seed(num_tokens)
    shape = (2, num_tokens, 3, 64) if num_tokens < 1000 else (1, num_tokens, 1, 64)
    query, key, value = torch.randn(3, *shape).mul(torch.tensor([spread, 1, 1]).view(3, 1, 1, 1, 1)).bfloat16()
    expected = exact(query, key, value)
    error = relative_error(amx_attention(query, key, value), expected)
    assert error <= max(1.2 * relative_error(by_torch(query, key, value), expected), 1e-4)


def test_scores_far_from_zero(kernel: None) -> None:
    """Exponentials of -3,600 and 3,600 are nothing and infinite in any float."""
    value = torch.randn(1, 40, 2, 64).bfloat16()
    query = torch.full_like(value, 21.0)
    for key in (query, -query):
        attended = amx_attention(query, key, value)
        torch.testing.assert_close(
            attended.float(), value.float().mean(1, keepdim=True).expand_as(value), atol=1e-2, rtol=0
        )
    query[0, 3] = float("nan")
    assert amx_attention(query, -query.nan_to_num(), value)[0, 3].isnan().all()


def test_heads_side_by_side_and_packs(kernel: None) -> None:
    """Views of one projection, segments of unequal length, and channels that are not side by side."""
    layout = SequenceLayout.of_grids(3, [(1, 5, 7), (2, 3, 4), (1, 5, 7)])
    query, key, value = torch.randn(1, sum(layout.segment_lengths), 3, 2, 64).bfloat16().unbind(2)
    attended = attention(query, key, value, layout, backend="amx")
    expected = attention(query.double(), key.double(), value.double(), layout)
    assert relative_error(attended, expected) < 4e-3
    turned = amx_attention(*(x.mT.contiguous().mT for x in (query, key, value)))
    assert turned.equal(amx_attention(query, key, value))


def test_threads_change_nothing(kernel: None) -> None:
    query, key, value = torch.randn(3, 2, 700, 3, 64).bfloat16()
    num_threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(amx_attention(query, key, value))
    finally:
        torch.set_num_threads(num_threads)
    assert results[0].equal(results[1]) and results[0].equal(results[2])


def test_choice(kernel: None) -> None:
    query = torch.empty(1, 1024, 2, 64, dtype=torch.bfloat16)
    assert choose_backend(query, lambda: 8.0) == "sdpa", "gradients"
    with torch.no_grad():
        assert choose_backend(query, lambda: 8.0) == "amx"
        assert choose_backend(query[:, 1:], lambda: 8.0) == "sdpa", "too short to compile for"
        assert choose_backend(query[..., :32], lambda: 8.0) == "sdpa"
        assert choose_backend(query.float(), lambda: 8.0) == "sdpa"


def test_what_it_refuses(kernel: None) -> None:
    query = torch.randn(1, 4, 2, 64).bfloat16()
    with pytest.raises(ValueError, match="no gradients"):
        amx_attention(query.requires_grad_(), query, query)
    with pytest.raises(ValueError, match=r"got 32 channels of torch\.float32 on cpu"):
        amx_attention(*torch.randn(3, 1, 4, 2, 32))


def test_without_a_compiler_attention_is_torchs(monkeypatch, tmp_path: Path, caplog) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: True)
    has_amx_attention.cache_clear()
    try:
        with torch.no_grad():
            query = torch.empty(1, 2000, 2, 64, dtype=torch.bfloat16)
            assert [choose_backend(query, lambda: 8.0) for _ in range(2)] == ["sdpa"] * 2
        assert caplog.text.count("install g++") == 1
        with pytest.raises(ValueError, match="compiler; use sdpa"):
            amx_attention(query, query, query)
    finally:
        has_amx_attention.cache_clear()


def test_a_compiler_that_fails(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\n[ $1 = --version ] || { echo note; echo 'x.cpp: error: too old'; exit 1; } >&2\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(CompileError, match=r"broken: x\.cpp: error: too old"):
        compiled()
    assert not list(module.cache_folder().rglob("*.so")) and not list(module.cache_folder().glob("kernels/*"))
