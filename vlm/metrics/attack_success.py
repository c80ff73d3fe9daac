"""Attack success at a budget: the share of goals for which a candidate gives the answer away."""

import numpy as np
from pydantic import Field

from mmunlearn.intervals import wilson
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored
from mmunlearn.records import Rows
from mmunlearn.settings import Settings


class AttackSuccess(Metric):
    """AttackSuccess@B: mean over goals of whether the answer is among the first B candidates, with Wilson's interval.

    Reads what came of an attack's goals (column success). Lower is better: the model resists. Source:
    vlm_unlok_offside_med 1.4.

    >>> rows = Rows(("a", "b", "c"), {"success": np.array([1.0, 0.0, np.nan])})
    >>> AttackSuccess().reduce(Sight(rows))[:2]
    (0.5, 2)
    """

    class Config(Settings):
        """budget: only so many of a goal's candidates count (0: all). among: "solved" leaves out goals that the model
        before unlearning did not give away under the same attack (where that was run)."""

        budget: int = Field(0, ge=0)
        among: str = Field("all", pattern="^(all|solved)$")

    better = "lower"
    columns = ("success",)
    measures = "forgetting"
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The share and its interval."""
        rows = sight.rows
        if self.config.among == "solved" and sight.original is not None:
            known = {key for key, v in zip(sight.original.ids, sight.original["success"], strict=True) if v > 0}
            rows = rows.take([i for i, key in enumerate(rows.ids) if key in known])
        return share(at_budget(rows, self.config.budget))


def at_budget(rows: Rows, budget: int) -> Rows:
    """The rows with the success of the first `budget` candidates alone."""
    if not budget or not len(rows) or "tries" not in rows:
        return rows
    each = [[v for v in np.atleast_1d(tries)[:budget].astype(np.float64) if v == v] for tries in rows["tries"]]
    return rows.with_column("success", np.asarray([max(values) if values else np.nan for values in each]))


def share(rows: Rows) -> Value:
    """Mean of `success` over the rows that have one, with Wilson's interval for verdicts of yes and no."""
    if not len(rows) or "success" not in rows:
        return NOTHING._replace(unscored=len(rows))
    kept, unscored = scored(rows, "success")
    n = len(kept)
    if not n:
        return NOTHING._replace(unscored=unscored)
    values = kept["success"].astype(np.float64)
    low, high = (float(end) for end in wilson(float(values.sum()), n))
    stderr = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    return Value(float(values.mean()), n, stderr, unscored, low, high)
