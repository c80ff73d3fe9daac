"""EraseDiff: keep denoising the retained pictures while the concept's learn a surrogate's denoising."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.order import Order, batches_per_epoch

from ..handle import DiffusionHandle
from ._prompts import surrogates
from ._pseudo_label import relabel_loss, relabel_streams
from ._trained import Role, trained_names


class EraseDiff(GradientMethod):
    """Minimise L_r + λ·L_f, L_f = MSE(ε_θ(x_f, c), sg ε_θ(x_f, c')), c' the surrogate prompt, L_r the denoising loss.

    This is what the paper's value-function constraint L_f(θ) − L_f(θ_K) comes to where θ_K, the result of K steps on
    L_f from θ, is held constant: the constant has no gradient. `bilevel: true` does the whole: on every forget batch K
    plain gradient steps of rate `inner_lr` from θ, back to θ, then a step on ∇L_r + λ·∇q with ∇q = ∇L_f(θ) − ∇L_f(θ_K)
    (θ_K follows θ to first order) and the dynamic barrier's λ = max(0, η − ⟨∇L_r, ∇q⟩/‖∇q‖²), η = `forget_weight`
    (Liu et al. 2022, BOME, equation 5 with φ = η‖∇q‖²), or with λ = η where `barrier` is false.
    Sources: Wu et al. 2024 (arXiv 2401.05779); diffusion sheet 4.6 (JingWu321/EraseDiff: λ 1, Adam 1e-5, batch 16, K 2
    and 5 epochs for nudity on all but cross-attention; UnlearnCanvas: cross-attention, λ 0.1, Adam 5e-5, batch 4,
    5 epochs). Differs from the paper: how ∇q follows θ_K is our reading. Differs from the repository: there the inner
    steps act through Adam's state alone and each restore also undoes the pass before it, so that of K passes an epoch
    one survives; a second posterior draw makes the target. `reference: true` reads the same first batches in every
    step, as the script behind UnlearnCanvas's row does (short form only).
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, "concept"})
    paper = "Wu et al. 2024 (EraseDiff)"

    toy = {"batch_size": 8, "epochs": 5, "optimiser": {"name": "sgd", "lr": 0.1}}

    class Config(GradientMethod.Config):
        """forget_weight: λ, or η of the barrier. inner_steps: K; inner_lr: their rate."""

        trains: Role = "denoiser"
        forget_weight: float = 1.0
        optimiser: Optimiser = Optimiser(name="adam", lr=1e-5)
        epochs: int = 5
        batch_size: int = 16
        bilevel: bool = False
        inner_steps: int = Field(2, ge=1)
        inner_lr: float = 1e-5
        barrier: bool = True
        reference: bool = False

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Nothing but names: all references are the model's own."""
        self._names = trained_names(handle, self.config.trains)
        self._start: dict[str, Tensor] = {}  # θ while inner steps move the weights
        self._probe: list[Tensor] = []  # ∇L_f(θ_K)

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """The short form in one phase; the bilevel form in one an epoch."""
        if self.config.bilevel:
            return [self._epoch(data, run.seed, epoch) for epoch in range(self.config.epochs)]
        streams, steps = relabel_streams(self, data, first_batch=self.config.reference)
        return [self.simple_phase(self._terms, streams, "forget", steps=steps, trainable=self._names)]

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        return {
            "forget": Term(relabel_loss(handle, batches["forget"]), "forget", self.config.forget_weight),
            "retain": Term(handle.score(batches["retain"]).nll.sum(), "retain"),
        }

    # ---- the bilevel form: every forget batch K + 2 times, with the same times and noise -------------------------
    @property
    def _cycle(self) -> int:
        return self.config.inner_steps + 2

    def _epoch(self, data: Mapping[str, Split], seed: int, epoch: int) -> Phase:
        """Inner steps, the probe of ∇L_f(θ_K) and the outer step of every batch, laid out in order."""
        forget = data["forget"]
        size = min(self.config.batch_size, len(forget))
        order, examples = Order(len(forget), seed, "forget"), []
        for number in range(batches_per_epoch(len(forget), size)):
            # Batches are full: the last one goes on over the end of the pass.
            indices, _ = order.take(epoch * len(forget) + number * size, size)
            examples += list(forget.subset(indices)) * self._cycle
        laid_out = Split("cycles", forget.role, tuple(examples))
        streams = {
            "forget": self.stream(laid_out, relabel=surrogates(data["concept"]), shuffle=False, batch_size=size),
            "retain": self.stream(data["retain"]),
        }
        return self.simple_phase(
            self._bilevel_terms, streams, "forget", name=f"{self.name()}@{epoch}", epochs=1, clip_norm=None,
            trainable=self._names, combine=self._combine, adjust=self._inner, after_step=self._restore,
        )  # fmt: skip

    def _bilevel_terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        terms = {"forget": Term(relabel_loss(handle, batches["forget"]), "forget")}
        if step.step % self._cycle == self._cycle - 1:
            terms["retain"] = Term(handle.score(batches["retain"]).nll.sum(), "retain")
        return terms

    def _combine(self, gradients: Mapping[str, list[Tensor]]) -> list[Tensor]:
        if "retain" not in gradients:
            return gradients["forget"]
        slope = [f - p.to(f) for f, p in zip(gradients["forget"], self._probe, strict=True)]
        weight = self.config.forget_weight
        if self.config.barrier:
            weight = barrier_weight(gradients["retain"], slope, weight)
        mixed = [r + weight * q for r, q in zip(gradients["retain"], slope, strict=True)]
        limit = self.config.clip_norm
        norm = sum(float(g.double().square().sum()) for g in mixed) ** 0.5
        return mixed if limit is None or norm <= limit else [g * (limit / (norm + 1e-6)) for g in mixed]

    @torch.no_grad()
    def _inner(self, parameters: Mapping[str, nn.Parameter], step: Step) -> None:
        """Inner steps and the probe never reach the optimiser, whose state belongs to outer steps."""
        place = step.step % self._cycle
        if place == self._cycle - 1:
            return
        if place == 0:
            self._start = {name: p.detach().clone() for name, p in parameters.items()}
        if place == self._cycle - 2:
            self._probe = [_gradient(p).clone() for p in parameters.values()]
        for parameter in parameters.values():
            if place < self.config.inner_steps:
                parameter.sub_(_gradient(parameter), alpha=self.config.inner_lr)
            parameter.grad = None

    @torch.no_grad()
    def _restore(self, handle: DiffusionHandle, step: Step) -> None:
        """Back to θ once the probe is taken."""
        place = step.step % self._cycle
        if place == self._cycle - 2:
            for name, parameter in handle.module.named_parameters():
                if name in self._start:
                    parameter.copy_(self._start[name])
            self._start = {}
        elif place == self._cycle - 1:
            self._probe = []

    def state(self) -> dict[str, Any]:
        """θ and the probe, between the steps of a cycle."""
        return {"start": dict(self._start), "probe": {str(i): g for i, g in enumerate(self._probe)}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take both back."""
        self._start = dict(state["start"])
        self._probe = [state["probe"][str(i)] for i in range(len(state["probe"]))]


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def barrier_weight(retain: Sequence[Tensor], slope: Sequence[Tensor], eta: float) -> float:
    """max(0, η − ⟨∇L_r, ∇q⟩/‖∇q‖²), in double precision; η where ∇q vanishes."""
    inner = float(sum((r.double() * q.double()).sum() for r, q in zip(retain, slope, strict=True)))
    square = float(sum(q.double().square().sum() for q in slope))
    return max(0.0, eta - inner / square) if square > 0 else eta
