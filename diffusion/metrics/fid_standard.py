"""Fréchet inception distance (FID), flavour `standard`: the network of the FID papers."""

from mmunlearn.metrics.base import Metric, Sight, Value

from ._distances import NO_WEIGHTS, InceptionSettings, distance


class FidStandard(Metric):
    """Fréchet distance with the network of the FID papers.

    Generated: the answers without the forgotten concept. Real: pictures 1 to 5 of every retained style and object.
    Not comparable with UnlearnCanvas's own numbers, which come from another network.

    >>> from mmunlearn.records import Rows
    >>> FidStandard().reduce(Sight(Rows((), {}))).n
    0
    """

    Config = InceptionSettings  # type: ignore[assignment]  # shared by several metrics
    unit = "distance"
    better = "lower"
    columns = ("image", "tag.style", "tag.object")
    reads = "pictures"
    known_failures = NO_WEIGHTS

    def reduce(self, sight: Sight) -> Value:
        """n: generated pictures that could be read; the note names the network and the number of real ones."""
        return distance(sight, self.config, "standard", "fid", self.name())
