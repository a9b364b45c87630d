"""Where a server keeps its jobs and files if nobody says; without torch."""

import os
from pathlib import Path


def default_data_folder() -> Path:
    """Return the folder of this user: below XDG_DATA_HOME, else ``~/.local/share``."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "cogvideox"


def store_url(data_folder: Path) -> str:
    """Return the URL of the SQLite store in a data folder."""
    return f"sqlite:///{data_folder.absolute() / 'jobs.sqlite3'}"
