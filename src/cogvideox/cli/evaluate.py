"""``cogvideox evaluate``: scores of a checkpoint, as a table or as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from cogvideox.cli.output import OK, StepProgress, print_json

if TYPE_CHECKING:
    import numpy as np

    from cogvideox.evaluation.prompt_following import Generate
    from cogvideox.evaluation.report import Report
    from cogvideox.generation.generator import VideoGenerator

UNTRAINED_SEED = 0


def prompt_following(
    *,
    model: str = "tiny",
    num_prompts: int = 208,
    seed: int = 0,
    num_steps: int = 50,
    guidance_scale: float = 6.0,
    batch_size: int = 16,
    num_untrained: int = 208,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Score whether generated clips show what their prompts say, beside controls.

    Clips of prompts whose (actor, action, place) was never trained are judged by a small classifier trained on fresh
    renders. The controls are the same clips with their prompts shuffled, untrained weights, and real renders.

    Parameters
    ----------
    model
        Embedded model or checkpoint directory in the diffusers layout.
    num_prompts
        How many of the 208 packaged prompts, from the first.
    seed
        Clip n is generated from seed + n.
    num_steps
        Calls of the transformer for a clip.
    guidance_scale
        How strongly the prompt is followed; at most 1 switches guidance off.
    batch_size
        Clips generated at a time.
    num_untrained
        Clips of untrained weights; 0 leaves that row out.
    json
        End standard output with one JSON object instead of a table.
    """
    from cogvideox.data.stage_world import load_fluent_art
    from cogvideox.evaluation.judge import Judge
    from cogvideox.evaluation.prompt_following import evaluate_prompt_following, read_prompts
    from cogvideox.evaluation.report import report_prompt_following
    from cogvideox.generation.generator import VideoGenerator

    prompts = read_prompts()
    if not 2 <= num_prompts <= len(prompts):
        raise ValueError(f"--num-prompts: expected 2 to {len(prompts)}, got {num_prompts}")
    if num_untrained < 0:
        raise ValueError(f"--num-untrained: expected 0 or more, got {num_untrained}")
    judge, art = Judge.load(), load_fluent_art()
    generator = VideoGenerator.load(model)

    def generate_with(chosen: "VideoGenerator") -> "Generate":
        def generate(texts: Sequence[str], seeds: Sequence[int]) -> "list[np.ndarray]":
            videos = chosen.text_to_videos(
                texts,
                seeds,
                num_frames=17,
                height_px=64,
                width_px=96,
                num_steps=num_steps,
                guidance_scale=guidance_scale,
            )
            return [video.frames for video in videos]

        return generate

    with StepProgress("generate clips") as progress:
        result = evaluate_prompt_following(
            generate_with(generator),
            judge=judge,
            art=art,
            prompts=prompts[:num_prompts],
            untrained=generate_with(untrained_copy(generator)) if num_untrained else None,
            num_untrained_clips=num_untrained,
            batch_size=batch_size,
            seed=seed,
            on_progress=progress,
        )
    settings = {"model": model, "seed": seed, "num_steps": num_steps, "guidance_scale": guidance_scale}
    _print_report(report_prompt_following(result), settings, as_json=json)
    return OK


def reconstruction(
    *,
    model: str = "tiny",
    num_clips: int = 64,
    seed: int = 0,
    batch_size: int = 4,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Score how well the autoencoder reconstructs held-out clips: PSNR and flicker.

    Parameters
    ----------
    model
        Embedded model or checkpoint directory in the diffusers layout.
    num_clips
        How many clips of 17 frames, 96x64 px.
    seed
        Of the clips.
    batch_size
        Clips reconstructed at a time.
    json
        End standard output with one JSON object instead of a table.
    """
    from cogvideox.data.stage_world import load_fluent_art
    from cogvideox.evaluation.reconstruction import evaluate_reconstruction
    from cogvideox.evaluation.report import report_reconstruction
    from cogvideox.generation.generator import VideoGenerator

    autoencoder, art = VideoGenerator.load(model).autoencoder, load_fluent_art()
    with StepProgress("reconstruct clips") as progress:
        scores = evaluate_reconstruction(
            autoencoder, num_clips=num_clips, seed=seed, art=art, batch_size=batch_size, on_progress=progress
        )
    _print_report(report_reconstruction(scores), {"model": model, "seed": seed}, as_json=json)
    return OK


def captions(
    *,
    stage: Literal["captioner", "summariser"] = "captioner",
    model: str = "",
    num_clips: int = 500,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Score whether captions of clips that were never trained say who does what where.

    A captioner sees held-out renders, also through H.264 files, larger and longer; a summariser reads captions of such
    clips and is compared with its teacher, the merger.

    Parameters
    ----------
    stage
        What the student does.
    model
        Folder that ``cogvideox train captioner`` or ``summariser`` wrote; the packaged one without.
    num_clips
        How many clips.
    seed
        Of the clips.
    json
        End standard output with one JSON object instead of a table.
    """
    from cogvideox.data.captioning.recipe import BackendSettings
    from cogvideox.data.captioning.students import open_student
    from cogvideox.data.stage_world import load_fluent_art
    from cogvideox.evaluation import caption_students

    art = load_fluent_art()
    student = open_student(model, BackendSettings(name="student", kind="student", model=model), task=stage)
    with StepProgress("caption clips") as progress:
        if stage == "captioner":
            result = caption_students.evaluate_captioner(
                student, num_clips=num_clips, seed=seed, art=art, on_progress=progress
            )
            notes, verdict = (
                [caption_students.required_note()],
                {"meets_requirements": result.rows["renders"].meets_requirements()},
            )
        else:
            result = caption_students.evaluate_summariser(
                student, num_clips=num_clips, seed=seed, art=art, on_progress=progress
            )
            loss = caption_students.largest_loss(result)
            notes = [f"required: at most {caption_students.MAX_LOSS:.0%} less than the teacher; here {loss:.1%}"]
            verdict = {"meets_requirements": loss <= caption_students.MAX_LOSS, "largest_loss": loss}
    report = caption_students.report_captions(result, f"{stage}, facts said", notes)
    _print_report(report, {"stage": stage, "model": model, "seed": seed} | verdict, as_json=json)
    return OK


def gallery(*, model: str = "tiny", out: Path = Path("outputs/gallery.png"), num_steps: int = 50) -> int:
    """Write a contact sheet of twenty fixed prompts, first seed each.

    Parameters
    ----------
    model
        Embedded model or checkpoint directory in the diffusers layout.
    out
        The PNG file.
    num_steps
        Calls of the transformer for a clip.
    """
    from cogvideox.evaluation.gallery import save_gallery
    from cogvideox.generation.generator import VideoGenerator

    generator = VideoGenerator.load(model)

    with StepProgress("generate clips") as progress:

        def generate(prompts: Sequence[str], seeds: Sequence[int]) -> "list[np.ndarray]":
            videos = generator.text_to_videos(prompts, seeds, num_steps=num_steps, on_step=progress)
            return [video.frames for video in videos]

        save_gallery(out, generate)
    print(out)
    return OK


def untrained_copy(generator: "VideoGenerator") -> "VideoGenerator":
    """Return a generator that shares everything with the given one but has a freshly initialised transformer."""
    import torch

    trained = generator.transformer
    weight = next(trained.parameters())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        fresh = type(trained)(trained.config)
    return generator.with_transformer(fresh.to(device=weight.device, dtype=weight.dtype).eval())


def _print_report(report: "Report", settings: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "data": settings | dict(report.values)})
    else:
        Console().print(report.to_rich())
