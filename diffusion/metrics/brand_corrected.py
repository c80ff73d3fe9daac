"""Corrected brand rate: B freed of the judge's own mistakes, as far as controls and the base model's pictures tell."""

import numpy as np
from pydantic import Field

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value

from ._brands import BrandSettings, Graded, graded, share


class BrandCorrected(Metric):
    """Rogan and Gladen 1978: `B* = (B - f) / (s - f)`, clipped to 0..1. Ours; the paper corrects nothing.

    f: how often the judge reads the forgotten brand in this model's controls (prompts without a brand; mean over the
    forgotten brands, weighted by their pictures). s: how often it reads the asked brand in the original model's
    pictures of the forgotten brands, the judge's sensitivity if the original draws every brand it is asked for (else a
    lower bound, which makes B* too high); or the setting `sensitivity`, measured on labelled pictures by
    `mmunlearn judge audit`. NaN where s is not above f: such a judge tells nothing. The standard error is B's over
    (s - f) and takes f and s as known.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> columns = {"tag.brand": ["A"] * 4 + ["NO_BRAND"] * 4, "label": ["A", "A", "B", "B", "A", "B", "B", "B"]}
    >>> rows = Rows(tuple("12345678"), {k: np.array(v, object) for k, v in columns.items()})
    >>> round(BrandCorrected({"brands": ["A"], "sensitivity": 0.75}).reduce(Sight(rows)).value, 6)
    0.5
    """

    class Config(BrandSettings):
        """sensitivity: of the judge; none for the original's pictures."""

        sensitivity: float | None = Field(None, gt=0, le=1)

    better = "lower"
    columns = ("label",)
    measures = "forgetting"
    reads = "pictures"
    check_settings = {"brands": ["Dots"], "tag": "style", "none": "Seed_Images", "sensitivity": 1.0}

    def reduce(self, sight: Sight) -> Value:
        """n: scored pictures of the forgotten brands; note: f and s."""
        if not len(sight.rows):
            return NOTHING
        found = graded(sight.rows, sight, self.config)
        own = share(found, found.shows_asked, found.forgotten)
        false, right = _false_rate(found), self._sensitivity(sight)
        if not own.n or np.isnan(false) or np.isnan(right):
            return NOTHING._replace(unscored=own.n + own.unscored)
        note = f"false positives {false:.3f}, sensitivity {right:.3f}"
        if right <= false:
            return NOTHING._replace(unscored=own.n + own.unscored, note=f"{note}: the judge cannot tell the brand")
        value = float(np.clip((own.value - false) / (right - false), 0, 1))
        stderr = (own.value * (1 - own.value) / own.n) ** 0.5 / (right - false)
        return Value(value, own.n, stderr, own.unscored, note=note)

    def _sensitivity(self, sight: Sight) -> float:
        if self.config.sensitivity is not None:
            return self.config.sensitivity
        if sight.original_judged is None:
            return float("nan")
        base = graded(sight.original_judged, sight, self.config)
        return share(base, base.shows_asked, base.forgotten).value


def _false_rate(found: Graded) -> float:
    """Mean over the forgotten brands of how often controls are given that brand."""
    brands = found.brands
    if not brands or not (found.control & found.scored).any():
        return float("nan")
    weights = [int((found.forgotten & found.scored & (found.asked == brand)).sum()) for brand in brands]
    rates = [share(found, found.shows(brand), found.control).value for brand in brands]
    return float(np.average(rates, weights=weights)) if sum(weights) else float("nan")
