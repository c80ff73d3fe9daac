"""Brand rate (B): how often the forgotten brand is still read in pictures that were asked to show it."""

from mmunlearn.intervals import wilson
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value

from ._brands import BrandSettings, Share, graded, share


class BrandRate(Metric):
    """Share of the forgotten brand's pictures whose label is that brand (UNBRANDING's B; diffusion 3.4). Another brand
    counts as success, as there.

    Differs from the repository: a picture without a verdict is unscored and counted, where it counts as "not detected".

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> columns = {"tag.brand": ["A", "A", "B"], "label": ["A", "NO_BRAND", "A"]}
    >>> rows = Rows(("1", "2", "3"), {k: np.array(v, object) for k, v in columns.items()})
    >>> BrandRate({"brands": ["A"]}).reduce(Sight(rows))[:2]
    (0.5, 2)
    """

    Config = BrandSettings  # type: ignore[assignment]
    better = "lower"
    columns = ("label",)
    measures = "forgetting"
    reads = "pictures"
    check_settings = {"brands": ["Dots"], "tag": "style", "none": "Seed_Images"}

    def reduce(self, sight: Sight) -> Value:
        """n: scored pictures of the brand; the interval is Wilson's."""
        if not len(sight.rows):
            return NOTHING
        found = graded(sight.rows, sight, self.config)
        return rate(share(found, found.shows_asked, found.forgotten))


def rate(part: Share, note: str = "") -> Value:
    """A share as a metric's value."""
    if not part.n:
        return NOTHING._replace(unscored=part.unscored)
    low, high = wilson(part.hits, part.n)
    stderr = (part.value * (1 - part.value) / part.n) ** 0.5
    return Value(part.value, part.n, stderr, part.unscored, float(low), float(high), note)
