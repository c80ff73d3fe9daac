"""Scissorhands: draw the weights anew that matter most for the concept, then train what is left back into shape."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.seeds import generator

from ..handle import DiffusionHandle
from ._cone import cone_weights
from ._prompts import surrogates
from ._pseudo_label import forget_batches, guided_loss, relabel_loss, relabel_streams
from ._trained import Role, trained_names


class Scissorhands(GradientMethod):
    """Redraw the weights with the largest |w|·Σ|∇L_m|, then minimise L_r + λ·L_f, the gradient projected on request.

    L_m = MSE(ε, (1 + s)·ε_θ(x, c) − s·ε_θ(x, ∅)), s = `guidance`, one gradient a batch of `redraw_batches` forget
    batches. Weights of `redraws` strictly above the int(sparsity·n)-th smallest saliency of all n denoiser weights are
    drawn from N(0, 0.02²), biases become 0. L_f relabels the concept's pictures with the surrogate prompt, as in SalUn;
    L_r is the denoising loss of the retained ones. `project`: memories are the gradients of L_f of `memories` batches
    at the redrawn weights; a step's gradient that points against one of them becomes g + Σ v_i·m_i,
    v ≥ `margin` the solution of GEM's dual problem.
    Sources: Wu and Harandi 2024 (arXiv 2401.06187); diffusion sheet 4.7 (JingWu321/Scissorhands: sparsity 0.9, λ 0.1,
    Adam 1e-5, 3 to 5 epochs, batch 16; UnlearnCanvas: sparsity 0.99, 2 epochs, attn2 redrawn, no projection).
    Differs from the paper: nothing. Differs from the repository: saliency batches differ (there the first batch again
    and again); layers to redraw are a named group, not two self-attention blocks. `reference: true` is the script
    behind UnlearnCanvas's row: saliency of the plain denoising loss (s = 0) of the first batch, the same first batches
    in every step.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, "concept"})
    paper = "Wu and Harandi 2024 (Scissorhands)"

    toy = {
        "batch_size": 8, "epochs": 4, "project": True,
        "optimiser": {"name": "sgd", "lr": 0.1},
    }  # fmt: skip

    class Config(GradientMethod.Config):
        """redraws: the group whose linear and convolution layers are redrawn; trains: the group trained. sparsity:
        share of weights that keep their value. forget_weight: λ."""

        redraws: Role = "xattn"
        trains: Role = "denoiser"
        sparsity: float = Field(0.9, gt=0, lt=1)
        guidance: float = 7.5
        redraw_batches: int = Field(1, ge=1)
        forget_weight: float = 0.1
        project: bool = False
        memories: int = Field(1, ge=1)
        margin: float = Field(0.5, ge=0)
        optimiser: Optimiser = Optimiser(name="adam", lr=1e-5)
        epochs: int = 5
        batch_size: int = 16
        reference: bool = False

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Redraw, then the memories."""
        c = self.config
        self._names = trained_names(handle, c.trains)
        training = handle.module.training
        handle.module.eval()
        redrawn = self._redraw(handle, data["forget"], run.seed)
        run.event("redrawn", weights=redrawn)
        self._memories: list[dict[str, Tensor]] = []
        if c.project:
            change = surrogates(data["concept"])
            relabelled = data["forget"].mapped(lambda example: change(example, 0))
            for number, batch in enumerate(forget_batches(handle, relabelled, c.batch_size)):
                if number < c.memories:
                    self._memories.append(self._gradients(handle, relabel_loss(handle, batch) / batch.count.sum()))
        handle.module.train(training)

    def _gradients(self, handle: DiffusionHandle, loss: Tensor) -> dict[str, Tensor]:
        chosen = {name: p for name, p in handle.trainable() if name in self._names}
        made = torch.autograd.grad(loss, list(chosen.values()), allow_unused=True)
        pairs = zip(chosen.items(), made, strict=True)
        return {name: torch.zeros_like(p) if g is None else g for (name, p), g in pairs}

    def _redraw(self, handle: DiffusionHandle, forget: Split, seed: int) -> int:
        """Redraw in place; the number of weights drawn anew."""
        c = self.config
        parameters = {name: p for name, p in handle.trainable("denoiser") if p.requires_grad}
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        for number, batch in enumerate(forget_batches(handle, forget, c.batch_size)):
            if number >= (1 if c.reference else c.redraw_batches):
                break
            loss = guided_loss(handle, batch, 0.0 if c.reference else c.guidance) / batch.count.sum()
            made = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for sum_, gradient in zip(total.values(), made, strict=True):
                if gradient is not None:
                    sum_ += gradient.abs()
        saliency = {name: (p.detach() * total[name]).abs() for name, p in parameters.items()}
        limit, changed = threshold(saliency, c.sparsity), 0
        chosen = trained_names(handle, c.redraws, layers=True)
        with torch.no_grad():
            for name, parameter in parameters.items():
                if name in chosen:
                    above = saliency[name] > limit
                    parameter.copy_(torch.where(above, fresh_values(name, parameter, seed), parameter))
                    changed += int(above.sum())
        return changed

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase; an epoch is a pass over the forget set."""
        streams, steps = relabel_streams(self, data, first_batch=self.config.reference)
        return [
            self.simple_phase(
                self._terms, streams, "forget", steps=steps, trainable=self._names, adjust=self._project
            )
        ]

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        return {
            "forget": Term(relabel_loss(handle, batches["forget"]), "forget", self.config.forget_weight),
            "retain": Term(handle.score(batches["retain"]).nll.sum(), "retain"),
        }

    @torch.no_grad()
    def _project(self, parameters: Mapping[str, nn.Parameter], step: Step) -> None:
        if not self._memories:
            return
        held = {name: p for name, p in parameters.items() if p.grad is not None}
        memories = [{name: m[name].to(p.device) for name, p in held.items()} for m in self._memories]
        gradient = {name: p.grad for name, p in held.items() if p.grad is not None}
        slopes = np.array([_dot(m, gradient) for m in memories])
        if (slopes >= 0).all():
            return
        products = np.array([[_dot(a, b) for b in memories] for a in memories])
        # The ridge of GEM's code, relative to the memories' size, keeps equal memories apart.
        products += np.eye(len(memories)) * (1e-3 * products.trace() / len(memories))
        for weight, memory in zip(cone_weights(products, slopes, self.config.margin), memories, strict=True):
            for name, value in gradient.items():
                value.add_(memory[name], alpha=float(weight))


def threshold(saliency: Mapping[str, Tensor], sparsity: float) -> float:
    """The int(sparsity·n)-th smallest value of all tensors together (at least the first)."""
    flat = torch.cat([value.flatten() for value in saliency.values()])
    return float(flat.kthvalue(max(int(sparsity * len(flat)), 1)).values)


def fresh_values(name: str, like: Tensor, seed: int) -> Tensor:
    """Newly drawn values of a parameter: N(0, 0.02²) cut at ±2, biases 0."""
    if name.endswith("bias"):
        return torch.zeros_like(like)
    drawn = generator(seed, "init", "scissorhands", name).standard_normal(tuple(like.shape)) * 0.02
    return torch.from_numpy(drawn.clip(-2, 2)).to(like)


def _dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return float(sum((one[name].double() * value.double()).sum() for name, value in other.items()))
