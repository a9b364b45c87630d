"""``cogvideox verify-parity``: whether diffusers makes the same of a checkpoint, on the user's machine and weights."""

import dataclasses
from typing import Annotated

from cyclopts import Parameter

from cogvideox.checkpoints.directory import find_checkpoint
from cogvideox.cli.output import DISAGREE, OK, print_json


def verify_parity(
    model: str,
    *,
    prompt: str = "a cat walks to the right on a beach",
    seed: int = 0,
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    num_steps: int = 4,
    dtype: str = "auto",
    device: str = "cpu",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make the same video with cogvideox and with diffusers, one after the other, and compare the stages.

    Needs diffusers, and the memory that diffusers needs for the model. float32 is the strict comparison; in half
    precision both round differently, and only text embeddings and the average of the frames are judged.

    Parameters
    ----------
    model
        Checkpoint directory in the diffusers layout, or a name as for generate.
    prompt
        For both.
    seed
        For both.
    num_frames
        8k or 8k + 1 (default: the model's own).
    height
        In pixels (default: the model's own).
    width
        In pixels (default: the model's own).
    num_steps
        Calls of the transformer; few are enough.
    dtype
        auto, float32, bfloat16 or float16.
    device
        cpu, cuda, mps.
    json
        End standard output with one JSON object.
    """
    from cogvideox.evaluation.parity import compare_with_diffusers

    comparisons = compare_with_diffusers(
        find_checkpoint(model),
        prompt=prompt,
        seed=seed,
        num_frames=num_frames,
        height_px=height,
        width_px=width,
        num_steps=num_steps,
        device=device,
        dtype=dtype,
    )
    for comparison in comparisons:
        limit = "" if comparison.limit is None else f", limit {comparison.limit:g}"
        verdict = "agrees" if comparison.agrees else "DIFFERS"
        figures = f"{comparison.difference:.2g} {comparison.unit}{limit}"
        print(f"{comparison.stage:<16} {verdict if comparison.limit is not None else 'reported':<8} {figures}")
    agrees = all(comparison.agrees for comparison in comparisons)
    print("cogvideox and diffusers agree" if agrees else "cogvideox and diffusers DIFFER: please report this")
    if json:
        rows = [dataclasses.asdict(comparison) | {"agrees": comparison.agrees} for comparison in comparisons]
        print_json({"ok": agrees, "data": {"comparisons": rows}})
    return OK if agrees else DISAGREE
