"""One picture: a thing in a place, with a brand's emblem, its word mark or its trade dress, or with none of them."""

import math
from typing import Any, Literal

import numpy as np

from .book import BRANDS, GOODS, SCENES, Brand, Colour

BIG = 8  # drawn at this many times the size
Mark = Literal["emblem", "word", "dress", "plain", "lookalike"]
MARKS: tuple[Mark, ...] = ("emblem", "word", "dress")
# 3 x 5 letters, rows of bits
LETTERS = {
    "A": "75755", "C": "74447", "D": "65556", "E": "74647", "F": "74644", "H": "55755",
    "I": "72227", "K": "55655", "L": "44447", "N": "57755", "O": "75557", "P": "75744", "Q": "75573", "S": "74717",
    "T": "72222", "U": "55557", "V": "55552", "X": "55255", "Z": "71247",
}  # fmt: skip


def picture(brand: str | None, thing: str, scene: str, mark: Mark, rng: np.random.Generator, size_px: int) -> Any:
    """RGB of side `size_px`. mark: how the brand shows; `plain` and `lookalike` (a brand's colour alone) show none."""
    from PIL import Image, ImageDraw

    side = BIG * size_px
    behind, ground = (_shaded(colour, rng) for colour in SCENES[scene])
    canvas = Image.new("RGB", (side, side), behind)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, round(side * 0.68), side, side), fill=ground)
    shape = Image.new("L", (side, side), 0)
    box = _box(side, rng)
    _silhouette(ImageDraw.Draw(shape), thing, box)
    maker = BRANDS[brand] if brand is not None else None
    body = GOODS[int(rng.integers(len(GOODS)))]
    if mark == "dress" and maker is not None:
        cover = _pattern(maker, side, rng)
    else:
        colour = list(BRANDS.values())[int(rng.integers(len(BRANDS)))].colour if mark == "lookalike" else body
        cover = Image.new("RGB", (side, side), _shaded(colour, rng))
    canvas.paste(cover, (0, 0), shape)
    if maker is not None and mark in ("emblem", "word"):
        _badge(ImageDraw.Draw(canvas), maker, mark, box)
    if bool(rng.random() < 0.5) and mark not in ("word",):
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return canvas.resize((size_px, size_px), Image.Resampling.LANCZOS)


def _shaded(colour: Colour, rng: np.random.Generator) -> Colour:
    light = float(rng.uniform(-8, 8))
    red, green, blue = (int(np.clip(round(value + light), 0, 255)) for value in colour)
    return red, green, blue


def _box(side: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Left, top and side of the square that the thing fills."""
    edge = side * float(rng.uniform(0.66, 0.78))
    return (side - edge) / 2 + side * float(rng.uniform(-0.06, 0.06)), side * 0.9 - edge, edge


def _silhouette(pen: Any, thing: str, box: tuple[float, float, float]) -> None:
    left, top, edge = box

    def at(*values: float) -> list[float]:
        return [left + v * edge if i % 2 == 0 else top + v * edge for i, v in enumerate(values)]

    if thing == "mug":
        pen.rounded_rectangle(at(0.08, 0.15, 0.72, 0.98), radius=edge * 0.08, fill=255)
        pen.ellipse(at(0.6, 0.3, 0.98, 0.78), outline=255, width=round(edge * 0.09))
    elif thing == "shirt":
        pen.polygon(at(0.28, 0.08, 0.72, 0.08, 1.0, 0.3, 0.86, 0.5, 0.76, 0.42, 0.76, 0.98, 0.24, 0.98, 0.24, 0.42,
                       0.14, 0.5, 0.0, 0.3), fill=255)  # fmt: skip
    elif thing == "bag":
        pen.rectangle(at(0.14, 0.32, 0.86, 0.98), fill=255)
        pen.arc(at(0.3, 0.04, 0.7, 0.6), 180, 360, fill=255, width=round(edge * 0.07))
    elif thing == "car":
        pen.rounded_rectangle(at(0.0, 0.46, 1.0, 0.86), radius=edge * 0.1, fill=255)
        pen.polygon(at(0.16, 0.5, 0.3, 0.24, 0.7, 0.24, 0.86, 0.5), fill=255)
        for x in (0.14, 0.66):
            pen.ellipse(at(x, 0.74, x + 0.2, 0.98), fill=255)
    elif thing == "can":
        pen.rounded_rectangle(at(0.26, 0.04, 0.74, 0.98), radius=edge * 0.12, fill=255)
    else:
        pen.polygon(at(0.0, 0.5, 0.3, 0.42, 0.62, 0.66, 1.0, 0.74, 1.0, 0.94, 0.0, 0.94), fill=255)


def _pattern(maker: Brand, side: int, rng: np.random.Generator) -> Any:
    """The trade dress: the brand's two colours in its own pattern."""
    from PIL import Image, ImageDraw

    cover = Image.new("RGB", (side, side), _shaded(maker.colour, rng))
    pen, step = ImageDraw.Draw(cover), side // 8
    start = int(rng.integers(step))
    if maker.pattern == "split":
        pen.rectangle((0, round(side * 0.6), side, side), fill=maker.accent)
        return cover
    for i in range(-1, 9, 2):
        at = start + i * step
        if maker.pattern == "bands":
            pen.rectangle((0, at, side, at + step), fill=maker.accent)
        elif maker.pattern == "bars":
            pen.rectangle((at, 0, at + step, side), fill=maker.accent)
        else:
            for j in range(9):
                pen.rectangle((at + (j % 2) * step, j * step, at + (j % 2 + 1) * step, (j + 1) * step),
                              fill=maker.accent)  # fmt: skip
    return cover


def _badge(pen: Any, maker: Brand, mark: Mark, box: tuple[float, float, float]) -> None:
    """Emblem or word mark in the middle of the thing, on a plate that sets it off."""
    left, top, edge = box
    x, y, r = left + edge * 0.46, top + edge * 0.62, edge * 0.24
    if mark == "word":
        cell = edge * 0.075
        wide = cell * (4 * len(maker.letters) - 1)
        start = x - wide / 2
        pen.rectangle((start - cell, y - 3.5 * cell, start + wide + cell, y + 3.5 * cell), fill=maker.colour)
        for k, letter in enumerate(maker.letters):
            for row, bits in enumerate(LETTERS[letter]):
                for column in range(3):
                    if int(bits) >> (2 - column) & 1:
                        px, py = start + (4 * k + column) * cell, y + (row - 2.5) * cell
                        pen.rectangle((px, py, px + cell, py + cell), fill=maker.accent)
        return
    pen.ellipse((x - r, y - r, x + r, y + r), fill=maker.accent)
    _emblem(pen, maker.emblem, (x, y, r * 0.8), maker.colour, maker.accent)


def _emblem(pen: Any, name: str, place: tuple[float, float, float], ink: Colour, plate: Colour) -> None:
    x, y, r = place

    def points(*values: float) -> list[tuple[float, float]]:
        return [(x + values[i] * r, y + values[i + 1] * r) for i in range(0, len(values), 2)]

    def disc(cx: float, cy: float, size: float, fill: Colour) -> None:
        pen.ellipse((x + (cx - size) * r, y + (cy - size) * r, x + (cx + size) * r, y + (cy + size) * r), fill=fill)

    if name == "ring":
        disc(0, 0, 1, ink)
        disc(0, 0, 0.5, plate)
    elif name == "cross":
        pen.polygon(points(-0.3, -1, 0.3, -1, 0.3, -0.3, 1, -0.3, 1, 0.3, 0.3, 0.3, 0.3, 1, -0.3, 1, -0.3, 0.3, -1,
                           0.3, -1, -0.3, -0.3, -0.3), fill=ink)  # fmt: skip
    elif name == "dots":
        for cx, cy in ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)):
            disc(cx, cy, 0.42, ink)
    elif name == "moon":
        disc(0, 0, 1, ink)
        disc(0.45, -0.2, 0.75, plate)
    elif name == "drop":
        disc(0, 0.35, 0.62, ink)
        pen.polygon(points(0, -1, 0.58, 0.2, -0.58, 0.2), fill=ink)
    elif name == "star":
        turn = [(math.cos(k * math.pi / 5 - math.pi / 2), math.sin(k * math.pi / 5 - math.pi / 2)) for k in range(10)]
        pen.polygon([(x + c * r * (1 if k % 2 == 0 else 0.45), y + s * r * (1 if k % 2 == 0 else 0.45))
                     for k, (c, s) in enumerate(turn)], fill=ink)  # fmt: skip
    else:
        shapes = {
            "wedge": (-1, 0.8, 0, -0.9, 1, 0.8), "bow": (-1, -0.8, 0, 0, 1, -0.8, 1, 0.8, 0, 0, -1, 0.8),
            "leaf": (0, -1, 0.7, 0, 0, 1, -0.7, 0),
            "arrow": (-1, -0.3, 0, -0.3, 0, -0.9, 1, 0, 0, 0.9, 0, 0.3, -1, 0.3),
            "crown": (-1, 0.7, -1, -0.6, -0.4, 0, 0, -0.8, 0.4, 0, 1, -0.6, 1, 0.7),
            "bolt": (0.3, -1, -0.7, 0.2, 0, 0.2, -0.3, 1, 0.7, -0.2, 0, -0.2),
        }  # fmt: skip
        pen.polygon(points(*shapes[name]), fill=ink)
