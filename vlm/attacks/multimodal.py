"""Multimodal attack: other words and other pictures together."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example

from ._rewording import Words, pictures, prompts
from ._spread import Pictured, Prompted, spread


class Multimodal(InputAttack):
    """Ask forms of the question about rephrasings of the picture: all pairs, within the budget of the other attacks.

    Source: vlm_unlok_offside_med 1.6. Differs from the reference, whose pairing (U6) asks prompt i mod P about image i
    mod K: of 4 × 4 pairs 4, each 16 times, 320 samples in all where the nominal budget is 20. `reference: true` keeps
    to those pairs (set candidates: 320 for its budget) and replaces missing images as image_rephrase does."""

    access = Access.IMAGE
    paper = "Patil et al. 2025 (UnLOK-VQA)"
    toy = {"candidates": 4, "prompts": 2}

    class Config(InputSettings):
        """kind, prompts: as question_rephrase. level: as image_rephrase. candidates: budget B."""

        kind: Words = "paraphrase"
        prompts: int = Field(4, ge=1)
        level: Literal["easy", "medium", "hard"] = "hard"
        reference: bool = False
        candidates: int = Field(20, ge=1)

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """The pairs in turn, until the budget is used up."""
        c = self.config
        for index, goal in enumerate(goals):
            asked = prompts(goal, c.kind, c.prompts)
            shown = pictures(goal, c.level, seed, reference=c.reference)
            if c.reference:
                yield from _released(goal, index, asked, shown, c.candidates)
            else:
                yield from spread(goal, index, asked, shown, c.candidates)


def _released(
    goal: Example, index: int, asked: Sequence[Prompted], shown: Sequence[Pictured], budget: int
) -> Iterator[Trial]:
    """Entry i pairs prompt i mod P with image i mod K."""
    for number in range(budget):
        pair = ([asked[number % len(asked)]], [shown[number % len(shown)]])
        for trial in spread(goal, index, *pair, 1):
            yield trial._replace(promise=float(-number), origin=f"{trial.origin}, entry {number + 1}")
