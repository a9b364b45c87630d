from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cogvideox.media.pictures import fit_pictures, read_picture

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def test_arrays_images_and_files_are_the_same(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    for picture in (COLOURS, Image.fromarray(COLOURS), tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(read_picture(picture), COLOURS)


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "a.png"), np.rot90(COLOURS, -1))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "I;16", "RGBA", "LA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new(mode, (8, 6)) if mode == "I;16" else Image.fromarray(COLOURS).convert(mode)
    assert read_picture(image).shape == (6, 8, 3)


def test_transparency_is_black() -> None:
    image = Image.new("RGBA", (2, 2), (255, 255, 255, 0))
    assert not read_picture(image).any()


def test_what_is_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "b.png").write_bytes(b"")
    Image.fromarray(COLOURS.repeat(40, 0).repeat(40, 1)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:800])
    for name in ("a.png", "b.png", "cut.png", "none.png"):
        with pytest.raises(ValueError, match=f"image: .*{name}"):
            read_picture(tmp_path / name)
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8"):
        read_picture(COLOURS.astype(float))
    with pytest.raises(ValueError, match="at most"):
        read_picture(Image.new("1", (20_000, 10_000)))


def test_fitting_keeps_proportions() -> None:
    wide = np.zeros((3, 20, 80, 3), dtype=np.uint8)
    wide[:, :, 30:50] = 255
    cropped = fit_pictures(wide, height_px=20, width_px=20, fit="crop")
    assert cropped.shape == (3, 20, 20, 3) and cropped.min() == 255, "the middle, as it was"
    padded = fit_pictures(wide, height_px=40, width_px=80, fit="pad")
    assert not padded[:, :10].any() and not padded[:, 30:].any() and np.array_equal(padded[:, 10:30], wide)
    assert fit_pictures(wide, height_px=20, width_px=80) is wide
    with pytest.raises(ValueError, match="fit: expected crop or pad"):
        fit_pictures(wide, height_px=8, width_px=8, fit="stretch")  # pyright: ignore[reportArgumentType]
