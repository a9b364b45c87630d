"""Reading back the settings that `write_video` keeps in its outputs. Without torch."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from cogvideox.media.outputs import FOLDER_SETTINGS_NAME, PNG_SETTINGS_KEY


def read_settings(path: str | Path) -> str | None:
    """Return the settings of an mp4, webm or gif file, of a folder of PNG frames or of one such frame.

    Files of other tools may have a comment of their own at that place, which is returned as it is.

    Raises:
        ValueError: there is no such file or folder, or it is not readable.
    """
    path = Path(path)
    if path.is_dir():
        settings = read_folder_values(path).get("settings")
        return settings if isinstance(settings, str) else None
    if not path.is_file():
        raise ValueError(f"path: no such video file: {path}")
    if path.suffix.lower() in (".png", ".gif"):
        return _read_picture_text(path)
    from cogvideox.media.containers import read_comment

    return read_comment(path)


def read_folder_values(folder: Path) -> dict[str, Any]:
    """Return what ``video.json`` of a folder of frames says: fps, num_frames, settings; nothing if there is none.

    Raises:
        ValueError: it is no JSON object.
    """
    file = folder / FOLDER_SETTINGS_NAME
    if not file.exists():
        return {}
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"path: {file} is not readable as JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"path: {file}: expected a JSON object")
    return values


def _read_picture_text(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            value = image.info.get(PNG_SETTINGS_KEY if image.format == "PNG" else "comment")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"path: {path} is not a readable picture ({error})") from None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(value)
