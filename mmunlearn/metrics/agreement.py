"""Agreement of two judges: how often, and how far beyond chance, another evaluation of the same rows says the same."""

from typing import Literal

from mmunlearn import agreement as figures
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored
from mmunlearn.settings import Settings


class Agreement(Metric):
    """Cohen's kappa (or the raw share) of equal verdicts between this evaluation and the evaluation `other` of the
    run, over rows that both have scored. `by: value` compares whether the values are at least one half, so that judges
    with other words for the same can be compared. Interval: bootstrap (kappa) or Wilson (raw).

    >>> from mmunlearn.records import Rows
    >>> import numpy as np
    >>> rows = Rows(("1", "2"), {"value": np.array([1.0, 0.0]), "label": np.array(["a", "b"], object)})
    >>> Agreement({"other": "x", "kind": "raw"}).reduce(Sight(rows, judged={"x": rows}))[:2]
    (1.0, 2)
    """

    class Config(Settings):
        """other: name of the other evaluation, which stands before this one in the table."""

        other: str = ""
        kind: Literal["kappa", "raw"] = "kappa"
        by: Literal["label", "value"] = "label"

    better = "higher"
    columns = ("value", "label")
    check_settings = {"kind": "raw"}

    def reduce(self, sight: Sight) -> Value:
        """n: rows that both scored; unscored: the others. Without `other`, the retrained model's verdicts are taken
        where they are there (how far two models are graded alike)."""
        mine, _ = scored(sight.rows)
        other = sight.judged.get(self.config.other) if self.config.other else sight.reference
        if not len(mine) or other is None or not {"value", "label"} <= set(other.columns):
            return NOTHING._replace(unscored=len(sight.rows))
        theirs = dict(zip(other.ids, zip(other[self.config.by], other["value"], strict=True), strict=True))
        pairs = [
            (a, theirs[key][0]) for key, a in zip(mine.ids, mine[self.config.by], strict=True)
            if key in theirs and theirs[key][1] == theirs[key][1]
        ]  # fmt: skip
        if self.config.by == "value":
            pairs = [(float(a) >= 0.5, float(b) >= 0.5) for a, b in pairs]
        one, two = [a for a, _ in pairs], [b for _, b in pairs]
        found = (figures.kappa if self.config.kind == "kappa" else figures.raw_agreement)(one, two)
        return Value(found.value, found.n, None, len(sight.rows) - found.n, found.low, found.high)
