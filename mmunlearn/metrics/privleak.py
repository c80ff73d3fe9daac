"""PrivLeak (MUSE): membership AUC of the unlearned model relative to the retrained one's."""

from mmunlearn import roc
from mmunlearn.metrics._samples import two_samples
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class Privleak(Metric):
    """(AUC_u - AUC_r) / AUC_r, in MUSE's sign and sense: AUC of "not a member", so negative = still member-like
    (under-unlearned), positive = over-unlearned, 0 = like the retrained model.

    Source: MUSE (Shi et al., 2024). Differs from the paper: a fraction, where MUSE prints percent; the default signal
    is the mean log-likelihood of the whole answer (MUSE: of its 40 % least likely tokens); AUC_r is measured on
    the same rows, not a constant. `auc` gives the raw AUC (higher = member).

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> def rows(*nll): return Rows(tuple(f"{i}" for i in range(len(nll))), {"nll": np.array(nll)})
    >>> Privleak().reduce(Sight(rows(1, 2), rows(1, 3), reference=rows(1, 2), reference_against=rows(1, 2))).value
    -0.25
    """

    class Config(Settings):
        """signal: one of `mmunlearn.signals.SIGNALS`."""

        signal: str = "loss"

    better = "closer"
    needs_against = True
    needs_reference = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """NaN where a side is empty or the retrained model's AUC is 0."""
        members, others, unscored = two_samples(sight, self.config.signal)
        if sight.reference is None or sight.reference_against is None or not len(members) or not len(others):
            return NOTHING._replace(unscored=unscored)
        gold, gold_others, gone = two_samples(Sight(sight.reference, sight.reference_against), self.config.signal)
        if not len(gold) or not len(gold_others):
            return NOTHING._replace(unscored=unscored + gone)
        unlearned, retrained = roc.auc(members, others), roc.auc(gold, gold_others)
        outside = 1 - retrained.value
        if outside == 0:
            return NOTHING._replace(unscored=unscored + gone)
        value = (1 - unlearned.value - outside) / outside
        return Value(value, len(members) + len(others), None, unscored + gone)
