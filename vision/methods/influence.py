"""Influence unlearning: one Newton step from the optimum of the whole training set to that of the retain set."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch
from mmunlearn.methods.base import EditMethod, Need
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings

from ..handle import VisionHandle


class Influence(EditMethod):
    """θ ← θ + alpha·(F + damping·I)⁻¹ v, with v = (1/N)·Σ_forget ∇ℓ − (|F|/(N·|R|))·Σ_retain ∇ℓ, N = |F| + |R|.

    v is ∇L_D − ∇L_R, so alpha = 1 is the Newton step that a vanishing ∇L_D asks for. F is the empirical Fisher of
    `samples` retain examples, F = JᵀJ/m with one gradient a row of J; solved exactly by Woodbury's identity:
    x = (v − Jᵀ(damping·m·I + JJᵀ)⁻¹Jv)/damping (vision.md 6.9). J is never held whole: JJᵀ and Jv are summed over
    groups of parameters that fit `memory_bytes`, Jᵀc is one backward pass of Σ cᵢℓᵢ.
    Sources: Koh and Liang 2017; Izzo et al. 2021; Jia et al. 2023 (Unlearn-Sparse's "IU", WoodFisher).
    Differs from the reference, whose Sherman–Morrison recursion never takes in a later sample's gradient and keeps
    N = 1000 whatever the number of samples; `solver: reference` runs that recursion (its damping is 1).
    Directions that none of the `samples` gradients speaks of move by v/damping, which with little damping ruins a
    model; damping 1 is what the reference's recursion starts from.
    Norm mode: evaluation (stored statistics, left alone). Multi-label: ℓ is the mean binary cross-entropy.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Izzo et al. 2021; Jia et al. 2023 (influence unlearning)"

    class Config(Settings):
        """alpha: length of the step. samples: retain examples that F is made of. recursion_n: the reference's N."""

        alpha: float = 1.0
        damping: float = Field(1.0, gt=0)
        samples: int = Field(256, ge=1)
        solver: Literal["woodbury", "reference"] = "woodbury"
        recursion_n: int = 1000
        memory_bytes: int = 1 << 30
        batch_size: int = 128

    def touched(self, handle: VisionHandle) -> tuple[str, ...]:
        """Parameters; running statistics stay."""
        return tuple(name for name, _ in handle.trainable())

    def edit(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Compute v, solve, move."""
        c = self.config
        names = self.touched(handle)
        forget, retain = data["forget"], data["retain"]
        share = len(forget) / (len(forget) + len(retain))
        g_f = mean_gradient(handle, names, forget, c.batch_size)
        g_r = mean_gradient(handle, names, retain, c.batch_size)
        v = {name: share * (g_f[name] - g_r[name]) for name in names}
        order = generator(run.seed, "sample", "influence").permutation(len(retain))[: c.samples]
        sampled = retain.subset(order)
        if c.solver == "woodbury":
            x = woodbury(handle, sampled, v, c)
        else:
            x = recursion(handle, sampled, v, c.recursion_n)
        parameters = dict(handle.trainable())
        size = sum(float(value.double().square().sum()) for value in x.values()) ** 0.5
        if not math.isfinite(c.alpha * size):
            raise UserError(
                f"influence: the step's norm is {c.alpha * size}; weights are not stored.\n"
                f"Raise method.damping (now {c.damping}) or lower method.alpha (now {c.alpha})."
            )
        run.event("influence", step_norm=c.alpha * size, samples=len(sampled), solver=c.solver)
        with torch.no_grad():
            for name in names:
                parameters[name].add_(x[name], alpha=c.alpha)


class _Loss(nn.Module):
    """Loss of pictures as a function of parameters: lets `functional_call` swap those of the handle's module."""

    def __init__(self, handle: VisionHandle):
        super().__init__()
        self.module = handle.module
        self._handle = handle

    def forward(self, inputs: Tensor, batch: Batch) -> Tensor:
        scored = self._handle.score_inputs(inputs, batch)
        return scored.nll / scored.count


def _batches(handle: VisionHandle, split: Split, size: int) -> Iterator[Batch]:
    for start in range(0, len(split), size):
        yield handle.collate(split[start : start + size]).to(handle.device)


def mean_gradient(handle: VisionHandle, names: Sequence[str], split: Split, batch_size: int) -> dict[str, Tensor]:
    """Gradient of the mean loss over `split`, evaluation view."""
    return weighted_gradient(handle, names, split, torch.full((len(split),), 1 / len(split)), batch_size)


def weighted_gradient(
    handle: VisionHandle, names: Sequence[str], split: Split, weights: Tensor, batch_size: int
) -> dict[str, Tensor]:
    """Gradient of Σ weightsᵢ·ℓᵢ, in double precision across batches."""
    parameters = dict(handle.trainable())
    loss, start = _Loss(handle), 0
    total: dict[str, Tensor] = {}
    for batch in _batches(handle, split, batch_size):
        part = weights[start : start + len(batch)].to(batch.count.device, torch.float32)
        start += len(batch)
        with torch.enable_grad():
            objective = (part * loss(handle.inputs(batch), batch)).sum()
            found = torch.autograd.grad(objective, [parameters[n] for n in names], materialize_grads=True)
        for name, gradient in zip(names, found, strict=True):
            total[name] = total[name] + gradient.double() if name in total else gradient.double()
    return {name: value.float() for name, value in total.items()}


@torch.no_grad()  # torch.func.grad works inside; parameters outside `names` must not leave a graph
def example_gradients(
    handle: VisionHandle, names: Sequence[str], split: Split, batch_size: int
) -> Float[Tensor, "example parameter"]:
    """One row an example: the gradient of its loss over the parameters `names`, flattened in that order."""
    parameters = dict(handle.trainable())
    loss = _Loss(handle)
    chosen = {f"module.{name}": parameters[name].detach() for name in names}

    def one(values: dict[str, Tensor], image: Tensor, target: Tensor, count: Tensor) -> Tensor:
        alone = Batch(("",), {"target": target.unsqueeze(0)}, count.unsqueeze(0))
        return functional_call(loss, values, (image.unsqueeze(0), alone))[0]

    rows = []
    for batch in _batches(handle, split, batch_size):
        found = vmap(grad(one), in_dims=(None, 0, 0, 0))(
            chosen, handle.inputs(batch).detach(), batch.tensors["target"], batch.count
        )
        rows.append(torch.cat([found[f"module.{name}"].flatten(1) for name in names], dim=1))
    return torch.cat(rows)


def woodbury(handle: VisionHandle, sampled: Split, v: Mapping[str, Tensor], c: Influence.Config) -> dict[str, Tensor]:
    """(JᵀJ/m + damping·I)⁻¹ v over the gradients of `sampled`."""
    m = len(sampled)
    device = handle.device
    gram = torch.zeros(m, m, dtype=torch.float64, device=device)
    jv = torch.zeros(m, dtype=torch.float64, device=device)
    for group in _groups({name: t.numel() for name, t in v.items()}, c.memory_bytes // (4 * max(m, 1))):
        # Rows of one chunk must fit beside the collected ones: vmap's working set is about as large as its result.
        j = example_gradients(handle, group, sampled, min(c.batch_size, 32))
        gram += (j @ j.T).double()
        jv += (j @ torch.cat([v[name].flatten() for name in group])).double()
    eye = torch.eye(m, dtype=torch.float64, device=device)
    weights = torch.linalg.solve(c.damping * m * eye + gram, jv)
    back = weighted_gradient(handle, list(v), sampled, weights, c.batch_size)
    return {name: (v[name] - back[name]) / c.damping for name in v}


def _groups(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Names packed in order into groups of at most `limit` numbers (a larger single tensor stands alone)."""
    groups: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not groups or size > room:
            groups.append([])
            room = limit
        groups[-1].append(name)
        room -= size
    return groups


def recursion(handle: VisionHandle, sampled: Split, v: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
    """The reference's WoodFisher loop, defects included; see the class."""
    names = list(v)
    k = torch.cat([v[name].flatten() for name in names])
    o: Tensor | None = None
    for batch_rows in (example_gradients(handle, names, sampled.subset([i]), 1) for i in range(len(sampled))):
        g = batch_rows[0]
        if o is None:
            o = g.clone()
            continue
        along = torch.dot(o, g)
        k = k - (torch.dot(k, g) / (n + along)) * o
        o = o - (along / (n + along)) * o
    pieces = k.split([v[name].numel() for name in names])
    return {name: piece.view_as(v[name]) for name, piece in zip(names, pieces, strict=True)}
