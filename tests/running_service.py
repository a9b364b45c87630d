"""``cogvideox serve`` as a process of its own, for tests of the whole."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WAIT_S = 40.0


class Served:
    """A running service."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        port: int = 0,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "cogvideox", "serve", "--engine", "fake", "--data-dir", str(folder)]
        command += ["--port", str(port), "--lease", "30", "--grace", "3", *options]
        errors = None if log is None else log.open("w")
        every = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=every)
        if errors is not None:
            errors.close()
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1].rstrip("/")
        self.port = int(self.url.rsplit(":", 1)[1])

    def children(self) -> dict[str, int]:
        """Return the numbers of the processes by what they are."""
        pid = self.process.pid
        numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        named = {}
        for number in numbers:
            text = Path(f"/proc/{number}/cmdline").read_text()
            named["api" if "api_main" in text else "worker"] = int(number)
        return named

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def wait_for(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            if is_so():
                return
        except (OSError, urllib.error.URLError):
            pass
        assert time.monotonic() < end_s
        time.sleep(0.1)
