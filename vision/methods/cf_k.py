"""CF-k (catastrophic forgetting of the last k blocks): fine-tune them on the retain set, everything before frozen."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mmunlearn.data import Split
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term

from ..handle import VisionHandle
from ._blocks import keep_statistics, last_blocks


class CfK(GradientMethod):
    """Minimise CE(retain) over the last `k` blocks and the head; the forget set is never read.

    Sources: vision.md 6.1 (Goel et al. 2022; SCRUB: layer4 and fc, lr .01, 10 epochs) and 1.5 (MU-NB's CF-3: layer3,
    layer4 and fc, lr .001, 2 epochs; here k = 2, because k counts the blocks before the head).
    Differs from the paper: nothing. Differs from MU-NB: there the frozen blocks' batch statistics go on moving (train
    mode everywhere); `statistics: all` does the same. SCRUB keeps all of them still: `norm: frozen`.
    Norm mode: train, for the trained blocks only. Multi-label: the task loss is the binary cross-entropy.
    """

    needs = frozenset({Need.RETAIN})
    paper = "Goel et al. 2022 (CF-k); Choi and Na 2023 (CF-3)"

    toy = {"epochs": 10, "batch_size": 12, "optimiser": {"lr": 0.1, "momentum": 0.9}}

    class Config(GradientMethod.Config):
        """k: blocks before the head that are trained with it. statistics: whose batch statistics follow the data."""

        k: int = 2
        statistics: Literal["trained", "all"] = "trained"
        optimiser: Optimiser = Optimiser(lr=1e-3)
        epochs: int = 2

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase of cross-entropy over the last blocks."""
        self._trained = last_blocks(handle, self.config.k)
        return [
            self.simple_phase(self._terms, {"retain": self.stream(data["retain"])}, "retain", trainable=self._trained)
        ]

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        if self.config.statistics == "trained":
            keep_statistics(handle.module, self._trained)
        return {"ce": Term(handle.score(batches["retain"]).nll.sum(), "retain")}
