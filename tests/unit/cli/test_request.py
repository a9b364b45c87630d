import json
from pathlib import Path

import pytest

from cogvideox.cli.request import check_asked, check_media, describe_model, resolve

LIKE_IMAGE = {"prompt": "a cat", "seed": 1, "image": "a.png", "last_image": "b.png"}
LIKE_VIDEO = {"prompt": "a cat", "seed": 1, "video": "a.mp4", "strength": 0.5}


@pytest.mark.parametrize(
    ("earlier", "given", "expected"),
    [
        (LIKE_IMAGE, {}, ("a.png", "b.png", None, None)),
        (LIKE_IMAGE, {"video": "c.mp4"}, (None, None, "c.mp4", None)),
        (LIKE_IMAGE, {"image": "c.png"}, ("c.png", "b.png", None, None)),
        (LIKE_VIDEO, {"image": "c.png"}, ("c.png", None, None, None)),
        (LIKE_VIDEO, {"video": "c.mp4"}, (None, None, "c.mp4", 0.5)),
        (LIKE_VIDEO, {"image": "c.png", "strength": 0.1}, ("c.png", None, None, 0.1)),
    ],
)
def test_a_start_replaces_the_one_of_an_earlier_video(tmp_path: Path, earlier, given, expected) -> None:
    like = tmp_path / "earlier.json"
    like.write_text(json.dumps(earlier))
    settings = resolve(given, like)
    assert (settings.image, settings.last_image, settings.video, settings.strength) == expected


def test_what_is_no_text_is_refused() -> None:
    limits, _ = describe_model("2b")
    with pytest.raises(ValueError, match="negative_prompt: expected text in UTF-8"):
        check_asked(resolve({"prompt": "a cat", "negative_prompt": "blur \udcff"}, None), limits)


def test_tiles_that_a_model_cannot_make_are_refused() -> None:
    settings = resolve({"prompt": "a cat", "tiling": True}, None)
    with pytest.raises(ValueError, match=r"is_tiled: this model's native frames \(64x96\) are too small"):
        check_asked(settings, describe_model("tiny")[0])
    check_asked(settings, describe_model("5b")[0])


def test_nothing_to_read_is_nothing_to_check() -> None:
    assert check_media(resolve({"prompt": "a cat"}, None), describe_model("2b")[0]) is None
