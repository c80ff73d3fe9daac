"""Gap: how far a metric's value is from the retrained model's."""

from collections.abc import Mapping
from typing import Any

from mmunlearn import registry
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class Gap(Metric):
    """|value - value of the retrained model| of another metric, measured on the same rows of both models.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> def rows(*z): return Rows(("a",), {"logits": np.array([[z]]), "target": np.array([[0]])})
    >>> Gap().reduce(Sight(rows(0.0, 1.0), reference=rows(1.0, 0.0))).value
    1.0
    """

    class Config(Settings):
        """metric: the metric's name. settings: its settings."""

        metric: str = "top1"
        settings: dict[str, Any] = {}

    better = "lower"
    needs_reference = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """NaN where the metric is NaN for one of the models; the standard error takes both as independent."""
        metric = _metric(self.config.metric, self.config.settings)
        if sight.reference is None:
            return NOTHING
        mine = metric.reduce(sight)
        gold = metric.reduce(
            Sight(
                sight.reference, sight.reference_against, sight.reference, sight.reference_against,
                sight.original, sight.original_against,
            )
        )  # fmt: skip
        if mine.value != mine.value or gold.value != gold.value:
            return NOTHING._replace(unscored=mine.unscored)
        stderr = None
        if mine.stderr is not None and gold.stderr is not None:
            stderr = (mine.stderr**2 + gold.stderr**2) ** 0.5
        return Value(abs(mine.value - gold.value), mine.n, stderr, mine.unscored)


def _metric(name: str, settings: Mapping[str, Any]) -> Metric:
    return registry.load("metrics", name)(settings)
