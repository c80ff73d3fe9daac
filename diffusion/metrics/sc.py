"""Style consistency (SC) of a forgotten pair: the style with other objects."""

from mmunlearn.metrics.base import Metric, Sight, Value

from ._pairs import pair_part
from ._requests import RequestSettings


class Sc(Metric):
    """Accuracy of the style head on prompts of the pair's style with other objects.

    Our reading: the paper names the metric and gives neither denominators nor a table (diffusion 1.7).

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> said = {"tag.style": ["A", "A", "B", "B"], "tag.object": ["x", "y", "x", "y"]}
    >>> said["label"] = ["A/x", "A/x", "B/y", "A/y"]
    >>> rows = Rows(tuple("1234"), {k: np.array(v, object) for k, v in said.items()})
    >>> Sc({"request": {"kind": "pair", "name": "A/x"}}).reduce(Sight(rows))[:2]
    (1.0, 1)
    """

    Config = RequestSettings  # type: ignore[assignment]  # shared by several metrics
    better = "higher"
    columns = ("label", "tag.style", "tag.object")
    reads = "pictures"
    check_settings = {"request": {"kind": "pair", "name": "Stripes/Square"}}

    def reduce(self, sight: Sight) -> Value:
        """n: pictures counted; 0 for requests that are no pair."""
        return pair_part(sight, self.config, self.name(), "style")
