"""Language models behind an endpoint, with the faults that endpoints have: none is taken for an answer."""

import base64
import io
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cogvideox.chat import endpoint
from cogvideox.chat.endpoint import (
    EndpointFailedError,
    EndpointModel,
    EndpointRefusedError,
    EndpointSettingsError,
)
from cogvideox.chat.pacing import Pacer, StoppedError
from cogvideox.chat.turns import Answer, Turn, bounded_image
from cogvideox.errors import FetchError
from loopback_chat import LoopbackChat, Reply, cut, delta, event, fails, says, serve, streams, usage

KEY = "sk-very-secret-0123456789"
TURNS = (Turn("system", "be brief"), Turn("user", "a fox"))
FOX = says("A fox.")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def quick(chat: LoopbackChat, **options) -> EndpointModel:
    """Return a model that does not wait long between tries."""
    pacer = options.pop("pacer", None) or Pacer(first_pause_s=0.002)
    return EndpointModel(chat.url, "small", KEY, pacer=pacer, **options)


def assert_one_line_without_key(error: BaseException) -> None:
    assert "\n" not in str(error)
    assert "small at http://127.0.0.1" in str(error)
    for text in (str(error), repr(error), json.dumps([str(part) for part in error.args])):
        assert KEY not in text
        assert KEY[:8] not in text


def test_request_and_answer() -> None:
    with serve(says("A fox.", usage=usage(7, 3))) as chat:
        model = EndpointModel(chat.url + "/", "small", KEY, max_tokens=99)
        assert model.answer(TURNS) == Answer("A fox.", num_input_tokens=7, num_output_tokens=3)
    assert chat.paths == ["/v1/chat/completions"]
    assert chat.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert chat.requests[0] == {
        "model": "small",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a fox"}],
        "temperature": 0,
        "max_tokens": 99,
    }
    assert model.source == f"small at {chat.url}"


def test_key_comes_from_the_environment_and_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(FOX) as chat:
        EndpointModel(chat.url, "small").answer(TURNS)
        monkeypatch.setenv("MY_KEY", f" {KEY}\n")
        EndpointModel(chat.url, "small", key_variable="MY_KEY").answer(TURNS)
    assert "Authorization" not in chat.headers[0]
    assert chat.headers[1]["Authorization"] == f"Bearer {KEY}"


def test_query_is_sent_and_not_shown() -> None:
    with serve(fails(422, "no code=hidden here"), FOX) as chat:
        model = EndpointModel(f"{chat.url}/chat/completions?code=hidden", "small")
        with pytest.raises(EndpointRefusedError, match=r"no \*\*\* here"):
            model.answer(TURNS)
    assert chat.paths == ["/v1/chat/completions?code=hidden"]
    assert "hidden" not in model.source + repr(model)


TORN = Reply(FOX.body[:-9], num_missing_bytes=9, is_reset=True)
WRONG_ONCE = {
    "429": fails(429),
    "500": fails(500, f"broken {KEY}"),
    "408": fails(408),
    "409": fails(409),
    "425": fails(425),
    "529": fails(529),
    "dropped": Reply(b"", is_dropped=True),
    "reset": Reply(b"", is_dropped=True, is_reset=True),
    "reset in the body": TORN,
    "silent": replace(FOX, delay_s=0.6),
    "stalled": replace(cut(FOX, 9), stall_s=0.6),
    "shorter than Content-Length": cut(FOX, 9),
    "chunks without an end": replace(FOX, is_chunked=True, is_chunk_cut=True),
    "cut without a length": replace(FOX, body=FOX.body[:-5], has_length=False),
    "empty body": Reply(b""),
    "no JSON": Reply(b"<html>A fox.</html>"),
    "no HTTP": Reply(b"", raw=b"A fox.\r\n\r\n"),
    "no choices": Reply(b'{"choices": []}'),
    "null choices": Reply(b'{"choices": null}'),
    "no message": Reply(b'{"choices": [{"finish_reason": "stop"}]}'),
    "null message": Reply(b'{"choices": [{"message": null}]}'),
    "number": says(7),  # pyright: ignore[reportArgumentType]
    "other bytes": Reply(b"\xff\xfe\x00"),
    "deep": Reply(b"[" * 100_000),
    "empty text": says(""),
    "no text": says(None),
    "only thoughts": says(None, reasoning_content="A fox?"),
    "blank text": says(" \n\0"),
    "error in a success": Reply(b'{"error": {"message": "upstream is down"}}'),
    "ends in an error": says("A fo", end="error"),
    "stream cut": streams("A f", end=None, is_done=False),
    "stream torn": replace(cut(streams("A f", "ox."), 150), is_reset=True),
    "stream of nothing": streams(),
    "stream with an error": replace(
        streams(), pieces=(event(delta("A f")), event({"error": {"message": "overloaded"}}), event("[DONE]"))
    ),
    "stream with an error event": replace(
        streams(), pieces=(event(delta("A f")), b"event: error\n" + event({"message": "overloaded"}), event("[DONE]"))
    ),
    "stream with nonsense": replace(streams(), pieces=(event(delta("A f")), event("{no"), event("[DONE]"))),
    "204": Reply(b"", 204),
}


@pytest.mark.parametrize("wrong", WRONG_ONCE.values(), ids=WRONG_ONCE)
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_fault_is_no_answer_and_is_tried_again(wrong: Reply, is_stream: bool) -> None:
    with serve(wrong, streams("A ", "fox.") if is_stream else FOX) as chat:
        assert quick(chat, timeout_s=0.4, streams=is_stream).answer(TURNS).text == "A fox."
    assert len(chat.requests) == 2
    assert chat.requests[0] == chat.requests[1]


LASTING = {
    "500": (fails(500, f"broken {KEY}"), r"it answers 500 Internal Server Error: broken \*\*\*, 3 times; try again"),
    "dropped": (Reply(b"", is_dropped=True), "it cannot be reached .*, 3 times; try again later"),
    "late": (replace(FOX, delay_s=0.5), r"no answer within 0\.2 s, 3 times"),
    "cut": (cut(FOX, 9), r"its answer cannot be used \(it is cut short\), 3 times"),
    "no JSON": (
        Reply(f"<html>{KEY}".encode()),
        r"its answer cannot be used \(it is not JSON; check the URL\), 3 times",
    ),
    "error": (Reply(b'{"error": {"message": "upstream is down"}}'), r"cannot be used \(upstream is down\), 3 times"),
    "empty": (says("", usage=usage(10, 2)), r"its answer cannot be used \(it is empty\), 3 times"),
}


@pytest.mark.parametrize(("reply", "message"), LASTING.values(), ids=LASTING)
def test_fault_that_lasts_is_told(reply: Reply, message: str) -> None:
    with serve(reply) as chat, pytest.raises(EndpointFailedError, match=message) as caught:
        quick(chat, timeout_s=0.2).answer(TURNS)
    assert len(chat.requests) == 3
    assert_one_line_without_key(caught.value)
    counted = (caught.value.num_input_tokens, caught.value.num_output_tokens)
    assert counted == ((30, 6) if "empty" in message else (0, 0))


def test_different_faults_are_told_one_after_the_other() -> None:
    replies = (fails(500), fails(500), Reply(b"<html>"), Reply(b"", is_dropped=True))
    message = r"500 [^,]*, 2 times, then .*not JSON.*, then it cannot be reached .*; try again later"
    with serve(*replies) as chat, pytest.raises(FetchError, match=message):
        quick(chat, num_tries=4).answer(TURNS)


def test_tokens_of_useless_tries_are_counted() -> None:
    with serve(says("", usage=usage(10, 2)), says("A fox.", usage=usage(10, 4))) as chat:
        assert quick(chat).answer(TURNS) == Answer("A fox.", num_input_tokens=20, num_output_tokens=6)


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(FetchError, match=r"it cannot be reached .*, 3 times"):
            EndpointModel(url, "small", KEY, pacer=Pacer(first_pause_s=0.001)).answer(TURNS)


def slow_head() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(90):
        yield f"X-{number}: 1\r\n".encode()


@pytest.mark.parametrize("place", ["body", "head"])
def test_bytes_now_and_then_do_not_hold_a_thread(place: str) -> None:
    if place == "body":
        reply = replace(FOX, delay_s=0.05, is_dripped=True)
        with serve(reply) as chat, pytest.raises(FetchError, match=r"no answer within 0\.3 s"):
            quick(chat, timeout_s=0.3, num_tries=1).answer(TURNS)
        return
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    for line in slow_head():
                        connection.sendall(line)
                        time.sleep(0.05)
                except OSError:
                    return

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        start_s = time.monotonic()
        with pytest.raises(FetchError, match=r"no answer within 0\.3 s"):
            EndpointModel(url, "small", KEY, timeout_s=0.3, num_tries=1).answer(TURNS)
        assert time.monotonic() - start_s < 1.5


def test_those_who_wait_themselves_are_told_of_a_late_answer_at_once() -> None:
    with serve(replace(FOX, delay_s=0.4)) as chat, pytest.raises(FetchError, match=r"no answer within 0\.1 s$"):
        quick(chat, timeout_s=0.1, retries_timeouts=False).answer(TURNS)
    assert len(chat.requests) == 1
    with serve(says(None)) as chat:
        assert quick(chat, retries_empty=False).answer(TURNS) == Answer("")


def test_endless_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_ANSWER_BYTES", 1000)
    endless = says("A fox " * 1000)
    with serve(endless, streams(*["A fox "] * 100), FOX) as chat:
        assert quick(chat).answer(TURNS).text == "A fox."
    with serve(endless) as chat, pytest.raises(FetchError, match="longer than 1,000 bytes, 3 times"):
        quick(chat).answer(TURNS)


NEVER = {
    "400": (Reply(b"<html>", 400), r"refuses the request \(400: no reason given\)"),
    "413": (fails(413, "too large"), r"refuses the request \(413: too large\)"),
    "422": (fails(422, f"too\nlong {KEY}"), r"refuses the request \(422: too long \*\*\*\)"),
    "long": (fails(422, "x" * 199 + KEY), r"refuses the request \(422: x{199}\*\)"),
    "text": (Reply(b'{"error": "no images"}', 400), r"refuses the request \(400: no images\)"),
    "fastapi": (Reply(b'{"detail": [{"loc": ["body"], "msg": "wrong"}]}', 422), r"\(422: .*wrong.*\)"),
    "message": (Reply(b'{"object": "error", "message": "too long"}', 400), r"\(400: too long\)"),
    "no message": (Reply(b'{"error": {"param": "temperature"}}', 400), r"refuses the request \(400: no reason given\)"),
    "refusal": (says(None, refusal="I cannot help with that."), "refuses this prompt"),
    "filter": (says("", end="content_filter"), "refuses this prompt"),
    "streamed refusal": (
        replace(streams(), pieces=(event(delta(None, refusal="I can")), event(delta(None, "stop")))),
        "refuses this prompt",
    ),
    "thoughts": (says("", end="length"), "all its tokens went into thinking; raise max_tokens"),
}


@pytest.mark.parametrize(("reply", "message"), NEVER.values(), ids=NEVER)
def test_request_that_never_succeeds_is_made_once(reply: Reply, message: str) -> None:
    with serve(reply) as chat, pytest.raises(EndpointRefusedError, match=message) as caught:
        quick(chat).answer(TURNS)
    assert len(chat.requests) == 1
    assert_one_line_without_key(caught.value)


WRONG_SETTINGS = {
    "401": (fails(401, f"Incorrect API key provided: {KEY[:8]}*****789"), r"OPENAI_API_KEY is refused \(401\)"),
    "403": (fails(403, KEY), r"OPENAI_API_KEY is refused \(403\)"),
    "404": (fails(404, "no model"), r"no such model, or no OpenAI-compatible endpoint at that URL \(404\)"),
    "405": (fails(405), "no OpenAI-compatible endpoint"),
    "402": (fails(402), r"no money or quota left \(402\)"),
    "quota": (fails(429, type="insufficient_quota"), r"no money or quota left \(429\)"),
    "model": (fails(400, "no such", code="model_not_found"), r"refuses the request \(400: no such\)"),
    "redirect": (Reply(b"", 302, {"Location": "http://127.0.0.1:1/"}), r"it is redirected elsewhere \(302\)"),
    "strange redirect": (Reply(b"", 307, {"Location": "ftp://[x"}), r"it is redirected elsewhere \(307\)"),
}


@pytest.mark.parametrize(("reply", "message"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_wrong_settings(reply: Reply, message: str) -> None:
    with serve(reply) as chat, pytest.raises(EndpointSettingsError, match=message) as caught:
        quick(chat).answer(TURNS)
    assert len(chat.requests) == 1
    assert_one_line_without_key(caught.value)


def test_missing_key_is_named() -> None:
    with serve(fails(401)) as chat, pytest.raises(EndpointSettingsError, match="it wants a key; set MY_KEY"):
        EndpointModel(chat.url, "small", key_variable="MY_KEY").answer(TURNS)


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "least_s", "most_s"),
    [
        ({"Retry-After": "0.3"}, 0.3, 0.8),
        ({"Retry-After": "9", "retry-after-ms": "300"}, 0.3, 0.8),
        ({"retry-after-ms": "soon", "Retry-After": "0.3"}, 0.3, 0.8),
        ({"Retry-After": "-5"}, 0, 0.25),
        ({"Retry-After": "0"}, 0, 0.25),
        ({"Retry-After": "nan"}, 0, 0.25),
        ({"Retry-After": "1e300"}, 0, 0.25),
        ({"Retry-After": "soon"}, 0, 0.25),
        ({"Retry-After": "Fri, 99 Foo 99999 99:99:99"}, 0, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0.25),
        ({"Retry-After": in_seconds(3e8)}, 0, 0.25),
    ],
)
def test_busy_endpoint_is_asked_again_when_it_says(headers: dict[str, str], least_s: float, most_s: float) -> None:
    with serve(fails(429, headers=headers), FOX) as chat:
        assert quick(chat).answer(TURNS).text == "A fox."
    assert least_s <= chat.times_s[1] - chat.times_s[0] < most_s


@pytest.mark.parametrize("is_date", [False, True])
def test_endpoint_that_asks_for_a_long_pause_is_given_up(is_date: bool) -> None:
    with (
        serve(fails(429, headers={"Retry-After": in_seconds(3600) if is_date else "3600"})) as chat,
        pytest.raises(FetchError, match=r"429 .* asks to come back in 3[56]\d\d s"),
    ):
        quick(chat).answer(TURNS)
    assert len(chat.requests) == 1


def test_when_one_is_told_to_wait_all_wait() -> None:
    with serve(fails(503, headers={"Retry-After": "0.4"}), FOX) as chat, ThreadPoolExecutor(4) as threads:
        model = quick(chat)
        first = threads.submit(model.answer, TURNS)
        while not chat.requests:
            time.sleep(0.001)
        time.sleep(0.1)
        others = [threads.submit(model.answer, TURNS) for _ in range(3)]
        assert [future.result().text for future in (first, *others)] == ["A fox."] * 4
    assert all(later_s - chat.times_s[0] >= 0.4 for later_s in chat.times_s[1:])


def test_server_with_a_strict_limit_answers_everybody() -> None:
    def reply(body: dict, number: int) -> Reply:
        time.sleep(0.02)
        return FOX if chat.num_running <= 2 else fails(429, headers={"Retry-After": "0.05"})

    with serve(reply=reply) as chat, ThreadPoolExecutor(8) as threads:
        model = quick(chat, num_tries=5)
        texts = list(threads.map(lambda _: model.answer(TURNS).text, range(60)))
    assert texts == ["A fox."] * 60
    assert len(chat.requests) < 120  # and 23 of 60 fail if all keep asking at once


def test_stopping_ends_waiting_and_requests_under_way() -> None:
    with serve(Reply(b"", delay_s=3)) as chat, ThreadPoolExecutor(3) as threads:
        pacer = Pacer(max_requests_per_minute=1)
        futures = [threads.submit(quick(chat, pacer=pacer).answer, TURNS) for _ in range(3)]
        while not chat.requests:
            time.sleep(0.001)
        start_s = time.monotonic()
        pacer.stop()
        for future in futures:
            with pytest.raises(StoppedError):
                future.result()
        assert time.monotonic() - start_s < 1
    assert len(chat.requests) == 1


def test_streams_as_servers_send_them() -> None:
    text = "A fox\u2019s tail. \U0001f98a"
    odd_pieces = (
        b"\xef\xbb\xbf: hello\r\n\r\n",
        event(delta("A fox\u2019", role="assistant"), b"\r\n"),
        b"id: 7\r\nretry: 3\r\n" + event(json.dumps(delta("s tail"), indent=1), b"\r\n"),
        event(delta("other", index=1), b"\r\n"),
        b"data:" + json.dumps(delta(". ")).encode() + b"\r\r",
        event(delta([{"type": "text", "text": "\ud83e"}, {"type": "thinking", "text": "?"}])),  # pyright: ignore[reportArgumentType]
        event(delta("\udd8a", reasoning_content="?")),
        b"data: " + json.dumps(delta(None)).encode() + b"\ndata: " + json.dumps(delta("", "stop")).encode() + b"\n\n",
        event({"choices": [], "usage": usage(12, 34)}),
        b"data: [DONE]",
    )
    odd = Reply(b"", headers={"Content-Type": "text/event-stream; charset=utf-8"}, pieces=odd_pieces, has_length=False)
    content = b"".join(odd_pieces)
    halves = replace(odd, stall_s=0.5, pieces=[content[start : start + 2] for start in range(0, len(content), 2)])
    unasked = replace(odd, headers={"Content-Type": "application/json"}, stall_s=0.5)
    for reply in (odd, halves, unasked, replace(odd, is_chunked=True)):
        with serve(reply) as chat:
            assert quick(chat, streams=True).answer(TURNS) == Answer(text, False, 12, 34)
            assert quick(chat, streams=False).answer(TURNS).text == text
        assert chat.requests[0]["stream"] is True
        assert chat.requests[0]["stream_options"] == {"include_usage": True}
        assert "stream" not in chat.requests[1]


def test_stream_asked_for_and_not_given() -> None:
    whole = says("A fox.", usage=usage(1, 2))
    with serve(whole, replace(whole, headers={"Content-Type": "text/event-stream"})) as chat:
        for _ in range(2):
            assert quick(chat, streams=True).answer(TURNS) == Answer("A fox.", False, 1, 2)
    assert len(chat.requests) == 2


def test_slow_stream_is_waited_for_and_an_endless_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = replace(streams(*"A fox runs."), piece_gap_s=0.04)
    with serve(slow) as chat:
        assert quick(chat, streams=True, timeout_s=0.2).answer(TURNS).text == "A fox runs."
    monkeypatch.setattr(endpoint, "MAX_STREAM_TIMEOUTS", 2)
    alive = replace(streams(), pieces=[b": still there\n\n"] * 40, piece_gap_s=0.05)
    with serve(alive) as chat, pytest.raises(FetchError, match="no answer within"):
        quick(chat, streams=True, timeout_s=0.2, num_tries=1).answer(TURNS)


@pytest.mark.parametrize("is_done", [True, False])
def test_stream_that_is_whole_is_taken_though_the_connection_stays_or_breaks(
    is_done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_GRACE_S", 0.1)
    whole = streams("A fox.", usage=usage(1, 2), is_done=is_done)
    for reply in (replace(whole, stall_s=1.0, is_chunk_cut=True), replace(whole, is_reset=True, is_chunk_cut=True)):
        start_s = time.monotonic()
        with serve(reply) as chat:
            assert quick(chat, streams=True).answer(TURNS).text == "A fox."
            assert time.monotonic() - start_s < 0.8
        assert len(chat.requests) == 1


@pytest.mark.parametrize("count", [-1, "7", None, 1.5, True, 10**30, [], float("nan")])
def test_counts_that_are_none(count: object) -> None:
    with serve(says("A fox.", usage=usage(count, 3)), says("A fox.", usage=[count])) as chat:
        assert quick(chat).answer(TURNS) == Answer("A fox.", num_output_tokens=3)
        assert quick(chat).answer(TURNS) == Answer("A fox.")


def test_texts_are_cleaned_of_what_no_file_takes() -> None:
    parts = [{"type": "text", "text": "A "}, {"type": "reasoning", "text": "hm"}, {"type": "text", "text": "fox."}]
    with serve(
        says(None, content=parts),
        says("A fox ru", end="length"),
        says(f"A fox {KEY}"),
        says("A \ud83d fox\0.\x1b\n"),
    ) as chat:
        model = quick(chat)
        assert model.answer(TURNS) == Answer("A fox.")
        assert model.answer(TURNS) == Answer("A fox ru", is_cut=True)
        assert model.answer(TURNS) == Answer("A fox ***")
        assert model.answer(TURNS) == Answer("A  fox.\n")


def test_models_that_do_not_take_the_usual_options() -> None:
    refusals = (fails(400, param="temperature"), fails(400, param="max_tokens"), fails(422, "stream_options: extra"))
    with serve(*refusals, streams("A fox.")) as chat:
        model = quick(chat, max_tokens=99, num_tries=1, streams=True)
        assert model.answer(TURNS).text == "A fox."
        model.answer(TURNS)  # remembers
    assert len(chat.requests) == 5
    assert chat.requests[3].keys() == {"model", "messages", "max_completion_tokens", "stream"}
    assert chat.requests[4] == chat.requests[3]


def test_options_are_given_up_once() -> None:
    with serve(fails(400, "no", param="temperature")) as chat, pytest.raises(ValueError, match=r"refuses .*\(no\)"):
        quick(chat).answer(TURNS)
    assert len(chat.requests) == 2


def test_many_threads_learn_the_options_of_a_model_together() -> None:
    def reply(body: dict, number: int) -> Reply:
        for name in ("temperature", "max_tokens"):
            if name in body:
                return fails(400, param=name)
        assert body["max_completion_tokens"] == 99
        return says(body["messages"][-1]["content"])

    with serve(reply=reply) as chat, ThreadPoolExecutor(8) as threads:
        model = quick(chat, max_tokens=99)
        questions = [f"fox {number}" for number in range(40)]
        answers = threads.map(lambda text: model.answer([Turn("user", text)]).text, questions)
        assert list(answers) == questions
    assert chat.max_running > 1


def test_refusal_of_a_long_request_is_heard_though_it_was_not_read() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
                connection.shutdown(socket.SHUT_WR)
                time.sleep(0.3)

        threading.Thread(target=refuse, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        with pytest.raises(EndpointRefusedError, match=r"refuses the request \(413"):
            EndpointModel(url, "small").answer([Turn("user", "a fox", (image,) * 8)])


def test_images_are_sent_bounded_upright_and_always_alike() -> None:
    image = np.zeros((600, 3000, 3), np.uint8)
    image[:, :1500] = (250, 10, 10)
    with serve(FOX) as chat:
        for _ in range(2):
            quick(chat).answer([Turn("user", "a fox", (image, image[::-1]))])
    assert chat.requests[0] == chat.requests[1]
    *picture_parts, text_part = chat.requests[0]["messages"][0]["content"]
    assert text_part == {"type": "text", "text": "a fox"}
    assert len(picture_parts) == 2
    head, data = picture_parts[0]["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (1024, 205)
        assert np.abs(np.asarray(picture)[100, 100].astype(int) - (250, 10, 10)).max() < 8
        assert np.asarray(picture)[100, 900].max() < 8


def test_small_images_keep_their_size() -> None:
    assert bounded_image(np.zeros((48, 64, 3), np.uint8)).size == (64, 48)
    with pytest.raises(ValueError, match="image: expected"):
        bounded_image(np.zeros((48, 64), np.uint8))


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://host/v1", "http://", "http://host:x/v1", "http://a b/v1", f"http://{'a' * 70}/v1"],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint: expected a URL such as"):
        EndpointModel(url, "small")


@pytest.mark.parametrize("url", ["https://me:hidden@host/v1", "ftp://me:hidden@host", "me:hidden@host"])
def test_password_in_a_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="no user or password") as caught:
        EndpointModel(url, "small")
    assert "hidden" not in str(caught.value)


def test_other_wrong_settings() -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        EndpointModel("http://host/v1", "small", "se\ncret")
    assert "cret" not in str(caught.value).replace("secret", "")
    with pytest.raises(ValueError, match="the model's name is missing"):
        EndpointModel("http://host/v1", " ")
    with pytest.raises(ValueError, match="timeout_s, max_tokens"):
        EndpointModel("http://host/v1", "small", timeout_s=0)
    with pytest.raises(ValueError, match="num_tries, temperature"):
        EndpointModel("http://host/v1", "small", num_tries=0)


def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(FOX) as chat:
        monkeypatch.setenv("http_proxy", chat.url.removesuffix("/v1"))
        assert EndpointModel("http://nowhere.invalid/v1", "small").answer(TURNS).text == "A fox."
        assert chat.paths == ["http://nowhere.invalid/v1/chat/completions"]
        monkeypatch.setenv("http_proxy", "socks9://127.0.0.1:1")
        with pytest.raises(FetchError, match="socks9"):
            EndpointModel("http://nowhere.invalid/v1", "small", num_tries=1).answer(TURNS)


@pytest.fixture(scope="module")
def noise() -> Iterator[LoopbackChat]:
    with serve(FOX) as chat:
        yield chat


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "delta", "content", "error", "usage", "index", "finish_reason"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
JSON_BODIES = JSON_VALUES.map(lambda value: json.dumps(value).encode())
BODIES = (
    st.binary(max_size=200)
    | JSON_BODIES
    | st.lists(JSON_BODIES, max_size=4).map(lambda parts: b"".join(b"data: " + part + b"\n\n" for part in parts))
)
HEADS = ("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n")
OTHER_HEADS = ("HTTP/1.1 429 No\r\n\r\n", "HTTP/1.1 400 No\r\n\r\n", "", "HTTP/1.1 200 OK\r\nContent-Length: ")


@given(body=BODIES, head=st.sampled_from(HEADS + OTHER_HEADS), is_stream=st.booleans())
@example(body=b'{"choices": [{"index": [], "message": {"content": {}}}]}', head=HEADS[1], is_stream=False)
@example(body=b'data: {"choices": [{"index": true, "delta": [], "finish_reason": []}]}', head=HEADS[0], is_stream=True)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_break_it(noise: LoopbackChat, body: bytes, head: str, is_stream: bool) -> None:
    noise.replies[:] = [Reply(b"", raw=head.encode() + body)]
    pacer = Pacer(first_pause_s=0, generator=random.Random(0))
    try:
        answer = EndpointModel(noise.url, "small", KEY, num_tries=1, streams=is_stream, pacer=pacer).answer(TURNS)
    except (FetchError, ValueError) as error:
        assert_one_line_without_key(error)
    else:
        assert answer.text.strip()
        answer.text.encode()


def test_server_that_limits_by_the_minute_and_does_not_say_for_how_long_answers_everybody() -> None:
    window_s, most = 0.6, 6
    passed: list[float] = []
    lock = threading.Lock()

    def reply(body: dict, number: int) -> Reply:
        with lock:
            now_s = time.monotonic()
            if sum(now_s - at_s < window_s for at_s in passed) >= most:
                return fails(429)
            passed.append(now_s)
        return FOX

    with serve(reply=reply) as chat, ThreadPoolExecutor(6) as threads:
        model = quick(chat, num_tries=2, busy_patience_s=5, pacer=Pacer(first_pause_s=0.02))
        texts = list(threads.map(lambda _: model.answer(TURNS).text, range(30)))
    assert texts == ["A fox."] * 30
    assert len(chat.requests) < 90, "all threads are held, and longer each time"


def test_patience_with_a_busy_server_ends_and_is_not_given_to_other_faults() -> None:
    with serve(fails(429)) as chat, pytest.raises(EndpointFailedError, match=r"429 .* times; try again later"):
        quick(chat, num_tries=2, busy_patience_s=0.3, pacer=Pacer(first_pause_s=0.01)).answer(TURNS)
    assert 4 <= len(chat.requests) <= 10
    # One request that alone is told so: others are answered meanwhile.
    with (
        serve(reply=lambda body, _: fails(429) if "large" in str(body) else FOX) as chat,
        ThreadPoolExecutor(2) as pool,
    ):
        model = quick(chat, num_tries=2, busy_patience_s=0.5, pacer=Pacer(first_pause_s=0.01))
        large = pool.submit(model.answer, [Turn("user", "large")])
        while not large.done():
            assert model.answer(TURNS).text == "A fox."
        assert isinstance(large.exception(), EndpointFailedError)
    with serve(fails(500)) as chat, pytest.raises(EndpointFailedError, match=r"500 .*, 2 times"):
        quick(chat, num_tries=2, busy_patience_s=60).answer(TURNS)
    with serve(fails(429)) as chat, pytest.raises(EndpointFailedError, match=r"429 .*, 3 times"):
        quick(chat).answer(TURNS)


def test_answer_that_needed_more_tokens_says_so() -> None:
    with serve(says("", end="length")) as chat, pytest.raises(EndpointRefusedError) as caught:
        quick(chat).answer(TURNS)
    assert caught.value.is_cut
