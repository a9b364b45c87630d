"""Make the pictures of the page (docs/serving): a service with the embedded model, and Chromium before it.

Takes about 2 minutes on 2 cores. Run: python -m benchmarks.serving_screenshots
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from cogvideox.serving.data_folder import store_url
from cogvideox.serving.job import NewJob, Worker
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.video_params import VideoParams, params_json

CHROMIUM = "/usr/bin/chromium"
PICTURES = Path(__file__).parents[1] / "docs" / "serving"
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
PROMPTS = (
    ("a red ball bounces in the desert at sunset", 3),
    ("a blue car drives to the right on a city street", 4),
    ("a yellow duck swims to the left on a lake", 5),
    ("a green frog jumps in a meadow", 6),
    ("it starts to snow", 8),
)
PENGUIN = "A penguin hops to the left in a snowy field"
CHAT = ("--chat-url", "http://127.0.0.1:9/v1", "--chat-model", "none")
"""Never asked: it has the page offer what it offers with a language model."""
NUM_COLOURS = 256
MAX_BYTES = 200_000


def start(folder: Path, *options: str) -> tuple[subprocess.Popen, str]:
    """Start the service; return its process and its address."""
    command = [sys.executable, "-m", "cogvideox", "serve", "--port", "0", "--data-dir", str(folder), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"open (\S+)", line):
            return process, found[1]
    raise SystemExit("the service did not start")


def fail_one(folder: Path) -> None:
    """Put a video into the store that ran out of memory."""
    store = JobStore.open(store_url(folder))
    params = VideoParams(
        prompt="a lighthouse in a storm, waves break against the rocks",
        num_frames=17,
        height_px=96,
        width_px=96,
        fps=8.0,
        num_steps=50,
        guidance_scale=6.0,
    )
    new = NewJob(owner="local", model="other", params=params_json(params), params_digest="-", seed=41, num_steps=50)
    store.submit(new)
    store.register_worker(Worker(id="small", host="-", pid=1, models=("other",)))
    job = store.claim("small", models=["other"])
    assert job is not None and job.lease_token is not None
    store.fail(job.id, job.lease_token, code="out_of_memory", message="-")
    store.remove_worker("small")
    store.close()


def ask(page: Any, prompt: str, seed: int | None = None) -> None:
    """Send a prompt and wait until its video is looked at."""
    if seed is not None:
        page.evaluate("() => (document.getElementById('advanced').open = true)")
        page.fill("#seed", str(seed))
        page.evaluate("() => (document.getElementById('advanced').open = false)")
    before = page.url
    page.fill("#prompt", prompt)
    page.wait_for_timeout(600)
    page.press("#prompt", "Enter")
    page.wait_for_function("before => location.href !== before", arg=before)


def take(page: Any, name: str) -> None:
    """Save what the page shows, with few colours if it is large else."""
    page.wait_for_timeout(500)
    file = PICTURES / f"{name}.png"
    page.screenshot(path=file)
    if file.stat().st_size > MAX_BYTES:
        with Image.open(file) as picture:
            picture.convert("RGB").quantize(NUM_COLOURS, kmeans=4).save(file, optimize=True)
    print(file.name, file.stat().st_size)


def opened(browser: Any, address: str, **options: Any) -> Any:
    """Open an address in a context of its own."""
    page = browser.new_context(**(DESKTOP | options)).new_page()
    page.goto(address)
    page.wait_for_selector("#size option", state="attached")
    return page


def show(browser: Any, address: str, folder: Path) -> None:
    """Take all pictures, in the order in which a day goes."""
    page = opened(browser, address)
    take(page, "empty")
    for prompt, seed in PROMPTS:
        ask(page, prompt, seed)
    page.wait_for_selector("#stage[data-standing=completed]", timeout=200_000)
    fail_one(folder)
    page = opened(browser, address)
    ask(page, PENGUIN, 7)
    page.wait_for_function(
        "() => +document.querySelector('#stage [role=progressbar]')?.ariaValueNow >= 45", timeout=90_000
    )
    page.wait_for_selector("#stage .preview")
    take(page, "running")
    page.wait_for_selector("#stage[data-standing=completed]", timeout=90_000)
    page.mouse.move(5, 5)
    page.wait_for_timeout(4000)  # the player's controls go
    take(page, "done")
    link = page.url
    for name, options in (("dark", {"color_scheme": "dark"}), ("korean", {"locale": "ko-KR"})):
        page = opened(browser, link, **options)
        page.wait_for_selector("#stage[data-standing=completed]")
        if name == "korean":
            page.fill("#prompt", "눈밭에서 왼쪽으로 뛰는 펭귄")
            page.wait_for_selector(".notice")
            page.click("#advanced summary")
        page.mouse.move(5, 5)
        page.wait_for_timeout(4000)
        take(page, name)
    page = opened(browser, address)
    page.click("a.tile.is-failed")
    take(page, "failed")
    page = opened(browser, address, **PHONE)
    take(page, "phone")
    page.tap("a.tile.is-completed")
    page.wait_for_timeout(4000)
    take(page, "phone-done")


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        process, address = start(folder, *CHAT)
        try:
            show(browser, address, folder)
        finally:
            process.terminate()
            process.wait(30)
            browser.close()


if __name__ == "__main__":
    main()
