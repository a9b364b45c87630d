"""The page for those who hear it and those who use no mouse."""

from served_page import Pages, Server, asked, standing

KEEP_SAID = """() => {
  const said = [];
  const watch = (node) => new MutationObserver(() => node.textContent && said.push(node.textContent))
    .observe(node, { childList: true, characterData: true, subtree: true });
  document.querySelectorAll('[aria-live], [role=status], [role=alert]').forEach(watch);
  return said;
}"""
FOCUSED = "() => document.activeElement.id || document.activeElement.dataset.action || document.activeElement.innerText"


def test_steps_are_not_read_aloud_and_nothing_moves(server: Server, pages: Pages) -> None:
    page = pages.new(server.address, reduced_motion="reduce")
    said = page.evaluate_handle(KEEP_SAID)
    page.fill("#prompt", "a word " * 50)
    page.wait_for_selector(".notice")
    page.type("#prompt", "and more and more", delay=40)
    page.wait_for_timeout(500)
    asked(page, "a snail step:0.05 on a leaf")
    standing(page, "completed")
    page.wait_for_timeout(300)
    told = said.json_value()
    assert sum("Too long" in text for text in told) == 1, told
    about = [text for text in told if "a snail" in text]
    assert 3 <= len(about) <= 6 and about[-1].endswith("is done."), told
    assert page.evaluate("() => document.querySelector('#stage video').paused")
    moving = "() => document.getAnimations().filter((each) => each.playState === 'running').length"
    assert page.evaluate(moving) == 0
    page.hover("a.tile.is-completed")
    page.wait_for_timeout(500)
    assert page.locator("a.tile video").count() == 0


def test_a_video_is_made_and_deleted_by_keyboard_alone(server: Server, pages: Pages) -> None:
    page = pages.new(server.address)
    press = page.keyboard.press

    def tab_to(wanted: str, most: int = 40) -> None:
        for _ in range(most):
            if page.evaluate(FOCUSED) == wanted:
                return
            press("Tab")
        raise AssertionError(f"{wanted} is not reached; there is {page.evaluate(FOCUSED)}")

    tab_to("prompt")
    page.keyboard.type("a hen walks")
    tab_to("Advanced")
    press("Enter")
    tab_to("dice")
    press("Space")
    page.wait_for_function("() => document.getElementById('seed').value !== ''")
    page.evaluate("() => document.getElementById('prompt').focus()")
    press("Enter")
    standing(page, "completed")
    tab_to("download")
    tab_to("delete")
    press("Enter")
    page.wait_for_selector("#confirm-dialog[open]")
    assert page.evaluate(FOCUSED) == "Keep it"
    press("Tab")
    press("Tab")
    inside = "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
    assert page.evaluate(inside)  # it does not go behind the dialog
    press("Escape")
    assert page.evaluate(FOCUSED) == "delete"
    press("Enter")
    tab_to("confirm-yes")
    press("Enter")
    page.wait_for_selector("#stage", state="hidden")
    page.wait_for_selector("#live:has-text('Deleted.')")
    assert page.evaluate(FOCUSED) == "gallery-title"
