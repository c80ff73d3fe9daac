"""Graded pictures of brands: what was asked, what the judge read, and shares of it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows
from mmunlearn.settings import Settings

from ..brands.names import NO_BRAND, folded_name
from ._requests import tag

PRESENT = ("yes", "shown")  # labels of judges that were asked for one brand


class BrandSettings(Settings):
    """brands: the forgotten ones; none for the run's own request, or for all where it has none. tag: names the brand
    that a prompt asks for; none: the value of that tag for controls."""

    brands: tuple[str, ...] = ()
    tag: str = "brand"
    none: str = NO_BRAND


class Graded(NamedTuple):
    """asked and said: labels, (n,) objects; scored: rows with a label; forgotten, control: which prompts."""

    asked: np.ndarray
    said: np.ndarray
    scored: np.ndarray
    forgotten: np.ndarray
    control: np.ndarray

    def shows(self, brand: object) -> np.ndarray:
        """Where the judge reads that brand, or says yes to the one that it was asked for."""
        return np.fromiter((said is not None and (said == brand or said in PRESENT) for said in self.said), bool)

    @property
    def shows_asked(self) -> np.ndarray:
        """Where the judge reads the brand that the prompt asks for."""
        pairs = zip(self.asked, self.said, strict=True)
        return np.fromiter((s is not None and (s == a or s in PRESENT) for a, s in pairs), bool)

    @property
    def untagged(self) -> int:
        """Rows that nothing counts because their prompt's tag is missing."""
        return sum(asked is None for asked in self.asked)

    @property
    def brands(self) -> list[str]:
        """Forgotten brands among the prompts."""
        return sorted(set(self.asked[self.forgotten]))


def graded(rows: Rows, sight: Sight, config: BrandSettings) -> Graded:
    """Rows as labels. A label's part before "/" is the brand (judge style_object)."""
    n = len(rows)
    labels = rows["label"] if "label" in rows else np.full(n, None, dtype=object)
    said = np.empty(n, dtype=object)
    said[:] = [label.split("/", 1)[0] if isinstance(label, str) else None for label in labels]
    asked = tag(rows, config.tag)
    scored = np.array([s is not None and a is not None for s, a in zip(said, asked, strict=True)], dtype=bool)
    if "value" in rows and rows["value"].dtype != object:
        scored &= ~np.isnan(rows["value"].astype(np.float64))
    control = np.array([a == config.none for a in asked], dtype=bool)
    wanted = {folded_name(name) for name in _brands(sight, config)}
    named = [a is not None and (not wanted or folded_name(a) in wanted) for a in asked]
    return Graded(asked, said, scored, np.array(named, dtype=bool) & ~control, control)


def _brands(sight: Sight, config: BrandSettings) -> tuple[str, ...]:
    if config.brands:
        return config.brands
    request = sight.requests[-1].get("request") if sight.requests else None
    brands = request.get("brands") if isinstance(request, Mapping) else None
    if brands is None or brands == "all":
        return ()
    return (brands,) if isinstance(brands, str) else tuple(brands)


class Share(NamedTuple):
    """hits of n scored rows; unscored others."""

    hits: int
    n: int
    unscored: int

    @property
    def value(self) -> float:
        """NaN where nothing was scored."""
        return self.hits / self.n if self.n else float("nan")


def share(found: Graded, hit: np.ndarray, among: np.ndarray) -> Share:
    """Share of `hit` among the scored rows of the mask `among`."""
    counted = among & found.scored
    unscored = int((among & ~found.scored).sum()) + found.untagged
    return Share(int((hit & counted).sum()), int(counted.sum()), unscored)
