"""Transformer forward and backward pass, embedded model's shape, 32 clips of 17x64x96, bfloat16 autocast."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.harness import Result, alternate, main


def measure(rounds: int) -> Sequence[Result]:
    from diffusers import CogVideoXTransformer3DModel

    import benchmarks.models  # noqa: F401 (threads and seed)
    from cogvideox.models.transformer import ExpertTransformer
    from cogvideox.presets import PRESETS

    config = PRESETS["tiny"].transformer
    ours = ExpertTransformer(config).train()
    ours.attention_backend = "matmul"  # as `cogvideox train transformer` does on a CPU
    shipped = CogVideoXTransformer3DModel.from_config(config.to_json()).train()
    shipped.load_state_dict(ours.state_dict())
    latents = torch.randn(32, 16, 5, 8, 12)
    text = torch.randn(32, config.max_text_seq_length, config.text_embed_dim)
    timestep = torch.randint(1000, (32,))
    rotary = _rotary(config)
    frames_first = latents.transpose(1, 2).contiguous()
    seconds = alternate(
        {
            "ours": _step(ours, lambda: ours(latents, text, timestep)),
            "shipped": _step(
                shipped,
                lambda: shipped(frames_first, text, timestep, image_rotary_emb=rotary, return_dict=False)[0],
            ),
        },
        rounds,
    )
    claim = "transformer training step, embedded shape, 32 x 5x8x12 latents"
    return [Result(claim, "diffusers", seconds["ours"], seconds["shipped"], target=1.3)]


def _rotary(config: object) -> tuple[Tensor, Tensor] | None:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    if not config.use_rotary_positional_embeddings:
        return None
    return get_3d_rotary_pos_embed(config.attention_head_dim, ((0, 0), (4, 6)), (4, 6), temporal_size=5)


def _step(model: nn.Module, predict: Callable[[], Tensor]) -> Callable[[], None]:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            velocity = predict()
        velocity.float().square().mean().backward()
        model.zero_grad(set_to_none=True)

    return run


if __name__ == "__main__":
    main(measure, default_rounds=7)
