"""Epochs that consist of several passes (forget then retain, for instance), as phases that share one optimiser."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmunlearn.methods.base import GradientMethod, Phase, Step, Stream, Terms, rate
from mmunlearn.order import batches_per_epoch


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass over one stream within an epoch; left out of the epochs from `until` on."""

    name: str
    stream: Stream
    terms: Terms
    until: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def steps(self) -> int:
        """Optimiser steps of the pass."""
        return batches_per_epoch(len(self.stream.split), self.stream.batch_size, drop_last=self.stream.drop_last)


def alternate(
    method: GradientMethod, passes: Sequence[Pass], *, rate_of_epoch: Callable[[int], float] | None = None
) -> list[Phase]:
    """Phases "<pass>@<epoch>" in order. The schedule of the method's settings runs over all of them together;
    `rate_of_epoch` multiplies it."""
    plan = [
        (epoch, part) for epoch in range(method.config.epochs) for part in passes
        if part.until is None or epoch < part.until
    ]  # fmt: skip
    total, done, phases = sum(part.steps() for _, part in plan), 0, []
    for epoch, part in plan:
        factor = _rate(method, done, total, rate_of_epoch(epoch) if rate_of_epoch else 1.0)
        options = {"name": f"{part.name}@{epoch}", "epochs": 1, "rate": factor, **part.options}
        phases.append(method.simple_phase(part.terms, {part.name: part.stream}, part.name, **options))
        done += part.steps()
    return phases


def on_epoch_end(phases: Sequence[Phase], hook: Callable[[Any, Step], bool | None]) -> list[Phase]:
    """The same phases with `hook` called after the last pass of every epoch."""
    last = {phase.name.rpartition("@")[2]: number for number, phase in enumerate(phases)}
    return [replace(p, after_epoch=hook) if i in last.values() else p for i, p in enumerate(phases)]


def _rate(method: GradientMethod, done: int, total: int, scale: float) -> Callable[[Step], float] | None:
    schedule = rate(method.config.schedule)
    if schedule is None:
        return None if scale == 1.0 else lambda step: scale

    def factor(step: Step) -> float:
        return scale * schedule(Step(step.phase, 0, done + step.index, total, 1, step.seed))

    return factor
