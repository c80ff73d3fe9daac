"""Finds pictures that look the same: perceptual hashes, pairs between parts and inside them, rows to drop.

Two pictures count as one when all 64 bits of their hashes agree (vision.md 1.7, after LoTUS's clean_MUFAC notebook).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmunlearn.atomic import write_json
from mmunlearn.cache import cache_folder
from mmunlearn.data import Example, ImageRef
from mmunlearn.settings import digest
from mmunlearn.threads import mapped

if TYPE_CHECKING:
    from PIL import Image

HASH_SIDE = 8
OVERSAMPLING = 4
VERSION = 1  # raise it when a hash would change, so that cached ones are not used


def phash(image: "Image.Image") -> int:
    """64-bit perceptual hash, bit for bit that of `imagehash.phash` with its defaults.

    Grey levels at 32 x 32 (Lanczos), unnormalised DCT-II along both axes, the 8 x 8 lowest frequencies compared with
    their median; row by row from the most significant bit.
    """
    from PIL.Image import Resampling
    from scipy.fft import dct

    side = HASH_SIDE * OVERSAMPLING
    pixels = np.asarray(image.convert("L").resize((side, side), Resampling.LANCZOS), dtype=np.float64)
    low = dct(dct(pixels, axis=0), axis=1)[:HASH_SIDE, :HASH_SIDE]
    bits = (low > np.median(low)).flatten()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def hashes(images: Sequence[ImageRef]) -> list[int]:
    """Hashes of many pictures, decoded by a few threads; those of files are kept in the user's cache folder.

    Raises UserError for a picture that cannot be decoded.
    """
    files = sorted({image.path for image in images if image.path is not None})
    stored = cache_folder("phash") / f"{digest([VERSION, [_state(file) for file in files]])}.json"
    if files and stored.is_file():
        known = _read(stored)
    else:
        refs = [ImageRef(path=file) for file in files]
        known = dict(zip(map(str, files), mapped(_hash, refs), strict=True))
        if files:
            write_json(stored, {name: f"{value:016x}" for name, value in known.items()}, indent=None)
    return [_hash(image) if image.path is None else known[str(image.path)] for image in images]


def _hash(image: ImageRef) -> int:
    return phash(image.open())


def _state(file: Path) -> tuple[str, int, int]:
    facts = file.stat()
    return str(file), facts.st_size, facts.st_mtime_ns


def _read(stored: Path) -> dict[str, int]:
    import json

    return {name: int(value, 16) for name, value in json.loads(stored.read_text(encoding="utf-8")).items()}


@dataclass(frozen=True)
class Between:
    """Pictures that two parts share. pairs: (one of `first`, one of `second`); first_rows, second_rows: rows in one."""

    first: str
    second: str
    pairs: int
    first_rows: int
    second_rows: int


@dataclass(frozen=True)
class Inside:
    """Pictures that a part repeats. pairs: unordered; surplus: rows that go when one of each picture stays; across:
    pairs whose rows differ in the tag asked about (0 when none was)."""

    part: str
    pairs: int
    surplus: int
    across: int


@dataclass(frozen=True)
class DuplicateReport:
    """The table of vision.md 1.7. groups: ids that show the same picture, first ids first."""

    between: tuple[Between, ...]
    inside: tuple[Inside, ...]
    groups: tuple[tuple[str, ...], ...]

    def lines(self) -> list[str]:
        """The table as text, a line an entry."""
        text = [
            f"{b.first}-{b.second}: {b.pairs} pairs ({b.first_rows} and {b.second_rows} rows)" for b in self.between
        ]
        return text + [
            f"inside {i.part}: {i.pairs} pairs ({i.surplus} rows more than pictures"
            + (f", {i.across} pairs cross" if i.across else "") + ")"
            for i in self.inside
        ]  # fmt: skip


def find_duplicates(parts: Mapping[str, Sequence[Example]], *, tag: str | None = None) -> DuplicateReport:
    """Duplicates between every two of `parts` and inside each; `tag` counts the pairs that cross it (a family, say).

    An example of two parts (test and calibration, for instance) is a pair with itself: give parts that are disjoint.
    """
    examples = [example for part in parts.values() for example in part]
    found = iter(hashes([_image(example) for example in examples]))
    by_part = {name: [next(found) for _ in part] for name, part in parts.items()}
    counts = {name: Counter(values) for name, values in by_part.items()}
    between = []
    for first, second in combinations(parts, 2):
        shared = counts[first].keys() & counts[second].keys()
        ours, theirs = [counts[first][h] for h in shared], [counts[second][h] for h in shared]
        pairs = sum(a * b for a, b in zip(ours, theirs, strict=True))
        between.append(Between(first, second, pairs, sum(ours), sum(theirs)))
    inside = [
        Inside(name, sum(n * (n - 1) // 2 for n in counts[name].values()), len(part) - len(counts[name]),
               _across(part, by_part[name], tag))
        for name, part in parts.items()
    ]  # fmt: skip
    groups: dict[int, list[str]] = defaultdict(list)
    for name, part in parts.items():
        for example, value in zip(part, by_part[name], strict=True):
            groups[value].append(example.id)
    return DuplicateReport(tuple(between), tuple(inside), tuple(tuple(ids) for ids in groups.values() if len(ids) > 1))


def _image(example: Example) -> ImageRef:
    assert example.image is not None, f"{example.id} has no picture"
    return example.image


def _across(part: Sequence[Example], values: Sequence[int], tag: str | None) -> int:
    """Pairs of equal pictures whose examples carry different values of `tag`."""
    if tag is None:
        return 0
    kinds: dict[int, Counter[str]] = defaultdict(Counter)
    for example, value in zip(part, values, strict=True):
        kinds[value][example.tags[tag]] += 1
    return sum((sum(c.values()) ** 2 - sum(n * n for n in c.values())) // 2 for c in kinds.values())


def first_of_each(values: Sequence[int], banned: frozenset[int] = frozenset()) -> list[int]:
    """Positions of the first row of each picture, without those whose hash is in `banned`; in order."""
    seen = set(banned)
    kept = []
    for position, value in enumerate(values):
        if value not in seen:
            seen.add(value)
            kept.append(position)
    return kept
