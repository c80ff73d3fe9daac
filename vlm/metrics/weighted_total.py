"""Weighted total of text overlap and a judge's score (MedForget)."""

from typing import Literal

import numpy as np
from pydantic import Field

from mmunlearn.metrics._text import answered, mean_of, picked
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.metrics.rouge_l import scorer
from mmunlearn.settings import Settings


class WeightedTotal(Metric):
    """Mean over rows of `0.25 · ROUGE-L F1 + 0.75 · verdict / 10`, verdicts from 1 to 10.

    Source: fengli-wu/MedForget eval.py at df0e78c. Differs from the reference: a row that the judge left unscored is
    left out; `failed: zero` counts its verdict as 0, as released (where the mean factuality leaves it out).

    >>> from mmunlearn.records import Rows
    >>> columns = {"text": np.array(["a cyst"], object), "target": np.array(["a cyst"], object)}
    >>> round(WeightedTotal().reduce(Sight(Rows(("1",), {**columns, "value": np.array([8.0])}))).value, 2)
    0.85
    """

    class Config(Settings):
        """overlap: weight of ROUGE-L, the judge's is the rest. top: the highest verdict. failed: see the class. where:
        tags that a row must have."""

        overlap: float = Field(0.25, ge=0, le=1)
        top: float = Field(10.0, gt=0)
        failed: Literal["drop", "zero"] = "drop"
        where: dict[str, str] = Field(default_factory=dict)

    better = "higher"
    columns = ("text", "target", "value")
    reads = "text"
    check_settings = {"top": 1.0}

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(picked(sight.rows, self.config.where), "text", "target")
        if not len(rows) or "value" not in rows:
            return mean_of(np.empty(0), unscored + len(rows))
        score = scorer(stemmer=True)
        rouge = np.asarray([score(t, a).fmeasure for t, a in zip(rows["target"], rows["text"], strict=True)])
        value = rows["value"].astype(np.float64)
        if self.config.failed == "zero":
            value = np.where(np.isnan(value), 0.0, value)
        weight = self.config.overlap
        return mean_of(weight * rouge + (1 - weight) * value / self.config.top, unscored)
