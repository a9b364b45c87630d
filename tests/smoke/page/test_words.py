"""Prompts that are written anew on the page: shown with what they were, changed, taken back, kept with the video."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from loopback_chat import LoopbackChat, Reply, fails, says, serve
from served_page import Pages, Server, asked, standing

KOREAN = "눈밭에서 뛰는 펭귄"
ENGLISH = "A penguin hops in a snowy field"


class Endpoint:
    """A language model that does as it is told, and may be told to wait."""

    def __init__(self) -> None:
        self.reply: Reply = says(ENGLISH)
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, _: dict[str, Any], number: int) -> Reply:
        self.may_answer.wait(30)
        return self.reply


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture(scope="module")
def chat(endpoint: Endpoint) -> Iterator[LoopbackChat]:
    with serve(reply=endpoint) as chat:
        yield chat


@pytest.fixture(scope="module")
def server(chat: LoopbackChat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "data"
    made = Server(folder, "--chat-url", chat.url, "--chat-model", "small")
    yield made
    made.kill(signal.SIGTERM)


def test_a_korean_prompt_is_translated_and_its_words_are_kept(
    server: Server, endpoint: Endpoint, chat: LoopbackChat, pages: Pages
) -> None:
    endpoint.reply = says(ENGLISH)
    page = pages.new(server.address, locale="ko-KR")
    page.fill("#prompt", KOREAN)
    page.wait_for_selector(".notice:has-text('모델은 영어 프롬프트만 이해합니다')")
    assert page.is_hidden("#improve")
    endpoint.may_answer.clear()
    page.click("text=영어로 번역")
    page.wait_for_selector("[data-rewrite][aria-disabled=true]:has-text('번역하는 중')")
    page.click("[data-rewrite]", force=True)
    endpoint.may_answer.set()
    page.wait_for_selector(f"#rewritten:has-text('{KOREAN}')")
    assert page.input_value("#prompt") == ENGLISH and len(chat.requests) == 1
    page.wait_for_selector(".notice", state="hidden")
    page.click("text=되돌리기")
    assert page.input_value("#prompt") == KOREAN and page.is_hidden("#rewritten")
    assert page.evaluate("() => document.activeElement.id") == "prompt"
    page.click("text=영어로 번역")
    page.wait_for_selector("#rewritten")
    page.reload()
    page.wait_for_selector(f"#rewritten:has-text('{KOREAN}')")
    page.fill("#prompt", f"{ENGLISH} at night")
    page.press("#prompt", "Enter")
    standing(page, "completed")
    video = server.video(page.url.split("#")[1])
    assert video["prompt"] == f"{ENGLISH} at night"
    assert {each["code"]: each.get("original") for each in video["warnings"]} == {"prompt_rewritten": KOREAN}
    assert page.inner_text(".details").endswith(f"처음 쓴 글\n{KOREAN}")
    # Whoever takes it up again may go back to the first words.
    page.fill("#prompt", "")
    page.wait_for_selector("#rewritten", state="hidden")
    page.click("[data-action=reuse]")
    assert page.input_value("#prompt") == f"{ENGLISH} at night" and KOREAN in page.inner_text("#rewritten")
    page.click("#rewrite-undo")
    assert page.input_value("#prompt") == KOREAN


def test_an_english_prompt_is_improved_and_the_difference_shown(
    server: Server, endpoint: Endpoint, pages: Pages
) -> None:
    endpoint.reply = says("A small penguin hops to the left in the deep snow")
    page = pages.new(server.address)
    assert page.is_hidden("#improve")
    page.fill("#prompt", "a penguin hops left in the snow")
    page.click("#improve")
    page.wait_for_selector("#rewritten")
    page.wait_for_selector("#live:has-text('Improved: A small penguin')")
    assert page.is_hidden("#improve")
    told = page.eval_on_selector_all(
        "#rewritten-text > *", "nodes => nodes.map((node) => [node.tagName, node.innerText])"
    )
    assert told == [["INS", "small"], ["INS", "to the"], ["INS", "deep"]]
    page.fill("#prompt", "A penguin hops to the left in the deep snow <b>")
    page.wait_for_selector("#rewritten-text ins:text-is('<b>')")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    assert page.is_hidden("#rewritten")
    page.fill("#prompt", "something of my own")
    video = server.video(asked(page, "something of my own"))
    assert video["prompt"] == "something of my own" and video["warnings"] == []


def test_what_is_written_meanwhile_counts_and_a_silent_endpoint_takes_nothing(
    server: Server, endpoint: Endpoint, pages: Pages
) -> None:
    endpoint.reply = says("A penguin hops")
    page = pages.new(server.address)
    page.fill("#prompt", "a penguin")
    endpoint.may_answer.clear()
    page.click("#improve")
    page.wait_for_selector("#improve[aria-disabled=true]")
    page.fill("#prompt", "a fox that I wrote")
    endpoint.may_answer.set()
    page.wait_for_selector("#improve:not([aria-disabled=true])")
    assert page.input_value("#prompt") == "a fox that I wrote" and page.is_hidden("#rewritten")
    for reply, told in ((fails(401), "does not answer"), (says(KOREAN), "could not write this anew")):
        endpoint.reply = reply
        page.click("#improve")
        page.wait_for_selector(f"#submit-error:has-text('{told}')")
        assert page.input_value("#prompt") == "a fox that I wrote"
    page.click("[data-language=ko]")
    page.click("#improve")
    page.wait_for_selector("#submit-error:has-text('다시 쓰지 못했습니다')")
    # And the video is made all the same, while the endpoint is silent.
    endpoint.may_answer.clear()
    page.click("#improve")
    asked(page, "a fox that I wrote")
    standing(page, "completed")
    endpoint.may_answer.set()


def test_there_are_no_such_buttons_without_a_language_model(pages: Pages, server: Server) -> None:
    page = pages.new(server.address)
    page.route("**/v1/models", lambda route: route.fulfill(json=without_rewriting(route.fetch().json())))
    page.reload()
    page.wait_for_selector("#size option", state="attached")
    page.fill("#prompt", "a fox")
    page.wait_for_selector("#plan:not(:empty)")
    assert page.is_hidden("#improve")
    page.fill("#prompt", KOREAN)
    page.wait_for_selector(".notice")
    assert page.locator("[data-rewrite]").count() == 0


def without_rewriting(models: dict[str, Any]) -> dict[str, Any]:
    for model in models["data"]:
        model["capabilities"]["prompt_rewriting"] = []
    return models
