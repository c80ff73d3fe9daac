"""Mean verdict: the judge's value, averaged over the rows that it scored; with `label`, the share of that label."""

import numpy as np
from pydantic import Field

from mmunlearn.metrics._text import picked
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored
from mmunlearn.settings import Settings


class MeanVerdict(Metric):
    """Mean of the column `value` (accuracy, soft accuracy, harm rate, refusal rate, as the judge's value means it).

    label: the share of scored rows with that label instead. complement: 1 − the mean (SARR from a judge of normality).

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a", "b", "c"), {"value": np.array([1.0, 0.5, np.nan])})
    >>> MeanVerdict().reduce(Sight(rows))[:2], MeanVerdict().reduce(Sight(rows)).unscored
    ((0.75, 2), 1)
    """

    class Config(Settings):
        """Of what the mean is taken. where: tags that a row must have. failed: value of a row that the judge left
        unscored, as reference scripts have it (None: it is left out of the mean)."""

        label: str = ""
        complement: bool = False
        where: dict[str, str] = Field(default_factory=dict)
        failed: float | None = None

    better = "higher"
    columns = ("value",)

    def reduce(self, sight: Sight) -> Value:
        """Mean and standard error over scored rows; the others are counted."""
        wanted = picked(sight.rows, self.config.where)
        if self.config.failed is not None and len(wanted) and "value" in wanted:
            value = wanted["value"].astype(np.float64)
            wanted = wanted.with_column("value", np.where(np.isnan(value), self.config.failed, value))
        rows, unscored = scored(wanted, *self.columns)
        if not len(rows):
            return NOTHING._replace(unscored=unscored)
        values = rows["value"].astype(np.float64)
        if self.config.label:
            values = (rows["label"] == self.config.label).astype(np.float64)
        if self.config.complement:
            values = 1 - values
        n = len(values)
        return Value(float(values.mean()), n, float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None, unscored)
