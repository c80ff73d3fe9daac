"""MUCAC: attributes of CelebA-HQ faces; every picture of some identities is to be forgotten (vision.md 2)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn.avatars import drawing, jpeg, looks, persons  # noqa: F401
from mmunlearn.benchmark import Benchmark, check_counts
from mmunlearn.cards import Edition
from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import Settings
from mmunlearn.tables import image_files, read_text

from ..duplicates import DuplicateReport, find_duplicates
from ..faces import mucac_writer

log = logging.getLogger(__name__)

IDENTITIES = "CelebA-HQ-identity.txt"
ATTRIBUTES = "CelebA-HQ-attribute.txt"
PICTURES = (Path("CelebAMask-HQ") / "CelebA-HQ-img", Path("CelebA-HQ-img"), Path("."))
LEARNED = {"gender": "Male", "smiling": "Smiling", "young": "Young"}
ALLOW = "benchmark.check_counts=false"
# Identity number -> part (vision.md 2.2): below the first number test, then forget, then retain, then unseen.
LIMITS = ((190, "test"), (1250, "forget"), (4855, "retain"))


@dataclass(frozen=True)
class _Face:
    number: int
    identity: int
    attributes: tuple[int, int, int]  # gender, smiling, young


class Mucac(Benchmark):
    """Splits test, forget, retain, train, unseen by identity number, and calibration (the test pictures), all sorted
    by file number."""

    class Config(Settings):
        """task: three labels at once, or one of them as two classes. check_counts: whether the full edition must have
        every picture; without it the ones at hand are used."""

        name: str = "mucac"
        task: Literal["multi_label", "gender", "smiling", "young"] = "multi_label"
        check_counts: bool = True

    variants = {"full": {}}
    tiny = {
        "test_identities": 5, "forget_identities": 6, "retain_identities": 8, "unseen_identities": 6,
        "pictures_per_identity": 2,
    }  # fmt: skip
    tiny_model = {"name": "timm/test_resnet", "size_px": 32}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Splits with ids "mucac/<file number>"; targets are (gender, smiling, young) or one of them."""
        identities = _identities(_beside(root, IDENTITIES, self.card.source.what))
        attributes = _attributes(_beside(root, ATTRIBUTES, self.card.source.what))
        folder, pictures = _pictures(root, self.card.source.what)
        self._check_pictures(folder, identities, pictures)
        lacking = sorted(identities.keys() - attributes.keys())
        if lacking:
            raise UserError(
                f"{root / ATTRIBUTES}: no line for {len(lacking):,} of the pictures of {IDENTITIES} (first: "
                f"{lacking[0]}.jpg). Restore the file."
            )
        parts: dict[str, list[Example]] = {"test": [], "forget": [], "retain": [], "unseen": []}
        for number in sorted(identities.keys() & pictures.keys()):
            face = _Face(number, identities[number], attributes[number])
            parts[part_of(face.identity)].append(self._example(face, pictures[number]))
        empty = [name for name, examples in parts.items() if not examples]
        if empty:
            raise UserError(f"{root / IDENTITIES}: no picture of an identity of {', '.join(empty)}. Restore the file.")
        splits = {
            "forget": Split("forget", Role.FORGET, tuple(parts["forget"])),
            "retain": Split("retain", Role.RETAIN, tuple(parts["retain"])),
            "test": Split("test", Role.HOLDOUT, tuple(parts["test"])),
            "unseen": Split("unseen", Role.UNSEEN, tuple(parts["unseen"])),
            "calibration": Split("calibration", Role.HOLDOUT, tuple(parts["test"])),
        }
        both = sorted((*parts["forget"], *parts["retain"]), key=lambda example: example.id)
        splits["train"] = Split("train", Role.TRAIN, tuple(both))
        if edition == "full" and self.config.check_counts:
            sizes = {name: len(split) for name, split in splits.items() if name in self.card.splits}
            check_counts(self.card, sizes, "full", dict.fromkeys(sizes, root / IDENTITIES), ALLOW)
        return splits

    def _check_pictures(self, folder: Path, identities: Mapping[int, int], pictures: Mapping[int, Path]) -> None:
        missing = sorted(identities.keys() - pictures.keys())
        if missing:
            text = (
                f"{folder}: {len(missing):,} of the {len(identities):,} pictures that {IDENTITIES} lists are missing "
                f"(first: {missing[0]}.jpg)"
            )
            if self.config.check_counts:
                raise UserError(f"{text}. Unpack the archive again, or set {ALLOW} to go on without them.")
            log.warning("%s; going on with %d.", text, len(identities) - len(missing))
        extra = len(pictures.keys() - identities.keys())
        if extra:
            log.warning("%s: %d pictures that %s does not list are left out.", folder, extra, IDENTITIES)

    def _example(self, face: _Face, picture: Path) -> Example:
        target: Any = face.attributes
        if self.config.task != "multi_label":
            target = face.attributes[list(LEARNED).index(self.config.task)]
        return Example(
            id=f"mucac/{face.number:06d}", image=ImageRef(path=picture), target=target,
            tags={"identity": str(face.identity)},
        )  # fmt: skip

    def duplicates(self, root: Path, edition: Edition) -> DuplicateReport:
        """Pictures that look the same, between and inside forget, retain, test and unseen."""
        splits = self.splits(root, edition)
        return find_duplicates({name: splits[name] for name in ("forget", "retain", "test", "unseen")}, tag="identity")

    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Avatars in the layout of CelebA-HQ, in the sizes of the card with `sizes` laid over them."""
        mucac_writer.write_mucac(root, self.mini_sizes(mucac_writer.MucacSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's network with three label logits, or two class logits."""
        head = {"head": "labels", "classes": 3} if self.config.task == "multi_label" else {
            "head": "classes", "classes": 2,
        }  # fmt: skip
        return {**self.card.editions[edition].model, **head}


def part_of(identity: int) -> str:
    """The part an identity belongs to."""
    return next((name for limit, name in LIMITS if identity < limit), "unseen")


def _beside(root: Path, name: str, what: str) -> Path:
    for path in (root / name, root / "CelebAMask-HQ" / name):
        if path.is_file():
            return path
    raise UserError(f"{root / name}: no such file. mucac needs: {what}")


def _pictures(root: Path, what: str) -> tuple[Path, dict[int, Path]]:
    """The folder with pictures named by number, and those pictures."""
    for relative in PICTURES:
        folder = root / relative
        if not folder.is_dir():
            continue
        found: dict[int, Path] = {}
        for name, path in image_files(folder).items():
            stem = path.stem
            if not stem.isascii() or not stem.isdigit():
                continue
            if int(stem) in found:
                raise UserError(f"{folder}: {found[int(stem)].name} and {name} have the same number. Remove one.")
            found[int(stem)] = path
        if found:
            return folder, found
    raise UserError(f"{root / PICTURES[0]}: no pictures here, nor in CelebA-HQ-img/ or the root. mucac needs: {what}")


def _number(path: Path, line: int, name: str) -> int:
    stem, dot, _ = name.partition(".")
    if not dot or not stem.isascii() or not stem.isdigit():
        raise UserError(f"{path}, line {line}: {name!r} is not a file name such as 123.jpg.")
    return int(stem)


def _identities(path: Path) -> dict[int, int]:
    """Identity of each picture: one "file_name identity" a line, no header."""
    found: dict[int, int] = {}
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        fields = text.split()
        if not fields:
            continue
        if len(fields) != 2 or not fields[1].isascii() or not fields[1].isdigit():
            raise UserError(f"{path}, line {line}: {text[:60]!r} is not a file name and an identity number.")
        number = _number(path, line, fields[0])
        if number in found:
            raise UserError(f"{path}, line {line}: {fields[0]} stands there twice. Keep one line.")
        found[number] = int(fields[1])
    if not found:
        raise UserError(f"{path}: is empty. Expected a file name and an identity number a line.")
    return found


def _attributes(path: Path) -> dict[int, tuple[int, int, int]]:
    """(gender, smiling, young) of each picture as 0 or 1, columns found by name: a line with the count, one with the
    names, then "file_name v1 … v40" with -1 or 1."""
    lines = read_text(path).split("\n")
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise UserError(f"{path}, line 1: expected the number of pictures, then a line with the names of attributes.")
    names = lines[1].split()
    places = []
    for name in LEARNED.values():
        if names.count(name) != 1:
            state = "twice" if name in names else "missing"
            raise UserError(f"{path}, line 2: attribute {name} is {state}. {near_miss(name, set(names) - {name})}")
        places.append(names.index(name) + 1)
    found: dict[int, tuple[int, int, int]] = {}
    for line, text in enumerate(lines[2:], start=3):
        fields = text.split()
        if not fields:
            continue
        if len(fields) != len(names) + 1:
            raise UserError(f"{path}, line {line}: {len(fields) - 1} values where line 2 has {len(names)} names.")
        number = _number(path, line, fields[0])
        if number in found:
            raise UserError(f"{path}, line {line}: {fields[0]} stands there twice. Keep one line.")
        values = [fields[place] for place in places]
        wrong = next((value for value in values if value not in ("-1", "1")), None)
        if wrong is not None:
            raise UserError(f"{path}, line {line}: value {wrong!r} is neither -1 nor 1.")
        gender, smiling, young = (int(value == "1") for value in values)
        found[number] = (gender, smiling, young)
    if int(lines[0]) != len(found):
        raise UserError(f"{path}, line 1: says {int(lines[0]):,} pictures, but {len(found):,} follow. Restore it.")
    return found
