"""Where a step's examples come from and how they are cut: over processes, and over forward passes of one process."""

import math
from collections.abc import Iterable

import numpy as np

from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Handle, View
from mmunlearn.order import Order
from mmunlearn.phases import Step, Stream


class Feed:
    """Batches of one stream at any position."""

    def __init__(self, stream: Stream, seed: int, name: str):
        self.stream = stream
        self.order = Order(len(stream.split), seed, stream.order or name, stream.shuffle)
        self.seed = seed

    def batch(self, position: Step, *, driver: bool) -> tuple[np.ndarray, np.ndarray]:
        """Indices and epochs of the global batch at `position`."""
        size, n, ahead = self.stream.batch_size, len(self.stream.split), _repeats(position.phase)
        if not n:
            raise UserError(f"split {self.stream.split.name!r} is empty; phase {position.phase!r} needs it.")
        if driver:
            epoch = position.epoch + ahead * position.epochs
            indices = self.order.epoch(epoch)[position.step * size : (position.step + 1) * size]
            return indices, np.full(len(indices), epoch)
        # A repeated phase starts behind everything that its earlier rounds have read.
        start = position.index * size + ahead * math.ceil(position.total * size / n) * n
        return self.order.take(start, size)

    def collate(self, handle: Handle, indices: np.ndarray, epochs: np.ndarray) -> Batch:
        """The examples at `indices`, relabelled if the stream says so, in training views if it asks for them."""
        examples = [self.stream.split[int(i)] for i in indices]
        if self.stream.relabel is not None:
            examples = [self.stream.relabel(e, int(k)) for e, k in zip(examples, epochs, strict=True)]
        return handle.collate(examples, View(self.seed, epochs) if self.stream.augment else None)


def _repeats(phase: str) -> int:
    """Rounds by which a phase called "<name>@<number>" is ahead, so that repeated phases see new orders and views."""
    _, at, number = phase.rpartition("@")
    return int(number) if at and number.isdigit() else 0


def forwards(lengths: Iterable[int], world: int, micro: int | None) -> int:
    """Forward passes that each process makes of a step whose streams have these global lengths.

    At most `micro` examples of a stream lie in a pass. Every pass of every process sees every stream, and every example
    of a stream is seen equally often, so that dividing by the number of examples seen gives the mean of the step.
    """
    lengths = list(lengths)
    if micro is None:
        return 1
    passes = max(1, math.ceil(max(lengths) / (world * micro)))
    while True:
        # A stream too short to be dealt out once, too long to be shown whole: deal it out several times over.
        again = [n for n in lengths if micro < n < world * passes and world * passes % n]
        if not again:
            return passes
        multiple = math.lcm(*again)
        multiple //= math.gcd(multiple, world)
        passes = (passes // multiple + 1) * multiple


def part(n: int, slot: int, slots: int) -> np.ndarray:
    """Positions of a global batch of `n` examples that fall into `slot` of `slots` (processes times passes).

    Fewer examples than slots: they are repeated, each equally often (see `forwards`).
    """
    if n >= slots:
        return np.arange(slot, n, slots)
    return np.array([slot % n]) if slots % n == 0 else np.arange(n)
