"""Altered pictures: noise, crop, colour, occlusion and drawn text at levels 1 to 3, as functions of (picture, draws).

Pictures are (height, width, 3) arrays of eight bits and keep their size.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

Pixels = UInt8[np.ndarray, "height width 3"]
LEVELS = (1, 2, 3)
WORDS = ("SAMPLE", "DRAFT", "COPY", "ARCHIVE", "PREVIEW")


def noise(picture: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """Independent normal noise of 8, 16 or 32 levels standard deviation on every value."""
    return _levels(picture + draw.normal(0.0, 4.0 * 2**level, picture.shape))


def crop(picture: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """A window of 90, 80 or 65 % of each side at a drawn place, enlarged to the whole size."""
    from PIL import Image

    height, width = picture.shape[:2]
    share = {1: 0.9, 2: 0.8, 3: 0.65}[level]
    tall, wide = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(draw.integers(height - tall + 1)), int(draw.integers(width - wide + 1))
    window = Image.fromarray(picture[top : top + tall, left : left + wide])
    return np.asarray(window.resize((width, height), Image.Resampling.BILINEAR))


def colour(picture: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """1: another brightness and contrast; 2: half of the colour taken out; 3: grey levels, inverted."""
    values = picture.astype(np.float64)
    grey = values @ np.array([0.299, 0.587, 0.114])
    if level == 1:
        return _levels((values - 127.5) * draw.uniform(0.7, 1.3) + 127.5 + draw.uniform(-30, 30))
    if level == 2:
        return _levels((values + grey[..., None]) / 2)
    return _levels(np.repeat(255 - grey[..., None], 3, axis=-1))


def occlusion(picture: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """A grey square of 20, 35 or 50 % of each side at a drawn place."""
    height, width = picture.shape[:2]
    share = {1: 0.2, 2: 0.35, 3: 0.5}[level]
    tall, wide = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(draw.integers(height - tall + 1)), int(draw.integers(width - wide + 1))
    changed = picture.copy()
    changed[top : top + tall, left : left + wide] = 127
    return changed


def overlay(picture: Pixels, level: int, draw: np.random.Generator) -> Pixels:
    """A word that says nothing, drawn once, twice or four times over the picture in white with a dark edge."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = picture.shape[:2]
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    size = max(8, height // 6)
    font = ImageFont.load_default(size)
    for _ in range(2 ** (level - 1)):
        place = (int(draw.integers(max(1, width // 3))), int(draw.integers(max(1, height - size))))
        word = WORDS[int(draw.integers(len(WORDS)))]
        pen.text(place, word, fill=(255, 255, 255), font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(canvas)


ALTERATIONS: dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "noise": noise, "crop": crop, "colour": colour, "occlusion": occlusion, "overlay": overlay,
}  # fmt: skip


def _levels(values: np.ndarray) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
