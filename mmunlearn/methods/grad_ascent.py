"""Gradient ascent (GA, NegGrad): raise the loss of the forget set."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mmunlearn import losses
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods._pairing import batch_length
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.order import batches_per_epoch


class GradAscent(GradientMethod):
    """Minimise −CE(forget).

    Sources: vision.md 6.2 (SalUn repository, unlearn/GA.py: an epoch is a pass over the forget set) and 1.5 (MUFAC
    NegGrad: one step a retain batch, `pace: retain`). Norm mode: `norm`; both references train with batch statistics.
    Differs from the paper: `stop_at_chance` (default) leaves an example alone once its loss is that of a uniform guess,
    since the objective has no minimum and the references run into NaN. `stop_at_chance: false` is the references' rule.
    MUFAC preset: pace retain, skip_unequal true, stop_at_chance false, SGD lr .001, 2 epochs.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Graves et al. 2021; Thudi et al. 2022; Choi and Na 2023 (NegGrad)"

    toy = {"epochs": 10, "batch_size": 4, "optimiser": {"lr": 0.1}}

    class Config(GradientMethod.Config):
        """pace: the set whose batches are counted as steps. limit_nats: loss an item at which ascent stops, instead of
        chance. skip_unequal: leave out the steps for which the MUFAC notebook finds batches of unequal sizes."""

        optimiser: Optimiser = Optimiser(lr=1e-4, momentum=0.9, weight_decay=5e-4)
        epochs: int = 5
        pace: Literal["forget", "retain"] = "forget"
        stop_at_chance: bool = True
        limit_nats: float | None = None
        skip_unequal: bool = False

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the forget set, as many steps as `pace` says."""
        c = self.config
        options = {}
        self._sizes = (len(data["forget"]), 0)
        if c.pace == "retain":
            self._sizes = (len(data["forget"]), len(data["retain"]))
            options["steps"] = c.epochs * batches_per_epoch(len(data["retain"]), c.batch_size)
        elif c.skip_unequal:
            raise UserError("method[grad_ascent].skip_unequal: compares with retain batches; set pace to retain.")
        return [self.simple_phase(self._terms, {"forget": self.stream(data["forget"])}, "forget", **options)]

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        if self.config.skip_unequal and self._unequal(step):
            return {"forget": Term(batches["forget"].count.sum() * 0.0, "forget", -1.0)}
        scored = handle.score(batches["forget"])
        nll = scored.nll
        if self.config.limit_nats is not None:
            nll = losses.capped(nll, scored.count * self.config.limit_nats)
        elif self.config.stop_at_chance and scored.logits is not None:
            nll = losses.capped(nll, losses.chance_nats(scored, self.name()))
        return {"forget": Term(nll.sum(), "forget", -1.0)}

    def _unequal(self, step: Step) -> bool:
        lengths = {batch_length(n, self.config.batch_size, step.index) for n in self._sizes}
        return len(lengths) > 1
