"""What requests become for models of every published kind."""

import dataclasses
import random
import unicodedata
from typing import Any

import pytest

from cogvideox.checkpoints.directory import SAMPLER_OF_SCHEDULER
from cogvideox.generation.memory_plan import TextEncoderShape
from cogvideox.generation.model_limits import ModelLimits
from cogvideox.presets import PRESETS
from cogvideox.serving.errors import ApiError
from cogvideox.serving.model_catalog import CatalogModel, describe_model
from cogvideox.serving.requests import (
    Asked,
    Source,
    complete,
    composed_length,
    fingerprint,
    read_asked,
    read_prompt_facts,
)
from cogvideox.serving.video_params import params_json, params_of

TINY = describe_model("tiny")


def model_of(name: Any) -> CatalogModel:
    preset = PRESETS[name]
    limits = ModelLimits(
        transformer=preset.transformer,
        autoencoder=preset.autoencoder,
        noise_schedule=preset.noise_schedule,
        default_sampler=SAMPLER_OF_SCHEDULER[preset.scheduler_class],
    )
    return dataclasses.replace(TINY, name=name, limits=limits, text_encoder=TextEncoderShape())


def asked(**fields: Any) -> Asked:
    return read_asked({"prompt": "a fox"} | fields, kind="create", is_form=False, max_prompt_length=4000)


@pytest.mark.parametrize(
    ("name", "size", "sizes", "frames_of_seconds"),
    [
        ("2b", (720, 480), 4, {None: 49, 1: 9, 4: 33, 6: 49, 12: 49}),
        ("5b-i2v", (720, 480), 1, {None: 49, 6: 49}),
        ("1.5-5b", (1360, 768), 4, {None: 81, 1: 17, 4: 65, 5: 81, 12: 81}),
        ("tiny", (96, 64), 4, {None: 17, 1: 9, 2: 17, 4: 17}),
    ],
)
def test_native_sizes_and_lengths(
    name: str, size: tuple[int, int], sizes: int, frames_of_seconds: dict[int | None, int]
) -> None:
    model = model_of(name)
    assert model.sizes_px[0] == size and len(model.sizes_px) == sizes
    source = Source(task="image") if model.limits.takes_image else None
    for seconds, num_frames in frames_of_seconds.items():
        params, warnings = complete(asked(seconds=seconds), model, source)
        assert params.num_frames == num_frames and (params.width_px, params.height_px) == size
        assert bool(warnings) == (seconds is not None and seconds * params.fps > num_frames + 4)
        assert params_of(params_json(params)) == params
        model.limits.latent_shape(num_frames=num_frames, height_px=params.height_px, width_px=params.width_px)


def test_tasks_that_a_model_is_not_made_for() -> None:
    for model, source in ((model_of("5b-i2v"), None), (TINY, Source(task="image"))):
        with pytest.raises(ApiError) as refused:
            complete(asked(), model, source)
        assert refused.value.code == "invalid_param"
    source = Source(task="video", num_frames=12, fps=29.97)
    params, _ = complete(asked(), TINY, source)
    assert (params.num_frames, params.fps, params.strength) == (9, 29.97, 0.8)
    with pytest.raises(ApiError, match="nearest is 9"):
        complete(asked(num_frames=17), TINY, source)


def test_length_in_the_normal_form_is_python_s_own() -> None:
    every = map(chr, range(0x20000))
    letters = [letter for letter in every if unicodedata.decomposition(letter) or unicodedata.combining(letter)]
    numbers = random.Random(0)
    for _ in range(2000):
        text = "".join(numbers.choices(letters + ["a", "e", "가", " "] * 300, k=numbers.randint(1, 20)))
        assert composed_length(text) == len(unicodedata.normalize("NFC", text)), ascii(text)


def test_equal_requests_have_equal_fingerprints() -> None:
    def digest(fields: dict[str, Any], *, is_form: bool = False, **inputs: str) -> str:
        read = read_asked({"prompt": "a"} | fields, kind="create", is_form=is_form, max_prompt_length=9)
        return fingerprint(read, kind="create", model="tiny", inputs=inputs)

    form = {"seconds": "4", "seed": "1", "guidance_scale": "6"}
    assert digest(form, is_form=True) == digest({"seconds": 4, "seed": 1, "guidance_scale": 6.0})
    different = [digest({}), digest({"seed": 1}), digest({"negative_prompt": "b"}), digest({}, source="x")]
    assert len(set(different)) == 4


def test_what_the_model_reads_of_a_prompt() -> None:
    facts = read_prompt_facts(asked(prompt="여우 a"), TINY)
    assert facts.unknown_share == pytest.approx(2 / 3, abs=1e-4) and facts.max_tokens == 32
    assert [warning["code"] for warning in facts.warnings] == ["prompt_language"]
    assert not read_prompt_facts(asked(prompt="여우 a", prompt_language="asis"), TINY).warnings
    from transformers import AutoTokenizer

    from cogvideox.checkpoints.directory import find_checkpoint
    from cogvideox.generation.prompt_language import unknown_share

    published = AutoTokenizer.from_pretrained(find_checkpoint("tiny") / "tokenizer")
    for prompt in (
        "a fox in snow",
        "여우가 눈 속에서",
        "a 여우 fox 🎬 runs",
        "über Füchse",
        "лиса в снегу",
        "  two  spaces\n",
    ):
        assert TINY.tokens.count(prompt) == len(published(prompt)["input_ids"]), prompt
        assert unknown_share(prompt, TINY.tokens) == pytest.approx(unknown_share(prompt, published)), prompt
