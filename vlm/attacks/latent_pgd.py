"""Latent PGD: a vector added to the residual stream behind one layer, within an L2 ball."""

from collections.abc import Sequence

from pydantic import Field

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.attacks.base_goals import Answer, AnswerAttack
from mmunlearn.data import Example
from mmunlearn.handle import Decoding

from ..learning import LearnSettings, Teacher
from ..perturbations import Push
from ..perturbed_answers import answers


class LatentPgd(AnswerAttack):
    """One vector at every position of the question, learnt by projected steps along the normalised gradient.

    The default learns on true answers about other subjects; aim=gold, on the goal's own, is an upper bound that leaks
    it. The ball's radius is `radius_frac` of the mean norm of the states it pushes. The papers that name such attacks
    give no layers, norms or rates; these are this project's. Access: weights.
    """

    class Config(LearnSettings):
        """layer: of the decoder, None = the middle. rate_frac: of the radius a step. max_new_tokens: of answers."""

        candidates: int = Field(1, ge=1)
        steps: int = Field(40, ge=1)
        layer: int | None = Field(None, ge=0)
        radius_frac: float = Field(0.5, gt=0)
        rate_frac: float = Field(0.1, gt=0, le=1)
        max_new_tokens: int = Field(64, ge=1)

    access = Access.WEIGHTS
    suite = "vqa"
    toy = {"aim": "opening", "steps": 4, "every": 2, "candidates": 2, "max_new_tokens": 4}
    paper = "Che et al., 'Model Tampering Attacks Enable More Rigorous Evaluations of LLM Capabilities', 2502.05209"
    known_failures = {"aim=gold": "any model can be made to say the answer that the attack was given"}

    def __init__(self, config=None):
        super().__init__(config)
        self.teacher = Teacher()

    def begin(self, goals: Sequence[Example]) -> None:
        """Other goals are the lessons."""
        self.teacher.begin(goals)

    def answers(self, handle: Metered, goals: Sequence[Example], seed: int) -> list[list[Answer]]:
        """Greedy answers under each vector kept."""
        c = self.config
        kind = Push(c.layer, c.radius_frac, c.rate_frac)
        learnt = self.teacher.taught(handle, kind, goals, c, seed)
        how = Decoding(max_new_tokens=c.max_new_tokens)
        return answers(handle, kind, goals, [own[-c.candidates :] for own in learnt], how)
