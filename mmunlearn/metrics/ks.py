"""Kolmogorov-Smirnov distance between two samples of a signal."""

from typing import Literal

from mmunlearn.metrics._samples import signal, two_samples
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class Ks(Metric):
    """Largest gap between the distribution functions of a signal on forget rows and on `against` (or on the retrained
    model's answers to the same rows).

    `report: p_value` gives the two-sided p-value instead; never show that alone, it falls with the number of rows.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> forget = Rows(("a", "b"), {"nll": np.array([0.1, 0.5])})
    >>> unseen = Rows(("c", "d"), {"nll": np.array([0.4, 0.9])})
    >>> Ks().reduce(Sight(forget, unseen)).value
    0.5
    """

    class Config(Settings):
        """signal: one of `mmunlearn.signals.SIGNALS`. versus: the second sample. report: which number."""

        signal: str = "loss"
        versus: Literal["against", "reference"] = "against"
        report: Literal["statistic", "p_value"] = "statistic"

    better = "lower"
    measures = "forgetting"

    @property
    def needs_against(self) -> bool:  # type: ignore[override]
        """Whether the plan must name a second split."""
        return self.config.versus == "against"

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        """Whether the retrained model's rows are compared with."""
        return self.config.versus == "reference"

    def reduce(self, sight: Sight) -> Value:
        """NaN where one of the samples is empty."""
        from scipy.stats import ks_2samp

        if self.config.versus == "against":
            one, two, unscored = two_samples(sight, self.config.signal)
        else:
            one = signal(sight.rows, self.config.signal)
            two = signal(sight.reference, self.config.signal) if sight.reference is not None else one[:0]
            unscored = int((one != one).sum() + (two != two).sum())
            one, two = one[one == one], two[two == two]
        if not len(one) or not len(two):
            return NOTHING._replace(unscored=unscored)
        found = ks_2samp(one, two)
        value = found.statistic if self.config.report == "statistic" else found.pvalue
        return Value(float(value), len(one) + len(two), None, unscored)
