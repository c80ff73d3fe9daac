"""Embedding attack: free embeddings behind the question, moved by signs towards an affirmative opening."""

from collections.abc import Sequence

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import Answer, AnswerAttack
from mmunlearn.data import Example
from mmunlearn.handle import Decoding

from ..learning import Aim, LearnSettings, Teacher
from ..perturbations import FreeEmbeddings
from ..perturbed_answers import answers


class EmbeddingAttack(AnswerAttack):
    """The paper's rule: 20 embeddings that start as "!", 100 steps of 0.001 against the gradient's sign, towards "Of
    course, <the answer's opening>" (which does not hold the answer); every tenth step is read, success is cumulative.

    The default aim is the paper's, an opening of the goal's own question. aim=others learns one perturbation on true
    answers about other subjects; aim=gold on the goal's own answer, an upper bound that leaks it. Access: gradients.

    Differs from the paper's code: openings are made by rule (question_forms.py) in place of hand-written ones; a radius
    may bound each number's distance from its start (default: none, as there); answers are read at the last layer only,
    hidden layers are for read-out attacks.
    """

    class Config(LearnSettings):
        """tokens, rate: as above. radius: greatest change of a number, None = unbounded. max_new_tokens: of answers."""

        candidates: int = Field(10, ge=1)
        aim: Aim = "opening"
        tokens: int = Field(20, ge=1)
        rate: float = Field(0.001, gt=0)
        radius: float | None = Field(None, gt=0)
        max_new_tokens: int = Field(64, ge=1)

    access = Access.GRADIENTS
    suite = "vqa"
    toy = {"steps": 4, "every": 2, "candidates": 2, "tokens": 2, "max_new_tokens": 4}
    paper = "Schwinn et al., 'Soft Prompt Threats', NeurIPS 2024; github.com/SchwinnL/LLM_Embedding_Attack 7ebabc4"
    known_failures = {"aim=gold": "any model can be made to say the answer that the attack was given"}

    def __init__(self, config=None):
        super().__init__(config)
        self.teacher = Teacher()

    def begin(self, goals: Sequence[Example]) -> None:
        """Other goals are the lessons of aim=others."""
        self.teacher.begin(goals)

    def answers(self, handle: Metered, goals: Sequence[Example], seed: int) -> list[list[Answer]]:
        """Greedy answers at every step that is read."""
        c = self.config
        kind = FreeEmbeddings(c.tokens, "behind", "sign", c.rate, "!", c.radius)
        learnt = self.teacher.taught(handle, kind, goals, c, seed)
        how = Decoding(max_new_tokens=c.max_new_tokens)
        return answers(handle, kind, goals, [own[-c.candidates :] for own in learnt], how)
