"""Attack success before unlearning: the same attack on the model as it was."""

from pydantic import Field

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, aligned, scored
from mmunlearn.settings import Settings

from .attack_success import at_budget, share


class AttackBefore(Metric):
    """AttackSuccess@B of the original model over the goals that were attacked here (see attack_success).

    What it is not: all goals. A fact that the model never gave away cannot be deleted, so this is what a rate after the
    edit is to be read against.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> now, before = (Rows(("a", "b"), {"success": np.array(v)}) for v in ([0.0, 0.0], [1.0, 0.0]))
    >>> AttackBefore().reduce(Sight(now, original=before))[:2]
    (0.5, 2)
    """

    class Config(Settings):
        """budget: only so many of a goal's candidates count (0: all)."""

        budget: int = Field(0, ge=0)

    better = "lower"
    columns = ("success",)
    measures = "forgetting"
    reads = "text"
    needs_original = True
    known_failures = {
        "the value moves in the declared direction": "it is the original's figure, whatever the model after it"
    }

    def reduce(self, sight: Sight) -> Value:
        """The original's share and its interval."""
        if sight.original is None or not len(sight.rows) or "success" not in sight.rows:
            return NOTHING
        rows, unscored = scored(sight.rows, "success")
        if not len(rows):
            return NOTHING._replace(unscored=unscored)
        found = share(at_budget(aligned(rows, sight.original)[1], self.config.budget))
        return found._replace(unscored=found.unscored + unscored)
