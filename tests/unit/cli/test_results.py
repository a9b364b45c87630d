from pathlib import Path

import pytest

from cogvideox.cli.results import Saving, Target, check_target


def make(name: str) -> Target:
    """Leave a video of that name with its settings."""
    target = Target.named(name)
    if target.path.suffix in (".mp4", ".webm", ".gif"):
        target.path.touch()
    else:
        target.path.mkdir()
        (target.path / "video.json").touch()
    target.settings_path.touch()
    return target


def names(target: Target) -> list[str]:
    return [target.path.name, target.settings_path.name, target.latents_path.name]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_lone_video_has_the_plain_names() -> None:
    Path("a").mkdir()  # not a folder of frames
    for name, stem in {"a.mp4": "a", "b.webm": "b", "c": "c", "d.v2.gif": "d.v2", "e.v2/": "e.v2"}.items():
        plain = [Path(name).name, f"{stem}.json", f"{stem}.latents.safetensors"]
        assert names(Target.named(name)) == plain
        assert names(make(name)) == names(Target.named(name)) == plain, "and when it is made again"


def test_names_of_another_video_are_left_to_it() -> None:
    make("a.mp4")
    for name, full in {"a.webm": "a.webm", "a.gif": "a.gif", "a": "a.frames"}.items():
        own = [name, f"{full}.json", f"{full}.latents.safetensors"]
        assert names(make(name)) == names(Target.named(name)) == own
    assert names(Target.named("a.mp4"))[1] == "a.json"
    Path("a.mp4").unlink()
    assert names(Target.named("a.webm"))[1] == "a.webm.json", "as before"


def test_a_slash_makes_a_folder_of_any_name() -> None:
    check_target(Target.named("clip.v2/"), Saving(), height_px=32, width_px=32, fps=8)
    with pytest.raises(ValueError, match=r"--out clip\.v2: .*or / at the end"):
        check_target(Target.named("clip.v2"), Saving(), height_px=32, width_px=32, fps=8)
    with pytest.raises(ValueError, match="expected the name of a file or folder"):
        Target.named("")
