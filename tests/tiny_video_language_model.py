"""Tiny random video-language models with processor and tokenizer, made without a network.

"llava" takes pictures only, any number of them; "llava_onevision" and "qwen2_vl" take videos too, by a processor that
needs torchvision; the files of the last one can be written without. Where torchvision's compiled part does not fit this
torch, `offer_torchvision` makes the rest usable, in a process that has not imported transformers yet.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cogvideox.data.libraries import has_torchvision

SAMPLES = Path(sys.prefix) / "samples"
OFFER = "COGVIDEOX_TEST_TORCHVISION"
"""Environment variable: a folder to import torchvision from."""
WIDTH = 32
PICTURE_PX = 28
WORDS = 200
IMAGE, VIDEO, START, END = "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"
"""As Qwen2-VL calls them, whatever its tokenizer says."""
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "<video>", IMAGE, VIDEO, START, END)
TEMPLATE = (
    "{{% for message in messages %}}{{{{ message.role }}}} : {{% for part in message.content %}}"
    "{{% if part.type == 'video' %}} {video} {{% elif part.type == 'image' %}} {image} {{% else %}}{{{{ part.text }}}}"
    "{{% endif %}}{{% endfor %}}{{% endfor %}}{{% if add_generation_prompt %}} assistant :{{% endif %}}"
)


def offer_torchvision() -> None:
    """Make torchvision importable from the folder in `OFFER`, if that is set."""
    folder = os.environ.get(OFFER)
    if not folder or "torchvision" in sys.modules:
        return
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.path.append(folder)
    import torchvision

    torchvision.library = library  # kept: what it defines goes with it


def write_torchvision(folder: Path) -> bool:
    """Put what can be imported of the tests' torchvision, and nothing else, into a folder; False if it is not there."""
    if not (SAMPLES / "torchvision").is_dir():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for path in SAMPLES.glob("torchvision*"):
        (folder / path.name).symlink_to(path)
    return True


def write_tiny_model(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Write a random model of a kind (`MODELS`) as transformers saves it."""
    import torch

    torch.manual_seed(seed)
    model, processor = MODELS[kind]()
    # Random features of random vision towers hardly differ between pictures: larger weights make them differ.
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim >= 2 and ("vision" in name or "visual" in name or "projector" in name):
                value.mul_(6.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer(**names: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from cogvideox.data.filters.video_filter import default_question

    words = dict.fromkeys(["user", "assistant", ":", *default_question().split()])
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words])}
    assert len(vocabulary) <= WORDS
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **special, additional_special_tokens=list(SPECIAL[4:]), **names
    )


def _text(**more: Any) -> dict[str, Any]:
    shape = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"num_key_value_heads": 2, "vocab_size": WORDS, "max_position_embeddings": 512}
    return shape | sizes | {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0} | more


def _vision(**more: Any) -> dict[str, Any]:
    shape = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return shape | {"image_size": PICTURE_PX, "patch_size": 14} | more


def _llava() -> tuple[Any, Any]:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = LlavaConfig(
        text_config=LlamaConfig(**_text()),
        vision_config=CLIPVisionConfig(**_vision()),
        image_token_index=SPECIAL.index("<image>"),
        vision_feature_layer=-1,
    )
    pictures = CLIPImageProcessorPil(size={"shortest_edge": PICTURE_PX}, crop_size=PICTURE_PX)
    processor = LlavaProcessor(
        pictures,
        _tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.format(video="", image="<image>"),
    )
    return LlavaForConditionalGeneration(config), processor


def _llava_onevision() -> tuple[Any, Any]:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
        Qwen2Config,
        SiglipVisionConfig,
    )

    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**_text()),
        vision_config=SiglipVisionConfig(**_vision(vision_use_head=False)),
        image_token_index=SPECIAL.index("<image>"),
        video_token_index=SPECIAL.index("<video>"),
        image_grid_pinpoints=[[PICTURE_PX, PICTURE_PX]],
        vision_feature_layer=-1,
    )
    size = {"height": PICTURE_PX, "width": PICTURE_PX}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[PICTURE_PX, PICTURE_PX]]),
        _tokenizer(),
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(PICTURE_PX // 14) ** 2,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE.format(video="<video>", image="<image>"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _qwen2_vl() -> tuple[Any, Any]:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessor, Qwen2VLProcessor

    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    config = Qwen2VLConfig(
        text_config=_text(rope_parameters=rope),
        vision_config={"depth": 2, "embed_dim": WIDTH, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2},
        image_token_id=SPECIAL.index(IMAGE),
        video_token_id=SPECIAL.index(VIDEO),
        vision_start_token_id=SPECIAL.index(START),
        vision_end_token_id=SPECIAL.index(END),
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}
    template = TEMPLATE.format(video=f"{START}{VIDEO}{END}", image=f"{START}{IMAGE}{END}")
    model = Qwen2VLForConditionalGeneration(config)
    if not has_torchvision():
        return model, _WithoutTorchvision(template, size)
    from transformers import Qwen2VLVideoProcessor

    videos = Qwen2VLVideoProcessor(size=size)
    return model, Qwen2VLProcessor(Qwen2VLImageProcessor(size=size), _tokenizer(), videos, chat_template=template)


class _WithoutTorchvision:
    """Writes the files of a Qwen2-VL processor that cannot be made here."""

    def __init__(self, template: str, size: dict[str, int]) -> None:
        self.template = template
        self.size = size

    def save_pretrained(self, folder: Path) -> None:
        _tokenizer().save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(self.template)
        parts = {
            "image_processor": {"image_processor_type": "Qwen2VLImageProcessor", "size": self.size},
            "processor_class": "Qwen2VLProcessor",
            "video_processor": {"video_processor_type": "Qwen2VLVideoProcessor", "size": self.size},
        }
        (folder / "processor_config.json").write_text(json.dumps(parts))


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": _llava,
    "llava_onevision": _llava_onevision,
    "qwen2_vl": _qwen2_vl,
}
