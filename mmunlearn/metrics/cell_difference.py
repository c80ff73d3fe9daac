"""Difference of two cells, such as the gap between what is kept and what is forgotten."""

import math

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class CellDifference(Metric):
    """`kept − forgotten` of two cells of this run (MedForget's forget–retain gap); errors taken as independent.

    >>> from mmunlearn.records import Rows
    >>> cells = {"retain/top1": Value(0.9, 4), "forget/top1": Value(0.2, 4)}
    >>> round(CellDifference().reduce(Sight(Rows((), {}), cells=cells)).value, 3)
    0.7
    """

    class Config(Settings):
        """kept, forgotten: names of the cells."""

        kept: str = "retain/top1"
        forgotten: str = "forget/top1"

    better = "higher"
    measures = "forgetting"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """The two."""
        return self.config.kept, self.config.forgotten

    def reduce(self, sight: Sight) -> Value:
        """NaN where one of the two has no value."""
        kept, gone = (sight.cells.get(name, NOTHING) for name in self.needs_cells)
        if math.isnan(kept.value) or math.isnan(gone.value):
            return NOTHING._replace(unscored=kept.unscored + gone.unscored)
        stderr = None
        if kept.stderr is not None and gone.stderr is not None:
            stderr = math.hypot(kept.stderr, gone.stderr)
        return Value(kept.value - gone.value, min(kept.n, gone.n), stderr, kept.unscored + gone.unscored)
