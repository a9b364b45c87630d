"""`cogvideox serve` with an engine that needs no model, and a browser before its page; for tests."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cogvideox.serving.data_folder import store_url
from cogvideox.serving.job import NewJob, QueueLimits
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.video_params import VideoParams, params_json
from real_videos import give_up

CHROMIUM = "/usr/bin/chromium"
COMMAND = [sys.executable, "-m", "cogvideox", "serve", "--engine", "fake", "--fake-step", "0.02"]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


class Server:
    """The command in a process of its own."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.folder, self._options = folder, options
        command = [*COMMAND, "--data-dir", str(folder), "--port", str(port), *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._log = (folder.parent / f"{folder.name}.log").open("ab")
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment, start_new_session=True
        )
        assert self._process.stdout is not None
        told = ""
        while not (found := re.search(r"^open (http://\S+:(\d+)/)$", told, re.MULTILINE)):
            line = self._process.stdout.readline()
            assert line, f"it ended: {told}"
            told += line
        self.address, self.port = found[1], int(found[2])

    def kill(self, how: int = signal.SIGKILL) -> None:
        """End it, if it has not ended; whatever it has started ends with it."""
        if self._process.returncode is not None:
            return
        self._process.send_signal(how)
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    def video(self, video_id: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.address}v1/videos/{video_id}", timeout=10) as answer:
            return json.load(answer)

    def prompts(self) -> list[str]:
        """Return those of all videos, up to a hundred."""
        with urllib.request.urlopen(f"{self.address}v1/videos?limit=100", timeout=10) as answer:
            return [video["prompt"] for video in json.load(answer)["data"]]


@contextmanager
def started_browser() -> Iterator[Any]:
    """Give a browser; tests of it are skipped where there is none."""
    if not Path(CHROMIUM).exists():
        give_up(f"{CHROMIUM} is not installed: make system-packages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Debian's Chromium has no sandbox for root, as containers run.
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


class Pages:
    """Pages that were opened, and what went wrong in them."""

    def __init__(self, browser: Any) -> None:
        self.errors: list[str] = []
        self._browser = browser
        self._contexts: list[Any] = []

    def new(self, address: str, *, beside: Any = None, is_ready: bool = True, **options: Any) -> Any:
        """Open an address, with a storage of its own or that of another page."""
        context = beside.context if beside else self._browser.new_context(**(DESKTOP | options))
        self._contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        if is_ready:
            page.wait_for_selector("#size option", state="attached")
        return page

    def _note(self, told: Any) -> None:
        if "Content Security Policy" in told.text:
            self.errors.append(told.text)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def asked(page: Any, prompt: str) -> str:
    """Write a prompt, send it with Enter, and return the id of its video."""
    before = page.url
    page.fill("#prompt", prompt)
    page.press("#prompt", "Enter")
    page.wait_for_function("before => location.href !== before && location.hash.startsWith('#video_')", arg=before)
    return page.url.split("#")[1]


def standing(page: Any, wanted: str) -> None:
    """Wait until the video that is looked at stands so."""
    page.wait_for_selector(f"#stage[data-standing={wanted}]")


def fill(folder: Path, num_jobs: int) -> None:
    """Put jobs into a store that were cancelled."""
    store = JobStore.open(store_url(folder), limits=QueueLimits(max_queued=0, max_queued_per_owner=0))
    for number in range(num_jobs):
        params = VideoParams(
            prompt=f"number {number}", num_frames=17, height_px=64, width_px=96, fps=8.0, num_steps=50, guidance_scale=6
        )
        new = NewJob(owner="local", model="tiny", params=params_json(params), params_digest=str(number), seed=number)
        store.request_cancel(store.submit(new).job.id, owner="local")
    store.close()
