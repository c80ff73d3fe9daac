"""Hallucination rate: how often the judge reads a brand in pictures that were asked to show none."""

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value

from ._brands import BrandSettings, graded, share
from .brand_rate import rate


class BrandHallucination(Metric):
    """Share of the controls' pictures (prompts without a brand) in which the judge reads any brand, or says yes to the
    one it was asked for (UNBRANDING's tables give 17 to 90 % on labelled pictures; diffusion 3.4).

    Of pictures that a model drew it is an upper bound: a model may draw a brand unasked.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> columns = {"tag.brand": ["NO_BRAND", "NO_BRAND", "B"], "label": ["A", "NO_BRAND", "B"]}
    >>> rows = Rows(("1", "2", "3"), {k: np.array(v, object) for k, v in columns.items()})
    >>> BrandHallucination().reduce(Sight(rows))[:2]
    (0.5, 2)
    """

    Config = BrandSettings  # type: ignore[assignment]
    better = "lower"
    columns = ("label",)
    reads = "pictures"
    check_settings = {"tag": "style", "none": "Seed_Images"}

    def reduce(self, sight: Sight) -> Value:
        """n: scored controls."""
        if not len(sight.rows):
            return NOTHING
        found = graded(sight.rows, sight, self.config)
        quiet = {self.config.none, "no", "none"}
        loud = found.scored & ~found.control  # a mask of the right shape
        loud[:] = [said is not None and said not in quiet for said in found.said]
        return rate(share(found, loud, found.control))
