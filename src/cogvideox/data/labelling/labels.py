"""The six labels of bad video."""

from dataclasses import dataclass
from typing import Literal, get_args

LabelName = Literal["editing", "static", "low_quality", "lecture", "text", "screenshot"]


@dataclass(frozen=True, kw_only=True)
class Label:
    """One kind of bad video (paper, section 3.3 and table 14)."""

    name: LabelName
    title: str
    meaning: str
    """What a clip shows that has it, for annotators."""


LABELS: dict[LabelName, Label] = {
    label.name: label
    for label in (
        Label(
            name="editing",
            title="Editing",
            meaning="Visibly re-edited or given effects: pictures in the picture, split screens, frames and logos, "
            "colour or speed effects.",
        ),
        Label(
            name="static",
            title="Lack of motion connectivity",
            meaning="Pictures that do not follow from one another: slide shows, stills that are panned or zoomed, "
            "spliced, stuttering or frozen scenes.",
        ),
        Label(
            name="low_quality",
            title="Low quality",
            meaning="Blurred, noisy, blocky, enlarged from few pixels, shaking, or far too dark or bright.",
        ),
        Label(
            name="lecture",
            title="Lecture type",
            meaning="A person talks on and on, with little other motion: talks, news readers, video calls.",
        ),
        Label(
            name="text",
            title="Text-dominated",
            meaning="Text is what is mostly seen: title cards, credits, captions over much of the picture.",
        ),
        Label(
            name="screenshot",
            title="Noisy screen recording",
            meaning="A screen of a computer or telephone, recorded or filmed off it.",
        ),
    )
}
assert tuple(LABELS) == get_args(LabelName)
