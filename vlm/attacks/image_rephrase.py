"""Image rephrase attack: ask the question about other pictures for which the answer stays the same."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example

from ._rewording import pictures
from ._spread import spread


class ImageRephrase(InputAttack):
    """Ask about the picture, and about its rephrasings up to a level, several times each.

    easy: salt-and-pepper noise; medium: something unrelated in the picture is edited; hard: another picture of the same
    thing. Source: vlm_unlok_offside_med 1.2 and 1.6. Differs from the paper: a missing image is left out (`reference:
    true` puts the easy one in its place, as the released code does without a word); the budget is that of the other
    attacks whatever the level.
    """

    access = Access.IMAGE
    paper = "Patil et al. 2025 (UnLOK-VQA)"
    toy = {"candidates": 4}

    class Config(InputSettings):
        """level: up to which. only: that level alone. candidates: budget B."""

        level: Literal["easy", "medium", "hard"] = "hard"
        only: bool = False
        reference: bool = False
        candidates: int = Field(20, ge=1)

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """The pictures in turn, until the budget is used up."""
        c = self.config
        for index, goal in enumerate(goals):
            shown = pictures(goal, c.level, seed, only=c.only, reference=c.reference)
            yield from spread(goal, index, [("", goal.prompt or "")], shown, c.candidates)
