"""Means over retained classes: in the request's own domain (IRA) and in the other one (CRA)."""

from mmunlearn.metrics.base import NOTHING, Value

from ._answers import Answers, class_shares, mean_share, with_untagged
from ._requests import Concept, RequestSettings, kept_objects, kept_styles


def in_domain(found: Answers, gone: tuple[Concept, ...], config: RequestSettings) -> Value:
    """Mean of P over the other styles (style requests), or of Q over the other objects (object requests)."""
    kinds = {concept.kind for concept in gone}
    if kinds == {"style"}:
        return _styles(found, gone, config)
    if kinds == {"object"}:
        return _objects(found, gone)
    return NOTHING


def cross_domain(found: Answers, gone: tuple[Concept, ...], config: RequestSettings) -> Value:
    """Mean of Q over all objects (style requests), or of P over the styles (object requests)."""
    kinds = {concept.kind for concept in gone}
    if kinds == {"style"}:
        return _objects(found, gone)
    if kinds == {"object"}:
        return _styles(found, gone, config)
    return NOTHING


def _styles(found: Answers, gone: tuple[Concept, ...], config: RequestSettings) -> Value:
    names = kept_styles(found.style, gone, exclude_seed_images=config.exclude_seed_images)
    words = "without the photographs" if config.exclude_seed_images else "the photographs among them"
    value = mean_share(class_shares(found, "style", names), f"mean over {len(names)} styles, {words}")
    return with_untagged(value, found)


def _objects(found: Answers, gone: tuple[Concept, ...]) -> Value:
    names = kept_objects(found.object, gone)
    return with_untagged(mean_share(class_shares(found, "object", names), f"mean over {len(names)} objects"), found)
