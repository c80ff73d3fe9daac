"""Exact answer: 1 when the predicted class, label vector or text is the target, else 0."""

import numpy as np

from mmunlearn.judges.base import UNSCORED, Judge, Sample, Verdict


class Exact(Judge):
    """Compares the response's prediction with the example's target; a response without logits or text is unscored."""

    offered = ("right", "wrong")
    needs_target = True
    samples = (Sample(" a Cat", "right", "A cat"), Sample("a dog", "wrong", "a cat"))

    def grade(self, items):
        """Classifiers: argmax (label vectors: every sign) against the target. Text: equal after stripping and case."""
        return [_grade(item) for item in items]


def _grade(item) -> Verdict:
    target = item.example.target
    if "logits" in item.fields and target is not None:
        logits = np.asarray(item.fields["logits"], dtype=np.float64)
        if not np.isfinite(logits).all():
            return UNSCORED
        got = (logits[:, 0] > 0).astype(int) if logits.shape[-1] == 1 else logits.argmax(-1)
        right = bool((got == np.atleast_1d(np.asarray(target))).all())
    elif isinstance(item.fields.get("text"), str) and isinstance(target, str):
        right = item.fields["text"].strip().casefold() == target.strip().casefold()
    else:
        return UNSCORED
    return Verdict(float(right), "right" if right else "wrong")
