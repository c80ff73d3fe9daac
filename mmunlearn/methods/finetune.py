"""Fine-tuning (FT): go on training on the retain set alone and rely on forgetting by neglect."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term


class Finetune(GradientMethod):
    """Minimise CE(retain).

    Source: vision.md 6.1 (published settings: SGD lr .01, 10 epochs; SCRUB .04, 10; SSD .02, 5; MUFAC .001, 2). Norm
    mode: `norm`; the MUFAC notebook trains with stored statistics (`norm: eval`), SalUn's harness with batch
    statistics. Differs from the paper: nothing.
    """

    needs = frozenset({Need.RETAIN})
    paper = "Golatkar et al. 2020 (baseline); Choi and Na 2023 (MUFAC)"

    class Config(GradientMethod.Config):
        """Defaults of the SalUn harness. on: the split that is trained on (corrected facts, say). steps: of the
        optimiser, instead of epochs."""

        on: str = Need.RETAIN.value
        steps: int | None = Field(None, ge=1)
        optimiser: Optimiser = Optimiser(lr=0.01, momentum=0.9, weight_decay=5e-4)
        epochs: int = 10

    def required(self) -> frozenset[str]:
        """The split that is trained on."""
        return frozenset({self.config.on})

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase of cross-entropy."""
        on, more = self.config.on, {} if self.config.steps is None else {"steps": self.config.steps}
        return [self.simple_phase(self._terms, {on: self.stream(data[on])}, on, **more)]

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        (stream,) = batches
        return {"ce": Term(handle.score(batches[stream]).nll.sum(), stream)}
