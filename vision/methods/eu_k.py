"""EU-k (exact unlearning of the last k blocks): initialise them anew and train them on the retain set."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from mmunlearn.data import Split
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.seeds import derive

from ..handle import VisionHandle
from ._blocks import keep_statistics, last_blocks, owners


class EuK(GradientMethod):
    """Replace the last `k` blocks and the head by newly constructed ones, then minimise CE(retain) over them alone.

    Weights, biases and batch statistics of those blocks come from `handle.fresh`; the blocks before stay as they are,
    their statistics too. Source: vision.md 6.1 (Goel et al. 2022; SCRUB: layer4, lr .01, the original's epochs).
    Differs from SCRUB's code, which leaves the head as it was, frozen, and keeps batch norm in evaluation mode:
    `head: frozen` with `norm: frozen` is that reference; ours by default does what the paper says.
    Norm mode: train, for the trained blocks only. Multi-label: the task loss is the binary cross-entropy.
    """

    needs = frozenset({Need.RETAIN, Need.FRESH})
    paper = "Goel et al. 2022 (EU-k)"

    toy = {"epochs": 20, "batch_size": 12, "optimiser": {"lr": 0.05}}

    class Config(GradientMethod.Config):
        """k: blocks before the head. head: whether the head is initialised anew and trained too. milestones: epochs
        from which the rate is multiplied by `gamma` once more; they follow the original's recipe."""

        k: int = 1
        head: Literal["reset", "frozen"] = "reset"
        optimiser: Optimiser = Optimiser(lr=0.01, momentum=0.9)
        epochs: int = 30
        milestones: tuple[int, ...] = ()
        gamma: float = 0.1

    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Put new weights and statistics into the last blocks."""
        self._trained = last_blocks(handle, self.config.k, head=self.config.head == "reset")
        paths = owners(self._trained)
        new = handle.fresh(derive(run.seed, "init", "eu_k")).module.state_dict()
        own = handle.module.state_dict()
        with torch.no_grad():
            for name, tensor in own.items():
                if name in self._trained or (name.rpartition(".")[0] in paths):
                    tensor.copy_(new[name])

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase of cross-entropy over the new blocks."""
        options: dict[str, Any] = {"trainable": self._trained}
        if self.config.milestones:
            options["rate"] = self._milestones
        return [self.simple_phase(self._terms, {"retain": self.stream(data["retain"])}, "retain", **options)]

    def _milestones(self, step: Step) -> float:
        return self.config.gamma ** sum(step.epoch >= m for m in self.config.milestones)

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        keep_statistics(handle.module, self._trained)
        return {"ce": Term(handle.score(batches["retain"]).nll.sum(), "retain")}
