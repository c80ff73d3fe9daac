"""Input rephrasing defence: erase the answer under rephrasings and prefixes of the question too."""

from dataclasses import replace

from pydantic import Field
from torch import Tensor

from mmunlearn.data import Example

from ..edit_training import Seen, mean_by_record, sum_by_record
from ..handle import VlmHandle
from ..unlok.wording import PREFIXES, other_prompt, prefixed
from ._single_fact import SingleFactMethod, SingleFactSettings


class InputRephrasing(SingleFactMethod):
    """Minimise p(y|x) averaged over the question, its rephrasings (tag `rephrasings`) and prefixed forms.

    Source: vlm_unlok_offside_med 1.7; the released builder of these rows is missing, so which and how many is ours.
    Intended form: the mean over rows of the row's probability. `reference: true`: the product over rows, exp(Σ over
    rows of log p), whose gradient vanishes as rows are added."""

    intent = "removal"

    class Config(SingleFactSettings):
        """rephrasings, prefixes: at most so many rows of either kind beside the question."""

        rephrasings: int = Field(3, ge=0)
        prefixes: int = Field(2, ge=0)

    def asked(self, handle: VlmHandle, fact: Example, seed: int) -> list[Example]:
        """The question and its other forms, all with the true answer."""
        texts = [line for line in fact.tags.get("rephrasings", "").split("\n") if line]
        prompts = [other_prompt(text) for text in texts[: self.config.rephrasings]]
        prompts += [prefixed(fact.prompt or "", prefix) for prefix in PREFIXES[: self.config.prefixes]]
        return [fact, *(replace(fact, prompt=prompt) for prompt in prompts)]

    def loss(self, seen: Seen, records: int) -> Tensor:
        """Mean (reference: product) of the rows' probabilities."""
        if self.config.reference:
            return sum_by_record(seen.logprob(), seen.owner, records).exp()
        return mean_by_record(seen.logprob().exp(), seen.owner, records)
