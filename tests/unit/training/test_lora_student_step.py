"""Students that are adapters of tiny random models: they learn answers exactly, and say them where they are asked."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from real_videos import give_up
from tiny_language_model import sharpened, write_language_model
from tiny_video_language_model import OFFER, offer_torchvision, write_tiny_model, write_torchvision

offer_torchvision()

import torch  # noqa: E402
from peft import PeftModel  # noqa: E402

from cogvideox.cli.main import main  # noqa: E402
from cogvideox.data.captioning.chat_backbone import ChatBackbone  # noqa: E402
from cogvideox.data.captioning.recipe import BackendSettings  # noqa: E402
from cogvideox.data.captioning.request import CaptionRequest  # noqa: E402
from cogvideox.data.captioning.students import open_student  # noqa: E402
from cogvideox.data.libraries import has_torchvision  # noqa: E402
from cogvideox.data.low_rank import LowRankSettings  # noqa: E402
from cogvideox.media.writers import write_video  # noqa: E402
from cogvideox.settings import read_recipe  # noqa: E402
from cogvideox.training.loop import RunSettings, train  # noqa: E402
from cogvideox.training.lora_student_data import read_samples  # noqa: E402
from cogvideox.training.lora_student_recipe import LoraStudentSettings  # noqa: E402
from cogvideox.training.lora_student_step import LoraStudentStep  # noqa: E402
from cogvideox.training.student_recipe import CaptionerRecipe, SummariserRecipe  # noqa: E402

RECIPES = Path(__file__).parents[3] / "recipes"
COLOURS = ("red", "green", "blue", "white")
QUESTIONS = [f"a {colour} ball rolls . what is seen ?" for colour in COLOURS]
ANSWERS = [
    "A red ball rolls left .",
    "Slowly a green ball falls .",
    "Nothing but blue .",
    "A white ball rests and then rolls right .",
]
RULES = "be brief"
TEXTS = (*QUESTIONS, *ANSWERS, RULES)
VIDEO_ANSWERS = ["all that fit,", "six kinds of bad video", "or none.", "Name this? all of these six video kinds"]
"""Words that tests/tiny_video_language_model.py knows."""
VIDEO_KIND = "qwen2_vl" if has_torchvision() else "llava"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_lines(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def summary_rows(split: str = "train") -> list[dict]:
    return [
        {
            "id": f"clip{place}",
            "source": f"{split}{place}",
            "split": split,
            "messages": [
                {"role": "system", "content": RULES},
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ],
        }
        for place, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
    ]


def make_run(**changes) -> RunSettings:
    defaults = {"num_steps": 120, "batch_size": 4, "learning_rate": 2e-2, "num_warmup_steps": 5}
    return RunSettings(
        **(defaults | {"average_decay": 0.5, "sample_every_steps": 120, "log_every_steps": 10} | changes)
    )


def make_settings(base: Path, data: Path, **changes) -> LoraStudentSettings:
    adapter = LowRankSettings(rank=8, alpha=16.0, dropout=0.0)
    return LoraStudentSettings(base=str(base), data=(data,), **({"adapter": adapter, "max_tokens": 256} | changes))


def served(folder: Path, **changes) -> BackendSettings:
    values = {"name": "s", "kind": "student", "model": str(folder), "dtype": "float32", "max_tokens": 32}
    return BackendSettings(**(values | changes))


@pytest.mark.parametrize("kind", ["chatml", "instruct", "spoken", "t5"])
def test_a_summariser_learns_answers_exactly_and_serves_them(kind, tmp_path):
    base = write_language_model(tmp_path / "base", kind, TEXTS)
    data = write_lines(tmp_path / "summariser.jsonl", summary_rows() + summary_rows("val")[:2])
    run, logged = make_run(**({"learning_rate": 1e-2} if kind == "t5" else {})), []
    step = LoraStudentStep(make_settings(base, data), run, "summariser", CPU)
    train(step, run, tmp_path / "run", recipe=run, on_step=lambda _, values: logged.append(values))
    assert logged[-1]["loss"] < 0.02 and logged[-1]["fraction_right"] == 1
    assert logged[-1]["val_fraction_right"] == 1
    shown = next((tmp_path / "run" / "samples").glob("*.txt")).read_text()
    assert f"teacher: {ANSWERS[0]}\nstudent: {ANSWERS[0]}\n" in shown

    folder = tmp_path / "run" / "checkpoint"
    student = open_student(folder, served(folder))
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        said = student.caption(CaptionRequest(stage="summary", clip_id="x", prompt=question, rules=RULES))
        assert said.text == answer and not said.is_cut and said.num_input_tokens > 8
        assert said.num_output_tokens == len(answer.split()) + 1
    short = open_student(folder, served(folder, max_tokens=3))
    said = short.caption(CaptionRequest(stage="summary", clip_id="x", prompt=QUESTIONS[3], rules=RULES))
    assert said.is_cut and said.text == "A white ball" and said.num_output_tokens == 3
    student.release()
    assert student.caption(CaptionRequest(stage="summary", clip_id="x", prompt=QUESTIONS[0], rules=RULES)).text

    plain = ChatBackbone.load(step.settings.base_settings)
    PeftModel.from_pretrained(plain.model, folder).eval()
    inputs = plain.inputs(step.samples.train[1].question)
    assert plain.text(plain.generate(inputs, max_tokens=32)[0]) == ANSWERS[1]


def test_a_student_of_another_model_or_with_a_changed_adapter_is_refused(tmp_path):
    base = write_language_model(tmp_path / "base", "chatml", TEXTS)
    data = write_lines(tmp_path / "summariser.jsonl", summary_rows())
    folder = tmp_path / "checkpoint"
    LoraStudentStep(make_settings(base, data), make_run(), "summariser", CPU).save_checkpoint(folder)
    write_language_model(base, "chatml", TEXTS, seed=1)
    request = CaptionRequest(stage="summary", clip_id="x", prompt=QUESTIONS[0])
    with pytest.raises(ValueError, match="not the one that it was trained on"):
        open_student(folder, served(folder)).caption(request)
    (folder / "adapter_model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"adapter_model.safetensors is not the file that student.json was written"):
        open_student(folder, served(folder))
    (folder / "student.json").unlink()
    with pytest.raises(ValueError, match="cogvideox train captioner or summariser"):
        open_student(folder, served(folder))


def test_a_run_that_was_stopped_goes_on_bit_for_bit_and_refuses_other_samples(tmp_path):
    base = write_language_model(tmp_path / "base", "chatml", TEXTS)
    rows = summary_rows() + summary_rows("val")
    data = write_lines(tmp_path / "summariser.jsonl", rows)
    settings = make_settings(base, data, adapter=LowRankSettings(rank=4, dropout=0.2))
    run = make_run(num_steps=6, batch_size=3, save_every_steps=3, sample_every_steps=6)

    def stop_after_four(done, _):
        if done == 4:
            raise KeyboardInterrupt

    def make() -> LoraStudentStep:
        return LoraStudentStep(settings, run, "summariser", CPU)

    whole = make()
    train(whole, run, tmp_path / "whole", recipe=run)
    with pytest.raises(KeyboardInterrupt):
        train(make(), run, tmp_path / "parts", recipe=run, on_step=stop_after_four)
    resumed = make()
    train(resumed, run, tmp_path / "parts", recipe=run)
    for name, value in whole.state_dict()["trained"].items():
        assert torch.equal(value, resumed.state_dict()["trained"][name]), name
    files = [tmp_path / name / "checkpoint" / "adapter_model.safetensors" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
    write_lines(data, [dict(row, split="train", source="one") for row in rows])
    with pytest.raises(ValueError, match="the exported samples, or their split, are others now"):
        train(make(), run, tmp_path / "parts", recipe=run)


@pytest.mark.parametrize(("kind", "end"), [("instruct", " </s>"), ("chatml", " <|im_end|>")])
def test_the_loss_is_of_the_answer_only_and_of_all_of_it(kind, end, tmp_path):
    base = write_language_model(tmp_path / "base", kind, TEXTS)
    backbone = ChatBackbone.load(make_settings(base, tmp_path).base_settings)
    data = write_lines(tmp_path / "summariser.jsonl", summary_rows())
    question, answer = read_samples([data], "summariser").train[3].question, ANSWERS[3]
    inputs, tokens = backbone.inputs(question), torch.tensor(backbone.answer_tokens(question, answer))
    assert tokens.tolist() == backbone.tokenizer(answer + end, add_special_tokens=False)["input_ids"]
    # As transformers computes it of the whole conversation, with everything but the answer masked.
    whole = torch.cat([inputs["input_ids"], tokens[None]], dim=1)
    labels = whole.clone()
    labels[:, : inputs["input_ids"].shape[1]] = -100
    expected = backbone.model(input_ids=whole, labels=labels).loss
    found = torch.nn.functional.cross_entropy(backbone.answer_logits(inputs, tokens), tokens)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_checkpointing_and_autocast_learn_the_same(tmp_path):
    base = write_language_model(tmp_path / "base", "chatml", TEXTS)
    data = write_lines(tmp_path / "summariser.jsonl", summary_rows())
    found = {}
    for name, changes in {
        "plain": {},
        "thrifty": {"has_gradient_checkpointing": True},
        "half": {"has_autocast": True, "dtype": "bfloat16"},
    }.items():
        step = LoraStudentStep(make_settings(base, data, **changes), make_run(), "summariser", CPU)
        found[name] = step(step.make_batch(0), 1e-3)
        dtypes = {value.dtype for value in step.adapted.parameters() if value.requires_grad}
        assert dtypes == {torch.float32}
    torch.testing.assert_close(found["plain"], found["thrifty"])
    assert abs(found["half"]["loss"] - found["plain"]["loss"]) < 0.05


def test_what_is_no_use_is_left_out_and_counted(tmp_path, caplog):
    rows, held_out = summary_rows(), dict(summary_rows("val")[0], source="train1")
    broken = [
        '{"id": "half a li',
        "[1, 2]",
        dict(rows[0], id=""),
        dict(rows[0], split="test"),
        dict(rows[0], messages=rows[0]["messages"][:2]),
        dict(rows[0], messages=[*rows[0]["messages"][:2], {"role": "assistant", "content": "  "}]),
    ]
    data = write_lines(tmp_path / "summariser.jsonl", [*broken, *rows, held_out])
    with data.open("ab") as file:
        file.write(b'{"id": "\xff"}\n')
    samples = read_samples([data], "summariser")
    assert [sample.clip_id for sample in samples.train] == ["clip0", "clip2", "clip3"]
    assert sum(samples.left_out.values()) == len(broken) + 2
    assert samples.left_out["a damaged line"] == 2
    assert samples.left_out["its source is held out to judge by"] == 1
    with pytest.raises(ValueError, match=r"nothing to train on .*2 left out: a damaged line"):
        read_samples([write_lines(tmp_path / "none.jsonl", ["{", "}"])], "summariser")
    with pytest.raises(ValueError, match="no dataset; this is no export for a captioner"):
        read_samples([data], "captioner")
    with pytest.raises(ValueError, match="no messages; this is no export for a summariser"):
        read_samples([write_lines(tmp_path / "video.jsonl", video_rows(tmp_path))], "summariser")

    base = write_language_model(tmp_path / "base", "chatml", TEXTS)
    settings = make_settings(base, data, max_tokens=28)
    step = LoraStudentStep(settings, make_run(), "summariser", CPU)
    lengths = {len(sample.inputs["input_ids"][0]) + len(sample.answer) for sample in step.make_batch(0)}
    assert max(lengths) <= 28
    assert "clip3 is left out: expected at most 28 tokens, got 29" in caplog.text
    with pytest.raises(ValueError, match="none of 3 samples can be used"):
        LoraStudentStep(dataclasses.replace(settings, max_tokens=4), make_run(), "summariser", CPU).make_batch(0)


def video_rows(dataset: Path) -> list[dict]:
    return [
        {
            "id": f"{colour}.mp4",
            "source": colour,
            "split": "train",
            "dataset": str(dataset),
            "prompt": "Which of these ?",
            "text": answer,
        }
        for colour, answer in zip(COLOURS, VIDEO_ANSWERS, strict=True)
    ]


def write_videos(folder: Path) -> dict[str, np.ndarray]:
    """Write a clip of each colour, whose right half is dark; return their frames."""
    folder.mkdir()
    values = {"red": (230, 20, 20), "green": (20, 200, 30), "blue": (20, 20, 220), "white": (240, 240, 240)}
    clips = {}
    for colour, value in values.items():
        frames = np.zeros((12, 48, 64, 3), np.uint8)
        frames[:, :, : 20 + 10 * COLOURS.index(colour)] = value
        write_video(folder / f"{colour}.mp4", [frames], fps=8)
        clips[colour] = frames
    return clips


def test_a_captioner_learns_clips_and_says_what_they_show(tmp_path, caplog):
    base = sharpened(write_tiny_model(tmp_path / "base", VIDEO_KIND))
    clips = write_videos(tmp_path / "clips")
    lost = dict(video_rows(tmp_path / "clips")[0], id="lost.mp4")
    nowhere = dict(lost, dataset=str(tmp_path / "nowhere"))
    data = write_lines(tmp_path / "captioner.jsonl", [*video_rows(tmp_path / "clips"), lost, nowhere])
    run, logged = make_run(num_steps=80, sample_every_steps=80, learning_rate=1e-2), []
    settings = make_settings(base, data, num_frames=4, max_side_px=48)
    step = LoraStudentStep(settings, run, "captioner", CPU)
    assert len(step.samples.train) == 4 and sum(step.samples.left_out.values()) == 2
    assert "the clip is not in" in caplog.text and "cannot be read" in caplog.text
    train(step, run, tmp_path / "run", recipe=run, on_step=lambda _, values: logged.append(values))
    assert logged[-1]["loss"] < 0.05

    folder = tmp_path / "run" / "checkpoint"
    student = open_student(folder, served(folder))
    for colour, answer in zip(COLOURS, VIDEO_ANSWERS, strict=True):
        frames, times_s = clips[colour], tuple(place / 8 for place in range(12))
        request = CaptionRequest(
            stage="summary", clip_id=colour, prompt="Another question", rules="x", frames=frames, times_s=times_s
        )
        assert student.caption(request).text == answer
    with pytest.raises(ValueError, match="there are no frames to see"):
        student.caption(CaptionRequest(stage="summary", clip_id="x", prompt="What ?"))


def test_a_captioner_needs_a_model_that_sees(tmp_path):
    write_videos(tmp_path / "clips")
    data = write_lines(tmp_path / "captioner.jsonl", video_rows(tmp_path / "clips"))
    base = write_language_model(tmp_path / "base", "chatml", TEXTS)
    with pytest.raises(ValueError, match="expected a model that takes pictures or videos"):
        LoraStudentStep(make_settings(base, data), make_run(), "captioner", CPU)


def test_the_command_trains_and_the_recipes_are_readable(tmp_path, capsys):
    base = write_language_model(tmp_path / "base", "instruct", TEXTS)
    data = write_lines(tmp_path / "summariser.jsonl", summary_rows())
    recipe = RECIPES / "summariser-lora.toml"
    values = ["run.num_steps=2", "run.batch_size=2", f'lora.base="{base}"', f'lora.data=["{data}"]']
    command = ["train", "summariser", str(recipe), "--run-dir", str(tmp_path / "run"), "--set", *values]
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*command, 'lora.dtype="float32"'])
    assert (tmp_path / "run" / "checkpoint" / "student.json").exists()
    with pytest.raises(SystemExit, match=r"^[^0]"):
        main([*command[:-2], 'lora.base="/no/such"', f'lora.data=["{data}"]'])
    assert "no such folder" in capsys.readouterr().err
    assert read_recipe(RECIPES / "captioner-lora.toml", CaptionerRecipe).lora.data[0].name == "captioner.jsonl"
    assert read_recipe(recipe, SummariserRecipe).lora.data[0].name == "summariser.jsonl"


@pytest.mark.slow
@pytest.mark.skipif(has_torchvision(), reason="the others see videos already")
def test_models_with_a_video_processor_do_the_same(tmp_path):
    if not write_torchvision(tmp_path / "torchvision"):
        give_up("torchvision is not there: make .venv/.dev")
    environment = os.environ | {OFFER: str(tmp_path / "torchvision")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tmp'}"]
    files = [__file__, str(Path(__file__).parents[1] / "data" / "captioning" / "test_transformers_models.py")]
    done = subprocess.run(
        [*command, *files, "-k", "captioner or frames_are_shown"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
