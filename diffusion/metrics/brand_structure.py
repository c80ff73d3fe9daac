"""Structure (S): how alike the edited model's pictures of the forgotten brand are to the original's."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, mean_of

from ._brands import BrandSettings, graded


class BrandStructure(Metric):
    """Mean value of the judge brand_structure (similarity / 10, 0 where its CLIP gate refuses) over the forgotten
    brand's pictures (UNBRANDING's S; diffusion 3.3, 3.4). Pictures without a number are left out, as there, and
    counted, so that its n may differ from B's.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> columns = {"tag.brand": np.array(["A", "A", "B"], object), "label": np.array(["similar"] * 3, object)}
    >>> rows = Rows(("1", "2", "3"), {**columns, "value": np.array([0.8, np.nan, 0.1])})
    >>> BrandStructure({"brands": ["A"]}).reduce(Sight(rows))[:2]
    (0.8, 1)
    """

    Config = BrandSettings  # type: ignore[assignment]
    better = "higher"
    columns = ("value",)
    reads = "pictures"
    check_settings = {"brands": ["Dots", "Stripes"], "tag": "style", "none": "Seed_Images"}

    def reduce(self, sight: Sight) -> Value:
        """n: pictures with a number."""
        if not len(sight.rows):
            return NOTHING
        found = graded(sight.rows, sight, self.config)
        values = sight.rows["value"].astype(np.float64)
        counted = found.forgotten & ~np.isnan(values)
        return mean_of(values[counted], int((found.forgotten & np.isnan(values)).sum()) + found.untagged)
