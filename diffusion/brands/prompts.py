"""Prompts: the reader of the published CSV, and templates of our own (the published texts were not found)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmunlearn.errors import UserError
from mmunlearn.tables import read_csv

from .names import NO_BRAND, Brands

FILES = ("unbranding_v1.csv", "train.csv")
COLUMNS = {"filename": ("file_name", "file"), "prompt": ("text",), "seed": ()}
PLAIN = "plain"
# Ours, not the published set. {brand}: "Nike", or "plain" for controls.
TEMPLATES = (
    "A {brand} {thing} on a table.", "A photo of a {brand} {thing} outdoors.", "A {brand} {thing} in a shop window.",
)  # fmt: skip
THINGS = ("mug", "shirt", "bag", "shoe", "can", "car")


@dataclass(frozen=True)
class Asked:
    """One prompt. brand: the label that it is about, NO_BRAND for a control. source: where it comes from. seed: of its
    picture."""

    name: str
    prompt: str
    brand: str
    seed: int
    source: str


def find_csv(root: Path, what: str) -> Path:
    """The prompt file under `root`. Raises UserError where there is none."""
    for name in FILES:
        for place in (root, root / "data"):
            if (place / name).is_file():
                return place / name
    raise UserError(f"{root}: holds neither {' nor '.join(FILES)}. Needed: {what}")


def read_prompts(path: Path, brands: Brands) -> list[Asked]:
    """Rows of the published CSV (filename, prompt, seed): the brand is the part of the file name before the first "_".

    Raises UserError naming file, line and column for a brand that is not in the list, a seed that is no whole number
    from 0 to 2^63 - 1, an empty prompt, or a file name that stands there twice or leads elsewhere.
    """
    found: list[Asked] = []
    seen: set[str] = set()
    for record in read_csv(path, COLUMNS):
        name, prompt, seed = record["filename"], record["prompt"], record["seed"]
        if not name or name != Path(name).name or name.startswith("."):
            raise record.fault(f"filename {name!r} is no plain file name.")
        if name in seen:
            raise record.fault(f"filename {name!r} stands there twice. Remove one of the rows.")
        seen.add(name)
        if not prompt:
            raise record.fault("prompt is empty.")
        if not re.fullmatch(r"\d{1,19}", seed) or int(seed) >= 2**63:
            raise record.fault(f"seed is {seed!r}, not a whole number from 0 to 2^63 - 1.")
        label = NO_BRAND if name.casefold().startswith("no-brand_") else brands.of_file(name)
        if label is None:
            known = ", ".join(prefix for prefix, _ in brands.table.values())
            raise record.fault(f"filename {name!r} begins with no brand of the list ({known}) and no-brand.")
        found.append(Asked(Path(name).stem, prompt, label, int(seed), "file"))
    return found


def controls(seeds: tuple[int, ...]) -> Iterator[Asked]:
    """Our prompts without a brand, for data that have none of their own."""
    for place, template in enumerate(TEMPLATES):
        for thing in THINGS:
            for seed in seeds:
                prompt = template.format(brand=PLAIN, thing=thing)
                yield Asked(f"no-brand_{thing}_{place}_{seed}", prompt, NO_BRAND, seed, "ours")


def ours(brands: Brands) -> Iterator[tuple[str, str, str]]:
    """(label, thing, prompt) of our templates, controls among them."""
    for label in brands.labels:
        brand = PLAIN if label == NO_BRAND else brands.words(label)
        for template in TEMPLATES:
            for thing in THINGS:
                yield label, thing, template.format(brand=brand, thing=thing)


def without(prompt: str, words: str, surrogate: str = PLAIN) -> str:
    """The prompt with the surrogate in the brand's place; where the brand is not named, the prompt itself.

    >>> without("A COCA-COLA can.", "Coca-Cola")
    'A plain can.'
    """
    return re.sub(rf"(?<!\w){re.escape(words)}(?!\w)", surrogate, prompt, flags=re.IGNORECASE)
