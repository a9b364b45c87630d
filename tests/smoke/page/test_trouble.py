"""The page when something is wrong: in the form, with a video, with the server, without a key."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cogvideox.serving.data_folder import store_url
from cogvideox.serving.job_store import JobStore
from cogvideox.serving.keys import KeyRing, kept_pepper
from curation_corpus import counted, write_video
from served_page import Pages, Server, asked, fill, standing


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers, which end with the test."""
    with ExitStack() as stack:

        def started(folder: Path, *options: str, port: int = 0) -> Server:
            made = Server(folder, *options, port=port)
            stack.callback(made.kill, signal.SIGTERM)
            return made

        yield started


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_killed_server_loses_nothing(start: Callable[..., Server], pages: Pages, tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    page = pages.new(server.address)
    what_is_wrong_is_said_where_it_is(server, page, tmp_path)
    video_id = asked(page, "a lighthouse step:0.06 in a storm")
    page.wait_for_selector("#stage .preview")
    server.kill()
    page.wait_for_selector("#banner:not([hidden])")
    page.fill("#prompt", "a second one")
    page.press("#prompt", "Enter")
    page.wait_for_selector("#generate[aria-disabled=true]")
    server = start(tmp_path / "data", port=server.port)
    page.wait_for_selector("#banner", state="hidden")
    page.wait_for_function("old => !location.hash.endsWith(old)", arg=video_id)  # it was sent meanwhile
    second = page.url.split("#")[1]
    page.goto(f"{server.address}#{video_id}")
    standing(page, "completed")
    page.click(f'a[href="#{second}"]')
    standing(page, "completed")
    assert page.evaluate("() => document.activeElement.id") == "stage"
    assert page.locator(".tile-prompt:text-is('a second one')").count() == 1


def what_is_wrong_is_said_where_it_is(server: Server, page: Any, tmp_path: Path) -> None:
    page.press("#prompt", "Enter")
    assert "what the video should show" in page.inner_text("#prompt-error")
    assert page.get_attribute("#prompt", "aria-invalid") == "true"
    page.click("#advanced summary")
    page.fill("#num_inference_steps", "2e9")
    page.fill("#prompt", "a fox")
    page.press("#prompt", "Enter")
    page.wait_for_selector("#num_inference_steps-error:has-text('1 to 200')")
    assert page.evaluate("() => document.activeElement.id") == "num_inference_steps"
    page.click("#reset")
    page.fill("#prompt", "word " * 60)
    page.wait_for_selector(".notice:has-text('Too long')")
    for name, content, told in (("a.png", b"x", "MP4"), ("a.mp4", b"", "empty"), ("a.webm", b"x" * 51 * 2**20, "52")):
        file = tmp_path / name
        file.write_bytes(content)
        page.set_input_files("#file", file)
        assert told in page.inner_text("#file-error")
    (tmp_path / "b.mp4").write_bytes(b"no video" * 99)
    page.set_input_files("#file", tmp_path / "b.mp4")
    page.fill("#prompt", "a fox in snow")
    page.click("#generate")
    page.wait_for_selector("#file-error:not(:empty)")
    clip = write_video(tmp_path / "c.mp4", "libx264", counted(17), 8)
    page.set_input_files("#file", clip)
    assert "c.mp4" in page.inner_text("#source") and page.is_visible("#strength")
    page.fill("#strength", "0.5")
    video = server.video(asked(page, "a fox in snow"))
    assert video["input_kind"] == "video" and video["strength"] == 0.5
    failed = asked(page, "fault:oom@2 a whale")
    standing(page, "failed")
    assert "ran out of memory" in page.inner_text(".failure")
    page.click("[data-language=ko]")
    assert "메모리가 모자랐습니다" in page.inner_text(".failure")
    page.click("[data-action=retry]")
    page.wait_for_function("failed => !location.hash.endsWith(failed)", arg=failed)
    again = server.video(page.url.split("#")[1])
    assert again["prompt"] == "fault:oom@2 a whale" and again["seed"] == server.video(failed)["seed"]


@pytest.mark.timeout(120)
def test_a_key_is_asked_for(start: Callable[..., Server], pages: Pages, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    fill(folder, 1)
    store = JobStore.open(store_url(folder))
    _, key = KeyRing(store.database, kept_pepper(folder, store.database)).new("ann", owner="ann")
    store.close()
    server = start(folder, "--workers", "0", "--require-key")
    page = pages.new(server.address, is_ready=False)
    page.wait_for_selector("#key-dialog[open]")
    page.keyboard.press("Escape")
    page.fill("#key", "cogvideox_wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-error:has-text('does not know')")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-dialog", state="hidden")
    page.wait_for_selector("#empty:not([hidden])")  # the others' are not shown
    page.fill("#prompt", "nobody works")
    page.wait_for_selector("#plan:has-text('no worker')")
    page.reload()
    page.click("#leave")
    page.wait_for_selector("#key-dialog[open]")
    kept = page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert key not in kept
