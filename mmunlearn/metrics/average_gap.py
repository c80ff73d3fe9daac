"""Average gap: mean of several gaps to the retrained model."""

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class AverageGap(Metric):
    """Mean of the gaps in the cells named; SalUn: of unlearning, retain and test accuracy and its attack `mia_svc`.

    The cells come from the metric `gap`, under a name of the plan's choice (`as: gap_top1`). A fraction; SalUn prints
    percentage points.

    >>> cells = {"forget/gap_top1": Value(0.5, 4), "retain/gap_top1": Value(0.1, 9)}
    >>> from mmunlearn.records import Rows
    >>> AverageGap({"gaps": list(cells)}).reduce(Sight(Rows((), {}), cells=cells)).value
    0.3
    """

    class Config(Settings):
        """gaps: cells, "<evaluation>/<metric>"."""

        gaps: tuple[str, ...] = ("forget/gap_top1", "retain/gap_top1", "test/gap_top1", "forget/gap_mia_svc")

    better = "lower"
    measures = "forgetting"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """The cells averaged."""
        return self.config.gaps

    def reduce(self, sight: Sight) -> Value:
        """n = number of gaps; NaN where a cell is missing or NaN."""
        values = [sight.cells[name].value for name in self.config.gaps if name in sight.cells]
        if len(values) != len(self.config.gaps) or not values or any(v != v for v in values):
            return NOTHING
        return Value(sum(values) / len(values), len(values))
