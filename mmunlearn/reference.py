"""The original model's outputs during unlearning: cached, from switched-off adapters, or from a frozen copy.

A second model is made only where a cache cannot serve (augmented views, whose outputs change every epoch).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from mmunlearn.data import Split
from mmunlearn.handle import Batch, Handle, Scored

Kind = Literal["auto", "cached", "adapters_off", "frozen_copy"]


class Reference:
    """`score(batch)` gives the original model's record of a batch, without a graph and in evaluation mode.

    kind: "cached" computes each example's record once, on the evaluation view; "adapters_off" uses the handle with its
    adapters disabled; "frozen_copy" keeps a copy; "auto" takes the first of these that is exact for the streams.
    """

    def __init__(self, handle: Handle, kind: Kind = "auto", *, augmented: bool = True):
        adapters = hasattr(handle.module, "disable_adapter")
        if kind == "auto":
            kind = "adapters_off" if adapters else ("frozen_copy" if augmented else "cached")
        if kind == "adapters_off" and not adapters:
            raise ValueError("adapters_off needs a model with adapters")
        self.kind = kind
        self._handle = handle
        self._table: dict[tuple[str, object], tuple] = {}
        self._copy: Handle | None = None
        if kind == "frozen_copy":
            self._copy = handle.copy()
            self._copy.module.eval().requires_grad_(False)

    @torch.no_grad()
    def fill(self, splits: Iterable[Split], batch_size: int = 256) -> None:
        """Compute the cached records of all examples of `splits`; call while the handle still holds the original."""
        device = self._handle.device
        with _evaluating(self._handle.module):
            for split in splits:
                for start in range(0, len(split), batch_size):
                    batch = self._handle.collate(split[start : start + batch_size]).to(device)
                    self._remember(batch, self._handle.score(batch))

    def _remember(self, batch: Batch, scored: Scored) -> None:
        for row, key in enumerate(_keys(batch)):
            parts = [None if t is None else t[row].detach().cpu() for t in scored[:5]]
            self._table[key] = (*parts, scored.family)

    @torch.no_grad()
    def score(self, batch: Batch) -> Scored:
        """The original's record of `batch` (a cached one in the order of the batch's ids)."""
        if self.kind == "cached":
            return self._recall(batch)
        return self.ask("score", batch).detached()

    @torch.no_grad()
    def ask(self, verb: str, batch: Batch) -> Any:
        """What another verb of the handle says under the original's weights; records are not cached for it."""
        if self.kind == "cached":
            raise ValueError(f"a cached reference knows scores only, not {verb}")
        if self.kind == "frozen_copy":
            assert self._copy is not None
            if self._copy.device != batch.count.device:
                self._copy.module.to(batch.count.device)
            return getattr(self._copy, verb)(batch)
        module = self._handle.module
        with _evaluating(module), module.disable_adapter():  # type: ignore[operator]
            return getattr(self._handle, verb)(batch)

    def _recall(self, batch: Batch) -> Scored:
        if batch.view is not None:
            raise ValueError("a cached reference knows evaluation views only; set augment=false or use a frozen copy")
        rows = [self._table[key] for key in _keys(batch)]
        columns = [
            None
            if part[0] is None
            else pad_sequence(list(part), batch_first=True).to(batch.count.device)
            if part[0].dim()
            else torch.stack(list(part)).to(batch.count.device)
            for part in list(zip(*rows, strict=True))[:5]
        ]
        return Scored(*columns, rows[0][5])  # type: ignore[call-arg, arg-type]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, then every layer's own mode again (some train while their neighbours do not)."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def _keys(batch: Batch) -> list[tuple[str, object]]:
    """An example under another target is another question: the target is part of the key."""
    targets = batch.tensors.get("target")
    if targets is None:
        return [(name, None) for name in batch.ids]
    # Negative entries are padding, whose length depends on the batch.
    rows = (tuple(v for v in row.flatten().tolist() if v >= 0) for row in targets)
    return [(name, row) for name, row in zip(batch.ids, rows, strict=True)]
