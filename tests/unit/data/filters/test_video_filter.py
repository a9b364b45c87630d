"""Saved filters on a video-language model: what is refused, what is recorded, and that peft reads the adapter too."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from tiny_video_language_model import offer_torchvision, write_tiny_model

offer_torchvision()

import torch  # noqa: E402

from cogvideox.data.curation.operators import ClipView  # noqa: E402
from cogvideox.data.curation.video_filters import VideoFilterOperator, VideoFilterSettings  # noqa: E402
from cogvideox.data.filters.video_backbone import (  # noqa: E402
    BackboneSettings,
    VideoBackbone,
    backbone_digest,
    choose_frames,
)
from cogvideox.data.filters.video_filter import (  # noqa: E402
    LabelPoint,
    LowRankSettings,
    VideoClassifier,
    VideoFilterModel,
    ViewSettings,
    default_question,
)
from cogvideox.data.labelling.labels import LABELS  # noqa: E402
from cogvideox.data.libraries import has_torchvision  # noqa: E402
from cogvideox.errors import MissingPackageError  # noqa: E402

KINDS = ("llava_onevision", "qwen2_vl") if has_torchvision() else ("llava", "qwen2_vl")
VIEW = ViewSettings(num_frames=4, max_side_px=48)
POINTS = {
    "text": LabelPoint(slope=2.0, offset=0.5, threshold=0.4),
    "editing": LabelPoint(slope=1.0, offset=0.0, threshold=0.6),
}
FRAMES = np.random.default_rng(0).integers(0, 256, (9, 40, 64, 3), np.uint8)


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    """A folder with a tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture
def filters(model, tmp_path):
    """A folder with filters whose adapter changes the model, and their outputs for `FRAMES`."""
    torch.manual_seed(1)
    backbone = VideoBackbone.load(BackboneSettings(source=str(model)))
    plain = backbone.features(backbone.inputs(choose_frames(FRAMES, 4, 48), VIEW.question))
    classifier = VideoClassifier.create(backbone, LowRankSettings(rank=3), VIEW)
    with torch.no_grad():
        for name, value in classifier.network.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.3)
    classifier.network.eval()
    assert not torch.allclose(plain, backbone.features(backbone.inputs(choose_frames(FRAMES, 4, 48), VIEW.question)))
    classifier.save(tmp_path / "filters", POINTS, backbone_digest(model))
    return tmp_path / "filters", classifier.margins(FRAMES).detach().double().numpy()


def clip_of(frames: np.ndarray) -> ClipView:
    nothing = np.zeros((0, 0, 0, 3), np.uint8)
    return ClipView(
        clip_id="clip", height_px=40, width_px=64, fps=8.0, num_frames=72, start_s=0.0, end_s=9.0, motion=nothing,
        motion_times_s=np.zeros(0), detail=frames, native=nothing[..., 0], detail_times_s=np.arange(len(frames)) / 2,
        changes=np.zeros(72, np.float32), thumbs=nothing,
    )  # fmt: skip


def test_loaded_filters_say_what_was_saved(model, filters):
    folder, margins = filters
    loaded = VideoFilterModel.load(folder)
    np.testing.assert_array_equal(loaded.margins(FRAMES), margins)
    places = list(LABELS)
    expected = {
        label: 1 / (1 + math.exp(-(point.slope * margins[places.index(label)] + point.offset)))
        for label, point in POINTS.items()
    }
    assert loaded.probabilities(FRAMES) == pytest.approx(expected)
    description = json.loads((folder / "video_filters.json").read_text())
    assert description["backbone"]["frames_as"] == ("video" if has_torchvision() else "images")
    assert description["view"]["question"] == default_question()
    moved = model.with_name(f"{model.name}-moved")
    shutil.copytree(model, moved)
    np.testing.assert_array_equal(VideoFilterModel.load(folder, backbone=moved).margins(FRAMES), margins)


def test_peft_reads_the_adapter(model, filters):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    folder, margins = filters
    read = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(model), folder)
    own = VideoBackbone.load(BackboneSettings(source=str(model)))
    inputs = own.inputs(choose_frames(FRAMES, 4, 48), VIEW.question)
    own.model = read.get_base_model()
    loaded = VideoFilterModel.load(folder)
    head = loaded._classifier.network["head"]
    with torch.no_grad():
        np.testing.assert_array_equal(head(own.features(inputs)).double().numpy(), margins)


def test_the_operator_gives_the_columns_of_filters(filters):
    folder, _ = filters
    operator = VideoFilterOperator(VideoFilterSettings(model=folder))
    values = operator.measure(clip_of(FRAMES))
    assert set(values) == {column.name for column in operator.columns}
    probability = VideoFilterModel.load(folder).probabilities(FRAMES)["text"]
    assert values["text"] == probability and values["has_text"] == float(probability >= 0.4)
    assert math.isnan(values["lecture"]) and math.isnan(values["has_lecture"])
    assert all(math.isnan(value) for value in operator.measure(clip_of(FRAMES[:0])).values())
    assert len(set(operator.weights())) == 4
    with pytest.raises(ValueError, match=r"video_filters.model"):
        VideoFilterOperator(VideoFilterSettings())


def test_other_or_damaged_files_are_refused(model, filters, tmp_path):
    folder, _ = filters
    other = write_tiny_model(tmp_path / "other", KINDS[0], seed=5)
    with pytest.raises(ValueError, match="not the one that they were trained on"):
        VideoFilterModel.load(folder, backbone=other)
    with pytest.raises(ValueError, match="cogvideox train filters --backbone makes them"):
        VideoFilterModel.load(tmp_path / "none")
    description = json.loads((folder / "video_filters.json").read_text())
    description["backbone"]["trusts_remote_code"] = True
    (folder / "video_filters.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="which is not run unless trusts_remote_code"):
        VideoFilterModel.load(folder)
    with (folder / "head.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(ValueError, match=r"head.safetensors is not the file"):
        VideoFilterModel.load(folder)


def test_models_that_cannot_see_are_refused(model, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=32,
            num_key_value_heads=2,
        )
    ).save_pretrained(tmp_path / "text")  # fmt: skip
    with pytest.raises(ValueError, match=r"expected a model that reads videos or pictures .* type llama"):
        VideoBackbone.load(BackboneSettings(source=str(tmp_path / "text")))
    with pytest.raises(ValueError, match="no such folder"):
        VideoBackbone.load(BackboneSettings(source=str(tmp_path / "none")))
    with pytest.raises(ValueError, match="a revision that is a commit"):
        BackboneSettings(source="some/model", trusts_remote_code=True, revision="main")

    mute = Path(shutil.copytree(model, tmp_path / "mute"))
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        VideoBackbone.load(BackboneSettings(source=str(mute)))
    blind = Path(shutil.copytree(model, tmp_path / "blind"))
    (blind / "chat_template.jinja").write_text("{% for message in messages %}{{ message.role }}{% endfor %}")
    with pytest.raises(ValueError, match=r"could not take 4 frames|has no place for"):
        VideoBackbone.load(BackboneSettings(source=str(blind))).inputs(FRAMES[:4], "Which ?")
    (mute / "model.safetensors").unlink()
    shutil.copy(model / "chat_template.jinja", mute)
    torch.save({}, mute / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no usable video-language model"):
        VideoBackbone.load(BackboneSettings(source=str(mute)))


def test_video_is_shown_as_pictures_only_if_that_is_said(model, caplog):
    settings = BackboneSettings(source=str(model), frames_as="images")
    assert VideoBackbone.load(settings).frames_as == "images"
    assert not caplog.records
    asked = dataclasses.replace(settings, frames_as="video")
    if has_torchvision():
        assert VideoBackbone.load(asked).frames_as == "video"
    else:
        with pytest.raises((ValueError, MissingPackageError), match=r"takes no videos|needs torchvision"):
            VideoBackbone.load(asked)


def test_frames_are_spread_and_reduced():
    frames = np.zeros((10, 30, 90, 3), np.uint8) + np.arange(10, dtype=np.uint8)[:, None, None, None]
    chosen = choose_frames(frames, 4, 45)
    assert chosen.shape == (4, 15, 45, 3) and chosen[:, 0, 0, 0].tolist() == [1, 3, 6, 8]
    assert choose_frames(frames[:2], 4, 400)[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="frames: expected"):
        choose_frames(frames[:0], 4, 45)
