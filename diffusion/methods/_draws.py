"""Random draws of examples without pictures: keyed by example and epoch, so that batches and processes change none."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmunlearn.handle import Batch
from mmunlearn.seeds import generator


def draws_of(batch: Batch, seed: int, *names: object) -> list[np.random.Generator]:
    """A generator for each example of a batch."""
    epochs = np.zeros(len(batch), dtype=np.int64) if batch.view is None else batch.view.epochs
    keys = batch.keys.tolist()
    return [generator(seed, "sample", *names, key, int(e)) for key, e in zip(keys, epochs, strict=True)]


def normal(draws: Sequence[np.random.Generator], shape: Sequence[int]) -> Float[Tensor, "batch ..."]:
    """Unit noise of that shape for each example, on the CPU."""
    return torch.from_numpy(np.stack([draw.standard_normal(tuple(shape), dtype=np.float32) for draw in draws]))
