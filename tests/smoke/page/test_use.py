"""The page as people use it, in a real browser: made, watched, played, taken up again, in two languages."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from served_page import PHONE, Pages, Server, asked, fill, standing

BIG_SEED = 2**63 - 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "data"
    folder.mkdir()
    fill(folder, 30)
    made = Server(folder)
    yield made
    made.kill(signal.SIGTERM)


def test_a_video_outlives_its_tab_and_two_tabs_agree(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    page.fill("#prompt", "a red ball rolls across the grass")
    page.wait_for_function("() => /\\d+ of 32 tokens/.test(document.getElementById('tokens').textContent)")
    assert "memory" in page.inner_text("#plan")
    video_id = asked(page, "a red ball rolls step:0.15 across the grass")
    assert page.evaluate("() => document.activeElement.id") == "prompt"
    page.wait_for_selector("#stage .preview")
    page.wait_for_function(
        "() => /^Step [1-9]\\d* of 50$/.test(document.querySelector('.progress-words span').innerText)"
    )
    assert "left" in page.inner_text(".progress-words")
    page.reload()
    standing(page, "in_progress")
    bar = page.locator("#stage [role=progressbar]")
    page.wait_for_function("() => +document.querySelector('#stage [role=progressbar]').ariaValueNow > 0")
    assert bar.get_attribute("aria-valuetext").endswith(" of 50")
    other = pages.new(f"{server.address}#{video_id}", beside=page)
    standing(other, "in_progress")
    third = pages.new(server.address, beside=page)
    standing(third, "in_progress")  # what is being made is shown to who asks for nothing
    third.close()
    page.bring_to_front()
    page.click("[data-action=cancel]")
    for tab in (page, other):
        tab.bring_to_front()
        standing(tab, "canceled")
        tab.wait_for_selector(f'a[href="#{video_id}"]:has-text("Cancelled")')
    assert server.video(video_id)["error"]["code"] == "canceled"
    page.wait_for_selector("#live:has-text('across the grass” was cancelled.')")


def test_a_video_is_played_taken_up_again_and_deleted(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    page.click("#advanced summary")
    page.check("[name=preset][value=draft]", force=True)
    page.fill("#seed", str(BIG_SEED))
    page.select_option("#size", "64x96")
    page.fill("#negative_prompt", "<b>fog</b>")
    assert page.inner_text("#advanced-brief").startswith("64 \u00d7 96 · Steps 20 · Seed 9223372036854775807")
    video_id = asked(page, "<img src=x onerror=alert(1)> a boat\nat sea")
    standing(page, "completed")
    video = server.video(video_id)
    given = {name: video[name] for name in ("seed", "size", "num_inference_steps", "negative_prompt", "prompt")}
    prompt = "<img src=x onerror=alert(1)> a boat\nat sea"
    assert given["seed"] == BIG_SEED and given["prompt"] == prompt and given["negative_prompt"] == "<b>fog</b>"
    assert given["size"] == "64x96" and given["num_inference_steps"] == 20
    page.wait_for_function("() => document.querySelector('#stage video').currentTime > 0")
    assert page.inner_text("#stage-title") == prompt and page.locator("#stage-title img").count() == 0
    with page.expect_download() as download:
        page.click("[data-action=download]")
    assert download.value.suggested_filename == f"{video_id}.mp4"
    assert download.value.path().read_bytes()[4:8] == b"ftyp"
    with page.expect_download() as download:
        page.click("[data-action=gif]")
    assert download.value.suggested_filename.endswith(".gif")
    assert download.value.path().read_bytes()[:4] == b"GIF8"
    page.fill("#prompt", "something else")
    page.click("#reset")
    page.click("[data-action=reuse]")
    assert page.input_value("#prompt") == prompt and page.input_value("#seed") == str(BIG_SEED)
    assert page.input_value("#size") == "64x96" and page.is_checked("[name=preset][value=draft]")
    other = pages.new(f"{server.address}#{video_id}", beside=page)
    standing(other, "completed")
    other.click("[data-action=delete]")
    other.keyboard.press("Escape")
    standing(other, "completed")
    other.click("[data-action=delete]")
    other.click("#confirm-yes")
    other.wait_for_selector("#stage", state="hidden")
    page.bring_to_front()
    page.wait_for_selector("#stage-title:has-text('not here')")
    assert page.locator(f'a[href="#{video_id}"]').count() == 0


def test_korean_and_enter_while_a_syllable_is_composed(server: Server, pages: Pages) -> None:
    page = pages.new(server.address, locale="ko-KR")
    assert page.get_attribute("html", "lang") == "ko" and page.inner_text("#generate") == "비디오 생성"
    assert page.evaluate("() => getComputedStyle(document.getElementById('gallery-title')).wordBreak") == "keep-all"
    page.fill("#prompt", "눈밭에서 뛰는 펭귄")
    page.wait_for_selector(".notice:has-text('영어')")
    num_sent = 0

    def count(request: Any) -> None:
        nonlocal num_sent
        num_sent += request.method == "POST" and request.url.endswith("/v1/videos")

    page.on("request", count)
    press = "how => document.getElementById('prompt').dispatchEvent(new KeyboardEvent('keydown', how))"
    for how in ({"isComposing": True}, {"keyCode": 229}, {"shiftKey": True}):
        page.evaluate(press, how | {"key": "Enter", "bubbles": True, "cancelable": True})
    # And as an input method does it: the syllable is still open when Enter comes.
    devtools = page.context.new_cdp_session(page)
    page.focus("#prompt")
    devtools.send("Input.imeSetComposition", {"text": "들", "selectionStart": 1, "selectionEnd": 1})
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    devtools.send("Input.dispatchKeyEvent", enter | {"type": "rawKeyDown"})
    devtools.send("Input.dispatchKeyEvent", enter | {"type": "keyUp"})
    page.wait_for_timeout(100)
    assert num_sent == 0
    devtools.send("Input.insertText", {"text": "들"})
    page.press("#prompt", "Enter")
    standing(page, "completed")
    assert num_sent == 1 and page.inner_text("#stage-title") == "눈밭에서 뛰는 펭귄들"
    assert page.inner_text("[data-action=reuse]") == "이 설정 다시 쓰기"
    page.click("[data-language=en]")
    page.reload()
    standing(page, "completed")
    assert page.inner_text("#generate") == "Generate Video" and page.get_attribute("html", "lang") == "en"


def test_both_languages_have_every_text(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    strings = page.evaluate("async () => (await import('/page/strings.js')).STRINGS")
    assert set(strings) == {"en", "ko"} and list(strings["en"]) == list(strings["ko"])
    for key, english in strings["en"].items():
        korean = strings["ko"][key]
        named = [sorted(re.findall(r"\{\w+\}", text)) for text in (english, korean)]
        assert english and korean and named[0] == named[1], key
        is_word = re.search(r"[A-Za-z]{2}", re.sub(r"\{\w+\}|CogVideoX", "", english))
        assert not is_word or re.search("[가-힣]", korean), f"{key} is not translated"
    codes = Path(__file__).parents[3].joinpath("src/cogvideox/serving/errors.py").read_text()
    known = re.findall(r'^    "(\w+)",$', codes, re.MULTILINE)
    assert len(known) > 30 and all(f"error_{code}" in strings["en"] for code in known)
    folder = Path(__file__).parents[3] / "src/cogvideox/serving/page"
    used = "".join(file.read_text() for file in folder.glob("*.js") if file.name != "strings.js")
    marked = re.findall(r'data-t(?:-\w+)?="(\w+)"', (folder / "index.html").read_text())
    assert all(key in strings["en"] for key in (*marked, *re.findall(r'\bt\("(\w+)"', used)))


def test_it_is_read_aloud_and_used_by_keyboard(server: Server, pages: Pages) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = pages.new(server.address)
    asked(page, "a kite over a field")
    standing(page, "completed")
    page.click("#advanced summary")
    for scheme, language in (("light", "en"), ("dark", "ko")):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.click(f"[data-language={language}]")
        found = Axe().run(page).response["violations"]
        assert not found, [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]
    page.click("[data-language=en]")
    page.reload()
    standing(page, "completed")
    page.evaluate("() => document.activeElement.blur()")
    names = []
    for _ in range(8):
        page.keyboard.press("Tab")
        names.append(page.evaluate("() => document.activeElement.id || document.activeElement.innerText"))
    assert names == ["Skip to the prompt", "English", "한국어", "prompt", "generate", "Advanced", *names[6:]], names


def test_many_videos_on_a_telephone(server: Server, pages: Pages) -> None:
    page = pages.new(server.address, **PHONE)
    page.wait_for_selector("#more:not([hidden])")
    assert page.locator("#tiles > li").count() == 24
    page.tap("#more")
    page.wait_for_selector("#more", state="hidden")
    assert page.inner_text("#tiles > li:last-child .tile-prompt") == "number 0"
    assert page.evaluate("() => document.activeElement.closest('li') === document.querySelectorAll('#tiles > li')[24]")
    # The page is not wider than the telephone, and what is tapped is large enough.
    page.tap("#advanced summary")
    page.tap("#tiles a")
    standing(page, "canceled" if "number" in page.inner_text("#stage-title") else "completed")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert min(page.locator(name).bounding_box()["height"] for name in ("#generate", "[data-action=reuse]")) >= 44
