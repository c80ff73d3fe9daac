"""What one picture of a person varies: expression, clothes, pose, and the signs of age."""

from dataclasses import dataclass

import numpy as np

from mmunlearn.avatars.persons import Colour, Person

MOUTHS_SMILING = ("smile", "twinkle", "default", "tongue")
MOUTHS_OTHER = ("serious", "sad", "concerned", "disbelief", "grimace", "eating")
EYES = ("default", "default", "closed", "happy", "side", "squint", "surprised", "wink", "eyeRoll")
# What people wear from young to old, one entry an age class; the class is drawn near the apparent age.
CLOTHES = (
    "overall",
    "overall",
    "hoodie",
    "shirtVNeck",
    "shirtCrewNeck",
    "collarAndSweater",
    "blazerAndShirt",
    "blazerAndSweater",
)
HATS = ("hat", "winterHat02", "winterHat03", "winterHat1", "turban", "hijab")
GREY: Colour = (226, 224, 222)


@dataclass(frozen=True, kw_only=True)
class Look:
    """One picture. Fractions run 0..1; lengths are pixels of the 280 px drawing; rotation in degrees."""

    mouth: str
    eyes: str
    brows: str
    clothes: str
    clothes_colour: Colour
    background: Colour
    flip: bool
    rotate_deg: float
    zoom: float
    shift_x_px: float
    shift_y_px: float
    light: float
    top: str
    hat_colour: Colour
    facial_hair: str | None
    accessory: str | None
    childlike_frac: float
    grey_frac: float
    wrinkles_frac: float


def draw_look(rng: np.random.Generator, person: Person, *, age: float, smiling: bool, zoom: float = 1.4) -> Look:
    """A picture of a person at an apparent age.

    age: in units of the eight MUFAC classes, 0 (newborn) to 8 (eighty years); the caller adds the appearance noise.
    zoom: of a grown-up; 1 shows the whole drawing, 1.7 little more than the face.
    """
    adult = age > 3.0
    childlike = float(np.clip((4.0 - age) / 4.0, 0.0, 1.0))
    grey = float(np.clip((age - 4.3 - person.greys_by + rng.normal(0, 0.2)) / 2.8, 0.0, 1.0))
    wrinkles = float(np.clip((age - 3.5 + rng.normal(0, 0.2)) / 4.0, 0.0, 1.0))
    bearded = person.facial_hair is not None and adult and rng.random() < 0.3 + 0.08 * age
    mouths = MOUTHS_SMILING if smiling else MOUTHS_OTHER
    return Look(
        mouth=str(rng.choice(mouths)),
        eyes=str(rng.choice(EYES)),
        brows=person.brows if rng.random() < 0.7 else str(rng.choice(("default", "angryNatural", "sadConcerned"))),
        clothes=CLOTHES[int(np.clip(age + rng.normal(0, 0.5), 0, len(CLOTHES) - 1))],
        clothes_colour=_any_colour(rng, 40, 235),
        background=_any_colour(rng, 150, 245),
        flip=bool(rng.random() < 0.5),
        rotate_deg=float(np.clip(rng.normal(0, 6), -18, 18)),
        zoom=zoom - 0.35 * childlike + float(rng.normal(0, 0.05)),
        shift_x_px=float(rng.normal(0, 6)),
        shift_y_px=float(rng.normal(0, 5)),
        light=float(np.clip(rng.normal(1, 0.08), 0.75, 1.2)),
        top=_top(rng, person, age),
        hat_colour=_any_colour(rng, 40, 235),
        facial_hair=person.facial_hair if bearded else None,
        accessory=_accessory(rng, person, age),
        childlike_frac=childlike,
        grey_frac=grey,
        wrinkles_frac=wrinkles,
    )


def _top(rng: np.random.Generator, person: Person, age: float) -> str:
    if rng.random() < 0.05:
        return str(rng.choice(HATS))
    if person.balding and age > 5.5 + 1.5 * rng.random():
        return "sides"
    return person.top


def _accessory(rng: np.random.Generator, person: Person, age: float) -> str | None:
    chance = rng.random()
    if chance < 0.03:
        return "sunglasses"
    if chance < 0.08:
        return person.glasses
    return person.glasses if age > person.glasses_from and chance < 0.9 else None


def _any_colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = rng.integers(low, high, 3)
    return int(red), int(green), int(blue)
