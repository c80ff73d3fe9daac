"""The sum of all updates that training made in steps whose batch held a forget example (amnesiac unlearning's record).

One running sum stands for the paper's list of per-step differences: the same result, one more copy of the weights.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmunlearn.atomic import write_bytes
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.order import Order
from mmunlearn.phases import Step

FILE = "forget_updates.safetensors"


class Record(NamedTuple):
    """Summed updates by parameter name, over `steps` of the `of` steps of the training."""

    updates: dict[str, Tensor]
    steps: int
    of: int


class ForgetUpdates:
    """Collects the record while the engine trains one phase; weights and biases only, as in the paper.

    Which steps count follows from the order of examples alone, so every process decides alike.
    """

    def __init__(self, split: Split, forget_ids: Collection[str], *, batch_size: int, seed: int, stream: str):
        self._order = Order(len(split), seed, stream)
        self._forget = np.asarray([example.id in forget_ids for example in split], dtype=bool)
        self._batch_size = batch_size
        self._before: dict[str, Tensor] | None = None
        self._sum: dict[str, Tensor] = {}
        self._steps = self._of = 0

    def touches(self, step: Step) -> bool:
        """Whether the batch of `step` holds a forget example."""
        start = step.step * self._batch_size
        return bool(self._forget[self._order.epoch(step.epoch)[start : start + self._batch_size]].any())

    def before(self, handle: Handle, step: Step) -> None:
        """Remember the weights; call at the start of a step (again for each micro-batch, which changes nothing)."""
        if self._before is None and self.touches(step):
            self._before = {name: p.detach().clone() for name, p in handle.module.named_parameters()}

    def after(self, handle: Handle, step: Step) -> None:
        """Add what the step changed; the phase's `after_step`."""
        self._of += 1
        if self._before is None:
            return
        self._steps += 1
        for name, parameter in handle.module.named_parameters():
            change = parameter.detach() - self._before[name]
            self._sum[name] = self._sum[name].to(change) + change if name in self._sum else change
        self._before = None

    def state(self) -> dict[str, Any]:
        """For the method's checkpoint."""
        return {"sum": self._sum, "steps": self._steps, "of": self._of}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self._sum, self._steps, self._of = dict(state["sum"]), state["steps"], state["of"]

    def write(self, path: Path, handle: Handle) -> Path:
        """Write the record into the folder `path`; returns the file."""
        tensors = {
            name: self._sum.get(name, torch.zeros_like(p)).detach().cpu().contiguous()
            for name, p in handle.module.named_parameters()
        }
        # One key of metadata: safetensors writes several in no fixed order, and equal records must be equal files.
        write_bytes(path / FILE, save(tensors, {"counts": json.dumps([self._steps, self._of])}))
        return path / FILE


def read_record(path: Path) -> Record:
    """The record in the file `path`, or in the folder `path` under its usual name. Raises UserError naming the file."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{file}: no such record. Train the original with method.on=train method.record_forget_updates=true."
        )
    try:
        with safe_open(file, "pt") as content:
            facts = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (not a mapping)
        steps, of = json.loads(facts["counts"])
        return Record(tensors, int(steps), int(of))
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(f"{file}: not a record of forget updates ({error}). Train the original again.") from None
