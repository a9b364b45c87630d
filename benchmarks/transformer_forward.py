"""Transformer forward, width of 2B, 2 layers, 2,146 tokens, batch 2, bfloat16."""

from collections.abc import Sequence

import torch

from benchmarks.harness import Result, alternate, main


def compare(claim: str, num_layers: int, batch: int, latent_THW: tuple[int, int, int], rounds: int) -> list[Result]:
    """Measure beside diffusers as it comes, and with fused projections and torch.compile, whichever is faster."""
    from benchmarks.models import transformer_inputs, transformers

    ours, theirs = transformers(num_layers)
    _, fused = transformers(num_layers)
    fused.load_state_dict(theirs.state_dict())
    fused.fuse_qkv_projections()
    compiled = torch.compile(fused)
    latents, text, timestep = transformer_inputs(batch, latent_THW)
    frames_first = latents.transpose(1, 2).contiguous()
    seconds = alternate(
        {
            "ours": lambda: ours(latents, text, timestep),
            "shipped": lambda: theirs(frames_first, text, timestep),
            "fused": lambda: fused(frames_first, text, timestep),
            "compiled": lambda: compiled(frames_first, text, timestep),
        },
        rounds,
    )
    tuned = min(("fused", "compiled"), key=seconds.__getitem__)
    name = {"fused": "diffusers, fuse_qkv", "compiled": "diffusers, fuse_qkv, torch.compile"}[tuned]
    is_long = latent_THW[0] > 5
    return [
        Result(claim, "diffusers", seconds["ours"], seconds["shipped"], target=1.5 if is_long else 1.35),
        Result(claim, name, seconds["ours"], seconds[tuned], target=1.5 if is_long else 1.2),
    ]


@torch.no_grad()
def measure(rounds: int) -> Sequence[Result]:
    return compare("transformer forward, 2B width, 2 layers, 2 x 2,146 tokens", 2, 2, (5, 32, 48), rounds)


if __name__ == "__main__":
    main(measure, default_rounds=5)
