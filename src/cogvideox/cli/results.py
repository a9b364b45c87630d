"""What commands leave on disk: a video, its settings and, while they may be needed, its latents."""

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cogvideox.cli.output import OK, print_json
from cogvideox.cli.request import NOT_SETTINGS, settings_from
from cogvideox.component_files import write_atomically
from cogvideox.errors import CheckpointError
from cogvideox.media.outputs import (
    FOLDER_SETTINGS_NAME,
    OUTPUT_SUFFIXES,
    VideoCodec,
    check_output_path,
    is_folder_name,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cogvideox.generation.generator import VideoGenerator

SETTINGS_SUFFIX = ".json"
LATENTS_SUFFIX = ".latents.safetensors"
RESUME_FLAGS = ("model", "device", "dtype", "fps", "tiling")
"""What may be changed for decoding alone."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """How results are written."""

    codec: VideoCodec | None = None
    is_forced: bool = False
    """Existing files are replaced."""
    keeps_latents: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """A video to write, and what lies beside it: ``a.json`` and, while needed, its latents beside ``a.mp4``.

    If another video has these names, as ``a.mp4`` has when ``a.webm`` comes, they are ``a.webm.json`` and so on, and
    ``a.frames.json`` beside a folder of frames ``a``.
    """

    path: Path
    name: str
    """As it was asked for; with a / at its end, it is a folder whatever its suffix."""
    settings_path: Path
    latents_path: Path

    @classmethod
    def named(cls, name: str) -> "Target":
        """Decide on names, by what there is. Raises ValueError if it is no name."""
        path = Path(name)
        if not path.name:
            raise ValueError(f"--out: expected the name of a file or folder, got {name!r}")
        is_file = path.suffix != "" and not is_folder_name(name)
        stem, suffix = (path.stem, path.suffix) if is_file else (path.name, "")
        others = [other for other in ("", *OUTPUT_SUFFIXES) if other != suffix.lower()]
        is_taken = any(_owns_plain_names(path, stem, other) for other in others)
        if is_taken or path.with_name(_full_name(stem, suffix) + SETTINGS_SUFFIX).exists():
            stem = _full_name(stem, suffix)
        settings, latents = (path.with_name(stem + ending) for ending in (SETTINGS_SUFFIX, LATENTS_SUFFIX))
        return cls(path=path, name=name, settings_path=settings, latents_path=latents)


def _full_name(stem: str, suffix: str) -> str:
    return stem + (suffix or ".frames")


def _owns_plain_names(beside: Path, stem: str, suffix: str) -> bool:
    """Whether there is a video of that name, a folder of frames without a suffix, with no settings of its full name."""
    video = beside.with_name(stem + suffix)
    is_there = video.is_file() if suffix else (video / FOLDER_SETTINGS_NAME).is_file()
    return is_there and not beside.with_name(_full_name(stem, suffix) + SETTINGS_SUFFIX).exists()


def default_name(text: str, ending: str, *, prefix: str | None = None, suffix: str = ".mp4") -> str:
    """Return the name of a video by what it shows: ``2025-01-31_a-fox-in-snow_ENDING.mp4``, today without a prefix."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48] or "video"
    return f"{prefix or datetime.now().strftime('%Y-%m-%d')}_{slug}_{ending}{suffix}"


def check_target(
    target: Target,
    saving: Saving,
    *,
    height_px: int | None,
    width_px: int | None,
    fps: float | None,
    has_latents: bool = False,
) -> None:
    """Raise ValueError before any work if the video, or the latents beside it, could not be written in the end."""
    try:
        check_output_path(target.name, codec=saving.codec, height_px=height_px, width_px=width_px, fps=fps)
    except ValueError as error:
        raise ValueError(f"--out {target.name}: {error}") from None
    for path in (target.path, target.settings_path, *([target.latents_path] if has_latents else [])):
        if path.exists() and not saving.is_forced:
            raise ValueError(f"--out: {path} exists; give --force to replace it")
    ancestor = target.path.absolute().parent
    while not ancestor.exists():
        ancestor = ancestor.parent
    try:
        with tempfile.TemporaryFile(dir=ancestor):  # permissions alone do not tell
            pass
    except OSError as error:
        raise ValueError(f"--out: cannot write into {ancestor} ({error.strerror})") from None


def write_result(
    generator: "VideoGenerator",
    latents: "Tensor",
    target: Target,
    settings: dict[str, Any],
    saving: Saving,
    console: Console,
) -> int:
    """Decode latents into a file and write the settings beside it; return the number of frames.

    The latents are on disk until the video is, so that nothing is lost if decoding fails.
    """
    target.path.parent.mkdir(parents=True, exist_ok=True)
    kept = _keep_latents(latents, target, settings, console)
    try:
        num_frames = write_frames(generator.decode_frames(latents), target, settings, saving)
    except BaseException:
        if kept is not None:
            command = f"cogvideox generate --resume {shlex.quote(str(kept))}"
            command += f" --codec {saving.codec}" if saving.codec else ""
            console.print(f"the latents are kept: {command}", markup=False, soft_wrap=True)
        raise
    if kept is not None and not saving.keeps_latents:
        kept.unlink(missing_ok=True)
    return num_frames


def _keep_latents(latents: "Tensor", target: Target, settings: dict[str, Any], console: Console) -> Path | None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    kept = target.latents_path
    temporary = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
    header = {"settings": json.dumps(settings), "out": target.path.name + "/" * is_folder_name(target.name)}
    try:
        save_file({"latents": latents.cpu().contiguous()}, temporary, metadata=header)
        os.replace(temporary, kept)
    except (OSError, SafetensorError) as error:  # the video may still be written
        console.print(f"warning: the latents cannot be kept: {error}", markup=False, soft_wrap=True)
        return None
    finally:
        temporary.unlink(missing_ok=True)
    return kept


def write_frames(chunks: "Iterable[np.ndarray]", target: Target, settings: dict[str, Any], saving: Saving) -> int:
    """Write frames (T, H, W, 3) uint8 as they come, and the settings beside them; return the number of frames."""
    from cogvideox.media.writers import write_video

    num_frames = write_video(
        target.name, chunks, fps=settings["fps"], codec=saving.codec, settings=json.dumps(settings, ensure_ascii=False)
    )
    try:
        write_atomically(target.settings_path, json.dumps(settings, indent=2) + "\n")
    except BaseException:  # a video never stands without its settings
        shutil.rmtree(target.path) if target.path.is_dir() else target.path.unlink()
        raise
    return num_frames


def resume_decoding(
    path: Path, out: str | None, saving: Saving, given: dict[str, Any], *, wants_json: bool = False
) -> int:
    """Decode the latents that a failed or an earlier run kept, and leave them; the other networks are not read.

    Args:
        path: the latents.
        out: as for a new video; by default the name that it was to have.
        saving: how it is written.
        given: flags that replace what was recorded: ``RESUME_FLAGS``, no others.
        wants_json: end standard output with one JSON object.

    Raises:
        CheckpointError: the file is damaged, or no latents of ours.
        ValueError: the video exists or cannot be written.
    """
    wrong = [name for name, value in given.items() if value is not None and name not in RESUME_FLAGS]
    if wrong:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise ValueError(f"--resume: the latents are made already, {flags} would change nothing")
    latents, values, name = _read_latents(path)
    values |= {name: value for name, value in given.items() if value is not None}
    settings = settings_from({key: value for key, value in values.items() if key not in NOT_SETTINGS}, str(path))
    target = Target.named(f"{path.parent}/{name}" if out is None else out)
    check_target(target, saving, height_px=settings.height, width_px=settings.width, fps=settings.fps)
    from cogvideox.generation.generator import VideoGenerator

    is_tiled = bool(settings.tiling)
    generator = VideoGenerator.load(
        settings.model, device=settings.device, dtype=settings.dtype, is_staged=True, is_tiled=is_tiled
    )
    values |= {"tiling": is_tiled}
    num_frames = write_frames(generator.decode_frames(latents), target, values, saving)
    print(f"{target.path}  ({num_frames} frames, decoded from {path.name})", flush=True)
    if wants_json:
        print_json({"ok": True, "data": {"path": str(target.path), "num_frames_written": num_frames} | values})
    return OK


def _read_latents(path: Path) -> "tuple[Tensor, dict[str, Any], str]":
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header, latents = file.metadata() or {}, file.get_tensor("latents")
        values, out = json.loads(header["settings"]), header["out"]
        name = Path(out).name + "/" * is_folder_name(out)
    except FileNotFoundError:
        raise ValueError(f"--resume {path}: no such file") from None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"--resume {path}: not latents that generate kept, or damaged ({error})") from None
    return latents, values, name
