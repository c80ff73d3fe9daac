"""Direct preference optimisation (DPO) for unlearning: prefer another answer to the one that is to be forgotten."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from mmunlearn import losses
from mmunlearn.data import Example, Split
from mmunlearn.handle import Handle
from mmunlearn.methods._pairing import Paired, original, paired_phase, retain_terms
from mmunlearn.methods.base import GradientMethod, Need, Phase, Step, Term
from mmunlearn.seeds import generator


class Dpo(GradientMethod):
    """Minimise `gamma·mean_forget −(2/β) log σ(β (r_w − r_l)) + alpha·retain part`, r = log-ratio to the original.

    y_l is the forget answer. y_w comes from `handle.preferred_target(example, generator)` where the handle offers one
    (a refusal, a generated alternate), else from `handle.random_target(…, wrong_only=True)`; drawn once an example.
    Source: objectives_and_seeds 3.4 (open-unlearning's IdkDPO and AltPO; β .1). Norm mode: `norm`; the original is
    always asked in evaluation mode. Differs from the references: TOFU's plain `−log σ` (no factor 2/β) and FLAT's
    ratio left at zero are not offered.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE})
    paper = "Rafailov et al. 2023; Maini et al. 2024 (IdkDPO)"

    toy = {"epochs": 10, "batch_size": 12, "optimiser": {"lr": 0.01}}

    class Config(Paired):
        """beta: inverse temperature; gamma: weight of the forget part. reference: see Reference."""

        beta: float = 0.1
        gamma: float = 1.0
        reference: Literal["auto", "cached", "adapters_off", "frozen_copy"] = "auto"

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Draw the preferred answers and keep the original's records of both."""
        forget = data["forget"]
        preferred = forget.mapped(lambda example: example.with_target(_preferred(handle, example, run.seed)))
        self._preferred = {example.id: example for example in preferred}
        more = [data["retain"]] if self.config.retain == "kl" else []
        self._original = original(self, handle, forget, preferred, *more)

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase on paired batches."""
        return paired_phase(self, self._terms, data)

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        terms = retain_terms(self, handle, batches, self._original)
        if "forget" in batches:
            rejected = batches["forget"]
            preferred = handle.collate([self._preferred[i] for i in rejected.ids], rejected.view)
            preferred = preferred.to(rejected.count.device)
            same = _rows(preferred.ids, rejected.ids).to(rejected.count.device)
            won = (handle.score(preferred).nll[same], self._original.score(preferred).nll[same])
            lost = (handle.score(rejected).nll, self._original.score(rejected).nll)
            loss = losses.dpo(won, lost, beta=self.config.beta)
            terms["forget"] = Term(loss.sum(), "forget.examples", self.config.gamma)
        return terms


def _preferred(handle: Handle, example: Example, seed: int):
    draw = generator(seed, "labels", "preferred", example.id)
    if hasattr(handle, "preferred_target"):
        return handle.preferred_target(example, draw)
    return handle.random_target(example, draw, wrong_only=True)


def _rows(found: tuple[str, ...], wanted: tuple[str, ...]) -> torch.Tensor:
    """Where each wanted id is found; a handle may collate in another order."""
    if found == wanted:
        return torch.arange(len(wanted))
    rows = {name: row for row, name in enumerate(found)}
    return torch.tensor([rows[name] for name in wanted])
