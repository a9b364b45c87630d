"""The expert transformer: its seams, its checks, its start, and training."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cogvideox.configs import TransformerConfig
from cogvideox.models.rotary import rotary_table
from cogvideox.models.transformer import ExpertTransformer

CONFIG = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=16,
    num_layers=3,
    in_channels=4,
    out_channels=4,
    time_embed_dim=12,
    text_embed_dim=10,
    max_text_seq_length=5,
    sample_height=8,
    sample_width=12,
    sample_frames=9,
    use_rotary_positional_embeddings=True,
)


def make(config: TransformerConfig = CONFIG, *, is_random: bool = True) -> ExpertTransformer:
    torch.manual_seed(0)
    model = ExpertTransformer(config)
    if is_random:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.2)
    return model


def make_inputs(batch_size: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(batch_size, 4, 3, 8, 12, generator=generator)
    return latents, torch.randn(batch_size, 5, 10, generator=generator), torch.arange(batch_size) * 300 + 99


def test_forward_is_embed_run_blocks_head() -> None:
    model = make()
    latents, text, train_timestep = make_inputs()
    tokens, layout = model.embed(latents, text)
    assert tokens.shape == (2, 5 + 3 * 4 * 6, 32)
    assert layout.grids_THW == ((3, 4, 6),) * 2
    modulation = model.modulation(train_timestep)
    rotary = rotary_table(CONFIG, layout, tokens.device)
    original = tokens.clone()
    halfway = model.run_blocks(tokens, layout, modulation, rotary, 0, 2)
    assert torch.equal(tokens, original), "run_blocks changes its input"
    (velocity,) = model.head(model.run_blocks(halfway, layout, modulation, rotary, 2), layout, modulation)
    assert torch.equal(velocity, model(latents, text, train_timestep))
    assert not torch.allclose(halfway, model.run_blocks(tokens, layout, modulation, rotary))


def test_modulation_of_a_whole_schedule_can_be_computed_ahead() -> None:
    model = make()
    latents, text, _ = make_inputs()
    schedule = model.modulation(torch.tensor([999, 500, 19]))
    tokens, layout = model.embed(latents, text)
    rotary = rotary_table(CONFIG, layout, tokens.device)
    row = schedule.select(slice(1, 2))
    (velocity,) = model.head(model.run_blocks(tokens, layout, row, rotary), layout, row)
    torch.testing.assert_close(velocity, model(latents, text, torch.tensor([500, 500])))


def test_image_latents_are_further_channels() -> None:
    model = make(replace(CONFIG, in_channels=8))
    latents, text, train_timestep = make_inputs()
    image_latents = torch.randn_like(latents)
    joined = model(torch.cat([latents, image_latents], dim=1), text, train_timestep)
    assert torch.equal(model(latents, text, train_timestep, image_latents=image_latents), joined)
    assert joined.shape == latents.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": torch.zeros(2, 4, 10)}, r"text: expected shape \(2, 5, 10\).*got \(2, 4, 10\)"),
        ({"text": torch.zeros(1, 5, 10)}, r"text: expected shape \(2, 5, 10\).*got \(1, 5, 10\)"),
        ({"latents": torch.zeros(2, 4, 3, 7, 12)}, "latents: expected a height that is a multiple of 2, got 7"),
        ({"latents": torch.zeros(2, 4, 3, 8, 11)}, "latents: expected a width that is a multiple of 2, got 11"),
        (
            {"latents": torch.zeros(2, 3, 3, 8, 12)},
            r"latents: expected shape \(B, 4, T, H, W\).*got \(2, 3, 3, 8, 12\)",
        ),
        ({"train_timestep": torch.tensor([3])}, r"train_timestep: expected shape \(2,\), got \(1,\)"),
        ({"train_timestep": torch.tensor(3)}, r"train_timestep: expected shape \(2,\), got \(\)"),
        ({"offset": torch.tensor([2.0])}, "offset: expected None"),
        ({"image_latents": torch.zeros(2, 4, 3, 8, 12)}, "latents: .*image_latents included.*got .2, 8,"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, Tensor], message: str) -> None:
    latents, text, train_timestep = make_inputs()
    arguments = {"latents": latents, "text": text, "train_timestep": train_timestep} | change
    with pytest.raises(ValueError, match=message):
        make()(**arguments)


def test_an_empty_pack_is_refused() -> None:
    with pytest.raises(ValueError, match="segments: expected at least one"):
        make().forward_packed([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_rotary_positional_embeddings": False, "use_learned_positional_embeddings": True}, "use_learned"),
        ({"use_rotary_positional_embeddings": False, "patch_size_t": 2}, "patch_size_t"),
        ({"use_learned_positional_embeddings": True, "patch_size_t": 2}, "patch_size_t"),
        ({"attention_head_dim": 24}, "attention_head_dim: expected a multiple of 16"),
        ({"ofs_embed_dim": 8}, "ofs_embed_dim: expected null or time_embed_dim"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_combinations_that_no_format_has_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)  # pyright: ignore[reportArgumentType]


def test_an_offset_needs_a_model_that_has_one() -> None:
    latents, text, train_timestep = make_inputs()
    with pytest.raises(ValueError, match="offset: expected None"):
        make()(latents, text, train_timestep, offset=torch.full((len(latents),), 2.0))


def test_learned_positions_fit_only_the_native_size() -> None:
    latents, text, train_timestep = make_inputs()
    model = make(replace(CONFIG, use_learned_positional_embeddings=True, sample_height=latents.shape[3] + 2))
    with pytest.raises(ValueError, match="learned positions fit only its native size"):
        model(latents, text, train_timestep)


def test_sizes_beyond_the_positions_of_version_1_5_are_refused() -> None:
    latents, text, train_timestep = make_inputs()
    model = make(replace(CONFIG, patch_size_t=1, sample_height=2, sample_width=latents.shape[4]))
    with pytest.raises(ValueError, match="positions for at most 1x"):
        model(latents, text, train_timestep)


def test_blocks_start_as_the_identity() -> None:
    model = make(is_random=False)
    latents, text, train_timestep = make_inputs()
    tokens, layout = model.embed(latents, text)
    after = model.run_blocks(
        tokens, layout, model.modulation(train_timestep), rotary_table(CONFIG, layout, tokens.device)
    )
    assert torch.equal(after, tokens)
    assert model(latents, text, train_timestep).std() > 0.1


def test_start_keeps_the_variance_of_projections() -> None:
    model = make(replace(CONFIG, num_attention_heads=8), is_random=False)
    biases = [value for name, value in model.named_parameters() if name.endswith("bias") and "norm" not in name]
    assert len(biases) > 10 and all((bias == 0).all() for bias in biases)
    projection = model.patch_embed.proj.weight
    expected = (2 / (projection[0].numel() + len(projection))) ** 0.5  # Xavier on the flattened patch
    assert projection.std().item() == pytest.approx(expected, rel=0.1)
    assert (model.norm_out.linear.weight == 0).all()
    assert (model.proj_out.weight != 0).all()


def test_it_learns_and_every_parameter_gets_a_gradient() -> None:
    model = make(is_random=False)
    latents, text, train_timestep = make_inputs(4)
    target = latents.roll(1, dims=0)  # needs attention: neighbours in the batch differ only in text and latents
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses: list[float] = []
    for _ in range(30):
        loss = (model(latents, text, train_timestep) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_gradient_checkpointing_changes_nothing_but_memory() -> None:
    latents, text, train_timestep = make_inputs()
    gradients: list[list[Tensor]] = []
    calls: list[int] = []
    for is_checkpointed in (False, True):
        model = make()
        model.gradient_checkpointing = is_checkpointed
        num_calls = 0

        def count(*_: object) -> None:
            nonlocal num_calls
            num_calls += 1

        model.transformer_blocks[0].register_forward_pre_hook(count)
        model(latents, text, train_timestep).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        calls.append(num_calls)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert calls == [1, 2]


def test_autocast_trains_in_bfloat16_close_to_float32() -> None:
    model = make()
    latents, text, train_timestep = make_inputs()
    exact = model(latents, text, train_timestep)
    with torch.autocast("cpu", torch.bfloat16):
        tokens, layout = model.embed(latents, text)
        rotary = rotary_table(CONFIG, layout, tokens.device)
        after = model.run_blocks(tokens, layout, model.modulation(train_timestep), rotary)
        velocity = model(latents, text, train_timestep)
    assert tokens.dtype == after.dtype == velocity.dtype == torch.bfloat16, "a dtype round trip on all tokens"
    assert (velocity.float() - exact).square().mean() < 1e-3 * exact.square().mean()
    velocity.float().square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_dropout_is_on_in_training_only() -> None:
    model = make(replace(CONFIG, dropout=0.5))
    inputs = make_inputs()
    assert not torch.equal(model(*inputs), model(*inputs))
    model.eval()
    assert torch.equal(model(*inputs), model(*inputs))


def test_parameters_have_published_names_only() -> None:
    names = {name.replace("transformer_blocks.0", "block") for name in make(replace(CONFIG, num_layers=1)).state_dict()}
    layers = {name.rsplit(".", 1)[0] for name in names}
    assert layers == {
        "patch_embed.proj",
        "patch_embed.text_proj",
        "time_embedding.linear_1",
        "time_embedding.linear_2",
        "block.norm1.linear",
        "block.norm1.norm",
        "block.attn1.to_q",
        "block.attn1.to_k",
        "block.attn1.to_v",
        "block.attn1.to_out.0",
        "block.attn1.norm_q",
        "block.attn1.norm_k",
        "block.norm2.linear",
        "block.norm2.norm",
        "block.ff.net.0.proj",
        "block.ff.net.2",
        "norm_final",
        "norm_out.linear",
        "norm_out.norm",
        "proj_out",
    }
    assert isinstance(make().proj_out, nn.Linear)
