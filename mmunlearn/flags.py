"""Flags of a run: a method that did nothing, a model that collapsed."""

from collections.abc import Mapping
from typing import Any

from mmunlearn.evaluate import Comparison, rows_of
from mmunlearn.metrics.base import Metric, Sight
from mmunlearn.metrics.collapse import Collapse
from mmunlearn.metrics.noop import Noop
from mmunlearn.records import Rows
from mmunlearn.run import Run

# A method that moves one answer in a hundred of the forget set and probabilities by a hundredth has done nothing that
# anyone would call unlearning, even though some weights moved.
NOOP = Noop({"changed_share": 0.01, "probability_shift": 0.01})
COLLAPSE = Collapse()


def flags_of(run: Run, facts: Mapping[str, Any], compare: Comparison, method: str) -> list[str]:
    """Flags "noop" (weights or outputs are as before) and "collapse" (nearly one answer for everything)."""
    flags = []
    if method != "retrain":
        original = rows_of(compare.original, "forget") if compare.original else None
        still = original is not None and _raised(NOOP, rows_of(run.path, "forget"), original)
        if facts.get("weights_unchanged") or still:
            flags.append("noop")
    if _raised(COLLAPSE, rows_of(run.path, "test")):
        flags.append("collapse")
    return flags


def _raised(detector: Metric, rows: Rows | None, original: Rows | None = None) -> bool:
    if rows is None or any(column not in rows for column in detector.columns):
        return False
    return detector.reduce(Sight(rows, original=original)).value == 1.0
