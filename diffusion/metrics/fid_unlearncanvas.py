"""Fréchet inception distance (FID), flavour `unlearncanvas`: torchvision's inception, normalised twice."""

from mmunlearn.metrics.base import Metric, Sight, Value

from ._distances import NO_WEIGHTS, InceptionSettings, distance


class FidUnlearncanvas(Metric):
    """Fréchet distance as UnlearnCanvas computes it.

    Generated: the answers without the forgotten concept. Real: pictures 1 to 5 of every retained style and object.
    Both are brought to 512 px; torchvision's inception_v3, Mixed_7c, input normalised twice (diffusion 1.5).
    Not comparable with the standard FID. Unbiased covariances; symmetric eigen-decomposition for the matrix root.

    >>> from mmunlearn.records import Rows
    >>> FidUnlearncanvas().reduce(Sight(Rows((), {}))).n
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
        return distance(sight, self.config, "unlearncanvas", "fid", self.name())
