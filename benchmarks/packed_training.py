"""Training on mixed sizes: packs against other ways to batch, forward and backward, useful tokens per second.

The set is that of 256 to 480 px and 1 to 49 frames, 226 text tokens and 20,000 tokens at a time, all a quarter of it
(half the sides), so that a round takes a minute on two cores; the model has the embedded one's width and depth, in
bfloat16 autocast. Useful tokens are those of samples; padding is not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Result, alternate, main

NUM_TEXT_TOKENS = 56
BUDGET_TOKENS = 5_000
NUM_SAMPLES = 16
PADDED_BATCH = 4
SIZES_HW = ((8, 12), (10, 15), (12, 18), (15, 22))
"""Tokens by rows and columns."""

Shape = tuple[int, int, int]


def draw_shapes(num_samples: int, seed: int = 0) -> list[Shape]:
    """Return the token grids of samples."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(len(SIZES_HW), size=num_samples)
    times = rng.integers(1, 14, num_samples)
    return [(int(time), *SIZES_HW[size]) for time, size in zip(times, sizes, strict=True)]


def num_tokens(shape: Shape) -> int:
    return NUM_TEXT_TOKENS + shape[0] * shape[1] * shape[2]


def measure(rounds: int) -> Sequence[Result]:
    from diffusers import CogVideoXTransformer3DModel

    import benchmarks.models  # noqa: F401 (threads and seed)
    from cogvideox.models.transformer import ExpertTransformer, Segment
    from cogvideox.presets import PRESETS
    from cogvideox.training.frame_packing import PackSettings, pack_epoch

    tiny = PRESETS["tiny"].transformer
    config = replace(tiny, max_text_seq_length=NUM_TEXT_TOKENS, sample_height=30, sample_width=44, sample_frames=49)
    ours = ExpertTransformer(config).train()
    ours.attention_backend = "mixed"  # as `cogvideox train transformer` does on a CPU
    peer = CogVideoXTransformer3DModel.from_config(config.to_json()).train()
    peer.load_state_dict(ours.state_dict())
    shapes = draw_shapes(NUM_SAMPLES)
    lengths = np.array([num_tokens(shape) for shape in shapes])

    def segment(shape: Shape) -> Segment:
        time, rows, columns = shape
        latents = torch.randn(16, time, 2 * rows, 2 * columns)
        return Segment(latents, torch.randn(NUM_TEXT_TOKENS, config.text_embed_dim), torch.tensor(500))

    def pack_step(pack: Sequence[Shape]) -> None:
        segments = [segment(shape) for shape in sorted(pack)]
        with torch.autocast("cpu", torch.bfloat16):
            velocities = ours.forward_packed(segments)
        _backward(ours, velocities)

    def batch_step(shape: Shape, number: int) -> None:
        segments = [segment(shape) for _ in range(number)]
        with torch.autocast("cpu", torch.bfloat16):
            velocities = ours.forward_packed(segments)
        _backward(ours, velocities)

    def peer_step(shape: Shape, number: int) -> None:
        segments = [segment(shape) for _ in range(number)]
        latents = torch.stack([one.latents for one in segments]).transpose(1, 2)
        text = torch.stack([one.text for one in segments])
        with torch.autocast("cpu", torch.bfloat16):
            velocity = peer(
                latents, text, torch.full((number,), 500), image_rotary_emb=_rotary(shape), return_dict=False
            )[0]
        _backward(peer, [velocity])

    epoch = pack_epoch(lengths, PackSettings(pack_tokens=BUDGET_TOKENS, attention_ratio=6.0 * config.width), (0,))
    packs = [[shapes[sample] for sample in packs[0]] for packs in map(epoch.step, range(epoch.num_steps))]
    padded = [
        (max(batch, key=num_tokens), len(batch))
        for batch in (shapes[start : start + PADDED_BATCH] for start in range(0, NUM_SAMPLES, PADDED_BATCH))
    ]
    seconds = alternate(
        {
            "packs": lambda: _each(pack_step, [(pack,) for pack in packs]),
            "padded": lambda: _each(batch_step, padded),
            "buckets": lambda: _each(batch_step, _buckets(shapes)),
            "diffusers": lambda: _each(peer_step, _buckets(shapes)),
        },
        rounds,
    )
    claim = f"training on {NUM_SAMPLES} samples of mixed sizes, {lengths.sum():,} useful tokens"
    return [
        Result(claim, "batches of 4 padded to the longest", seconds["packs"], seconds["padded"], target=1.5),
        Result(claim, "exact-shape buckets", seconds["packs"], seconds["buckets"], target=1.0),
        Result(
            claim, "diffusers' transformer in exact-shape buckets", seconds["packs"], seconds["diffusers"], target=1.3
        ),
    ]


def _buckets(shapes: Iterable[Shape]) -> list[tuple[Shape, int]]:
    """Return batches of samples of one shape, as many as the budget allows."""
    batches = []
    for shape, group in groupby(sorted(shapes)):
        left, most = len(list(group)), BUDGET_TOKENS // num_tokens(shape)
        batches += [(shape, min(most, left - done)) for done in range(0, left, most)]
    return batches


def _each(step: Callable[..., None], arguments: Iterable[tuple]) -> None:
    for values in arguments:
        step(*values)


def _rotary(shape: Shape) -> tuple[Tensor, Tensor]:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    time, rows, columns = shape
    return get_3d_rotary_pos_embed(64, ((0, 0), (rows, columns)), (rows, columns), temporal_size=time)


def _backward(model: nn.Module, velocities: Iterable[Tensor]) -> None:
    sum(velocity.float().square().mean() for velocity in velocities).backward()
    model.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main(measure, default_rounds=3)
