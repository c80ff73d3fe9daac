"""Amnesiac unlearning: take back the updates that forget batches made, or train the forget set on wrong labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from mmunlearn.data import Example, Role, Split, union
from mmunlearn.errors import UserError
from mmunlearn.forget_updates import read_record
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.seeds import generator

from ..handle import VisionHandle


class Amnesiac(GradientMethod):
    """Two algorithms of one name; the event "amnesiac" in the run says which one ran.

    variant "subtract" (Graves et al. 2021): θ ← θ − Σ Δθ over the training steps whose batch held a forget example,
        weights and biases only; then `repair_epochs` of CE(retain). It needs the record that
        `method=retrain on=train record_forget_updates=true` leaves beside the original.
    variant "relabel" (SSD repository under this name; also the label-flipping baseline of the paper): one shuffled
        pass an epoch over the retain set and the forget set with a random wrong label each, drawn once; 3 epochs of
        Adam 1e-4.
    variant "auto": subtract if `record` is given, else relabel.
    Sources: vision.md 6.12 (lmgraves/AmnesiacML; if-loops/selective-synaptic-dampening).
    Differs from the paper: the per-step differences are summed while training, not stored one by one (equal result).
    A forget set that is scattered over the training set touches nearly every step; then subtracting takes nearly all
    training back, and only the repair makes a model of the rest. The event gives that share. Momentum carries forget
    gradients into later steps, which are not taken back: a record made with momentum 0 forgets far better (measured on
    the test's small net with five repair epochs: forget loss 3.1 nats against 0.07 with momentum 0.9).
    Norm mode: train. Multi-label (vision.md 6.17): wrong label vectors of fair coins; binary cross-entropy.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Graves, Nagisetty and Ganesh 2021 (amnesiac machine unlearning)"

    toy = {"batch_size": 12, "optimiser": {"lr": 0.001}}

    class Config(GradientMethod.Config):
        """record: file or folder with the original's record. optimiser, epochs: of "relabel". repair_*: of
        "subtract"; no repair is the bare rule."""

        variant: Literal["auto", "subtract", "relabel"] = "auto"
        record: str | None = None
        optimiser: Optimiser = Optimiser(name="adam", lr=1e-4)
        epochs: int = 3
        repair_epochs: int = 0
        repair_optimiser: Optimiser = Optimiser(lr=0.01, momentum=0.9)

    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Choose the variant; subtract the record at once."""
        c = self.config
        self._variant = c.variant
        if self._variant == "auto":
            self._variant = "relabel" if c.record is None else "subtract"
        if self._variant == "relabel":
            why = "no record of the original's updates" if c.variant == "auto" else "asked for"
            run.event("amnesiac", variant="relabel", why=why)
            return
        if c.record is None:
            raise UserError(
                "method.record: variant subtract needs the original's record. Give the folder of its training run,\n"
                "made with method=retrain method.on=train method.record_forget_updates=true, or use variant=relabel."
            )
        record = read_record(Path(c.record))
        parameters = dict(handle.module.named_parameters())
        wrong = [n for n, p in parameters.items() if n not in record.updates or record.updates[n].shape != p.shape]
        if wrong or len(parameters) != len(record.updates):
            name = wrong[0] if wrong else next(iter(set(record.updates) - set(parameters)))
            raise UserError(f"method.record: {c.record} belongs to another model ({name} does not match).")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.sub_(record.updates[name].to(parameter))
        run.event("amnesiac", variant="subtract", steps=record.steps, of=record.of)

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """Relabelled training, or the repair after subtracting."""
        c = self.config
        if self._variant == "subtract":
            if not c.repair_epochs:
                return []
            streams = {"retain": self.stream(data["retain"])}
            options = {"epochs": c.repair_epochs, "spec": c.repair_optimiser, "name": "repair"}
            return [self.simple_phase(self._terms, streams, "retain", **options)]
        forget_ids = frozenset(data["forget"].ids)

        def relabel(example: Example, epoch: int) -> Example:
            if example.id not in forget_ids:
                return example
            draw = generator(run.seed, "labels", "amnesiac", example.id)
            return example.with_target(handle.random_target(example, draw, wrong_only=True))

        mixed = union("retain and relabelled forget", Role.TRAIN, data["forget"], data["retain"])
        return [self.simple_phase(self._terms, {"mixed": self.stream(mixed, relabel=relabel)}, "mixed")]

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        ((stream, batch),) = batches.items()
        return {"ce": Term(handle.score(batch).nll.sum(), stream)}
