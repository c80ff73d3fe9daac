"""NPO as OFFSIDE's trainer has it: the mean of a batch inside the sigmoid, one gate for all of its answers."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field
from torch.nn import functional

from mmunlearn.data import Split
from mmunlearn.handle import Batch, Handle
from mmunlearn.methods._pairing import original
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term, rate

from ._objective import warmed


class NpoBatchMean(GradientMethod):
    """Minimise `−(2/β) log σ(β (L(θ) − L(original)))`, L the mean over all answer tokens of a batch.

    Source: zh121800/OFFSIDE, NPO at 91884c7 (β .9, lr 5e-5, forget data alone). Differs from the NPO paper: its sigmoid
    is an answer's own, with summed log-probabilities (the core's `npo`); with means and this β the gate hardly moves at
    the start. Differs from the reference: the original stands where it loads a model fine-tuned on the retain set
    alone. The formula is no sum over examples: with `train.micro_batch` below the batch, each part has its own gate.
    """

    needs = frozenset({Need.FORGET, Need.REFERENCE})
    paper = "OFFSIDE (arXiv 2510.22535), its code"
    known_failures = {"micro-batches": "the sigmoid takes the mean of a batch, so a split batch has another loss"}
    toy = {"epochs": 6, "batch_size": 12, "optimiser": {"name": "sgd", "lr": 0.1}}

    class Config(GradientMethod.Config):
        """beta: inverse temperature. warmup_frac: share of the steps over which the rate rises from 0."""

        optimiser: Optimiser = Optimiser(name="adamw", lr=5e-5, weight_decay=0.0)
        epochs: int = 10
        batch_size: int = 16
        schedule: Literal["constant", "cosine", "linear", "one_cycle"] = "linear"
        warmup_frac: float = Field(0.0, ge=0, lt=1)
        clip_norm: float | None = 1.0
        augment: bool = False
        beta: float = Field(0.9, gt=0)
        reference: Literal["auto", "cached", "adapters_off", "frozen_copy"] = "auto"

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """The original's losses."""
        self._original = original(self, handle, data["forget"])

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the forget set."""
        schedule = warmed(rate(self.config.schedule), self.config.warmup_frac)
        return [self.simple_phase(self._terms, {"forget": self.stream(data["forget"])}, "forget", rate=schedule)]

    def _terms(self, handle: Handle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        batch = batches["forget"]
        scored, beta = handle.score(batch), self.config.beta
        before = self._original.score(batch).nll.sum() / scored.count.sum()
        gap = scored.nll.sum() / scored.count.sum() - before
        loss = -2 / beta * functional.logsigmoid(beta * gap)
        return {"forget": Term(loss * len(batch), "forget.examples")}
