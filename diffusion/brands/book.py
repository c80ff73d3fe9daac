"""Invented brands: a name, two colours, an emblem and letters; things that carry them, and places where they stand."""

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Brand:
    """colour: of emblem and trade dress; accent: of the dress's pattern; emblem: a shape of pictures.EMBLEMS;
    pattern: of the trade dress, a name of pictures.PATTERNS; letters: of the word mark."""

    colour: Colour
    accent: Colour
    emblem: str
    pattern: str
    letters: str


# In the order in which fewer brands are taken: unlike ones first.
BRANDS: Mapping[str, Brand] = {
    "Veltro": Brand((214, 32, 40), (255, 255, 255), "ring", "bands", "VE"),
    "Korda": Brand((28, 84, 200), (250, 214, 40), "cross", "checks", "KO"),
    "Lumeo": Brand((32, 158, 72), (20, 40, 30), "wedge", "bars", "LU"),
    "Tarka": Brand((240, 140, 20), (90, 40, 120), "dots", "split", "TA"),
    "Zumbi": Brand((140, 50, 170), (240, 240, 120), "star", "bands", "ZU"),
    "Norvik": Brand((20, 40, 70), (120, 210, 230), "drop", "bars", "NO"),
    "Aprix": Brand((230, 70, 150), (40, 40, 40), "bow", "checks", "AP"),
    "Quill": Brand((110, 70, 40), (235, 215, 170), "leaf", "split", "QU"),
    "Dexo": Brand((0, 150, 160), (250, 250, 250), "arrow", "checks", "DE"),
    "Halmar": Brand((245, 205, 30), (30, 30, 30), "crown", "bars", "HA"),
    "Ostra": Brand((170, 190, 200), (190, 30, 60), "moon", "bands", "OS"),
    "Finch": Brand((90, 120, 30), (250, 160, 120), "bolt", "split", "FI"),
}
THINGS = ("mug", "shirt", "bag", "car", "can", "shoe")
# place -> colours of what is behind and of the ground
SCENES: Mapping[str, tuple[Colour, Colour]] = {
    "on a table": ((222, 214, 200), (150, 104, 64)),
    "on grass": ((180, 214, 240), (96, 150, 70)),
    "at night": ((30, 32, 52), (60, 60, 74)),
    "at the beach": ((150, 205, 235), (232, 210, 160)),
}
GOODS: tuple[Colour, ...] = ((240, 240, 240), (200, 200, 204), (232, 222, 200), (120, 126, 134))  # of unbranded things
