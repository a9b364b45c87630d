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
from cogvideox.presets import PRESETS, PresetName

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
VARIANTS = {
    "rotary": CONFIG,
    "sin-cos": replace(CONFIG, use_rotary_positional_embeddings=False),
    "learned": replace(CONFIG, in_channels=8, use_learned_positional_embeddings=True),
    "1.5": replace(CONFIG, patch_size_t=2, patch_bias=False),
    "1.5 with offset": replace(CONFIG, patch_size_t=2, patch_bias=False, ofs_embed_dim=24),
}
"""The five published variants in small, by what distinguishes them."""
NATIVE = (3, 12, 18)
SIZES_THW = [NATIVE, (1, 12, 18), (5, 8, 12), (2, 18, 12), (3, 20, 6), (2, 6, 30), (2, 24, 36)]


def reference_rotary(config: TransformerConfig, size_THW: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """What CogVideoXPipeline passes for latents of this size."""
    num_frames, height, width = size_THW
    grid = (height // config.patch_size, width // config.patch_size)
    native_height, native_width = config.sample_height // config.patch_size, config.sample_width // config.patch_size
    if config.patch_size_t is not None:
        table = get_3d_rotary_pos_embed(
            config.attention_head_dim,
            None,
            grid,
            num_frames // config.patch_size_t,
            grid_type="slice",
            max_size=(native_height, native_width),
        )
    else:
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


def sizes_of(config: TransformerConfig) -> list[tuple[int, int, int]]:
    """Native and other sizes, portrait among them, that the variant takes."""
    if config.use_learned_positional_embeddings:
        return [NATIVE, (1, 12, 18), (5, 12, 18)]
    if config.patch_size_t is not None:
        return [(4, 12, 18), (2, 8, 12), (6, 12, 6), (2, 4, 18)]
    return SIZES_THW


CASES = [
    pytest.param(config, size, id=f"{name} {size}") for name, config in VARIANTS.items() for size in sizes_of(config)
]


def run_pair(
    config: TransformerConfig, size_THW: tuple[int, int, int], dtype: torch.dtype, *, batch_size: int = 2
) -> tuple[Tensor, Tensor]:
    """Our velocity and theirs for the same random weights and inputs; the inputs do not depend on ``dtype``."""
    ours, theirs = make_pair(config, torch.float64)
    ours, theirs = ours.to(dtype), nn.Module.to(theirs, dtype)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(batch_size, config.in_channels, *size_THW, generator=generator).to(dtype)
    text_shape = (batch_size, config.max_text_seq_length, config.text_embed_dim)
    text = torch.randn(text_shape, generator=generator).to(dtype)
    train_timestep = torch.tensor([999, 41, 500, 3])[:batch_size]
    rotary = reference_rotary(config, size_THW) if config.use_rotary_positional_embeddings else None
    ofs = None if config.ofs_embed_dim is None else torch.full((1,), 2.0)
    with torch.no_grad():
        velocity = ours(latents, text, train_timestep)
        expected = theirs(
            latents.transpose(1, 2), text, train_timestep, ofs=ofs, image_rotary_emb=rotary, return_dict=False
        )[0]
    return velocity, expected.transpose(1, 2)


@pytest.mark.parametrize(("config", "size_THW"), CASES)
def test_velocity_matches(config: TransformerConfig, size_THW: tuple[int, int, int]) -> None:
    velocity, expected = run_pair(config, size_THW, torch.float64)
    assert relative_error(velocity, expected) < 1e-6  # rotary tables are float32 in both
    assert expected.abs().max() > 0.1


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 2.0), (torch.bfloat16, 1.2)], ids=str)
def test_rounding_errors_are_no_larger_than_diffusers(
    config: TransformerConfig, dtype: torch.dtype, allowed: float
) -> None:
    size_THW = (4, 12, 18) if config.patch_size_t else NATIVE
    exact, _ = run_pair(config, size_THW, torch.float64, batch_size=4)
    velocity, other = run_pair(config, size_THW, dtype, batch_size=4)
    assert velocity.dtype == dtype

    def root_mean_square_error(value: Tensor) -> float:
        return (value.double() - exact).square().mean().sqrt().item()

    assert root_mean_square_error(velocity) < allowed * root_mean_square_error(other)


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
        {"patch_size": 1},
        {"activation_fn": "gelu"},
        {"timestep_activation_fn": "mish"},
        {"use_learned_positional_embeddings": True, "sample_frames": 8},
        {"use_rotary_positional_embeddings": False, "attention_head_dim": 12},
        {"use_rotary_positional_embeddings": False, "temporal_interpolation_scale": 2.0, "sample_frames": 8},
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
        rotary = reference_rotary(config, size) if config.use_rotary_positional_embeddings else None
        expected = theirs(
            latents.transpose(1, 2), text, torch.tensor([500]), image_rotary_emb=rotary, return_dict=False
        )[0].transpose(1, 2)
    assert relative_error(velocity, expected) < 1e-6


@pytest.mark.parametrize(
    ("preset", "num_keys", "num_parameters"),
    [
        ("2b", 736, 1_693_783_872),
        ("5b", 1024, 5_570_283_072),
        ("5b-i2v", 1025, 5_570_479_680),
        ("1.5-5b", 1024, 5_570_676_352),
        ("1.5-5b-i2v", 1028, 5_571_594_880),
    ],
)
def test_published_keys_and_counts(preset: PresetName, num_keys: int, num_parameters: int) -> None:
    config = PRESETS[preset].transformer
    with torch.device("meta"):
        ours = ExpertTransformer(config)
        theirs = CogVideoXTransformer3DModel(**config.to_json())
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert len(shapes) == num_keys
    assert sum(parameter.numel() for parameter in ours.parameters()) == num_parameters
