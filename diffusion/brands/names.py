"""Brands of UNBRANDING, how file names spell them, and which brands some data hold.

Source: github.com/gmum/UNBRANDING at c8bca24 (list of the evaluation), data set MalarzDawid/UNBRANDING (diffusion 3.1).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmunlearn.errors import UserError, near_miss
from mmunlearn.mini_folder import TRUTH

NO_BRAND = "NO_BRAND"
# label -> the part of a file name before its first "_", and the words of a prompt
PUBLISHED: Mapping[str, tuple[str, str]] = {
    "ADIDAS": ("adidas", "Adidas"), "APPLE": ("apple", "Apple"), "AUDI": ("audi", "Audi"), "BMW": ("bmw", "BMW"),
    "COCA_COLA": ("coca-cola", "Coca-Cola"), "EMIRATES": ("emirates", "Emirates"),
    "MCDONALDS": ("mcdonalds", "McDonald's"), "MERCEDES": ("mercedes", "Mercedes"), "MONSTER": ("monster", "Monster"),
    "NIKE": ("nike", "Nike"), "PUMA": ("puma", "Puma"), "SINGAPORE_AIRLINES": ("singapore", "Singapore Airlines"),
}  # fmt: skip


class Brands:
    """Labels in order with the words of prompts; NO_BRAND stands beside them."""

    def __init__(self, table: Mapping[str, tuple[str, str]]):
        self.table = dict(table)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, NO_BRAND last."""
        return (*self.table, NO_BRAND)

    def words(self, label: str) -> str:
        """How prompts call a brand."""
        return self.table[label][1]

    def of_file(self, name: str) -> str | None:
        """The label of a file, by the part of its name before the first "_"; None for another."""
        first = Path(name).stem.split("_", 1)[0].casefold()
        return next((label for label, (prefix, _) in self.table.items() if prefix == first), None)

    def label(self, name: str, field: str) -> str:
        """`name` as the list spells it. Raises UserError with near misses, naming `field`."""
        folded = folded_name(name)
        for label, (prefix, words) in self.table.items():
            if folded in (folded_name(label), folded_name(prefix), folded_name(words)):
                return label
        raise UserError(f"{field}: no brand {name!r} in the data. {near_miss(name, self.table)}")

    def chosen(self, wanted: str | Sequence[str], field: str) -> tuple[str, ...]:
        """Labels of a request: "all", one name or several."""
        if wanted == "all":
            return tuple(self.table)
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        return tuple(dict.fromkeys(self.label(name, field) for name in names))


def folded_name(name: str) -> str:
    """Letters and digits without case.

    >>> folded_name("Coca-Cola") == folded_name("COCA_COLA")
    True
    """
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def brands_of(root: Path) -> Brands:
    """The published brands, or those of a mini edition's mini.json. Raises UserError for a broken one."""
    file = root / TRUTH
    if not file.is_file():
        return Brands(PUBLISHED)
    try:
        names = json.loads(file.read_text("utf-8"))["brands"]
        return Brands({str(name): (str(name).casefold(), str(name)) for name in names})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: holds no list of brands ({error}). Build the mini edition again.") from None
