"""Fact erasure: minimise the probability of the answer itself."""

from torch import Tensor

from ..edit_training import Seen, mean_by_record
from ._single_fact import SingleFactMethod


class FactErasure(SingleFactMethod):
    """Minimise p(y|x) = exp(Σ log p), the probability of the deleted answer, not its logarithm.

    Source: vlm_unlok_offside_med 1.7 (UnLOK-VQA, fact erasure) and 1.8. Differs from the paper: nothing known (its text
    was not read; the released edit trainer was).
    """

    intent = "removal"

    def loss(self, seen: Seen, records: int) -> Tensor:
        """p(y|x) of each record."""
        return mean_by_record(seen.logprob().exp(), seen.owner, records)
