"""Draws a study's picture: a chest in shades of grey with ribs, heart, the finding, and marks of where it was taken."""

from typing import TYPE_CHECKING

import numpy as np

from mmunlearn import seeds

from .records import INSTITUTIONS, ZONES, Study

if TYPE_CHECKING:
    from PIL.Image import Image

SCALE = 4  # drawn larger, then made smaller
SIZES = {"small": 0.05, "moderate": 0.08, "large": 0.12}
AT = {"left upper": (0.68, 0.32), "left lower": (0.68, 0.66), "right upper": (0.32, 0.32), "right lower": (0.32, 0.66)}
assert set(AT) == set(ZONES)


def radiograph(study: Study, seed: int, size_px: int) -> "Image":
    """The picture as RGB; the build of the body is the patient's, wire and pose the study's, plates the place's."""
    from PIL import Image, ImageDraw, ImageFilter

    body = seeds.generator(seed, "medforget", "body", study.patient)
    pose = seeds.generator(seed, "medforget", "pose", study.study)
    big = SCALE * size_px
    place = INSTITUTIONS.index(study.institution.title())
    canvas = Image.new("L", (big, big), 20 + 12 * place)
    pen = ImageDraw.Draw(canvas)
    wide, high = body.uniform(0.28, 0.44), body.uniform(0.36, 0.47)
    shift = pose.uniform(-0.05, 0.05, 2)
    bright = int(body.integers(90, 150))

    def spot(x: float, y: float, rx: float, ry: float, shade: int) -> None:
        x, y = x + shift[0], y + shift[1]
        pen.ellipse(((x - rx) * big, (y - ry) * big, (x + rx) * big, (y + ry) * big), fill=shade)

    spot(0.5, 0.5, wide + 0.06, high + 0.03, bright)
    for side in (-1, 1):
        spot(0.5 + side * 0.52 * wide, 0.48, 0.38 * wide, 0.78 * high, 45)
    for rib in range(int(body.integers(4, 8))):
        y = (0.2 + 0.6 * rib / 7 + shift[1]) * big
        pen.arc(((0.5 - wide) * big, y, (0.5 + wide) * big, y + 0.2 * big), 190, 350, fill=bright + 25, width=SCALE)
    spot(0.5 + body.uniform(0.0, 0.1), 0.6, body.uniform(0.09, 0.17), body.uniform(0.1, 0.16), bright + 40)
    _finding(pen, study, spot, big)
    _marks(pen, place, pose, big)
    soft = canvas.filter(ImageFilter.GaussianBlur(SCALE / 2)).resize((size_px, size_px), Image.Resampling.LANCZOS)
    return soft.convert("RGB")


def _finding(pen, study: Study, spot, big: int) -> None:
    size, kind, zone = study.finding
    (x, y), radius = AT[zone], SIZES[size]
    if kind == "cavity":
        spot(x, y, radius, radius, 235)
        spot(x, y, radius / 2, radius / 2, 30)
    elif kind == "effusion":
        spot(x, y + radius, 1.6 * radius, 0.6 * radius, 220)
    elif kind == "calcification":
        for dx, dy in ((-1, -1), (1, -1), (0, 1), (-1, 1)):
            spot(x + dx * radius / 2, y + dy * radius / 2, radius / 4, radius / 4, 255)
    elif kind == "consolidation":
        spot(x, y, radius, 1.8 * radius, 200)
    else:
        spot(x, y, radius, radius, 250 if kind == "nodule" else 170)


def _marks(pen, place: int, pose: np.random.Generator, big: int) -> None:
    """Letter plates of the institution, and wires whose course is the study's own."""
    unit = big / 16
    for bit in range(3):
        x = unit * (0.5 + 2.2 * bit)
        pen.rectangle((x, 0.5 * unit, x + 1.6 * unit, 2.1 * unit), fill=255 if place >> bit & 1 else 0)
    points = pose.uniform(0.1, 0.9, (4, 2)) * big
    pen.line([tuple(p) for p in points.tolist()], fill=245, width=SCALE)
    for x, y in points.tolist():
        pen.ellipse((x - unit / 2, y - unit / 2, x + unit / 2, y + unit / 2), fill=int(pose.integers(0, 256)))
