"""Flags of a run: a method that did nothing, a model that collapsed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmunlearn.evaluate import Comparison, rows_of
from mmunlearn.records import Rows
from mmunlearn.run import Run

SAME_LOGITS = 1e-3  # largest difference of a logit that still counts as "nothing happened"
SAME_ANSWERS = 0.005  # or: at most this share of changed answers and this mean change of probabilities
MAJORITY = 0.95  # share of one answer beyond which a model counts as collapsed


def flags_of(run: Run, facts: Mapping[str, Any], compare: Comparison, method: str) -> list[str]:
    """Flags "noop": weights or outputs are as before; "collapse": (nearly) one answer for everything."""
    flags = []
    forget, test = rows_of(run.path, "forget"), rows_of(run.path, "test")
    if method != "retrain":
        original = rows_of(compare.original, "forget") if compare.original else None
        if facts.get("weights_unchanged") or (
            forget is not None and original is not None and unchanged(forget, original)
        ):
            flags.append("noop")
    if test is not None and collapsed(test):
        flags.append("collapse")
    return flags


def unchanged(rows: Rows, original: Rows) -> bool:
    """Whether two models answer the same examples alike (a column `logits` is compared, else the losses)."""
    if rows.ids != original.ids or not len(rows):
        return False
    if "logits" not in rows:
        return bool(np.abs(rows["nll"] - original["nll"]).max() < SAME_LOGITS)
    now, before = rows["logits"], original["logits"]
    if np.abs(now - before).max() < SAME_LOGITS:
        return True
    changed = (_answers(now) != _answers(before)).any(-1).mean()
    shift = np.abs(_probabilities(now) - _probabilities(before)).mean()
    return bool(changed <= SAME_ANSWERS and shift <= SAME_ANSWERS)


def collapsed(rows: Rows) -> bool:
    """Whether one answer covers (nearly) all examples although the targets differ, or a number is not finite."""
    if "logits" not in rows or len(rows) < 20:
        return False
    logits, target = rows["logits"], rows["target"].astype(int)
    if not np.isfinite(logits).all():
        return True
    return _majority(_answers(logits)) > max(MAJORITY, _majority(target) + 0.02)


def _answers(logits: np.ndarray) -> np.ndarray:
    return (logits[..., 0] > 0).astype(int) if logits.shape[-1] == 1 else logits.argmax(-1)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    if logits.shape[-1] == 1:
        return 1 / (1 + np.exp(-logits))
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def _majority(answers: np.ndarray) -> float:
    _, counts = np.unique(answers, axis=0, return_counts=True)
    return float(counts.max() / len(answers))
