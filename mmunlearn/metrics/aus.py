"""Adaptive unlearning score (ERASURE, SCAR)."""

from typing import Literal

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.metrics.top1 import Top1
from mmunlearn.settings import Settings


class Aus(Metric):
    """[1 - (A_t(original) - A_t)] / [1 + |A_t - A_f|]: high when test accuracy stays and forget rows do no better.

    Put it on the test split: A_t is measured on `rows`, A_t(original) on the original model's rows, A_f from a cell.
    `target: zero` is SCAR's form for class removal, with the denominator 1 + A_f.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> right = Rows(("a",), {"logits": np.array([[[1.0, 0.0]]]), "target": np.array([[0]])})
    >>> Aus().reduce(Sight(right, original=right, cells={"forget/top1": Value(1.0, 5)})).value
    1.0
    """

    class Config(Settings):
        """forget: cell of the accuracy on the forget split. target: what that accuracy should be near."""

        forget: str = "forget/top1"
        target: Literal["test", "zero"] = "test"

    better = "higher"
    columns = ("logits", "target")
    needs_original = True

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """The forget accuracy."""
        return (self.config.forget,)

    def reduce(self, sight: Sight) -> Value:
        """NaN where one of the three accuracies is."""
        test = Top1().reduce(sight)
        forget = sight.cells.get(self.config.forget)
        if sight.original is None or forget is None or test.value != test.value or forget.value != forget.value:
            return NOTHING._replace(unscored=test.unscored)
        before = Top1().reduce(Sight(sight.original))
        if before.value != before.value:
            return NOTHING._replace(unscored=before.unscored)
        wanted = test.value if self.config.target == "test" else 0.0
        value = (1 - (before.value - test.value)) / (1 + abs(wanted - forget.value))
        return Value(value, test.n, None, test.unscored)
