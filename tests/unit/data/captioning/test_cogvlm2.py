"""CogVLM2-Caption's adapter, on a model with code of its own that writes down what it is given."""

import json
from pathlib import Path

import numpy as np
import pytest

from cogvideox.data.captioning.cogvlm2 import CogVlm2Backend, one_a_second
from cogvideox.data.captioning.recipe import BackendSettings
from cogvideox.data.captioning.request import CaptionRequest
from cogvideox.errors import CheckpointError
from tiny_language_model import write_language_model

TEXTS = ("a fox runs through the snow and then sleeps",)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = """
import json, pathlib
import torch
from transformers import LlamaConfig, LlamaForCausalLM

class RecordingConfig(LlamaConfig):
    model_type = "recording"

class Recording(LlamaForCausalLM):
    config_class = RecordingConfig

    def build_conversation_input_ids(self, tokenizer, *, query, history=None, images=None, template_version=None):
        (video,) = images
        found = {"query": query, "history": history, "template": template_version, "shape": list(video.shape)}
        found |= {"dtype": str(video.dtype), "first": video[:, :, 0, 0].tolist()}
        self.told = found
        ids = torch.tensor(tokenizer(query)["input_ids"])
        ones = torch.ones_like(ids)
        return {"input_ids": ids, "token_type_ids": ones, "attention_mask": ones, "images": [video.float() / 255]}

    def generate(self, input_ids, token_type_ids, attention_mask, images, **options):
        self.told |= {"options": options, "images": [list(images[0][0].shape), str(images[0][0].dtype)]}
        said = torch.arange(14, 19)[None, : options["max_new_tokens"]]
        return torch.cat([input_ids, said], dim=1)
"""


def write_model(folder: Path) -> Path:
    write_language_model(folder, "chatml", TEXTS)
    (folder / "recording.py").write_text(CODE)
    path = folder / "config.json"
    names = {"AutoConfig": "recording.RecordingConfig", "AutoModelForCausalLM": "recording.Recording"}
    values = json.loads(path.read_text()) | {"auto_map": names, "model_type": "recording"}
    path.write_text(json.dumps(values))
    return folder


def settings_of(model: Path | str, **changes) -> BackendSettings:
    values = {"name": "c", "kind": "cogvlm2", "model": str(model), "dtype": "bfloat16", "max_tokens": 64}
    return BackendSettings(**(values | {"trusts_remote_code": True} | changes))


def request_of(times_s: tuple[float, ...], **changes) -> CaptionRequest:
    frames = np.zeros((len(times_s), 20, 30, 3), np.uint8)
    frames[:] = np.arange(len(times_s), dtype=np.uint8)[:, None, None, None]
    values = {"stage": "summary", "clip_id": "a", "prompt": "a fox", "frames": frames, "times_s": times_s}
    return CaptionRequest(**(values | changes))


def test_it_is_given_a_frame_a_second_and_the_question_as_its_code_takes_them(tmp_path):
    backend = CogVlm2Backend(settings_of(write_model(tmp_path / "model")))
    answer = backend.caption(request_of(tuple(place / 2 for place in range(9)), rules="the snow"))
    told = backend._loaded[0].told
    assert told["query"] == "the snow\n\na fox" and told["history"] == [] and told["template"] == "chat"
    assert told["shape"] == [3, 5, 20, 30] and told["dtype"] == "torch.uint8"
    assert told["first"] == [[0, 2, 4, 6, 8]] * 3
    assert told["images"] == [[3, 5, 20, 30], "torch.bfloat16"]
    assert told["options"] == {
        "max_new_tokens": 64,
        "pad_token_id": 128002,
        "top_k": 1,
        "do_sample": False,
        "top_p": None,
        "temperature": None,
    }
    assert answer.text == "a fox runs through the" and not answer.is_cut
    assert (answer.num_input_tokens, answer.num_output_tokens) == (4, 5)
    backend.caption(request_of((0.0,), rejected="a fox", complaint="too long"))
    told = backend._loaded[0].told
    assert told["query"] == "too long" and told["history"] == [("a fox", "a fox")]
    backend.release()
    short = CogVlm2Backend(settings_of(tmp_path / "model", max_tokens=2, temperature=0.7))
    assert short.caption(request_of((0.0, 1.0))).is_cut
    assert short._loaded[0].told["options"]["do_sample"] and short._loaded[0].told["options"]["temperature"] == 0.7


def test_frames_are_chosen_by_their_times():
    frames = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)

    def chosen(times) -> list[int]:
        return one_a_second(frames[: len(times)], tuple(times))[:, 0, 0, 0].tolist()

    assert chosen([3.0, 3.4, 3.9, 5.1]) == [0, 2, 3]
    assert chosen([0.0]) == [0] and chosen([0.0, 0.2]) == [0]
    assert chosen(np.arange(100) / 2) == list(range(0, 48, 2))
    assert one_a_second(frames, ())[:, 0, 0, 0].tolist() == list(range(24))


def test_code_is_not_run_unless_it_was_read(tmp_path):
    folder = write_model(tmp_path / "model")
    with pytest.raises(ValueError, match=r"trusts_remote_code: .* is run by Python code that comes with it"):
        CogVlm2Backend(settings_of(folder, trusts_remote_code=False))
    for revision in (None, "main"):
        with pytest.raises(ValueError, match=r"expected a commit \(40 digits\).*or set model to a folder"):
            CogVlm2Backend(settings_of("THUDM/cogvlm2-llama3-caption", revision=revision))
    CogVlm2Backend(settings_of("THUDM/cogvlm2-llama3-caption", revision=COMMIT))
    with pytest.raises(ValueError, match="expected none, because"):
        CogVlm2Backend(settings_of(folder, revision=COMMIT))
    with pytest.raises(ValueError, match="no such folder: /no/such"):
        CogVlm2Backend(settings_of("/no/such", revision=COMMIT))


def test_other_models_and_empty_questions_are_refused(tmp_path):
    other = CogVlm2Backend(settings_of(write_language_model(tmp_path / "other", "chatml", TEXTS)))
    with pytest.raises(CheckpointError, match=r'expected a CogVLM2 model.*use the kind "transformers"'):
        other.caption(request_of((0.0,)))
    with pytest.raises(CheckpointError, match="there are no frames to see"):
        other.caption(request_of(()))
    broken = write_model(tmp_path / "broken")
    code = (broken / "recording.py").read_text()
    (broken / "recording.py").write_text(code.replace("(video,) = images", "raise IndexError('no place')"))
    with pytest.raises(ValueError, match=r"its code could not take 1 frames \(no place\)"):
        CogVlm2Backend(settings_of(broken)).caption(request_of((0.0,)))
