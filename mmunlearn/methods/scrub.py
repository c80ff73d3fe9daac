"""SCRUB: drive the student away from the original on the forget set and back to it on the retain set, in turns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmunlearn import losses
from mmunlearn.data import Split
from mmunlearn.handle import Batch, Handle, Scored
from mmunlearn.methods._pairing import kl_over, original
from mmunlearn.methods._passes import Pass, alternate, on_epoch_end
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term


class Scrub(GradientMethod):
    """In every epoch: a pass that maximises KL_T on the forget set (the first `msteps` epochs) and a pass that
    minimises `gamma·CE + alpha·KL_T` on the retain set; KL_T = T²·KL(original ‖ student), averaged over the batch.

    `rewind` (SCRUB+R) keeps the network before the first and after every epoch and returns the one whose forget error
    is nearest to the final network's error on the calibration split, whose classes are weighted as in the forget set;
    equal distances: the later one. Source: vision.md 6.6 (SCRUB repository). Presets: small = the defaults; large:
    SGD lr 5e-4, gamma .99, alpha .001, msteps 2, T 4, 3 epochs, batch 128, forget batch 32; MIA: SGD lr 5e-4, alpha
    .5, msteps 3, T 4, 5 epochs, decay 3,5,9, batch 32, forget batch 16; MUFAC: SGD lr .001, alpha 1, T 4, 2 epochs,
    msteps 2, order retain_first, batch 64. Norm mode: `norm`, batch statistics as published; the teacher in
    evaluation mode. Differs from the reference: rewinding also considers the network of step 0, which the reference
    omits.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.CALIBRATION, Need.REFERENCE, Need.LOGITS})
    paper = "Kurmanji et al. 2023, Towards Unbounded Machine Unlearning (SCRUB)"

    toy = {"epochs": 6, "batch_size": 12, "optimiser": {"lr": 0.02}, "rewind": True}

    class Config(GradientMethod.Config):
        """msteps: epochs with a forget pass. decay_after: epochs (counted from one) after each of which the rate is
        multiplied by `decay`. order: which pass an epoch begins with."""

        optimiser: Optimiser = Optimiser(name="adam", lr=5e-4, weight_decay=0.1)
        epochs: int = 10
        alpha: float = 0.5
        gamma: float = 1.0
        msteps: int = 3
        temperature: float = Field(2.0, gt=0)
        forget_batch_size: int | None = None
        order: Literal["forget_first", "retain_first"] = "forget_first"
        decay: float = 0.1
        decay_after: tuple[int, ...] = (5, 8, 9)
        reference: Literal["auto", "cached", "adapters_off", "frozen_copy"] = "auto"
        rewind: bool = False

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Keep the original as the teacher; with rewinding, as the first checkpoint too."""
        self._teacher = original(self, handle, data["forget"], data["retain"])
        self._forget = data["forget"]
        self._kept: list[dict[str, Tensor]] = []
        self._errors: list[float] = []
        if self.config.rewind:
            self._keep(handle)

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """Forget and retain passes in turns under one optimiser."""
        c = self.config
        forget = self.stream(data["forget"], batch_size=c.forget_batch_size or c.batch_size)
        passes = [
            Pass(name="forget", stream=forget, terms=self._max_terms, until=c.msteps),
            Pass(name="retain", stream=self.stream(data["retain"]), terms=self._min_terms),
        ]
        if c.order == "retain_first":
            passes.reverse()
        phases = alternate(self, passes, rate_of_epoch=self._rate)
        return on_epoch_end(phases, self._after_epoch) if c.rewind else phases

    def _rate(self, epoch: int) -> float:
        return self.config.decay ** sum(epoch >= after for after in self.config.decay_after)

    def _divergence(self, batch: Batch, student: Scored) -> Tensor:
        teacher = self._teacher.score(batch)
        return losses.kl(teacher, student, temperature=self.config.temperature, who=self.name()).sum()

    def _max_terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        student = handle.score(batches["forget"])
        return {"forget": Term(self._divergence(batches["forget"], student), kl_over(student, "forget"), -1.0)}

    def _min_terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        student = handle.score(batches["retain"])
        return {
            "retain": Term(student.nll.sum(), "retain", self.config.gamma),
            "kl": Term(self._divergence(batches["retain"], student), kl_over(student, "retain"), self.config.alpha),
        }

    # ---- rewinding --------------------------------------------------------------------------------------------
    def _after_epoch(self, handle: Handle, step: Step) -> None:
        self._keep(handle)

    def _keep(self, handle: Handle) -> None:
        state = handle.module.state_dict()
        self._kept.append({name: tensor.detach().cpu().clone() for name, tensor in state.items()})
        self._errors.append(_error(handle, self._forget, self.config.batch_size))

    def state(self) -> dict[str, Any]:
        """The kept networks and their forget errors."""
        return {"kept": list(self._kept), "errors": list(self._errors)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self._kept, self._errors = [dict(net) for net in state["kept"]], list(state["errors"])

    def finish(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """Rewind to the network whose forget error is nearest to the reference point."""
        if not self.config.rewind:
            return handle
        goal = _error(handle, data["calibration"], self.config.batch_size, like=self._forget)
        chosen = rewind_point(self._errors, goal)
        handle.module.load_state_dict(self._kept[chosen])
        run.event("rewind", chosen=chosen, forget_errors=self._errors, reference_error=goal)
        return handle


def rewind_point(errors: Sequence[float], goal: float) -> int:
    """Index of the error nearest to `goal`, the last of equally near ones."""
    distances = [abs(error - goal) for error in errors]
    return max(i for i, distance in enumerate(distances) if distance == min(distances))


@torch.no_grad()
def _error(handle: Handle, split: Split, batch_size: int, *, like: Split | None = None) -> float:
    """Share of wrong items (0..1) in evaluation mode; `like`: examples weighted so that their targets are distributed
    as in that split (targets that one of the two lacks are left out; if they share none, all weigh the same)."""
    training = handle.module.training
    handle.module.eval()
    wrong: list[float] = []
    for start in range(0, len(split), batch_size):
        scored = handle.score(handle.collate(split[start : start + batch_size]).to(handle.device))
        wrong += (losses.mistakes(scored, "scrub's rewinding") / scored.count).tolist()
    handle.module.train(training)
    weights = [1.0] * len(wrong)
    if like is not None:
        wanted, there = (Counter(str(example.target) for example in part) for part in (like, split))
        matched = [wanted[str(e.target)] / there[str(e.target)] for e in split]
        weights = matched if sum(matched) else weights
    return sum(w * e for w, e in zip(weights, wrong, strict=True)) / sum(weights)
