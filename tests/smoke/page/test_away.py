"""The page and its tab's troubles: a reload, a sleep, no network for long, a second tab, fingers that are too quick."""

from pathlib import Path
from typing import Any

from served_page import Pages, Server, asked, standing

STEP_WORDS = "() => /^Step [1-9]/.test(document.querySelector('.progress-words span')?.innerText)"
AWAY_S = 600


class Writes:
    """What a page sends that changes something."""

    def __init__(self, page: Any) -> None:
        self.all: list[str] = []
        page.on("request", self.note)

    def note(self, request: Any) -> None:
        path = request.url.partition("/v1/")[2]
        if request.method != "GET" and path != "videos/plan":
            self.all.append(f"{request.method} {path}")


def test_a_reload_a_sleep_and_a_second_tab_change_nothing(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    video_id = asked(page, "a kite step:0.12 over a field")
    writes = Writes(page)
    page.wait_for_function(STEP_WORDS)
    page.reload()
    standing(page, "in_progress")
    # Browsers freeze tabs that are not looked at: nothing runs in them, and streams break.
    devtools = page.context.new_cdp_session(page)
    for state in ("frozen", "active"):
        devtools.send("Page.setWebLifecycleState", {"state": state})
        page.wait_for_timeout(1500)
    page.wait_for_function(STEP_WORDS)
    other = pages.new(f"{server.address}#{video_id}", beside=page)
    others = Writes(other)
    for tab in (other, page):
        tab.bring_to_front()
        standing(tab, "completed")
        assert tab.locator(f'a[href="#{video_id}"]').count() == 1
        assert tab.url.endswith(f"#{video_id}")
        tab.wait_for_function("() => document.querySelector('#stage video').readyState >= 2")
    other.close()
    assert writes.all == others.all == []
    video = server.video(video_id)
    assert video["status"] == "completed" and video["attempt"] == 1
    assert server.prompts().count("a kite step:0.12 over a field") == 1


def test_ten_minutes_without_a_network(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    page.clock.install()
    video_id = asked(page, "a boat step:0.05 at sea")
    writes = Writes(page)
    page.wait_for_function(STEP_WORDS)
    page.context.set_offline(True)
    page.wait_for_selector("#banner:not([hidden]):has-text('offline')")
    page.wait_for_selector("#live:has-text('You are offline')")
    said = page.evaluate_handle(
        """() => {
          const all = [];
          const note = () => all.push(document.getElementById('live').textContent);
          new MutationObserver(note).observe(document.getElementById('live'), { childList: true });
          return all;
        }"""
    )
    page.clock.fast_forward(AWAY_S * 1000)
    page.clock.resume()
    page.wait_for_timeout(1000)
    assert page.is_visible("#banner") and page.get_attribute("#stage", "data-standing") == "in_progress"
    assert [text for text in said.json_value() if text] == []  # the seconds until the next try are not read aloud
    page.context.set_offline(False)
    page.wait_for_selector("#banner", state="hidden")
    standing(page, "completed")
    page.wait_for_function("() => document.querySelector('#stage video').readyState >= 2")
    assert page.url.endswith(video_id) and writes.all == [] and server.video(video_id)["attempt"] == 1
    assert server.prompts().count("a boat step:0.05 at sea") == 1
    assert "The server answers again." in said.json_value()


def test_quick_fingers_make_one_video(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    page.fill("#prompt", "a heron stands still")
    writes = Writes(page)
    page.dblclick("#generate")
    standing(page, "completed")
    # The first click may be answered before the second one comes.
    page.fill("#prompt", "an ibis stands still")
    page.evaluate(
        """async () => {
          const button = document.getElementById('generate');
          button.click();
          while (button.ariaDisabled === 'true') await new Promise((done) => setTimeout(done, 10));
          button.click();
        }"""
    )
    page.wait_for_selector("a.tile:has-text('ibis')")
    page.wait_for_timeout(300)
    assert writes.all == ["POST videos"] * 2 and server.prompts().count("an ibis stands still") == 1
    page.fill("#prompt", "a heron stands still")
    page.focus("#prompt")
    # A key that is held down.
    for is_repeat in (False, True, True):
        how = {"key": "Enter", "bubbles": True, "cancelable": True, "repeat": is_repeat}
        page.evaluate("how => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', how))", how)
        page.wait_for_timeout(1200)  # longer than what counts as twice
    assert writes.all == ["POST videos"] * 3 and server.prompts().count("a heron stands still") == 2


def test_what_was_written_is_there_after_a_reload(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    page.fill("#prompt", "half a sentence about a")
    page.click("#advanced summary")
    page.fill("#seed", "77")
    page.reload()
    page.wait_for_selector("#size option", state="attached")
    assert page.input_value("#prompt") == "half a sentence about a" and page.input_value("#seed") == "77"
    assert Path(server.folder).is_dir() and "half a sentence about a" not in server.prompts()
