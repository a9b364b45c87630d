"""Packages of npm that hold material, not code: fetched by name once, and known by their checksum."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cogvideox.errors import FetchError

FETCH_TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True)
class NpmPackage:
    """One file of the npm registry."""

    name: str
    version: str
    sha256: str
    """Of the package file."""
    what: str
    """What it holds, as the subject of a sentence: "the actors' pictures"."""

    def content(self, path: Path) -> bytes:
        """Return the package file, which is fetched to ``path`` if it is not there.

        Raises:
            FetchError: npm is missing, the fetch fails, or the file is not the expected one.
        """
        if not path.is_file():
            self._fetch(path)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise FetchError(f"{path} is not {self.name} {self.version} (other SHA-256): delete it and try again")
        return content

    def _fetch(self, target: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise FetchError(
                f"{self.what} come from the npm package {self.name}@{self.version}: install npm (nodejs.org, or your "
                f"system's package manager) and try again, or put the package file at {target}"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as folder:
            command = [npm, "pack", f"{self.name}@{self.version}", "--pack-destination", folder]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, cwd=folder)
            except subprocess.CalledProcessError as error:
                last_lines = "\n".join(str(error.stderr).strip().splitlines()[-5:])
                raise FetchError(
                    f"{self.what} could not be fetched; try again with a network, or put the package file at {target}: "
                    f"`{' '.join(command)}` failed:\n{last_lines}"
                ) from error
            except subprocess.TimeoutExpired as error:
                raise FetchError(f"`{' '.join(command)}` took longer than {FETCH_TIMEOUT_S} s") from error
            fetched = list(Path(folder).glob("*.tgz"))
            if len(fetched) != 1:
                raise FetchError(f"`{' '.join(command)}` should leave one .tgz file, it left {len(fetched)}")
            os.replace(fetched[0], target)
