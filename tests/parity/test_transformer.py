"""The expert transformer against diffusers' on random weights."""

from dataclasses import replace

import pytest
import torch
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor, nn

from cogvideox.configs import TransformerConfig
from cogvideox.models.rotary import rotary_table
from cogvideox.models.sequence_layout import SequenceLayout
from cogvideox.models.transformer import ExpertTransformer

CONFIG = TransformerConfig(
    num_attention_heads=4,
    attention_head_dim=32,
    num_layers=2,
    in_channels=8,
    out_channels=4,
    time_embed_dim=24,
    text_embed_dim=20,
    max_text_seq_length=6,
    sample_height=12,
    sample_width=18,
    sample_frames=9,
    use_rotary_positional_embeddings=True,
)
NATIVE = (3, 12, 18)
SIZES_THW = [NATIVE, (1, 12, 18), (5, 8, 12), (2, 18, 12), (3, 20, 6), (2, 6, 30), (2, 24, 36)]


def reference_rotary(config: TransformerConfig, size_THW: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """What CogVideoXPipeline passes for latents of this size."""
    num_frames, height, width = size_THW
    grid = (height // config.patch_size, width // config.patch_size)
    native_height, native_width = config.sample_height // config.patch_size, config.sample_width // config.patch_size
    crop = get_resize_crop_region_for_grid(grid, native_width, native_height)
    table = get_3d_rotary_pos_embed(config.attention_head_dim, crop, grid, num_frames)
    assert isinstance(table, tuple)
    return table


def make_pair(config: TransformerConfig, dtype: torch.dtype) -> tuple[ExpertTransformer, CogVideoXTransformer3DModel]:
    torch.manual_seed(0)
    ours = ExpertTransformer(config).to(dtype)
    with torch.no_grad():
        # The norms' and modulation layers' neutral start would hide errors, as would attention that is nearly uniform.
        for name, parameter in ours.named_parameters():
            is_qk_norm = name.endswith(("norm_q.weight", "norm_k.weight"))
            parameter.normal_(mean=1.5 if is_qk_norm else 0.0, std=0.2)
    theirs = CogVideoXTransformer3DModel(**config.to_json())
    nn.Module.to(theirs, dtype)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours.eval(), theirs.eval()


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@pytest.mark.parametrize("size_THW", SIZES_THW, ids=str)
def test_velocity_matches(size_THW: tuple[int, int, int]) -> None:
    ours, theirs = make_pair(CONFIG, torch.float64)
    latents = torch.randn(2, CONFIG.in_channels, *size_THW, dtype=torch.float64)
    text = torch.randn(2, CONFIG.max_text_seq_length, CONFIG.text_embed_dim, dtype=torch.float64)
    train_timestep = torch.tensor([999, 41])
    with torch.no_grad():
        velocity = ours(latents, text, train_timestep)
        expected = theirs(
            latents.transpose(1, 2),
            text,
            train_timestep,
            image_rotary_emb=reference_rotary(CONFIG, size_THW),
            return_dict=False,
        )[0].transpose(1, 2)
    assert relative_error(velocity, expected) < 1e-6  # rotary tables are float32 in both
    assert expected.abs().max() > 0.1


def test_gradients_match() -> None:
    ours, theirs = make_pair(CONFIG, torch.float64)
    latents = torch.randn(2, CONFIG.in_channels, *NATIVE, dtype=torch.float64)
    text = torch.randn(2, CONFIG.max_text_seq_length, CONFIG.text_embed_dim, dtype=torch.float64)
    train_timestep = torch.tensor([999, 41])
    ours(latents, text, train_timestep).square().mean().backward()
    rotary = reference_rotary(CONFIG, NATIVE)
    output = theirs(latents.transpose(1, 2), text, train_timestep, image_rotary_emb=rotary, return_dict=False)[0]
    output.square().mean().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        gradient = expected[name].grad
        assert parameter.grad is not None and gradient is not None
        assert relative_error(parameter.grad, gradient) < 1e-5, name


@pytest.mark.parametrize("size_THW", SIZES_THW, ids=str)
def test_rotary_table_matches_other_sizes(size_THW: tuple[int, int, int]) -> None:
    num_frames, height, width = size_THW
    layout = SequenceLayout.of_grids(6, [(num_frames, height // 2, width // 2)])
    table = rotary_table(CONFIG, layout, torch.device("cpu"))[0, :, 0]
    cosines, sines = reference_rotary(CONFIG, size_THW)
    assert torch.equal(table[:6], torch.ones_like(table[:6]))
    torch.testing.assert_close(table[6:].real, cosines[:, ::2], atol=1e-6, rtol=0)
    torch.testing.assert_close(table[6:].imag, sines[:, ::2], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"attention_bias": False},
        {"flip_sin_to_cos": False, "freq_shift": 1},
        {"norm_elementwise_affine": False},
        {"norm_eps": 1e-2},
        {"patch_bias": False},
        {"patch_size": 3, "out_channels": None},
    ],
    ids=lambda change: ",".join(change),
)
def test_configuration_fields_match(change: dict[str, object]) -> None:
    config = replace(CONFIG, **change)  # pyright: ignore[reportArgumentType]
    if config.out_channels is None:
        config = replace(config, out_channels=config.in_channels)  # diffusers computes None * p * p
    ours, theirs = make_pair(config, torch.float64)
    size = (2, 12, 18)
    latents = torch.randn(1, config.in_channels, *size, dtype=torch.float64)
    text = torch.randn(1, config.max_text_seq_length, config.text_embed_dim, dtype=torch.float64)
    with torch.no_grad():
        velocity = ours(latents, text, torch.tensor([500]))
        rotary = reference_rotary(config, size)
        expected = theirs(
            latents.transpose(1, 2), text, torch.tensor([500]), image_rotary_emb=rotary, return_dict=False
        )[0].transpose(1, 2)
    assert relative_error(velocity, expected) < 1e-6


def test_bfloat16_is_as_close_to_float64_as_diffusers_is() -> None:
    ours, theirs = make_pair(CONFIG, torch.float64)
    latents = torch.randn(4, CONFIG.in_channels, *NATIVE)
    text = torch.randn(4, CONFIG.max_text_seq_length, CONFIG.text_embed_dim)
    train_timestep = torch.tensor([999, 41, 500, 3])
    rotary = reference_rotary(CONFIG, NATIVE)
    with torch.no_grad():
        exact = ours(latents.double(), text.double(), train_timestep)
        ours, theirs = ours.bfloat16(), theirs.bfloat16()
        latents, text = latents.bfloat16(), text.bfloat16()
        velocity = ours(latents, text, train_timestep)
        other = theirs(latents.transpose(1, 2), text, train_timestep, image_rotary_emb=rotary, return_dict=False)[0]
    assert velocity.dtype == torch.bfloat16

    def root_mean_square_error(value: Tensor) -> float:
        return (value.double() - exact).square().mean().sqrt().item()

    assert root_mean_square_error(velocity) < 1.2 * root_mean_square_error(other.transpose(1, 2))


def test_published_5b_keys_and_count() -> None:
    config = TransformerConfig(num_attention_heads=48, num_layers=42, use_rotary_positional_embeddings=True)
    with torch.device("meta"):
        ours = ExpertTransformer(config)
        theirs = CogVideoXTransformer3DModel(**config.to_json())
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert len(shapes) == 1024
    assert sum(parameter.numel() for parameter in ours.parameters()) == 5_570_283_072
