"""Single-fact edits: many small changes of one layer, one a record, each used for its own record's examples alone.

The benchmark's loop is edit, attack, score, restore, next record. Here the weights never change: every edit is a delta
of one linear layer, and a batch may hold rows of many records, since each row gets the delta of its own record
(`y = W x + D_record x`). Restoring is leaving the delta out, so it is exact. `written` lays one record's edit into the
weights for code that looks at them, and puts the tensor itself back.

What a method stores are the deltas (`Edits.state`), by record: `RECORD` is the tag by which an example names its edit.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmunlearn.data import Example
from mmunlearn.errors import UserError

RECORD = "record"  # tag: which record's edit answers the example
NAME = "single_edits"  # the child of the model that holds the deltas
NONE = -1  # row without an edit
Kind = Literal["erase", "alternative", "empty"]  # what the edit's target is: decides how its success is scored


def record_of(example: Example) -> str:
    """The record of an example: its tag, or its own id."""
    return example.tags.get(RECORD, example.id)


class Edits(nn.Module):
    """Deltas of one layer by record: low rank, `D = up @ down`, or dense.

    path: of the layer in the model. keys: records in order. down: (record, rank, in), up: (record, out, rank);
    or dense: (record, out, in). kind: what the edits aim at.
    """

    def __init__(self, path: str, keys: Sequence[str], kind: Kind = "erase", **parts: Tensor):
        super().__init__()
        self.path, self.keys, self.kind = path, tuple(keys), kind
        self.index = {key: at for at, key in enumerate(self.keys)}
        for name, tensor in parts.items():
            self.register_buffer(name, tensor)

    @property
    def dense_form(self) -> bool:
        """Whether whole matrices are kept."""
        return hasattr(self, "dense")

    def rows(self, examples: Sequence[Example]) -> Int[Tensor, " batch"]:
        """Which edit each example gets; NONE for a record without one."""
        return torch.tensor([self.index.get(record_of(example), NONE) for example in examples])

    def matrix(self, key: str) -> Float[Tensor, "out in"]:
        """The whole delta of one record."""
        at = self.index[key]
        return self.dense[at] if self.dense_form else self.up[at] @ self.down[at]  # type: ignore[index,operator]

    def change(self, rows: Tensor, inputs: Float[Tensor, "batch token in"]) -> Float[Tensor, "batch token out"]:
        """What the deltas add to the layer's output, each row by its own."""
        x = inputs.float()
        if not self.dense_form:
            chosen = rows.clamp_min(0)
            down, up = self.down[chosen], self.up[chosen]  # type: ignore[index]
            made = torch.bmm(torch.bmm(x, down.transpose(1, 2)), up.transpose(1, 2))
            return made * (rows >= 0)[:, None, None]
        dense: Any = self.dense
        parts = torch.zeros(*x.shape[:2], dense.shape[1], device=x.device)
        for at in rows[rows >= 0].unique().tolist():  # a whole matrix a row would not fit
            mask = rows == at
            parts = parts.index_copy(0, mask.nonzero()[:, 0], x[mask] @ dense[at].T)
        return parts

    def state(self) -> dict[str, Tensor]:
        """The deltas by name."""
        return dict(self.named_buffers())

    def about(self) -> dict[str, Any]:
        """What is needed beside the tensors to build it again."""
        return {"path": self.path, "keys": list(self.keys), "kind": self.kind}


def joined(parts: Sequence[Edits]) -> Edits:
    """The edits of several groups of records as one."""
    first = parts[0]
    tensors = {name: torch.cat([part.state()[name] for part in parts]) for name in first.state()}
    return Edits(first.path, [key for part in parts for key in part.keys], first.kind, **tensors)


def edits_of(model: nn.Module) -> Edits | None:
    """The edits that a model carries."""
    found = getattr(model, NAME, None)
    return found if isinstance(found, Edits) else None


def attach(model: nn.Module, edits: Edits) -> None:
    """Let a model carry edits, in place of earlier ones."""
    detach(model)
    model.add_module(NAME, edits.to(next(model.parameters()).device))


def detach(model: nn.Module) -> Edits | None:
    """Take the edits off a model; nothing else of it changes."""
    found = edits_of(model)
    if found is not None:
        delattr(model, NAME)
    return found


@contextmanager
def applied(model: nn.Module, edits: Edits, rows: Tensor) -> Iterator[None]:
    """While open, the layer of every row of a batch works with the row's edit; weights stay as they are."""
    if not bool((rows >= 0).any()):
        yield
        return

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if len(inputs[0]) != len(rows):
            raise RuntimeError(f"{len(inputs[0])} rows pass the edited layer and {len(rows)} were collated")
        return output + edits.change(rows, inputs[0]).to(output.dtype)

    taken = model.get_submodule(edits.path).register_forward_hook(hook)  # type: ignore[arg-type]
    try:
        yield
    finally:
        taken.remove()


@contextmanager
def written(model: nn.Module, edits: Edits, key: str) -> Iterator[None]:
    """While open, the layer's weight is `W + D_key`; afterwards it is the very tensor that it was.

    Raises UserError for a record without an edit.
    """
    if key not in edits.index:
        raise UserError(f"record {key!r} has no edit. Records: {', '.join(edits.keys[:5])} …")
    weight: Any = model.get_submodule(edits.path).weight
    before = weight.data
    weight.data = (before.float() + edits.matrix(key)).to(before.dtype)
    try:
        yield
    finally:
        weight.data = before


def rebuilt(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Edits:
    """Edits from what `about` and `state` gave."""
    return Edits(about["path"], about["keys"], about["kind"], **tensors)
