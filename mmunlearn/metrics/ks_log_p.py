"""Forget quality of TOFU and FIUBench: can the truth ratios be told from the retrained model's?"""

import math
from typing import Literal

from mmunlearn.metrics._text import DivideBy, choice_columns
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.metrics.truth_ratio import truth_ratios
from mmunlearn.records import Rows
from mmunlearn.settings import Settings


class KsLogP(Metric):
    """Logarithm of the p-value of a two-sample Kolmogorov-Smirnov test between the truth ratios of this model and of
    the retrained one on the same rows; 0 = not to be told apart, below log 0.05 = different.

    It falls with the number of rows, so values of different benchmarks or sizes do not compare. The base is e: neither
    paper states it, and FIUBench's own quality column agrees with any base (vlm_fiu_mmu_safe.md 1.5). A p-value below
    the smallest double counts as that double (natural logarithm -708).

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a",), {"choices_nll": np.array([[1.0, 2.0]]), "choices_count": np.array([[1, 1]])})
    >>> KsLogP().reduce(Sight(rows, reference=rows)).value
    0.0
    """

    class Config(Settings):
        """divide_by: of the truth ratio. base: of the logarithm."""

        divide_by: DivideBy = "tokens"
        base: Literal["e", "10"] = "e"

    unit = "log p"
    better = "higher"
    needs_reference = True
    measures = "forgetting"
    reads = "text"

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The choices' columns."""
        return choice_columns(self.config.divide_by)

    def reduce(self, sight: Sight) -> Value:
        """NaN where one of the two has no truth ratio."""
        return ks_log_p(sight.rows, sight.reference, self.config)


def ks_log_p(rows: Rows, reference: Rows | None, config: KsLogP.Config) -> Value:
    """The value for two sets of rows; NaN where one is empty."""
    from scipy.stats import ks_2samp

    own, unscored = truth_ratios(rows, config.divide_by)
    if reference is None:
        return NOTHING._replace(unscored=unscored)
    gold, missing = truth_ratios(reference, config.divide_by)
    if not len(own) or not len(gold):
        return NOTHING._replace(unscored=unscored + missing)
    log_p = math.log(max(float(ks_2samp(own, gold).pvalue), 2.2250738585072014e-308))
    value = log_p / math.log(10) if config.base == "10" else log_p
    return Value(value, len(own) + len(gold), None, unscored + missing)
