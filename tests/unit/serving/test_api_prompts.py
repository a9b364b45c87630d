"""Prompts that a language model writes anew: an endpoint that answers, is slow, breaks, or says nonsense."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_server import Served, code_of, served
from cogvideox.serving.api import prompts
from cogvideox.serving.api.settings import ChatSettings
from loopback_chat import LoopbackChat, Reply, fails, says, serve

KOREAN = "눈밭에서 뛰는 펭귄"
KEY = "sk-secret-of-the-endpoint"


@contextmanager
def rewriting(folder: Path, *replies: Reply, **settings: Any) -> Iterator[tuple[Served, LoopbackChat]]:
    with serve(*replies) as chat:
        asked = ChatSettings(base_url=chat.url, model="small", api_key=KEY)
        with served(folder, chat=asked, **settings) as api:
            yield api, chat


def rewrite(api: Served, prompt: Any, purpose: Any = "translate", **more: Any) -> httpx.Response:
    return api.http.post("/v1/prompts/rewrite", json={"prompt": prompt, "purpose": purpose} | more)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, code_of(answer)


def test_it_is_off_unless_set_up(quick_folder: Path) -> None:
    with served(quick_folder) as api:
        assert refused(rewrite(api, KOREAN)) == (501, "unsupported")
        assert api.http.get("/v1/models/tiny").json()["capabilities"]["prompt_rewriting"] == []
        assert "/v1/prompts/rewrite" not in api.http.get("/openapi.json").json()["paths"]
    for values in ({"base_url": "ftp://x/v1"}, {"base_url": "http://u:p@x/v1"}, {"model": " "}, {"api_key": "a\nb"}):
        with pytest.raises(ValueError, match=r"^(base_url|model|api_key): expected") as told:
            ChatSettings(**({"base_url": "http://x/v1", "model": "m"} | values))
        assert "u:p" not in str(told.value)
    assert KEY not in repr(ChatSettings(base_url="http://x", model="m", api_key=KEY))


def test_prompts_come_back_translated_and_enhanced(quick_folder: Path) -> None:
    replies = (
        says('Sure! Here is the translation:\n\n"A penguin hops in a snowy field"'),
        says("a penguin hops, slowly"),
    )
    with rewriting(quick_folder, *replies) as (api, chat):
        translated = rewrite(api, KOREAN)
        assert translated.json() == {"prompt": "A penguin hops in a snowy field", "original": KOREAN}
        assert rewrite(api, "a penguin", "enhance", model="tiny").json()["prompt"] == "a penguin hops, slowly"
        assert chat.texts() == [KOREAN, "Idea: a penguin"] and chat.headers[0]["Authorization"] == f"Bearer {KEY}"
        assert "at most 21 words" in json.dumps(chat.requests[1])  # of the 32 tokens that this model reads
        for wrong, code in (({"prompt": " "}, "missing_prompt"), ({"prompt": "x" * 4001}, "prompt_too_long"),
                            ({"prompt": "a\0"}, "invalid_param"), ({"prompt": 1}, "invalid_param"),
                            ({"purpose": "x"}, "invalid_param"), ({"purpose": ["translate"]}, "invalid_param"),
                            ({"model": "x"}, "invalid_param"), ({"model": {}}, "invalid_param"),
                            ({"seed": 1}, "unknown_field")):  # fmt: skip
            assert refused(rewrite(api, **({"prompt": KOREAN} | wrong))) == (400, code), wrong
        form = api.http.post("/v1/prompts/rewrite", files={"prompt": (None, "x"), "purpose": (None, "translate")})
        assert refused(form) == (415, "unsupported_media_type")
        assert len(chat.requests) == 2
        told = api.http.get("/v1/models/tiny").json()["capabilities"]
        assert told["prompt_rewriting"] == ["translate", "enhance"]
        schema = api.http.get("/openapi.json").json()
        assert set(schema["components"]["schemas"]["RewrittenPrompt"]["required"]) == set(translated.json())
        assert "post" in schema["paths"]["/v1/prompts/rewrite"]


def test_what_goes_wrong_at_the_endpoint_is_told_without_its_words(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cogvideox.chat.endpoint.NUM_TRIES", 1)
    cases = (
        (fails(401, f"wrong key {KEY}"), 503, "not_ready"),
        (fails(500, "secret words, you said: 눈 secret words"), 503, "not_ready"),
        (Reply(b"<html>secret words"), 503, "not_ready"),
        (says(""), 400, "invalid_param"),
        (says("I'm sorry, but I can't help with that request."), 400, "invalid_param"),
        (says(KOREAN), 400, "invalid_param"),
        (says("word " * 2000), 400, "invalid_param"),
    )
    # The pauses between tries are for those who wait at night.
    monkeypatch.setattr("cogvideox.chat.pacing.Pacer._pause_s", lambda *_: 0.0)
    for reply, status, code in cases:
        with rewriting(quick_folder, reply) as (api, _):
            answer = rewrite(api, "눈 secret words")
            assert refused(answer) == (status, code), reply
            assert ("retry-after" in answer.headers) == (status == 503)
            assert "secret" not in answer.text and KEY not in answer.text + caplog.text
    assert "눈" not in caplog.text


def test_a_slow_endpoint_holds_nobody_else(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_REWRITE_S", 1.5)
    monkeypatch.setattr(prompts, "MAX_RUNNING", 4)
    with rewriting(quick_folder, Reply(b"", delay_s=60)) as (api, chat):
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(rewrite(api, KOREAN))) for _ in range(12)]
        begun_s = time.monotonic()
        for thread in threads:
            thread.start()
        while len(chat.requests) < 4:
            time.sleep(0.01)
        assert api.create()["status"] == "queued" and api.http.get("/v1/videos").status_code == 200
        assert time.monotonic() - begun_s < 1.4
        for thread in threads:
            thread.join(10)
        assert {refused(answer) for answer in answers} == {(503, "not_ready")} and len(chat.requests) == 4
        assert all(answer.headers["retry-after"] == "10" for answer in answers)
        # What was given up has let its places go.
        end_s = time.monotonic() + 5
        while len(chat.requests) < 5 and time.monotonic() < end_s:
            rewrite(api, KOREAN)
        assert len(chat.requests) == 5


def test_it_counts_as_making_videos_does(quick_folder: Path) -> None:
    with rewriting(quick_folder, says("a fox"), max_requests_per_minute=2) as (api, _):
        answers = [rewrite(api, KOREAN) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert code_of(answers[-1]) == "rate_limited" and answers[-1].headers["retry-after"]


def test_it_needs_no_torch() -> None:
    told = "import sys, cogvideox.serving.api.prompts; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", told], timeout=60).returncode == 0
