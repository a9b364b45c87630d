"""Pictures and texts as vectors, by the towers of a CLIP or SigLIP checkpoint.

Axes: T pictures, H W rows and columns, D width of the vectors.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cogvideox.data.libraries import transformers

MODEL_TYPES = ("clip", "siglip")
WEIGHT_PATTERNS = ("*.safetensors", "*.bin")
PREPROCESSOR = "preprocessor_config.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")
BATCH = 8
MAX_ASPECT = 8
"""Of a picture that is going to be cut to a square, before it is scaled: of 1x640 px it would become 100 megapixels."""


class PictureEmbedder(Protocol):
    """Maps pictures to vectors of which near ones look or mean alike."""

    def embed(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (T, D) of length 1 for pictures (T, H, W, 3) RGB of any size."""
        ...


class ClipEmbedder:
    """The features of a CLIP (Radford et al. 2021) or SigLIP (Zhai et al. 2023) checkpoint."""

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        """Load a checkpoint.

        Args:
            folder: as transformers saves it: ``config.json``, ``preprocessor_config.json`` and the weights.
            device: where it runs, as torch names it.

        Raises:
            ValueError: it is a checkpoint of another kind, lacks weights, or prepares pictures in a way not known here.
            OSError: a file is missing.
        """
        from cogvideox.models.text_encoder import quiet_transformers

        library = transformers()
        self._preparation = _Preparation(folder)
        self._folder = folder
        self._tokenizer: Any = None
        with quiet_transformers():
            config = library.AutoConfig.from_pretrained(folder, local_files_only=True)
            if config.model_type not in MODEL_TYPES:
                raise ValueError(f"folder: expected a checkpoint of {MODEL_TYPES}, got {config.model_type} in {folder}")
            model, found = library.AutoModel.from_pretrained(
                folder, config=config, local_files_only=True, output_loading_info=True
            )
        if found["missing_keys"]:
            missing = sorted(found["missing_keys"])
            raise ValueError(f"folder: expected all weights, got none of {missing[:3]} ({len(missing)}) in {folder}")
        self._device = device
        self._model: Any = model.eval().to(device)

    def embed(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (T, D) of length 1 for pictures (T, H, W, 3) RGB of any size."""
        import torch

        vectors = []
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                prepared = np.stack([self._preparation.prepare(picture) for picture in pictures[start : start + BATCH]])
                pixels = torch.from_numpy(prepared).to(self._device, self._model.dtype)
                features = self._model.get_image_features(pixel_values=pixels).pooler_output.float()
                vectors.append(torch.nn.functional.normalize(features, dim=-1).cpu().numpy())
        return np.concatenate(vectors)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (N, D) of length 1 for texts; what the text tower has no room for is left out.

        Raises:
            ValueError: the checkpoint has no tokenizer.
        """
        import torch

        tokenizer = self._load_tokenizer()
        num_tokens = self._model.config.text_config.max_position_embeddings
        with torch.inference_mode():
            tokens = tokenizer(
                list(texts), padding="max_length", truncation=True, max_length=num_tokens, return_tensors="pt"
            )
            names = ("input_ids", "attention_mask") if self._model.config.model_type == "clip" else ("input_ids",)
            inputs = {name: tokens[name].to(self._device) for name in names}
            features = self._model.get_text_features(**inputs).pooler_output.float()
            return torch.nn.functional.normalize(features, dim=-1).cpu().numpy()

    def _load_tokenizer(self) -> Any:
        from cogvideox.models.text_encoder import quiet_transformers

        if self._tokenizer is None:
            # Without its files transformers makes one that knows no words.
            if not any((self._folder / name).is_file() for name in TOKENIZER_FILES):
                raise ValueError(f"folder: expected one of {TOKENIZER_FILES} for texts, got none in {self._folder}")
            with quiet_transformers():
                self._tokenizer = transformers().AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
        return self._tokenizer


def checkpoint_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a checkpoint that its vectors depend on, by name."""
    weights = {path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern)}
    return (*sorted(weights), folder / "config.json", folder / PREPROCESSOR)


class _Preparation:
    """What transformers' processors of the two families do, without torchvision, which theirs need for speed."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / PREPROCESSOR).read_text())
        missing = [name for name in ("size", "image_mean", "image_std") if name not in settings]
        if missing:
            raise ValueError(f"{PREPROCESSOR}: expected size, image_mean and image_std, got no {missing} in {folder}")
        size = settings["size"]
        self._shortest_px: int | None = size if isinstance(size, int) else size.get("shortest_edge")
        self._crop_px: tuple[int, int] | None = None
        """Height and width, as the size."""
        if settings.get("do_center_crop", "crop_size" in settings):
            self._crop_px = _height_and_width(settings["crop_size"])
        self._size_px = None if self._shortest_px is not None else _height_and_width(size)
        if self._shortest_px is not None and self._crop_px is None:
            raise ValueError(f"{PREPROCESSOR}: expected do_center_crop with a shortest_edge, got pictures of any shape")
        self._resample = Image.Resampling(settings.get("resample", Image.Resampling.BICUBIC))
        self._scale = np.float32(settings.get("rescale_factor", 1 / 255))
        self._mean = np.array(settings["image_mean"], dtype=np.float32)
        self._deviation = np.array(settings["image_std"], dtype=np.float32)

    def prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the model takes, (3, H, W), of a picture (H, W, 3)."""
        height_px, width_px = picture.shape[:2]
        if self._size_px is not None:
            height_px, width_px = self._size_px
        elif self._shortest_px is not None:
            picture = _with_aspect(picture)
            sides_px, short_px = picture.shape[:2], min(picture.shape[:2])
            height_px, width_px = (int(self._shortest_px * side_px / short_px) for side_px in sides_px)
        image = Image.fromarray(picture).resize((width_px, height_px), self._resample)
        if self._crop_px is not None:
            top, left = (height_px - self._crop_px[0]) // 2, (width_px - self._crop_px[1]) // 2
            image = image.crop((left, top, left + self._crop_px[1], top + self._crop_px[0]))
        pixels = (np.asarray(image, dtype=np.float32) * self._scale - self._mean) / self._deviation
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _height_and_width(size: int | dict[str, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size["height"], size["width"])


def _with_aspect(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the middle of a picture (H, W, 3), at most `MAX_ASPECT` times as long as wide."""
    longest_px = MAX_ASPECT * min(picture.shape[:2])
    top, left = (max(0, side_px - longest_px) // 2 for side_px in picture.shape[:2])
    return picture[top : top + longest_px, left : left + longest_px]
