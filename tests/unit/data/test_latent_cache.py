"""Caches of latents outlive runs, belong to one autoencoder and name what is damaged."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cogvideox.configs import AutoencoderConfig
from cogvideox.data import latent_cache
from cogvideox.data.clips import ClipShape, ClipTable, Rejected
from cogvideox.data.latent_cache import LatentCache
from cogvideox.media.video import to_tensor
from cogvideox.models.autoencoder import VideoAutoencoder

CONFIG = AutoencoderConfig(block_out_channels=(4, 8, 8, 8), layers_per_block=1, norm_num_groups=2)
CLIP = ClipShape(num_frames=9, height_px=32, width_px=48, fps=8)
PICTURE = ClipShape(num_frames=1, height_px=16, width_px=24, fps=0)


class Noise:
    """Clips of noise, of which those in ``unreadable`` raise."""

    def __init__(self, num_clips: int = 20, version: str = "1", unreadable: dict[int, Exception] | None = None) -> None:
        self.unreadable = unreadable or {}
        self.num_reads = 0
        ones = np.ones(num_clips, np.int64)
        self.table = ClipTable(
            clip_ids=tuple(f"folder/clip {index}.mp4" for index in range(num_clips)),
            versions=(version,) * num_clips,
            num_frames=9 * ones,
            height_px=32 * ones,
            width_px=48 * ones,
            fps=8.0 * ones,
            captions=(("noise",),) * num_clips,
        )

    def read(self, index: int, shape: ClipShape) -> np.ndarray:
        self.num_reads += 1
        if index in self.unreadable:
            raise self.unreadable[index]
        rng = np.random.default_rng(index)
        return rng.integers(0, 256, (shape.num_frames, shape.height_px, shape.width_px, 3), dtype=np.uint8)

    def key(self, index: int, shape: ClipShape) -> tuple[str, str, ClipShape]:
        return self.table.clip_ids[index], self.table.versions[index], shape


WANTED = [(index, PICTURE if index % 3 == 0 else CLIP) for index in range(20)]


@pytest.fixture(scope="module")
def autoencoder() -> VideoAutoencoder:
    torch.manual_seed(0)
    return VideoAutoencoder(CONFIG)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other beside a busy process take a hundred times as long as this work."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_cache, "NUM_CLIPS_PER_SHARD", 6)
    monkeypatch.setattr(latent_cache, "NUM_ENCODED_AT_ONCE", 3)


def assert_holds_all(cache: LatentCache, autoencoder: VideoAutoencoder, source: Noise, wanted=WANTED) -> None:
    for index, shape in wanted:
        clip = cache.read(*source.key(index, shape))
        pixels = to_tensor(source.read(index, shape))
        with torch.no_grad():
            posterior = autoencoder.encode(pixels[None])
        assert clip.mean.dtype == clip.log_variance.dtype == torch.float32
        torch.testing.assert_close(clip.mean, posterior.mean[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(clip.log_variance, posterior.log_variance[0], rtol=1e-3, atol=1e-3)
        assert torch.equal(clip.first_frame, pixels[:, :1])


def test_what_is_encoded_is_read_by_any_later_run(tmp_path: Path, autoencoder: VideoAutoencoder) -> None:
    source, progress = Noise(), []
    cache = LatentCache.open(tmp_path / "new" / "cache", autoencoder)
    assert cache.missing(source.table, WANTED + WANTED) == WANTED
    assert cache.encode(source, WANTED, lambda *counts: progress.append(counts)) == []
    assert progress == [(n, 20) for n in (3, 6, 7, 10, 13, 16, 19, 20)]
    assert_holds_all(cache, autoencoder, source)
    again = LatentCache.open(tmp_path / "new" / "cache", autoencoder)
    assert again.missing(source.table, WANTED) == []
    num_reads = source.num_reads
    assert again.encode(source, WANTED) == [] and source.num_reads == num_reads
    assert_holds_all(again, autoencoder, source)


def test_shape_and_version_are_part_of_the_name(tmp_path: Path, autoencoder: VideoAutoencoder) -> None:
    cache = LatentCache.open(tmp_path, autoencoder)
    cache.encode(Noise(), [(0, CLIP), (1, CLIP)])
    assert cache.missing(Noise().table, [(0, CLIP), (0, PICTURE), (2, CLIP)]) == [(0, PICTURE), (2, CLIP)]
    assert cache.missing(Noise(version="2").table, [(0, CLIP)]) == [(0, CLIP)]
    with pytest.raises(ValueError, match=r"'folder/clip 2\.mp4', version 1, is not cached as ClipShape"):
        cache.read(*Noise().key(2, CLIP))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("the network is down"), MemoryError()])
def test_an_interrupted_encode_goes_on_where_it_stopped(
    tmp_path: Path, autoencoder: VideoAutoencoder, error: BaseException
) -> None:
    whole = LatentCache.open(tmp_path / "whole", autoencoder)
    whole.encode(Noise(), WANTED)
    source = Noise(unreadable={16: error})
    with pytest.raises(type(error)):
        LatentCache.open(tmp_path / "cut", autoencoder).encode(source, WANTED)
    source.unreadable.clear()
    cache = LatentCache.open(tmp_path / "cut", autoencoder)
    missing = cache.missing(source.table, WANTED)
    assert 0 < len(missing) < 20 and not (tmp_path / "cut" / "rejected.jsonl").exists()
    cache.encode(source, WANTED)
    for index, shape in WANTED:
        first, second = whole.read(*source.key(index, shape)), cache.read(*source.key(index, shape))
        assert torch.equal(first.mean, second.mean) and torch.equal(first.log_variance, second.log_variance)
        assert torch.equal(first.first_frame, second.first_frame)
    assert not list((tmp_path / "cut").glob("*.tmp")) and not list((tmp_path / "cut").glob(".*"))


def test_several_processes_share_a_folder(tmp_path: Path, autoencoder: VideoAutoencoder) -> None:
    source = Noise()
    caches = [LatentCache.open(tmp_path, autoencoder) for _ in range(2)]
    for rank, cache in enumerate(caches):
        cache.encode(source, WANTED[rank::2])
    for cache in caches:
        assert cache.missing(source.table, WANTED) == []
        assert_holds_all(cache, autoencoder, source, WANTED[:4])


def test_two_processes_may_encode_the_same(
    tmp_path: Path, autoencoder: VideoAutoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = [LatentCache.open(tmp_path, autoencoder) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(LatentCache, "refresh", lambda self: None)
        for cache in caches:
            cache.encode(Noise(), WANTED)
    num_listed = sum(len(path.read_text().splitlines()) for path in tmp_path.glob("shard_*.jsonl"))
    assert num_listed == 2 * len(WANTED)
    assert_holds_all(LatentCache.open(tmp_path, autoencoder), autoencoder, Noise())


def test_other_weights_are_refused(tmp_path: Path, autoencoder: VideoAutoencoder) -> None:
    LatentCache.open(tmp_path, autoencoder)
    LatentCache.open(tmp_path, autoencoder)
    with pytest.raises(ValueError, match=r"latents of another autoencoder.* name another cache folder, or delete"):
        LatentCache.open(tmp_path, VideoAutoencoder(CONFIG))
    other = VideoAutoencoder(CONFIG, norm_scope="frame")
    other.load_state_dict(autoencoder.state_dict())
    with pytest.raises(ValueError, match="another autoencoder"):
        LatentCache.open(tmp_path, other)
    (tmp_path / "cache.json").write_text("{")
    with pytest.raises(ValueError, match=r"cache\.json: not readable as JSON"):
        LatentCache.open(tmp_path, autoencoder)


def test_unreadable_clips_are_recorded_and_the_rest_goes_on(tmp_path: Path, autoencoder: VideoAutoencoder) -> None:
    source = Noise(unreadable={4: ValueError("damaged"), 9: ValueError("too short")})
    cache = LatentCache.open(tmp_path, autoencoder)
    expected = [Rejected(clip_id="folder/clip 4.mp4", reason="damaged")]
    expected += [Rejected(clip_id="folder/clip 9.mp4", reason="too short")]
    assert cache.encode(source, WANTED) == expected
    assert cache.is_rejected(*source.key(4, CLIP)) and not cache.is_rejected(*source.key(5, CLIP))
    assert cache.missing(source.table, WANTED) == []
    assert_holds_all(cache, autoencoder, source, [item for item in WANTED if item[0] not in (4, 9)])
    with (tmp_path / "rejected.jsonl").open("a") as file:
        file.write('{"clip_id": "cut')
    later = LatentCache.open(tmp_path, autoencoder)
    num_reads = source.num_reads
    assert later.encode(source, WANTED) == expected and source.num_reads == num_reads, "it is not tried again"
    repaired = Noise(version="2")
    assert later.encode(repaired, [(4, CLIP)]) == []
    assert not later.is_rejected(*repaired.key(4, CLIP))


def test_latents_that_are_no_numbers_are_rejected(tmp_path: Path) -> None:
    broken = VideoAutoencoder(CONFIG)
    with torch.no_grad():
        broken.encoder.conv_out.conv.bias[3] = torch.nan
    cache = LatentCache.open(tmp_path, broken)
    rejected = cache.encode(Noise(), [(0, PICTURE), (1, PICTURE)])
    assert [clip.reason for clip in rejected] == ["its latents are NaN or infinite"] * 2
    with pytest.raises(ValueError, match="none of the 2 clips is cached"):
        cache.mean_and_std(Noise().table, [(0, PICTURE), (1, PICTURE)])


def test_large_latents_stay_finite(tmp_path: Path) -> None:
    loud = VideoAutoencoder(CONFIG)
    with torch.no_grad():
        loud.encoder.conv_out.conv.bias[0] = 1e6
    cache = LatentCache.open(tmp_path, loud)
    cache.encode(Noise(), [(0, PICTURE)])
    assert cache.read(*Noise().key(0, PICTURE)).mean.max() == 65504


def test_a_shape_that_does_not_suit_the_autoencoder_is_no_fault_of_the_clips(
    tmp_path: Path, autoencoder: VideoAutoencoder
) -> None:
    cache = LatentCache.open(tmp_path, autoencoder)
    with pytest.raises(ValueError, match="multiples of 8 px"):
        cache.encode(Noise(), [(0, ClipShape(num_frames=9, height_px=20, width_px=24, fps=8))])
    assert not (tmp_path / "rejected.jsonl").exists()


def test_damaged_shards_are_named(tmp_path: Path, autoencoder: VideoAutoencoder) -> None:
    source = Noise()
    LatentCache.open(tmp_path, autoencoder).encode(source, WANTED)
    shards = sorted(tmp_path.glob("shard_*.safetensors"))
    shards[0].write_bytes(shards[0].read_bytes()[:-100])
    shards[1].unlink()
    cache = LatentCache.open(tmp_path, autoencoder)
    num_readable = 0
    for index, shape in WANTED:
        try:
            cache.read(*source.key(index, shape))
            num_readable += 1
        except ValueError as error:
            assert "damaged shard" in str(error) and "and encode again" in str(error)
            assert str(shards[0]) in str(error) or str(shards[1]) in str(error)
    assert 0 < num_readable < 18
    for path in (shards[0], *(shard.with_suffix(".jsonl") for shard in shards[:2])):
        path.unlink()
    cache = LatentCache.open(tmp_path, autoencoder)
    cache.encode(source, WANTED)
    assert_holds_all(cache, autoencoder, source)
    shards[2].with_suffix(".jsonl").write_text("[1]\n")
    with pytest.raises(ValueError, match=r"shard_.*\.jsonl: damaged list of clips .*delete shard_"):
        LatentCache.open(tmp_path, autoencoder)


@pytest.mark.parametrize("suffix", [".safetensors", ".jsonl"])
def test_a_full_disk_leaves_no_parts(
    tmp_path: Path, autoencoder: VideoAutoencoder, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    write_bytes = Path.write_bytes

    def write_a_part(path: Path, content: bytes) -> int:
        if f"{suffix}." not in path.name:
            return write_bytes(path, content)
        write_bytes(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    cache = LatentCache.open(tmp_path, autoencoder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_a_part)
        with pytest.raises(OSError, match="No space left"):
            cache.encode(Noise(), WANTED)
    assert [path.name for path in tmp_path.iterdir()] == ["cache.json"]
    assert cache.missing(Noise().table, WANTED) == WANTED


def test_mean_and_deviation(tmp_path: Path, autoencoder: VideoAutoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Noise()
    cache = LatentCache.open(tmp_path, autoencoder)
    cache.encode(source, WANTED)
    values = torch.cat([cache.read(*source.key(*item)).mean.flatten() for item in WANTED])
    mean, std = cache.mean_and_std(source.table, [*WANTED, (0, CLIP)])
    assert mean == pytest.approx(float(values.mean()), rel=1e-4) and std == pytest.approx(float(values.std()), rel=1e-3)
    monkeypatch.setattr(latent_cache, "NUM_CLIPS_MEASURED", 5)
    assert cache.mean_and_std(source.table, WANTED)[1] == pytest.approx(std, rel=0.2)


def test_bfloat16_is_close(tmp_path: Path, autoencoder: VideoAutoencoder) -> None:
    exact, fast = (LatentCache.open(tmp_path / str(use), autoencoder, uses_bfloat16=use) for use in (False, True))
    for cache in (exact, fast):
        cache.encode(Noise(), [(1, CLIP)])
    first, second = (cache.read(*Noise().key(1, CLIP)).mean for cache in (exact, fast))
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, second, rtol=0.05, atol=0.05)


def test_the_files_say_what_they_hold(tmp_path: Path, autoencoder: VideoAutoencoder) -> None:
    LatentCache.open(tmp_path, autoencoder).encode(Noise(), WANTED[:2])
    (listed,) = tmp_path.glob("shard_00000_*.jsonl")
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    shape = {"num_frames": 1, "height_px": 16, "width_px": 24, "fps": 0}
    assert {"clip_id": "folder/clip 0.mp4", "version": "1", "shape": shape} in lines
    assert set(json.loads((tmp_path / "cache.json").read_text())) == {"format_version", "encoder_sha256"}
