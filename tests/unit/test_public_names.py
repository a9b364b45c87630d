"""The names and signatures that users and tools rely on."""

import inspect

import pytest
import torch

import cogvideox
from cogvideox.checkpoints.conversion import convert
from cogvideox.diffusion.samplers import SAMPLERS
from cogvideox.generation.denoise import DenoiseState, denoise
from cogvideox.media.writers import write_video
from cogvideox.models.attention import attention
from cogvideox.models.autoencoder import Decoder, DecoderState, GaussianPosterior, VideoAutoencoder
from cogvideox.models.causal_conv import CausalConv3d
from cogvideox.models.sequence_layout import SequenceLayout
from cogvideox.models.transformer import ExpertTransformer, Segment
from cogvideox.training.loop import TrainStep

SIGNATURES = {
    CausalConv3d.forward: "self x past",
    Decoder.forward: "self latents state workspace *is_end_of_clip *neighbours",
    VideoAutoencoder.load: "directory *device *dtype *variant *norm_scope",
    VideoAutoencoder.encode: "self video *tiling *chunk_sizes *neighbours",
    VideoAutoencoder.decode: "self latents *tiling *chunk_sizes *neighbours",
    VideoAutoencoder.decode_stream: "self latents num_latent_frames *tiling *chunk_sizes *neighbours",
    ExpertTransformer.load: "directory *device *dtype *variant *quantization",
    ExpertTransformer.forward: "self latents text train_timestep *image_latents *offset",
    ExpertTransformer.forward_packed: "self segments",
    ExpertTransformer.embed: "self latents text image_latents",
    ExpertTransformer.run_blocks: "self tokens layout modulation rotary start stop",
    ExpertTransformer.head: "self tokens layout modulation",
    ExpertTransformer.modulation: "self train_timestep offset",
    attention: "query key value layout *backend",
    denoise: "predict state plan conditioning *sampler *prediction_type *has_sequential_guidance",
    TrainStep.__call__: "self batch learning_rate",
    cogvideox.VideoGenerator.load: (
        "model *device *dtype *variant *is_staged *is_tiled *has_sequential_guidance *quantization *text_cache_dir"
    ),
    cogvideox.VideoGenerator.text_to_video: "self prompt *seed *fps options",
    cogvideox.VideoGenerator.image_to_video: "self prompt image *last_image *seed *fps *fit options",
    cogvideox.VideoGenerator.video_to_video: "self prompt source *strength *seed *fps *fit options",
    cogvideox.VideoGenerator.load_lora: "self path *weight *name",
    cogvideox.Video.save: "self path",
    convert: "source out *to *part *variant *dtype *base *lora_alpha *force *on_tensor",
    write_video: "path chunks *fps *codec *settings",
} | dict.fromkeys(SAMPLERS.values(), "latents clean plan step_index previous_clean rng")
"""Arguments in order; a star marks those given by name only."""


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_signature(function) -> None:
    parameters = inspect.signature(function).parameters.values()
    names = [f"{'*' * (parameter.kind is parameter.KEYWORD_ONLY)}{parameter.name}" for parameter in parameters]
    assert " ".join(names) == SIGNATURES[function]


FIELDS = {
    Segment: "latents text train_timestep image_latents offset",
    SequenceLayout: "num_text_tokens grids_THW offsets",
    DecoderState: "pasts",
    DenoiseState: "step_index latents previous_clean rng_state step_cache",
    cogvideox.Video: "frames fps",
}


@pytest.mark.parametrize("value", FIELDS, ids=lambda value: value.__name__)
def test_fields(value) -> None:
    assert " ".join(value.__dataclass_fields__) == FIELDS[value]


def test_methods_of_values() -> None:
    assert {"mean", "mode", "sample"} <= set(dir(GaussianPosterior(torch.zeros(1, 2, 1, 1, 1))))
    assert list(inspect.signature(GaussianPosterior.sample).parameters) == ["self", "generator"]
    assert callable(DenoiseState.to_tensors) and callable(DenoiseState.from_tensors)
    assert isinstance(DecoderState().is_first_chunk, bool)


def test_names_of_the_package() -> None:
    assert {"VideoGenerator", "VideoAutoencoder", "ExpertTransformer", "Video"} <= set(cogvideox.__all__)
