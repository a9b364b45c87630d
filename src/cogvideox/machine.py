"""What this machine gives a process: a folder to keep things in, and memory; without torch."""

import os
from dataclasses import dataclass
from pathlib import Path

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
