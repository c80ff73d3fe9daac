"""Loss gap: how much lower the members' mean loss is."""

from collections.abc import Mapping

from mmunlearn.attacks.base import RowsAttack
from mmunlearn.metrics.base import NOTHING, Sight, Value


class LossGap(RowsAttack):
    """Mean loss of non-members minus mean loss of members, in nats."""

    def measure(self, sight: Sight, seed: int) -> Mapping[str, Value]:
        """One value, "gap"."""
        if sight.against is None or not len(sight.rows) or not len(sight.against):
            return {"gap": NOTHING}
        return {"gap": Value(float(sight.against["nll"].mean() - sight.rows["nll"].mean()), len(sight.rows))}
