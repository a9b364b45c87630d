"""What holds for the transformer whatever its weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvideox.configs import TransformerConfig
from cogvideox.models.rotary import rotary_table, rotate
from cogvideox.models.sequence_layout import SequenceLayout
from cogvideox.models.transformer import ExpertTransformer, Segment

CONFIG = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=16,
    num_layers=2,
    in_channels=4,
    out_channels=4,
    time_embed_dim=12,
    text_embed_dim=10,
    max_text_seq_length=5,
    sample_height=8,
    sample_width=12,
    use_rotary_positional_embeddings=True,
)
UNEQUAL = [(3, 8, 12), (1, 8, 12), (2, 12, 8), (5, 4, 6)]
EQUAL = [(2, 8, 12), (2, 8, 12), (2, 8, 12)]
EQUAL_LENGTH = [(2, 8, 12), (2, 12, 8), (3, 8, 8)]


def make_model() -> ExpertTransformer:
    torch.manual_seed(0)
    model = ExpertTransformer(CONFIG).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


def make_segments(sizes: list[tuple[int, int, int]]) -> list[Segment]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [Segment(draw(4, *size), draw(5, 10), torch.tensor(37 + 250 * i)) for i, size in enumerate(sizes)]


def alone(model: ExpertTransformer, segment: Segment) -> torch.Tensor:
    return model(segment.latents[None], segment.text[None], segment.train_timestep[None])[0]


@pytest.mark.parametrize(
    "sizes", [UNEQUAL, EQUAL, EQUAL_LENGTH, UNEQUAL[:1]], ids=["unequal", "equal", "length", "one"]
)
def test_packed_samples_equal_separate_ones(sizes: list[tuple[int, int, int]]) -> None:
    model, segments = make_model(), make_segments(sizes)
    with torch.no_grad():
        packed = model.forward_packed(segments)
        for velocity, segment in zip(packed, segments, strict=True):
            torch.testing.assert_close(velocity, alone(model, segment), atol=1e-10, rtol=0)


def test_packed_gradients_equal_separate_ones() -> None:
    model, segments = make_model(), make_segments(UNEQUAL)
    torch.stack([velocity.square().mean() for velocity in model.forward_packed(segments)]).mean().backward()
    packed = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    torch.stack([alone(model, segment).square().mean() for segment in segments]).mean().backward()
    for gradient, parameter in zip(packed, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-10, rtol=0)


@pytest.mark.parametrize("sizes", [UNEQUAL, EQUAL, EQUAL_LENGTH], ids=["unequal", "equal", "length"])
def test_a_neighbour_of_nan_does_not_leak(sizes: list[tuple[int, int, int]]) -> None:
    model, segments = make_model(), make_segments(sizes)
    with torch.no_grad():
        clean = model.forward_packed(segments)
        segments[1].latents.fill_(torch.nan)
        segments[1].text.fill_(torch.nan)
        polluted = model.forward_packed(segments)
    assert polluted[1].isnan().all()
    for index in range(len(sizes)):
        if index != 1:
            assert torch.equal(polluted[index], clean[index])


def test_text_and_every_frame_influence_every_frame() -> None:
    model, (segment,) = make_model(), make_segments([(3, 8, 12)])
    segment.latents.requires_grad_()
    segment.text.requires_grad_()
    velocity = alone(model, segment)
    for frame in range(3):
        gradients = torch.autograd.grad(
            velocity[:, frame].square().sum(), [segment.latents, segment.text], retain_graph=True
        )
        assert (gradients[0].abs().sum((0, 2, 3)) > 0).all()
        assert (gradients[1].abs().sum(1) > 0).all()


@settings(max_examples=30, deadline=None)
@given(
    first=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)),
    second=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)),
    shift=st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
)
def test_scores_depend_on_relative_position(
    first: tuple[int, int, int], second: tuple[int, int, int], shift: tuple[int, int, int]
) -> None:
    config = TransformerConfig(
        num_attention_heads=1, sample_height=12, sample_width=16, use_rotary_positional_embeddings=True
    )
    grid = (6, 6, 8)  # native, so coordinates are whole
    table = rotary_table(config, SequenceLayout.of_grids(0, [grid]), torch.device("cpu"))
    table = table.view(1, *grid, 32)
    query, key = torch.randn(2, 1, 1, 1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def score(at: tuple[int, int, int], to: tuple[int, int, int]) -> float:
        turned_query = rotate(query, table[:, at[0], at[1], at[2]][:, None, None])
        turned_key = rotate(key, table[:, to[0], to[1], to[2]][:, None, None])
        return (turned_query * turned_key).sum().item()

    def moved(position: tuple[int, int, int]) -> tuple[int, int, int]:
        return position[0] + shift[0], position[1] + shift[1], position[2] + shift[2]

    assert score(moved(first), moved(second)) == pytest.approx(score(first, second), abs=1e-4)
    if first != second:
        assert score(first, second) != pytest.approx(score(first, first), abs=1e-4)
