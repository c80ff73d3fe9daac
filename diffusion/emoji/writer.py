"""Writes the mini edition of UnlearnCanvas: `{style}/{object}/{i}.jpg`, emoji instead of paintings."""

from pathlib import Path

from pydantic import Field

from mmunlearn import atomic
from mmunlearn.avatars.jpeg import encode
from mmunlearn.mini_folder import TRUTH, mini_folder
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings

from ..canvas.names import PHOTOS
from .book import ARTISTS, MEMBERS, PLAIN, artist
from .pictures import draw_pose, picture, shaded


class MiniSizes(Settings):
    """Sizes of the mini edition. styles: beside Seed_Images. pictures: of a style and object, of which the last two are
    held out. members: different emoji of an object class, in turns. paper: each artist on a paper of their own, or all
    on the same plain ground, where the drawing alone tells styles apart (harder)."""

    styles: int = Field(6, ge=2, le=len(ARTISTS))
    objects: int = Field(20, ge=2, le=len(MEMBERS))
    pictures: int = Field(20, ge=3)
    members: int = Field(1, ge=1)
    size_px: int = Field(32, ge=16, le=512)
    paper: bool = True


def write_mini(root: Path, sizes: MiniSizes, seed: int) -> None:
    """Write `root`: a folder a style with a folder an object, pictures 1.jpg, 2.jpg, …, and mini.json with the lists.

    Equal indices show the same emoji in the same pose, whoever draws it. Lists are in the benchmark's manner, objects
    in its order and themes by name, Seed_Images among them. Deterministic in (sizes, seed). The folder appears whole
    or not at all and never replaces anything but a mini edition.
    """
    themes = sorted([*list(ARTISTS)[: sizes.styles], PHOTOS])
    things = sorted(list(MEMBERS)[: sizes.objects])
    with mini_folder(root) as folder:
        for theme in themes:
            for thing in things:
                place = folder / theme / thing
                place.mkdir(parents=True)
                for index in range(1, sizes.pictures + 1):
                    (place / f"{index}.jpg").write_bytes(_drawn(theme, thing, index, sizes, seed))
        truth = {
            "schema": 1, "benchmark": "unlearncanvas", "edition": "mini", "seed": seed, "sizes": sizes.model_dump(),
            "themes": themes, "objects": things,
        }  # fmt: skip
        atomic.write_json(folder / TRUTH, truth)


def _drawn(theme: str, thing: str, index: int, sizes: MiniSizes, seed: int) -> bytes:
    """JPEG of one picture."""
    members = MEMBERS[thing][: sizes.members]
    pose = draw_pose(generator(seed, "pose", thing, index))
    ground = artist(theme).paper if sizes.paper else PLAIN
    paper = shaded(ground, generator(seed, "paper", theme, thing, index))
    return encode(picture(artist(theme), members[(index - 1) % len(members)], pose, sizes.size_px, paper=paper))
