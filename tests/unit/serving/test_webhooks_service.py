"""``cogvideox serve`` tells a server that videos ended."""

import json
import urllib.request
from pathlib import Path

import openai
import pytest

from cogvideox.serving.database import Database
from cogvideox.serving.webhooks import Webhooks
from running_service import Served, wait_for
from webhook_target import targets

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")


def test_a_service_tells_a_target_of_its_videos(quick_folder: Path) -> None:
    log = quick_folder / "log"
    with targets(1) as (target,):
        served = Served(quick_folder, log=log)
        try:
            database = Database(f"sqlite:///{quick_folder}/jobs.sqlite3")  # as cogvideox webhooks does
            _, secret = Webhooks(database).new(target.url, owner="local", is_private_allowed=True)
            database.close()
            made = served.ask("/v1/videos", {"prompt": "step:0.01 a fox", "num_inference_steps": 3})
            wait_for(lambda: len(target.told) == 1)
            long = served.ask("/v1/videos", {"prompt": "step:0.2 a fox", "num_inference_steps": 100})
            served.ask(f"/v1/videos/{long['id']}/cancel", {})
            wait_for(lambda: len(target.told) == 2)
            client = openai.OpenAI(api_key="none", webhook_secret=secret)
            for told in target.told:
                client.webhooks.unwrap(told.body, told.headers)
            events = [json.loads(told.body) for told in target.told]
            kinds = [(event["type"], event["data"]["id"]) for event in events]
            assert kinds == [("video.completed", made["id"]), ("video.failed", long["id"])]

            def metrics() -> list[str]:
                with urllib.request.urlopen(f"{served.url}/metrics", timeout=20) as response:
                    return response.read().decode().splitlines()

            wait_for(lambda: "cogvideox_outbox_waiting 0.0" in metrics())
            assert {"cogvideox_outbox_oldest_seconds 0.0", "cogvideox_outbox_given_up_total 0.0"} <= set(metrics())
            # What ends while the service ends is told too.
            last = served.ask("/v1/videos", {"prompt": "step:0.1 a fox", "num_inference_steps": 10})
            wait_for(lambda: served.ask(f"/v1/videos/{last['id']}")["step"] >= 1)
            served.process.terminate()
            assert served.process.wait(timeout=30) == 0
            assert [last["id"].encode() in told.body for told in target.told] == [False, False, True]
        finally:
            served.end()
    text = log.read_text()
    assert "webhook tried" in text and secret[6:] not in text and target.url not in text
