"""`cogvideox label` as people use it: a real browser, keys, a server that is killed, and what is on the disk then."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cogvideox.cli import main
from cogvideox.data.labelling.labels import LABELS
from curation_corpus import counted, wait_until, write_video
from real_videos import give_up

CHROMIUM = "/usr/bin/chromium"
NUM_CLIPS = 30


class Server:
    """The command in a process of its own."""

    def __init__(self, dataset: Path, *options: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "cogvideox", "label", str(dataset), "--no-browser", "--port", str(port)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdout is not None
        self.told = ""
        while not (found := re.search(r"^open (http://\S+:(\d+)/\S*)$", self.told, re.MULTILINE)):
            line = self._process.stdout.readline()
            assert line, f"it ended: {self.told}"
            self.told += line
        self.address, self.port = found[1], int(found[2])

    def kill(self, how: int = signal.SIGKILL) -> int:
        self._process.send_signal(how)
        code = self._process.wait(15)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        give_up(f"{CHROMIUM} is not installed: make system-packages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Debian's Chromium has no sandbox for root, as containers run.
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    clip = write_video(folder / "00.mp4", "libx264", counted(24), 24)
    for number in range(1, NUM_CLIPS - 2):
        os.link(clip, folder / f"{number:02d}.mp4")
    write_video(folder / "other.webm", "libvpx-vp9", counted(24), 24, {"deadline": "realtime", "cpu-used": "8"})
    (folder / "bad.mp4").write_bytes(b"no video" * 99)
    return folder


@pytest.fixture
def folder(videos: Path, tmp_path: Path) -> Path:
    """A dataset without answers."""
    made = tmp_path / "dataset"
    made.mkdir()
    for file in videos.glob("*.*"):
        os.link(file, made / file.name)
    return made


def lines_of(folder: Path, annotator: str) -> list[dict[str, Any]]:
    file = folder / "labels" / f"{annotator}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def opened(browser: Any, server: Server, **options: Any) -> Any:
    page = browser.new_context(**options).new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(server.address)
    return page


def marks(page: Any) -> dict[str, str]:
    return {name: page.inner_text(f"[data-label={name}] .said") for name in LABELS}


def wait_for_lines(folder: Path, annotator: str, num_lines: int) -> list[dict[str, Any]]:
    wait_until(lambda: len(lines_of(folder, annotator)) >= num_lines, 10, f"{num_lines} lines")
    return lines_of(folder, annotator)


def shown(page: Any) -> str:
    return page.inner_text("#where")


def playing(page: Any) -> bool:
    return page.evaluate("() => (document.querySelector('video.is-shown')?.currentTime ?? 0) > 0")


@pytest.mark.timeout(120)
def test_keys_are_saved_and_the_page_goes_on_after_a_reload(browser: Any, folder: Path) -> None:
    server = Server(folder, "--annotator", "ann", "--order", "random")
    page = opened(browser, server)
    try:
        page.wait_for_selector("video.is-shown")
        first = shown(page)
        wait_until(lambda: playing(page), 15, "the clip plays")
        for key in ("1", "3", "1", "u", "5"):
            page.keyboard.press(key)
        lines = wait_for_lines(folder, "ann", 4)
        assert [line["labels"] for line in lines] == [
            {"editing": True},
            {"editing": True, "low_quality": True},
            {"editing": False, "low_quality": True},
            {"editing": False, "low_quality": True, "text": None},
        ]
        assert {line["clip_id"] for line in lines} == {first} and lines[0]["annotator"] == "ann"
        page.reload()
        page.wait_for_selector("video.is-shown")
        assert shown(page) == first and marks(page)["text"] == "unsure" and marks(page)["low_quality"] == "yes"
        page.keyboard.press("Enter")
        assert wait_for_lines(folder, "ann", 5)[4]["labels"] == dict.fromkeys(LABELS, False) | lines[3]["labels"]
        second = shown(page)
        assert second != first and set(marks(page).values()) == {""}
        page.keyboard.press("Space")
        assert wait_for_lines(folder, "ann", 6)[5]["labels"] == dict.fromkeys(LABELS, False)
        page.keyboard.press("z")  # takes it back
        assert wait_for_lines(folder, "ann", 7)[6]["labels"] == {} and second == lines_of(folder, "ann")[6]["clip_id"]
        page.keyboard.press("Enter")  # passed over: nothing was said
        third = shown(page)
        page.keyboard.press("0")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        assert shown(page) == third and set(marks(page).values()) == {"no"}
        page.keyboard.press("ArrowLeft")
        assert shown(page) == first
        page.fill("#note", "a note")
        page.keyboard.press("Enter")
        assert wait_for_lines(folder, "ann", 9)[8]["note"] == "a note" and shown(page) == first
        page.keyboard.press("s")
        assert page.evaluate("() => document.querySelector('video.is-shown').playbackRate") == 0.5
        page.keyboard.press("?")
        assert page.is_visible("#help")
        page.keyboard.press("1")  # not while help is open
        page.keyboard.press("Escape")
        page.reload()
        page.wait_for_selector("video.is-shown")
        page.keyboard.press("ArrowLeft")
        assert shown(page) == third
        assert page.inner_text("#count").startswith("2 of") and len(lines_of(folder, "ann")) == 9
        assert not page.errors
    finally:
        page.context.close()
        server.kill()


@pytest.mark.timeout(120)
def test_a_second_annotator_by_touch_and_the_agreement(browser: Any, folder: Path) -> None:
    server = Server(folder, "--order", "random", "--overlap-share", "1")
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    pages = [opened(browser, server), opened(browser, server, **phone)]
    try:
        for page, name in zip(pages, ("ann", "ben"), strict=True):
            page.wait_for_selector("#name")
            page.fill("#name", "../ann")
            page.click("#name-form button")
            page.wait_for_selector("#name-error:not(:empty)")
            page.fill("#name", name)
            page.click("#name-form button")
            page.wait_for_selector("#work:not([hidden])")
        is_bad = {}
        for number in range(NUM_CLIPS + 1):  # with what comes again
            page = pages[0]
            if not page.is_enabled("#next"):
                break
            bad = is_bad.setdefault(shown(page), number % 2 == 0)
            page.keyboard.press("5" if bad else "0")
            page.keyboard.press("Enter")
            page.wait_for_function("() => document.getElementById('saved').textContent === '✓ Saved'")
        page = pages[1]
        for _ in range(4):
            page.wait_for_selector("#next:enabled")
            page.tap("[data-label=text]" if is_bad[shown(page)] else "#nothing")
            page.tap("#next")
        # The page is not wider than the telephone, and what is tapped is large enough.
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        assert min(page.locator(f"#{name}").bounding_box()["height"] for name in ("next", "nothing", "back")) >= 40
        wait_for_lines(folder, "ben", 5)
        page.wait_for_function("() => document.getElementById('saved').textContent === '✓ Saved'")
        page.tap("#show-agreement")
        page.wait_for_selector("#agreement[open]")
        row = page.inner_text("#agreement-rows tr:nth-child(5)")
        assert "Text-dominated" in row and "100 %" in row and "1.00" in row, row
        assert "4 by two" in page.inner_text("#agreement-summary")
        assert not pages[0].errors and not page.errors
    finally:
        for page in pages:
            page.context.close()
        server.kill()


@pytest.mark.timeout(120)
def test_a_server_that_is_gone_is_told_and_nothing_is_lost(browser: Any, folder: Path) -> None:
    server = Server(folder, "--annotator", "ann")
    page = opened(browser, server)
    try:
        page.wait_for_selector("video.is-shown")
        page.keyboard.press("2")
        wait_for_lines(folder, "ann", 1)
        page.wait_for_function("() => localStorage.length === 0")  # it is acknowledged
        server.kill()
        clip = shown(page)
        page.keyboard.press("4")
        page.wait_for_selector("#alarm:not([hidden])")
        assert "NOT saved" in page.inner_text("#alarm") and "NOT saved" in page.inner_text("#saved")
        page.keyboard.press("Enter")
        assert shown(page) != clip  # the next clips are there already
        page.keyboard.press("6")
        page.wait_for_function("() => localStorage.length === 3")
        server = Server(folder, "--annotator", "ann", port=server.port)
        lines = wait_for_lines(folder, "ann", 4)
        page.wait_for_selector("#alarm", state="hidden")
        assert [line["clip_id"] for line in lines[:3]] == [clip] * 3 and lines[3]["labels"] == {"screenshot": True}
        assert lines[2]["labels"] == dict.fromkeys(LABELS, False) | {"static": True, "lecture": True}
        page.wait_for_function("() => localStorage.length === 0")

        # And with the page closed before they are saved.
        server.kill()
        page.keyboard.press("0")
        page.wait_for_selector("#alarm:not([hidden])")
        other = page.context.new_page()
        page.close(run_before_unload=False)
        server = Server(folder, "--annotator", "ann", port=server.port)
        other.goto(server.address)
        assert wait_for_lines(folder, "ann", 5)[4]["labels"] == dict.fromkeys(LABELS, False)
        other.wait_for_selector("video.is-shown")
        assert not page.errors
    finally:
        page.context.close()
        server.kill()


def saved(page: Any) -> None:
    page.wait_for_function("() => document.getElementById('saved').textContent === '✓ Saved' && !localStorage.length")


@pytest.mark.timeout(120)
def test_a_restart_for_other_machines_loses_nothing(browser: Any, folder: Path) -> None:
    options = ("--annotator", "ann", "--host", "0.0.0.0")
    server = Server(folder, *options)
    server.address = server.address.replace("0.0.0.0", "127.0.0.1")
    page = opened(browser, server)
    try:
        page.wait_for_selector("video.is-shown")
        server.kill()
        page.keyboard.press("2")
        page.wait_for_selector("#alarm:not([hidden])")
        server = Server(folder, *options, port=server.port)
        assert wait_for_lines(folder, "ann", 1)[0]["labels"] == {"static": True}
        saved(page)

        # With another token the open page is not let in: it says so, and keeps what was pressed.
        server.kill()
        (folder / "labels" / ".token").unlink()
        server = Server(folder, *options, port=server.port)
        page.keyboard.press("3")
        page.wait_for_function("() => document.getElementById('alarm').textContent.includes('token')")
        page.keyboard.press("4")
        page.wait_for_timeout(1200)  # tries again
        assert "2 NOT saved" in page.inner_text("#saved") and page.evaluate("() => localStorage.length") == 2
        assert len(lines_of(folder, "ann")) == 1
        other = page.context.new_page()
        other.goto(server.address.replace("0.0.0.0", "127.0.0.1"))
        lines = wait_for_lines(folder, "ann", 3)
        assert lines[2]["labels"] == {"static": True, "low_quality": True, "lecture": True}
        page.wait_for_selector("#alarm", state="hidden")
        assert not page.errors
    finally:
        page.context.close()
        server.kill()


@pytest.mark.timeout(120)
def test_what_was_pressed_goes_to_no_other_folder(browser: Any, videos: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name / "curated" for name in ("one", "two")]
    for made in folders:
        made.mkdir(parents=True)
        for name in ("00.mp4", "01.mp4"):
            os.link(videos / name, made / name)
    server = Server(folders[0], "--annotator", "ann")
    page = opened(browser, server)
    try:
        page.wait_for_selector("video.is-shown")
        server.kill()
        page.keyboard.press("5")
        page.wait_for_selector("#alarm:not([hidden])")
        server = Server(folders[1], "--annotator", "ann", port=server.port)
        # Neither by the page that is still open, nor by another one.
        page.wait_for_function("() => document.getElementById('alarm').textContent.includes('another folder')")
        other = page.context.new_page()
        other.goto(server.address)
        other.wait_for_selector("video.is-shown")
        other.keyboard.press("6")
        (line,) = wait_for_lines(folders[1], "ann", 1)
        assert line["labels"] == {"screenshot": True}
        page.wait_for_function("() => localStorage.length === 1")  # what is meant for the first folder
        other.close()
        server.kill()
        server = Server(folders[0], "--annotator", "ann", port=server.port)
        assert wait_for_lines(folders[0], "ann", 1)[0]["labels"] == {"text": True}
        saved(page)
        assert len(lines_of(folders[1], "ann")) == 1
    finally:
        page.context.close()
        server.kill()


def answered(status: int) -> Any:
    return lambda route: route.fulfill(status=status, body="<p>hello")


@pytest.mark.timeout(120)
def test_another_program_on_the_port_takes_no_answers(browser: Any, folder: Path) -> None:
    server = Server(folder, "--annotator", "ann")
    page = opened(browser, server)
    try:
        page.wait_for_selector("video.is-shown")
        for status in (200, 404, 413, 422):
            page.route("**/api/answer", answered(status))
            page.keyboard.press("1")
            page.wait_for_selector("#alarm:not([hidden])")
            assert page.evaluate("() => localStorage.length") == 1, status
            page.unroute("**/api/answer")
            saved(page)
        assert len(lines_of(folder, "ann")) == 4
    finally:
        page.context.close()
        server.kill()


@pytest.mark.timeout(120)
def test_what_was_passed_over_comes_at_the_end(browser: Any, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    for number in range(9):
        os.link(videos / f"{number:02d}.mp4", folder / f"{number:02d}.mp4")
    server = Server(folder, "--annotator", "ann", "--order", "random", "--repeat-share", "0")
    page = opened(browser, server)
    try:
        page.wait_for_selector("video.is-shown")
        page.route("**/api/pass", lambda route: (time.sleep(0.4), route.continue_()))
        order = []
        for number in range(11):
            page.wait_for_selector("#next:enabled")
            order.append(shown(page))
            if number not in (0, 2):  # those are passed over
                page.keyboard.press("0")
            page.keyboard.press("Enter")
            saved(page)
        page.wait_for_function("() => document.getElementById('message').textContent.includes('All clips')")
        assert len(set(order)) == 9 and order[9:] == [order[0], order[2]], order
    finally:
        page.context.close()
        server.kill()


@pytest.mark.timeout(120)
def test_all_labels_are_there_on_a_telephone(browser: Any, folder: Path) -> None:
    server = Server(folder, "--annotator", "ann")
    try:
        for height in (844, 664):  # with and without the browser's bars
            page = opened(browser, server, viewport={"width": 390, "height": height}, has_touch=True, is_mobile=True)
            page.wait_for_selector("video.is-shown")
            last, bar = (page.locator(name).bounding_box() for name in ("[data-label=screenshot]", "footer"))
            assert last["y"] + last["height"] <= bar["y"], height
            assert last["height"] >= 40
            page.tap("#show-help")
            meanings = page.locator("#meanings dd")
            assert meanings.count() == len(LABELS) and meanings.last.inner_text() == LABELS["screenshot"].meaning
            page.context.close()
    finally:
        server.kill()


@pytest.mark.timeout(120)
def test_a_part_of_a_video_says_so(browser: Any, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    os.link(videos / "other.webm", folder / "short.webm")
    write_video(folder / "long.webm", "libvpx-vp9", counted(250), 4, {"deadline": "realtime", "cpu-used": "8"})
    server = Server(folder, "--annotator", "ann")
    page = opened(browser, server)
    try:
        for _ in range(2):
            page.wait_for_selector("video.is-shown")
            wait_until(lambda: playing(page), 15, "the clip plays")
            if shown(page) == "long.webm":
                page.wait_for_selector("#beginning:not([hidden])")
                assert page.inner_text("#beginning") == "Only the first 60 s of this video are shown."
            else:
                assert page.is_hidden("#beginning")
            page.keyboard.press("0")
            page.keyboard.press("Enter")
    finally:
        page.context.close()
        server.kill()


@pytest.mark.timeout(120)
def test_a_clip_that_cannot_be_shown_is_told_and_skipped(browser: Any, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name in ("bad.mp4", "other.webm"):
        os.link(videos / name, folder / name)
    server = Server(folder, "--annotator", "ann")
    page = opened(browser, server)
    try:
        page.wait_for_selector("video.is-shown")
        if shown(page) == "other.webm":
            wait_until(lambda: playing(page), 15, "the clip plays")
            page.keyboard.press("0")
            page.keyboard.press("Enter")
        page.wait_for_selector("#skip:not([hidden])")
        assert "cannot be shown" in page.inner_text("#message") and shown(page) == "bad.mp4"
        page.click("#skip")
        wait_until(lambda: any(line["clip_id"] == "bad.mp4" for line in lines_of(folder, "ann")), 5, "it is noted")
        (line,) = [line for line in lines_of(folder, "ann") if line["clip_id"] == "bad.mp4"]
        assert line["labels"] == dict.fromkeys(LABELS) and "cannot be shown" in line["note"]
    finally:
        page.context.close()
        server.kill()


def press_keys(server: Server, annotator: str, acknowledged: list[dict[str, Any]]) -> None:
    """Send answers, each unlike the one before, until the server is gone; note those that it has acknowledged."""
    items = server.ask(f"api/items?annotator={annotator}")["items"]
    for number in range(10**6):
        labels = {name: bool(number >> place & 1) for place, name in enumerate(LABELS)}
        item = items[number % 4]
        body = {"annotator": annotator, "item": item["item"], "labels": labels, "seconds": number, "note": ""}
        try:
            server.ask("api/answer", body)
        except (OSError, http.client.HTTPException):
            return
        acknowledged.append(labels | {"clip_id": item["clip"], "seconds": number})


@pytest.mark.timeout(120)
def test_what_was_acknowledged_is_there_after_a_kill(folder: Path) -> None:
    for number in range(3):
        server = Server(folder)
        acknowledged: list[dict[str, Any]] = []

        thread = threading.Thread(target=press_keys, args=(server, f"a{number}", acknowledged))
        thread.start()
        wait_until(lambda said=acknowledged: len(said) > 20, 20, "answers")
        time.sleep(0.05 * number)
        server.kill()
        thread.join(20)
        lines = lines_of(folder, f"a{number}")
        written = [line["labels"] | {name: line[name] for name in ("clip_id", "seconds")} for line in lines]
        assert written[: len(acknowledged)] == acknowledged and len(written) <= len(acknowledged) + 1
    with (folder / "labels" / "a0.jsonl").open("a") as file:
        file.write('{"clip_id": "00.m')
    server = Server(folder)
    item = server.ask("api/items?annotator=a0")["items"][0]["item"]
    server.ask("api/answer", {"annotator": "a0", "item": item, "labels": {}, "seconds": 0, "note": "after"})
    assert (folder / "labels" / "a0.jsonl").read_text().splitlines()[-1].endswith('"note": "after"}')
    assert server.kill(signal.SIGINT) == 0


def run(arguments: list[str], capsys) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


def test_answers_in_and_out(folder: Path, tmp_path: Path, capsys) -> None:
    rows = ["clip_id,annotator,time,text,static", "00.mp4,ann,2026-01-31T12:00:00Z,1,0"]
    rows += ["00.mp4,ben,2026-01-31T12:00:00Z,1,1", "01.mp4,ben,2026-01-31T12:00:00Z,0,?"]
    (tmp_path / "in.csv").write_text("\n".join(rows))
    code, out, err = run(["label", "import", str(folder), str(tmp_path / "in.csv"), "--json"], capsys)
    assert code == 0 and json.loads(out.splitlines()[-1])["data"] == {"num_new": 3, "num_known": 0}, err
    for name in ("out.csv", "out.jsonl"):
        code, out, _ = run(["label", "export", str(folder), str(tmp_path / name)], capsys)
        assert code == 0 and "3 answers" in out and (tmp_path / name).stat().st_size
    code, out, _ = run(["label", "agreement", str(folder), "--json"], capsys)
    data = json.loads(out.splitlines()[-1])["data"]
    static, text = data["labels"][1], data["labels"][4]
    assert code == 0 and (static["agreement"], text["agreement"], text["num_clips"]) == (0, 1, 1)
    assert text["alpha"] is None and data["annotators"] == {"ann": 1, "ben": 2}
    code, out, _ = run(["label", "agreement", str(folder)], capsys)
    assert code == 0 and "Text-dominated" in out and "2/3" in out


def test_errors_say_what_to_do(folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "in.csv").write_text("clip_id,annotator,time,txt\n")
    (tmp_path / "bad").mkdir()
    line = {"clip_id": "a", "annotator": "ann", "time": "2026-01-31", "labels": {"txt": True}}
    (tmp_path / "bad" / "ann.jsonl").write_text(json.dumps(line) + "\n")
    name = str(folder)
    cases = [
        (["label", str(tmp_path / "gone")], ("no such folder", "gone")),
        (["label", str(tmp_path / "nothing")], ("cogvideox curate", "index.parquet")),
        (["label", name, "--labels", str(tmp_path / "file")], ("cannot be written", "--labels")),
        (["label", name, "--labels", str(tmp_path / "bad")], ("ann.jsonl, line 1", "did you mean 'text'")),
        (["label", name, "--annotator", "a/b"], ("annotator", "a/b")),
        (["label", name, "--order", "uncertain"], ("filters.editing", "another order")),
        (["label", name, "--strata", "text.area"], ("--strata", "text.area")),
        (["label", name, "--port", "99999"], ("--port", "65535")),
        (["label", name, "--overlap-share", "2"], ("overlap_share", "0 to 1")),
        (["label", "import", name, str(tmp_path / "in.csv")], ("line 1", "did you mean 'text'")),
        (["label", "export", name, str(tmp_path / "out.csv")], ("no answers yet",)),
        (["label", "agreement", name], ("no answers yet",)),
        (["label", "agreement", str(tmp_path / "gone")], ("no such folder",)),
    ]
    for arguments, words in cases:
        has_page = arguments[1] not in ("import", "export", "agreement")
        code, _, err = run([*arguments, "--no-browser"] if has_page else arguments, capsys)
        assert code == 2 and "Traceback" not in err, (arguments, code, err)
        assert all(word in " ".join(err.split()) for word in words), (arguments, words, err)


def test_a_port_that_is_taken_is_told(folder: Path, capsys) -> None:
    server = Server(folder)
    try:
        code, _, err = run(["label", str(folder), "--no-browser", "--port", str(server.port)], capsys)
        assert code == 2 and str(server.port) in err and "--port 0" in err
    finally:
        server.kill()
