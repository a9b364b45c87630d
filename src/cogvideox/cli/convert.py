"""``cogvideox convert``: checkpoints of the official training code (SAT) to the diffusers layout, and back."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cogvideox.cli.output import OK, StepProgress, print_json

Flag = Annotated[bool, Parameter(negative="")]


def convert(
    source: Path,
    out: Path,
    *,
    to: Literal["diffusers", "sat"] | None = None,
    part: Literal["transformer", "vae", "lora"] | None = None,
    variant: Literal["2b", "5b", "5b-i2v", "1.5-5b", "1.5-5b-i2v"] | None = None,
    dtype: str | None = None,
    base: Path | None = None,
    lora_alpha: float | None = None,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Convert a transformer, VAE or LoRA of SAT, the official training code, to the diffusers layout, or back.

    No bit changes, in either direction, unless another dtype is asked for. SAT files that would run code are refused.

    Parameters
    ----------
    source
        A SAT .pt file, its folder (with `latest`, or with transformer/ and vae/), a checkpoint directory, embedded or
        published model, a transformer/ or vae/ folder, or a LoRA.
    out
        Folder to write, new or empty.
    to
        Format to write (default: the other one than the source's).
    part
        What to convert (default: all that the source holds).
    variant
        Kind of model, where the shapes of a SAT file do not tell it.
    dtype
        float32, bfloat16, float16 (default: as stored).
    base
        A complete checkpoint of the same kind: OUT becomes complete with its text encoder, tokenizer, scheduler and
        whatever else SAT's file has not.
    lora_alpha
        Of a SAT LoRA: lora_alpha in the YAML file it was trained with (default: 1, as there).
    force
        Replace what is in the way in OUT.
    json
        End standard output with one JSON object.
    """
    from cogvideox.checkpoints import conversion

    with StepProgress("tensors") as progress:
        converted = conversion.convert(
            source,
            out,
            to=to,
            part=part,
            variant=variant,
            dtype=dtype,
            base=base,
            lora_alpha=lora_alpha,
            force=force,
            on_tensor=progress,
        )
    for item in converted:
        print(conversion.describe(item))
    if json:
        parts = [{**vars(item), "folder": str(item.folder)} for item in converted]
        print_json({"ok": True, "data": {"out": str(out), "parts": parts}})
    return OK
