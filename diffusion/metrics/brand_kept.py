"""Brands kept: how often brands that were not forgotten are still read in their pictures."""

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value

from ._brands import BrandSettings, graded, share
from .brand_rate import rate


class BrandKept(Metric):
    """Share of the other brands' pictures whose label is the brand that the prompt asks for; controls are left out.
    Ours: UNBRANDING measures what is lost by structure alone.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> columns = {"tag.brand": ["A", "B", "B", "NO_BRAND"], "label": ["A", "B", "A", "NO_BRAND"]}
    >>> rows = Rows(("1", "2", "3", "4"), {k: np.array(v, object) for k, v in columns.items()})
    >>> BrandKept({"brands": ["A"]}).reduce(Sight(rows))[:2]
    (0.5, 2)
    """

    Config = BrandSettings  # type: ignore[assignment]
    better = "higher"
    columns = ("label",)
    reads = "pictures"
    check_settings = {"brands": ["Dots"], "tag": "style", "none": "Seed_Images"}

    def reduce(self, sight: Sight) -> Value:
        """n: scored pictures of the other brands."""
        if not len(sight.rows):
            return NOTHING
        found = graded(sight.rows, sight, self.config)
        return rate(share(found, found.shows_asked, ~found.forgotten & ~found.control))
