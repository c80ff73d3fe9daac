"""Error injection: teach another answer in the place of the true one."""

from torch import Tensor

from mmunlearn.data import Example

from ..edit_training import Seen, sum_by_record
from ..handle import VlmHandle
from ._single_fact import SingleFactMethod, alternative


class ErrorInjection(SingleFactMethod):
    """Minimise −log p(y_alt | x), y_alt the fact's first alternative answer (tag `alternative`).

    Source: vlm_unlok_offside_med 1.7. A fact without an alternative gets a refusal drawn by its id. Differs from the
    paper: nothing known.
    """

    intent = "suppression"
    kind = "alternative"

    def asked(self, handle: VlmHandle, fact: Example, seed: int) -> list[Example]:
        """The question with the other answer."""
        return [fact.with_target(alternative(handle, fact, seed))]

    def loss(self, seen: Seen, records: int) -> Tensor:
        """−log p of the other answer."""
        return -sum_by_record(seen.logprob(), seen.owner, records)
