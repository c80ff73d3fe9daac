"""Training on random labels: what random_label and saliency share."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmunlearn.data import Example, Role, Split, union
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods._passes import Pass, alternate
from mmunlearn.methods.base import GradientMethod, Phase, Step, Term
from mmunlearn.seeds import generator


def relabelling_phases(
    method: GradientMethod, handle: Handle, data: Mapping[str, Split], seed: int, **options: Any
) -> list[Phase]:
    """Phases of cross-entropy on relabelled forget and true retain targets.

    The method's settings give `mode` (sequential: a forget pass, then a retain pass, every epoch; mixed: one shuffled
    pass over both), `labels` and `relabel`. `options` go to every phase.
    """
    change = relabeller(handle, seed, labels=method.config.labels, every_epoch=method.config.relabel == "epoch")
    if method.config.mode == "mixed":
        forget = {example.id for example in data["forget"]}
        both = union("mixed", Role.TRAIN, data["retain"], data["forget"])
        stream = method.stream(both, relabel=lambda example, e: change(example, e) if example.id in forget else example)
        return [method.simple_phase(cross_entropy, {"mixed": stream}, "mixed", **options)]
    passes = [
        Pass(name=name, stream=method.stream(data[name], relabel=how), terms=cross_entropy, options=options)
        for name, how in (("forget", change), ("retain", None))
    ]
    return alternate(method, passes)


def cross_entropy(handle: Handle, batches, step: Step) -> dict[str, Term]:
    """The task loss of every stream, each averaged over its own items."""
    return {name: Term(handle.score(batch).nll.sum(), name) for name, batch in batches.items()}


def relabeller(handle: Handle, seed: int, *, labels: str, every_epoch: bool) -> Callable[[Example, int], Example]:
    """A function (example, epoch) -> example with another target, drawn from (seed, id) and, if asked, the epoch.

    labels: "uniform" over all targets including the true one, "wrong" never the true one, "flip" every label of a label
    vector turned round (refused for other targets).
    """

    def change(example: Example, epoch: int) -> Example:
        if labels == "flip":
            return example.with_target(_flipped(example.target))
        draw = generator(seed, "labels", "relabel", example.id, epoch if every_epoch else 0)
        return example.with_target(handle.random_target(example, draw, wrong_only=labels == "wrong"))

    return change


def _flipped(target: Any) -> tuple[int, ...]:
    if not isinstance(target, tuple) or not set(np.unique(target)) <= {0, 1}:
        raise UserError(f"labels=flip: turns label vectors of 0 and 1 round, and a target is {target!r}. Use wrong.")
    return tuple(1 - value for value in target)
