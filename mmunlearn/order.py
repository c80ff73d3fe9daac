"""Order of examples as a pure function of (seed, stream, epoch): no state but a position.

The same global batches come out for any number of processes, and a resume may change that number.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mmunlearn.seeds import generator


@dataclass(frozen=True)
class Order:
    """Endless shuffled sequence over `n` examples: the permutations of epochs 0, 1, 2, … one after another."""

    n: int
    seed: int
    stream: str
    shuffle: bool = True

    def epoch(self, epoch: int) -> np.ndarray:
        """Permutation of range(n) for one epoch."""
        if not self.shuffle:
            return np.arange(self.n)
        return _permutation(self.n, self.seed, self.stream, epoch)

    def take(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and epochs of the examples at positions start … start + count - 1 of the endless sequence."""
        positions = np.arange(start, start + count)
        epochs = positions // self.n
        indices = np.empty(count, dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = self.epoch(int(epoch))[positions[here] % self.n]
        return indices, epochs


@lru_cache(maxsize=16)
def _permutation(n: int, seed: int, stream: str, epoch: int) -> np.ndarray:
    result = generator(seed, "data", stream, epoch).permutation(n)
    result.flags.writeable = False  # shared by every step of the epoch
    return result


def batches_per_epoch(n: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Number of batches in one epoch of `n` examples."""
    full, rest = divmod(n, batch_size)
    return max(full + (1 if rest and not drop_last else 0), 1 if n else 0)


def share(indices: np.ndarray, rank: int, world: int) -> np.ndarray:
    """The part of a global batch that process `rank` of `world` takes: every world-th element."""
    return indices[rank::world]
