"""Selective dampening of weights by two importances: what ssd and lfssd share."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmunlearn.cache import cache_folder
from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.importance import Loss, Measure, importance
from mmunlearn.per_sample import Power

log = logging.getLogger(__name__)


def dampen_selected(
    handle: Handle, data: Mapping[str, Split], run: Any, config: Any, *, loss: Loss, power: Power
) -> None:
    """Measure both importances, dampen, and record how many weights were selected.

    config: alpha, dampening, importance (batch | sample), batch_size, cache.
    """
    what = Measure(
        loss=loss, power=power, per=config.importance, batch_size=config.batch_size,
        shuffle_seed=run.seed if config.importance == "batch" else None,
    )  # fmt: skip
    bound = len(data["train"]) / len(data["forget"])
    if config.alpha >= bound:
        which = "selects nothing" if config.importance == "sample" else "selects weights only where batches are mixed"
        message = f"alpha {config.alpha:g} is not below |train|/|forget| = {bound:.3g} and {which}"
        log.warning("%s", message)
        run.event("warning", message=message)
    whole = importance(handle, data["train"], what, cache=cache_folder("importance") if config.cache else None)
    forget = importance(handle, data["forget"], what)
    selected = dampen(dict(handle.trainable()), forget, whole, alpha=config.alpha, dampening=config.dampening)
    total = sum(p.numel() for _, p in handle.trainable())
    run.event("dampened", selected=selected, of=total)
    if not selected:
        log.warning("No weight is more than alpha = %g times as important for the forget set: unchanged.", config.alpha)


@torch.no_grad()
def dampen(
    parameters: Mapping[str, Tensor],
    forget: Mapping[str, Tensor],
    whole: Mapping[str, Tensor],
    *,
    alpha: float,
    dampening: float,
) -> int:
    """θ ← θ · min(dampening · I_D / I_f, 1) where I_f > alpha · I_D, in place; returns the number of such weights."""
    selected = 0
    for name, parameter in parameters.items():
        chosen = forget[name] > alpha * whole[name]
        factor = (dampening * whole[name][chosen] / forget[name][chosen]).clamp(max=1)
        parameter[chosen] = parameter[chosen] * factor
        selected += int(chosen.sum())
    return selected
