"""Cross-domain retain accuracy (CRA): whether the other domain is still drawn."""

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value

from ._answers import graded
from ._requests import RequestSettings, last_concepts
from ._retained import cross_domain


class Cra(Metric):
    """Style request: mean of Q over all objects, pictures of the forgotten style among them; object request: mean of P
    over the styles, pictures of the forgotten object among them.

    P_s: share of the pictures asked in style s that the style head reads as s; Q_o the same for object o and the object
    head, over all themes. Both denominators of diffusion 1.5 by `exclude_seed_images`; the note says how many classes
    were in the mean. Requests of pairs have SC, OC and UP instead, so n is 0 here.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> said = {"tag.style": ["A", "A", "B", "B"], "tag.object": ["x", "y", "x", "y"]}
    >>> said["label"] = ["A/x", "B/x", "B/y", "A/x"]
    >>> rows = Rows(tuple("1234"), {k: np.array(v, object) for k, v in said.items()})
    >>> Cra({"request": {"kind": "style", "name": "A"}}).reduce(Sight(rows))[:2]
    (0.25, 4)
    """

    Config = RequestSettings  # type: ignore[assignment]  # shared by several metrics
    better = "higher"
    columns = ("label", "tag.style", "tag.object")
    reads = "pictures"
    check_settings = {"request": {"kind": "style", "name": "Dots"}}

    def reduce(self, sight: Sight) -> Value:
        """n: pictures counted."""
        found = graded(sight)
        if found is None:
            return NOTHING
        return cross_domain(found, last_concepts(sight, self.config, self.name()), self.config)
