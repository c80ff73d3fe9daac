"""Writes the mini edition of MUFAC: families of avatars in the folder, table and file-name layout of the real data."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn import atomic, seeds
from mmunlearn.avatars.drawing import draw
from mmunlearn.avatars.jpeg import encode
from mmunlearn.avatars.looks import draw_look
from mmunlearn.avatars.persons import Person, draw_family, draw_person
from mmunlearn.mini_folder import mini_folder

FOLDER = "custom_korean_family_dataset_resolution_128"
SIZE_PX = 128
LETTERS = "abcdefgh"
YEARS = ((0, 6), (7, 12), (13, 19), (20, 30), (31, 45), (46, 55), (56, 66), (67, 80))
# File part -> number of its first family. "val" is the test set and "test" the unseen set, as in the real data.
FIRST_FAMILY = {"train": 1, "val": 801, "test": 851}
# Role -> (male, lowest and highest class of the present age).
ROLES = {
    "D": (False, 1, 3),
    "F": (True, 4, 5),
    "GF": (True, 7, 7),
    "GM": (False, 7, 7),
    "M": (False, 4, 5),
    "S": (True, 1, 3),
}


@dataclass(frozen=True, kw_only=True)
class MufacSizes:
    """How much to write, and how noisy.

    pictures_per_class: of each age class in each family, so a family has eight times as many pictures.
    forget_rows: rows of the training table that the card calls the forget set; only duplicates depend on it.
    appearance_noise: standard deviation of the apparent age, in classes.
    label_noise_frac: share of rows whose class letter is another class, the same in each part.
    duplicate_frac: share of rows inside forget, retain, val and test whose picture is another family's of that part.
    """

    train_families: int = 70
    val_families: int = 15
    test_families: int = 15
    pictures_per_class: int = 3
    forget_rows: int = 360
    appearance_noise: float = 0.15
    label_noise_frac: float = 0.11
    duplicate_frac: float = 0.04
    forget_retain_duplicates: int = 5
    train_test_duplicates: int = 5
    val_test_duplicates: int = 3


@dataclass(kw_only=True)
class _Row:
    part: str
    family: str
    role: str
    present_age: int
    true_class: int
    label: int
    person: Person = field(repr=False)
    key: tuple[str, int]
    source: "_Row | None" = None
    file: str = ""


def write_mufac(root: Path, sizes: MufacSizes, seed: int) -> dict[str, Any]:
    """Write `root/custom_korean_family_dataset_resolution_128/` and return what was written.

    Three tables with the columns family_id, person_id, age_class, image_path; their folders of 128 x 128 JPEG; and
    `mini.json` with the manifest (also returned): counts, true classes, rows with a wrong letter, duplicates.
    Deterministic in (sizes, seed); a family's pictures do not depend on the other sizes. The folder appears whole or
    not at all, replaces an older mini edition, and never anything else.
    """
    parts = {
        "train": _part("train", sizes.train_families, sizes, seed),
        "val": _part("val", sizes.val_families, sizes, seed),
        "test": _part("test", sizes.test_families, sizes, seed),
    }
    groups = {
        "forget": parts["train"][: sizes.forget_rows],
        "retain": parts["train"][sizes.forget_rows :],
        "val": parts["val"],
        "test": parts["test"],
    }
    for name, rows in groups.items():
        _mislabel(rows, sizes.label_noise_frac, seeds.generator(seed, "mufac", "labels", name))
    duplicates = _duplicate(groups, sizes, seed)
    for rows in parts.values():
        _name(rows)
    manifest = _manifest(groups, duplicates, sizes, seed)
    with mini_folder(Path(root) / FOLDER) as folder:
        for part, rows in parts.items():
            atomic.write_text(folder / f"custom_{part}_dataset.csv", _table(rows))
            pictures = folder / f"{part}_images"
            pictures.mkdir()
            for row in rows:
                (pictures / row.file).write_bytes(_picture(row, sizes, seed))
        atomic.write_json(folder / "mini.json", manifest)
    return manifest


def _part(part: str, families: int, sizes: MufacSizes, seed: int) -> list[_Row]:
    rows: list[_Row] = []
    for number in range(families):
        family = f"F{FIRST_FAMILY[part] + number:04d}"
        rows += _family(part, family, sizes, seeds.generator(seed, "mufac", family))
    return rows


def _family(part: str, family: str, sizes: MufacSizes, rng: np.random.Generator) -> list[_Row]:
    """Four to six relatives; each photograph of an age goes to one of those who have reached that age."""
    shared = draw_family(rng)
    members: dict[str, tuple[Person, int, int]] = {}
    for role in _roles(rng):
        male, low, high = ROLES[role]
        reached = int(rng.integers(low, high + 1))
        age = int(rng.integers(YEARS[reached][0], YEARS[reached][1] + 1))
        members[role] = (draw_person(rng, male=male, family=shared), reached, age)
    taken = []
    for number, true_class in enumerate(np.repeat(np.arange(len(LETTERS)), sizes.pictures_per_class).tolist()):
        role = str(rng.choice([role for role, (_, reached, _) in members.items() if reached >= true_class]))
        taken.append((role, true_class, number))
    return [
        _Row(
            part=part,
            family=family,
            role=role,
            present_age=members[role][2],
            true_class=true_class,
            label=true_class,
            person=members[role][0],
            key=(family, number),
        )
        for role, true_class, number in sorted(taken)
    ]


def _roles(rng: np.random.Generator) -> list[str]:
    def some(one: str, other: str) -> list[str]:
        return [[one], [other], [one, other]][rng.integers(3)]

    return [*some("D", "S"), "F", "M", *some("GF", "GM")]


def _mislabel(rows: Sequence[_Row], frac: float, rng: np.random.Generator) -> None:
    for index in rng.choice(len(rows), round(frac * len(rows)), replace=False):
        row = rows[index]
        row.label = int((row.true_class + rng.integers(1, len(LETTERS))) % len(LETTERS))


def _duplicate(groups: dict[str, list[_Row]], sizes: MufacSizes, seed: int) -> list[tuple[str, _Row]]:
    """Rows that show another row's picture under its class: inside each group, then between groups."""
    train = groups["forget"] + groups["retain"]
    plan = [(name, rows, rows, round(sizes.duplicate_frac * len(rows))) for name, rows in groups.items()]
    plan += [
        ("forget-retain", groups["forget"], groups["retain"], sizes.forget_retain_duplicates),
        ("train-test", train, groups["test"], sizes.train_test_duplicates),
        ("val-test", groups["val"], groups["test"], sizes.val_test_duplicates),
    ]
    made = []
    touched: set[int] = set()
    for name, sources, targets, count in plan:
        rng = seeds.generator(seed, "mufac", "duplicates", name)
        for _ in range(count):
            pair = _free_pair(sources, targets, touched, rng)
            if pair is None:
                break
            source, target = pair
            target.source, target.true_class, target.label = source, source.true_class, source.label
            touched |= {id(source), id(target)}
            made.append((name, target))
    return made


def _free_pair(
    sources: Sequence[_Row], targets: Sequence[_Row], touched: set[int], rng: np.random.Generator
) -> tuple[_Row, _Row] | None:
    """A source and a target of different families that no other duplicate uses; None where there is none."""
    free_sources = [row for row in sources if id(row) not in touched]
    if not free_sources:
        return None
    source = free_sources[rng.integers(len(free_sources))]
    free_targets = [row for row in targets if id(row) not in touched and row.family != source.family]
    return (source, free_targets[rng.integers(len(free_targets))]) if free_targets else None


def _name(rows: Iterable[_Row]) -> None:
    """`<family>_AGE_<role>_<present age>_<class letter><index>.jpg`; the letter is the table's, wrong or right."""
    seen: Counter[tuple[str, str, int]] = Counter()
    for row in rows:
        seen[row.family, row.role, row.label] += 1
        index = seen[row.family, row.role, row.label]
        row.file = f"{row.family}_AGE_{row.role}_{row.present_age}_{LETTERS[row.label]}{index}.jpg"


def _picture(row: _Row, sizes: MufacSizes, seed: int) -> bytes:
    shown = row.source or row
    rng = seeds.generator(seed, "mufac", "picture", *shown.key)
    age = shown.true_class + rng.random() + rng.normal(0, sizes.appearance_noise)
    look = draw_look(rng, shown.person, age=float(np.clip(age, 0, 8)), smiling=bool(rng.random() < 0.5))
    return encode(draw(shown.person, look, SIZE_PX))


def _table(rows: Sequence[_Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["family_id", "person_id", "age_class", "image_path"])
    writer.writerows([row.family, row.role, LETTERS[row.label], row.file] for row in rows)
    return text.getvalue()


def _manifest(
    groups: dict[str, list[_Row]], duplicates: list[tuple[str, _Row]], sizes: MufacSizes, seed: int
) -> dict[str, Any]:
    return {
        "schema": 1,
        "benchmark": "mufac",
        "edition": "mini",
        "seed": seed,
        "sizes": asdict(sizes),
        "counts": {name: len(rows) for name, rows in groups.items()},
        "families": {name: len({row.family for row in rows}) for name, rows in groups.items()},
        "persons": {name: len({(row.family, row.role) for row in rows}) for name, rows in groups.items()},
        "mislabelled": [
            {"group": name, "file": row.file, "true_class": LETTERS[row.true_class], "age_class": LETTERS[row.label]}
            for name, rows in groups.items()
            for row in rows
            if row.label != row.true_class
        ],
        "duplicates": [
            {"between": name, "file": row.file, "of": row.source.file} for name, row in duplicates if row.source
        ],
    }
