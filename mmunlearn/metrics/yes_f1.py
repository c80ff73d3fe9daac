"""F1 of the answer yes, as POPE reports it beside accuracy."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored


class YesF1(Metric):
    """2 TP / (2 TP + FP + FN) with "yes" as the positive answer, over rows graded by judge `yes_no`.

    Source: Li et al. 2023 (POPE, arXiv 2305.10355), section 5. No value where nobody says or should say yes.

    >>> from mmunlearn.records import Rows
    >>> labels = np.array(["yes", "yes", "no", "no"], dtype=object)
    >>> rows = Rows(("1", "2", "3", "4"), {"label": labels, "value": np.array([1.0, 0.0, 0.0, 1.0])})
    >>> YesF1().reduce(Sight(rows)).value
    0.5
    """

    better = "higher"
    columns = ("label", "value")

    def reduce(self, sight: Sight) -> Value:
        """n counts the rows that say yes or no."""
        if not len(sight.rows):
            return NOTHING
        rows, unscored = scored(sight.rows, "value")
        yes = np.array([label == "yes" for label in rows["label"]], dtype=bool)
        right = rows["value"] == 1
        hits, wrong = int((yes & right).sum()), int((~right).sum())
        if not hits and not wrong:
            return NOTHING._replace(unscored=unscored)
        return Value(2 * hits / (2 * hits + wrong), len(rows), None, unscored)
