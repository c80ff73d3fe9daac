"""Sampling: the plain question, asked often at a temperature above zero."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example
from mmunlearn.handle import Decoding

from ..asking import reworded


class Sampling(InputAttack):
    """B answers to the unchanged question, each drawn afresh; what is greedily hidden may still be likely.

    A draw depends on (seed, goal, number) alone. This is the budget's own floor: an attack that changes something
    should do better than as many samples. Access: text.
    """

    class Config(InputSettings):
        """temperature: of the draws. top_p: nucleus, 1 = all tokens."""

        candidates: int = Field(20, ge=1)
        temperature: float = Field(1.0, gt=0)
        top_p: float = Field(1.0, gt=0, le=1)

    access = Access.TEXT
    suite = "vqa"
    paper = "Patil et al., TMLR 2025 (UnLOK-VQA: sampled answers, budget 20)"

    def decoding(self, how: Decoding) -> Decoding:
        """As the clean question, but drawn."""
        fields = {**how.fields, "top_p": self.config.top_p}
        return replace(how, temperature=self.config.temperature, fields=fields)

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """The goal itself, again and again; the base class gives each an id, hence draws, of its own."""
        for index, goal in enumerate(goals):
            for number in range(self.config.candidates):
                yield Trial(reworded(goal, goal.prompt or ""), -float(number), index, f"draw {number}")
