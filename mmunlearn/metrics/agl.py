"""AGL: agreement of logit-based metrics with the retrained model."""

from mmunlearn.metrics.average_gap import AverageGap
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.settings import Settings


class Agl(Metric):
    """1 - mean gap of accuracies to the retrained model's; 1 = equal.

    OUR definition: "Are We Truly Forgetting?" names a unified score of this kind, but its arithmetic is not published.

    >>> from mmunlearn.records import Rows
    >>> cells = {"forget/gap_top1": Value(0.5, 4), "test/gap_top1": Value(0.1, 9)}
    >>> Agl({"gaps": list(cells)}).reduce(Sight(Rows((), {}), cells=cells)).value
    0.7
    """

    class Config(Settings):
        """gaps: cells of gaps of accuracies."""

        gaps: tuple[str, ...] = ("forget/gap_top1", "retain/gap_top1", "test/gap_top1")

    better = "higher"
    measures = "forgetting"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """The gaps."""
        return self.config.gaps

    def reduce(self, sight: Sight) -> Value:
        """NaN where a cell is missing or NaN."""
        gap = AverageGap({"gaps": self.config.gaps}).reduce(sight)
        return gap._replace(value=1 - gap.value)
