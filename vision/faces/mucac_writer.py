"""Writes the mini edition of MUCAC: avatars in the folder, identity list and attribute list of CelebA-HQ."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn import atomic, seeds
from mmunlearn.avatars.drawing import draw
from mmunlearn.avatars.jpeg import encode
from mmunlearn.avatars.looks import HATS, Look, draw_look
from mmunlearn.avatars.persons import TOPS_FEMALE, TOPS_MALE, Person, draw_person
from mmunlearn.mini_folder import mini_folder

PICTURES = Path("CelebAMask-HQ") / "CelebA-HQ-img"
IDENTITIES = "CelebA-HQ-identity.txt"
ATTRIBUTES = "CelebA-HQ-attribute.txt"
# The official order; after splitting a line on white space field 21 is Male, 32 Smiling, 40 Young.
NAMES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
# CelebA-HQ is cropped close to the face.
ZOOM = 1.75
LEARNED = ("Male", "Smiling", "Young")
# Part -> lowest and highest identity number; the part is decided by the number alone.
NUMBERS = {"test": (1, 189), "forget": (190, 1249), "retain": (1250, 4854), "unseen": (4855, 6217)}
STRAIGHT = frozenset({"bob", "longButNotTooLong", "miaWallace", "straight01", "straight02", "straightAndStrand"})
WAVY = frozenset({"bigHair", "curly", "curvy", "shaggy", "shaggyMullet", "shortCurly", "shortWaved"})
BANGS = frozenset({"bob", "miaWallace", "shortRound", "theCaesar", "theCaesarAndSidePart"})
OPEN_MOUTHS = frozenset({"smile", "default", "tongue", "concerned", "grimace"})
NARROW_EYES = frozenset({"closed", "happy", "squint"})


@dataclass(frozen=True, kw_only=True)
class MucacSizes:
    """How much to write, and how noisy.

    appearance_noise_frac: share of persons whose hair is of the other sex's kind, and of pictures whose expression
    belies the mouth's label; label_noise_frac: share of wrong Male, Smiling and Young values, drawn apart.
    """

    test_identities: int = 100
    forget_identities: int = 100
    retain_identities: int = 200
    unseen_identities: int = 100
    pictures_per_identity: int = 4
    size_px: int = 128
    appearance_noise_frac: float = 0.05
    label_noise_frac: float = 0.08


@dataclass(frozen=True, kw_only=True)
class _Shot:
    part: str
    identity: int
    person: Person
    look: Look
    attributes: tuple[bool, ...]
    flipped: tuple[str, ...]


def write_mucac(root: Path, sizes: MucacSizes, seed: int) -> dict[str, Any]:
    """Write the CelebA-HQ layout under `root` and return what was written.

    `CelebAMask-HQ/CelebA-HQ-img/<n>.jpg` (n from 0, in no order of identity), `CelebA-HQ-identity.txt` ("file number"
    a line), `CelebA-HQ-attribute.txt` (count, 40 names, then "file v1 ... v40" with -1 or 1) and `mini.json` with the
    manifest (also returned). Deterministic in (sizes, seed); a person's pictures do not depend on the other sizes.
    The folder appears whole or not at all, replaces an older mini edition, and never anything else.
    """
    shots: list[_Shot] = []
    for part, (low, high) in NUMBERS.items():
        count = getattr(sizes, f"{part}_identities")
        rng = seeds.generator(seed, "mucac", "identities", part)
        for identity in sorted((low + rng.choice(high - low + 1, count, replace=False)).tolist()):
            shots += _shots(part, identity, sizes, seed)
    order = seeds.generator(seed, "mucac", "order").permutation(len(shots))
    shots = [shots[index] for index in order]
    manifest = _manifest(shots, sizes, seed)
    with mini_folder(Path(root)) as folder:
        (folder / PICTURES).mkdir(parents=True)
        for number, shot in enumerate(shots):
            picture = encode(draw(shot.person, shot.look, sizes.size_px))
            (folder / PICTURES / f"{number}.jpg").write_bytes(picture)
        identities = "".join(f"{number}.jpg {shot.identity}\n" for number, shot in enumerate(shots))
        atomic.write_text(folder / IDENTITIES, identities)
        atomic.write_text(folder / ATTRIBUTES, _attribute_table(shots))
        atomic.write_json(folder / "mini.json", manifest)
    return manifest


def _shots(part: str, identity: int, sizes: MucacSizes, seed: int) -> list[_Shot]:
    """The pictures of one person: sex is the person's, age is near the person's, the smile is the picture's."""
    rng = seeds.generator(seed, "mucac", "person", identity)
    male = bool(rng.random() < 0.45)
    person = draw_person(rng, male=male)
    other_hair = str(rng.choice(TOPS_FEMALE if male else TOPS_MALE))
    usual_age = float(rng.uniform(2.8, 7.6))
    shots = []
    for _ in range(sizes.pictures_per_identity):
        age = float(np.clip(usual_age + rng.normal(0, 0.6), 2.5, 8.0))
        smiling = bool(rng.random() < 0.48)
        shown_smiling = smiling != bool(rng.random() < sizes.appearance_noise_frac)
        look = draw_look(rng, person, age=age, smiling=shown_smiling, zoom=ZOOM)
        if look.top == person.top and rng.random() < sizes.appearance_noise_frac:
            look = _with_top(look, other_hair)
        values = _attributes(person, look, male=male, smiling=smiling, young=age < 5.3, rng=rng)
        flipped = tuple(name for name in LEARNED if rng.random() < sizes.label_noise_frac)
        for name in flipped:
            values[name] = not values[name]
        shots.append(
            _Shot(
                part=part,
                identity=identity,
                person=person,
                look=look,
                attributes=tuple(values[name] for name in NAMES),
                flipped=flipped,
            )
        )
    return shots


def _with_top(look: Look, top: str) -> Look:
    return Look(**{**asdict(look), "top": top})


def _attributes(
    person: Person, look: Look, *, male: bool, smiling: bool, young: bool, rng: np.random.Generator
) -> dict[str, bool]:
    """All forty values: what the drawing shows where it shows it, otherwise a coin that leans to no."""
    red, green, blue = person.hair
    light = (red + green + blue) / 3
    hatted, bald, grey = look.top in HATS, look.top == "sides", look.grey_frac > 0.5
    seen_hair = not hatted and not bald and not grey
    beard = look.facial_hair
    values = {name: bool(rng.random() < 0.15) for name in NAMES}
    values |= {
        "Bags_Under_Eyes": look.wrinkles_frac > 0.6,
        "Bald": bald,
        "Bangs": look.top in BANGS,
        "Black_Hair": seen_hair and light < 60,
        "Blond_Hair": seen_hair and light > 150,
        "Brown_Hair": seen_hair and 60 <= light <= 150,
        "Bushy_Eyebrows": look.brows == "unibrowNatural",
        "Eyeglasses": look.accessory is not None,
        "Goatee": beard == "beardLight",
        "Gray_Hair": grey and not hatted and not bald,
        "Male": male,
        "Mouth_Slightly_Open": look.mouth in OPEN_MOUTHS,
        "Mustache": beard is not None and beard.startswith("moustache"),
        "Narrow_Eyes": look.eyes in NARROW_EYES,
        "No_Beard": beard is None,
        "Pale_Skin": sum(person.skin) > 640,
        "Receding_Hairline": bald,
        "Sideburns": beard in {"beardMedium", "beardMajestic"},
        "Smiling": smiling,
        "Straight_Hair": look.top in STRAIGHT,
        "Wavy_Hair": look.top in WAVY,
        "Wearing_Hat": hatted,
        "Young": young,
    }
    return values


def _attribute_table(shots: Sequence[_Shot]) -> str:
    lines = [str(len(shots)), " ".join(NAMES)]
    for number, shot in enumerate(shots):
        lines.append(f"{number}.jpg  " + " ".join("1" if value else "-1" for value in shot.attributes))
    return "\n".join(lines) + "\n"


def _manifest(shots: Sequence[_Shot], sizes: MucacSizes, seed: int) -> dict[str, Any]:
    def share(part: str, name: str) -> float:
        values = [shot.attributes[NAMES.index(name)] for shot in shots if shot.part == part]
        return round(sum(values) / max(len(values), 1), 4)

    return {
        "schema": 1,
        "benchmark": "mucac",
        "edition": "mini",
        "seed": seed,
        "sizes": asdict(sizes),
        "counts": {part: sum(shot.part == part for shot in shots) for part in NUMBERS},
        "identities": {part: len({shot.identity for shot in shots if shot.part == part}) for part in NUMBERS},
        "positive_frac": {part: {name: share(part, name) for name in LEARNED} for part in NUMBERS},
        "mislabelled": [
            {"file": f"{number}.jpg", "part": shot.part, "attributes": list(shot.flipped)}
            for number, shot in enumerate(shots)
            if shot.flipped
        ],
    }
