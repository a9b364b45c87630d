"""`cogvideox caption` as a user runs it, against a server that misbehaves: killed, continued, changed, misused."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cogvideox.chat.pacing import Pacer
from cogvideox.cli import main
from cogvideox.data.captioning import backends
from cogvideox.data.clip_folder import open_clips
from cogvideox.data.clip_index import write_shards
from cogvideox.data.stage_world.art import draw_simple_art
from cogvideox.data.stage_world.renderer import render_scene
from cogvideox.data.stage_world.scene import sample_scene
from cogvideox.media.writers import write_video
from curation_corpus import rows_of
from loopback_chat import Reply, cut, fails, says, serve_computed, streams, usage

SOURCE = Path(__file__).parents[2] / "src"
NUM_CLIPS = 6
RECIPE = """
[[backends]]
name = "eyes"
kind = "endpoint"
url = "{url}"
model = "seer"
concurrency = 4
timeout_s = 1.0
num_tries = 6
dollars_per_million_input_tokens = 2.0
dollars_per_million_output_tokens = 10.0
[[backends]]
name = "writer"
kind = "endpoint"
url = "{url}"
model = "scribe"
concurrency = 4
timeout_s = 1.0
num_tries = 6
[short]
backend = "eyes"
num_frames = 3
[frames]
backend = "eyes"
every_s = 1.0
[summary]
backend = "writer"
"""
GOOD = {
    "short": "A small animal walks across the field to the right.",
    "frames": "A small animal stands on green grass on the left under a blue sky.",
    "summary": "A small animal stands on green grass under a blue sky, and then walks across the field to the right.",
}
BAD = (
    "I'm sorry, but I can't help with that.",
    "一只小动物站在绿色的草地上 然后向右走过田野。",
    "@@## 12 34 ;;; ()() 88",
    "go go go go go go go go go go go go",
    "",
    "Yes.",
)


@dataclass
class Server:
    """Answers questions about captions, and counts what it was asked and what it has answered well."""

    fault_share: float = 0.0
    delay_s: float = 0.0
    counts_tokens: bool = True
    good: Counter[str] = field(default_factory=Counter)
    """Good answers by question."""
    stages: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)

    def __call__(self, request: dict[str, Any], _: int) -> Reply:
        stage = stage_of(request)
        # The complaint about an earlier answer does not make another question of it.
        question = hashlib.sha256(json.dumps([request["model"], request["messages"][:2]]).encode()).hexdigest()
        number = self.tries[question]
        self.tries[question] += 1
        self.stages[stage] += 1
        dice = random.Random(f"{question} {number}")
        if dice.random() < self.fault_share:
            return self.fault(dice)
        self.good[question] += 1
        time.sleep(self.delay_s)
        return says(answer_to(stage, question), usage=usage(100, 20) if self.counts_tokens else None)

    def fault(self, dice: random.Random) -> Reply:
        whole = says(GOOD["short"], usage=usage(100, 20))
        faults = [
            fails(429, headers={"Retry-After": "0"}),
            fails(500),
            fails(503),
            replace(whole, delay_s=1.5),
            cut(whole, 40),
            streams("A small animal", end=None, is_done=False),
            Reply(b"<html>busy</html>"),
            Reply(b"", is_dropped=True),
            says("A small animal walks across the", end="length", usage=usage(100, 20)),
            *(says(text, usage=usage(100, 20)) for text in BAD),
        ]
        return dice.choice(faults)


def answer_to(stage: str, question: str) -> str:
    """Return another answer to every question, so that no two summaries are asked for with the same words."""
    mark = "".join("bcdfgklmnp"[int(digit, 16) % 10] + "aeiou"[int(digit, 16) % 5] for digit in question[:4])
    return f"{GOOD[stage]} The word {mark} is on it."


def stage_of(request: dict[str, Any]) -> str:
    content = request["messages"][1]["content"]
    if isinstance(content, str):
        return "summary"
    return "frames" if sum(part["type"] == "image_url" for part in content) == 1 else "short"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))  # of workers and commands that are started
    monkeypatch.setattr(backends, "Pacer", partial(Pacer, first_pause_s=0.02))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rendered clips of 2 s and 4 s, and two files that are no clips."""
    folder = tmp_path_factory.mktemp("clips")
    art, rng = draw_simple_art(), np.random.default_rng(0)
    for number in range(NUM_CLIPS):
        scene = sample_scene(rng, actors=art.actors)
        frames = render_scene(scene, art, num_frames=17 if number % 2 else 33)
        write_video(folder / f"clip_{number}.mp4", iter([frames]), fps=8)
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


@dataclass(frozen=True)
class Captioned:
    """A folder of clips and a recipe."""

    folder: Path

    @property
    def clips(self) -> Path:
        return self.folder / "clips"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @classmethod
    def of(cls, clips: Path, folder: Path, url: str) -> "Captioned":
        shutil.copytree(clips, folder / "clips")
        made = cls(folder)
        made.write_recipe(url)
        return made

    def write_recipe(self, url: str, *changes: tuple[str, str]) -> None:
        text = RECIPE.format(url=url)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.folder / "recipe.toml").write_text(text)

    def command(self, *more: str) -> list[str]:
        return ["caption", str(self.clips), str(self.folder / "recipe.toml"), "--out", str(self.out), *more]

    def run(self, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
        """Return exit code and what the command says at its end."""
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([*self.command(*more), "--json"])
        out = capsys.readouterr().out
        return int(caught.value.code or 0), json.loads(out.splitlines()[-1])

    def rows(self, stage: str) -> list[dict[str, Any]]:
        return rows_of(self.out / "tables" / f"{stage}.parquet")

    def tables(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.out / "tables").iterdir())}


@pytest.mark.parametrize("seed", [1, 2])
def test_every_fault_ends_in_a_caption_or_a_row_that_says_why(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    server = Server(fault_share=0.2 + 0.25 * seed)
    with serve_computed(server) as chat:
        made = Captioned.of(clips, tmp_path, chat.url)
        code, said = made.run(capsys)
        assert code == 7 and said["ok"], said
        for stage, number in (("short", 7), ("summary", 7), ("frames", 3 * 4 + 3 * 3 + 1 + 3)):
            rows = made.rows(stage)
            assert [bool(row["text"]) != bool(row["error"]) for row in rows] == [True] * len(rows)
            assert len(rows) <= number and {row["clip_id"] for row in rows} >= {"broken.mp4", "clip_0.mp4"}
            # Nothing that the server says when it misbehaves is taken for a caption.
            assert all(row["text"].startswith((GOOD[stage], GOOD["short"])) for row in rows if row["text"])
        broken = made.rows("summary")[0]
        assert broken["clip_id"] == "broken.mp4" and "not a readable video" in broken["error"]
        assert said["data"]["num_unreadable"] == 1
        assert max(server.good.values()) == 1, "a question was asked again although it was answered well"
        num_requests = len(chat.requests)
        server.fault_share = 0.0
        code, said = made.run(capsys)
        # What could not be had is asked again; what was answered badly is not, unless it is asked for.
        assert max(server.good.values()) == 1
        num_second = len(chat.requests) - num_requests
        _, said = made.run(capsys)
        with pytest.raises(SystemExit):
            main(made.command())
        printed = capsys.readouterr().out
        assert f"{said['data']['num_failed']} captions are missing" in printed
        num_no_use = said["data"]["num_no_use"]
        assert (f"(--retry-failed asks again for {num_no_use})" in printed) == (num_no_use > 0)
        assert len(chat.requests) == num_requests + num_second
        code, said = made.run(capsys, "--retry-failed")
        assert [row["error"] for row in made.rows("summary") if row["clip_id"] != "broken.mp4"] == [""] * NUM_CLIPS


def test_a_killed_run_goes_on_and_a_finished_one_asks_nothing(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(delay_s=0.15)
    with serve_computed(server) as chat:
        made = Captioned.of(clips, tmp_path, chat.url)
        process = subprocess.Popen([sys.executable, "-m", "cogvideox", *made.command()], start_new_session=True)
        give_up_at_s = time.monotonic() + 60
        while server.good.total() < 14 and time.monotonic() < give_up_at_s and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.3)
        num_before = server.good.total()
        assert 14 <= num_before < 30
        torn = next(iter((made.out / "work" / "answers").glob("*.jsonl")))
        torn.write_bytes(torn.read_bytes() + b'{"key": "short-')
        code, said = made.run(capsys)
        assert code == 7 and said["data"]["num_summaries"] == NUM_CLIPS
        again = server.good.total() - len(server.good)
        assert again <= 8, "no more than what was on its way is paid for twice"
        assert said["data"]["num_reused"] >= num_before - 8

        num_requests, tables = len(chat.requests), made.tables()
        code, said = made.run(capsys)
        assert (len(chat.requests), said["data"]["num_asked"], made.tables()) == (num_requests, 0, tables)
        for number, name in enumerate(("b", "a", "c")):
            (made.clips / f"clip_{number}.mp4").rename(made.clips / f"{name}.mp4")
        shutil.copy(made.clips / "a.mp4", made.clips / "twin.mp4")
        code, said = made.run(capsys)
        assert len(chat.requests) == num_requests and said["data"]["num_summaries"] == NUM_CLIPS + 1

        # A changed stage asks itself and what is made of it.
        server.stages.clear()
        made.write_recipe(chat.url, ('backend = "writer"', 'backend = "writer"\nprompt = "One caption of it all."'))
        made.run(capsys)
        assert server.stages == {"summary": NUM_CLIPS}
        server.stages.clear()
        made.write_recipe(chat.url, ("num_frames = 3", "num_frames = 2"))
        made.run(capsys)
        assert server.stages == {"short": NUM_CLIPS, "summary": NUM_CLIPS}
        made.write_recipe(chat.url)
        num_requests = len(chat.requests)
        code, said = made.run(capsys)
        assert len(chat.requests) == num_requests, "what was asked at first is still known"


def test_ray_and_one_process_make_the_same_tables(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve_computed(Server()) as chat:
        tables = []
        for name, more in (("inline", ("--inline",)), ("ray", ("--ray-address", "local"))):
            (tmp_path / name).mkdir()
            made = Captioned.of(clips, tmp_path / name, chat.url)
            code, said = made.run(capsys, *more)
            assert code == 7 and said["data"]["num_asked"] == 6 + 6 + 3 * 5 + 3 * 3, said
            tables.append(made.tables())
        assert tables[0] == tables[1]
        assert chat.max_running <= 8


def test_what_it_would_cost_what_it_costs_and_where_it_stops(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server()
    with serve_computed(server) as chat:
        made = Captioned.of(clips, tmp_path, chat.url)
        code, said = made.run(capsys, "--dry-run")
        assert code == 0 and not chat.requests
        assert said["data"]["num_requests"] == {"short": 6, "frames": 24, "summary": 6}
        assert 0 < said["data"]["dollars"] < 1
        # 100 tokens in and 20 out cost 0.0004 dollars.
        code, said = made.run(capsys, "--set", "max_dollars=0.002")
        num_paid = server.stages["short"] + server.stages["frames"]
        assert code == 7 and 5 <= num_paid <= 8
        assert said["data"]["dollars"] == pytest.approx(0.0004 * num_paid)
        assert any("the budget is spent" in row["error"] for row in made.rows("frames"))
        code, said = made.run(capsys)
        assert said["data"]["num_summaries"] == 6 and said["data"]["dollars"] == pytest.approx(0.0004 * 30)


def test_tokens_that_a_server_does_not_count_are_estimated(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve_computed(Server(counts_tokens=False)) as chat:
        made = Captioned.of(clips, tmp_path, chat.url)
        _, estimate = made.run(capsys, "--dry-run")
        _, said = made.run(capsys)
        assert said["data"]["is_estimated"] and 0 < said["data"]["dollars"] < estimate["data"]["dollars"] * 2
        _, said = made.run(capsys, "--set", "max_dollars=0.00001", 'frames.prompt="Say what there is."')
        assert "budget" in said["data"]["stopped"] and said["data"]["num_asked"] == 0


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(401, 2, "OPENAI_API_KEY"), (404, 2, "no such model"), (None, 5, "cannot be reached")],
)
def test_a_hopeless_endpoint_ends_the_run_at_once_and_leaves_rows(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int | None, code: int, reason: str
) -> None:
    with serve_computed(lambda *_: fails(status or 500)) as chat:
        url = chat.url if status else "http://127.0.0.1:9/v1"
        made = Captioned.of(clips, tmp_path, url)
        found, said = made.run(capsys)
        assert found == code and reason in said["error"]["message"], said
        assert len(chat.requests) <= 8
        assert all(row["error"] for row in made.rows("frames") + made.rows("summary"))


def test_an_interrupted_run_writes_what_there_is(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(delay_s=0.2)
    with serve_computed(server) as chat:
        made = Captioned.of(clips, tmp_path, chat.url)
        process = subprocess.Popen([sys.executable, "-m", "cogvideox", *made.command()])
        give_up_at_s = time.monotonic() + 60
        while server.good.total() < 10 and time.monotonic() < give_up_at_s and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
        num_good = server.good.total()
        rows = made.rows("short") + made.rows("frames") + made.rows("summary")
        assert sum(bool(row["text"]) for row in rows) == num_good, "answers that were on their way are kept"
        assert any("interrupted" in row["error"] for row in rows)
        assert "interrupted" in (made.out / "report.html").read_text()
        made.run(capsys)
        assert max(server.good.values()) == 1 and server.good.total() == 36


def test_clips_get_their_captions_and_students_their_examples(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve_computed(Server()) as chat:
        made = Captioned.of(clips, tmp_path, chat.url)
        (made.clips / "clip_1.txt").write_text("my own words\n")
        made.run(capsys)
        assert (made.clips / "clip_1.txt").read_text() == "my own words\n"
        wordings = tuple((made.clips / "clip_0.txt").read_text().splitlines())
        assert [GOOD[stage] in text for stage, text in zip(("summary", "short"), wordings, strict=True)] == [True, True]
        assert open_clips(made.clips).table.captions[0] == wordings
        training = made.out / "training"
        examples = [json.loads(line) for line in (training / "summariser.jsonl").read_text().splitlines()]
        assert len(examples) == NUM_CLIPS and {example["split"] for example in examples} == {"train", "val"}
        first = examples[0]
        assert [turn["role"] for turn in first["messages"]] == ["system", "user", "assistant"]
        assert first["messages"][2]["content"] == first["summary"] == wordings[0]
        assert [time_s for time_s, _ in first["frames"]] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert f"[2.0 s] {first['frames'][2][1]}" in first["messages"][1]["content"]
        captioner = [json.loads(line) for line in (training / "captioner.jsonl").read_text().splitlines()]
        assert {(one["dataset"], one["id"]) for one in captioner} == {
            (str(made.clips), f"clip_{number}.mp4") for number in range(NUM_CLIPS)
        }
        counts = json.loads((training / "export.json").read_text())
        assert counts["left_out"] == {"its clip cannot be read": 1}

        # A training set of the same clips asks nothing, and its table gets the captions.
        entries = [(f"id{n}", made.clips / f"clip_{n}.mp4", ["own"], {}) for n in range(NUM_CLIPS)]
        write_shards(tmp_path / "shards", entries)
        num_requests = len(chat.requests)
        with pytest.raises(SystemExit):
            main(["caption", str(tmp_path / "shards"), str(tmp_path / "recipe.toml"), "--out", str(made.out)])
        assert len(chat.requests) == num_requests
        assert open_clips(tmp_path / "shards").table.captions[0] == ("own", *wordings)
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["caption", "explain", "id3", "--out", str(made.out)])
        assert GOOD["summary"] in capsys.readouterr().out


def test_misuse_says_what_to_do(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Captioned.of(clips, tmp_path, "http://127.0.0.1:9/v1")
    with contextlib.chdir(tmp_path):
        for change, expected in (
            ("summary.backend=nobody", "summary.backend"),
            ("summary.max_word=3", "max_words"),
            ("frames.every_s=0", "every_s"),
        ):
            code, said = made.run(capsys, "--set", change)
            assert code == 2 and expected in said["error"]["message"]
        code, said = made.run(capsys, "--inline", "--ray-address", "local")
        assert code == 2 and "--inline" in said["error"]["message"]
        (made.out / "tables").mkdir(parents=True)
        (made.out / "tables" / "clips.parquet").touch()  # as if it were a curation
        code, said = made.run(capsys)
        assert code == 2 and "folder of its own" in said["error"]["message"]
