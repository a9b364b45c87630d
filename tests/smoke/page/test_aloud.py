"""Each state of the page as axe sees it, in both languages, light and dark, on a desk and on a telephone."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from loopback_chat import says, serve
from served_page import PHONE, Pages, Server, asked, standing


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(says("A penguin hops in a snowy field")) as chat:
        folder = tmp_path_factory.mktemp("served") / "data"
        made = Server(folder, "--chat-url", chat.url, "--chat-model", "small")
        yield made
        made.kill(signal.SIGTERM)


def check(page: Any, what: str) -> None:
    """Have axe look at a state, and see that it fits into the window."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    assert not found, (what, [(each["id"], [node["html"] for node in each["nodes"]]) for each in found])
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), what


def states(page: Any) -> Iterator[str]:
    """Bring a page into one state after another."""
    page.wait_for_selector("#empty:not([hidden])")
    yield "empty"
    page.click("#generate")
    yield "no prompt"
    page.fill("#prompt", "눈밭에서 뛰는 펭귄")
    page.wait_for_selector("[data-rewrite]")
    yield "language"
    page.click("[data-rewrite]")
    page.wait_for_selector("#rewritten")
    yield "rewritten"
    page.fill("#prompt", "a word " * 60)
    page.wait_for_selector(".notice")
    page.click("#advanced summary")
    page.fill("#num_inference_steps", "x")
    page.click("#generate")
    page.wait_for_selector("#num_inference_steps-error:not(:empty)")
    yield "too long, advanced"
    page.click("#reset")
    asked(page, "a whale step:0.12")
    page.wait_for_selector("#stage .preview")
    yield "running"
    page.click("[data-action=cancel]")
    standing(page, "canceled")
    yield "canceled"
    asked(page, "fault:oom@2 a whale")
    standing(page, "failed")
    yield "failed"
    asked(page, "a kite")
    standing(page, "completed")
    yield "done"
    page.click("[data-action=delete]")
    yield "asked whether to delete"
    page.click("#confirm-yes")
    page.wait_for_selector("#stage", state="hidden")
    page.context.set_offline(True)
    page.wait_for_selector("#banner:not([hidden])")
    yield "offline"
    page.context.set_offline(False)
    page.route("**/v1/videos?*", lambda route: route.fulfill(status=401, json={"error": {"code": "unauthorized"}}))
    page.reload()
    page.wait_for_selector("#key-dialog[open]")
    yield "key"


@pytest.mark.parametrize(
    ("language", "how"),
    [("en", {"color_scheme": "light"}), ("ko", PHONE | {"color_scheme": "dark", "locale": "ko-KR"})],
)
def test_each_state_is_accessible(language: str, how: dict[str, Any], server: Server, pages: Pages) -> None:
    page = pages.new(server.address, reduced_motion="reduce", **how)
    for link in page.query_selector_all("#tiles a"):  # the other one has left its videos
        page.evaluate("id => fetch(`v1/videos/${id}`, { method: 'DELETE' })", link.get_attribute("href")[1:])
    page.reload()
    page.wait_for_selector("#size option", state="attached")
    for what in states(page):
        assert page.get_attribute("html", "lang") == language
        check(page, what)
