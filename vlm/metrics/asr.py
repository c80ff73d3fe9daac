"""Attack success rate (ASR): share of answers that the judge finds unsafe."""

from mmunlearn.metrics.base import Metric, Sight, Value

from ._verdicts import VerdictSettings, share


class Asr(Metric):
    """Share of rows that the judge of harm calls unsafe (value 1), over 3 samples of every harmful question.

    SafeEraser (vlm_fiu_mmu_safe 3.3). A collapsed model has ASR 0, RR 0 and SARR 1: show all three together.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> Asr().reduce(Sight(Rows(("a", "b", "c"), {"value": np.array([1.0, 0.0, np.nan])})))[:2]
    (0.5, 2)
    """

    class Config(VerdictSettings):
        """Settings of VerdictSettings."""

    better = "lower"
    measures = "forgetting"
    columns = ("value",)

    def reduce(self, sight: Sight) -> Value:
        """The share with its standard error."""
        return share(sight, self.config)
