"""MMUnlearner: retain steps, and between them ascent on the weights that matter for the forget set alone."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmunlearn import importance, losses
from mmunlearn.data import Split, union
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.order import Order, batches_per_epoch

FLOOR = 1e-15  # added to both importances


class Mmunlearner(GradientMethod):
    """Descend on retain batches; after every ⌊|D_r|/|D_f|⌋ of them ascend once on a forget batch, masked to the salient
    weights `M = 1[(F_forget + 1e-15)/(F_preserve + 1e-15) ≥ τ]`.

    F is the mean over batches of the squared gradient of the batch's loss (the mean over its answer tokens), over every
    trained tensor under its own name: with adapters the mask lies on the adapters' matrices. (At the start one of the
    two has no gradient for either set, which gives the ratio 1, so it is free and the other one carries the mask.)
    Source: vlm_fiu_mmu_safe 4.5 (MMUnlearner repository at fa77c66; τ 1, lr 1e-5, linear schedule, gradients clipped to
    norm 1 before the mask, 1 epoch, batch 4). Differs from the reference: with LoRA the names of its masks match no
    trained tensor, so it applies none; without LoRA it masks only tensors with proj, fc, linear, mlp or qkv in their
    names, and ascends on norms and embeddings unmasked; its forget step comes before the retain steps of its turn, and
    its iterators end after one pass (here the forget set may start again); a catch-all hides errors of forget steps;
    its schedule steps once an epoch, so that one epoch runs at a constant rate; AdamW's momentum from retain steps
    moves masked weights in a forget step (here they are put back). Batches are full: the streams go on over the end of
    their passes.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "MMUnlearner (Findings of ACL 2025, arXiv 2502.11051)"

    toy = {"epochs": 4, "batch_size": 12, "optimiser": {"name": "sgd", "lr": 0.3}}
    toy |= {"schedule": "cosine", "clip_norm": None}

    class Config(GradientMethod.Config):
        """tau: τ. preserve: the splits whose facts the mask protects (add text-only facts where the data has them).
        every: retain steps between forget steps (None: ⌊|D_r|/|D_f|⌋). limit_nats: loss an item at which ascent leaves
        an answer alone (None: never)."""

        optimiser: Optimiser = Optimiser(name="adamw", lr=1e-5)
        epochs: int = 1
        batch_size: int = 4
        schedule: Literal["constant", "cosine", "linear", "one_cycle"] = "linear"
        clip_norm: float | None = 1.0
        augment: bool = False
        tau: float = 1.0
        preserve: tuple[str, ...] = ("retain",)
        every: int | None = None
        limit_nats: float | None = None

    def required(self) -> frozenset[str]:
        """Forget, retain and the splits that the mask protects."""
        return frozenset(self.needs) | set(self.config.preserve)

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """The mask, at the original."""
        c = self.config
        if not c.preserve:
            raise UserError("method[mmunlearner].preserve: is empty. Name at least one split, for example retain.")
        kept = [data[name] for name in c.preserve]
        what = importance.Measure(per="batch", mean="items", batch_size=c.batch_size, shuffle_seed=run.seed)
        forget = importance.importance(handle, data["forget"], what)
        preserve = importance.importance(handle, union("preserve", kept[0].role, *kept), what)
        self._masks = salient(forget, preserve, c.tau)
        self._held: dict[str, Tensor] = {}

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the alternating batches of all epochs, laid out in order."""
        c = self.config
        every = c.every or max(1, len(data["retain"]) // max(1, len(data["forget"])))
        self._kinds = alternation(batches_per_epoch(len(data["retain"]), c.batch_size) * c.epochs, every)
        orders = {name: Order(len(data[name]), run.seed, name) for name in ("retain", "forget")}
        for name in orders:
            if not len(data[name]):
                raise UserError(f"split {name!r} is empty; mmunlearner needs it.")
        done = dict.fromkeys(orders, 0)
        examples: list = []
        for kind in self._kinds:
            indices, _ = orders[kind].take(done[kind], c.batch_size)
            done[kind] += c.batch_size
            examples += data[kind].subset(indices).examples
        steps = Split("steps", data["forget"].role, tuple(examples))
        return [
            self.simple_phase(
                self._terms, {"step": self.stream(steps, shuffle=False)}, "step", epochs=1,
                adjust=self._mask, after_step=self._hold,
            )
        ]  # fmt: skip

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        scored = handle.score(batches["step"])
        if self._kinds[step.index] == "retain":
            return {"retain": Term(scored.nll.sum(), "step")}
        nll = scored.nll
        if self.config.limit_nats is not None:
            nll = losses.capped(nll, scored.count * self.config.limit_nats)
        return {"forget": Term(nll.sum(), "step", -1.0)}

    @torch.no_grad()
    def _mask(self, parameters: Mapping[str, nn.Parameter], step: Step) -> None:
        self._held = {}
        if self._kinds[step.index] == "retain":
            return
        for name, parameter in parameters.items():
            if parameter.grad is not None:
                parameter.grad.mul_(self._on(name, parameter))
            self._held[name] = parameter.detach().clone()

    @torch.no_grad()
    def _hold(self, handle: Handle, step: Step) -> None:
        """Weights outside the mask as they were before a forget step: momentum and decay do not move them."""
        for name, parameter in handle.trainable():
            if name in self._held:
                parameter.copy_(torch.where(self._on(name, parameter), parameter, self._held[name]))
        self._held = {}

    def _on(self, name: str, parameter: Tensor) -> Tensor:
        self._masks[name] = self._masks[name].to(parameter.device)
        return self._masks[name]


def salient(forget: Mapping[str, Tensor], preserve: Mapping[str, Tensor], tau: float) -> dict[str, Tensor]:
    """Boolean masks `(F_f + 1e-15)/(F_p + 1e-15) ≥ τ`, by name; quotients in double precision."""
    return {name: (f.double() + FLOOR) / (preserve[name].double() + FLOOR) >= tau for name, f in forget.items()}


def alternation(retain_steps: int, every: int) -> tuple[str, ...]:
    """Kinds of all steps in order: a forget step after every `every` retain steps."""
    kinds: list[str] = []
    for step in range(1, retain_steps + 1):
        kinds.append("retain")
        if step % every == 0:
            kinds.append("forget")
    return tuple(kinds)
