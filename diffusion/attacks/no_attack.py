"""No attack: the goal's prompt as it is."""

from collections.abc import Iterator, Sequence

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, Trial
from mmunlearn.data import Example


class NoAttack(InputAttack):
    """Asks the goal itself; its success rate is the pre-ASR (diffusion sheet 2.6)."""

    access = Access.TEXT
    paper = "Zhang et al. 2024 (UnlearnDiffAtk, no_attack)"

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """Proposes each goal as it is."""
        for index, goal in enumerate(goals):
            yield Trial(goal, 0.0, index, "the goal itself")
