"""Figures of attacks: cells with 95 % intervals, what was recovered item by item, and whether an attack leaks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmunlearn.intervals import LEVEL, normal, paired, paired_difference, wilson
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.metrics.top1 import Top1, correct
from mmunlearn.records import Rows

HIT = 0.5  # a judge's value from which on the attacker succeeded
Hits = Mapping[str, bool]  # by id; what is unscored is absent


def accuracy(rows: Rows) -> Value:
    """Top-1 accuracy with a 95 % interval: Wilson's where each example is right or wrong, normal for label vectors."""
    value = Top1().reduce(Sight(rows))
    hits = value.value * value.n
    if value.n and rows["target"].ndim > 1 and rows["target"].shape[1] == 1:
        low, high = (float(end) for end in wilson(round(hits), value.n))
        return value._replace(low=low, high=high)
    return value


def mean(values: np.ndarray) -> Value:
    """Mean and its standard error; NaN of nothing."""
    n = len(values)
    stderr = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return Value(float(values.mean()) if n else math.nan, n, stderr)


def share(hits: Sequence[bool], unscored: int = 0) -> Value:
    """Share of successes with Wilson's interval; `unscored` are left out and counted."""
    n = len(hits)
    if not n:
        return Value(math.nan, 0, None, unscored)
    rate = sum(hits) / n
    low, high = (float(end) for end in wilson(sum(hits), n))
    return Value(rate, n, math.sqrt(rate * (1 - rate) / n), unscored, low, high)


def successes(values: np.ndarray) -> Value:
    """Share of a judge's values (NaN = unscored) that are successes."""
    scored = values[~np.isnan(values)]
    return share([bool(v >= HIT) for v in scored], len(values) - len(scored))


def hits_of(rows: Rows) -> dict[str, bool]:
    """Which rows show the forgotten: by the judge's column `value`, else by the predicted class."""
    if "value" in rows:
        return {key: bool(v >= HIT) for key, v in zip(rows.ids, rows["value"], strict=True) if not math.isnan(v)}
    if "logits" in rows and "target" in rows:
        right = correct(rows["logits"], rows["target"])
        return {key: bool(v >= 1) for key, v in zip(rows.ids, right, strict=True)}
    return {}


def difference(before: Hits, after: Hits, level: float = LEVEL) -> dict[str, Any]:
    """Share of `after` minus share of `before` over the ids that both have, with Newcombe's paired interval."""
    both, gained, lost, n = _counts(before, after)
    if not n:
        return {"value": None, "n": 0, "low": None, "high": None}
    low, high = paired_difference(both, gained, lost, n, level)
    return {"value": (gained - lost) / n, "n": n, "low": low, "high": high}


def _counts(before: Hits, after: Hits) -> tuple[int, int, int, int]:
    """Hits before and after, only after, only before; and how many ids both have."""
    shared = [key for key in before if key in after]
    gained = sum(after[key] and not before[key] for key in shared)
    lost = sum(before[key] and not after[key] for key in shared)
    return sum(before[key] and after[key] for key in shared), gained, lost, len(shared)


def leak(clean: Hits, attacked: Sequence[Hits]) -> dict[str, Any]:
    """Whether an attack teaches a model that never knew: its attacked rate is significantly above its clean rate.

    attacked: hits at each budget. McNemar's exact test at each, its level divided by their number (Bonferroni). Gives
    `leaks` and the `difference` of the clearest budget, its interval widened alike.
    """
    level = 1 - (1 - LEVEL) / max(1, len(attacked))
    clearest, worst = -math.inf, difference({}, {})
    for hits in attacked:
        _, gained, lost, n = _counts(clean, hits)
        low = paired(gained, lost, n, level)[0]
        if low > clearest:
            clearest, worst = low, difference(clean, hits, level)
    return {"leaks": clearest > 0, "difference": worst}


def cells(values: Mapping[str, Value]) -> dict[str, dict[str, Any]]:
    """Cells as JSON, with the ends of their 95 % intervals."""
    from mmunlearn.pipeline import cell_json

    made = {}
    for name, value in values.items():
        low, high = value.low, value.high
        if low is None and value.stderr is not None and math.isfinite(value.stderr):
            low, high = normal(value.value, value.stderr)
        ends = {"low": low, "high": high}
        made[name] = cell_json(value) | {k: None if v is None or math.isnan(v) else float(v) for k, v in ends.items()}
    return made
