"""What the page says when the server refuses: a full queue or disk, a lost key, files that are gone, others' videos."""

import json
import signal
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from cogvideox.serving.errors import STATUS, ErrorCode
from served_page import Pages, Server, asked, standing

FULL = "The queue is full. There is room when a video has finished. Try again in about 7 min."
FULL_KOREAN = "대기열이 가득 찼습니다. 비디오 하나가 끝나면 자리가 납니다. 약 7분 뒤에 다시 시도하세요."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("served") / "data", "--max-queued-per-key", "3")
    yield made
    made.kill(signal.SIGTERM)


def refusal(code: str, **headers: str) -> dict[str, Any]:
    error = {"message": "for programs", "type": "x", "param": None, "code": code}
    headers |= {"content-type": "application/json", "x-request-id": "req_1"}
    return {"status": STATUS.get(code, 400), "body": json.dumps({"error": error}), "headers": headers}  # pyright: ignore[reportArgumentType, reportCallIssue]


def refuse(page: Any, answer: dict[str, Any]) -> None:
    """Have the page's next videos refused."""

    def answered(route: Any) -> None:
        if route.request.method == "POST":
            route.fulfill(**answer)
        else:
            route.fallback()

    page.unroute("**/v1/videos")
    page.route("**/v1/videos", answered)


def test_each_code_has_its_sentence_in_both_languages(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    strings = page.evaluate("async () => (await import('/page/strings.js')).STRINGS")
    page.fill("#prompt", "a fox")
    codes = [*get_args(ErrorCode), "of a later version"]
    assert set(get_args(ErrorCode)) == set(STATUS)
    for language in ("en", "ko"):
        page.click(f"[data-language={language}]")
        for code in codes:
            if code == "unauthorized":
                continue  # asks for the key
            refuse(page, refusal(code))
            page.click("#generate")
            known = strings[language].get(f"error_{code}")
            wanted = (known or strings[language]["error_unknown"].replace("{code}", code)).replace("{limit}", "4,000")
            page.wait_for_selector(f"#submit-error:has-text('{wanted.split(chr(39))[0]}')", timeout=5000)
            assert "for programs" not in page.inner_text("#composer") and "{" not in page.inner_text("#submit-error")
            is_told_by_id = "req_1" in page.inner_text("#submit-error")
            assert is_told_by_id == (code == "internal")
            assert known or code == codes[-1]
            page.fill("#prompt", "")
            page.fill("#prompt", f"a fox {code}")
    assert page.locator("#tiles > li").count() == 0


def test_a_full_queue_and_a_full_disk_say_when_to_come_back(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    page.fill("#prompt", "a fox")
    refuse(page, refusal("queue_full", **{"retry-after": "400"}))
    page.click("#generate")
    page.wait_for_selector(f"#submit-error:text-is('{FULL}')")
    page.click("[data-language=ko]")
    page.click("#generate")
    page.wait_for_selector(f"#submit-error:text-is('{FULL_KOREAN}')")
    page.click("[data-language=en]")
    keys: list[str] = []
    page.on("request", lambda sent: sent.method == "POST" and keys.append(sent.headers.get("idempotency-key")))
    refuse(page, refusal("storage_full", **{"retry-after": "60"}))
    page.click("#generate")
    page.wait_for_selector("#submit-error:has-text('disk is full')")
    page.unroute("**/v1/videos")
    page.click("#generate")
    standing(page, "completed")
    sent = [key for key in keys if key]
    assert page.inner_text("#submit-error") == "" and len(sent) == 2 and len(set(sent)) == 1
    # And as the server says it.
    for number in range(5):
        page.fill("#prompt", f"number {number} step:0.3")
        page.click("#generate")
        page.wait_for_selector("#generate:not([aria-disabled=true])")
        page.wait_for_timeout(200)
    page.wait_for_selector("#submit-error:has-text('The queue is full')")
    assert "Try again in about" in page.inner_text("#submit-error")
    assert sum(prompt.startswith("number") for prompt in server.prompts()) == 4
    for link in page.query_selector_all("#tiles a:not(.is-completed)"):
        page.evaluate("id => fetch(`v1/videos/${id}`, { method: 'DELETE' })", link.get_attribute("href")[1:])


def test_files_that_are_gone_and_videos_of_others(server: Server, pages: Pages) -> None:
    page = pages.new(f"{server.address}#video_{'0' * 32}")
    page.wait_for_selector("#stage-title:has-text('This video is not here')")
    page.click("[data-action=close]")
    assert page.is_hidden("#stage") and page.evaluate("() => document.activeElement.id") == "prompt"
    page.wait_for_selector("a.tile.is-completed")
    content = "**/v1/videos/*/content"
    page.route(content, lambda route: route.fulfill(**refusal("video_expired")))
    page.click("a.tile.is-completed")
    page.wait_for_selector("#stage .wrong:has-text('kept for its time and is gone')")
    page.unroute(content)
    page.route(content, lambda route: route.fulfill(body=b"no video", content_type="video/mp4"))
    page.reload()
    page.wait_for_selector("#stage .wrong:has-text('could not be played')")

    def expired(route: Any) -> None:
        told = route.fetch().json()
        for video in told.get("data", [told]):
            if video.get("status") == "completed":
                video |= {"is_expired": True, "variants": []}
        route.fulfill(json=told)

    page.route("**/v1/videos?*", expired)
    page.reload()
    standing(page, "expired")
    told = page.inner_text("#stage")
    assert "The file was kept for its time and is gone" in told and "Download" not in told and "Try again" in told


def test_a_key_that_is_not_valid_any_more(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    page.fill("#prompt", "a fox")
    lost = refusal("unauthorized", **{"www-authenticate": "Bearer"})
    page.route("**/v1/videos**", lambda route: route.fulfill(**lost))
    page.click("#generate")
    page.wait_for_selector("#key-dialog[open]")
    for _ in range(3):  # browsers close a dialog at the second Escape, whatever a page says
        page.keyboard.press("Escape")
    page.wait_for_selector("#key-dialog[open]")
    assert page.evaluate("() => document.activeElement.id") == "key"
    page.unroute("**/v1/videos**")
    page.fill("#key", "cogvideox_x")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-dialog", state="hidden")
    assert page.input_value("#prompt") == "a fox"
    asked(page, "a fox that was written before")
