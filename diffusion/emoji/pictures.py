"""One emoji as a small picture: an artist's icon, posed, on the artist's paper."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmunlearn.rasterise import icon

from .book import Artist, Colour, icon_name

if TYPE_CHECKING:
    from PIL.Image import Image

OVERSAMPLING = 4


@dataclass(frozen=True)
class Pose:
    """How a subject stands; the same for all artists, so that equal indices show the same content. scale_frac: of the
    picture's side. shift_frac: to the right and down."""

    flip: bool
    turn_degrees: float
    scale_frac: float
    shift_frac: tuple[float, float]


def draw_pose(rng: np.random.Generator) -> Pose:
    """A pose: mirrored half the time, turned by about 5 degrees, 78 to 92 % of the side, moved by up to 4 %."""
    flip, turn = bool(rng.random() < 0.5), float(np.clip(rng.normal(0, 5), -12, 12))
    scale = float(rng.uniform(0.78, 0.92))
    right, down = (float(value) for value in rng.uniform(-0.04, 0.04, 2))
    return Pose(flip, turn, scale, (right, down))


def picture(artist: Artist, member: str, pose: Pose, size_px: int, *, paper: Colour | None = None) -> "Image":
    """RGB of side `size_px`: `member` by `artist` in `pose`; paper: instead of the artist's."""
    from PIL import Image

    big = OVERSAMPLING * size_px
    drawing = _drawing(artist.asset, icon_name(artist.asset, member), big)
    if artist.ink is not None:
        inked = Image.new("RGBA", drawing.size, (*_readable(artist.ink, paper), 0))
        inked.putalpha(drawing.getchannel("A"))
        drawing = inked
    if pose.flip:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = pose.scale_frac * big / max(drawing.size)
    drawing = drawing.resize(
        (max(1, round(drawing.width * side)), max(1, round(drawing.height * side))), Image.Resampling.BICUBIC
    )
    drawing = drawing.rotate(pose.turn_degrees, Image.Resampling.BICUBIC, expand=True)
    canvas = Image.new("RGB", (big, big), paper or artist.paper)
    at = [round(big * (0.5 + move) - edge / 2) for move, edge in zip(pose.shift_frac, drawing.size, strict=True)]
    canvas.paste(drawing, (at[0], at[1]), drawing)
    return canvas.resize((size_px, size_px), Image.Resampling.LANCZOS)


def shaded(colour: Colour, rng: np.random.Generator) -> Colour:
    """The colour a little lighter or darker."""
    light = float(rng.uniform(-6, 6))
    red, green, blue = (int(np.clip(round(value + light), 0, 255)) for value in colour)
    return red, green, blue


def _readable(ink: Colour, paper: Colour | None) -> Colour:
    """The ink, or black where the paper is about as light as it."""
    return (0, 0, 0) if paper is not None and abs(sum(ink) - sum(paper)) < 200 else ink


@lru_cache(maxsize=512)
def _drawing(asset: str, name: str, size_px: int) -> "Image":
    """The icon, cropped to what is drawn, so that artists who leave a margin are not smaller."""
    drawing = icon(asset, name, size_px)
    box = drawing.getchannel("A").getbbox()
    return drawing.crop(box) if box else drawing
