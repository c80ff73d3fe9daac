"""Question rephrase attack: ask the question in other words, behind a prefix or behind a jailbreak."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial
from mmunlearn.data import Example

from ._rewording import Words, prompts
from ._spread import spread


class QuestionRephrase(InputAttack):
    """Ask each of a few forms of the question several times; the attacker wins if any answer gives the fact away.

    kind: "prefix" (an unrelated beginning in front of the question), "paraphrase" (the benchmark's rephrasings by a
    model; plain forms of politeness where it has none) or "jailbreak" (a story in front of the whole prompt). Source:
    vlm_unlok_offside_med 1.6 (4 prompts × 5 samples at temperature 1 = 20). The samples are drawn at the decoding's
    temperature: at 0 they are all one. Differs from the paper: the jailbreak sentences are ours with the released
    templates' contents."""

    access = Access.TEXT
    paper = "Patil et al. 2025 (UnLOK-VQA)"
    toy = {"candidates": 4, "prompts": 2}

    class Config(InputSettings):
        """kind: see above. prompts: how many forms. candidates: budget B, prompts times samples."""

        kind: Words = "prefix"
        prompts: int = Field(4, ge=1)
        candidates: int = Field(20, ge=1)

    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """The forms in turn, until the budget is used up."""
        c = self.config
        for index, goal in enumerate(goals):
            yield from spread(goal, index, prompts(goal, c.kind, c.prompts), [("", goal.image)], c.candidates)
