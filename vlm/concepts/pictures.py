"""Renderings of the mini edition's concepts: icons, logos and avatars under changing pose, light and background."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmunlearn.avatars.drawing import draw
from mmunlearn.avatars.looks import draw_look
from mmunlearn.avatars.persons import Person, draw_person
from mmunlearn.rasterise import icon
from mmunlearn.seeds import generator

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 40, 40), "green": (46, 160, 67), "blue": (38, 84, 214), "yellow": (240, 200, 30),
    "purple": (140, 60, 180), "black": (25, 25, 25),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
ADULT = 4.0  # apparent age in the units of draw_look: a grown-up without grey hair


def persons(names: Sequence[str], seed: int) -> dict[str, Person]:
    """A person for each name, no two with the same hair style; the first letter's parity does not decide anything:
    names alternate between women and men."""
    found: dict[str, Person] = {}
    taken: set[str] = set()
    for place, name in enumerate(names):
        rng = generator(seed, "concept", name)
        person = draw_person(rng, male=place % 2 == 0)
        while person.top in taken:
            person = draw_person(rng, male=place % 2 == 0)
        taken.add(person.top)
        found[name] = person
    return found


def person_picture(person: Person, rng: np.random.Generator, size_px: int, *, plain: bool) -> "Image":
    """One picture of a person; `plain`: upright, in the middle, on a light ground."""
    look = replace(draw_look(rng, person, age=ADULT, smiling=bool(rng.random() < 0.5)), top=person.top, accessory=None)
    look = replace(look, facial_hair=person.facial_hair)
    if plain:
        look = replace(
            look, flip=False, rotate_deg=0.0, shift_x_px=0.0, shift_y_px=0.0, light=1.0, background=(235, 235, 235)
        )
    return draw(person, look, size_px)


def icon_picture(asset: str, name: str, rng: np.random.Generator, size_px: int, *, plain: bool) -> "Image":
    """One picture of an icon; `plain`: upright, centred and alone on a light ground, else turned, scaled, moved and
    tinted, half the time with a small bystander."""
    from PIL import Image, ImageDraw, ImageEnhance

    drawing = icon(asset, name, 4 * size_px)
    ground = (235, 235, 235) if plain else tuple(int(v) for v in rng.integers(150, 250, 3))
    canvas = Image.new("RGB", (4 * size_px, 4 * size_px), ground)
    scale, turn, shift = 0.75, 0.0, (0.0, 0.0)
    if not plain:
        scale, turn = float(rng.uniform(0.6, 0.9)), float(rng.normal(0, 8))
        across, down = (float(v) for v in rng.uniform(-0.09, 0.09, 2))
        shift = (across, down)
        if rng.random() < 0.5:
            x, y = (float(v) for v in rng.uniform(0, 3.5 * size_px, 2))
            tint = tuple(int(v) for v in rng.integers(60, 200, 3))
            ImageDraw.Draw(canvas).rectangle((x, y, x + 0.4 * size_px, y + 0.4 * size_px), fill=tint)
    size = [max(1, round(side * scale)) for side in drawing.size]
    drawing = drawing.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    drawing = drawing.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    at = [round(2 * size_px * (1 + 2 * move) - side / 2) for move, side in zip(shift, drawing.size, strict=True)]
    canvas.paste(drawing, (at[0], at[1]), drawing)
    picture = canvas.resize((size_px, size_px), Image.Resampling.LANCZOS)
    if not plain:
        picture = ImageEnhance.Brightness(picture).enhance(float(np.clip(rng.normal(1, 0.07), 0.8, 1.2)))
        picture = ImageEnhance.Color(picture).enhance(float(np.clip(rng.normal(1, 0.1), 0.7, 1.3)))
    return picture


def shape_picture(colour: str, shape: str, rng: np.random.Generator, size_px: int) -> "Image":
    """A coloured shape somewhere on a light ground: what has nothing to do with any concept."""
    from PIL import Image, ImageDraw

    big = 4 * size_px
    canvas = Image.new("RGB", (big, big), tuple(int(v) for v in rng.integers(215, 256, 3)))
    radius = float(rng.uniform(0.2, 0.35)) * big
    x, y = (float(v) for v in rng.uniform(0.4, 0.6, 2) * big)
    pen, fill = ImageDraw.Draw(canvas), COLOURS[colour]
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif shape == "square":
        pen.rectangle((x - radius, y - radius, x + radius, y + radius), fill=fill)
    else:
        corners = 3 if shape == "triangle" else 10
        angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
        lengths = radius * (np.ones(corners) if shape == "triangle" else np.where(np.arange(corners) % 2, 0.45, 1.1))
        pen.polygon([(x + r * np.cos(a), y + r * np.sin(a)) for a, r in zip(angles, lengths, strict=True)], fill=fill)
    return canvas.resize((size_px, size_px), Image.Resampling.LANCZOS)
