"""An artist's style by an image classifier: whether it is the likeliest, or among the three likeliest."""

from mmunlearn.judges.base import Sample
from mmunlearn.judges.base_classifier import ClassifierJudge


class StyleClassifier(ClassifierJudge):
    """Value 1: the wanted style (`wanted`, or the example's tag `artist` or `style`) is among the `top_k` likeliest;
    labels are those of the model.

    The published judge is a ViT of 129 artists, "vincent-van-gogh" within top-1 or top-3 (UnlearnDiffAtk
    tasks/utils/metrics/style_eval.py, its folder checkpoint-2800).
    """

    tags = ("artist", "style")
    check_settings = {"network": "", "weights": ""}
    samples = (
        Sample("Dots/Disc", "Dots", tags={"style": "Dots"}), Sample("Stripes/Disc", "Stripes", tags={"style": "Dots"}),
        Sample("Seed_Images/Cross", "Seed_Images", tags={"style": "seed images"}),
    )  # fmt: skip

    def labels(self, own: tuple[str, ...], outputs: int) -> tuple[str, ...]:
        return own
