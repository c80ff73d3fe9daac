"""Unrelated prompts (UP) of a forgotten pair: everything else."""

from mmunlearn.metrics.base import Metric, Sight, Value

from ._pairs import pair_part
from ._requests import RequestSettings


class Up(Metric):
    """Mean accuracy of both heads on prompts that share neither style nor object with the pair.

    Our reading: the paper names the metric and gives neither denominators nor a table (diffusion 1.7).

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> said = {"tag.style": ["A", "A", "B", "B"], "tag.object": ["x", "y", "x", "y"]}
    >>> said["label"] = ["A/x", "A/x", "B/y", "A/y"]
    >>> rows = Rows(tuple("1234"), {k: np.array(v, object) for k, v in said.items()})
    >>> Up({"request": {"kind": "pair", "name": "A/x"}}).reduce(Sight(rows))[:2]
    (0.5, 1)
    """

    Config = RequestSettings  # type: ignore[assignment]  # shared by several metrics
    better = "higher"
    columns = ("label", "tag.style", "tag.object")
    reads = "pictures"
    check_settings = {"request": {"kind": "pair", "name": "Stripes/Square"}}

    def reduce(self, sight: Sight) -> Value:
        """n: pictures counted; 0 for requests that are no pair."""
        return pair_part(sight, self.config, self.name(), "rest")
