"""The words in which an objective is told to the engine: terms, steps, streams, optimisers, phases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmunlearn.data import Example, Split
from mmunlearn.handle import Batch, Handle
from mmunlearn.settings import Settings


class Term(NamedTuple):
    """A summed part of an objective. The engine divides by a count that covers the whole step on all processes.

    sum: summed over items, never averaged here. weight: sign and coefficient, as in the paper.
    over: "<stream>" divides by the items the stream's batches ask about in this step (labels, answer tokens),
        "<stream>.examples" by its number of examples; "" divides by `count`, summed over the processes of this
        micro-batch (for masks that only the forward knows).
    """

    sum: Float[Tensor, ""]
    over: str
    weight: float = 1.0
    count: Float[Tensor, ""] | None = None  # type: ignore[assignment]  # hides tuple.count


@dataclass(frozen=True)
class Step:
    """Where the engine is: counts from zero; `epochs` and `steps_per_epoch` are those of the phase."""

    phase: str
    epoch: int
    step: int
    steps_per_epoch: int
    epochs: int
    seed: int

    @property
    def index(self) -> int:
        """Optimiser steps done in this phase."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def total(self) -> int:
        """Optimiser steps of this phase."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Stream:
    """Examples that arrive in batches. The driver of a phase is read once an epoch, other streams run endlessly.

    batch_size: examples per optimiser step over all processes. relabel: called with (example, epoch of that example).
    augment: training views, or the evaluation view. order: streams that name the same order and have equally many
    examples arrive in step, example i of one beside example i of the other ("": an order of its own).
    """

    split: Split
    batch_size: int
    relabel: Callable[[Example, int], Example] | None = None
    augment: bool = True
    shuffle: bool = True
    drop_last: bool = False
    order: str = ""


class Optimiser(Settings):
    """An optimiser by name; `lr` is the peak rate that the schedule scales."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0

    def make(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`."""
        if self.name == "sgd":
            return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return kind(parameters, lr=self.lr, weight_decay=self.weight_decay)


# The handle is a sibling's own in that sibling's methods.
Terms = Callable[[Any, Mapping[str, Batch], Step], Mapping[str, Term]]
NormMode = Literal["train", "frozen", "eval"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the algorithm with one objective. Phases with the same `optimiser` key share optimiser state.

    driver: the stream whose length makes an epoch. steps: stop after that many steps (overrides epochs).
    rate: factor on the optimiser's lr, a function of the step. norm: "train" updates batch statistics, "frozen" trains
    with the stored ones, "eval" also switches dropout off. trainable: names of parameters to train (None: all).
    combine: given each term's own gradient (already weighted and reduced), returns the gradient to step on.
    adjust: may change `parameter.grad` after reduction and clipping; after_step: may change parameters (restore masked
    ones); after_epoch: bookkeeping, returns True to end the phase early. Hooks must be deterministic functions of what
    all processes share.
    """

    name: str
    streams: Mapping[str, Stream]
    driver: str
    terms: Terms
    epochs: int = 1
    steps: int | None = None
    optimiser: str = "main"
    spec: Optimiser = field(default_factory=Optimiser)
    rate: Callable[[Step], float] | None = None
    norm: NormMode = "train"
    clip_norm: float | None = None
    trainable: frozenset[str] | None = None
    combine: Callable[[Mapping[str, list[Tensor]]], list[Tensor]] | None = None
    adjust: Callable[[Mapping[str, nn.Parameter], Step], None] | None = None
    after_step: Callable[[Handle, Step], None] | None = None
    after_epoch: Callable[[Handle, Step], bool | None] | None = None
