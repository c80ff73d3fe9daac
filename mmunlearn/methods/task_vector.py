"""Task vector negation: over-fit a copy to the forget set and walk the other way from the original."""

from collections.abc import Mapping, Sequence

import torch

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GradientMethod, Need, NormMode, Optimiser, Phase, Step, Term


class TaskVector(GradientMethod):
    """`θ = θ₀ − alpha (θ_f − θ₀)` where θ_f is θ₀ fine-tuned on the forget set.

    Source: Ilharco et al. 2023; objectives_and_seeds 5.1 (MUSE baseline, alpha swept). Applies to trainable parameters;
    buffers stay those of the original. Norm mode: stored statistics by default (`frozen`), so that θ_f is the network
    whose buffers the result keeps.
    Differs from the paper: nothing. A model that has learnt the forget set by heart gives a vector that is nearly zero:
    the rate and the number of epochs must be large enough to over-fit.
    """

    needs = frozenset({Need.FORGET})
    paper = "Ilharco et al. 2023, Editing Models with Task Arithmetic"

    toy = {"epochs": 10, "optimiser": {"lr": 0.1}, "alpha": 20.0}

    class Config(GradientMethod.Config):
        """alpha: length of the step back, in lengths of the vector."""

        optimiser: Optimiser = Optimiser(lr=0.01, momentum=0.9)
        epochs: int = 10
        norm: NormMode = "frozen"
        alpha: float = 1.0

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Keep θ₀ and its buffers."""
        self._start = {name: tensor.detach().clone() for name, tensor in handle.module.state_dict().items()}

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase of cross-entropy on the forget set."""
        return [self.simple_phase(self._terms, {"forget": self.stream(data["forget"])}, "forget")]

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        return {"ce": Term(handle.score(batches["forget"]).nll.sum(), "forget")}

    @torch.no_grad()
    def finish(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """Negate the vector."""
        trained = {name for name, _ in handle.trainable()}
        for name, tensor in handle.module.state_dict().items():
            start = self._start[name].to(tensor.device)
            tensor.copy_(start - self.config.alpha * (tensor - start) if name in trained else start)
        return handle
