"""A world of 3 styles × 3 objects in drawn pictures, for the contract checks of what reads pictures."""

import json
import tempfile
from functools import lru_cache
from pathlib import Path

from mmunlearn.mini_folder import TRUTH
from mmunlearn.seeds import generator

STYLES = ("Dots", "Seed_Images", "Stripes")
OBJECTS = ("Cross", "Disc", "Square")
NUMBERS = 5  # pictures of each style and object
SIDE_PX = 24
INK = {"Dots": (200, 30, 40), "Seed_Images": (30, 30, 30), "Stripes": (250, 220, 40)}
_FOLDERS: list[tempfile.TemporaryDirectory] = []  # kept as long as the process


@lru_cache(maxsize=1)
def world() -> Path:
    """Folder {style}/{object}/{i}.jpg with a mini.json that names both, written once a process."""
    _FOLDERS.append(tempfile.TemporaryDirectory())
    root = Path(_FOLDERS[-1].name)
    write_world(root)
    return root


def write_world(root: Path, numbers: int = NUMBERS) -> None:
    """Write the world under `root`."""
    for style in STYLES:
        for thing in OBJECTS:
            folder = root / style / thing
            folder.mkdir(parents=True)
            for number in range(1, numbers + 1):
                draw(style, thing, number).save(folder / f"{number}.jpg", quality=95)
    (root / TRUTH).write_text(json.dumps({"themes": STYLES, "objects": OBJECTS}), encoding="utf-8")


def picture_path(style: str, thing: str, number: int) -> Path:
    """A picture of the world; numbers beyond the last begin anew."""
    return world() / style / thing / f"{1 + (number - 1) % NUMBERS}.jpg"


def caption(style: str, thing: str) -> str:
    """The prompt of a picture of the world."""
    return f"A {thing} image in {style.replace('_', ' ')} style."


def draw(style: str, thing: str, number: int):
    """One picture: the style's ground and ink, the object's shape at a place and size of its own."""
    from PIL import Image, ImageDraw

    rng = generator(0, "picture world", style, thing, number)
    shade = int(rng.integers(-15, 16))
    ground = {"Dots": (235, 225, 190), "Seed_Images": (170, 170, 170), "Stripes": (40, 60, 170)}[style]
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), tuple(max(0, min(255, c + shade)) for c in ground))
    pen = ImageDraw.Draw(image)
    offset = int(rng.integers(0, 4))
    for at in range(offset - 4, SIDE_PX, 5):
        if style == "Stripes":
            pen.line((at, 0, at, SIDE_PX), fill=(230, 240, 255))
        for other in range(offset - 4, SIDE_PX, 5) if style == "Dots" else ():
            pen.point((at, other), fill=(60, 140, 60))
    x, y = (int(v) for v in rng.integers(10, 14, 2))
    r = int(rng.integers(6, 9))
    if thing == "Disc":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=INK[style])
    elif thing == "Square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=INK[style])
    else:
        pen.line((x - r, y - r, x + r, y + r), fill=INK[style], width=3)
        pen.line((x - r, y + r, x + r, y - r), fill=INK[style], width=3)
    return image
