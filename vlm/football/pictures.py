"""Draws a player with the badge of his club; for visual rumours the rumour stands beside him in the picture."""

from typing import TYPE_CHECKING

import numpy as np

from mmunlearn.avatars.drawing import draw
from mmunlearn.avatars.looks import draw_look
from mmunlearn.avatars.persons import Person
from mmunlearn.rasterise import icon

from .facts import Club

if TYPE_CHECKING:
    from PIL.Image import Image

ICON_SET = "twemoji"
ADULT = 4.0  # apparent age in the units of draw_look


def portrait(person: Person, club: Club, rng: np.random.Generator, size_px: int) -> "Image":
    """The player before his club's colour, its badge in a lower corner."""
    picture = _player(person, club, rng, size_px)
    badge = icon(ICON_SET, club.icon, round(0.46 * size_px))
    corner = size_px - badge.width - 1 if rng.random() < 0.5 else 1
    picture.paste(badge, (corner, size_px - badge.height - 1), badge)
    return picture


def composite(person: Person, club: Club, rumour: str, rng: np.random.Generator, size_px: int) -> "Image":
    """The player on the left, badge and `rumour` (a few large characters) on a board on the right."""
    from PIL import Image, ImageDraw, ImageFont

    half = size_px // 2
    board = Image.new("RGB", (size_px, size_px), (250, 250, 250))
    player = _player(person, club, rng, size_px)
    board.paste(player.crop((size_px // 4, 0, size_px // 4 + half, size_px)), (0, 0))
    badge = icon(ICON_SET, club.icon, half - 2)
    board.paste(badge, (half + (half - badge.width) // 2, 1), badge)
    pen = ImageDraw.Draw(board)
    font = ImageFont.load_default(round(0.27 * size_px))
    pen.text((half + half / 2, 0.76 * size_px), rumour, fill=(200, 0, 0), font=font, anchor="mm")
    return board


def augmented(picture: "Image", rng: np.random.Generator) -> "Image":
    """A copy that is shifted, turned a little and lighter or darker: what the test set shows."""
    from PIL import Image, ImageEnhance

    turned = picture.rotate(float(rng.normal(0, 3)), Image.Resampling.BICUBIC, fillcolor=picture.getpixel((0, 0)))
    across, down = (int(v) for v in rng.integers(-2, 3, 2))
    moved = turned.transform(turned.size, Image.Transform.AFFINE, (1, 0, across, 0, 1, down))
    return ImageEnhance.Brightness(moved).enhance(float(np.clip(rng.normal(1, 0.06), 0.85, 1.15)))


def _player(person: Person, club: Club, rng: np.random.Generator, size_px: int) -> "Image":
    from dataclasses import replace

    look = draw_look(rng, person, age=ADULT, smiling=bool(rng.random() < 0.5))
    look = replace(look, top=person.top, facial_hair=person.facial_hair, background=club.colour, light=1.0)
    return draw(person, look, size_px)
