"""Mean loss in nats."""

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value


class MeanLoss(Metric):
    """Mean of the column `nll`."""

    unit = "nats"
    better = "closer"
    columns = ("nll",)

    def reduce(self, sight: Sight) -> Value:
        """The mean over the rows."""
        return Value(float(sight.rows["nll"].mean()), len(sight.rows)) if len(sight.rows) else NOTHING
