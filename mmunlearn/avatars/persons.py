"""People who do not exist: what stays the same over all pictures of one person, and what a family shares."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

# Palettes and part names of the avataaars drawing (Pablo Stanley), without pink hair.
SKIN = ((97, 67, 53), (208, 139, 91), (174, 93, 41), (237, 185, 138), (255, 219, 180), (253, 152, 65), (248, 210, 92))
HAIR = (
    (165, 87, 40),
    (44, 27, 24),
    (181, 129, 67),
    (214, 179, 112),
    (114, 65, 51),
    (74, 49, 44),
    (236, 220, 191),
    (201, 51, 5),
)
TOPS_MALE = (
    "dreads01",
    "dreads02",
    "frizzle",
    "shaggy",
    "shortCurly",
    "shortFlat",
    "shortRound",
    "shortWaved",
    "theCaesar",
    "theCaesarAndSidePart",
)
TOPS_FEMALE = (
    "bigHair",
    "bob",
    "bun",
    "curly",
    "curvy",
    "frida",
    "longButNotTooLong",
    "miaWallace",
    "straight01",
    "straight02",
    "straightAndStrand",
)
TOPS_EITHER = ("fro", "dreads", "shaggyMullet", "shavedSides")
FACIAL_HAIR = ("beardLight", "beardMajestic", "beardMedium", "moustacheFancy", "moustacheMagnum")
GLASSES = ("prescription01", "prescription02", "round")
BROWS = ("default", "defaultNatural", "flatNatural", "unibrowNatural", "upDown", "raisedExcitedNatural")


@dataclass(frozen=True, kw_only=True)
class Family:
    """Colours that relatives share."""

    skin: Colour
    hair: Colour


@dataclass(frozen=True, kw_only=True)
class Person:
    """What stays with one person.

    glasses_from, greys_by: shifts, in age classes, of when this person takes to glasses and turns grey.
    eye_scale, eye_drop_px, mouth_drop_px: face proportions on the 280 px drawing.
    """

    male: bool
    skin: Colour
    hair: Colour
    top: str
    facial_hair: str | None
    balding: bool
    glasses: str
    glasses_from: float
    greys_by: float
    brows: str
    eye_scale: float
    eye_drop_px: float
    mouth_drop_px: float


def draw_family(rng: np.random.Generator) -> Family:
    """Skin and hair of a family: a palette colour, moved a little."""
    return Family(
        skin=_near(rng, SKIN[rng.integers(len(SKIN))], 10), hair=_near(rng, HAIR[rng.integers(len(HAIR))], 10)
    )


def draw_person(rng: np.random.Generator, *, male: bool, family: Family | None = None) -> Person:
    """A person, alone or with the resemblance of a family (skin always, hair colour for four in five)."""
    family = family or draw_family(rng)
    hair = family.hair if rng.random() < 0.8 else HAIR[rng.integers(len(HAIR))]
    own = TOPS_MALE if male else TOPS_FEMALE
    tops = TOPS_EITHER if rng.random() < 0.12 else own
    return Person(
        male=male,
        skin=_near(rng, family.skin, 6),
        hair=_near(rng, hair, 8),
        top=str(rng.choice(tops)),
        facial_hair=str(rng.choice(FACIAL_HAIR)) if male and rng.random() < 0.6 else None,
        balding=male and bool(rng.random() < 0.4),
        glasses=str(rng.choice(GLASSES)),
        glasses_from=float(rng.normal(5.0, 1.3)),
        greys_by=float(rng.normal(0.0, 0.35)),
        brows=str(rng.choice(BROWS)),
        eye_scale=float(rng.normal(1.0, 0.07)),
        eye_drop_px=float(rng.normal(0.0, 2.0)),
        mouth_drop_px=float(rng.normal(0.0, 2.5)),
    )


def _near(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """A colour beside another: mostly lighter or darker, a little of another hue."""
    moved = np.asarray(colour) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    red, green, blue = np.clip(np.rint(moved), 0, 255).astype(int).tolist()
    return red, green, blue
