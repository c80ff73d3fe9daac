"""Training of single-fact edits, many records at once: each has parameters of its own, so nothing is shared.

A batch holds the rows of many records; every row passes the edited layer with the delta of its record, the losses of
the records are added up, and the optimiser works number by number. So the result is that of training the records one
after another, to rounding. Settings and their sources: vlm_unlok_offside_med 1.8.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings
from mmunlearn.token_stats import token_logprobs

from . import single_edits
from .logit_lens import blocks, lens
from .prompts import IGNORED
from .single_edits import Edits, Kind
from .upper_layers import UpperLayers

if TYPE_CHECKING:
    from .handle import VlmHandle

RELATIVE_LAYER = 7 / 32  # the edited block of the reference


class EditSettings(Settings):
    """How one edit is trained.

    layer: block whose mlp.down_proj is edited (None: 7/32 of the depth). form: "lora" (rank r, delta times alpha / r,
    AdamW) or "constrained" (the whole matrix by plain descent within ±`box` of the start, a record whose loss is below
    `stop_loss` stands still). steps: of one batch that holds all rows of the record. warmup_frac: share of the steps
    over which the rate rises. together: records trained in one batch, without effect on the result.
    """

    layer: int | None = Field(None, ge=0)
    form: Literal["lora", "constrained"] = "lora"
    r: int = Field(1, ge=1)
    alpha: float = 1.0
    lr: float = Field(1e-2, gt=0)
    steps: int = Field(5, ge=0)
    warmup_frac: float = Field(0.03, ge=0, lt=1)
    box: float = Field(1e-4, gt=0)
    stop_loss: float = 1e-2
    together: int = Field(16, ge=1)


CONSTRAINED = {"form": "constrained", "lr": 5e-4, "steps": 25, "box": 1e-4, "stop_loss": 1e-2, "warmup_frac": 0.0}


@dataclass(frozen=True)
class Row:
    """What is asked of a record in training: the example with its target, and the record."""

    example: Example
    record: str


class Seen:
    """One forward pass with the deltas in place: what the losses read of it.

    owner: (row,) which record a row belongs to. first: number of the first state that the edit can change.
    """

    def __init__(self, handle: "VlmHandle", batch: Batch, found: Sequence[Tensor], owner: Tensor, first: int):
        self.handle, self.found, self.owner, self.first = handle, found, owner, first
        labels = batch.tensors["labels"][:, 1:]
        ends = torch.tensor(handle.end_ids(), device=labels.device)
        self.mask = (labels != IGNORED) & ~torch.isin(labels, ends)  # the answer's own tokens
        self.labels = labels

    def logprob(self) -> Float[Tensor, " row"]:
        """log p(y|x): the sum over the answer's tokens, without the end token."""
        weight, bias = self.handle.head()
        hidden = self.found[-1][:, :-1][self.mask]
        each = token_logprobs(hidden, weight, self.labels[self.mask], bias, form=self.handle.form)
        rows = self.mask.nonzero()[:, 0]
        return each.new_zeros(len(self.mask)).index_add(0, rows, each)

    def place(self, which: Literal["first", "last"]) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"]]:
        """Position that predicts the first or last answer token, and that token."""
        spots = torch.arange(self.mask.shape[1], device=self.mask.device).expand_as(self.mask)
        at = spots.where(self.mask, -1).amax(1) if which == "last" else spots.where(self.mask, len(spots[0])).amin(1)
        return at, self.labels.gather(1, at[:, None])[:, 0]

    def lens(
        self, states: Sequence[int], which: Literal["first", "last"], *, legacy_double_norm: bool = False
    ) -> tuple[Float[Tensor, "row state vocab"], Int[Tensor, " row"]]:
        """Log-probabilities at the states for the position that predicts the first or last answer token, and it."""
        at, token = self.place(which)
        rows = torch.arange(len(at), device=at.device)
        last = self.first + len(self.found) - 1
        picked = torch.stack([self.found[state - self.first][rows, at] for state in states], dim=1)
        again = torch.tensor([legacy_double_norm or state != last for state in states], device=at.device)
        return lens(self.handle, picked, again), token


Loss = Callable[[Seen, int], Float[Tensor, " record"]]  # (what was seen, how many records) -> loss of each


def path_of(handle: "VlmHandle", layer: int | None) -> tuple[str, int]:
    """Name of the edited layer in the model, and its block's number. Raises UserError for a block that is not there."""
    found = blocks(handle)
    number = round(RELATIVE_LAYER * len(found)) if layer is None else layer
    if number >= len(found):
        raise UserError(f"edit.layer: the decoder has blocks 0 to {len(found) - 1}, not {number}.")
    wanted = getattr(getattr(found[number], "mlp", None), "down_proj", None)
    name = next((name for name, module in handle.model.named_modules() if module is wanted), None)
    if wanted is None or name is None:
        raise UserError(f"edit.layer: block {number} of this model has no mlp.down_proj to edit.")
    return name, number


def fresh_edits(handle: "VlmHandle", keys: Sequence[str], settings: EditSettings, seed: int, kind: Kind) -> Edits:
    """Deltas that are zero: `up` zero and `down` drawn by (seed, record), or zero matrices."""
    path, _ = path_of(handle, settings.layer)
    weight = handle.model.get_submodule(path).weight
    out, into = weight.shape
    if settings.form == "constrained":
        return Edits(path, keys, kind, dense=torch.zeros(len(keys), out, into, device=weight.device))
    bound = 1 / math.sqrt(into)  # as nn.Linear, which peft takes for the first factor
    drawn = [generator(seed, "edit", key).uniform(-bound, bound, (settings.r, into)) for key in keys]
    down = torch.tensor(np.stack(drawn), dtype=torch.float32).to(weight.device)
    return Edits(path, keys, kind, down=down, up=torch.zeros(len(keys), out, settings.r, device=weight.device))


def train_edits(
    handle: "VlmHandle", rows: Sequence[Row], loss: Loss, settings: EditSettings, *, seed: int, kind: Kind = "erase"
) -> Edits:
    """The edits of all records among `rows`, in the order of their first rows; the model's weights stay as they are.

    Edits that the handle carries already are in place for their records: new ones come on top.
    """
    keys = list(dict.fromkeys(row.record for row in rows))
    edits = fresh_edits(handle, keys, settings, seed, kind)
    _, first = path_of(handle, settings.layer)
    named = {f"{row.example.id}#{number}": row for number, row in enumerate(rows)}
    examples = [replace(row.example, id=name, choices=()) for name, row in named.items()]
    batch = handle.collate(examples).to(handle.device)
    owner = torch.tensor([edits.index[named[name].record] for name in batch.ids], device=handle.device)
    upper = UpperLayers(handle, batch, first)
    scale = settings.alpha / settings.r if settings.form == "lora" else 1.0
    tensors = edits.state()
    trained = [tensors[name].requires_grad_() for name in sorted(tensors)]
    optimiser = (
        torch.optim.AdamW(trained, lr=settings.lr, weight_decay=0.0)
        if settings.form == "lora"
        else torch.optim.SGD(trained, lr=settings.lr)
    )
    for step in range(settings.steps):
        optimiser.param_groups[0]["lr"] = settings.lr * _warm(step, settings)
        scaled = _scaled(edits, scale)
        with torch.enable_grad(), single_edits.applied(handle.model, scaled, owner):
            value = loss(Seen(handle, batch, upper.run(), owner, first + 1), len(keys))
            gradients = torch.autograd.grad(value.sum(), trained, allow_unused=True)
        for tensor, gradient in zip(trained, gradients, strict=True):
            tensor.grad = torch.zeros_like(tensor) if gradient is None else gradient
            if settings.form == "constrained":
                tensor.grad[value.detach() < settings.stop_loss] = 0.0
        optimiser.step()
        if settings.form == "constrained":
            with torch.no_grad():
                for tensor in trained:
                    tensor.clamp_(-settings.box, settings.box)
    made = {name: tensor.detach() for name, tensor in _scaled(edits, scale).state().items()}
    return Edits(edits.path, keys, kind, **made)


def _warm(step: int, settings: EditSettings) -> float:
    rise = math.ceil(settings.warmup_frac * settings.steps)
    return min(1.0, (step + 1) / (rise + 1)) if rise else 1.0


def _scaled(edits: Edits, scale: float) -> Edits:
    """The edits with LoRA's factor in `up`."""
    parts = {name: tensor * scale if name == "up" else tensor for name, tensor in edits.state().items()}
    return Edits(edits.path, edits.keys, edits.kind, **parts)


def mean_by_record(values: Float[Tensor, " row"], owner: Tensor, records: int) -> Float[Tensor, " record"]:
    """Mean over the rows of each record."""
    total = values.new_zeros(records).index_add(0, owner, values)
    return total / owner.bincount(minlength=records).clamp_min(1)


def sum_by_record(values: Float[Tensor, " row"], owner: Tensor, records: int) -> Float[Tensor, " record"]:
    """Sum over the rows of each record."""
    return values.new_zeros(records).index_add(0, owner, values)
