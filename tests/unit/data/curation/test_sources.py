import json
import os
from pathlib import Path

import pytest

from cogvideox.data.curation import sources as sources_module
from cogvideox.data.curation.sources import Digests, Source, find_sources


def find(folder: Path, *inputs: Path | str) -> dict[str, Source]:
    found = find_sources([str(name) for name in inputs], Digests(folder / "digests.json"))
    assert [source.name for source in found] == sorted(source.name for source in found)
    return {source.name: source for source in found}


def write(path: Path, content: str = "content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_every_file_below_is_found_by_its_name(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for name in ("b.mp4", "a.MOV", "no suffix", "sub/c.webm", "sub/deeper/d.strange", "sub/notes.md", "b.txt", "b.JPG"):
        write(videos / name, name)
    for name in (".hidden.mp4", ".folder/e.mp4", "sub/.f.mp4"):
        write(videos / name)
    raw = os.fsdecode(b"raw\xff.mp4")
    write(videos / raw, "raw")
    single = write(tmp_path / "single.txt", "one file, whatever it is called")
    found = find(tmp_path, videos, single)
    assert list(found) == [
        "single.txt",
        "videos/a.MOV",
        "videos/b.mp4",
        "videos/no suffix",
        "videos/raw\\xff.mp4",
        "videos/sub/c.webm",
        "videos/sub/deeper/d.strange",
    ]
    assert found["videos/raw\\xff.mp4"].path == videos / raw
    assert all(len(source.digest) == 64 and not source.reason for source in found.values())
    assert len({source.digest for source in found.values()}) == len(found)
    assert found["videos/b.mp4"].size_bytes == 5
    # The input's own name, however it is written.
    monkeyed = os.getcwd()
    try:
        os.chdir(videos)
        assert list(find(tmp_path, ".")) == [name for name in found if name.startswith("videos/")]
    finally:
        os.chdir(monkeyed)


def test_links_are_followed_once(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    write(videos / "a.mp4", "a")
    write(tmp_path / "elsewhere" / "b.mp4", "b")
    (videos / "folder").symlink_to("../elsewhere")
    (videos / "back").symlink_to(".")
    (videos / "link.mp4").symlink_to("a.mp4")
    (videos / "broken.mp4").symlink_to("nowhere")
    (videos / "loop.mp4").symlink_to("loop.mp4")
    found = find(tmp_path, videos)
    names = ["a.mp4", "broken.mp4", "folder/b.mp4", "link.mp4", "loop.mp4"]
    assert list(found) == [f"videos/{name}" for name in names]
    assert found["videos/link.mp4"].digest == found["videos/a.mp4"].digest != found["videos/folder/b.mp4"].digest
    assert "No such file" in found["videos/broken.mp4"].reason and not found["videos/broken.mp4"].digest
    assert "symbolic links" in found["videos/loop.mp4"].reason


@pytest.mark.timeout(20)
def test_what_cannot_be_read_is_there_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = tmp_path / "videos"
    write(videos / "good.mp4")
    write(videos / "empty.mp4", "")
    write(videos / "private.mp4", "secret")
    write(videos / "closed" / "a.mp4")
    os.mkfifo(videos / "fifo.mp4")  # who opens it waits for ever
    read, scan = sources_module._sha256, os.scandir

    def refuse(path: Path) -> str:  # root may read all, so that permissions show nothing
        if path.name == "private.mp4":
            raise PermissionError(13, "Permission denied")
        return read(path)

    def scan_or_refuse(path: str):
        if os.path.basename(os.fspath(path)) == "closed":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(sources_module, "_sha256", refuse)
    monkeypatch.setattr(os, "scandir", scan_or_refuse)
    found = find(tmp_path, videos)
    assert {name: source.reason for name, source in found.items()} == {
        "videos/closed": "not readable (Permission denied)",
        "videos/empty.mp4": "empty file",
        "videos/fifo.mp4": "not a regular file",
        "videos/good.mp4": "",
        "videos/private.mp4": "not readable (Permission denied)",
    }
    assert [name for name, source in found.items() if source.digest] == ["videos/good.mp4"]


def test_inputs_that_are_not_there_and_empty_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file or folder: .*gone"):
        find(tmp_path, tmp_path / "gone")
    write(tmp_path / "texts" / "a.txt")
    with pytest.raises(ValueError, match=r"expected videos in .*texts, got none"):
        find(tmp_path, tmp_path / "texts")


def test_files_of_one_name_in_two_inputs_are_two(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a" / "videos" / "x.mp4", "1"), write(tmp_path / "b" / "videos" / "x.mp4", "22")
    found = find(tmp_path, first.parent, second.parent)
    assert {source.path for source in found.values()} == {first, second}
    assert len(find(tmp_path, first.parent, first.parent)) == 1  # the same one twice is one


def test_a_file_is_read_again_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = tmp_path / "videos"
    files = [write(videos / name, name) for name in ("a.mp4", "b.mp4")]
    read, names = sources_module._sha256, []

    def counting(path: Path) -> str:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(sources_module, "_sha256", counting)
    before = find(tmp_path, videos)
    assert names == ["a.mp4", "b.mp4"]
    assert find(tmp_path, videos) == before and names == ["a.mp4", "b.mp4"]
    status = files[0].stat()
    files[0].write_text("z.mp4")  # as long as it was
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = find(tmp_path, videos)
    assert names == ["a.mp4", "b.mp4", "a.mp4"]
    assert after["videos/a.mp4"].digest != before["videos/a.mp4"].digest
    # Another file in its place, with its size and time.
    other = write(tmp_path / "other", "y.mp4")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    os.replace(other, files[0])
    assert find(tmp_path, videos)["videos/a.mp4"].digest not in (
        before["videos/a.mp4"].digest,
        after["videos/a.mp4"].digest,
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "null"])
def test_remembered_digests_only_save_time(tmp_path: Path, content: str) -> None:
    write(tmp_path / "videos" / "a.mp4", "a")
    expected = find(tmp_path, tmp_path / "videos")
    known = json.loads((tmp_path / "digests.json").read_text())
    (tmp_path / "digests.json").write_text(content.replace('"a"', json.dumps(next(iter(known)))))
    assert find(tmp_path, tmp_path / "videos") == expected


def test_a_text_file_beside_a_video_is_its_caption(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"):
        write(videos / name, name)
    (videos / "a.txt").write_bytes("\ufeff A fox. \n\n  Ein Fuchs läuft.\r\n".encode())
    (videos / "b.txt").write_bytes(b"\xff\xfe\x00")
    (videos / "c.txt").mkdir()
    (videos / "d.txt").write_text(" \n")
    found = find(tmp_path, videos)
    assert found["videos/a.mp4"].captions == ("A fox.", "Ein Fuchs läuft.")
    assert [found[f"videos/{name}.mp4"].captions for name in "bcde"] == [(), (), (), ()]
    assert all(source.digest for source in found.values())
