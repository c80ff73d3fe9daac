"""Flags of a run: a method that did nothing, a model that collapsed."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn.evaluate import Comparison, rows_of
from mmunlearn.metrics.base import Metric, Sight, aligned
from mmunlearn.metrics.collapse import Collapse
from mmunlearn.metrics.degenerate import Degenerate
from mmunlearn.metrics.noop import Noop
from mmunlearn.records import Rows
from mmunlearn.run import Run
from mmunlearn.signals import mean_nll

# A method that moves one answer in a hundred of the forget set and probabilities by a hundredth has done nothing that
# anyone would call unlearning, even though some weights moved.
NOOP = Noop({"changed_share": 0.01, "probability_shift": 0.01})
COLLAPSE = Collapse()
DEGENERATE = Degenerate()


def flags_of(
    run: Run, facts: Mapping[str, Any], compare: Comparison, method: str, *, attacked: bool = False
) -> list[str]:
    """Flags "noop" (weights or outputs are as before) and "collapse" (nearly one answer for everything; texts that are
    no answers). attacked: the run attacks a model as another run has left it, so that its weights are those of its
    start says nothing; its outputs tell whether that model is the original."""
    flags = []
    if method != "retrain":
        original = rows_of(compare.original, "forget") if compare.original else None
        now = rows_of(run.path, "forget")
        still = original is not None and (_raised(NOOP, now, original) or _same_texts(now, original))
        unmoved = bool(facts.get("weights_unchanged")) and not attacked
        if unmoved or still or _same_pictures(run.path, compare.original):
            flags.append("noop")
    test = rows_of(run.path, "test")
    if _raised(COLLAPSE, test) or _collapsed_texts(test):
        flags.append("collapse")
    return flags


def _raised(detector: Metric, rows: Rows | None, original: Rows | None = None) -> bool:
    if rows is None or any(column not in rows for column in detector.columns):
        return False
    return detector.reduce(Sight(rows, original=original)).value == 1.0


def _same_texts(rows: Rows | None, original: Rows) -> bool:
    """Whether at most one generated answer in a hundred changed, and the loss a token by less than 0.01 nats."""
    needed = ("text", "nll", "count")
    if rows is None or any(name not in rows or name not in original for name in needed):
        return False
    now, before = aligned(rows, original)
    if not len(now):
        return False
    changed = np.mean([one != other for one, other in zip(now["text"], before["text"], strict=True)])
    shift = np.abs(mean_nll(now) - mean_nll(before)).mean()
    return bool(changed <= 0.01 and shift <= 0.01)


def _same_pictures(run: Path, original: Path | None) -> bool:
    """Whether at most one in a hundred of the pictures that both have made differs."""
    changed: list[bool] = []
    for folder in sorted((run / "images").glob("*")) if original is not None else ():
        now, before = rows_of(run, folder.name), rows_of(original, folder.name) if original else None
        if now is None or before is None or "image_hash" not in now or "image_hash" not in before:
            continue
        pairs = zip(*(rows["image_hash"] for rows in aligned(now, before)), strict=True)
        changed += [one != other for one, other in pairs]
    return bool(changed) and float(np.mean(changed)) <= 0.01


def _collapsed_texts(rows: Rows | None) -> bool:
    """Whether half of the generated answers are degenerate, or nine in ten are one and the same though the targets
    differ."""
    if rows is None or "text" not in rows or "target" not in rows:
        return False
    if DEGENERATE.reduce(Sight(rows)).value >= 0.5:
        return True
    most = Counter(str(text) for text in rows["text"]).most_common(1)[0][1]
    wanted = Counter(str(target) for target in rows["target"]).most_common(1)[0][1]
    return most >= 0.9 * len(rows) and wanted <= 0.5 * len(rows)
