"""KLOM: KL divergence of margins between unlearned and retrained models."""

import numpy as np
from pydantic import Field

from mmunlearn.bank import BankPath, read_bank
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, mean_of
from mmunlearn.settings import Settings

CLIP = 100.0
FLOOR = 1e-5


class Klom(Metric):
    """Mean over examples of KL(unlearned ‖ retrained) of the histograms of the margin log p_y - log(1 - p_y), nats.

    Source: EasyDUB (Georgiev et al., "Attribute-to-Delete"): margins clipped to ±100, twenty bins over the pooled
    range, retrained bins floored at 1e-5 where the unlearned bin is not empty. Differs from the code: the last bin is
    closed; `reference` leaves it open, so that the model with the largest margin drops out of its sample.

    >>> margins = np.array([[0.0, 1.0, 2.0, 3.0]])
    >>> klom(margins, margins).tolist()
    [0.0]
    """

    class Config(Settings):
        """unlearned, retrained: the two banks, as files or patterns of runs (few models: coarse).
        bins: of the histogram. reference: leave the last bin open.
        percentile: report this percentile over examples (0 … 100) instead of the mean."""

        unlearned: BankPath = ""
        retrained: BankPath = ""
        bins: int = Field(20, ge=2)
        reference: bool = False
        percentile: float | None = Field(None, ge=0, le=100)

    unit = "nats"
    better = "lower"
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """KLOM over the ids of `rows`; the rows' own numbers do not enter."""
        if not len(sight.rows):
            return NOTHING
        c, ids = self.config, sorted(sight.rows.ids)
        unlearned = read_bank(c.unlearned, "klom.unlearned").at(ids).signal("rescaled_logit")
        retrained = read_bank(c.retrained, "klom.retrained").at(ids).signal("rescaled_logit")
        known = ~np.isnan(unlearned).any(0) & ~np.isnan(retrained).any(0)
        if not known.any():
            return NOTHING._replace(unscored=len(ids))
        each = klom(unlearned[:, known].T, retrained[:, known].T, bins=c.bins, reference=c.reference)
        n, left_out = len(each), len(ids) - int(known.sum())
        if c.percentile is not None:
            return Value(float(np.percentile(each, c.percentile)), n, None, left_out)
        return mean_of(each, left_out)


def klom(unlearned: np.ndarray, retrained: np.ndarray, *, bins: int = 20, reference: bool = False) -> np.ndarray:
    """KLOM of each example; arguments (examples, models). All margins equal gives 0."""
    u, r = np.clip(unlearned, -CLIP, CLIP), np.clip(retrained, -CLIP, CLIP)
    low = np.minimum(u.min(1), r.min(1))
    high = np.maximum(u.max(1), r.max(1))
    edges = np.linspace(low, high, bins + 1, axis=-1)
    p, q = _histogram(u, edges, reference), _histogram(r, edges, reference)
    q = np.where(p > 0, np.maximum(q, FLOOR), q)
    q = q / q.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0).sum(1)
    return np.where(high > low, each, 0.0)


def _histogram(values: np.ndarray, edges: np.ndarray, open_end: bool) -> np.ndarray:
    """Share of each example's values in each bin, (examples, bins)."""
    bins = edges.shape[1] - 1
    index = (values[:, :, None] >= edges[:, None, :-1]).sum(-1) - 1
    counted = values < edges[:, -1:] if open_end else np.ones(values.shape, dtype=bool)
    flat = (np.maximum(index, 0) + bins * np.arange(len(values))[:, None])[counted]
    counts = np.bincount(flat, minlength=bins * len(values)).reshape(len(values), bins)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)
