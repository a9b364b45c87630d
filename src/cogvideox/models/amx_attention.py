"""Attention on CPUs with AMX by a kernel of our own, compiled when it is first needed; nothing needs it.

It is more than three times as fast as torch's (docs/decisions.md). It takes a C++ compiler and a quarter of a minute,
once: the library stays in the user's cache, named after all that it was made of. Without a compiler, or if it fails,
attention is torch's and the log says why.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from cogvideox.machine import cache_folder

SOURCE = Path(__file__).with_suffix(".cpp")
NUM_CHANNELS = 64
"""Of a head; all published models have as many."""
COMPILERS = ("g++", "c++")
"""Tried in this order, after the one that ``CXX`` names."""
FEATURES = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16", "amx-tile", "amx-bf16")
"""Only these, not a kind of processor: a virtual machine may hide others of it."""
OPTIONS = ("-std=c++20", "-O3", "-fPIC", "-shared", "-fopenmp", *(f"-m{feature}" for feature in FEATURES))
MAX_COMPILE_S = 300.0

log = logging.getLogger(__name__)


class CompileError(Exception):
    """The kernel cannot be compiled here; the message says why."""


@cache
def has_amx_attention() -> bool:
    """Whether `amx_attention` can be called in this process; compiles it if it has not been yet."""
    if not (torch.cpu._is_amx_tile_supported() and torch.cpu._is_avx512_bf16_supported()):
        return False
    try:
        torch.ops.load_library(compiled())
    except (CompileError, OSError) as error:
        log.warning("attention without AMX kernel: %s", error)
        return False
    return True


def amx_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend from every token to all tokens of its segment, without gradients.

    Args:
        query: (S, N, K, 64) in bfloat16 on the CPU, channels side by side, scores divided by 8.
        key: the same shape.
        value: the same shape.

    Returns:
        A tensor of that shape. Its error against exact attention is up to a fifth larger than that of torch's kernel,
        which is 2e-3.

    Raises:
        ValueError: `has_amx_attention` is false here, a tensor asks for gradients, or has another type.
    """
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        raise ValueError("backend: amx has no gradients; use sdpa or matmul")
    if query.dtype != torch.bfloat16 or query.device.type != "cpu" or query.shape[-1] != NUM_CHANNELS:
        got = f"{query.shape[-1]} channels of {query.dtype} on {query.device}"
        raise ValueError(f"backend: amx needs {NUM_CHANNELS} channels of bfloat16 on a CPU, got {got}")
    if not has_amx_attention():
        raise ValueError("backend: amx needs a CPU with AMX and a C++ compiler; use sdpa")
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    return torch.ops.cogvideox.amx_attention(query, key, value, NUM_CHANNELS**-0.5)


def compiled() -> Path:
    """Return the compiled kernel, made now if it is not in the cache.

    Raises:
        CompileError: there is no compiler, or it fails.
        OSError: the cache cannot be written.
    """
    compiler = _compiler()
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    parts = (SOURCE.read_text(), torch.__version__, version, *OPTIONS)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    library = cache_folder() / "kernels" / f"amx_attention-{digest}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        _compile(compiler, library)
    return library


def _compiler() -> str:
    for name in (os.environ.get("CXX", ""), *COMPILERS):
        if name and (path := shutil.which(name)):
            return path
    raise CompileError("there is no C++ compiler (install g++, or set CXX)")


def _compile(compiler: str, library: Path) -> None:
    """Compile beside the library and rename, so that a half-written one is never loaded."""
    from torch.utils.cpp_extension import include_paths, library_paths

    log.info("compiling the attention kernel for this machine, once")
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        result = Path(folder) / library.name
        command = [compiler, *OPTIONS, str(SOURCE), "-o", str(result)]
        command += [option for path in include_paths() for option in ("-isystem", path)]
        command += [f"-L{path}" for path in library_paths()] + ["-ltorch_cpu", "-lc10"]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=MAX_COMPILE_S)
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if "error" in line.lower()]
            raise CompileError(f"{compiler}: {lines[0] if lines else f'exit code {error.returncode}'}") from None
        except subprocess.TimeoutExpired:
            raise CompileError(f"{compiler}: it took longer than {MAX_COMPILE_S:g} s") from None
        os.replace(result, library)
