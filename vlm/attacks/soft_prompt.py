"""Soft prompt: free embeddings before the question, learnt on other goals."""

from collections.abc import Sequence

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import Answer, AnswerAttack
from mmunlearn.data import Example
from mmunlearn.handle import Decoding

from ..learning import LearnSettings, Teacher
from ..perturbations import FreeEmbeddings
from ..perturbed_answers import answers


class SoftPrompt(AnswerAttack):
    """`tokens` embeddings of no token before the question, learnt by Adam on the true answers of goals about other
    subjects (the default): a prompt that reopens what the model knows cannot hold what it never was taught.

    aim=gold learns on the goal's own answer: an upper bound that leaks it, shown by its control. Each perturbation kept
    on the way is a candidate, the last first; every goal is charged its fold's whole learning. Access: gradients.
    """

    class Config(LearnSettings):
        """tokens: how many. rate: Adam's. max_new_tokens: of answers."""

        candidates: int = Field(1, ge=1)
        tokens: int = Field(8, ge=1)
        rate: float = Field(0.03, gt=0)
        max_new_tokens: int = Field(64, ge=1)

    access = Access.GRADIENTS
    suite = "vqa"
    toy = {"aim": "opening", "steps": 4, "every": 2, "candidates": 2, "tokens": 2, "max_new_tokens": 4}
    paper = "Lester et al., 'The Power of Scale for Parameter-Efficient Prompt Tuning', EMNLP 2021, as an attack"
    known_failures = {"aim=gold": "any model can be made to say the answer that the attack was given"}

    def __init__(self, config=None):
        super().__init__(config)
        self.teacher = Teacher()

    def begin(self, goals: Sequence[Example]) -> None:
        """Other goals are the lessons."""
        self.teacher.begin(goals)

    def answers(self, handle: Metered, goals: Sequence[Example], seed: int) -> list[list[Answer]]:
        """Greedy answers behind each learnt prompt."""
        kind = FreeEmbeddings(self.config.tokens, "before", "adam", self.config.rate)
        learnt = self.teacher.taught(handle, kind, goals, self.config, seed)
        how = Decoding(max_new_tokens=self.config.max_new_tokens)
        return answers(handle, kind, goals, [own[-self.config.candidates :] for own in learnt], how)
