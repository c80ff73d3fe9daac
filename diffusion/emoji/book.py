"""Who draws and what is drawn: artists' emoji sets as styles, and emoji for the twenty object classes of UnlearnCanvas.

Each artist works on a paper of their own, since a style of UnlearnCanvas covers the whole picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ..canvas.names import PHOTOS

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Artist:
    """asset: an emoji set of mmunlearn.assets. paper: what is drawn on. ink: the colour of all strokes, for a set that
    is black on nothing (None: the set's own colours)."""

    asset: str
    paper: Colour
    ink: Colour | None = None


PLAIN: Colour = (236, 236, 236)
# The neutral rendering, shaded and on plain ground: what Seed_Images are in the real data.
NEUTRAL = Artist("fluent-emoji", PLAIN)
# In the order in which fewer styles are taken.
ARTISTS: Mapping[str, Artist] = {
    "Twemoji": Artist("twemoji", (176, 226, 196)),
    "High_Contrast": Artist("fluent-emoji-high-contrast", (32, 32, 44), ink=(250, 250, 245)),
    "Openmoji": Artist("openmoji", (250, 226, 160)),
    "Emojione": Artist("emojione", (208, 188, 246)),
    "Noto": Artist("noto", (168, 206, 250)),
    "Classic": Artist("noto-v1", (250, 184, 190)),
    "Monotone": Artist("emojione-monotone", (196, 186, 168)),
    "Flat": Artist("fluent-emoji-flat", (240, 244, 110)),
}
# In the order in which fewer objects are taken; the first icon stands for the class, others are further members. No
# emoji shows a waterfall, and few a jellyfish or a statue: fountain, octopus and moai stand for them.
MEMBERS: Mapping[str, tuple[str, ...]] = {
    "Dogs": ("dog-face", "dog"),
    "Trees": ("deciduous-tree", "evergreen-tree"),
    "Sandwiches": ("hamburger", "hot-dog"),
    "Towers": ("tokyo-tower", "castle"),
    "Fishes": ("tropical-fish", "fish"),
    "Flowers": ("tulip", "sunflower"),
    "Human": ("woman", "man"),
    "Cats": ("cat-face", "cat"),
    "Flame": ("fire", "candle"),
    "Architectures": ("house", "classical-building"),
    "Birds": ("penguin", "owl"),
    "Butterfly": ("butterfly",),
    "Bears": ("bear", "panda"),
    "Frogs": ("frog", "turtle"),
    "Horses": ("horse", "horse-face"),
    "Jellyfish": ("octopus", "squid"),
    "Rabbits": ("rabbit-face", "rabbit"),
    "Sea": ("water-wave", "sailboat"),
    "Statues": ("moai", "statue-of-liberty"),
    "Waterfalls": ("fountain", "shower"),
}
# Icons that two sets of one artist call otherwise.
OTHERWISE: Mapping[str, str] = {"bear": "bear-face", "frog": "frog-face", "panda": "panda-face"}
FACES = frozenset({"emojione", "emojione-monotone"})


def artist(style: str) -> Artist:
    """Who draws a theme."""
    return NEUTRAL if style == PHOTOS else ARTISTS[style]


def icon_name(asset: str, member: str) -> str:
    """What a set calls a member."""
    return OTHERWISE.get(member, member) if asset in FACES else member
