"""Scores as tables: for the terminal, for a document, for a program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from cogvideox.evaluation.prompt_following import (
    ASPECTS,
    REQUIRED_FRACTIONS,
    PromptFollowingResult,
    PromptFollowingScores,
)
from cogvideox.evaluation.reconstruction import ReconstructionScores
from cogvideox.evaluation.video_metrics import VideoScores


@dataclass(frozen=True)
class Report:
    """A table of finished text and the same numbers for programs."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    values: Mapping[str, Any]
    """JSON values."""

    def to_rich(self) -> Table:
        """Return a table for the terminal, its notes as the caption."""
        table = Table(title=escape(self.title), caption="\n".join(self.notes), caption_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_markdown(self) -> str:
        """Return the title, the table and the notes as Markdown."""
        ruler = [":--" if index == 0 else "--:" for index in range(len(self.columns))]
        table = "\n".join("| " + " | ".join(row) + " |" for row in (self.columns, ruler, *self.rows))
        return "\n\n".join((f"**{self.title}**", table, *self.notes)) + "\n"


def report_prompt_following(result: PromptFollowingResult) -> Report:
    """Report the model, its controls and what is required, and name what the model shows worst."""
    required = {aspect: f"≥{least:.0%}" for aspect, least in REQUIRED_FRACTIONS.items()}
    rows = [
        (name, *(_percent(getattr(scores, aspect)) for aspect in ASPECTS), _percent(scores.all_right), _clips(scores))
        for name, scores in result.rows.items()
    ]
    rows.append(("required", *(required[aspect] for aspect in ASPECTS), "", ""))
    notes = ["all: everything right in one clip; direction: of the clips whose prompts name one (second number)"]
    for aspect in ASPECTS[:3]:
        name, fraction = result.model.worst(aspect)
        notes.append(f"worst {aspect}: {name}, {_percent(fraction)}")
    return Report(
        title="prompt following",
        columns=("clips of", *ASPECTS, "all", "clips"),
        rows=rows,
        notes=notes,
        values={
            "rows": {name: _scores_to_json(scores) for name, scores in result.rows.items()},
            "required": dict(REQUIRED_FRACTIONS),
            "meets_requirements": result.model.meets_requirements(),
        },
    )


def report_reconstruction(scores: ReconstructionScores) -> Report:
    """Report PSNR and flicker of an autoencoder."""
    row = (
        str(scores.num_clips),
        f"{scores.psnr_mean_db:.2f}",
        f"{scores.psnr_worst_db:.2f}",
        f"{scores.flicker_made:.4f}",
        f"{scores.flicker_real:.4f}",
        f"{scores.flicker_ratio:.3f}",
    )
    columns = ("clips", "PSNR mean (dB)", "PSNR worst (dB)", "flicker made", "flicker real", "made / real")
    note = "flicker: mean absolute difference of neighbouring frames, of a range of 2"
    values = vars(scores) | {"flicker_ratio": scores.flicker_ratio}
    return Report("reconstruction of held-out renders", columns, [row], [note], values)


def report_round_trip(scores: VideoScores, *, title: str, height_px: int, width_px: int, seconds: float) -> Report:
    """Report what became of one video, and how fast."""
    frames_per_s = scores.num_frames / seconds
    flickers = [_number(value, 2) for value in (scores.flicker_original, scores.flicker_reconstructed)]
    rows = [
        ("PSNR", f"{scores.psnr_db:.2f} dB"),
        ("PSNR, mean of the frames", f"{scores.psnr_frame_mean_db:.2f} dB"),
        ("SSIM", _number(scores.ssim, 4)),
        ("flicker, original", flickers[0]),
        ("flicker, reconstruction", flickers[1]),
        *([] if scores.lpips is None else [("LPIPS", _number(scores.lpips, 4))]),
        ("frames", str(scores.num_frames)),
        ("size", f"{width_px}x{height_px} px"),
        ("time", f"{seconds:.1f} s"),
        ("speed", f"{frames_per_s:.1f} frames/s"),
    ]
    note = "flicker: mean absolute difference of neighbouring frames, in levels of 0 to 255"
    values = vars(scores) | {"seconds": round(seconds, 2), "frames_per_s": round(frames_per_s, 2)}
    return Report(title, ("measure", "value"), rows, [note], values)


def _scores_to_json(scores: PromptFollowingScores) -> dict[str, Any]:
    by_name = {aspect: dict(scores.by_name[aspect]) for aspect in ASPECTS}
    worst = {aspect: list(scores.worst(aspect)) for aspect in ASPECTS if by_name[aspect]}
    return vars(scores) | {"by_name": by_name, "worst": worst}


def _number(value: float | None, num_digits: int) -> str:
    return "-" if value is None else f"{value:.{num_digits}f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _clips(scores: PromptFollowingScores) -> str:
    return f"{scores.num_clips}/{scores.num_travelling_clips}"
