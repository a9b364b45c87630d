import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from cogvideox.data.curation.aesthetic import (
    COLUMNS,
    MLP_LAYERS,
    AestheticHead,
    AestheticOperator,
    AestheticSettings,
    colourfulness,
)
from cogvideox.data.curation.embeddings import ClipEmbedder
from cogvideox.data.curation.operators import ClipView
from cogvideox.media.video import read_video
from real_videos import real_video

WIDTH = 12
TOWER = {"hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = TOWER | {"vocab_size": 32, "max_position_embeddings": 8}
VISION = TOWER | {"image_size": 32, "patch_size": 8}


def clip_of(detail: np.ndarray) -> ClipView:
    return ClipView(
        clip_id="clip",
        height_px=detail.shape[1],
        width_px=detail.shape[2],
        fps=2,
        num_frames=len(detail),
        start_s=0,
        end_s=len(detail) / 2,
        motion=detail[:0],
        motion_times_s=np.zeros(0),
        detail=detail,
        native=detail[:0, ..., 0],
        detail_times_s=np.arange(len(detail)) / 2,
        changes=np.zeros(len(detail), np.float32),
        thumbs=detail[:0],
    )


def measure(detail: np.ndarray, **settings: object) -> dict[str, float]:
    scores = AestheticOperator(AestheticSettings(**settings)).measure(clip_of(detail))  # type: ignore[arg-type]
    assert set(scores) == {column.name for column in COLUMNS}
    for column in COLUMNS:
        assert math.isnan(scores[column.name]) or column.low <= scores[column.name] <= column.high
    return scores


@pytest.fixture
def pictures(tmp_path: Path) -> np.ndarray:
    frames = read_video(real_video("bigbuckbunny.mp4", tmp_path), max_frames=2).frames
    return np.stack([cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA) for frame in frames])


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "clip"
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=WIDTH)).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_mlp(path: Path, width: int) -> torch.nn.Sequential:
    """A head as improved-aesthetic-predictor publishes it."""
    sizes = (width, 1024, 128, 64, 16, 1)
    linears = [torch.nn.Linear(*sizes[index : index + 2]) for index in range(5)]
    names = dict(zip(MLP_LAYERS, linears, strict=True))
    state = {f"layers.{number}.{name}": x for number, layer in names.items() for name, x in layer.state_dict().items()}
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    return torch.nn.Sequential(*linears)


def test_the_proxy_falls_with_each_of_its_parts(pictures: np.ndarray) -> None:
    whole = measure(pictures)
    assert math.isnan(whole["laion"]) and whole["proxy"] > 0.8
    gray = pictures.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)
    worse = {
        "colourfulness": gray,
        "contrast": (pictures // 4 + 96),
        "sharpness": np.stack([cv2.GaussianBlur(picture, (0, 0), 3) for picture in pictures]),
        "exposure": pictures // 6,
    }
    for part, degraded in worse.items():
        scores = measure(degraded)
        assert scores[part] < 0.5 * whole[part] and scores["proxy"] < whole["proxy"] - 0.05, part


def test_colourfulness_is_that_of_the_paper() -> None:
    halves = np.zeros((4, 4, 3), np.uint8)
    halves[:, :2, 0], halves[:, 2:, 2] = 255, 255  # red beside blue: rg is 255, 0 and yb is 127.5, -255
    expected = math.hypot(127.5, 191.25) + 0.3 * math.hypot(127.5, -63.75)
    assert colourfulness(halves) == pytest.approx(expected, rel=1e-5)
    assert colourfulness(np.full((4, 4, 3), 77, np.uint8)) == 0


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_laion_is_the_head_on_unit_embeddings_of_clip(
    suffix: str, pictures: np.ndarray, clip_folder: Path, tmp_path: Path
) -> None:
    head = save_mlp(tmp_path / f"head{suffix}", WIDTH)
    pixels = CLIPImageProcessorPil.from_pretrained(clip_folder)(list(pictures), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        features = CLIPModel.from_pretrained(clip_folder).get_image_features(pixel_values=pixels).pooler_output
        expected = head(features / features.norm(dim=-1, keepdim=True)).mean()
    settings = {"clip": clip_folder, "head": tmp_path / f"head{suffix}"}
    assert measure(pictures, **settings)["laion"] == pytest.approx(float(expected), abs=2e-5)
    digests = AestheticOperator(AestheticSettings(**settings)).weights()
    assert len(digests) == 4 and all(len(digest) == 64 for digest in digests)


def test_embeddings_of_siglip_are_those_of_transformers(pictures: np.ndarray, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)).eval()
    model.save_pretrained(tmp_path)
    processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path)
    with torch.inference_mode():
        pixels = processor(list(pictures), return_tensors="pt")["pixel_values"]
        features = model.get_image_features(pixel_values=pixels).pooler_output
    expected = torch.nn.functional.normalize(features, dim=-1).numpy()
    np.testing.assert_allclose(ClipEmbedder(tmp_path).embed(pictures), expected, atol=1e-5)


def test_published_shapes_are_read(tmp_path: Path) -> None:
    embeddings = np.random.default_rng(0).normal(size=(3, 768)).astype(np.float32)
    mlp = save_mlp(tmp_path / "mlp.pth", 768)
    with torch.inference_mode():
        expected = mlp(torch.from_numpy(embeddings))[:, 0].numpy()
    np.testing.assert_allclose(AestheticHead(tmp_path / "mlp.pth").scores(embeddings), expected, atol=1e-5)
    linear = torch.nn.Linear(768, 1)
    torch.save(linear.state_dict(), tmp_path / "linear.pth")
    with torch.inference_mode():
        expected = linear(torch.from_numpy(embeddings))[:, 0].numpy()
    head = AestheticHead(tmp_path / "linear.pth")
    np.testing.assert_allclose(head.scores(embeddings), expected, atol=1e-5)
    with pytest.raises(ValueError, match="width 768"):
        head.scores(embeddings[:, :512])


def test_wrong_weights_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    save_file({"layers.0.weight": torch.zeros(4, 4)}, tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match="head: expected"):
        AestheticHead(tmp_path / "half.safetensors")
    save_file({"weight": torch.zeros(2, 768), "bias": torch.zeros(2)}, tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="end in 1"):
        AestheticHead(tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="both or none"):
        AestheticSettings(clip=clip_folder)
    settings = json.loads((clip_folder / "preprocessor_config.json").read_text())
    (clip_folder / "preprocessor_config.json").write_text(json.dumps(settings | {"do_center_crop": False}))
    with pytest.raises(ValueError, match="do_center_crop"):
        ClipEmbedder(clip_folder)


def test_any_picture_is_embedded_and_measured(clip_folder: Path) -> None:
    embedder = ClipEmbedder(clip_folder)
    for size in ((1, 1), (2, 2), (3, 640), (640, 2)):
        for detail in (np.zeros((1, *size, 3), np.uint8), np.full((9, *size, 3), 255, np.uint8)):
            vectors = embedder.embed(detail)
            assert vectors.shape == (len(detail), WIDTH) and vectors.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
            measure(detail)
