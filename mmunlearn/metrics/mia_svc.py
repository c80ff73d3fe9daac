"""The membership attack of SalUn: a support vector machine on one signal, trained on retain and test rows."""

import numpy as np
from pydantic import Field

from mmunlearn.errors import UserError
from mmunlearn.metrics._samples import signal
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class MiaSvc(Metric):
    """Share of forget rows that an SVM takes for non-members; near the retrained model's value is good.

    SalUn's SVC_MIA (C = 3, RBF kernel, gamma "auto") on the confidence: shadow members are the first |test| retain
    rows, shadow non-members the test rows. Both come from `Sight.splits`. SalUn prints percent. Its modified entropy
    has a defect that `mmunlearn.signals` does not share.

    >>> from mmunlearn.records import Rows
    >>> def rows(name, z): return Rows(tuple(f"{name}{i}" for i in range(4)), {
    ...     "logits": np.array([[[z, 0.0]]] * 4), "target": np.zeros((4, 1), int)})
    >>> MiaSvc().reduce(Sight(rows("f", 0.1), splits={"retain": rows("r", 5.0), "test": rows("t", 0.0)})).value
    1.0
    """

    class Config(Settings):
        """signal: what the SVM sees. members, others: splits of the shadow data. strength: C of the SVM."""

        signal: str = "confidence"
        members: str = "retain"
        others: str = "test"
        strength: float = Field(3.0, gt=0)

    better = "closer"
    columns = ("logits", "target")
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """NaN where one of the three sets is empty."""
        c = self.config
        forget = signal(sight.rows, c.signal)
        known = forget[~np.isnan(forget)]
        unscored = len(forget) - len(known)
        if not len(known):
            return NOTHING._replace(unscored=unscored)
        for name in (c.members, c.others):
            if name not in sight.splits:
                raise UserError(f"metric mia_svc: no answers to the split {name!r}. Add it to the evaluation's splits.")
        members, others = (signal(sight.splits[name], c.signal) for name in (c.members, c.others))
        members, others = members[~np.isnan(members)][: len(others)], others[~np.isnan(others)]
        if not len(members) or not len(others):
            return NOTHING._replace(unscored=unscored)
        share = svc_share(members, others, known, c.strength)
        n = len(known)
        return Value(share, n, float(np.sqrt(share * (1 - share) / n)), unscored)


def svc_share(members: np.ndarray, others: np.ndarray, targets: np.ndarray, strength: float = 3.0) -> float:
    """Share of `targets` predicted non-member by the SVM that tells `members` from `others`; all (n,)."""
    from sklearn.svm import SVC

    x = np.concatenate([members, others])[:, None]
    y = np.repeat([1, 0], [len(members), len(others)])
    return float((SVC(C=strength, gamma="auto", kernel="rbf").fit(x, y).predict(targets[:, None]) == 0).mean())
