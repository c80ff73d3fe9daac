"""Refusal rate (RR): share of answers that refuse."""

from mmunlearn.metrics.base import Metric, Sight, Value

from ._verdicts import VerdictSettings, share


class Rr(Metric):
    """Share of rows that the judge of refusal calls a refusal (value 1), over the answers that ASR is measured on.

    SafeEraser (vlm_fiu_mmu_safe 3.3). A collapsed model has ASR 0, RR 0 and SARR 1: show all three together.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> Rr().reduce(Sight(Rows(("a", "b", "c"), {"value": np.array([1.0, 0.0, np.nan])})))[:2]
    (0.5, 2)
    """

    class Config(VerdictSettings):
        """Settings of VerdictSettings."""

    better = "higher"
    columns = ("value",)

    def reduce(self, sight: Sight) -> Value:
        """The share with its standard error."""
        return share(sight, self.config)
