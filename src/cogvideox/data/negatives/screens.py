"""What screens of computers and telephones are drawn from: windows, bars, icons, pages and lists.

Axes: T frames, H W rows and columns. Boxes are left, top, right and bottom in pixels.
"""

from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from cogvideox.data.negatives.drawing import (
    Font,
    Format,
    Theme,
    darker,
    draw_font_file,
    draw_phrase,
    draw_pointer,
    draw_words,
    font,
    gradient,
    page,
    pointer_path,
    wrap,
)
from cogvideox.data.negatives.family import Frames, Material
from cogvideox.data.negatives.pictures import Colour, Picture, draw_colour, draw_picture

Box = tuple[int, int, int, int]
WindowStyle = Literal["round", "square", "plain"]
WINDOW_STYLES: tuple[WindowStyle, ...] = ("round", "square", "plain")
IconKind = Literal["folder", "sheet", "disc", "tile"]
ICON_KINDS: tuple[IconKind, ...] = ("folder", "sheet", "disc", "tile")


def draw_ui_font(rng: np.random.Generator, form: Format, size: tuple[float, float] = (2.0, 4.4)) -> Font:
    """Return a font for the labels of a program, its size in hundredths of the shorter side."""
    return font(draw_font_file(rng, "sans"), max(8, round(form.unit_px * rng.uniform(*size))))


def cut_to(text: str, face: Font, width_px: float) -> str:
    """Return as much of a text as is no wider than that."""
    return next(text[:n] for n in range(len(text), -1, -1) if n == 0 or face.getlength(text[:n]) <= width_px)


def draw_icon(drawing: ImageDraw.ImageDraw, x: float, y: float, size: float, kind: IconKind, colour: Colour) -> None:
    """Draw a sign of a file or program in a square at a corner."""
    if kind == "folder":
        drawing.rectangle((x, y + size * 0.12, x + size * 0.45, y + size * 0.3), darker(colour, 0.8))
        drawing.rounded_rectangle((x, y + size * 0.22, x + size, y + size * 0.88), size * 0.06, colour)
    elif kind == "sheet":
        drawing.rectangle((x + size * 0.18, y, x + size * 0.82, y + size), (248, 248, 248), (150, 150, 150))
        for row in range(4):
            drawing.line(
                (x + size * 0.28, y + size * (0.25 + 0.17 * row), x + size * 0.7, y + size * (0.25 + 0.17 * row)),
                colour,
            )
    elif kind == "disc":
        drawing.ellipse((x, y, x + size, y + size), colour)
        drawing.ellipse((x + size * 0.35, y + size * 0.35, x + size * 0.65, y + size * 0.65), (245, 245, 245))
    else:
        drawing.rounded_rectangle((x, y, x + size, y + size), size * 0.2, colour)
        drawing.line(
            (x + size * 0.25, y + size * 0.7, x + size * 0.5, y + size * 0.25, x + size * 0.75, y + size * 0.7),
            (255, 255, 255),
            2,
        )


def draw_any_icon(drawing: ImageDraw.ImageDraw, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """Draw a sign of any kind and colour."""
    draw_icon(drawing, x, y, size, ICON_KINDS[rng.integers(4)], draw_colour(rng, (0.5, 0.95), (0.5, 0.95)))


def draw_window(
    drawing: ImageDraw.ImageDraw, box: Box, theme: Theme, title: str, face: Font, style: WindowStyle
) -> Box:
    """Draw an empty window with its title and buttons; return the box of what is inside."""
    left, top, right, bottom = box
    bar = round(face.size * 1.9)
    drawing.rectangle((left + 3, top + 3, right + 3, bottom + 3), darker(theme.line, 0.5))
    drawing.rectangle(box, theme.paper, theme.line)
    drawing.rectangle((left, top, right, top + bar), theme.accent if style == "square" else theme.panel)
    r, middle = bar * 0.2, top + bar / 2
    if style == "round":
        for number, colour in enumerate(((236, 95, 86), (245, 190, 60), (90, 200, 90))):
            x = left + bar * (0.5 + 0.65 * number)
            drawing.ellipse((x - r, middle - r, x + r, middle + r), colour)
        drawing.text(((left + right) / 2, middle), title, theme.ink, face, "mm")
    else:
        ink = (255, 255, 255) if style == "square" else theme.ink
        drawing.text((left + bar * 0.4, middle), title, ink, face, "lm")
        for number in range(3):
            x = right - bar * (0.55 + 0.8 * number)
            if number == 0:
                drawing.line((x - r, middle - r, x + r, middle + r), ink)
                drawing.line((x - r, middle + r, x + r, middle - r), ink)
            elif number == 1:
                drawing.rectangle((x - r, middle - r, x + r, middle + r), outline=ink)
            else:
                drawing.line((x - r, middle, x + r, middle), ink)
    return left + 1, top + bar + 1, right - 1, bottom - 1


def draw_menu(drawing: ImageDraw.ImageDraw, box: Box, theme: Theme, face: Font, names: list[str]) -> Box:
    """Draw a row of menus at the top of a box; return the rest of the box."""
    left, top, right, bottom = box
    high = round(face.size * 1.6)
    drawing.rectangle((left, top, right, top + high), theme.panel)
    x = left + face.size * 0.6
    for name in names:
        drawing.text((x, top + high / 2), name, theme.ink, face, "lm")
        x += face.getlength(name) + face.size
    drawing.line((left, top + high, right, top + high), theme.line)
    return left, top + high + 1, right, bottom


def draw_tools(drawing: ImageDraw.ImageDraw, box: Box, theme: Theme, size: float, rng: np.random.Generator) -> Box:
    """Draw a row of small icons at the top of a box; return the rest of the box."""
    left, top, right, bottom = box
    high = round(size * 1.5)
    drawing.rectangle((left, top, right, top + high), theme.panel)
    for number in range(int(min(rng.integers(6, 16), (right - left) / size / 1.5))):
        draw_any_icon(drawing, left + size * (0.4 + 1.4 * number), top + size * 0.25, size, rng)
    drawing.line((left, top + high, right, top + high), theme.line)
    return left, top + high + 1, right, bottom


def draw_browser(
    drawing: ImageDraw.ImageDraw, box: Box, theme: Theme, face: Font, material: Material, rng: np.random.Generator
) -> Box:
    """Draw the tabs and the address of a browser; return the box of its page."""
    left, top, right, bottom = box
    tab, wide = round(face.size * 1.9), face.size * 10
    drawing.rectangle((left, top, right, top + tab), theme.line)
    for number in range(int(min(rng.integers(1, 6), (right - left) / wide))):
        x, fill = left + wide * number, theme.paper if number == 0 else theme.panel
        drawing.rectangle((x + 2, top + 3, x + wide - 2, top + tab), fill)
        draw_any_icon(drawing, x + 6, top + tab * 0.3, tab * 0.5, rng)
        drawing.text((x + 10 + tab * 0.5, top + tab / 2), draw_phrase(material, rng, 1, 2)[:12], theme.ink, face, "lm")
    low = top + tab * 2
    drawing.rectangle((left, top + tab, right, low), theme.paper)
    drawing.rounded_rectangle(
        (left + tab * 2.4, top + tab * 1.15, right - tab, low - tab * 0.15), tab * 0.3, theme.panel
    )
    address = "https://www." + "/".join(word.lower().strip(".,") for word in draw_words(material, rng, 3))
    drawing.text((left + tab * 2.9, top + tab * 1.5), address[:60], theme.faint, face, "lm")
    for number in range(3):
        x, y = left + tab * (0.4 + 0.7 * number), top + tab * 1.5
        drawing.line((x + tab * 0.3, y - tab * 0.2, x, y, x + tab * 0.3, y + tab * 0.2), theme.faint, 2)
    drawing.line((left, low, right, low), theme.line)
    return left, low + 1, right, bottom


def draw_taskbar(image: Image.Image, theme: Theme, face: Font, rng: np.random.Generator, is_dock: bool) -> None:
    """Draw a bar of programs along the lower edge, over all of it or as a dock in the middle, and a clock."""
    drawing, high = ImageDraw.Draw(image), round(face.size * 2.2)
    num_icons, top = int(rng.integers(5, 11)), image.height - high
    step = high * 1.05
    left = (image.width - step * num_icons) / 2 if is_dock else high * 0.3
    bar = (left - 6, top - 3, left + step * num_icons + 6, image.height - 3) if is_dock else (0, top, *image.size)
    drawing.rounded_rectangle(bar, high * 0.2 if is_dock else 0, theme.panel)
    for number in range(num_icons):
        draw_any_icon(drawing, left + step * number, top + high * 0.15, high * 0.7, rng)
    clock = f"{rng.integers(24):02d}:{rng.integers(60):02d}"
    place = (image.width - face.size, face.size * 0.2) if is_dock else (image.width - face.size, top + high * 0.3)
    if is_dock:
        drawing.rectangle((0, 0, image.width, face.size * 1.6), theme.panel)
        drawing.text((face.size, face.size * 0.2), "File   Edit   View   Help", theme.ink, face)
    drawing.text(place, clock, theme.ink, face, "ra")


def draw_wallpaper(material: Material, rng: np.random.Generator, form: Format) -> Picture:
    """Return a photograph or a shade for the ground of a desktop."""
    if rng.random() < 0.5:
        return draw_picture(material, rng, *form.size_px)
    first, last = draw_colour(rng, (0.2, 0.9), (0.2, 0.7)), draw_colour(rng, (0.2, 0.9), (0.2, 0.7))
    return gradient(*form.size_px, first, last, rng.uniform(0, 6))


def draw_article(
    material: Material, rng: np.random.Generator, height_px: int, width_px: int, theme: Theme, face: Font
) -> Picture:
    """Return a tall page of headings, paragraphs, links, pictures and boxes."""
    image, drawing = page(height_px, width_px, theme.paper)
    large, y, pictures = face.font_variant(size=round(face.size * 1.7)), face.size * 1.0, []
    side = width_px * (0.24 if width_px > 300 and rng.random() < 0.5 else 0.03)
    wide = int(width_px * 0.97 - side)
    if side > width_px * 0.1:
        drawing.rectangle((0, 0, side - face.size, height_px), theme.panel)
        for row in np.arange(face.size, height_px, face.size * 2.2):
            drawing.text((face.size * 0.6, row), draw_phrase(material, rng, 1, 2)[:14], theme.accent, face)
    while y < height_px:
        drawing.text((side, y), draw_phrase(material, rng, 2, 5), theme.ink, large)
        y += large.size * 1.5
        for _ in range(int(rng.integers(1, 3))):
            for line in wrap(draw_words(material, rng, int(rng.integers(15, 45))), face, wide):
                drawing.text((side, y), line, theme.accent if rng.random() < 0.06 else theme.ink, face)
                y += face.size * 1.35
            y += face.size * 0.7
        if rng.random() < 0.6:
            w = int(wide * rng.uniform(0.4, 1.0))
            pictures.append((int(side), int(y), draw_picture(material, rng, int(w * 0.56), w)))
            y += w * 0.56 + face.size
        elif rng.random() < 0.5:
            drawing.rounded_rectangle((side, y, side + face.size * 8, y + face.size * 2.2), 4, theme.accent)
            drawing.text(
                (side + face.size, y + face.size * 0.5), draw_phrase(material, rng, 1, 1)[:9], (255, 255, 255), face
            )
            y += face.size * 3.4
    made = np.array(image)
    for x, top, picture in pictures:
        room = made[top : top + len(picture), x : x + picture.shape[1]]
        room[:] = picture[: len(room), : room.shape[1]]
    return made


def with_pointer(frames: Frames, form: Format, rng: np.random.Generator, path: np.ndarray | None = None) -> np.ndarray:
    """Draw a pointer that moves from place to place, or along a path (T, 2); return its path."""
    places = pointer_path(rng, form) if path is None else path
    scale, is_dark = max(0.5, form.unit_px / 4.5 * rng.uniform(0.7, 1.3)), bool(rng.random() < 0.5)
    for frame, (x, y) in zip(frames, places, strict=True):
        draw_pointer(frame, int(x), int(y), scale, is_dark)
    return places


def draw_text_in(
    drawing: ImageDraw.ImageDraw, box: Box, material: Material, rng: np.random.Generator, theme: Theme, face: Font
) -> None:
    """Fill a box with running text, or with rows of icons and names."""
    left, top, right, bottom = box
    step = face.size * 1.4
    if rng.random() < 0.5:
        lines = wrap(draw_words(material, rng, 120), face, right - left - face.size)
        for row, y in enumerate(np.arange(top + face.size * 0.4, bottom - face.size * 1.2, step)):
            drawing.text((left + face.size * 0.5, y), lines[row % len(lines)], theme.ink, face)
        return
    for y in np.arange(top + face.size * 0.4, bottom - face.size * 1.2, step):
        draw_any_icon(drawing, left + face.size * 0.4, y, face.size, rng)
        name = draw_phrase(material, rng, 1, 3)[: max(1, int((right - left) / face.size * 1.2) - 4)]
        drawing.text((left + face.size * 1.9, y), name, theme.ink, face)


def draw_desktop(
    material: Material, rng: np.random.Generator, form: Format, theme: Theme, face: Font, num_windows: int
) -> Picture:
    """Return a desktop with icons, windows and a bar of programs."""
    image = Image.fromarray(draw_wallpaper(material, rng, form))
    drawing, icon = ImageDraw.Draw(image), face.size * 2.4
    for row in range(int(rng.integers(2, 6))):
        draw_any_icon(drawing, icon * 0.4, icon * (0.8 + 1.7 * row), icon, rng)
        name = draw_phrase(material, rng, 1, 1)[:9]
        drawing.text(
            (icon * 0.9, icon * (1.85 + 1.7 * row)), name, (255, 255, 255), face, "ma", stroke_width=1, stroke_fill=0
        )
    style = WINDOW_STYLES[rng.integers(3)]
    for _ in range(num_windows):
        wide, high = int(form.width_px * rng.uniform(0.4, 0.7)), int(form.height_px * rng.uniform(0.4, 0.7))
        left = int(rng.uniform(0.1, 1) * (form.width_px - wide))
        top = int(face.size * 2 + rng.uniform(0, 1) * max(0, form.height_px - high - face.size * 5))
        title = draw_phrase(material, rng, 1, 2)
        inner = draw_window(drawing, (left, top, left + wide, top + high), theme, title, face, style)
        draw_text_in(drawing, inner, material, rng, theme, face)
    draw_taskbar(image, theme, face, rng, style == "round")
    return np.array(image)


def draw_messages(
    material: Material, rng: np.random.Generator, height_px: int, width_px: int, theme: Theme, face: Font, is_chat: bool
) -> Picture:
    """Return a tall list of a telephone: bubbles of a chat, or entries with icons."""
    image, drawing = page(height_px, width_px, theme.paper)
    y = face.size * 0.5
    while y < height_px:
        if not is_chat:
            draw_any_icon(drawing, face.size * 0.8, y + face.size * 0.3, face.size * 2.2, rng)
            drawing.text((face.size * 3.8, y + face.size * 0.2), draw_phrase(material, rng, 1, 3)[:24], theme.ink, face)
            drawing.text(
                (face.size * 3.8, y + face.size * 1.6), draw_phrase(material, rng, 2, 5)[:30], theme.faint, face
            )
            drawing.line((face.size * 3.8, y + face.size * 3.1, width_px, y + face.size * 3.1), theme.line)
            y += face.size * 3.3
            continue
        lines = wrap(draw_words(material, rng, int(rng.integers(2, 18))), face, width_px * 0.66)
        is_own = rng.random() < 0.5
        wide, high = max(face.getlength(row) for row in lines) + face.size * 1.4, face.size * (1.25 * len(lines) + 0.9)
        left = width_px - wide - face.size * 0.6 if is_own else face.size * 0.6
        drawing.rounded_rectangle(
            (left, y, left + wide, y + high), face.size * 0.7, theme.accent if is_own else theme.panel
        )
        for row, text in enumerate(lines):
            ink = (255, 255, 255) if is_own else theme.ink
            drawing.text((left + face.size * 0.7, y + face.size * (0.4 + 1.25 * row)), text, ink, face)
        y += high + face.size * rng.uniform(0.3, 1.2)
    return np.array(image)


def draw_keyboard(
    drawing: ImageDraw.ImageDraw, box: tuple[float, float, float, float], theme: Theme, face: Font
) -> None:
    """Draw the keys of a telephone in a box."""
    left, top, right, bottom = box
    high = (bottom - top) / 4
    for row, keys in enumerate(("qwertyuiop", "asdfghjkl", "zxcvbnm", " ")):
        wide = (right - left) / 10.5
        start = (left + right - wide * (len(keys) if keys != " " else 5)) / 2
        for place, key in enumerate(keys):
            x = start + wide * place
            corners = (x + 1, top + high * row + 2, x + wide * (5 if key == " " else 1) - 2, top + high * (row + 1) - 3)
            drawing.rounded_rectangle(corners, 3, theme.paper)
            drawing.text((x + wide / 2, top + high * (row + 0.5)), key, theme.ink, face, "mm")
