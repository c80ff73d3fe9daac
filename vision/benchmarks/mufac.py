"""MUFAC: the age class of family faces; whole or part persons are to be forgotten (Choi and Na 2023, vision.md 1)."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn.avatars import drawing, jpeg, looks, persons  # noqa: F401
from mmunlearn.benchmark import Benchmark, check_counts
from mmunlearn.cards import Edition
from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.settings import Settings
from mmunlearn.tables import Record, image_files, plain_name, read_csv, unique

from ..duplicates import DuplicateReport, find_duplicates, hashes
from ..faces import mufac_writer
from ._mufac_split import clean, whole_groups

log = logging.getLogger(__name__)

FOLDER = "custom_korean_family_dataset_resolution_128"
CLEANED = f"{FOLDER}_clean"
LETTERS = "abcdefgh"
ALLOW = "benchmark.check_counts=false"
# The mirror's description spells the columns otherwise (vision.md 1.1).
COLUMNS = {
    "family_id": (), "person_id": ("identity",), "age_class": ("age_group",), "image_path": (), "forget_flag": (),
}  # fmt: skip
OPTIONAL = ("family_id", "person_id", "forget_flag")
FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


@dataclass(frozen=True)
class _Part:
    """A table and its pictures. role: what the benchmark uses it for, whatever its file is called; the mirror spreads
    the training pictures over two folders, by number or by forget and retain."""

    file: str
    role: str
    folders: tuple[tuple[str, ...], ...]
    families: range


PARTS = {
    "train": _Part(
        "custom_train_dataset.csv", "train",
        (("train_images",), ("train_images_part1", "train_images_part2"), ("forget_images", "retain_images")),
        range(1, 300),
    ),
    "val": _Part("custom_val_dataset.csv", "test", (("val_images",),), range(801, 851)),
    "test": _Part("custom_test_dataset.csv", "unseen", (("test_images",),), range(851, 901)),
}  # fmt: skip


class Mufac(Benchmark):
    """Splits forget, retain, train, test ("val" on disk), unseen ("test" on disk) and calibration (the test pictures,
    which no model is trained on; LoTUS calibrates on the same ones)."""

    class Config(Settings):
        """split: the first N rows of the training table are forgotten, as published; or the same without duplicates;
        or whole persons (or families, see `whole`), N rows as nearly as they give. roles: "files" takes val for
        calibration and test for test and unseen, as LoTUS's clean split does. forget_rows: N, instead of the card's.
        """

        name: str = "mufac"
        split: Literal["original", "clean", "identity"] = "original"
        whole: Literal["person", "family"] = "person"
        roles: Literal["benchmark", "files"] = "benchmark"
        forget_rows: int | None = Field(None, ge=1)
        check_counts: bool = True

    variants = {
        "original": {"split": "original"}, "clean": {"split": "clean"}, "identity": {"split": "identity"},
    }  # fmt: skip
    tiny = {
        "train_families": 6, "val_families": 2, "test_families": 2, "pictures_per_class": 1, "forget_rows": 12,
        "forget_retain_duplicates": 2, "train_test_duplicates": 2, "val_test_duplicates": 1,
    }  # fmt: skip
    tiny_settings = {"forget_rows": 12}
    tiny_model = {"name": "timm/test_resnet", "size_px": 32}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """The splits of the chosen variant; ids are "mufac/<train, test or unseen>/<row in the table>"."""
        folder, cleaned = self._folder(root)
        parts = {name: self._read(folder, part) for name, part in PARTS.items()}
        self._check_families(folder, parts)
        strict = edition == "full" and self.config.check_counts
        if strict:
            self._compare({n: len(p) for n, p in parts.items()}, "clean" if cleaned else "original", folder)
        train = [example for _, example in parts["train"]]
        chosen = set(self._flagged(parts["train"]) or self._forgotten(train, edition, folder))
        groups = {
            "forget": [e for i, e in enumerate(train) if i in chosen],
            "retain": [e for i, e in enumerate(train) if i not in chosen],
            "val": [example for _, example in parts["val"]],
            "test": [example for _, example in parts["test"]],
        }
        if self.config.split == "clean" and not cleaned:
            kept = clean({name: hashes([e.image for e in part if e.image]) for name, part in groups.items()})
            groups = {name: [part[i] for i in kept[name]] for name, part in groups.items()}
            if strict:
                sizes = {name: len(part) for name, part in groups.items()}
                self._compare({**sizes, "train": sizes["forget"] + sizes["retain"]}, "clean", folder)
        return self._with_roles(groups)

    def _compare(self, sizes: Mapping[str, int], variant: str, folder: Path) -> None:
        by_role = {PARTS[name].role: size for name, size in sizes.items() if name in PARTS}
        check_counts(self.card, by_role, variant, {p.role: folder / p.file for p in PARTS.values()}, ALLOW)

    def _with_roles(self, groups: Mapping[str, Sequence[Example]]) -> dict[str, Split]:
        files = self.config.roles == "files"
        test = groups["test" if files else "val"]
        splits = {
            "forget": Split("forget", Role.FORGET, tuple(groups["forget"])),
            "retain": Split("retain", Role.RETAIN, tuple(groups["retain"])),
            "test": Split("test", Role.HOLDOUT, tuple(test)),
            "unseen": Split("unseen", Role.UNSEEN, tuple(groups["test"])),
            "calibration": Split("calibration", Role.HOLDOUT, tuple(groups["val"])),
        }
        # In the table's order, so that variants with the same rows share one original model.
        train = sorted((*groups["forget"], *groups["retain"]), key=lambda example: example.id)
        return splits | {"train": Split("train", Role.TRAIN, tuple(train))}

    # ---- what the split variants choose ---------------------------------------------------------------------------
    def _flagged(self, train: Sequence[tuple[Record, Example]]) -> list[int]:
        """Rows that the mirror's column marks; only the original split follows it."""
        if self.config.split != "original":
            return []
        return [i for i, (record, _) in enumerate(train) if FLAGS[str(record.get("forget_flag", "")).lower()]]

    def _forgotten(self, train: Sequence[Example], edition: Edition, folder: Path) -> range | list[int]:
        """Positions in the training table that the variant forgets, before duplicates go."""
        variant = "clean" if folder.name == CLEANED else "original"
        if self.config.forget_rows is not None:
            size = self.config.forget_rows
        elif edition == "mini":
            size = int(self.card.editions["mini"].data["forget_rows"])
        else:
            size = self.card.splits["forget"].count[variant]
        if size >= len(train):
            raise UserError(
                f"{folder / PARTS['train'].file}: {len(train):,} rows, but the first {size:,} are to be forgotten and "
                f"others kept.\nRestore the file, or set benchmark.forget_rows (and {ALLOW})."
            )
        if self.config.split == "identity":
            return whole_groups([example.tags[self.config.whole] for example in train], size)
        return range(size)

    # ---- reading --------------------------------------------------------------------------------------------------
    def _folder(self, root: Path) -> tuple[Path, bool]:
        """The folder that holds the tables, and whether it is LoTUS's cleaned copy."""
        want = self.config.split == "clean"
        inner = [root / CLEANED, root.with_name(CLEANED)] if want else []
        for folder in (*inner, root, root / FOLDER, root / CLEANED):
            if folder.name == CLEANED and not want and folder != root:
                continue
            if any((folder / part.file).is_file() for part in PARTS.values()):
                missing = [part.file for part in PARTS.values() if not (folder / part.file).is_file()]
                if missing:
                    raise UserError(f"{folder / missing[0]}: not found. mufac needs: {self.card.source.what}")
                return folder, folder.name == CLEANED
        raise UserError(
            f"{root}: no {PARTS['train'].file} here nor under {FOLDER}/. mufac needs: {self.card.source.what}"
        )

    def _read(self, folder: Path, part: _Part) -> list[tuple[Record, Example]]:
        path = folder / part.file
        records = read_csv(path, COLUMNS, optional=OPTIONAL)
        unique(records, "image_path")
        pictures = self._pictures(folder, part)
        missing = [name for record in records if (name := plain_name(record, "image_path")) not in pictures]
        if missing:
            raise UserError(
                f"{folder / part.folders[0][0]}: {len(missing):,} of the {len(records):,} pictures that {part.file} "
                f"lists are missing (first: {missing[0]}). Unpack the archive again."
            )
        if len(pictures) > len(records):
            log.warning("%s: %d pictures that the table does not list", path, len(pictures) - len(records))
        return [(r, _example(part.role, row, r, pictures[r["image_path"]])) for row, r in enumerate(records)]

    def _pictures(self, folder: Path, part: _Part) -> dict[str, Path]:
        for names in part.folders:
            if all((folder / name).is_dir() for name in names):
                return image_files(*(folder / name for name in names))
        options = " or ".join("+".join(option) for option in part.folders)
        raise UserError(f"{folder / part.folders[0][0]}: no such folder. {part.file} needs its pictures in {options}.")

    def _check_families(self, folder: Path, parts: Mapping[str, Sequence[tuple[Record, Example]]]) -> None:
        """Refuse a file that holds another part's families: swapped names, or one family on two sides."""
        owner: dict[str, str] = {}
        for name, pairs in parts.items():
            families = Counter(example.tags["family"] for _, example in pairs)
            for other, part in PARTS.items():
                inside = sum(n for family, n in families.items() if _number(family) in part.families)
                if other != name and inside > len(pairs) / 2:
                    raise UserError(
                        f"{folder / PARTS[name].file}: {inside:,} of {len(pairs):,} rows belong to families "
                        f"F{part.families[0]:04d}-F{part.families[-1]:04d}, which are those of {part.file}. "
                        "Were the files swapped?"
                    )
            shared = next((family for family in families if family in owner), None)
            if shared is not None:
                raise UserError(
                    f"{folder / PARTS[name].file}: family {shared} stands in {PARTS[owner[shared]].file} too. "
                    "A family belongs to one file; restore them."
                )
            owner |= dict.fromkeys(families, name)

    # ---- the rest of the contract ---------------------------------------------------------------------------------
    def duplicates(self, root: Path, edition: Edition) -> DuplicateReport:
        """Pictures that look the same, between and inside forget, retain, test and unseen (vision.md 1.7)."""
        splits = self.splits(root, edition)
        return find_duplicates({name: splits[name] for name in ("forget", "retain", "test", "unseen")}, tag="family")

    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Families of avatars in the real layout, in the sizes of the card with `sizes` laid over them."""
        mufac_writer.write_mufac(root, self.mini_sizes(mufac_writer.MufacSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's network with one logit for each of the eight classes."""
        return {**self.card.editions[edition].model, "head": "classes", "classes": len(LETTERS)}


def _example(role: str, row: int, record: Record, picture: Path) -> Example:
    letter = record["age_class"]
    if letter not in tuple(LETTERS):
        raise record.fault(f"age_class {letter!r} is unknown. Allowed: {', '.join(LETTERS)}.")
    flag = str(record.get("forget_flag", "")).lower()
    if flag not in FLAGS:
        raise record.fault(f"forget_flag {flag!r} is neither true nor false.")
    family, person = record.get("family_id"), record.get("person_id")
    if family is None:
        named = re.match(r"F\d{4}(?=_)", record["image_path"])
        family = named[0] if named else person
    if not family or not person:
        column = "person_id" if family else "family_id"
        raise record.fault(f"{column} is empty or missing, so the person is unknown.")
    # A role such as "D" names a person only inside a family.
    tags = {"family": family, "person": f"{family}/{person}", "age_class": letter}
    return Example(
        id=f"mufac/{role}/{row:06d}", image=ImageRef(path=picture), target=LETTERS.index(letter), tags=tags
    )  # fmt: skip


def _number(family: str) -> int:
    return int(family[1:]) if re.fullmatch(r"F\d{4}", family) else -1
