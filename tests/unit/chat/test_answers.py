"""What is taken away from around captions, what is left alone, and what is no caption."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogvideox.chat.answers import banned_phrases, clean_caption, is_refusal, without_lead_in


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        ("## Summary\nA fox runs.", "A fox runs."),
        ("# A fox runs.", "A fox runs."),
        ("**Dense Caption**\n\nA **red fox** runs.", "A red fox runs."),
        ("- A fox runs.\n- It stops.", "A fox runs. It stops."),
        ("1. A fox runs.\n2) It stops.", "A fox runs. It stops."),
        ("Here's a concise summary of the video:\n\n- A fox runs.", "A fox runs."),
        ("Below is the dense caption:\nA *quick* fox.", "A quick fox."),
        ("Summary of the video: A fox runs.", "A fox runs."),
        ("Summary (at most 100 words): A fox runs.", "A fox runs."),
        ("A fox runs. (98 words)", "A fox runs."),
        ("A fox runs.\n\nLet me know if you want changes!", "A fox runs."),
        ("A fox runs.\n\n---\n\nNote: the light is low.", "A fox runs."),
        ("<|im_start|>A fox runs.<|im_end|></s>", "A fox runs."),
        ("> A fox runs.", "A fox runs."),
        ("A board reads 3 * 4 * 5 = 60", "A board reads 3 * 4 * 5 = 60"),
        ("Words on paper", "Words on paper"),
        ("A snake_case__name", "A snake_case__name"),
        ("A wall with a poem of 12 words.", "A wall with a poem of 12 words."),
        ("A fox reads a note: go home.", "A fox reads a note: go home."),
    ],
)
def test_cleaning(said: str, caption: str) -> None:
    assert clean_caption(said) == caption
    assert clean_caption(caption) == caption


@pytest.mark.parametrize(
    "text",
    [
        "I'm unable to view images.",
        "I cannot assist with that request.",
        "Sorry, but I can't.",
        "**Sorry**, but I can't.",
        "As a language model, I see nothing.",
        "As an AI, I see nothing.",
        "I don't see an image.",
        "I do not have the ability to watch videos.",
        "No image was provided.",
        "There is no image attached.",
        "It looks like you haven't attached an image.",
        "It seems there is no video provided.",
        "You did not provide any images.",
        "Unfortunately I can't view it.",
        "Unfortunately, I\u2019m not able to help.",
        "Please provide the image.",
        "Unable to view the video.",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "A woman holds a sign: I can't breathe.",
        "Sorry-looking dogs wait.",
        "An AI robot walks.",
        "I",
        "It looks like rain over a grey sea.",
        "There is no car on the road.",
        "There are no people in the street.",
        "Unable to hold the rope, a man falls.",
        "No images hang on the white wall.",
        "Please-and-thank-you signs hang over a till.",
        "",
    ],
)
def test_captions_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("The video shows a dog running.", "A dog running."),
        ("This clip shows two men. They talk.", "Two men. They talk."),
        ("The video begins with a dog running. It stops.", "A dog running. It stops."),
        ("The sequence begins by showing a blue ball.", "A blue ball."),
        ("This video clip primarily features a woman in red.", "A woman in red."),
        ("In this video, a dog runs.", "A dog runs."),
        ("In this video a dog runs.", "A dog runs."),
        ("In the video, we see a man cooking.", "A man cooking."),
        ("In the video, the scene shows a cat on a sofa.", "A cat on a sofa."),
        ("The image shows that the dog is wet.", "The dog is wet."),
        ('The image shows "OPEN" on glass.', '"OPEN" on glass.'),
        ("The frame depicts 3 red cars.", "3 red cars."),
        ("We see a dog.", "A dog."),
        ("A video of a dog running.", "A dog running."),
        ("This is a short video showing an old man.", "An old man."),
    ],
)
def test_lead_ins_are_taken_away(text: str, caption: str) -> None:
    assert without_lead_in(text) == caption
    assert banned_phrases(text)
    assert banned_phrases(caption) == ()


@pytest.mark.parametrize(
    "text",
    [
        "The video game console glows.",
        "In the video game a hero runs.",
        "The scene is calm and empty.",
        "The video shows how to cook.",
        "The clip captures her dancing.",
        "The film features of the kit are new.",
        "The video shows a dog running and then cuts to a cat.",
        "A video of a dog plays on the screen.",
        "A picture of a horse hangs on the wall.",
        "The picture frame displays a dog.",
        "The video shows it all.",
        "The video shows.",
        "",
    ],
)
def test_what_would_break_is_left(text: str) -> None:
    assert without_lead_in(text) == text


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("A dog runs. The video ends as the video fades.", ("the video",)),
        ("A man enters the frame.", ("the frame",)),
        ("In frame 3 a cat sits, as described above.", ("frame 3", "as described above")),
        ("It appears that the viewer is in a car.", ("it appears that the viewer",)),
        ("A dog in the footage runs. The caption says so.", ("in the footage", "the caption")),
        ("This clip and the second image.", ("this clip", "the second image")),
        ("Then we can see a cat; this scene depicts rest.", ("we can see", "this scene depicts")),
        ("The frame of a bicycle; a video game, a video camera, a paper clip, seen from above.", ()),
        ("The red scene of a quiet lake, as seen through a window.", ()),
    ],
)
def test_banned_phrases(text: str, phrases: tuple[str, ...]) -> None:
    assert banned_phrases(text) == phrases


@given(st.text(st.sampled_from(list('ab *_#-."\n:')) | st.characters(), max_size=60))
def test_cleaning_any_text_gives_one_line(text: str) -> None:
    cleaned = clean_caption(text)
    assert len(cleaned.splitlines()) <= 1
    assert len(cleaned) <= len(text)
    assert isinstance(without_lead_in(cleaned), str)
    is_refusal(text)
