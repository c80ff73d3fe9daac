"""What is kept of a forgotten pair's style, of its object and of everything else."""

from typing import Literal

from mmunlearn.metrics.base import NOTHING, Sight, Value

from ..canvas.names import PHOTOS
from ._answers import Answers, graded, mean_share, share, with_untagged
from ._requests import RequestSettings, last_concepts

Part = Literal["style", "object", "rest"]


def pair_part(sight: Sight, config: RequestSettings, metric: str, part: Part) -> Value:
    """Accuracy on prompts that share the pair's style only (style head), its object only (object head), or neither
    (mean of both heads); of several pairs the mean over them, prompts of any forgotten pair left out."""
    found = graded(sight)
    if found is None:
        return NOTHING
    pairs = [concept for concept in last_concepts(sight, config, metric) if concept.kind == "pair"]
    if not pairs:
        return NOTHING
    kept = ~(found.style == PHOTOS) if config.exclude_seed_images else found.style == found.style
    for concept in pairs:
        kept = kept & ~concept.shown(found.style, found.object)
    shares = []
    for concept in pairs:
        own = type(concept)(style=concept.style).shown(found.style, found.object)
        thing = type(concept)(object=concept.object).shown(found.style, found.object)
        if part == "style":
            shares.append(share(found, found.right("style"), kept & own))
        elif part == "object":
            shares.append(share(found, found.right("object"), kept & thing))
        else:
            shares.append(_both(found, kept & ~own & ~thing))
    words = "without the photographs" if config.exclude_seed_images else "the photographs among them"
    return with_untagged(mean_share(shares, note=f"our reading of the pair metrics, {words}"), found)


def _both(found: Answers, among):
    """Mean of the two heads' accuracies."""
    right = (found.right("style").astype(float) + found.right("object")) / 2
    return share(found, right, among)
