"""Retrain: a newly constructed model trained with the original's recipe, without the forget set (the gold model)."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.forget_updates import ForgetUpdates
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.seeds import derive


class Retrain(GradientMethod):
    """Train from scratch on the retain set; with `on: train` the same recipe makes the original model.

    Source: vision.md 1.3 (MU-NB 01_MUFAC) for the recipe's shape. Differs from some references, which reset only the
    last layer (SSD repository, issue 1): the model is constructed anew, so nothing of the original survives.
    """

    needs = frozenset({Need.RETAIN, Need.TRAIN, Need.FRESH})
    paper = "retraining from scratch on the retain set (exact unlearning)"

    toy = {"epochs": 20, "batch_size": 12, "optimiser": {"lr": 0.05}}

    class Config(GradientMethod.Config):
        """Recipe of the original; `on: train` trains the original itself, and the name of another split trains on that
        one (all that a gold model may see, where that is more than retain). milestones: epochs from which the rate is
        multiplied by `gamma` once more (counted from zero). record_forget_updates: with `on: train`, leaves
        forget_updates.safetensors in the run folder, which the method `amnesiac` subtracts."""

        on: str = "retain"
        optimiser: Optimiser = Optimiser(lr=0.01, momentum=0.9)
        epochs: int = 30
        milestones: tuple[int, ...] = ()
        gamma: float = 0.1
        reseed: bool = True  # the gold model starts from other random weights than the original
        record_forget_updates: bool = False

    def required(self) -> frozenset[str]:
        """Retain, train and the split that is trained on."""
        return frozenset(self.needs) | {self.config.on}

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Replace the weights by newly initialised ones."""
        names = ("init", self.config.on) if self.config.reseed else ("init",)
        new = handle.fresh(derive(run.seed, *names)).module
        handle.module.load_state_dict(new.state_dict())

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase of cross-entropy."""
        stream = self.config.on
        options: dict[str, Any] = {}
        if self.config.milestones:
            options["rate"] = self._milestones
        if self.config.record_forget_updates:
            self._record = self._recorder(data, run)
            options["after_step"] = self._record.after
        return [self.simple_phase(self._terms, {stream: self.stream(data[stream])}, stream, **options)]

    def _milestones(self, step: Step) -> float:
        return self.config.gamma ** sum(step.epoch >= m for m in self.config.milestones)

    # ---- the record that amnesiac unlearning subtracts ------------------------------------------------------------
    _record: ForgetUpdates | None = None

    def _recorder(self, data: Mapping[str, Split], run) -> ForgetUpdates:
        if self.config.on != "train":
            raise UserError("method.record_forget_updates: needs method.on=train (retain has none to record).")
        forget_ids = set(data["train"].ids) - set(data["retain"].ids)
        size = self.config.batch_size
        return ForgetUpdates(data["train"], forget_ids, batch_size=size, seed=run.seed, stream="train")

    def state(self) -> dict[str, Any]:
        """The record so far, if one is kept."""
        return {} if self._record is None else self._record.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the record back."""
        if self._record is not None:
            self._record.load_state(state)

    def finish(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """Write the record, if one is kept."""
        if self._record is not None:
            file = self._record.write(run.path, handle)
            run.event("recorded_forget_updates", file=file.name)
        return handle

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        (stream,) = batches
        if self._record is not None:
            self._record.before(handle, step)
        return {"ce": Term(handle.score(batches[stream]).nll.sum(), stream)}
