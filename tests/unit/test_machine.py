from pathlib import Path

import pytest

from cogvideox import machine
from cogvideox.cli.plan import available_bytes
from cogvideox.machine import GroupMemory, cache_folder, group_memory

NO_LIMIT_V1 = 9223372036854771712


def write_group(root: Path, version: int, limit: str | int, used: int = 1000) -> None:
    folder = root if version == 2 else root / "memory"
    folder.mkdir(exist_ok=True)
    names = {2: ("memory.max", "memory.current"), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes")}[version]
    prefix = "" if version == 2 else "total_"
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{prefix}inactive_file 300\n{prefix}active_file 50\n")


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups(tmp_path: Path, monkeypatch, version: int) -> None:
    assert group_memory(tmp_path) is None
    write_group(tmp_path, version, 5000)
    assert group_memory(tmp_path) == GroupMemory(limit_bytes=5000, used_bytes=650), "pages of files are given back"
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    assert available_bytes("cpu") == 4350


def test_no_limit_of_control_groups(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    without = available_bytes("cpu")
    write_group(tmp_path, 1, NO_LIMIT_V1)
    assert available_bytes("cpu") == pytest.approx(without, rel=0.2)
    write_group(tmp_path, 2, "max")
    assert available_bytes("cpu") == pytest.approx(without, rel=0.2)


def test_cache_folder(monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/cogvideox")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "cogvideox"
