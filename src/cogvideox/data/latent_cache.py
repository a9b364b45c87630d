"""Posteriors of clips, encoded once and read many times: a folder that outlives training runs.

- ``cache.json``: which encoder made it.
- ``shard_*.safetensors``: of each clip the posterior's mean and log variance (C, T, H, W) float16, unscaled, and the
  first frame (H, W, 3) uint8.
- ``shard_*.jsonl``: the clips of that shard. It appears last: a shard without it does not count.
- ``rejected.jsonl``: clips that cannot be encoded, with the reasons.

A clip is known by its id, its version and the shape that it was made into. Several processes may write to one folder.

Axes: C latent channels, T latent frames, H W latent rows and columns.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cogvideox.data.clips import ClipShape, ClipSource, ClipTable, Rejected
from cogvideox.media.video import to_tensor
from cogvideox.models.autoencoder import VideoAutoencoder

FORMAT_VERSION = 2
NUM_CLIPS_PER_SHARD = 256
MAX_SHARD_BYTES = 64 * 2**20
NUM_ENCODED_AT_ONCE = 8
MAX_PIXELS_AT_ONCE = 2**22
"""Frames of more together are encoded in smaller batches, as the encoder's memory grows with them."""
NUM_READERS = 4
NUM_CLIPS_MEASURED = 2000
LARGEST_HALF = torch.finfo(torch.float16).max

WantedClips = Sequence[tuple[int, ClipShape]]
"""Rows of a table, and what each is made into."""
_Key = tuple[str, str, ClipShape]


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedClip:
    """What is kept of a clip, float32."""

    mean: Tensor
    """Of the posterior, (C, T, H, W), unscaled."""
    log_variance: Tensor
    """(C, T, H, W)."""
    first_frame: Tensor
    """(3, 1, height_px, width_px) in [-1, 1]."""


@dataclass
class _Shard:
    """What is encoded and not yet written."""

    keys: list[_Key] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        size_bytes = sum(tensor.nbytes for tensor in self.tensors.values())
        return len(self.keys) >= NUM_CLIPS_PER_SHARD or size_bytes >= MAX_SHARD_BYTES

    def add(self, key: _Key, mean: Tensor, log_variance: Tensor, first_frame: NDArray[np.uint8]) -> None:
        row = len(self.keys)
        self.keys.append(key)
        self.tensors[f"{row}.mean"] = mean.clamp(-LARGEST_HALF, LARGEST_HALF).half().contiguous()
        self.tensors[f"{row}.log_variance"] = log_variance.half().contiguous()
        self.tensors[f"{row}.first_frame"] = torch.from_numpy(first_frame.copy())


class LatentCache:
    """A cache folder and the autoencoder that fills it; `open` makes one."""

    def __init__(self, folder: Path, autoencoder: VideoAutoencoder, *, uses_bfloat16: bool) -> None:
        self.folder = folder
        self._autoencoder = autoencoder
        self._uses_bfloat16 = uses_bfloat16
        self._places: dict[_Key, tuple[str, int]] = {}
        self._reasons: dict[_Key, str] = {}
        self._listed: set[str] = set()
        self._readers: dict[str, Any] = {}

    @classmethod
    def open(cls, folder: str | Path, autoencoder: VideoAutoencoder, *, uses_bfloat16: bool = False) -> Self:
        """Open a folder, making it if it is not there; nothing is encoded yet.

        Args:
            folder: of the cache.
            autoencoder: encodes what is missing.
            uses_bfloat16: whether it does under bf16 autocast.

        Raises:
            ValueError: the folder holds latents of other weights or of another format, or is damaged.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _check_origin(folder / "cache.json", autoencoder)
        cache = cls(folder, autoencoder, uses_bfloat16=uses_bfloat16)
        cache.refresh()
        return cache

    def refresh(self) -> None:
        """Take note of what other processes have written. Raises ValueError if the list of a shard is damaged."""
        for path in sorted(self.folder.glob("shard_*.jsonl")):
            if path.stem in self._listed:
                continue
            try:
                keys = [_parse_key(line)[0] for line in path.read_text(encoding="utf-8").splitlines()]
            except ValueError as error:
                raise ValueError(f"{path}: damaged list of clips ({error}); {_advice(path.stem)}") from None
            self._places |= {key: (path.stem, row) for row, key in enumerate(keys)}
            self._listed.add(path.stem)
        path = self.folder / "rejected.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                key, values = _parse_key(line)
            except ValueError:
                continue  # the end of an interrupted run: that clip is tried again
            self._reasons[key] = str(values.get("reason"))

    def is_rejected(self, clip_id: str, version: str, shape: ClipShape) -> bool:
        """Whether a clip was found to be unusable."""
        return (clip_id, version, shape) in self._reasons

    def missing(self, table: ClipTable, wanted: WantedClips) -> list[tuple[int, ClipShape]]:
        """Return, without repetitions, what is still to be encoded: neither cached nor rejected."""
        self.refresh()
        keys = {item: _key_of(table, *item) for item in wanted}
        return [item for item, key in keys.items() if key not in self._places and key not in self._reasons]

    def encode(
        self, source: ClipSource, wanted: WantedClips, on_progress: Callable[[int, int], None] | None = None
    ) -> list[Rejected]:
        """Encode what is missing, and return all wanted clips that are rejected, now or by an earlier run.

        An interrupted call loses what its last unwritten shard would have held; the next one goes on from there.

        Args:
            source: of the clips.
            wanted: rows and shapes.
            on_progress: hears how many of the missing clips are done, and how many there are.

        Raises:
            ValueError: a shape is not one that the autoencoder takes.
            OSError: the cache cannot be written, or the source's disk cannot be read.
        """
        table = source.table
        missing = self.missing(table, wanted)
        num_done = 0
        shard = _Shard()
        for clips in _read_ahead(source, _batches(missing)):
            self._encode_batch(table, clips, shard)
            if shard.is_full:
                self._write(shard)
                shard = _Shard()
            num_done += len(clips)
            if on_progress is not None:
                on_progress(num_done, len(missing))
        if shard.keys:
            self._write(shard)
        keys = dict.fromkeys(_key_of(table, *item) for item in wanted)
        return [Rejected(clip_id=key[0], reason=self._reasons[key]) for key in keys if key in self._reasons]

    def read(self, clip_id: str, version: str, shape: ClipShape) -> CachedClip:
        """Return a clip, from the disk.

        Raises:
            ValueError: it is not in the cache, or its shard is damaged.
        """
        key = (clip_id, version, shape)
        if key not in self._places:
            self.refresh()
        if key not in self._places:
            raise ValueError(f"{self.folder}: clip {clip_id!r}, version {version}, is not cached as {shape}: encode it")
        stem, row = self._places[key]
        path = self.folder / f"{stem}.safetensors"
        try:
            if stem not in self._readers:
                self._readers[stem] = safe_open(path, framework="pt")
            get = self._readers[stem].get_tensor
            frame = get(f"{row}.first_frame").numpy()
            mean, log_variance = get(f"{row}.mean").float(), get(f"{row}.log_variance").float()
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: damaged shard ({error}); {_advice(stem)}") from None
        return CachedClip(mean=mean, log_variance=log_variance, first_frame=to_tensor(frame[None]))

    def mean_and_std(self, table: ClipTable, wanted: WantedClips) -> tuple[float, float]:
        """Return mean and standard deviation over the elements of all means, of at most 2000 clips spread evenly.

        Raises:
            ValueError: none of the clips is cached.
        """
        self.refresh()
        keys = [key for key in dict.fromkeys(_key_of(table, *item) for item in wanted) if key in self._places]
        if not keys:
            raise ValueError(f"{self.folder}: none of the {len(wanted)} clips is cached: encode them")
        chosen = np.linspace(0, len(keys) - 1, min(len(keys), NUM_CLIPS_MEASURED)).astype(int)
        count, total, total_of_squares = 0, 0.0, 0.0
        for index in chosen:
            mean = self.read(*keys[index]).mean.double()
            count += mean.numel()
            total += float(mean.sum())
            total_of_squares += float(mean.square().sum())
        average = total / count
        return average, max(total_of_squares / count - average**2, 0.0) ** 0.5

    def _encode_batch(self, table: ClipTable, clips: "list[_Clip]", shard: _Shard) -> None:
        keys: list[_Key] = []
        frames: list[NDArray[np.uint8]] = []
        for index, shape, reading in clips:
            key = _key_of(table, index, shape)
            try:
                frames.append(reading.result())
            except ValueError as error:
                self._reject(key, str(error))
            else:
                keys.append(key)
        if not keys:
            return
        weight = next(self._autoencoder.parameters())
        pixels = to_tensor(np.stack(frames)).to(weight.device, weight.dtype)
        with torch.no_grad(), torch.autocast(weight.device.type, torch.bfloat16, enabled=self._uses_bfloat16):
            posterior = self._autoencoder.encode(pixels)
        means, log_variances = posterior.mean.float().cpu(), posterior.log_variance.float().cpu()
        for key, mean, log_variance, clip in zip(keys, means, log_variances, frames, strict=True):
            if mean.isfinite().all() and log_variance.isfinite().all():
                shard.add(key, mean, log_variance, clip[0])
            else:
                self._reject(key, "its latents are NaN or infinite")

    def _reject(self, key: _Key, reason: str) -> None:
        self._reasons[key] = reason
        with (self.folder / "rejected.jsonl").open("a", encoding="utf-8") as file:
            file.write(_key_line(key, reason=reason))

    def _write(self, shard: _Shard) -> None:
        # The random part keeps processes apart that write at the same time.
        stem = f"shard_{len(self._listed):05d}_{secrets.token_hex(4)}"
        path = self.folder / f"{stem}.safetensors"
        _write_whole(path, save(shard.tensors))
        try:
            _write_whole(path.with_suffix(".jsonl"), "".join(map(_key_line, shard.keys)).encode())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._places |= {key: (stem, row) for row, key in enumerate(shard.keys)}
        self._listed.add(stem)


_Clip = tuple[int, ClipShape, Future[NDArray[np.uint8]]]


def _batches(wanted: WantedClips) -> list[WantedClips]:
    by_shape: dict[ClipShape, list[tuple[int, ClipShape]]] = {}
    for index, shape in wanted:
        by_shape.setdefault(shape, []).append((index, shape))
    batches: list[WantedClips] = []
    for shape, items in by_shape.items():
        num_pixels = shape.num_frames * shape.height_px * shape.width_px
        size = min(max(MAX_PIXELS_AT_ONCE // num_pixels, 1), NUM_ENCODED_AT_ONCE)
        batches += [items[start : start + size] for start in range(0, len(items), size)]
    return batches


def _read_ahead(source: ClipSource, batches: list[WantedClips]) -> Iterator[list[_Clip]]:
    """Yield batch after batch while the next one is being read."""
    with ThreadPoolExecutor(NUM_READERS) as pool:
        ahead: list[_Clip] = []
        for batch in [*batches, ()]:
            current, ahead = ahead, [(index, shape, pool.submit(source.read, index, shape)) for index, shape in batch]
            if current:
                yield current


def _key_of(table: ClipTable, index: int, shape: ClipShape) -> _Key:
    return table.clip_ids[index], table.versions[index], shape


def _key_line(key: _Key, **more: str) -> str:
    clip_id, version, shape = key
    return json.dumps({"clip_id": clip_id, "version": version, "shape": asdict(shape)} | more) + "\n"


def _parse_key(line: str) -> tuple[_Key, dict[str, Any]]:
    """Return the key of a line and all its values. Raises ValueError if it has none."""
    try:
        values = json.loads(line)
        return (values["clip_id"], values["version"], ClipShape(**values["shape"])), values
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the line of a clip: {error}") from None


def _advice(stem: str) -> str:
    return f"delete {stem}.safetensors and {stem}.jsonl, and encode again"


def _check_origin(path: Path, autoencoder: VideoAutoencoder) -> None:
    digest = hashlib.sha256(autoencoder.norm_scope.encode())
    if autoencoder.config.temporal_compression_ratio != 4:  # the published one adds nothing: earlier caches stay valid
        digest.update(str(autoencoder.config.temporal_compression_ratio).encode())
    for parameter in autoencoder.encoder.parameters():
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    origin = {"format_version": FORMAT_VERSION, "encoder_sha256": digest.hexdigest()}
    if not path.exists():
        _write_whole(path, (json.dumps(origin, indent=2) + "\n").encode())
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); delete the folder or name another cache") from None
    if found != origin:
        raise ValueError(
            f"{path.parent}: holds latents of another autoencoder or of another version of this program: expected "
            f"{origin}, got {found}; name another cache folder, or delete this one to encode everything again"
        )


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, whoever else writes one of its name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
