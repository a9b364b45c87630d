"""What came of the captions of one clip."""

from dataclasses import dataclass

from cogvideox.data.captioning.acceptance import count_words
from cogvideox.data.captioning.request import StageName


@dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """What came of one caption."""

    text: str = ""
    error: str = ""
    """Why there is none."""
    problem: str = ""
    """What is still wrong with the text that there is."""
    rejected: str = ""
    """What was wrong with the answers before it, one after the other."""
    model: str = ""
    num_tries: int = 0
    num_input_tokens: int = 0
    num_output_tokens: int = 0
    cut_at_tokens: int = 0
    """Of a caption that there is not, or not as it should be: the tokens that did not suffice, if that was it."""
    is_missing: bool = False
    """Whether it was not answered, rather than answered badly: the next run asks again."""

    @property
    def num_words(self) -> int:
        """Return the length of the text."""
        return count_words(self.text)


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """What came of the caption of one frame."""

    index: int
    """From 0; -1 if it is not known which frames there are."""
    time_s: float
    caption: CaptionRow


@dataclass(frozen=True, kw_only=True)
class ClipCaptions:
    """What came of a clip; a stage that is not made is None or empty."""

    short: CaptionRow | None = None
    frames: tuple[FrameRow, ...] = ()
    summary: CaptionRow | None = None
    judge: CaptionRow | None = None

    @property
    def rows(self) -> list[CaptionRow]:
        """Return all of them."""
        single = [row for row in (self.short, self.summary, self.judge) if row is not None]
        return single + [frame.caption for frame in self.frames]

    @property
    def answered(self) -> list[tuple[StageName, str, CaptionRow]]:
        """Return the rows that are not missing, with their stages and parts."""
        single: dict[StageName, CaptionRow | None] = {"short": self.short, "summary": self.summary, "judge": self.judge}
        found: list[tuple[StageName, str, CaptionRow]] = [(stage, "", row) for stage, row in single.items() if row]
        for frame in self.frames:
            found.append(("frames", str(frame.index), frame.caption))
        return [(stage, part, row) for stage, part, row in found if not row.is_missing]

    @property
    def is_missing(self) -> bool:
        """Whether something is to be asked."""
        return any(row.is_missing for row in self.rows)
