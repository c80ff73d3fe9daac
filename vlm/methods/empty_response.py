"""Empty response: teach a word that says nothing in the place of the answer."""

from torch import Tensor

from mmunlearn.data import Example

from ..edit_training import Seen, sum_by_record
from ..handle import VlmHandle
from ..unlok.wording import DUMMY
from ._single_fact import SingleFactMethod, SingleFactSettings


class EmptyResponse(SingleFactMethod):
    """Minimise −log p(`text` | x), summed over its tokens.

    Source: vlm_unlok_offside_med 1.7 ("dummy" in the released LoRA path; its loader also defines "I don't know").
    Differs from the paper: nothing known.
    """

    intent = "suppression"
    kind = "empty"

    class Config(SingleFactSettings):
        """text: what is answered instead."""

        text: str = DUMMY

    def asked(self, handle: VlmHandle, fact: Example, seed: int) -> list[Example]:
        """The question with the empty answer."""
        return [fact.with_target(self.config.text)]

    def loss(self, seen: Seen, records: int) -> Tensor:
        """−log p of the empty answer."""
        return -sum_by_record(seen.logprob(), seen.owner, records)
