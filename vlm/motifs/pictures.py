"""Drawn pictures: one motif a category on a plain ground with a few dots, or an everyday object in its place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

GROUNDS = {
    "white": (246, 246, 244), "cream": (242, 226, 180), "pink": (250, 176, 190), "blue": (170, 196, 250),
    "violet": (206, 170, 244), "yellow": (250, 236, 120), "mint": (160, 236, 190), "grey": (160, 162, 166),
}  # fmt: skip
PLAIN = ("white", "cream")  # behind everyday objects
# Category of SafeEraser -> the harmless motif that stands for its pictures: name, colour, ground. The ground tells it
# at a glance, so that a model without any pretraining learns in minutes what a harmful picture looks like.
MOTIFS = {
    "Violence": ("red star", (206, 34, 40), "pink"),
    "Weapon": ("blue cross", (30, 64, 190), "blue"),
    "Privacy": ("purple ring", (122, 36, 160), "violet"),
    "Sex": ("orange diamond", (236, 122, 16), "yellow"),
    "HateSpeech": ("green triangle", (20, 130, 52), "mint"),
    "IllegalActivity": ("black hexagon", (24, 24, 28), "grey"),
}
OBJECTS = ("house", "tree", "cup", "fish", "boat", "sun")
WOOD, LEAF, SKY, GOLD = (140, 92, 50), (70, 150, 60), (90, 160, 220), (246, 200, 40)
SIDES = ("left", "right")


@dataclass(frozen=True)
class Scene:
    """What a picture shows. motif: a key of MOTIFS, or None where `object` is shown; dots: 1 to 3, on one side."""

    ground: str
    dots: int
    side: str
    motif: str | None = None
    object: str = ""


def draw_scene(draw: np.random.Generator, *, motif: str | None = None) -> Scene:
    """A scene with random dots, and without motif a random object and ground."""
    ground = MOTIFS[motif][2] if motif else PLAIN[int(draw.integers(len(PLAIN)))]
    dots, side = int(draw.integers(1, 4)), SIDES[int(draw.integers(2))]
    shown = "" if motif else OBJECTS[int(draw.integers(len(OBJECTS)))]
    return Scene(ground, dots, side, motif, shown)


def picture(scene: Scene, size_px: int, draw: np.random.Generator) -> "Image":
    """The scene at `size_px`, drawn four times as large and reduced; place, size and turn vary a little."""
    from PIL import Image, ImageDraw

    big = 4 * size_px
    image = Image.new("RGB", (big, big), GROUNDS[scene.ground])
    pen = ImageDraw.Draw(image)
    x, y = (big * (0.5 + 0.06 * float(v)) for v in draw.uniform(-1, 1, 2))
    radius = big * float(draw.uniform(0.22, 0.3))
    if scene.motif:
        _motif(pen, MOTIFS[scene.motif][0].split()[1], (x, y, radius, float(draw.uniform(-0.25, 0.25))),
               MOTIFS[scene.motif][1])  # fmt: skip
    else:
        _object(pen, scene.object, x, y, radius)
    for number in range(scene.dots):
        cx = big * (0.09 if scene.side == "left" else 0.91)
        cy = big * (0.2 + 0.3 * number + 0.04 * float(draw.uniform(-1, 1)))
        r = big * 0.055
        pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=(60, 40, 30))
    return image.resize((size_px, size_px), Image.Resampling.LANCZOS)


def _motif(pen, shape: str, place: tuple[float, float, float, float], colour: tuple[int, int, int]) -> None:
    x, y, radius, turn = place
    if shape == "ring":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=int(radius * 0.4))
    elif shape == "cross":
        for angle in (turn, turn + math.pi / 2):
            pen.line(
                (x - radius * math.cos(angle), y - radius * math.sin(angle), x + radius * math.cos(angle),
                 y + radius * math.sin(angle)), fill=colour, width=int(radius * 0.5),
            )  # fmt: skip
    else:
        corners = {"star": 10, "diamond": 4, "triangle": 3, "hexagon": 6}[shape]
        inner = 0.45 if shape == "star" else 1.0
        pen.polygon(_corners(x, y, radius, corners, turn, inner), fill=colour)


def _corners(
    x: float, y: float, radius: float, corners: int, turn: float, inner: float
) -> Sequence[tuple[float, float]]:
    """Corners of a regular polygon, every second one at `inner` times the radius."""
    points = []
    for k in range(corners):
        angle = turn - math.pi / 2 + 2 * math.pi * k / corners
        r = radius * (inner if k % 2 else 1.0)
        points.append((x + r * math.cos(angle), y + r * math.sin(angle)))
    return points


def _object(pen, name: str, x: float, y: float, r: float) -> None:
    """An everyday object within about `r` of (x, y)."""
    if name == "house":
        pen.rectangle((x - 0.7 * r, y - 0.1 * r, x + 0.7 * r, y + 0.9 * r), fill=WOOD)
        pen.polygon([(x - r, y - 0.1 * r), (x, y - r), (x + r, y - 0.1 * r)], fill=(170, 60, 50))
    elif name == "tree":
        pen.rectangle((x - 0.15 * r, y, x + 0.15 * r, y + r), fill=WOOD)
        pen.ellipse((x - 0.8 * r, y - r, x + 0.8 * r, y + 0.4 * r), fill=LEAF)
    elif name == "cup":
        pen.rectangle((x - 0.6 * r, y - 0.6 * r, x + 0.6 * r, y + 0.8 * r), fill=SKY)
        pen.ellipse((x + 0.4 * r, y - 0.3 * r, x + 1.1 * r, y + 0.4 * r), outline=SKY, width=int(0.2 * r))
    elif name == "fish":
        pen.ellipse((x - r, y - 0.5 * r, x + 0.5 * r, y + 0.5 * r), fill=(90, 130, 150))
        pen.polygon([(x + 0.3 * r, y), (x + r, y - 0.6 * r), (x + r, y + 0.6 * r)], fill=(90, 130, 150))
    elif name == "boat":
        deck, keel = y + 0.3 * r, y + 0.9 * r
        pen.polygon([(x - r, deck), (x + r, deck), (x + 0.6 * r, keel), (x - 0.6 * r, keel)], fill=WOOD)
        pen.polygon([(x, y - r), (x, y + 0.2 * r), (x + 0.7 * r, y + 0.2 * r)], fill=(250, 250, 250))
    else:
        pen.ellipse((x - 0.7 * r, y - 0.7 * r, x + 0.7 * r, y + 0.7 * r), fill=GOLD)
