"""Unlearning accuracy (UA): how often the head no longer reads the concept in pictures that were asked to show it."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value

from ._answers import Answers, Share, graded, mean_share, share, with_untagged
from ._requests import Concept, RequestSettings, last_concepts


class Ua(Metric):
    """1 minus the share of pictures, asked to show the forgotten concept, in which its head reads it.

    Style request s: 1 - P_s over all objects and seeds; object request o: 1 - Q_o over all themes, the photographs
    among them; pair: 1 minus the share in which both heads read the pair (our reading; diffusion 1.5, 1.7). Of several
    concepts forgotten together the mean over them. Read it beside IRA and CRA: noise has UA 1.

    >>> from mmunlearn.records import Rows
    >>> columns = {"tag.style": ["A", "A", "B"], "tag.object": ["x", "y", "x"], "label": ["A/x", "B/y", "A/x"]}
    >>> rows = Rows(("1", "2", "3"), {k: np.array(v, object) for k, v in columns.items()})
    >>> Ua({"request": {"kind": "style", "name": "A"}}).reduce(Sight(rows))[:2]
    (0.5, 2)
    """

    Config = RequestSettings  # type: ignore[assignment]  # shared by several metrics
    better = "higher"
    columns = ("label", "tag.style", "tag.object")
    measures = "forgetting"
    reads = "pictures"
    check_settings = {"request": {"kind": "style", "name": "Dots"}}

    def reduce(self, sight: Sight) -> Value:
        """n: pictures of the concept; unscored: those of them without a verdict."""
        found = graded(sight)
        if found is None:
            return NOTHING
        gone = last_concepts(sight, self.config, self.name())
        parts = [concept_share(found, concept) for concept in gone]
        return with_untagged(mean_share(parts, forgotten=True), found)


def concept_share(found: Answers, concept: Concept) -> Share:
    """Share of the pictures asked to show the concept in which its head (both, for a pair) reads it."""
    right = np.ones(len(found.style), dtype=bool)
    if concept.style is not None:
        right &= found.right("style")
    if concept.object is not None:
        right &= found.right("object")
    return share(found, right, concept.shown(found.style, found.object))
