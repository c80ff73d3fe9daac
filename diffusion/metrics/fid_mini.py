"""Fréchet inception distance (FID), flavour `mini`: features of the style and object heads."""

from mmunlearn.metrics.base import Metric, Sight, Value

from ._distances import DistanceSettings, distance


class FidMini(Metric):
    """Fréchet distance in the features of the style and object heads, for data of the mini size.

    Generated: the answers without the forgotten concept. Real: pictures 1 to 5 of every retained style and object.
    Comparable only with values of the same heads, which the note names; never with a published FID.

    >>> from mmunlearn.records import Rows
    >>> FidMini().reduce(Sight(Rows((), {}))).n
    0
    """

    Config = DistanceSettings  # type: ignore[assignment]  # shared by several metrics
    unit = "distance"
    better = "lower"
    columns = ("image", "tag.style", "tag.object")
    reads = "pictures"
    check_settings = {"heads": {"steps": 60}, "request": {"kind": "style", "name": "Dots"}}

    def reduce(self, sight: Sight) -> Value:
        """n: generated pictures that could be read; the note names the network and the number of real ones."""
        return distance(sight, self.config, "mini", "fid", self.name())
