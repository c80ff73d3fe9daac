"""Degenerate answers: empty, repeating themselves, or made of what are no words."""

import numpy as np

from mmunlearn.judges.degenerate import Degenerate as Rule
from mmunlearn.judges.degenerate import fault
from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value


class Degenerate(Metric):
    """Share of answers that the judge of this name finds degenerate; show it beside every forget score, which such
    answers make look perfect (vlm_fiu_mmu_safe.md 6.9).

    >>> from mmunlearn.records import Rows
    >>> text = np.array(["the the the the the", "She lives in Oslo.", " "], object)
    >>> round(Degenerate().reduce(Sight(Rows(tuple("abc"), {"text": text}))).value, 3)
    0.667
    """

    Config = Rule.Config  # type: ignore[assignment]  # the judge's own settings

    better = "lower"
    columns = ("text",)
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The share with its standard error."""
        rows, unscored = answered(sight.rows, *self.columns)
        found = [fault(text, self.config) is not None for text in rows["text"]] if len(rows) else []
        return mean_of(np.asarray(found, dtype=np.float64), unscored)
