"""What this machine gives a process: a folder to keep things in, memory and devices; light, without torch."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows the control group of a container."""


def cache_folder() -> Path:
    """Return where this program keeps what it can make or fetch again: below XDG_CACHE_HOME, else ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cogvideox"


@dataclass(frozen=True, kw_only=True)
class GroupMemory:
    """What a control group allows, and what of it is taken."""

    limit_bytes: int
    used_bytes: int
    """Without pages of files: these count as used, and are given back when they are needed."""


def group_memory(root: Path | None = None) -> GroupMemory | None:
    """Return the memory of the control group, of version 2 or 1 (Docker before 20.10, older kernels).

    Args:
        root: where control groups are shown, by default ``GROUPS``.

    Returns:
        None if there is no group or no limit.
    """
    root = GROUPS if root is None else root
    for folder, limit_name, used_name, prefix in (
        (root, "memory.max", "memory.current", ""),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        try:
            limit = (folder / limit_name).read_text().strip()
            used = int((folder / used_name).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except FileNotFoundError:
            continue
        if limit.isdigit():  # without a limit version 2 says "max", version 1 a number beyond any memory
            files = sum(int(stat.get(f"{prefix}{name}", 0)) for name in ("inactive_file", "active_file"))
            return GroupMemory(limit_bytes=int(limit), used_bytes=max(used - files, 0))
    return None


def parse_device(device: "str | torch.device") -> "torch.device":
    """Return a device by name. Raises ValueError if there is none of that name on this machine."""
    import torch

    try:
        parsed = torch.device(device)
        torch.empty(0, device=parsed)
    except (RuntimeError, AssertionError) as error:
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        known, reason = ", ".join(name for name, is_there in available.items() if is_there), str(error).splitlines()[0]
        raise ValueError(f"device: expected one of this machine's ({known}), got {str(device)!r} ({reason})") from None
    return parsed


def fastest_dtype(device: "torch.device") -> "torch.dtype":
    """Return bfloat16 where the hardware multiplies it natively, else float32.

    On a CPU without AVX512-BF16 or AMX, bfloat16 is about ten times slower than float32.
    """
    import torch

    if device.type == "cpu":
        has_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if has_bfloat16 else torch.float32
    return torch.bfloat16
