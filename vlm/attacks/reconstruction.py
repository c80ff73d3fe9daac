"""Reconstruction: reveal what stands above the forgotten node, one level after another, and ask again."""

from collections.abc import Iterator, Sequence

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example

from ..hierarchy import revealed


class Reconstruction(InputAttack):
    """Prompt j prepends the first j sentences of the goal's tag `context` (institution, patient, study: names of nodes,
    never the answer), coarse to fine; origins are "level j", level 0 is the question itself.

    The tries are in this order, so success at a budget of j + 1 is that of the best of the first j + 1 prompts. A goal
    without that tag is asked as it is. Ours: the paper (arXiv 2512.09867) says that prompts are extended step by step
    with context of higher levels; its wording, order and score were not found. What context alone gives away shows in
    the same attack on the retrained and on a never-trained model (--control).
    """

    access = Access.TEXT
    paper = "MedForget (arXiv 2512.09867), as we read its abstract"
    toy = {"candidates": 4}

    class Config(InputSettings):
        """candidates: at most that many prompts a goal, the question itself included."""

        candidates: int = 4

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """One prompt a level, from none revealed to all."""
        for index, goal in enumerate(goals):
            count = len([line for line in goal.tags.get("context", "").split("\n") if line])
            for steps in range(count + 1):
                yield Trial(revealed(goal, steps), -float(steps), index, f"level {steps}")
